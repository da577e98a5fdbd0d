/*
 * A growing run of bytes that the owner adds to at its end. A buffer is told
 * its limit when it is initialised; adding beyond it, or running out of
 * memory, sets `failed`, and every later add does nothing. So a message is
 * put together piece by piece and checked once:
 *
 *     buf_put_slice(&b, name);
 *     buf_put_u32(&b, n);
 *     if (b.failed)
 *         return err_set(err, ERR_LIMIT, "...");
 *
 * Invariant: len <= cap <= limit. The integers are big-endian, as on
 * Postgres's wire; the log's own format uses them too.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/err.h"
#include "base/slice.h"

#include <stdint.h>

#define BUF_NO_LIMIT (SIZE_MAX / 4)

struct buf {
    char *ptr;
    size_t len, cap, limit;
    bool failed;
};

/* Empty, holding nothing; grows up to `limit` bytes. */
void buf_init(struct buf *buf, size_t limit);
/* Gives the memory back; the buffer is as after buf_init(). */
void buf_release(struct buf *buf);
/* Forgets the content and the failure, keeps the memory. */
void buf_clear(struct buf *buf);

/* buf_room() where there is none yet, or there is a failure. */
char *buf_grow(struct buf *buf, size_t n);

/* Makes room for `n` more bytes; returns where they go, or NULL when failed.
 * The caller writes there and then calls buf_added(). Inline, as what is put most: rows are
 * written a few bytes at a time. */
static inline char *buf_room(struct buf *buf, size_t n)
{
    if (!buf->failed && buf->cap && buf->cap - buf->len >= n && buf->limit - buf->len >= n)
        return buf->ptr + buf->len;
    return buf_grow(buf, n);
}

static inline void buf_added(struct buf *buf, size_t n)
{
    buf->len += n;
}

static inline void buf_put(struct buf *buf, const void *bytes, size_t n)
{
    char *p = n ? buf_room(buf, n) : NULL;

    if (p) {
        memcpy(p, bytes, n);
        buf->len += n;
    }
}

static inline void buf_put_u8(struct buf *buf, uint8_t v)
{
    char *p = buf_room(buf, 1);

    if (p) {
        *p = (char)v;
        buf->len++;
    }
}

static inline void buf_put_slice(struct buf *buf, struct slice s)
{
    buf_put(buf, s.ptr, s.len);
}

static inline void buf_put_cstr(struct buf *buf, const char *cstr)
{
    buf_put(buf, cstr, strlen(cstr));
}

void buf_put_u16(struct buf *buf, uint16_t v);
void buf_put_u32(struct buf *buf, uint32_t v);
void buf_put_u64(struct buf *buf, uint64_t v);
/* Decimal text. */
void buf_put_dec(struct buf *buf, uint64_t v);
void buf_printf(struct buf *buf, const char *fmt, ...) PRINTF(2, 3);
/* LEB128: seven bits a byte, lowest first. */
void buf_put_varint(struct buf *buf, uint64_t v);

/* Overwrites four or eight bytes put earlier at `at`. */
void buf_set_u32(struct buf *buf, size_t at, uint32_t v);
void buf_set_u64(struct buf *buf, size_t at, uint64_t v);

/* Drops the first `n` bytes. */
void buf_consume(struct buf *buf, size_t n);

static inline struct slice buf_slice(const struct buf *buf)
{
    return (struct slice){buf->ptr, buf->len};
}

/* NUL-terminates (the NUL is not counted) and returns the text, or "" when failed. */
const char *buf_cstr(struct buf *buf);

#endif
