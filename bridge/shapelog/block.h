/*
 * The block: what segments consist of. A transaction is one or more blocks, the last of which
 * carries the commit flag; small ones are one block. All integers are big-endian.
 *
 *     0   sum         8   XXH3 of bytes 8 up to the end of the refs
 *     8   magic       4   "TBLK"
 *     12  flags       4   BLOCK_COMMIT, BLOCK_COPY
 *     16  refs_len    4
 *     20  data_len    4
 *     24  data_sum    8   XXH3 of the data
 *     32  commit_lsn  8
 *     40  xid         4
 *     44  txn         4   counts attempts to append a transaction: tells a void one from its replay
 *     48  end_lsn     8   on the commit block
 *     56  time_us     8   on the commit block
 *     64  refs            which logs have which part of the data
 *         data            messages joined by ","
 *
 * A ref is five varints, each but `len` and `ops` as the zigzag difference to the ref before it
 * (or to zero): log id, start in the data (to the end of the ref before), len, first op (to the
 * last op before), ops (last op - first op).
 *
 * Two checksums, so that when the data is damaged it is still known whom it belonged to.
 */
#ifndef SHAPELOG_BLOCK_H
#define SHAPELOG_BLOCK_H

#include "base/buf.h"
#include "base/reader.h"
#include "change/lsn.h"

#include <stdint.h>

#define BLOCK_HEAD_SIZE 64u

enum block_flags {
    BLOCK_COMMIT = 1, /* ends its transaction */
    BLOCK_COPY = 2,   /* written by compaction: committed long ago, complete in itself */
};

struct block_head {
    uint32_t flags;
    uint32_t refs_len, data_len;
    uint64_t data_sum;
    lsn_t commit_lsn;
    uint32_t xid, txn;
    lsn_t end_lsn;
    int64_t time_us;
};

/* Where one log's messages lie in a block's data. Zeroed: the ref before the first. */
struct block_ref {
    uint64_t log;
    uint32_t start, len;
    uint32_t first_op, last_op;
};

/* Appends the ref, which follows `before`. */
void block_put_ref(struct buf *out, const struct block_ref *ref, const struct block_ref *before);
/* Reads the ref behind *ref into *ref. False at the end (check r->failed) and when what is there
 * does not lie within the data: then r->failed is set. */
bool block_read_ref(struct reader *r, uint32_t data_len, struct block_ref *ref);

/* Writes the head in front of head->refs_len bytes of refs, which are there already, so that the
 * sum is over both. */
void block_write_head(char *at, const struct block_head *head);

enum block_state {
    BLOCK_GOOD,
    BLOCK_DATA_BAD, /* head and refs are right, the data is not */
    BLOCK_BAD,      /* nothing is known of it, not even its length */
};

/* One block in bytes that begin with it. */
struct block {
    struct block_head head;
    struct slice refs, data; /* borrowed; `data` is empty when it is not all there */
};

/* Reads and checks the block that begins `bytes`. */
enum block_state block_read(struct slice bytes, struct block *block);

static inline uint64_t block_size(const struct block_head *head)
{
    return (uint64_t)BLOCK_HEAD_SIZE + head->refs_len + head->data_len;
}

#endif
