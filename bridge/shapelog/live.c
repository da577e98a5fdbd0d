/*
 * The moment at which a log is complete: its row is in the catalogue, it is LIVE. Each such moment
 * costs a sync; when many shapes are made at a time, those that have come while one was under way
 * go together. One of the waiting threads does it for all that wait.
 */
#include "shapelog/store.h"

#include <stdlib.h>

/* The log's row. Neither of what it says changes any more while the log is COPYING. */
static struct catalog_new_log new_row(const struct go_live *g)
{
    struct log *log = g->log;

    return (struct catalog_new_log){.row = {.id = log->id,
                                            .handle = log_handle(log),
                                            .registered = log->registered,
                                            .limit = log->limit,
                                            .snapshot = buf_slice(&g->snapshot),
                                            .snapshot_bytes = log->snapshot_bytes,
                                            .chunk_size = log->chunk_size},
                                    .shape = log_shape(log)};
}

static bool move_to_live(struct log *log)
{
    pthread_mutex_lock(log_stripe(log));
    bool is = log_state_of(log) == LOG_COPYING;

    if (is)
        atomic_store_explicit(&log->state, LOG_LIVE, memory_order_release);
    pthread_mutex_unlock(log_stripe(log));
    return is;
}

static void end_one(struct go_live *g, bool ok, const struct err *why)
{
    if (!ok)
        g->err = *why;
    else if (!move_to_live(g->log))
        ok = err_set(&g->err, ERR_NOT_FOUND, "the log has ended");
    g->ok = ok;
}

/* Those that have not ended go into the catalogue. Under `live`, so that the syncer deletes the row
 * of a log that ends meanwhile after it was made, not before. */
static void record(struct shapelog *store, struct go_live *first, size_t n)
{
    struct catalog_new_log *rows = xcalloc(n, sizeof(*rows));
    struct err err;
    size_t kept = 0;

    pthread_mutex_lock(&store->live);
    for (struct go_live *g = first; g; g = g->next) {
        if (log_state_of(g->log) == LOG_COPYING)
            rows[kept++] = new_row(g);
    }
    bool ok = kept == 0 || catalog_add_logs(store->catalog, rows, kept, &err);

    for (struct go_live *g = first; g; g = g->next)
        end_one(g, ok, &err);
    pthread_mutex_unlock(&store->live);
    free(rows);
}

/* Takes all that wait. Holding the queue's lock, which it lets go in between. */
static void record_waiting(struct shapelog *store)
{
    struct going_live *queue = &store->going_live;
    struct go_live *first = queue->first;
    size_t n = 0;

    for (struct go_live *g = first; g; g = g->next)
        n++;
    queue->first = NULL;
    queue->busy = true;
    pthread_mutex_unlock(&queue->lock);
    record(store, first, n);
    pthread_mutex_lock(&queue->lock);
    queue->busy = false;
    while (first) {
        struct go_live *g = first;

        first = g->next; /* it may be gone as soon as the lock is */
        g->answered = true;
    }
    pthread_cond_broadcast(&queue->answered);
}

void logs_go_live(struct shapelog *store, struct go_live *items, size_t n)
{
    struct going_live *queue = &store->going_live;

    for (size_t i = 0; i < n; i++) {
        buf_init(&items[i].snapshot, BUF_NO_LIMIT);
        snapshot_format(items[i].log->snapshot, &items[i].snapshot);
    }
    pthread_mutex_lock(&queue->lock);
    for (size_t i = 0; i < n; i++) {
        items[i].next = queue->first;
        queue->first = &items[i];
    }
    for (size_t i = 0; i < n; i++) {
        while (!items[i].answered) {
            if (queue->busy)
                pthread_cond_wait(&queue->answered, &queue->lock);
            else
                record_waiting(store);
        }
    }
    pthread_mutex_unlock(&queue->lock);
    for (size_t i = 0; i < n; i++)
        buf_release(&items[i].snapshot);
}
