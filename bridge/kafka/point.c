#include "kafka/point.h"

#include "base/arena.h"
#include "kafka/base64.h"
#include "kafka/floats.h"

#include <stdlib.h>

/* A point in well-known binary: little-endian, type 1, two doubles. */
static void put_wkb(struct buf *out, const double xy[2])
{
    uint8_t wkb[21] = {1, 1};
    uint64_t bits;

    for (size_t k = 0; k < 2; k++) {
        memcpy(&bits, &xy[k], sizeof(bits));
        for (size_t i = 0; i < 8; i++)
            wkb[5 + k * 8 + i] = (uint8_t)(bits >> (i * 8));
    }
    base64_put(out, (struct slice){(const char *)wkb, sizeof(wkb)});
}

bool point_put(struct slice text, struct buf *out, struct err *err)
{
    const char *comma = memchr(text.ptr, ',', text.len);
    char *copy = xcalloc(text.len + 1, 1);

    if (!comma || text.len < 5 || text.ptr[0] != '(') {
        free(copy);
        return err_set(err, ERR_PROTOCOL, "not a point: \"%.*s\"", SLICE_ARG(text));
    }
    memcpy(copy, text.ptr, text.len);
    size_t at = (size_t)(comma - text.ptr);
    const double xy[2] = {strtod(copy + 1, NULL), strtod(copy + at + 1, NULL)};
    free(copy);
    buf_put_cstr(out, "{\"x\":");
    floats_put((struct slice){text.ptr + 1, at - 1}, out);
    buf_put_cstr(out, ",\"y\":");
    floats_put((struct slice){comma + 1, text.len - at - 2}, out);
    buf_put_cstr(out, ",\"wkb\":\"");
    put_wkb(out, xy);
    buf_put_cstr(out, "\",\"srid\":null}");
    return true;
}
