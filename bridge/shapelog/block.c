#include "shapelog/block.h"
#include "base/hash.h"

#define MAGIC 0x54424c4bu /* "TBLK" */

static uint64_t zigzag(uint64_t to, uint64_t from)
{
    uint64_t d = to - from;

    return d >> 63 ? ~(d << 1) : d << 1;
}

static uint64_t unzigzag(uint64_t v, uint64_t from)
{
    return from + (v & 1 ? ~(v >> 1) : v >> 1);
}

void block_put_ref(struct buf *out, const struct block_ref *ref, const struct block_ref *before)
{
    buf_put_varint(out, zigzag(ref->log, before->log));
    buf_put_varint(out, zigzag(ref->start, (uint64_t)before->start + before->len));
    buf_put_varint(out, ref->len);
    buf_put_varint(out, zigzag(ref->first_op, before->last_op));
    buf_put_varint(out, ref->last_op - ref->first_op);
}

bool block_read_ref(struct reader *r, uint32_t data_len, struct block_ref *ref)
{
    if (r->failed || r->p == r->end)
        return false;
    uint64_t log = unzigzag(reader_varint(r), ref->log);
    uint64_t start = unzigzag(reader_varint(r), (uint64_t)ref->start + ref->len);
    uint64_t len = reader_varint(r);
    uint64_t first = unzigzag(reader_varint(r), ref->last_op);
    uint64_t ops = reader_varint(r);

    if (start > data_len || len == 0 || len > data_len - start || first > UINT32_MAX ||
        ops > UINT32_MAX - first)
        r->failed = true;
    if (r->failed)
        return false;
    *ref = (struct block_ref){log, (uint32_t)start, (uint32_t)len, (uint32_t)first,
                              (uint32_t)(first + ops)};
    return true;
}

void block_write_head(char *at, const struct block_head *head)
{
    struct buf out = {.ptr = at, .cap = BLOCK_HEAD_SIZE, .limit = BLOCK_HEAD_SIZE};

    buf_put_u64(&out, 0);
    buf_put_u32(&out, MAGIC);
    buf_put_u32(&out, head->flags);
    buf_put_u32(&out, head->refs_len);
    buf_put_u32(&out, head->data_len);
    buf_put_u64(&out, head->data_sum);
    buf_put_u64(&out, head->commit_lsn);
    buf_put_u32(&out, head->xid);
    buf_put_u32(&out, head->txn);
    buf_put_u64(&out, head->end_lsn);
    buf_put_u64(&out, (uint64_t)head->time_us);
    buf_set_u64(&out, 0,
                hash_bytes((struct slice){at + 8, BLOCK_HEAD_SIZE - 8 + (size_t)head->refs_len}));
}

static uint64_t read_head(struct reader *r, struct block_head *head)
{
    uint64_t sum = reader_u64(r);

    if (reader_u32(r) != MAGIC)
        r->failed = true;
    head->flags = reader_u32(r);
    head->refs_len = reader_u32(r);
    head->data_len = reader_u32(r);
    head->data_sum = reader_u64(r);
    head->commit_lsn = reader_u64(r);
    head->xid = reader_u32(r);
    head->txn = reader_u32(r);
    head->end_lsn = reader_u64(r);
    head->time_us = (int64_t)reader_u64(r);
    return sum;
}

enum block_state block_read(struct slice bytes, struct block *block)
{
    struct reader r = reader_of(bytes);
    uint64_t sum = read_head(&r, &block->head);

    block->refs = reader_slice(&r, block->head.refs_len);
    if (r.failed ||
        hash_bytes((struct slice){bytes.ptr + 8, BLOCK_HEAD_SIZE - 8 + block->refs.len}) != sum)
        return BLOCK_BAD;
    block->data = reader_slice(&r, block->head.data_len);
    return !r.failed && hash_bytes(block->data) == block->head.data_sum ? BLOCK_GOOD
                                                                        : BLOCK_DATA_BAD;
}
