/*
 * What a store is asked for: whose log it is, how far it has come, when a commit was, how much it
 * holds.
 */
#include "shapelog/store.h"

void shapelog_get_source(struct shapelog *store, struct shapelog_source *source)
{
    pthread_mutex_lock(&store->registry);
    *source = store->source;
    pthread_mutex_unlock(&store->registry);
}

bool shapelog_set_source(struct shapelog *store, const struct shapelog_source *source,
                         struct err *err)
{
    if (!catalog_set_source(store->catalog, source, err))
        return false;
    pthread_mutex_lock(&store->registry);
    store->source = *source;
    pthread_mutex_unlock(&store->registry);
    return true;
}

unsigned shapelog_resets(struct shapelog *store)
{
    return atomic_load(&store->resets);
}

lsn_t shapelog_last_commit(struct shapelog *store)
{
    return atomic_load_explicit(&store->last_commit, memory_order_acquire);
}

lsn_t shapelog_durable(struct shapelog *store)
{
    return atomic_load_explicit(&store->durable, memory_order_acquire);
}

lsn_t shapelog_published(struct shapelog *store)
{
    return atomic_load_explicit(&store->published, memory_order_acquire);
}

void times_add(struct times *times, lsn_t lsn, int64_t us)
{
    pthread_mutex_lock(&times->lock);
    times->ring[times->n % TIMES].lsn = lsn;
    times->ring[times->n % TIMES].us = us;
    times->n++;
    pthread_mutex_unlock(&times->lock);
}

int64_t shapelog_commit_time(struct shapelog *store, lsn_t commit_lsn)
{
    struct times *times = &store->times;
    int64_t us = 0;

    pthread_mutex_lock(&times->lock);
    uint64_t lo = times->n > TIMES ? times->n - TIMES : 0, hi = times->n;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;

        if (times->ring[mid % TIMES].lsn < commit_lsn)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < times->n && times->ring[lo % TIMES].lsn == commit_lsn)
        us = times->ring[lo % TIMES].us;
    pthread_mutex_unlock(&times->lock);
    return us;
}

size_t shapelog_count(struct shapelog *store)
{
    pthread_mutex_lock(&store->registry);
    size_t n = store->nlogs - store->logs_gone;

    pthread_mutex_unlock(&store->registry);
    return n;
}

static void add_log_stats(struct log *log, struct shapelog_stats *stats)
{
    pthread_mutex_lock(&log->store->snapshots);
    stats->snapshot_bytes += log->snapshot_bytes;
    pthread_mutex_unlock(&log->store->snapshots);
    pthread_mutex_lock(log_stripe(log));
    stats->logs++;
    stats->extents += log->extents.len;
    stats->memory_bytes += sizeof(*log) + log->handle_len + 1u + extents_memory(&log->extents);
    pthread_mutex_unlock(log_stripe(log));
}

void shapelog_get_stats(struct shapelog *store, struct shapelog_stats *stats)
{
    uint64_t at = 0;
    struct u64map_slot *slot;
    struct log *log;

    *stats = (struct shapelog_stats){0};
    while ((log = shapelog_next(store, &at))) {
        add_log_stats(log, stats);
        log_unref(log);
    }
    pthread_mutex_lock(&store->segments_lock);
    size_t i = 0;
    while ((slot = u64map_next(&store->segments, &i))) {
        struct segment *segment = slot->value;

        stats->segments++;
        stats->segment_bytes += atomic_load(&segment->size);
        stats->memory_bytes += sizeof(*segment);
    }
    pthread_mutex_unlock(&store->segments_lock);
}
