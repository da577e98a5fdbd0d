/*
 * Workers for subsets (shapes/subset.h): the snapshot pool finds or makes the
 * shape's log, then a worker of this one runs the query. They are others than
 * those that copy first rows, so that neither waits for the other; each
 * connects when it first has something to do. The bearers of one subject's
 * tokens get half of them, and a quarter of the queue.
 */
#ifndef SNAPSHOT_SUBSET_POOL_H
#define SNAPSHOT_SUBSET_POOL_H

#include "shapes/subset.h"
#include "snapshot/pool.h"

struct subset_pool;

/* `snapshots` and what the configuration points to must outlive it. */
struct subset_pool *subset_pool_new(const struct snapshot_config *config,
                                    struct snapshot_pool *snapshots, struct err *err) MUST_CHECK;
/* Answers what waits and what runs with ERR_STOPPED, soon; from now on every request. */
void subset_pool_stop(struct subset_pool *pool);
/* Stops, and joins the workers. After snapshot_pool_free(), which may still answer to it. */
void subset_pool_free(struct subset_pool *pool);

/* Copies the request and answers it, once, on any thread. A log with another handle than `handle`
 * is answered alone, without a query; an empty one fits any. Any thread; does not block. */
void subset_pool_request(struct subset_pool *pool, const struct shape_request *shape,
                         const struct subset_request *subset, struct slice handle,
                         subset_answered *done, void *arg);
/* Nobody waits for the request with this `arg` any more: it is answered with ERR_STOPPED, at once
 * and maybe on this thread while it waits, else soon; nothing happens when it has been answered. */
void subset_pool_cancel(struct subset_pool *pool, void *arg);

#endif
