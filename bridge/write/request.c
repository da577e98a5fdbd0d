/*
 * Read with yyjson, which needs no stack for what is nested; the depth is limited all the same, as
 * nothing that we take is deep. Each reader is told the place of what it reads, as a length in
 * `place` that it goes back to.
 */
#include "write/request.h"
#include "base/hash.h"
#include "shapes/ident.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#define MAX_NAME 128     /* bytes of a replica's id, an incarnation, a nonce */
#define MAX_COLUMNS 1600 /* as Postgres has it */
#define MAX_DEPTH 8      /* ours is 6 */

struct parse {
    struct arena *arena;
    const struct write_request_limits *limits;
    struct write_invalid *invalid;
    size_t mutations; /* so far */
    char place[sizeof(((struct write_invalid *)0)->place)];
    size_t len; /* of place */
};

const char *write_op_name(enum write_op op)
{
    static const char *const names[] = {"insert", "update", "delete"};

    return names[op];
}

/* ---- places ------------------------------------------------------------ */

/* Goes into a field; returns where to come back to. A long name is cut, between characters. */
static size_t enter(struct parse *p, struct slice name)
{
    size_t before = p->len, room = sizeof(p->place) - 1 - p->len;
    size_t n = name.len + (p->len > 0);

    if (p->len && room)
        p->place[p->len++] = '.';
    if (n > room) {
        name.len = room ? room - (before > 0) : 0;
        while (name.len && (name.ptr[name.len] & 0xc0) == 0x80)
            name.len--;
    }
    memcpy(p->place + p->len, name.ptr, name.len);
    p->len += name.len;
    p->place[p->len] = '\0';
    return before;
}

static size_t enter_index(struct parse *p, size_t index)
{
    size_t before = p->len, room = sizeof(p->place) - 1 - p->len;
    int n = snprintf(p->place + p->len, room + 1, "[%zu]", index);

    p->len += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room;
    return before;
}

static void leave(struct parse *p, size_t before)
{
    p->len = before;
    p->place[before] = '\0';
}

static bool wrong(struct parse *p, const char *text)
{
    snprintf(p->invalid->place, sizeof(p->invalid->place), "%s", p->len ? p->place : "body");
    return err_set(&p->invalid->err, ERR_INPUT, "%s", text);
}

static bool wrong_at(struct parse *p, struct slice field, const char *text)
{
    enter(p, field);
    return wrong(p, text);
}

static bool too_many(struct parse *p, size_t limit, const char *what)
{
    wrong(p, "");
    return err_set(&p->invalid->err, ERR_LIMIT, "must not have more than %zu %s", limit, what);
}

/* ---- values ------------------------------------------------------------ */

static struct slice text_of(yyjson_val *val)
{
    return (struct slice){yyjson_get_str(val), yyjson_get_len(val)};
}

static bool take_text(struct parse *p, yyjson_val *val, struct slice *out)
{
    if (!yyjson_is_str(val))
        return wrong(p, "must be a string");
    struct slice text = text_of(val);
    if (memchr(text.ptr, 0, text.len))
        return wrong(p, "must not contain a NUL character");
    *out = arena_copy(p->arena, text);
    return true;
}

static bool take_name(struct parse *p, yyjson_val *val, struct slice *out)
{
    if (!take_text(p, val, out))
        return false;
    if (out->len == 0)
        return wrong(p, "can't be blank");
    return out->len <= MAX_NAME || wrong(p, "must not be longer than 128 bytes");
}

static bool take_replica(struct parse *p, yyjson_val *val, struct slice *out)
{
    if (!take_text(p, val, out))
        return false;
    return ident_is_replica(*out) || wrong(p, "must be 1 to 128 of A-Z a-z 0-9 . _ : -");
}

/* A number of 64 bits, as a string: JSON's own would lose digits on the way. */
static bool take_nonce(struct parse *p, yyjson_val *val, int64_t *out)
{
    const char *text = yyjson_get_str(val);
    char *end = NULL;

    errno = 0;
    if (text && (text[0] == '-' || (text[0] >= '0' && text[0] <= '9')))
        *out = strtoll(text, &end, 10);
    return (end && end == text + yyjson_get_len(val) && end > text && errno == 0) ||
           wrong(p, "must be a whole number of 64 bits, as a string");
}

static bool take_id(struct parse *p, yyjson_val *val, int64_t least, int64_t *out)
{
    if (!yyjson_is_uint(val) || yyjson_get_uint(val) > INT64_MAX)
        return wrong(p, "must be a whole number that is not negative");
    *out = (int64_t)yyjson_get_uint(val);
    return *out >= least || wrong(p, "must be 1 or more");
}

static bool take_flag(struct parse *p, yyjson_val *val, bool *out)
{
    *out = yyjson_get_bool(val);
    return yyjson_is_bool(val) || wrong(p, "must be true or false");
}

static bool take_pair(struct parse *p, yyjson_val *key, bool nulls, struct strmap *seen,
                      struct write_pair *out)
{
    struct slice name = text_of(key);
    yyjson_val *val = yyjson_obj_iter_get_val(key);
    size_t before = enter(p, name);

    if (name.len == 0 || memchr(name.ptr, 0, name.len))
        return wrong(p, "is not the name of a column");
    if (strmap_set(seen, name, out))
        return wrong(p, "is given twice");
    out->column = arena_copy(p->arena, name);
    if (nulls && yyjson_is_null(val))
        out->value = (struct slice){NULL, 0};
    else if (!yyjson_is_str(val))
        return wrong(p, nulls ? "must be a string or null" : "must be a string");
    else if (!take_text(p, val, &out->value))
        return false;
    leave(p, before);
    return true;
}

static bool take_pairs(struct parse *p, yyjson_val *object, bool nulls, struct write_pairs *out)
{
    struct strmap seen = {0};
    yyjson_obj_iter iter;
    yyjson_val *key;
    bool ok = true;

    if (!yyjson_is_obj(object))
        return wrong(p, "must be an object like {\"column\": \"text\"}");
    if (yyjson_obj_size(object) > MAX_COLUMNS)
        return too_many(p, MAX_COLUMNS, "columns");
    out->list = arena_calloc(p->arena, yyjson_obj_size(object), sizeof(*out->list));
    yyjson_obj_iter_init(object, &iter);
    while (ok && (key = yyjson_obj_iter_next(&iter)))
        ok = take_pair(p, key, nulls, &seen, &out->list[out->n++]);
    strmap_release(&seen);
    return ok;
}

/* ---- objects ----------------------------------------------------------- */

/* Reads the field `i` of an object into `out`. */
typedef bool field_cb(struct parse *p, size_t i, yyjson_val *val, void *out);

struct fields {
    const char *const *names;
    size_t n; /* at most 32 */
    uint32_t required;
    field_cb *take;
};

static bool take_field(struct parse *p, const struct fields *fields, yyjson_val *key,
                       uint32_t *seen, void *out)
{
    size_t i = 0;

    while (i < fields->n && !slice_is(text_of(key), fields->names[i]))
        i++;
    size_t before = enter(p, text_of(key));
    if (i == fields->n)
        return wrong(p, "is not a field that is known here");
    if (*seen & 1u << i)
        return wrong(p, "is given twice");
    *seen |= 1u << i;
    if (!fields->take(p, i, yyjson_obj_iter_get_val(key), out))
        return false;
    leave(p, before);
    return true;
}

static bool take_object(struct parse *p, const struct fields *fields, yyjson_val *object, void *out)
{
    yyjson_obj_iter iter;
    yyjson_val *key;
    uint32_t seen = 0;

    if (!yyjson_is_obj(object))
        return wrong(p, p->len ? "must be an object" : "must be a JSON object");
    yyjson_obj_iter_init(object, &iter);
    while ((key = yyjson_obj_iter_next(&iter))) {
        if (!take_field(p, fields, key, &seen, out))
            return false;
    }
    for (size_t i = 0; i < fields->n; i++) {
        if (fields->required & ~seen & 1u << i)
            return wrong_at(p, slice_of(fields->names[i]), "is missing");
    }
    return true;
}

static bool take_table(struct parse *p, yyjson_val *val, struct write_mutation *out)
{
    struct slice text, *parts;
    struct err err;
    size_t n;

    if (!take_text(p, val, &text))
        return false;
    if (text.len == 0)
        return wrong(p, "can't be blank");
    if (!ident_split(text, '.', p->arena, &parts, &n, &err))
        return wrong(p, err.msg);
    if (n > 2)
        return wrong(p, "must be \"table\" or \"schema.table\"");
    out->nspname = n == 2 ? parts[0] : SLICE("public");
    out->relname = parts[n - 1];
    return true;
}

static bool take_op(struct parse *p, yyjson_val *val, enum write_op *out)
{
    for (int op = WRITE_INSERT; op <= WRITE_DELETE; op++) {
        if (yyjson_equals_str(val, write_op_name((enum write_op)op))) {
            *out = (enum write_op)op;
            return true;
        }
    }
    return wrong(p, "must be \"insert\", \"update\" or \"delete\"");
}

static const char *const mutation_names[] = {"table", "op", "key", "values", "base", "nonce"};

static bool take_mutation_field(struct parse *p, size_t i, yyjson_val *val, void *into)
{
    struct write_mutation *out = into;

    switch (i) {
    case 0:
        return take_table(p, val, out);
    case 1:
        return take_op(p, val, &out->op);
    case 2:
        return take_pairs(p, val, false, &out->key);
    case 3:
        return take_pairs(p, val, true, &out->values);
    case 4:
        return take_pairs(p, val, true, &out->base);
    default:
        out->has_nonce = true;
        return take_nonce(p, val, &out->nonce);
    }
}

static const struct fields mutation_fields = {mutation_names, 6, 7, take_mutation_field};

static bool take_mutation(struct parse *p, yyjson_val *object, struct write_mutation *out)
{
    if (!take_object(p, &mutation_fields, object, out))
        return false;
    if (out->key.n == 0)
        return wrong_at(p, SLICE("key"), "must have the columns of the primary key");
    if (out->op == WRITE_DELETE && out->values.n)
        return wrong_at(p, SLICE("values"), "must not be given for a delete");
    if (out->op == WRITE_UPDATE && out->values.n == 0)
        return wrong_at(p, SLICE("values"), "must have the columns that changed");
    return true;
}

static bool take_mutations(struct parse *p, yyjson_val *list, struct write_txn *out)
{
    yyjson_arr_iter iter;
    yyjson_val *val;

    if (!yyjson_is_arr(list))
        return wrong(p, "must be a list");
    p->mutations += yyjson_arr_size(list);
    if (p->mutations > p->limits->mutations)
        return too_many(p, p->limits->mutations, "mutations in a request");
    out->mutations = arena_calloc(p->arena, yyjson_arr_size(list), sizeof(*out->mutations));
    yyjson_arr_iter_init(list, &iter);
    while ((val = yyjson_arr_iter_next(&iter))) {
        size_t before = enter_index(p, out->nmutations);

        if (!take_mutation(p, val, &out->mutations[out->nmutations++]))
            return false;
        leave(p, before);
    }
    return true;
}

static const char *const txn_names[] = {"id", "nonce", "mutations", "marked"};

static bool take_txn_field(struct parse *p, size_t i, yyjson_val *val, void *into)
{
    struct write_txn *out = into;

    switch (i) {
    case 0:
        return take_id(p, val, 1, &out->id);
    case 1:
        return take_name(p, val, &out->nonce);
    case 2:
        return take_mutations(p, val, out);
    default:
        return take_flag(p, val, &out->marked);
    }
}

static const struct fields txn_fields = {txn_names, 4, 7, take_txn_field};

static bool take_txns(struct parse *p, yyjson_val *list, struct write_request *out)
{
    yyjson_arr_iter iter;
    yyjson_val *val;

    if (!yyjson_is_arr(list))
        return wrong(p, "must be a list");
    if (yyjson_arr_size(list) > p->limits->transactions)
        return too_many(p, p->limits->transactions, "transactions");
    out->txns = arena_calloc(p->arena, yyjson_arr_size(list), sizeof(*out->txns));
    yyjson_arr_iter_init(list, &iter);
    while ((val = yyjson_arr_iter_next(&iter))) {
        size_t before = enter_index(p, out->ntxns), i = out->ntxns++;

        if (!take_object(p, &txn_fields, val, &out->txns[i]))
            return false;
        if (i && out->txns[i].id - 1 != out->txns[i - 1].id)
            return wrong_at(p, SLICE("id"), "must follow the one before by 1");
        leave(p, before);
    }
    return true;
}

static bool take_decided(struct parse *p, yyjson_val *list, struct write_request *out)
{
    yyjson_arr_iter iter;
    yyjson_val *val;

    if (!yyjson_is_arr(list))
        return wrong(p, "must be a list");
    if (yyjson_arr_size(list) > p->limits->mutations)
        return too_many(p, p->limits->mutations, "nonces");
    out->decided = arena_calloc(p->arena, yyjson_arr_size(list), sizeof(*out->decided));
    yyjson_arr_iter_init(list, &iter);
    while ((val = yyjson_arr_iter_next(&iter))) {
        size_t before = enter_index(p, out->ndecided);

        if (!take_nonce(p, val, &out->decided[out->ndecided++]))
            return false;
        leave(p, before);
    }
    return true;
}

static const char *const request_names[] = {"replica",      "transactions", "incarnation",
                                            "acknowledged", "after",        "family",
                                            "contact",      "decided"};

static bool take_request_field(struct parse *p, size_t i, yyjson_val *val, void *into)
{
    struct write_request *out = into;

    switch (i) {
    case 0:
        return take_replica(p, val, &out->replica);
    case 1:
        return take_txns(p, val, out);
    case 2:
        return take_name(p, val, &out->incarnation);
    case 3:
        return take_id(p, val, 0, &out->acknowledged);
    case 4:
        return take_name(p, val, &out->after);
    case 5:
        return take_replica(p, val, &out->family);
    case 6:
        return take_nonce(p, val, &out->contact);
    default:
        return take_decided(p, val, out);
    }
}

static const struct fields request_fields = {request_names, 8, 1, take_request_field};

/* Transactions, or the question. */
static bool take_request(struct parse *p, yyjson_val *root, struct write_request *out)
{
    if (!take_object(p, &request_fields, root, out))
        return false;
    if (!out->family.ptr)
        out->family = out->replica;
    if (out->txns && out->decided)
        return wrong_at(p, SLICE("decided"), "must not be given beside transactions");
    return out->txns || out->decided || wrong_at(p, SLICE("transactions"), "is missing");
}

/* ---- the body ---------------------------------------------------------- */

/* How deep arrays and objects are nested; brackets in strings do not count. */
static size_t depth_of(struct slice body)
{
    size_t depth = 0, deepest = 0;
    bool in_string = false;

    for (size_t i = 0; i < body.len; i++) {
        char c = body.ptr[i];

        if (c == '"')
            in_string = !in_string;
        else if (in_string)
            i += c == '\\';
        else if (c == '{' || c == '[')
            deepest = ++depth > deepest ? depth : deepest;
        else if ((c == '}' || c == ']') && depth)
            depth--;
    }
    return deepest;
}

bool write_request_parse(struct slice body, const struct write_request_limits *limits,
                         struct arena *arena, struct write_request *request,
                         struct write_invalid *invalid)
{
    struct parse p = {.arena = arena, .limits = limits, .invalid = invalid};
    yyjson_read_err at;

    *request = (struct write_request){.incarnation = {"", 0}};
    wrong(&p, "");
    if (body.len > limits->bytes)
        return err_set(&invalid->err, ERR_LIMIT,
                       "must not be longer than %zu bytes; send fewer transactions at a time",
                       limits->bytes);
    if (depth_of(body) > MAX_DEPTH)
        return err_set(&invalid->err, ERR_LIMIT, "must not be nested deeper than %d", MAX_DEPTH);
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)body.ptr, body.len, 0, NULL, &at);
    if (!doc)
        return err_set(&invalid->err, ERR_INPUT, "is not JSON: %s at byte %zu", at.msg, at.pos);
    bool ok = take_request(&p, yyjson_doc_get_root(doc), request);
    yyjson_doc_free(doc);
    if (ok)
        *invalid = (struct write_invalid){0};
    return ok;
}
