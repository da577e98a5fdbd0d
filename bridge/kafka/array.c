#include "kafka/array.h"

#define MAX_DIMENSIONS 6 /* Postgres's MAXDIM */

struct array_reader {
    const struct array_elements *elements;
    const char *p, *end;
    struct buf element; /* without its quotes and backslashes */
    struct buf *out;
};

static bool malformed(struct err *err)
{
    return err_set(err, ERR_PROTOCOL, "malformed array");
}

static bool read_element(struct array_reader *r, struct err *err)
{
    bool quoted = r->p < r->end && *r->p == '"';

    buf_clear(&r->element);
    for (r->p += quoted; r->p < r->end; r->p++) {
        if (quoted ? *r->p == '"' : *r->p == r->elements->delimiter || *r->p == '}')
            break;
        if (*r->p == '\\' && ++r->p == r->end)
            break;
        buf_put_u8(&r->element, (uint8_t)*r->p);
    }
    if (r->p == r->end)
        return malformed(err);
    r->p += quoted;
    struct slice text = buf_slice(&r->element);
    if (!quoted && slice_is(text, "NULL")) {
        buf_put_cstr(r->out, "null");
        return true;
    }
    return r->elements->put(r->elements->owner, text, r->out, err);
}

static bool read_array(struct array_reader *r, int depth, struct err *err);

static bool read_item(struct array_reader *r, int depth, struct err *err)
{
    if (r->p < r->end && *r->p == '{')
        return read_array(r, depth + 1, err);
    return read_element(r, err);
}

static bool read_array(struct array_reader *r, int depth, struct err *err)
{
    if (depth >= MAX_DIMENSIONS || r->p == r->end || *r->p++ != '{')
        return malformed(err);
    buf_put_u8(r->out, '[');
    if (r->p < r->end && *r->p == '}') {
        r->p++;
        buf_put_u8(r->out, ']');
        return true;
    }
    while (read_item(r, depth, err)) {
        if (r->p == r->end)
            return malformed(err);
        char c = *r->p++;
        buf_put_u8(r->out, c == '}' ? ']' : ',');
        if (c == '}')
            return true;
        if (c != r->elements->delimiter)
            return malformed(err);
    }
    return false;
}

/* Bounds that do not begin with 1 stand in front: "[0:1]={a,b}". */
bool array_put(struct slice text, const struct array_elements *elements, struct buf *out,
               struct err *err)
{
    const char *end = text.ptr + text.len;
    const char *bounds = text.len && *text.ptr == '[' ? memchr(text.ptr, '=', text.len) : NULL;
    struct array_reader r = {elements, bounds ? bounds + 1 : text.ptr, end, {0}, out};

    buf_init(&r.element, BUF_NO_LIMIT);
    bool ok = read_array(&r, 0, err);
    if (ok && r.p != end)
        ok = malformed(err);
    buf_release(&r.element);
    return ok;
}
