/*
 * A log by offsets: what the shape API asks for. An offset is (commit LSN, op) of a message, and a
 * request is for the messages behind one, up to the end of the chunk that they begin in.
 *
 * Chunks. From the log's beginning on, the bytes of the messages, one more each, are added up; the
 * message with which the sum reaches the log's chunk size ends a chunk, and the sum begins anew. So
 * a chunk's bound is the offset of its last message. Bounds depend on nothing but the messages:
 * they are the same whoever asks, after a restart and after a compaction. They are found when a
 * reader first needs them and then kept in memory, some 24 bytes a chunk. The chunk size is a log's
 * own: what the store was configured with when the log was made.
 *
 * How to read:
 *
 *     struct log_range range;
 *     struct log_range_cursor cursor = {0};
 *
 *     log_range_after(store, log, after, shapelog_published(store), &range, &err)
 *     do {
 *         log_range_read(store, log, &range, &cursor, pieces, 64, &n, &err)
 *         ... send the pieces, joined by ","; a piece that is `last` without its last two bytes,
 *             and LOG_PIECE_LAST instead ...
 *         log_pieces_release(pieces, n);
 *     } while (n > 0);
 *
 * A range stays what it is while the log grows and while it is compacted. When the log ends,
 * reading fails (ERR_NOT_FOUND), in the middle too: then what was sent must not be taken for whole.
 *
 * Any thread. Messages must be of change/message.h's making: within a run of them they are told
 * apart by `}},{"key":"`, which stands nowhere else.
 */
#ifndef SHAPELOG_RANGE_H
#define SHAPELOG_RANGE_H

#include "shapelog/shapelog.h"

#define LOG_OP_INF UINT64_MAX

/* Ordered by lsn, then op. */
struct log_offset {
    lsn_t lsn;
    uint64_t op; /* LOG_OP_INF: behind all of the transaction */
};

/* Before the first change: "0_inf". */
#define LOG_OFFSET_BEGIN ((struct log_offset){0, LOG_OP_INF})

static inline int log_offset_compare(struct log_offset a, struct log_offset b)
{
    if (a.lsn != b.lsn)
        return a.lsn < b.lsn ? -1 : 1;
    return (a.op > b.op) - (a.op < b.op);
}

struct log_range {
    struct log_offset after;
    struct log_offset to; /* of its last message; `after` when the range is empty */
    bool closed;          /* it ends a chunk: its bytes never change */
    bool from_bound;      /* it begins a chunk: `after` is a bound, or LOG_OFFSET_BEGIN */
    bool at_end;          /* nothing followed it at planning */
    uint64_t size; /* bytes of its pieces, exactly: without what joins them and is spliced in */

    /* Where it lies: for log_range_read(). Extents `first` up to before `end`, without `skip` bytes
     * of the first one; of the last one `take` bytes, unless that is 0. */
    uint32_t first, end, skip, take;
};

/* The messages whose offset is above `after`, up to the end of the chunk that the first of them is
 * in, at or below `upto` (a published position, or it is taken for one). Empty when there are none,
 * also when `after` is beyond the end (compare it with log_end()) and while the log's snapshot is
 * not yet known. Reads from files only when a chunk's bound was not known, or when `after` is
 * within a run of messages and no bound.
 *
 * ERR_NOT_FOUND: the log has ended, or `after` is below log_first() (and not LOG_OFFSET_BEGIN or
 * another 0_k): the client must fetch again. ERR_CORRUPT: what it needs is damaged, the log has
 * ended. ERR_IO: not now. */
bool log_range_after(struct shapelog *store, struct log *log, struct log_offset after, lsn_t upto,
                     struct log_range *range, struct err *err) MUST_CHECK;

/* Offset of the last message at or below `upto` that readers are shown, LOG_OFFSET_BEGIN for none.
 * Cheap. */
struct log_offset log_end(struct log *log, lsn_t upto);

/* Whole messages joined by ",": bytes [offset, offset + len) of the file. */
struct log_piece {
    lsn_t commit_lsn;
    struct segment *segment; /* referenced; give back with log_pieces_release() */
    int fd;                  /* borrowed from the segment */
    uint64_t offset;
    uint32_t len;
    bool last; /* its last message is the last that the log has of its transaction */
};

/* What the last message of a `last` piece ends with instead of its `}}`. */
#define LOG_PIECE_LAST ",\"last\":true}}"

/* How much of the range was read: zeroed at first. */
struct log_range_cursor {
    uint32_t done;
};

/* The next pieces of the range, at most `max`; *n is 0 at its end. Errors as above; the cursor is
 * as it was then. */
bool log_range_read(struct shapelog *store, struct log *log, const struct log_range *range,
                    struct log_range_cursor *cursor, struct log_piece *pieces, size_t max,
                    size_t *n, struct err *err) MUST_CHECK;
void log_pieces_release(struct log_piece *pieces, size_t n);

#endif
