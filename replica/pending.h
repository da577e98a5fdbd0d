/*
 * Local writes on their way up. The triggers' outbox (capture.h) is emptied into _tombolo_pending
 * by the syncer, at the beginning of every transaction that writes rows of Postgres's and before
 * writes are numbered: so no local write is ever overwritten unseen.
 *
 *     _tombolo_pending    a row a mutation, under the outbox's seq, as Postgres's texts (image.h):
 *                         op I, U or D; row, and `moved` where an update gives it another key;
 *                         key, before and after as they go up. id and mutation once it is
 *                         numbered: the id of its write and its place there. `due`: Postgres has
 *                         it, and its table has it at that position. `aside`: it could not stand
 *                         on the server's row, and is not shown any more.
 *     _tombolo_base       the server's row behind each row with pending mutations, NULL when there
 *                         is none; `dirty` when the table does not show base and mutations
 *     _tombolo_writes     numbered transactions that are not acknowledged
 *     _tombolo_rejected   mutations that were refused, with the reason, until somebody discards
 *                         them or tries again. code "local": SQLite refused them on top of the
 *                         server's row; "unknown": a restored or cloned file that cannot find out
 *
 * Mutations that change only columns which the shape has not are passed over. One with text that
 * Postgres cannot hold (a NUL, invalid UTF-8) is rejected at once.
 */
#ifndef REPLICA_PENDING_H
#define REPLICA_PENDING_H

#include "replica/core.h"

/* state.c: makes the tables. */
bool lite_pending_open(struct lite_db *db, struct err *err) MUST_CHECK;

/* Mutations that are not acknowledged, those in the outbox too. As lite_pending_last() it wants
 * db->captured to be known (capture.h). */
bool lite_pending_count(struct lite_db *db, uint64_t *n, struct err *err) MUST_CHECK;
/* The seq of the last one, or of the last that was dropped; 0: there was none. */
bool lite_pending_last(struct lite_db *db, int64_t *seq, struct err *err) MUST_CHECK;

/* Empties the outbox. Inside a transaction; sets r->based. */
bool lite_pending_drain(struct replica *r, struct err *err) MUST_CHECK;
/* The same of at most `most` rows; *more: there are others. For a transaction that is to be short,
 * and writes no rows of Postgres's. */
bool lite_pending_drain_some(struct replica *r, size_t most, bool *more,
                             struct err *err) MUST_CHECK;

/* The mutations that `where` selects (a condition on _tombolo_pending AS p) are over: their rows
 * are to be shown without them. */
bool lite_pending_end(struct lite_db *db, const char *where, struct err *err) MUST_CHECK;

/* Likewise, but they stay in their write, or are forgotten before it is numbered. */
bool lite_pending_aside(struct lite_db *db, const char *where, struct err *err) MUST_CHECK;

/* A marked transaction of which a part stepped aside before it was numbered is rejected as a
 * whole. */
bool lite_pending_torn(struct lite_db *db, struct err *err) MUST_CHECK;

/* Why a mutation goes to _tombolo_rejected. */
struct lite_refusal {
    const char *code, *sqlstate, *message;
};

/* Copies the pending mutations that `where` selects there, in place of what was said of them
 * before. */
bool lite_pending_reject(struct lite_db *db, const char *where, const struct lite_refusal *why,
                         struct err *err) MUST_CHECK;
/* A condition of numbers and quoted texts for both, by SQLite's printf, in the arena. */
char *lite_pending_where(struct arena *arena, const char *fmt, ...);

/* A name as the bridge reads it: folded when bare, so quoted where folding would change it. */
void lite_put_name(struct buf *out, const char *name);

#endif
