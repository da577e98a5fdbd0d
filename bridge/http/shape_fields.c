#include "http/shape_fields.h"
#include "base/utf8.h"
#include "change/json.h"
#include "change/table.h"
#include "shapes/ident.h"

#include <errno.h>
#include <stdlib.h>

/* Numbers keep their text, as the parameters of a clause have to. */
#define READ_FLAGS YYJSON_READ_NUMBER_AS_RAW

static const char *const subset_keys[] = {"where",  "order_by",   "limit",        "offset",
                                          "params", "where_expr", "order_by_expr"};

static bool is_subset_key(const char *name)
{
    for (size_t i = 0; i < sizeof(subset_keys) / sizeof(subset_keys[0]); i++) {
        if (strcmp(subset_keys[i], name) == 0)
            return true;
    }
    return false;
}

/* ---- problems -------------------------------------------------------------------------------- */

bool shape_fields_wrong(struct shape_fields *f, enum shape_part part, const char *field,
                        const char *text)
{
    for (size_t i = 0; i < f->nproblems; i++) {
        if (f->problems[i].in_subset == (part == PART_SUBSET) &&
            strcmp(f->problems[i].field, field) == 0)
            return false;
    }
    if (f->nproblems < SHAPE_MAX_PROBLEMS)
        f->problems[f->nproblems++] = (struct shape_problem){part == PART_SUBSET, field,
                                                             arena_copy(f->arena, slice_of(text))};
    return false;
}

/* ---- the body -------------------------------------------------------------------------------- */

static bool is_blank(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!strchr(" \t\r\n", text.ptr[i]) || !text.ptr[i])
            return false;
    }
    return true;
}

static bool body_error(const yyjson_read_err *at, struct arena *arena, struct slice *error)
{
    struct buf b;

    if (!at) {
        *error = SLICE("{\"error\":\"Request body must be a JSON object\"}");
        return false;
    }
    buf_init(&b, BUF_NO_LIMIT);
    buf_put_cstr(&b, "{\"error\":\"Invalid JSON in request body\",\"details\":\"");
    json_put_escaped(&b, slice_of(at->msg));
    buf_printf(&b, " at byte %zu\"}", at->pos);
    *error = arena_copy(arena, buf_slice(&b));
    buf_release(&b);
    return false;
}

static void split_body(struct shape_fields *f, yyjson_val *root)
{
    yyjson_val *subset = yyjson_obj_get(root, "subset");

    f->body = root;
    if (yyjson_is_obj(subset)) {
        f->subset = subset;
        return;
    }
    if (subset && !yyjson_is_null(subset))
        shape_fields_wrong(f, PART_SHAPE, "subset", "is invalid");
    f->flat = !subset;
    for (size_t i = 0; f->flat && i < sizeof(subset_keys) / sizeof(subset_keys[0]); i++) {
        if (yyjson_obj_get(root, subset_keys[i]))
            f->subset = root;
    }
}

bool shape_fields_read(const struct http_request *request, struct arena *arena,
                       struct shape_fields *out, struct slice *error)
{
    struct slice body = request->body;
    yyjson_read_err at;

    *out = (struct shape_fields){.arena = arena, .query = &request->query};
    if (is_blank(body))
        return true;
    out->doc = yyjson_read_opts((char *)(uintptr_t)body.ptr, body.len, READ_FLAGS, NULL, &at);
    if (!out->doc)
        return body_error(&at, arena, error);
    yyjson_val *root = yyjson_doc_get_root(out->doc);
    if (!yyjson_is_obj(root)) {
        shape_fields_release(out);
        return body_error(NULL, arena, error);
    }
    split_body(out, root);
    return true;
}

void shape_fields_release(struct shape_fields *f)
{
    yyjson_doc_free(f->doc);
    f->doc = NULL;
}

bool shape_fields_has_subset(const struct shape_fields *f)
{
    const size_t len = sizeof("subset__") - 1;

    for (size_t i = 0; i < f->query->len; i++) {
        struct slice name = f->query->params[i].name;

        if (name.len > len && memcmp(name.ptr, "subset__", len) == 0)
            return true;
    }
    return f->subset != NULL;
}

/* ---- finding a field ------------------------------------------------------------------------- */

/* Its name in the query string; good until the next call's. */
static const char *query_name(enum shape_part part, const char *field, char name[64])
{
    if (part == PART_SHAPE)
        return field;
    snprintf(name, 64, "subset__%s", field);
    return name;
}

static yyjson_val *in_body(const struct shape_fields *f, enum shape_part part, const char *field)
{
    if (part == PART_SUBSET)
        return yyjson_obj_get(f->subset, field);
    return f->flat && is_subset_key(field) ? NULL : yyjson_obj_get(f->body, field);
}

static bool in_query(const struct shape_fields *f, enum shape_part part, const char *field,
                     struct slice *text)
{
    char name[64];

    return http_query_get(f->query, query_name(part, field, name), text);
}

/* The text of a string, or of a number where these are taken. */
static struct slice json_text(yyjson_val *val)
{
    if (yyjson_is_raw(val))
        return (struct slice){yyjson_get_raw(val), yyjson_get_len(val)};
    if (yyjson_is_bool(val))
        return yyjson_get_bool(val) ? SLICE("true") : SLICE("false");
    return (struct slice){yyjson_is_str(val) ? yyjson_get_str(val) : "", yyjson_get_len(val)};
}

/* What is in the body at all, null too, must be what the query string says. */
static void check_agreement(struct shape_fields *f, const char *field, yyjson_val *val)
{
    struct slice text;

    if (val && in_query(f, PART_SHAPE, field, &text) && !is_blank(text) &&
        !(yyjson_is_str(val) && slice_eq(json_text(val), text)))
        shape_fields_wrong(f, PART_SHAPE, field,
                           "is not the same in the query string and in the body");
}

/* ---- texts, flags, numbers ------------------------------------------------------------------- */

/* What may say which rows can be seen. */
static bool is_guarded(const char *field)
{
    static const char *const guarded[] = {"shape", "table", "where", "columns",
                                          "queryable_columns"};

    for (size_t i = 0; i < sizeof(guarded) / sizeof(guarded[0]); i++) {
        if (strcmp(guarded[i], field) == 0)
            return true;
    }
    return false;
}

static struct slice no_text(void)
{
    return (struct slice){NULL, 0};
}

struct slice shape_fields_text(struct shape_fields *f, enum shape_part part, const char *field)
{
    yyjson_val *val = in_body(f, part, field);
    struct slice text;

    if (part == PART_SHAPE && is_guarded(field))
        check_agreement(f, field, val);
    if (val) {
        text = json_text(val);
        if (!yyjson_is_null(val) && !yyjson_is_str(val))
            shape_fields_wrong(f, part, field, "is invalid");
    } else if (!in_query(f, part, field, &text)) {
        return no_text();
    }
    if (is_blank(text))
        return no_text();
    if (!utf8_is_text(text)) {
        shape_fields_wrong(f, part, field, "is invalid");
        return no_text();
    }
    return val ? arena_copy(f->arena, text) : text;
}

bool shape_fields_flag(struct shape_fields *f, const char *field, bool *given)
{
    yyjson_val *val = in_body(f, PART_SHAPE, field);
    struct slice text;

    *given = val ? !yyjson_is_null(val) : in_query(f, PART_SHAPE, field, &text);
    if (!*given)
        return false;
    return !slice_is(val ? json_text(val) : text, "false");
}

bool shape_fields_bool(struct shape_fields *f, const char *field)
{
    yyjson_val *val = in_body(f, PART_SHAPE, field);
    struct slice text;

    if (val)
        text = json_text(val);
    else
        in_query(f, PART_SHAPE, field, &text);
    if (slice_is(text, "true") || slice_is(text, "1"))
        return true;
    if (!is_blank(text) && !slice_is(text, "false") && !slice_is(text, "0"))
        shape_fields_wrong(f, PART_SHAPE, field, "is invalid");
    return false;
}

static bool read_int(struct slice text, int64_t *out)
{
    char digits[24], *end;

    if (text.len == 0 || text.len >= sizeof(digits) || strchr(" \t\r\n", text.ptr[0]))
        return false;
    memcpy(digits, text.ptr, text.len);
    digits[text.len] = '\0';
    errno = 0;
    *out = strtoll(digits, &end, 10);
    return errno == 0 && end == digits + text.len;
}

int64_t shape_fields_int(struct shape_fields *f, enum shape_part part, const char *field,
                         bool *given)
{
    yyjson_val *val = in_body(f, part, field);
    int64_t number = 0;
    struct slice text;

    if (val)
        text = json_text(val);
    else
        in_query(f, part, field, &text);
    bool wrong_kind = val && !yyjson_is_null(val) && !yyjson_is_str(val) && !yyjson_is_raw(val);
    *given = !is_blank(text) && !wrong_kind;
    if (wrong_kind || (*given && !read_int(text, &number))) {
        *given = false;
        shape_fields_wrong(f, part, field, "is invalid");
    }
    return *given ? number : 0;
}

/* ---- names ----------------------------------------------------------------------------------- */

/* ["id", "total"]: exact names. */
static bool quote_names(yyjson_val *list, struct arena *arena, struct slice *out)
{
    size_t i, max;
    yyjson_val *val;
    struct buf b;
    bool ok = true;

    buf_init(&b, BUF_NO_LIMIT);
    yyjson_arr_foreach(list, i, max, val)
    {
        ok = ok && yyjson_is_str(val);
        if (i)
            buf_put_u8(&b, ',');
        sql_put_ident(&b, json_text(val));
    }
    *out = arena_copy(arena, buf_slice(&b));
    buf_release(&b);
    return ok && out->len > 0;
}

struct slice shape_fields_names(struct shape_fields *f, const char *field)
{
    yyjson_val *val = in_body(f, PART_SHAPE, field);
    struct slice *parts, names = no_text();
    struct err err;
    size_t n;

    if (yyjson_is_arr(val)) {
        check_agreement(f, field, val);
        if (!quote_names(val, f->arena, &names) || !utf8_is_text(names))
            shape_fields_wrong(f, PART_SHAPE, field, "is invalid");
    } else {
        names = shape_fields_text(f, PART_SHAPE, field);
    }
    if (names.ptr && !ident_split(names, ',', f->arena, &parts, &n, &err))
        shape_fields_wrong(f, PART_SHAPE, field, err.msg);
    return names;
}

/* ---- the parameters of a clause -------------------------------------------------------------- */

/* As they were given, in any order. */
struct pair {
    struct slice key, value;
};

static bool not_valid(struct shape_fields *f, enum shape_part part)
{
    return shape_fields_wrong(f, part, "params", "is invalid");
}

/* A subset's values may be of any simple kind: their text counts. */
static bool pairs_of_object(struct shape_fields *f, enum shape_part part, yyjson_val *object,
                            struct pair **pairs, size_t *n)
{
    size_t i, max;
    yyjson_val *key, *val;

    *pairs = arena_calloc(f->arena, yyjson_obj_size(object), sizeof(**pairs));
    yyjson_obj_foreach(object, i, max, key, val)
    {
        if (yyjson_is_ctn(val) || (part == PART_SHAPE && !yyjson_is_str(val)))
            return not_valid(f, part);
        (*pairs)[i] = (struct pair){arena_copy(f->arena, json_text(key)),
                                    arena_copy(f->arena, json_text(val))};
    }
    *n = yyjson_obj_size(object);
    return true;
}

static bool pairs_of_text(struct shape_fields *f, struct slice text, struct pair **pairs, size_t *n)
{
    yyjson_doc *doc =
        yyjson_read_opts((char *)(uintptr_t)text.ptr, text.len, READ_FLAGS, NULL, NULL);
    yyjson_val *root = yyjson_doc_get_root(doc);
    bool ok;

    if (!doc)
        ok = shape_fields_wrong(f, PART_SUBSET, "params", "params must be valid JSON");
    else if (!yyjson_is_obj(root))
        ok = shape_fields_wrong(f, PART_SUBSET, "params", "params must be a JSON object");
    else
        ok = pairs_of_object(f, PART_SUBSET, root, pairs, n);
    yyjson_doc_free(doc);
    return ok;
}

/* params[1]=..&params[2]=..; of the same key the last counts. */
static void pairs_of_query(struct shape_fields *f, enum shape_part part, struct pair **pairs,
                           size_t *n)
{
    char name[64];
    const char *base = query_name(part, "params", name);

    *pairs = arena_calloc(f->arena, f->query->len, sizeof(**pairs));
    *n = 0;
    for (size_t i = 0; i < f->query->len; i++) {
        struct pair pair = {.value = f->query->params[i].value};

        if (http_param_bracket(&f->query->params[i], base, &pair.key))
            (*pairs)[(*n)++] = pair;
    }
}

/* True with *n 0 when there are none. */
static bool find_pairs(struct shape_fields *f, enum shape_part part, struct pair **pairs, size_t *n)
{
    yyjson_val *val = in_body(f, part, "params");
    struct slice text;

    pairs_of_query(f, part, pairs, n);
    if (part == PART_SHAPE && *n && val)
        return shape_fields_wrong(f, part, "params",
                                  "is given in the query string and in the body");
    if (yyjson_is_obj(val))
        return pairs_of_object(f, part, val, pairs, n);
    if (val && yyjson_is_null(val))
        return *n = 0, true;
    if (val ? !yyjson_is_str(val) : !in_query(f, part, "params", &text))
        return val ? not_valid(f, part) : true;
    text = val ? json_text(val) : text;
    if (is_blank(text))
        return true;
    return part == PART_SUBSET ? pairs_of_text(f, text, pairs, n) : not_valid(f, part);
}

static size_t highest(const struct pair *pairs, size_t n, bool *numbers)
{
    size_t most = 0;

    *numbers = true;
    for (size_t i = 0; i < n; i++) {
        int64_t number;

        if (!read_int(pairs[i].key, &number))
            *numbers = false;
        else if (number > 0 && (uint64_t)number > most)
            most = (size_t)number;
        else if (number <= 0)
            most = SIZE_MAX;
    }
    return most;
}

/* By number: each of 1..n once; in a query string, the last of each. */
static bool order_pairs(const struct pair *pairs, size_t n, size_t count, struct slice *values)
{
    size_t found = 0;

    for (size_t i = 0; i < n; i++) {
        int64_t number = 0;

        if (!read_int(pairs[i].key, &number) || number < 1 || (size_t)number > count)
            return false;
        found += !values[number - 1].ptr;
        values[number - 1] = pairs[i].value;
        if (!values[number - 1].ptr)
            values[number - 1] = SLICE("");
    }
    return found == count;
}

struct where_params shape_fields_params(struct shape_fields *f, enum shape_part part)
{
    const struct where_params none = {NULL, 0};
    struct pair *pairs;
    bool numbers;
    size_t n;

    if (!find_pairs(f, part, &pairs, &n) || n == 0)
        return none;
    size_t count = highest(pairs, n, &numbers);
    struct slice *values = arena_calloc(f->arena, n, sizeof(*values));
    if (!numbers)
        shape_fields_wrong(f, part, "params", "Parameters can only use numbers as keys");
    else if (count > n || !order_pairs(pairs, n, count, values))
        shape_fields_wrong(f, part, "params",
                           "Parameters must be numbered sequentially, starting from 1");
    for (size_t i = 0; numbers && count <= n && i < count; i++) {
        if (!utf8_is_text(values[i]))
            not_valid(f, part);
    }
    return (struct where_params){values, count <= n ? count : 0};
}
