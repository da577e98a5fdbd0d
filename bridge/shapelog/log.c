/*
 * One log: its life, and the handoff from the snapshot of its rows to the stream of its changes.
 *
 *     PENDING -> COPYING -> LIVE        a new one: shapelog_create(), log_set_snapshot(),
 *                                       snapshot_writer_finish()
 *     LOADED -> LIVE                    one found at the start: log_bind()
 *     any -> ENDED                      shapelog_end_log()
 *
 * Transactions that the snapshot holds already are left out when the log is read: extents keep
 * their xid, so nothing is rewritten when the snapshot becomes known.
 */
#include "shapelog/chunks.h"
#include "shapelog/store.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct log *log_new(struct shapelog *store, uint64_t id, struct slice handle, enum log_state state)
{
    struct log *log = xcalloc(1, sizeof(*log) + handle.len + 1);

    atomic_init(&log->refs, 1);
    atomic_init(&log->state, state);
    log->id = id;
    log->store = store;
    log->chunk_size = store->chunk_size;
    log->handle_len = (uint16_t)handle.len;
    memcpy(log->handle, handle.ptr, handle.len);
    return log;
}

struct log *log_ref(struct log *log)
{
    atomic_fetch_add_explicit(&log->refs, 1, memory_order_relaxed);
    return log;
}

static void release_ends(struct log *log)
{
    while (log->ends) {
        struct log_end *end = log->ends;

        log->ends = end->next;
        free(end);
    }
}

void log_unref(struct log *log)
{
    if (!log || atomic_fetch_sub_explicit(&log->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct shape *shape = atomic_load(&log->shape);

    snapshot_file_forget(log);
    extents_release(&log->extents);
    chunks_free(log->chunks);
    snapshot_release(log->snapshot);
    release_ends(log);
    table_unref(log->table);
    free(log->reason);
    free(log->failure);
    if (shape)
        shape_unref(shape);
    free(log);
}

uint64_t log_id(const struct log *log)
{
    return log->id;
}

struct slice log_handle(const struct log *log)
{
    return (struct slice){log->handle, log->handle_len};
}

struct shape *log_shape(const struct log *log)
{
    return atomic_load_explicit(&log->shape, memory_order_acquire);
}

enum log_state log_state(const struct log *log)
{
    return log_state_of(log);
}

void log_reason(struct log *log, char reason[256])
{
    pthread_mutex_lock(log_stripe(log));
    snprintf(reason, 256, "%s", log->reason ? log->reason : "");
    pthread_mutex_unlock(log_stripe(log));
}

void log_set_failure(struct log *log, const struct err *err)
{
    struct err *failure = xmalloc(sizeof(*failure));

    *failure = *err;
    pthread_mutex_lock(log_stripe(log));
    if (!log->failure) {
        log->failure = failure;
        failure = NULL;
    }
    pthread_mutex_unlock(log_stripe(log));
    free(failure);
}

bool log_failure(struct log *log, struct err *err)
{
    pthread_mutex_lock(log_stripe(log));
    bool failed = log->failure != NULL;
    if (failed)
        *err = *log->failure;
    pthread_mutex_unlock(log_stripe(log));
    return failed;
}

bool log_definition(struct log *log, struct arena *arena, struct shape_request *request,
                    struct table **table, struct err *err)
{
    return catalog_definition(log->store->catalog, log->id, arena, request, table, err);
}

/* ---- snapshots as values --------------------------------------------------------------------- */

static bool same_snapshot(const struct snapshot *a, const struct snapshot *b)
{
    return a->xmin == b->xmin && a->xmax == b->xmax && a->nxip == b->nxip &&
           (a->nxip == 0 || memcmp(a->xip, b->xip, a->nxip * sizeof(*a->xip)) == 0);
}

static struct shared_snapshot *snapshot_new(const struct snapshot *snapshot)
{
    size_t xip = snapshot->nxip * sizeof(*snapshot->xip);
    struct shared_snapshot *copy = xmalloc(sizeof(*copy) + xip);

    atomic_init(&copy->refs, 1);
    copy->is = *snapshot;
    copy->is.xip = copy->xip;
    if (xip)
        memcpy(copy->xip, snapshot->xip, xip);
    return copy;
}

static struct shared_snapshot *find_recent(const struct shapelog *store,
                                           const struct snapshot *snapshot)
{
    for (size_t i = 0; i < RECENT; i++) {
        if (store->recent[i] && same_snapshot(&store->recent[i]->is, snapshot))
            return store->recent[i];
    }
    return NULL;
}

/* In the place of the oldest. */
static struct shared_snapshot *add_recent(struct shapelog *store, const struct snapshot *snapshot)
{
    struct shared_snapshot **place = &store->recent[store->at_recent++ % RECENT];

    snapshot_release(*place);
    *place = snapshot_new(snapshot);
    return *place;
}

struct shared_snapshot *snapshot_share(struct shapelog *store, const struct snapshot *snapshot)
{
    pthread_mutex_lock(&store->recent_lock);
    struct shared_snapshot *shared = find_recent(store, snapshot);

    if (!shared)
        shared = add_recent(store, snapshot);
    atomic_fetch_add_explicit(&shared->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&store->recent_lock);
    return shared;
}

void snapshot_release(struct shared_snapshot *snapshot)
{
    if (snapshot && atomic_fetch_sub_explicit(&snapshot->refs, 1, memory_order_acq_rel) == 1)
        free(snapshot);
}

/* ---- the handoff ----------------------------------------------------------------------------- */

bool log_shows(const struct log *log, lsn_t commit_lsn, uint32_t xid)
{
    if (commit_lsn <= log->registered)
        return false;
    return !log->snapshot || commit_lsn >= log->limit || !snapshot_sees(&log->snapshot->is, xid);
}

void log_register(struct log *log, lsn_t registered)
{
    pthread_mutex_lock(log_stripe(log));
    log->registered = registered;
    pthread_mutex_unlock(log_stripe(log));
}

bool log_wants(struct log *log, const struct txn *txn)
{
    pthread_mutex_lock(log_stripe(log));
    bool wants = log_shows(log, txn->commit_lsn, txn->xid);

    pthread_mutex_unlock(log_stripe(log));
    return wants;
}

/* Takes the first of the waiting ends that holds, now that the snapshot is known. */
static struct log_end *take_end(struct log *log)
{
    struct log_end *taken = NULL;

    for (struct log_end **at = &log->ends; *at && !taken; at = &(*at)->next) {
        if (log_shows(log, (*at)->commit_lsn, (*at)->xid)) {
            taken = *at;
            *at = taken->next;
            break;
        }
    }
    release_ends(log);
    return taken;
}

void log_set_snapshot(struct log *log, const struct snapshot *snapshot, lsn_t limit)
{
    struct shared_snapshot *shared = snapshot_share(log->store, snapshot);
    struct log_end *end = NULL;

    pthread_mutex_lock(log_stripe(log));
    bool pending = log_state_of(log) == LOG_PENDING;

    if (pending) {
        log->snapshot = shared;
        log->limit = limit;
        atomic_store_explicit(&log->state, LOG_COPYING, memory_order_release);
        end = take_end(log);
    }
    pthread_mutex_unlock(log_stripe(log));
    if (end)
        shapelog_end_log(log->store, log, end->reason);
    else if (pending)
        wait_notify(log);
    if (!pending)
        snapshot_release(shared);
    free(end);
}

static void add_end(struct log *log, const struct txn *txn, const char *reason)
{
    size_t len = strlen(reason) + 1;
    struct log_end *end = xmalloc(sizeof(*end) + len);

    *end = (struct log_end){log->ends, txn->commit_lsn, txn->xid};
    memcpy(end->reason, reason, len);
    log->ends = end;
}

void log_end_by(struct shapelog *store, struct log *log, const struct txn *txn, const char *reason)
{
    pthread_mutex_lock(log_stripe(log));
    bool ends = log_shows(log, txn->commit_lsn, txn->xid);

    if (ends && log_state_of(log) == LOG_PENDING) {
        /* Once a transaction: it may say so with each of a million rows. */
        if (!log->ends || log->ends->commit_lsn != txn->commit_lsn)
            add_end(log, txn, reason);
        ends = false;
    }
    pthread_mutex_unlock(log_stripe(log));
    if (ends)
        shapelog_end_log(store, log, reason);
}

lsn_t log_limit(struct log *log)
{
    pthread_mutex_lock(log_stripe(log));
    lsn_t limit = log->limit;

    pthread_mutex_unlock(log_stripe(log));
    return limit;
}

bool log_snapshot(struct log *log, struct arena *arena, struct snapshot *snapshot)
{
    pthread_mutex_lock(log_stripe(log));
    bool known = log->snapshot != NULL;

    if (known) {
        *snapshot = log->snapshot->is;
        snapshot->xip = arena_calloc(arena, snapshot->nxip, sizeof(*snapshot->xip));
        if (snapshot->nxip)
            memcpy(snapshot->xip, log->snapshot->xip, snapshot->nxip * sizeof(*snapshot->xip));
    }
    pthread_mutex_unlock(log_stripe(log));
    return known;
}

lsn_t log_first(struct log *log)
{
    pthread_mutex_lock(log_stripe(log));
    lsn_t first = log->registered;

    pthread_mutex_unlock(log_stripe(log));
    return first;
}

void log_get_size(struct log *log, uint64_t *snapshot_bytes, uint64_t *log_bytes)
{
    pthread_mutex_lock(&log->store->snapshots);
    *snapshot_bytes = log->snapshot_bytes;
    pthread_mutex_unlock(&log->store->snapshots);
    pthread_mutex_lock(log_stripe(log));
    *log_bytes = log->log_bytes;
    pthread_mutex_unlock(log_stripe(log));
}

/* ---- extents --------------------------------------------------------------------------------- */

bool log_add_extent(struct log *log, const struct extent *extent)
{
    pthread_mutex_lock(log_stripe(log));
    bool there = log_state_of(log) != LOG_ENDED;

    if (there) {
        extents_add(&log->extents, extent);
        log->log_bytes += extent->len;
    }
    pthread_mutex_unlock(log_stripe(log));
    return there;
}

void log_drop_txn(struct shapelog *store, struct log *log, lsn_t commit_lsn)
{
    pthread_mutex_lock(log_stripe(log));
    while (log->extents.len > 0) {
        const struct extent *e = extents_at(&log->extents, log->extents.len - 1);

        if (e->commit_lsn != commit_lsn)
            break;
        struct segment *segment = store_segment(store, e->segment);
        if (segment) {
            atomic_fetch_sub(&segment->live_bytes, (int64_t)e->len);
            atomic_fetch_sub(&segment->live_refs, 1);
            segment_unref(segment);
        }
        log->log_bytes -= e->len;
        extents_pop(&log->extents);
    }
    pthread_mutex_unlock(log_stripe(log));
}
