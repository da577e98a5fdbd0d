#include "replica/answer.h"

#include "base/buf.h"
#include "replica/trouble.h"

#include <stdlib.h>
#include <yyjson.h>

/* The number in "shapes[0].where", or SIZE_MAX. */
static size_t shape_at(const char *place)
{
    char *end;

    if (strncmp(place, "shapes[", 7) != 0)
        return SIZE_MAX;
    size_t number = strtoul(place + 7, &end, 10);
    return *end == ']' ? number : SIZE_MAX;
}

/* "shapes[0].where" as "shapes[0] (orders).where". */
static void put_place(struct buf *out, const struct replica *r, const char *place)
{
    const char *name = replica_shape_name(r, shape_at(place));
    const char *end = strchr(place, ']');

    if (name)
        buf_printf(out, "%.*s] (%s)%s", (int)(end - place), place, name, end + 1);
    else
        buf_put_cstr(out, place);
}

static void put_errors(struct buf *out, const struct replica *r, yyjson_val *errors)
{
    size_t i, n, j, m;
    yyjson_val *place, *texts, *text;

    if (!yyjson_is_obj(errors))
        return;
    yyjson_obj_foreach(errors, i, n, place, texts)
    {
        if (!yyjson_is_arr(texts))
            continue;
        yyjson_arr_foreach(texts, j, m, text)
        {
            buf_put_cstr(out, "; ");
            put_place(out, r, yyjson_get_str(place));
            buf_printf(out, ": %s", yyjson_is_str(text) ? yyjson_get_str(text) : "?");
        }
    }
}

static bool may_help(long status)
{
    return status == 408 || status == 425 || status == 429 || status >= 500;
}

bool lite_answer_refused(const struct replica *r, long status, struct slice body, struct err *err)
{
    yyjson_doc *doc = body.len ? yyjson_read(body.ptr, body.len, 0) : NULL;
    yyjson_val *root = yyjson_doc_get_root(doc);
    const char *message = yyjson_get_str(yyjson_obj_get(root, "message"));
    enum err_code code = may_help(status) ? ERR_CONN : ERR_INPUT;
    struct buf out;

    buf_init(&out, BUF_NO_LIMIT);
    buf_put_cstr(&out, message ? message : "no message");
    put_errors(&out, r, yyjson_obj_get(root, "errors"));
    err_set(err, code, "the bridge answered %ld: %s", status, buf_cstr(&out));
    buf_release(&out);
    yyjson_doc_free(doc);
    if (status == 401)
        err_hint(err, "give the bridge's secret with --secret or TOMBOLO_SECRET");
    else if (status >= 300 && status < 400)
        err_hint(err, "the address leads elsewhere: give the bridge's own");
    else if (status == 404)
        err_hint(err, "is it a Tombolo bridge's address?");
    return false;
}

static const char *first_text(yyjson_val *texts)
{
    const char *text = yyjson_get_str(yyjson_arr_get_first(texts));

    return text ? text : "?";
}

static bool leave_out(struct replica *r, yyjson_val *errors)
{
    size_t i, n;
    yyjson_val *place, *texts;
    bool any = false;

    if (!yyjson_is_obj(errors))
        return false;
    yyjson_obj_foreach(errors, i, n, place, texts)
    {
        size_t shape = shape_at(yyjson_get_str(place));

        if (shape >= r->nfeeds || !lite_trouble_was_served(&r->feeds[shape]))
            continue;
        lite_trouble_gone(r, &r->feeds[shape], first_text(texts));
        any = true;
    }
    return any;
}

bool lite_answer_unsynced(struct replica *r, long status, struct slice body, struct err *err)
{
    yyjson_doc *doc = body.len ? yyjson_read(body.ptr, body.len, 0) : NULL;

    lite_answer_refused(r, status, body, err);
    if (status == 400 && leave_out(r, yyjson_obj_get(yyjson_doc_get_root(doc), "errors")))
        err->code = ERR_CHANGED;
    yyjson_doc_free(doc);
    return false;
}
