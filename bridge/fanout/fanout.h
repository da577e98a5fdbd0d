/*
 * From the stream to the logs: takes transactions from the receiver, finds the
 * shapes that each change is for, encodes it once a projection and appends it
 * to their logs.
 *
 * Everything but fanout_register_*(), fanout_forget_partitions() and the figures
 * belongs to the stream thread.
 */
#ifndef FANOUT_FANOUT_H
#define FANOUT_FANOUT_H

#include "shapelog/shapelog.h"

#include <stdatomic.h>
#include <stdint.h>

struct fanout;

/* Finds the partitioned tables above a relation, nearest first, in the arena; called on the stream
 * thread when a relation is seen for the first time. May block for a query. */
typedef bool fanout_resolver(void *owner, uint32_t relid, struct arena *arena, uint32_t **ancestors,
                             size_t *n, struct err *err);

struct fanout_stats {
    atomic_uint_fast64_t messages; /* encoded */
    atomic_uint_fast64_t rows_out; /* messages times logs */
    atomic_uint_fast64_t ended;    /* logs ended by the stream */
};

struct fanout *fanout_new(struct shapelog *store, fanout_resolver *resolver, void *owner);
/* Called on the stream thread, within a transaction, when there is no room on disk: waits a little,
 * and says whether to try again; false with the error of the call that had no room. Without it such
 * a call fails at once. */
typedef bool fanout_no_room(void *owner, struct err *err);
void fanout_set_no_room(struct fanout *fanout, fanout_no_room *no_room, void *owner);
void fanout_free(struct fanout *fanout);
const struct fanout_stats *fanout_get_stats(const struct fanout *fanout);

/* ---- what the receiver calls (wal/sink.h says when) ------------------------------------------ */

void fanout_connected(struct fanout *fanout);
bool fanout_begin(struct fanout *fanout, const struct txn *txn, struct err *err) MUST_CHECK;
bool fanout_relation(struct fanout *fanout, const struct relation *relation,
                     struct err *err) MUST_CHECK;
bool fanout_change(struct fanout *fanout, const struct relation *relation,
                   const struct change *change, uint64_t op, struct err *err) MUST_CHECK;
bool fanout_truncate(struct fanout *fanout, const uint32_t *relids, uint32_t n,
                     struct err *err) MUST_CHECK;
/* The transaction at hand changed the table's rows without events: its shapes, and those above it,
 * end; where the changed columns are known, those that use one of them, or all columns. */
struct fanout_rewrite {
    const char *reason;
    bool all; /* any column may have changed */
    const struct slice *columns;
    size_t ncolumns;
};
bool fanout_rewrite_table(struct fanout *fanout, uint32_t relid,
                          const struct fanout_rewrite *rewrite, struct err *err) MUST_CHECK;
bool fanout_commit(struct fanout *fanout, const struct txn *txn, struct err *err) MUST_CHECK;
void fanout_rollback(struct fanout *fanout);
bool fanout_settle(struct fanout *fanout, lsn_t position, lsn_t end_lsn,
                   struct err *err) MUST_CHECK;

/* ---- shapes ---------------------------------------------------------------------------------- */

/* A recovered log, before the stream starts. */
void fanout_add(struct fanout *fanout, struct log *log);

/* Any thread: registers new logs (log_register()), all at one point between two transactions: the
 * next at which the stream has caught up with what the logs held before a restart. Waits for it, at
 * most `timeout_ms`: then ERR_TIMEOUT, and none is registered. The caller wakes the receiver
 * first. The array is borrowed until the wait is over. */
struct fanout_registration;
struct fanout_registration *fanout_register_begin(struct fanout *fanout, struct log *const *logs,
                                                  size_t n);
bool fanout_register_wait(struct fanout *fanout, struct fanout_registration *registration,
                          int timeout_ms, lsn_t *registered, struct err *err) MUST_CHECK;
/* Any thread: ends these waits, and lets nobody wait any more; for the bridge's end. */
void fanout_end_waits(struct fanout *fanout);

/* Any thread: partitions have come or gone; what is known of them is looked up again. */
void fanout_forget_partitions(struct fanout *fanout);

#endif
