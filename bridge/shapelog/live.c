/*
 * The moment at which a log is complete: its row is in the catalogue, it is LIVE. Each such moment
 * costs a sync, which logs that go together share.
 */
#include "base/arena.h"
#include "shapelog/store.h"

/* The snapshot's text, in the arena. */
static struct slice snapshot_text(const struct snapshot *snapshot, struct arena *arena)
{
    struct buf text;

    buf_init(&text, BUF_NO_LIMIT);
    snapshot_format(snapshot, &text);
    struct slice copy = arena_copy(arena, buf_slice(&text));

    buf_release(&text);
    return copy;
}

/* The log's row. Nothing of what it says changes any more while the log is COPYING. */
static struct catalog_new_log new_row(struct log *log, struct arena *arena)
{
    return (struct catalog_new_log){.row = {.id = log->id,
                                            .handle = log_handle(log),
                                            .registered = log->registered,
                                            .limit = log->limit,
                                            .snapshot = snapshot_text(&log->snapshot->is, arena),
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
void logs_go_live(struct shapelog *store, struct go_live *items, size_t n)
{
    struct arena arena = {0};
    struct catalog_new_log *rows = arena_calloc(&arena, n, sizeof(*rows));
    struct err err;
    size_t kept = 0;

    pthread_mutex_lock(&store->live);
    for (size_t i = 0; i < n; i++) {
        if (log_state_of(items[i].log) == LOG_COPYING)
            rows[kept++] = new_row(items[i].log, &arena);
    }
    bool ok = kept == 0 || catalog_add_logs(store->catalog, rows, kept, &err);

    for (size_t i = 0; i < n; i++)
        end_one(&items[i], ok, &err);
    pthread_mutex_unlock(&store->live);
    arena_release(&arena);
}
