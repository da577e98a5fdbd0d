/*
 * First rows on their way into the file. What a line of them says becomes a block, SQLite's values
 * in arrays; blocks are written in the order they are put. Where the caller wants it
 * (replica_use_thread()) a thread of the lane's own writes them, while the caller's reads the next
 * lines:
 *
 *     caller's thread              the lane's
 *     lite_lane_block()  <------   free blocks, LITE_BLOCKS in all
 *       parse, convert
 *     lite_lane_put()    ------>   BEGIN, bind, step, COMMIT, checkpoint
 *     lite_lane_drain()  <------   all written, or why not
 *
 * Nothing else goes this way. Before anything but first rows of the same shape the caller drains
 * the lane, so that one thread alone has the replica at any time: from the first put to the drain
 * it is the lane's, but for what reading rows needs: in, scanned, text, batch, alc, progress.rows,
 * and of the lane's feed schema, cells, plain, shuffled. Such first rows are no change: no commit
 * line waits, and no local write is on them.
 *
 * The thread is made with the second block in a row, so that shapes of few rows need none, and ends
 * with the first rows. What a block holds is bounded by its line; a long one waits until it is
 * written and gives its memory back.
 */
#ifndef REPLICA_LANE_H
#define REPLICA_LANE_H

#include "replica/replica.h"
#include "replica/types.h"

#include <pthread.h>

#define LITE_BLOCKS 3
#define LITE_TEXT_KEPT ((size_t)1 << 20) /* of a block; more is given back at once */

struct lite_feed;
struct replica;

/* Bytes that are written over; grown without keeping what was there. */
struct lite_text {
    char *ptr;
    size_t cap;
};

struct lite_block {
    struct lite_feed *feed;
    struct lite_value *values; /* row by row, one a column */
    size_t nrows, cap;
    struct lite_text text; /* what values borrow, unless somebody else keeps it until the drain */
    struct arena arena;    /* what they were converted to */
};

struct lite_lane {
    struct lite_block blocks[LITE_BLOCKS];
    bool wanted;                      /* a thread may be made */
    bool threaded;                    /* there is one */
    bool warm;                        /* a block was put since the lane was at rest */
    bool busy;                        /* ... and handed to the thread since the last drain */
    struct replica_progress progress; /* but for its rows, as it was before that */
    int64_t drained_at;               /* clock_ms() */
    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows, once there is a thread */
    pthread_cond_t moved;
    size_t put, done; /* blocks ever; those between stand in blocks[] by their number */
    bool drop;        /* what is still there is not to be written */
    bool end;
    bool failed;
    struct err err;
};

void lite_text_grow(struct lite_text *text, size_t size);
void lite_text_swap(struct lite_text *a, struct lite_text *b);

/* The next block, empty and with room for so many values; waits until one is free. */
struct lite_block *lite_lane_block(struct replica *r, size_t nvalues);
/* Hands it over. Without a thread it is written now. False: it, or one before it, was not. */
bool lite_lane_put(struct replica *r, struct lite_block *block, struct err *err) MUST_CHECK;
/* Waits until all is written. False: something was not, and what came behind it neither. */
bool lite_lane_drain(struct replica *r, struct err *err) MUST_CHECK;
/* The same for a stream that is given up: what has not been begun is not written. */
void lite_lane_drop(struct replica *r);
/* Drops, ends the thread and gives the memory back. */
void lite_lane_rest(struct replica *r);

/* Whether local writes may be looked after, which drains the lane; not at every byte that comes. */
bool lite_lane_is_due(const struct replica *r);

#endif
