#include "shapelog/segment.h"
#include "base/arena.h"
#include "base/hash.h"
#include "shapelog/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define HEAD_MAGIC "TMBSEG01"
#define END_MAGIC "TMBEND01"
#define MAGIC_LEN 8u
#define TRAILER_SIZE 40u
#define SEGMENT_MAX ((uint64_t)UINT32_MAX) /* offsets in it have 32 bits */

void segment_path(const char *dir, uint32_t number, struct buf *path)
{
    buf_printf(path, "%s/segments/%010u.seg", dir, number);
}

struct segment *segment_new(const char *dir, uint32_t number, enum segment_kind kind)
{
    struct buf path;

    buf_init(&path, BUF_NO_LIMIT);
    segment_path(dir, number, &path);
    struct segment *segment = xcalloc(1, sizeof(*segment) + path.len + 1);

    memcpy(segment->path, path.ptr, path.len);
    buf_release(&path);
    segment->number = number;
    segment->kind = kind;
    atomic_init(&segment->refs, 1);
    atomic_init(&segment->fd, -1);
    buf_init(&segment->index, BUF_NO_LIMIT);
    pthread_mutex_init(&segment->lock, NULL);
    return segment;
}

struct segment *segment_ref(struct segment *segment)
{
    atomic_fetch_add_explicit(&segment->refs, 1, memory_order_relaxed);
    return segment;
}

void segment_unref(struct segment *segment)
{
    if (!segment || atomic_fetch_sub_explicit(&segment->refs, 1, memory_order_acq_rel) != 1)
        return;
    int fd = atomic_load(&segment->fd);

    if (fd >= 0)
        close(fd);
    buf_release(&segment->index);
    pthread_mutex_destroy(&segment->lock);
    free(segment);
}

static void put_head(const struct segment *segment, struct buf *out)
{
    buf_put_cstr(out, HEAD_MAGIC);
    buf_put_u32(out, segment->number);
    buf_put_u32(out, segment->kind);
    buf_put_u64(out, 0);
    buf_put_u64(out, hash_bytes(buf_slice(out)));
}

bool segment_head_good(const struct segment *segment, struct slice bytes)
{
    struct buf head;

    buf_init(&head, SEGMENT_HEAD_SIZE);
    put_head(segment, &head);
    bool good = !head.failed && bytes.len >= head.len &&
                slice_eq((struct slice){bytes.ptr, head.len}, buf_slice(&head));
    buf_release(&head);
    return good;
}

bool segment_create(struct segment *segment, struct err *err)
{
    int fd = open(segment->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    struct buf head;
    size_t done;

    if (fd < 0)
        return err_errno(err, ERR_IO, "could not make \"%s\"", segment->path);
    buf_init(&head, SEGMENT_HEAD_SIZE);
    put_head(segment, &head);
    bool ok = io_write(fd, buf_slice(&head), 0, &done, err);
    buf_release(&head);
    if (!ok) {
        close(fd);
        unlink(segment->path);
        return err_wrap(err, "segment %u", segment->number);
    }
    atomic_store(&segment->fd, fd);
    atomic_store(&segment->checked, true);
    atomic_store(&segment->size, SEGMENT_HEAD_SIZE);
    return true;
}

/* Holding the lock. */
static bool open_locked(struct segment *segment, struct err *err)
{
    uint64_t size;

    if (atomic_load(&segment->fd) >= 0)
        return true;
    int fd = open(segment->path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno == ENOENT ? ERR_CORRUPT : ERR_IO, "could not open \"%s\"",
                         segment->path);
    if (!io_size(fd, &size, err)) {
        close(fd);
        return false;
    }
    atomic_store(&segment->size, size);
    atomic_store(&segment->fd, fd);
    return true;
}

bool segment_open(struct segment *segment, struct err *err)
{
    if (atomic_load(&segment->fd) >= 0)
        return true;
    pthread_mutex_lock(&segment->lock);
    bool ok = open_locked(segment, err);
    pthread_mutex_unlock(&segment->lock);
    return ok;
}

bool segment_load(struct segment *segment, struct slice *bytes, struct err *err)
{
    uint64_t size;
    int fd = atomic_load(&segment->fd);

    if (!io_size(fd, &size, err))
        return false;
    if (size > SEGMENT_MAX)
        return err_set(err, ERR_CORRUPT, "segment %u is too long", segment->number);
    char *p = xmalloc((size_t)size);

    if (!io_read(fd, p, (size_t)size, 0, err)) {
        free(p);
        return err_wrap(err, "segment %u", segment->number);
    }
    *bytes = (struct slice){p, (size_t)size};
    return true;
}

/* Where the blocks end, by the trailer; 0 when that is not one. */
static uint64_t trailer_blocks_end(struct slice bytes)
{
    if (bytes.len < SEGMENT_HEAD_SIZE + TRAILER_SIZE)
        return 0;
    struct reader r = reader_of((struct slice){bytes.ptr + bytes.len - TRAILER_SIZE, TRAILER_SIZE});
    struct slice magic = reader_slice(&r, MAGIC_LEN);
    uint64_t body_len = reader_u64(&r), end = reader_u64(&r);

    if (!slice_is(magic, END_MAGIC) || end < SEGMENT_HEAD_SIZE || end > bytes.len ||
        body_len != bytes.len - TRAILER_SIZE - end)
        return 0;
    return end;
}

static bool check_blocks(const struct segment *segment, struct slice bytes, struct err *err)
{
    uint64_t at = SEGMENT_HEAD_SIZE, end = trailer_blocks_end(bytes);
    struct block block;

    if (!segment_head_good(segment, bytes) || end == 0)
        return err_set(err, ERR_CORRUPT, "segment %u has no good head and end", segment->number);
    for (; at < end; at += block_size(&block.head)) {
        if (block_read((struct slice){bytes.ptr + at, (size_t)(end - at)}, &block) != BLOCK_GOOD)
            return err_set(err, ERR_CORRUPT, "segment %u is damaged at byte %llu", segment->number,
                           (unsigned long long)at);
    }
    return true;
}

static bool check_locked(struct segment *segment, struct err *err)
{
    struct slice bytes;

    if (!open_locked(segment, err))
        return false;
    if (atomic_load(&segment->checked))
        return true;
    if (!segment_load(segment, &bytes, err))
        return false;
    bool good = check_blocks(segment, bytes, err);
    free((char *)bytes.ptr);
    atomic_store(&segment->checked, good);
    return good;
}

bool segment_check(struct segment *segment, struct err *err)
{
    if (atomic_load(&segment->checked) && atomic_load(&segment->fd) >= 0)
        return true;
    pthread_mutex_lock(&segment->lock);
    bool good = check_locked(segment, err);
    pthread_mutex_unlock(&segment->lock);
    return good;
}

/* ---- the footer ------------------------------------------------------------------------------ */

void footer_init(struct footer *footer)
{
    *footer = (struct footer){0};
    buf_init(&footer->body, BUF_NO_LIMIT);
}

static uint64_t zigzag(uint64_t to, uint64_t from)
{
    uint64_t d = to - from;

    return d >> 63 ? ~(d << 1) : d << 1;
}

static uint64_t unzigzag(uint64_t v, uint64_t from)
{
    return from + (v & 1 ? ~(v >> 1) : v >> 1);
}

void footer_add(struct footer *footer, const struct block_head *head, struct slice refs)
{
    buf_put_varint(&footer->body, head->flags);
    buf_put_varint(&footer->body, zigzag(head->commit_lsn, footer->last.commit_lsn));
    buf_put_varint(&footer->body, zigzag(head->xid, footer->last.xid));
    buf_put_varint(&footer->body, zigzag(head->txn, footer->last.txn));
    buf_put_varint(&footer->body, head->refs_len);
    buf_put_varint(&footer->body, head->data_len);
    buf_put_slice(&footer->body, refs);
    footer->last = *head;
    footer->blocks++;
}

void footer_put(const struct footer *footer, uint64_t blocks_end, struct buf *out)
{
    size_t at = out->len;

    buf_put_slice(out, buf_slice(&footer->body));
    buf_put_cstr(out, END_MAGIC);
    buf_put_u64(out, footer->body.len);
    buf_put_u64(out, blocks_end);
    buf_put_u32(out, footer->blocks);
    buf_put_u32(out, 0);
    if (!out->failed)
        buf_put_u64(out, hash_bytes((struct slice){out->ptr + at, out->len - at}));
}

struct footer_reader footer_reader_of(struct slice body)
{
    return (struct footer_reader){.r = reader_of(body), .offset = SEGMENT_HEAD_SIZE};
}

bool footer_next(struct footer_reader *reader, struct block_head *head, struct slice *refs,
                 uint64_t *data_offset)
{
    struct reader *r = &reader->r;

    if (r->failed || r->p == r->end)
        return false;
    *head = (struct block_head){.flags = (uint32_t)reader_varint(r)};
    head->commit_lsn = unzigzag(reader_varint(r), reader->last.commit_lsn);
    head->xid = (uint32_t)unzigzag(reader_varint(r), reader->last.xid);
    head->txn = (uint32_t)unzigzag(reader_varint(r), reader->last.txn);
    head->refs_len = (uint32_t)reader_varint(r);
    head->data_len = (uint32_t)reader_varint(r);
    *refs = reader_slice(r, head->refs_len);
    *data_offset = reader->offset + BLOCK_HEAD_SIZE + head->refs_len;
    reader->offset += block_size(head);
    reader->last = *head;
    if (reader->offset > SEGMENT_MAX)
        r->failed = true;
    return !r->failed;
}

/* The sum is good and the blocks before the footer are as long as it says. */
static bool footer_good(struct slice footer, uint64_t blocks_end)
{
    struct reader sum = reader_of((struct slice){footer.ptr + footer.len - 8, 8});
    struct footer_reader reader =
        footer_reader_of((struct slice){footer.ptr, footer.len - TRAILER_SIZE});
    struct block_head head;
    struct slice refs;
    uint64_t at;

    if (hash_bytes((struct slice){footer.ptr, footer.len - 8}) != reader_u64(&sum))
        return false;
    while (footer_next(&reader, &head, &refs, &at))
        ;
    return !reader.r.failed && reader.offset == blocks_end;
}

static bool find_footer(struct segment *segment, uint64_t *blocks_end, uint64_t *size,
                        struct err *err)
{
    char trailer[TRAILER_SIZE];
    int fd = atomic_load(&segment->fd);

    if (!io_size(fd, size, err))
        return false;
    if (*size < SEGMENT_HEAD_SIZE + TRAILER_SIZE || *size > SEGMENT_MAX)
        return err_set(err, ERR_CORRUPT, "segment %u has no footer", segment->number);
    if (!io_read(fd, trailer, TRAILER_SIZE, *size - TRAILER_SIZE, err))
        return false;
    struct reader r = reader_of((struct slice){trailer, TRAILER_SIZE});
    struct slice magic = reader_slice(&r, MAGIC_LEN);
    uint64_t body_len = reader_u64(&r);

    *blocks_end = reader_u64(&r);
    if (!slice_is(magic, END_MAGIC) || *blocks_end < SEGMENT_HEAD_SIZE ||
        *blocks_end > *size - TRAILER_SIZE || body_len != *size - TRAILER_SIZE - *blocks_end)
        return err_set(err, ERR_CORRUPT, "segment %u has no footer", segment->number);
    return true;
}

bool segment_read_footer(struct segment *segment, struct slice *body, struct err *err)
{
    uint64_t blocks_end = 0, size = 0;

    if (!segment_open(segment, err) || !find_footer(segment, &blocks_end, &size, err))
        return false;
    size_t len = (size_t)(size - blocks_end);
    char *p = xmalloc(len);

    if (!io_read(atomic_load(&segment->fd), p, len, blocks_end, err)) {
        free(p);
        return false;
    }
    if (!footer_good((struct slice){p, len}, blocks_end)) {
        free(p);
        return err_set(err, ERR_CORRUPT, "the footer of segment %u is damaged", segment->number);
    }
    *body = (struct slice){p, len - TRAILER_SIZE};
    return true;
}
