#include "token/strict_json.h"
#include "token/shown.h"

struct slice strict_json_text(yyjson_val *val)
{
    return yyjson_is_raw(val) ? (struct slice){yyjson_get_raw(val), yyjson_get_len(val)}
                              : (struct slice){yyjson_get_str(val), yyjson_get_len(val)};
}

static bool check_string(yyjson_val *val, struct err *err)
{
    struct slice s = strict_json_text(val);

    if (s.len && memchr(s.ptr, 0, s.len))
        return err_set(err, ERR_INPUT, "a string holds a NUL character");
    return true;
}

/* That none of the members before `key` has its name. */
static bool check_key(yyjson_val *object, yyjson_val *key, struct err *err)
{
    struct slice name = strict_json_text(key);
    yyjson_val *other;
    yyjson_obj_iter iter;

    yyjson_obj_iter_init(object, &iter);
    while ((other = yyjson_obj_iter_next(&iter)) && other != key) {
        if (slice_eq(strict_json_text(other), name))
            return err_set(err, ERR_INPUT, "\"%s\" occurs twice in one object", SHOWN(name));
    }
    return check_string(key, err);
}

static bool check(yyjson_val *val, int depth, struct err *err);

static bool check_object(yyjson_val *object, int depth, struct err *err)
{
    yyjson_val *key;
    yyjson_obj_iter iter;

    if (yyjson_obj_size(object) > STRICT_JSON_MEMBERS)
        return err_set(err, ERR_INPUT, "an object has more than %d members", STRICT_JSON_MEMBERS);
    yyjson_obj_iter_init(object, &iter);
    while ((key = yyjson_obj_iter_next(&iter))) {
        if (!check_key(object, key, err) || !check(yyjson_obj_iter_get_val(key), depth + 1, err))
            return false;
    }
    return true;
}

static bool check_array(yyjson_val *array, int depth, struct err *err)
{
    yyjson_val *item;
    yyjson_arr_iter iter;

    yyjson_arr_iter_init(array, &iter);
    while ((item = yyjson_arr_iter_next(&iter))) {
        if (!check(item, depth + 1, err))
            return false;
    }
    return true;
}

static bool check(yyjson_val *val, int depth, struct err *err)
{
    if (yyjson_is_str(val))
        return check_string(val, err);
    if (!yyjson_is_ctn(val))
        return true;
    if (depth == STRICT_JSON_DEPTH)
        return err_set(err, ERR_INPUT, "objects and arrays are nested more than %d deep",
                       STRICT_JSON_DEPTH);
    return yyjson_is_obj(val) ? check_object(val, depth, err) : check_array(val, depth, err);
}

static void set_read_error(struct slice text, const yyjson_read_err *why, struct err *err)
{
    size_t line = 0, column = 0, character = 0;

    if (yyjson_locate_pos(text.ptr, text.len, why->pos, &line, &column, &character))
        err_set(err, ERR_INPUT, "line %zu, column %zu: %s", line, column, why->msg);
    else
        err_set(err, ERR_INPUT, "%s", why->msg);
}

yyjson_doc *strict_json_object(struct slice text, struct err *err)
{
    yyjson_read_err why;
    /* yyjson takes no const text, but changes it only when told to read in situ */
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)text.ptr, text.len,
                                       YYJSON_READ_NUMBER_AS_RAW, NULL, &why);

    if (!doc) {
        set_read_error(text, &why, err);
        return NULL;
    }
    if (!yyjson_is_obj(yyjson_doc_get_root(doc)))
        err_set(err, ERR_INPUT, "must be a JSON object");
    else if (check(yyjson_doc_get_root(doc), 0, err))
        return doc;
    yyjson_doc_free(doc);
    return NULL;
}
