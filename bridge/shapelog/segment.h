/*
 * A segment: one file of blocks (shapelog/block.h), of all shapes, in the order they arrived.
 *
 *     0   "TMBSEG01"  8
 *     8   number      4
 *     12  kind        4   SEGMENT_STREAM, SEGMENT_COPY
 *     16  reserved    8
 *     24  sum         8   XXH3 of bytes 0..24
 *     32  blocks
 *         footer          once it is sealed: heads and refs of all blocks, so that a start need not
 *                         read the blocks
 *         "TMBEND01"  8
 *         body_len    8   of the footer
 *         blocks_end  8   where the blocks end and the footer begins
 *         blocks      4
 *         reserved    4
 *         sum         8   XXH3 of the footer and the 32 bytes above
 *
 * The footer has, for each block, varints: flags, commit_lsn, xid and txn (zigzag differences to
 * the block before), refs_len, data_len; then the refs as they stand in the block.
 *
 * Segments are shared by reference count. The store holds one reference, each run that a reader has
 * another; a file that the store has dropped is unlinked at once and read on through its
 * descriptor. The descriptor is opened when first needed.
 *
 * What this process has not written itself is checked, a whole segment at a time, before anything
 * of it is served.
 */
#ifndef SHAPELOG_SEGMENT_H
#define SHAPELOG_SEGMENT_H

#include "shapelog/block.h"

#include <pthread.h>
#include <stdatomic.h>

#define SEGMENT_HEAD_SIZE 32u

enum segment_kind { SEGMENT_STREAM = 1, SEGMENT_COPY = 2 };

struct segment {
    atomic_uint refs;
    uint32_t number;
    enum segment_kind kind;
    atomic_int fd;              /* -1: not opened yet */
    atomic_bool sealed;         /* complete, footer included */
    atomic_bool checked;        /* its bytes are known to be right */
    atomic_uint_fast64_t size;  /* of the file */
    _Atomic int64_t live_bytes; /* that extents refer to; a shared message counts for each log */
    _Atomic int64_t full_bytes; /* what live_bytes was when nothing had ended */
    _Atomic int64_t live_refs;  /* extents that refer to it */
    struct buf index;           /* sealed lately: its footer's body, until the syncer has it */
    pthread_mutex_t lock;       /* opening and checking */
    char path[];
};

/* Not there on disk yet, or known to be. The caller has the one reference. */
struct segment *segment_new(const char *dir, uint32_t number, enum segment_kind kind);
struct segment *segment_ref(struct segment *segment);
void segment_unref(struct segment *segment);
void segment_path(const char *dir, uint32_t number, struct buf *path);

/* Makes the file (anew) and writes its head; ready for blocks at SEGMENT_HEAD_SIZE. */
bool segment_create(struct segment *segment, struct err *err) MUST_CHECK;
/* Opens the file unless it is open; its descriptor is in segment->fd then. Any thread. */
bool segment_open(struct segment *segment, struct err *err) MUST_CHECK;
/* Opens, and checks every block unless that was done: ERR_CORRUPT when one is damaged, any other
 * error when that could not be found out. Any thread. */
bool segment_check(struct segment *segment, struct err *err) MUST_CHECK;

/* The whole file, to be freed with free(). */
bool segment_load(struct segment *segment, struct slice *bytes, struct err *err) MUST_CHECK;
/* Whether the bytes begin with the head of this segment. */
bool segment_head_good(const struct segment *segment, struct slice bytes);

/* ---- the footer ------------------------------------------------------------------------------ */

/* The body as it grows, a block at a time. */
struct footer {
    struct buf body;
    uint32_t blocks;
    struct block_head last; /* the block before, for the differences */
};

void footer_init(struct footer *footer);
void footer_add(struct footer *footer, const struct block_head *head, struct slice refs);
/* Appends body and trailer to `out`. */
void footer_put(const struct footer *footer, uint64_t blocks_end, struct buf *out);

/* Walks a footer's body. */
struct footer_reader {
    struct reader r;
    struct block_head last;
    uint64_t offset; /* of the next block in the file */
};
struct footer_reader footer_reader_of(struct slice body);
/* The next block: its head, its refs (borrowed), where its data lies. False at the end, or when
 * malformed (reader.r.failed). */
bool footer_next(struct footer_reader *reader, struct block_head *head, struct slice *refs,
                 uint64_t *data_offset);

/* Reads a sealed segment's footer from the file; the body is to be freed. ERR_CORRUPT when it is
 * not there or damaged. */
bool segment_read_footer(struct segment *segment, struct slice *body, struct err *err) MUST_CHECK;

#endif
