#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#define FIRST_CAP ((size_t)256)

void buf_init(struct buf *buf, size_t limit)
{
    *buf = (struct buf){.limit = limit};
}

void buf_release(struct buf *buf)
{
    free(buf->ptr);
    buf_init(buf, buf->limit);
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
}

static bool grow(struct buf *buf, size_t need)
{
    size_t cap = buf->cap ? buf->cap : FIRST_CAP;

    while (cap < need)
        cap *= 2;
    if (cap > buf->limit)
        cap = buf->limit;

    char *p = realloc(buf->ptr, cap);
    if (!p)
        return false;
    buf->ptr = p;
    buf->cap = cap;
    return true;
}

char *buf_grow(struct buf *buf, size_t n)
{
    if (buf->failed)
        return NULL;
    if (n > buf->limit - buf->len || (buf->cap - buf->len < n && !grow(buf, buf->len + n))) {
        buf->failed = true;
        return NULL;
    }
    if (!buf->ptr && !grow(buf, 1)) {
        buf->failed = true;
        return NULL;
    }
    return buf->ptr + buf->len;
}

static void store_be(char *p, uint64_t v, size_t width)
{
    for (size_t i = width; i-- > 0; v >>= 8)
        p[i] = (char)(v & 0xff);
}

static void put_be(struct buf *buf, uint64_t v, size_t width)
{
    char bytes[8];

    store_be(bytes, v, width);
    buf_put(buf, bytes, width);
}

void buf_put_u16(struct buf *buf, uint16_t v)
{
    put_be(buf, v, 2);
}

void buf_put_u32(struct buf *buf, uint32_t v)
{
    put_be(buf, v, 4);
}

void buf_put_u64(struct buf *buf, uint64_t v)
{
    put_be(buf, v, 8);
}

void buf_put_dec(struct buf *buf, uint64_t v)
{
    char digits[20];
    size_t n = sizeof(digits);

    do {
        digits[--n] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    buf_put(buf, digits + n, sizeof(digits) - n);
}

/* Once into the room that there is, which is nearly always enough; else again into what it takes.
 */
void buf_printf(struct buf *buf, const char *fmt, ...)
{
    size_t room = buf->failed ? 0 : buf->cap - buf->len;
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(room ? buf->ptr + buf->len : NULL, room, fmt, ap);
    va_end(ap);
    if (n < 0) {
        buf->failed = true;
        return;
    }
    char *p = buf_room(buf, (size_t)n + 1);
    if (!p)
        return;
    if ((size_t)n >= room) {
        va_start(ap, fmt);
        vsnprintf(p, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    buf->len += (size_t)n;
}

void buf_put_varint(struct buf *buf, uint64_t v)
{
    char bytes[10];
    size_t n = 0;

    while (v >= 0x80) {
        bytes[n++] = (char)(v | 0x80);
        v >>= 7;
    }
    bytes[n++] = (char)v;
    buf_put(buf, bytes, n);
}

void buf_set_u32(struct buf *buf, size_t at, uint32_t v)
{
    if (!buf->failed)
        store_be(buf->ptr + at, v, 4);
}

void buf_set_u64(struct buf *buf, size_t at, uint64_t v)
{
    if (!buf->failed)
        store_be(buf->ptr + at, v, 8);
}

void buf_consume(struct buf *buf, size_t n)
{
    buf->len -= n;
    if (buf->len)
        memmove(buf->ptr, buf->ptr + n, buf->len);
}

const char *buf_cstr(struct buf *buf)
{
    char *p = buf_room(buf, 1);

    if (!p)
        return "";
    *p = '\0';
    return buf->ptr;
}
