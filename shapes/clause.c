#include "shapes/clause.h"
#include "base/utf8.h"
#include "shapes/where.h"

#include <ctype.h>
#include <pg_query.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define MAX_DEPTH 1000

bool clause_error(struct err *err, int location, const char *fmt, ...)
{
    char msg[sizeof(err->msg)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    location = location > CLAUSE_PREFIX_LEN ? location - CLAUSE_PREFIX_LEN : 0;
    return err_set(err, ERR_INPUT, "At location %d: %.480s", location, msg);
}

/* ---- depth, before anything recursive sees the clause ------------------- */

/*
 * How deep the tree can be is read off the tokens: each operator or word may
 * put what stands before it one level down, each bracket what stands within.
 * AND, OR and commas begin anew: the parser makes flat lists of those.
 */
struct depth {
    int open;                   /* brackets */
    int now[MAX_DEPTH + 1];     /* for each open bracket: the run since it, or since AND, OR */
    int deepest[MAX_DEPTH + 1]; /* ... and the longest such run */
};

static bool is_word(struct slice token, const char *word)
{
    return token.len == strlen(word) && strncasecmp(token.ptr, word, token.len) == 0;
}

static int add_depth(struct depth *d, int levels)
{
    int *now = &d->now[d->open];

    *now += levels;
    if (d->deepest[d->open] < *now)
        d->deepest[d->open] = *now;
    return *now;
}

/* Returns the depth reached. */
static int count_token(struct depth *d, struct slice token)
{
    char c = token.ptr[0];

    if (c == '(' || c == '[') {
        int outside = add_depth(d, 1);

        if (++d->open > MAX_DEPTH)
            return d->open;
        d->now[d->open] = d->deepest[d->open] = 0;
        return outside;
    }
    if ((c == ')' || c == ']') && d->open > 0)
        return d->open--, add_depth(d, d->deepest[d->open + 1]);
    if (c == ',' || is_word(token, "and") || is_word(token, "or")) {
        d->now[d->open] = 0;
        return 0;
    }
    if (isdigit((unsigned char)c) || c == '\'' || c == '$' || strncmp(token.ptr, "--", 2) == 0 ||
        strncmp(token.ptr, "/*", 2) == 0)
        return 0;
    return add_depth(d, 1);
}

/* The little of protobuf that a scan result is written in. */
struct proto {
    const uint8_t *p, *end;
};

static uint64_t proto_varint(struct proto *r)
{
    uint64_t v = 0;

    for (int shift = 0; r->p < r->end && shift < 64; shift += 7) {
        uint8_t byte = *r->p++;

        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            break;
    }
    return v;
}

/* The next field; for a nested message *inner is its bytes. Returns its number, 0 at the end. */
static unsigned proto_field(struct proto *r, uint64_t *value, struct proto *inner)
{
    if (r->p >= r->end)
        return 0;
    uint64_t tag = proto_varint(r);
    *value = proto_varint(r);
    if ((tag & 7) == 2) {
        uint64_t left = (uint64_t)(r->end - r->p), len = *value < left ? *value : left;

        *inner = (struct proto){r->p, r->p + len};
        r->p += len;
    }
    return (unsigned)(tag >> 3);
}

static struct slice read_token(struct proto token, const char *sql, size_t len)
{
    uint64_t value, start = 0, end = 0;
    struct proto unused;
    unsigned field;

    while ((field = proto_field(&token, &value, &unused))) {
        if (field == 1)
            start = value;
        else if (field == 2)
            end = value;
    }
    if (start >= end || end > len)
        return (struct slice){"", 0};
    return (struct slice){sql + start, (size_t)(end - start)};
}

/* False when too deep. What cannot be scanned is left to the parser to complain of. */
static bool check_depth(const char *sql, struct err *err)
{
    PgQueryScanResult scan = pg_query_scan(sql);
    struct depth *depth = xcalloc(1, sizeof(*depth));
    size_t len = strlen(sql);
    bool ok = true;

    if (!scan.error) {
        struct proto r = {(const uint8_t *)scan.pbuf.data,
                          (const uint8_t *)scan.pbuf.data + scan.pbuf.len};
        struct proto inner = {0};
        uint64_t value;
        unsigned field;

        while (ok && (field = proto_field(&r, &value, &inner))) {
            struct slice token = field == 2 ? read_token(inner, sql, len) : SLICE("");

            if (token.len && count_token(depth, token) > MAX_DEPTH)
                ok = clause_error(err, (int)(token.ptr - sql),
                                  "the expression is nested too deeply: more than %d levels",
                                  MAX_DEPTH);
        }
    }
    free(depth);
    pg_query_free_scan_result(scan);
    return ok;
}

/* ---- parse ------------------------------------------------------------- */

bool where_check_size(struct slice text, const char *what, struct err *err)
{
    return text.len <= WHERE_MAX_SIZE ||
           err_set(err, ERR_INPUT, "the %s is bigger than maximum size (%zu bytes)", what,
                   WHERE_MAX_SIZE);
}

static bool check_text(struct slice text, const char *what, struct err *err)
{
    if (!where_check_size(text, what, err))
        return false;
    if (!utf8_is_text(text))
        return err_set(err, ERR_INPUT, "the %s is not valid UTF-8 text", what);
    return true;
}

const char *node_name(yyjson_val *node)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(node);
    yyjson_val *key = yyjson_obj_iter_next(&it);

    return key ? yyjson_get_str(key) : "NULL";
}

yyjson_val *node_fields(yyjson_val *node)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(node);
    yyjson_val *key = yyjson_obj_iter_next(&it);

    return key ? yyjson_obj_iter_get_val(key) : NULL;
}

int node_location(yyjson_val *fields)
{
    yyjson_val *location = yyjson_obj_get(fields, "location");

    return location ? yyjson_get_int(location) : CLAUSE_PREFIX_LEN;
}

const char *node_string(yyjson_val *node)
{
    yyjson_val *string = yyjson_obj_get(node, "String");

    return yyjson_get_str(yyjson_obj_get(string, "sval"));
}

const char *node_field_str(yyjson_val *fields, const char *name)
{
    const char *s = yyjson_get_str(yyjson_obj_get(fields, name));

    return s ? s : "";
}

/* Whether the statement has no other parts than a bare SELECT 1 and the one named. */
static bool is_plain_select(yyjson_val *select, const char *part)
{
    const char *const plain[] = {"targetList", part, "limitOption", "op"};
    yyjson_obj_iter it = yyjson_obj_iter_with(select);
    yyjson_val *key;

    while ((key = yyjson_obj_iter_next(&it))) {
        bool known = false;

        for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
            known |= strcmp(yyjson_get_str(key), plain[i]) == 0;
        if (!known)
            return false;
    }
    return strcmp(node_field_str(select, "limitOption"), "LIMIT_OPTION_DEFAULT") == 0 &&
           strcmp(node_field_str(select, "op"), "SETOP_NONE") == 0;
}

/* The statement's one part, or NULL; `split` says what a ";" in it is called. */
static yyjson_val *find_part(struct clause *clause, const char *part, const char *split,
                             struct err *err)
{
    yyjson_val *stmts = yyjson_obj_get(yyjson_doc_get_root(clause->doc), "stmts");
    yyjson_val *stmt = yyjson_arr_get_first(stmts);
    yyjson_val *select = yyjson_obj_get(yyjson_obj_get(stmt, "stmt"), "SelectStmt");
    yyjson_val *found = yyjson_obj_get(select, part);

    /* A length is given only where a ";" ended the statement. */
    if (yyjson_arr_size(stmts) > 1 || yyjson_get_int(yyjson_obj_get(stmt, "stmt_len")) > 0)
        err_set(err, ERR_INPUT, "%s", split);
    else if (!found || !is_plain_select(select, part))
        err_set(err, ERR_INPUT, "malformed query ending with SQL clauses");
    else
        return found;
    return NULL;
}

static bool parse(struct clause *clause, struct err *err)
{
    PgQueryParseResult result = pg_query_parse(clause->sql);
    bool ok = true;

    if (result.error) {
        /* A syntax error's place counts from the prefix, unlike all others: clients know it so. */
        int at = result.error->cursorpos > 0 ? result.error->cursorpos - 1 : 0;

        ok = err_set(err, ERR_INPUT, "At location %d: %.400s", at, result.error->message);
    } else {
        clause->doc = yyjson_read(result.parse_tree, strlen(result.parse_tree), 0);
        if (!clause->doc)
            ok = err_set(err, ERR_INPUT, "the clause cannot be read");
    }
    pg_query_free_parse_result(result);
    return ok;
}

static bool parse_behind(const char *prefix, struct slice text, struct clause *out, struct err *err)
{
    size_t len = strlen(prefix);

    out->sql = xmalloc(len + text.len + 1);
    memcpy(out->sql, prefix, len);
    if (text.len)
        memcpy(out->sql + len, text.ptr, text.len);
    out->sql[len + text.len] = '\0';
    return check_depth(out->sql, err) && parse(out, err);
}

bool clause_parse(struct slice text, struct clause *out, struct err *err)
{
    *out = (struct clause){0};
    if (!check_text(text, "where clause", err))
        return false;
    if (parse_behind(CLAUSE_PREFIX, text, out, err) &&
        (out->where =
             find_part(out, "whereClause", "unescaped \";\" causing statement split", err)))
        return true;
    clause_release(out);
    return false;
}

bool clause_parse_order(struct slice text, struct clause *out, struct err *err)
{
    *out = (struct clause){0};
    if (!check_text(text, "order", err))
        return false;
    if (parse_behind("SELECT 1 ORDER BY ", text, out, err) &&
        (out->order = find_part(out, "sortClause", "Unexpected `;` in order by", err)))
        return true;
    clause_release(out);
    return false;
}

void clause_release(struct clause *clause)
{
    yyjson_doc_free(clause->doc);
    free(clause->sql);
    *clause = (struct clause){0};
}

/* ---- integers ---------------------------------------------------------- */

/* libpg_query 15 writes no value for an integer that is not positive: it is read from the clause,
 * where it stands behind minus signs, brackets and comments. */
static bool read_int_text(const char *p, int64_t *out)
{
    int64_t v = 0;
    int comments = 0;

    for (; *p; p++) {
        if (p[0] == '/' && p[1] == '*') {
            comments++;
            p++;
        } else if (comments && p[0] == '*' && p[1] == '/') {
            comments--;
            p++;
        } else if (!comments && p[0] == '-' && p[1] == '-') {
            p += strcspn(p, "\r\n");
            if (!*p)
                break;
        } else if (!comments && isdigit((unsigned char)*p)) {
            break;
        }
    }
    for (; isdigit((unsigned char)*p) && v <= INT32_MAX; p++)
        v = v * 10 + (*p - '0');
    *out = -v;
    /* Newer majors know 0x1f and 1_000. */
    return !isalnum((unsigned char)*p) && *p != '_';
}

bool clause_int_const(const struct clause *clause, yyjson_val *fields, int64_t *out)
{
    yyjson_val *v = yyjson_obj_get(yyjson_obj_get(fields, "ival"), "ival");

    *out = yyjson_get_sint(v);
    return v || read_int_text(clause->sql + node_location(fields), out);
}
