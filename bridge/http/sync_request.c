#include "http/sync_request.h"
#include "http/sync_acks.h"
#include "change/json.h"
#include "change/table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#define MAX_PARAMS 1000
#define MAX_REFUSED 200 /* bytes of a reason: it becomes part of another */

struct parse {
    struct arena *arena;
    struct sync_invalid *invalid;
    char place[32]; /* "shapes[3]." or "" */
};

static bool wrong(struct parse *p, const char *field, const char *text)
{
    snprintf(p->invalid->field, sizeof(p->invalid->field), "%s%s", p->place, field);
    return err_set(&p->invalid->err, ERR_INPUT, "%s", text);
}

static struct slice copy_string(struct parse *p, yyjson_val *val)
{
    return arena_copy(p->arena, (struct slice){yyjson_get_str(val), yyjson_get_len(val)});
}

/* A string without NUL, or absent; null counts as absent. */
static bool take_string(struct parse *p, yyjson_val *object, const char *field, struct slice *out)
{
    yyjson_val *val = yyjson_obj_get(object, field);

    *out = (struct slice){NULL, 0};
    if (!val || yyjson_is_null(val))
        return true;
    if (!yyjson_is_str(val))
        return wrong(p, field, "must be a string");
    if (memchr(yyjson_get_str(val), 0, yyjson_get_len(val)))
        return wrong(p, field, "must not contain a NUL character");
    *out = copy_string(p, val);
    return true;
}

/* ["id", "total"]: exact names, which the shape's request wants as a quoted list. */
static bool take_columns(struct parse *p, yyjson_val *object, struct slice *out)
{
    yyjson_val *list = yyjson_obj_get(object, "columns"), *val;
    yyjson_arr_iter iter;
    struct buf b;

    *out = (struct slice){NULL, 0};
    if (!list || yyjson_is_null(list))
        return true;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) == 0)
        return wrong(p, "columns", "must be a list of column names");
    buf_init(&b, BUF_NO_LIMIT);
    yyjson_arr_iter_init(list, &iter);
    while ((val = yyjson_arr_iter_next(&iter))) {
        if (!yyjson_is_str(val) || yyjson_get_len(val) == 0) {
            buf_release(&b);
            return wrong(p, "columns", "must be a list of column names");
        }
        if (b.len)
            buf_put_u8(&b, ',');
        sql_put_ident(&b, (struct slice){yyjson_get_str(val), yyjson_get_len(val)});
    }
    *out = arena_copy(p->arena, buf_slice(&b));
    buf_release(&b);
    return true;
}

/* {"1": "x", "2": "y"} with keys 1..n, in any order. */
static bool take_params(struct parse *p, yyjson_val *object, struct where_params *out)
{
    yyjson_val *map = yyjson_obj_get(object, "params"), *key;
    yyjson_obj_iter iter;

    *out = (struct where_params){NULL, 0};
    if (!map || yyjson_is_null(map))
        return true;
    if (!yyjson_is_obj(map) || yyjson_obj_size(map) > MAX_PARAMS)
        return wrong(p, "params", "must be an object like {\"1\": \"text\"}");
    size_t n = yyjson_obj_size(map);
    struct slice *values = arena_calloc(p->arena, n, sizeof(*values));

    yyjson_obj_iter_init(map, &iter);
    while ((key = yyjson_obj_iter_next(&iter))) {
        yyjson_val *val = yyjson_obj_iter_get_val(key);
        char *end;
        unsigned long i = strtoul(yyjson_get_str(key), &end, 10);

        if (*end || end == yyjson_get_str(key))
            return wrong(p, "params", "Parameters can only use numbers as keys");
        if (i < 1 || i > n || values[i - 1].ptr)
            return wrong(p, "params", "Parameters must be numbered sequentially, starting from 1");
        if (!yyjson_is_str(val))
            return wrong(p, "params", "Parameters must be strings");
        values[i - 1] = copy_string(p, val);
    }
    *out = (struct where_params){values, n};
    return true;
}

/* "-1", or "<position>_inf". */
static bool take_offset(struct parse *p, yyjson_val *object, struct sync_shape_request *out)
{
    struct slice text;
    char *end;

    if (!take_string(p, object, "offset", &text))
        return false;
    if (!text.ptr || slice_is(text, "-1"))
        return true;
    if (text.ptr[0] < '0' || text.ptr[0] > '9')
        return wrong(p, "offset", "has invalid format");
    errno = 0;
    out->after = strtoull(text.ptr, &end, 10);
    if (errno == ERANGE || strcmp(end, "_inf") != 0)
        return wrong(p, "offset", "has invalid format");
    if (!out->handle.len)
        return wrong(p, "handle", "can't be blank when offset != -1");
    out->resumes = true;
    return true;
}

/* Cut where it is too long: it is for people to read. */
static bool take_refused(struct parse *p, yyjson_val *object, struct sync_shape_request *out)
{
    if (!take_string(p, object, "refused", &out->refused))
        return false;
    if (out->refused.len > MAX_REFUSED)
        out->refused.len = MAX_REFUSED;
    while (out->refused.len && (out->refused.ptr[out->refused.len] & 0xc0) == 0x80)
        out->refused.len--;
    if (!out->refused.len)
        return true;
    if (!out->handle.len)
        return wrong(p, "handle", "can't be blank when it is refused");
    return !out->resumes || wrong(p, "offset", "must be -1 for a handle that is refused");
}

/* What is named has all that defines it. */
static bool check_named(struct parse *p, const struct sync_shape_request *out)
{
    const struct shape_request *shape = &out->shape;
    const char *field = shape->table.ptr     ? "table"
                        : shape->where.ptr   ? "where"
                        : shape->columns.ptr ? "columns"
                        : shape->params.n    ? "params"
                                             : NULL;

    return !field || wrong(p, field, "can't be given together with shape");
}

static bool take_shape(struct parse *p, yyjson_val *object, struct sync_shape_request *out)
{
    if (!yyjson_is_obj(object))
        return wrong(p, "", "must be an object");
    if (!take_string(p, object, "shape", &out->name) ||
        !take_string(p, object, "table", &out->shape.table) ||
        !take_string(p, object, "where", &out->shape.where) ||
        !take_string(p, object, "handle", &out->handle) ||
        !take_string(p, object, "lineage", &out->lineage) ||
        !take_columns(p, object, &out->shape.columns) ||
        !take_params(p, object, &out->shape.params) || !take_offset(p, object, out) ||
        !take_refused(p, object, out))
        return false;
    if (out->name.len)
        return check_named(p, out);
    if (!out->shape.table.len)
        return wrong(p, "table", "can't be blank");
    out->shape.keyed_by_identity = true;
    return true;
}

static bool take_shapes(struct parse *p, yyjson_val *root, size_t max, struct sync_request *out)
{
    yyjson_val *list = yyjson_obj_get(root, "shapes"), *val;
    yyjson_arr_iter iter;
    size_t i = 0;

    if (!yyjson_is_arr(list) || yyjson_arr_size(list) == 0)
        return wrong(p, "shapes", "must be a list of at least one shape");
    if (yyjson_arr_size(list) > max) {
        char text[80];

        snprintf(text, sizeof(text), "must not have more than %zu shapes", max);
        return wrong(p, "shapes", text);
    }
    out->nshapes = yyjson_arr_size(list);
    out->shapes = arena_calloc(p->arena, out->nshapes, sizeof(*out->shapes));
    yyjson_arr_iter_init(list, &iter);
    for (; (val = yyjson_arr_iter_next(&iter)); i++) {
        snprintf(p->place, sizeof(p->place), "shapes[%zu]%s", i, yyjson_is_obj(val) ? "." : "");
        if (!take_shape(p, val, &out->shapes[i]))
            return false;
    }
    p->place[0] = '\0';
    return true;
}

static bool take_request(struct parse *p, yyjson_val *root, size_t max, struct sync_request *out)
{
    yyjson_val *live = yyjson_obj_get(root, "live"), *writes = yyjson_obj_get(root, "writes");

    if (!yyjson_is_obj(root))
        return wrong(p, "body", "must be a JSON object");
    if (live && !yyjson_is_bool(live))
        return wrong(p, "live", "must be true or false");
    if (writes && !yyjson_is_bool(writes))
        return wrong(p, "writes", "must be true or false");
    out->live = !live || yyjson_get_bool(live);
    out->writes = yyjson_get_bool(writes);
    return take_shapes(p, root, max, out);
}

/* What the caller allocates: `beside` a shape, the feeds with their texts, and those of the rules
 * for what is named. */
static size_t room_beside(const struct sync_request *request, size_t beside)
{
    const size_t texts = 64, rules = 128, feeds = request->writes ? ACKS_NFEEDS : 0;
    size_t named = 0;

    for (size_t i = 0; i < request->nshapes; i++)
        named += request->shapes[i].name.len > 0;
    return (request->nshapes + feeds) * beside + named * rules +
           feeds * (sizeof(struct sync_shape_request) + texts) + 16;
}

/* Once to see what it takes, and once more into just that. */
static bool take_twice(struct parse *p, yyjson_val *root, size_t body_len, size_t max_shapes,
                       size_t beside, struct sync_request *out)
{
    struct arena *arena = p->arena, first = {0};

    arena_reserve(&first, 2 * body_len + 512);
    p->arena = &first;
    bool ok = take_request(p, root, max_shapes, out);
    if (ok)
        arena_reserve(arena, arena_used(&first) + room_beside(out, beside));
    arena_release(&first);
    p->arena = arena;
    return ok && take_request(p, root, max_shapes, out);
}

bool sync_request_parse(struct slice body, size_t max_shapes, size_t beside, struct arena *arena,
                        struct sync_request *request, struct sync_invalid *invalid)
{
    struct parse p = {.arena = arena, .invalid = invalid};
    yyjson_read_err at;
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)body.ptr, body.len, 0, NULL, &at);

    *request = (struct sync_request){0};
    if (!doc) {
        wrong(&p, "body", "");
        return err_set(&invalid->err, ERR_INPUT, "is not JSON: %s at byte %zu", at.msg, at.pos);
    }
    bool ok = take_twice(&p, yyjson_doc_get_root(doc), body.len, max_shapes, beside, request);
    yyjson_doc_free(doc);
    return ok;
}

void sync_invalid_put(const struct sync_invalid *invalid, struct buf *out)
{
    buf_put_cstr(out, "{\"message\":\"Invalid request\",\"errors\":{");
    json_put_string(out, slice_of(invalid->field));
    buf_put_cstr(out, ":[");
    json_put_string(out, slice_of(invalid->err.msg));
    buf_put_cstr(out, "]}}");
}
