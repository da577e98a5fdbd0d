#include "rules/rules.h"
#include "base/hash.h"
#include "settings/inifile.h"
#include "shapes/claims.h"
#include "shapes/ident.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "shape "
#define PREFIX_LEN (sizeof(PREFIX) - 1)

struct named_shape {
    struct slice name, table, where, columns; /* as they are written; ptr NULL: not given */
    int line;                                 /* of its first entry */
    struct claims_clause clause;
};

struct rules {
    atomic_uint refs;
    struct arena arena;
    struct strmap shapes; /* name -> struct named_shape */
};

/* ---- reading --------------------------------------------------------------------------------- */

struct rules_reader {
    struct rules *rules;
    const char *path;
    struct named_shape *current; /* that the last entry was of */
};

static bool fail(const struct rules_reader *r, int line, struct err *err)
{
    struct err cause = *err;

    err_set(err, ERR_CONFIG, "%s:%d: %.400s", r->path, line, cause.msg);
    return cause.hint[0] ? err_hint(err, "%s", cause.hint) : false;
}

static struct named_shape *find_or_add(struct rules_reader *r, struct slice name, int line)
{
    struct named_shape *shape = strmap_get(&r->rules->shapes, name);

    if (shape)
        return shape;
    shape = arena_calloc(&r->rules->arena, 1, sizeof(*shape));
    shape->name = arena_copy(&r->rules->arena, name);
    shape->line = line;
    strmap_set(&r->rules->shapes, shape->name, shape);
    return shape;
}

static struct slice *field_of(struct named_shape *shape, const char *name)
{
    return strcmp(name, "table") == 0     ? &shape->table
           : strcmp(name, "where") == 0   ? &shape->where
           : strcmp(name, "columns") == 0 ? &shape->columns
                                          : NULL;
}

/* Without the space beside its commas, which a request's list may not have. */
static struct slice without_space(struct slice list, struct arena *arena)
{
    char *bytes = arena_alloc(arena, list.len + 1);
    bool quoted = false;
    size_t n = 0;

    for (size_t i = 0; i < list.len; i++) {
        size_t end = i;

        quoted ^= list.ptr[i] == '"';
        while (!quoted && end < list.len && (list.ptr[end] == ' ' || list.ptr[end] == '\t'))
            end++;
        bool beside = n == 0 || bytes[n - 1] == ',' || end == list.len || list.ptr[end] == ',';
        if (end > i && beside)
            i = end - 1;
        else
            bytes[n++] = list.ptr[i];
    }
    return (struct slice){bytes, n};
}

/* What can be told without the catalogue. */
static bool check_field(struct rules_reader *r, struct named_shape *shape,
                        const struct slice *field, struct err *err)
{
    struct arena scratch = {0}, *arena = &r->rules->arena;
    struct slice nspname, relname, *names;
    size_t n;
    bool ok;

    if (field == &shape->where)
        ok = claims_split(*field, arena, &shape->clause, err);
    else if (field == &shape->table)
        ok = shape_table_name(*field, &scratch, &nspname, &relname, err);
    else
        ok = ident_split(*field, ',', &scratch, &names, &n, err);
    arena_release(&scratch);
    return ok;
}

static bool take_entry(void *arg, const struct inifile_entry *entry, struct err *err)
{
    struct rules_reader *r = arg;

    if (strncmp(entry->section, PREFIX, PREFIX_LEN) != 0)
        return true;
    struct slice name = slice_of(entry->section + PREFIX_LEN);
    struct named_shape *shape = find_or_add(r, name, entry->line);
    struct slice *field = field_of(shape, entry->name);

    if (!field) {
        err_set(err, ERR_CONFIG, "there is no \"%s\" in [%s]", entry->name, entry->section);
        err_hint(err, "a shape has table, where and columns");
    } else if (field->ptr) {
        err_set(err, ERR_CONFIG, "[%s] %s is set a second time", entry->section, entry->name);
    } else {
        *field = arena_copy(&r->rules->arena, slice_of(entry->value));
        if (field == &shape->columns)
            *field = without_space(*field, &r->rules->arena);
        if (check_field(r, shape, field, err))
            return true;
        err_wrap(err, "[%s] %s", entry->section, entry->name);
    }
    return fail(r, entry->line, err);
}

static bool check_whole(struct rules_reader *r, struct err *err)
{
    struct strmap_slot *slot;

    for (size_t at = 0; (slot = strmap_next(&r->rules->shapes, &at));) {
        const struct named_shape *shape = slot->value;

        if (shape->table.len)
            continue;
        err_set(err, ERR_CONFIG, "[" PREFIX "%.100s] names no table", shape->name.ptr);
        return fail(r, shape->line, err);
    }
    return true;
}

struct rules *rules_read(FILE *file, const char *path, struct err *err)
{
    struct rules *rules = xcalloc(1, sizeof(*rules));
    struct rules_reader r = {.rules = rules, .path = path};

    atomic_init(&rules->refs, 1);
    if (inifile_read(file, path, take_entry, &r, err) && check_whole(&r, err))
        return rules;
    rules_unref(rules);
    return NULL;
}

struct rules *rules_ref(struct rules *rules)
{
    atomic_fetch_add_explicit(&rules->refs, 1, memory_order_relaxed);
    return rules;
}

void rules_unref(struct rules *rules)
{
    if (!rules || atomic_fetch_sub_explicit(&rules->refs, 1, memory_order_acq_rel) != 1)
        return;
    strmap_release(&rules->shapes);
    arena_release(&rules->arena);
    free(rules);
}

size_t rules_nshapes(const struct rules *rules)
{
    return rules->shapes.len;
}

/* ---- for a token ----------------------------------------------------------------------------- */

static void put_path(const struct claim *claim, struct buf *out)
{
    for (size_t i = 0; i < claim->n; i++)
        buf_printf(out, "%s%.*s", i ? "." : "", SLICE_ARG(claim->names[i]));
}

static enum rules_answer no_claim(const struct claim *claim, const char *text, struct err *err)
{
    struct buf path;

    buf_init(&path, BUF_NO_LIMIT);
    put_path(claim, &path);
    err_set(err, ERR_INPUT, "the token's claim \"%.200s\" %s", buf_cstr(&path), text);
    buf_release(&path);
    return RULES_NO_CLAIM;
}

/* A list, as Postgres writes an array of text. */
static struct slice array_of(const struct token_claim *claim, struct arena *arena)
{
    struct buf text;

    buf_init(&text, BUF_NO_LIMIT);
    buf_put_u8(&text, '{');
    for (size_t i = 0; i < claim->nitems; i++) {
        struct slice item = claim->items[i];

        buf_put_cstr(&text, i ? "," : "");
        if (!item.ptr) {
            buf_put_cstr(&text, "NULL");
            continue;
        }
        buf_put_u8(&text, '"');
        for (size_t j = 0; j < item.len; j++) {
            if (item.ptr[j] == '"' || item.ptr[j] == '\\')
                buf_put_u8(&text, '\\');
            buf_put_u8(&text, (uint8_t)item.ptr[j]);
        }
        buf_put_u8(&text, '"');
    }
    buf_put_u8(&text, '}');
    struct slice array = arena_copy(arena, buf_slice(&text));
    buf_release(&text);
    return array;
}

static enum rules_answer bind(const struct claim *claim, const struct token *token,
                              struct arena *arena, struct slice *value, struct err *err)
{
    struct token_claim found = {.kind = TOKEN_CLAIM_ABSENT};

    if (token)
        found = token_claim_at(token, claim->names, claim->n, arena);
    switch (found.kind) {
    case TOKEN_CLAIM_TEXT:
        *value = found.text;
        return RULES_FOUND;
    case TOKEN_CLAIM_LIST:
        *value = array_of(&found, arena);
        return RULES_FOUND;
    case TOKEN_CLAIM_ABSENT:
        return no_claim(claim, "is needed for this shape, and is not there", err);
    case TOKEN_CLAIM_NULL:
        return no_claim(claim, "is needed for this shape, and is null", err);
    case TOKEN_CLAIM_OBJECT:
        break;
    }
    return no_claim(claim, "is neither a value nor a list of values", err);
}

enum rules_answer rules_shape(const struct rules *rules, struct slice name,
                              const struct token *token, struct arena *arena,
                              struct shape_request *out, struct err *err)
{
    const struct named_shape *shape = strmap_get(&rules->shapes, name);

    *out = (struct shape_request){0};
    if (!shape) {
        err_set(err, ERR_NOT_FOUND, "there is no shape \"%.*s\"",
                (int)(name.len < 100 ? name.len : 100), name.ptr);
        return RULES_UNKNOWN;
    }
    struct slice *values = arena_calloc(arena, shape->clause.n + 1, sizeof(*values));

    for (size_t i = 0; i < shape->clause.n; i++) {
        enum rules_answer answer = bind(&shape->clause.claims[i], token, arena, &values[i], err);

        if (answer != RULES_FOUND)
            return answer;
    }
    out->table = shape->table;
    out->where = shape->clause.text;
    out->columns = shape->columns;
    out->params = (struct where_params){values, shape->clause.n};
    return RULES_FOUND;
}
