/*
 * Reads big-endian fields from bytes it does not own. A read past the end
 * sets `failed` and yields zero, as does every read after it; so a message
 * is read field by field and checked once, at its end.
 */
#ifndef BASE_READER_H
#define BASE_READER_H

#include "base/slice.h"

#include <stdint.h>

struct reader {
    const uint8_t *p, *end;
    bool failed;
};

static inline struct reader reader_of(struct slice bytes)
{
    const uint8_t *p = (const uint8_t *)bytes.ptr;

    return (struct reader){p, p ? p + bytes.len : p, false};
}

static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->p);
}

/* True when everything was read and nothing was missing. */
static inline bool reader_done(const struct reader *r)
{
    return !r->failed && r->p == r->end;
}

static inline const uint8_t *reader_take(struct reader *r, size_t n)
{
    if (r->failed || reader_left(r) < n) {
        r->failed = true;
        return NULL;
    }
    r->p += n;
    return r->p - n;
}

static inline uint64_t reader_uint(struct reader *r, size_t width)
{
    const uint8_t *p = reader_take(r, width);
    uint64_t v = 0;

    for (size_t i = 0; p && i < width; i++)
        v = v << 8 | p[i];
    return v;
}

static inline uint8_t reader_u8(struct reader *r)
{
    return (uint8_t)reader_uint(r, 1);
}

static inline uint16_t reader_u16(struct reader *r)
{
    return (uint16_t)reader_uint(r, 2);
}

static inline uint32_t reader_u32(struct reader *r)
{
    return (uint32_t)reader_uint(r, 4);
}

static inline uint64_t reader_u64(struct reader *r)
{
    return reader_uint(r, 8);
}

/* LEB128 of at most 64 bits. */
uint64_t reader_varint(struct reader *r);

static inline struct slice reader_slice(struct reader *r, size_t len)
{
    const uint8_t *p = reader_take(r, len);

    return p ? (struct slice){(const char *)p, len} : (struct slice){"", 0};
}

/* Up to the next NUL, which is read too and is not part of the result. */
struct slice reader_cstr(struct reader *r);

#endif
