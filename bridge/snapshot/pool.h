/*
 * Workers that turn a request into a log: they look the table up, type the
 * shape, find its log or make one, and copy its first rows. Each has an
 * ordinary connection of its own and blocks on it. While all of them are at
 * work another thread, the looker, answers for the logs that are there: who
 * asks for one does not stand behind others' first rows.
 *
 * What waits for one table goes together: a worker takes its part of it (turns.h),
 * looks the table up once, registers the new logs at once, and copies the rows of
 * all of them from one snapshot, one log after the other. Whoever has nothing to do
 * takes half of what another has not begun with, so that nobody waits behind a large one.
 * A log whose rows are there is made durable with others by one more thread (finisher.h).
 *
 * The handoff between snapshot and stream (docs/ARCHITECTURE.md) happens here:
 *
 *   1. the table is in the publication, and everyone who was writing to it then has ended; how it
 *      stands there is looked up in between, and must be so still in the snapshot
 *   2. the logs are registered with the stream: P is the commit LSN of the last transaction
 *      before that
 *   3. in REPEATABLE READ: pg_current_snapshot(), and after it L = pg_current_wal_insert_lsn()
 *   4. if the snapshot misses a transaction decoded before P, go back to 3
 *   5. each log is told both (log_set_snapshot()) when its turn has come, and its rows are copied
 *   6. a message into the WAL, so that the stream passes L on an idle server too
 */
#ifndef SNAPSHOT_POOL_H
#define SNAPSHOT_POOL_H

#include "base/hash.h"
#include "change/unseen.h"
#include "shapelog/answer.h"

#include <stdatomic.h>

struct snapshot_pool;

/* What the pool needs of the stream; `owner` is passed through. Called on the workers' threads. */
struct snapshot_stream {
    void *owner;
    /* Registers the logs between the same two transactions; waits at most timeout_ms. */
    bool (*register_logs)(void *owner, struct log *const *logs, size_t n, int timeout_ms,
                          lsn_t *registered, struct err *err);
};

struct snapshot_config {
    const char *conninfo, *publication;
    struct shapelog *store;
    struct unseen *unseen;
    struct snapshot_stream stream;
    int workers;
    bool manual_publishing; /* tables are published, and their identity is set, by somebody else */
    int lock_timeout_ms;    /* for replica identity, and for writers to end */
    int register_timeout_ms;
    int64_t first_row_ms; /* for a snapshot's query to give its first row */
    uint64_t max_logs;    /* 0: no limit */
    struct subset_budget *subset_budget;
};

struct snapshot_stats {
    atomic_uint_fast64_t snapshots, failures, rows;
};

struct snapshot_pool *snapshot_pool_new(const struct snapshot_config *config,
                                        struct err *err) MUST_CHECK;
/* Cancels what runs, answers what waits with ERR_STOPPED; from now on every request is answered so.
 */
void snapshot_pool_stop(struct snapshot_pool *pool);
/* Stops, and joins the workers. */
void snapshot_pool_free(struct snapshot_pool *pool);
const struct snapshot_stats *snapshot_pool_stats(const struct snapshot_pool *pool);

/* Copies the request, answers it on a worker's thread (or on this one when the pool is stopping or
 * full). Any thread; does not block. */
void snapshot_pool_request(struct snapshot_pool *pool, const struct shape_request *request,
                           shape_answered *done, void *arg);
/* The same, but makes no log: ERR_NOT_FOUND without a field when there is none. */
void snapshot_pool_find(struct snapshot_pool *pool, const struct shape_request *request,
                        shape_answered *done, void *arg);
/* Whoever asked has gone: the request with this `arg` is answered with ERR_STOPPED at once, maybe
 * on this thread, if it waits for a worker or for a table; one that is at work may go on. Nothing
 * happens when it has been answered. `arg` must not be another request's. Any thread. */
void snapshot_pool_cancel(struct snapshot_pool *pool, void *arg);

/* Any thread: tables_share() with the tables of the pool's shapes. */
struct table *snapshot_pool_share(struct snapshot_pool *pool, struct table *table) MUST_CHECK;
/* Any thread: those who wrote to the table when it stood as it does here have ended (a recovered
 * log follows it); or: they must be waited for. */
void snapshot_pool_trust(struct snapshot_pool *pool, const struct table *table, bool full);
void snapshot_pool_distrust(struct snapshot_pool *pool, uint32_t relid);
/* Any thread: forgets what is known of tables that are no keys of the map. */
void snapshot_pool_trust_only(struct snapshot_pool *pool, const struct u64map *relids);
/* Any thread: another history begins, maybe with an empty publication. */
void snapshot_pool_distrust_all(struct snapshot_pool *pool);

#endif
