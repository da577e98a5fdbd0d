#include "http/encoding.h"

#include <libdeflate.h>
#include <strings.h>
#include <zstd.h>

static const char *const names[HTTP_NENCODINGS] = {
    [HTTP_IDENTITY] = "identity", [HTTP_GZIP] = "gzip", [HTTP_ZSTD] = "zstd"};

const char *http_encoding_name(enum http_encoding encoding)
{
    return names[encoding];
}

/* ---- negotiation ----------------------------------------------------------------------------- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static struct slice trim(struct slice s)
{
    while (s.len && is_space(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len && is_space(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* Takes what stands before `separator`, or all that is left. */
static struct slice take(struct slice *from, char separator)
{
    const char *end = from->len ? memchr(from->ptr, separator, from->len) : NULL;
    struct slice part = {from->ptr, end ? (size_t)(end - from->ptr) : from->len};
    size_t used = part.len + (end ? 1 : 0);

    from->ptr += used;
    from->len -= used;
    return trim(part);
}

/* "q=0.5" in thousandths; -1 when it is not a weight, or not a valid one. */
static int read_weight(struct slice s)
{
    int q = 0, unit = 1000;

    if (s.len < 3 || s.len > 7 || (s.ptr[0] != 'q' && s.ptr[0] != 'Q') || s.ptr[1] != '=' ||
        (s.len > 3 && s.ptr[3] != '.'))
        return -1;
    for (size_t i = 2; i < s.len; i++) {
        if (i == 3)
            continue;
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return -1;
        q += (s.ptr[i] - '0') * unit;
        unit /= 10;
    }
    return q <= 1000 ? q : -1;
}

static int weight_of(struct slice params)
{
    while (params.len) {
        int q = read_weight(take(&params, ';'));

        if (q >= 0)
            return q;
    }
    return 1000;
}

static bool names_it(struct slice name, enum http_encoding encoding)
{
    return (name.len == strlen(names[encoding]) &&
            strncasecmp(name.ptr, names[encoding], name.len) == 0) ||
           (encoding == HTTP_GZIP && name.len == 6 && strncasecmp(name.ptr, "x-gzip", 6) == 0);
}

enum http_encoding http_encoding_choose(struct slice accept)
{
    int weights[HTTP_NENCODINGS] = {0};
    enum http_encoding best = HTTP_IDENTITY;

    while (accept.len) {
        struct slice item = take(&accept, ',');
        struct slice name = take(&item, ';');
        int q = weight_of(item);

        for (int e = 0; e < HTTP_NENCODINGS; e++) {
            if (names_it(name, (enum http_encoding)e))
                weights[e] = q;
        }
    }
    for (int e = 0; e < HTTP_NENCODINGS; e++) {
        if (weights[e] > 0 && weights[e] >= weights[best])
            best = (enum http_encoding)e;
    }
    return best;
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* Into `out`, that has room for `room` bytes; 0 when that is not enough. */
static size_t gzip(enum http_effort effort, struct slice bytes, char *out, size_t room)
{
    struct libdeflate_compressor *c =
        libdeflate_alloc_compressor(effort == HTTP_EFFORT_QUICK ? 1 : 6);
    size_t n = c ? libdeflate_gzip_compress(c, bytes.ptr, bytes.len, out, room) : 0;

    libdeflate_free_compressor(c);
    return n;
}

static size_t zstd(enum http_effort effort, struct slice bytes, char *out, size_t room)
{
    size_t n = ZSTD_compress(out, room, bytes.ptr, bytes.len, effort == HTTP_EFFORT_QUICK ? 1 : 3);

    return ZSTD_isError(n) ? 0 : n;
}

bool http_encode(enum http_encoding encoding, enum http_effort effort, struct slice bytes,
                 struct buf *out)
{
    char *at = bytes.len > 1 ? buf_room(out, bytes.len - 1) : NULL;
    size_t n = 0;

    if (!at)
        return false;
    if (encoding == HTTP_GZIP)
        n = gzip(effort, bytes, at, bytes.len - 1);
    else if (encoding == HTTP_ZSTD)
        n = zstd(effort, bytes, at, bytes.len - 1);
    buf_added(out, n);
    return n > 0;
}
