/*
 * What slipped by. While a table's triggers were missing or wrong, nobody noted what programs wrote
 * to it. It shows all the same: the table is the server's rows at some position, with pending
 * writes on them, and whatever else it holds was written unseen.
 *
 * The triggers are looked after before anything is written to the table (writes.h). Once a gap is
 * found the table stands still at its position, and its shape is fetched to the side:
 *
 *     the bridge gives the same handle    its log begins before that position: when the side has
 *                                         come to it, the difference is exactly what slipped by.
 *                                         It goes into the outbox, as the triggers would have put
 *                                         it there, and then the side becomes the table
 *     the handle has ended                nobody knows the server's rows at that position: what
 *                                         differs from those of now goes to _tombolo_rejected as
 *                                         "unknown", for a person to decide. Likewise when the
 *                                         table is found empty
 *
 * Rows with pending writes are compared as soon as the gap is found: their server's row is known.
 *
 * Differences are found by SQLite and read one by one: nothing grows with the table but its side.
 * A fetch that breaks off begins anew; the mark in _tombolo_shapes stays until the comparison is
 * in the file, in one transaction with the new rows.
 */
#ifndef REPLICA_GAP_H
#define REPLICA_GAP_H

#include "replica/core.h"

/* The table is about to stand still: keeps what its rows are of. */
void lite_gap_stands(struct lite_shape *shape);

/* Writes to the table may have slipped by, and its triggers are right again: marks it, and has it
 * fetched. Inside a transaction, before any row of it is written. */
bool lite_gap_found(struct replica *r, const char *table, const char *reason,
                    struct err *err) MUST_CHECK;
/* Looks for gaps without anything else to do. */
bool lite_gap_look(struct replica *r, struct err *err) MUST_CHECK;

/* A change at `lsn` comes for the side table of a shape with a gap. */
bool lite_gap_before(struct replica *r, struct lite_feed *feed, uint64_t lsn,
                     struct err *err) MUST_CHECK;
/* The side is complete and becomes the table. Fine where there is no gap. */
bool lite_gap_close(struct replica *r, struct lite_feed *feed, struct err *err) MUST_CHECK;

#endif
