/*
 * The segments that there are, by number. Whoever reads one holds a reference: a segment that is
 * dropped goes with its last reader.
 */
#include "shapelog/store.h"

#include "base/logging.h"

#include <stdlib.h>
#include <unistd.h>

struct segment *store_segment(struct shapelog *store, uint32_t number)
{
    pthread_mutex_lock(&store->segments_lock);
    struct segment *segment = u64map_get(&store->segments, number);

    if (segment)
        segment_ref(segment);
    pthread_mutex_unlock(&store->segments_lock);
    return segment;
}

void store_add_segment(struct shapelog *store, struct segment *segment)
{
    pthread_mutex_lock(&store->segments_lock);
    u64map_set(&store->segments, segment->number, segment);
    pthread_mutex_unlock(&store->segments_lock);
}

void store_drop_segment(struct shapelog *store, struct segment *segment)
{
    pthread_mutex_lock(&store->segments_lock);
    bool there = u64map_get(&store->segments, segment->number) == segment;

    if (there)
        u64map_remove(&store->segments, segment->number);
    pthread_mutex_unlock(&store->segments_lock);
    if (!there)
        return;
    unlink(segment->path);
    segment_unref(segment);
}

static bool uses_segment(struct log *log, uint32_t number)
{
    bool uses = false;

    pthread_mutex_lock(log_stripe(log));
    for (uint32_t i = 0; !uses && i < log->extents.len; i++)
        uses = extents_at(&log->extents, i)->segment == number;
    pthread_mutex_unlock(log_stripe(log));
    return uses;
}

void store_segment_damaged(struct shapelog *store, const struct segment *segment,
                           const struct err *why)
{
    uint64_t at = 0, ended = 0;
    struct log *log;

    while ((log = shapelog_next(store, &at))) {
        if (uses_segment(log, segment->number)) {
            shapelog_end_log(store, log, "a part of the log is damaged");
            ended++;
        }
        log_unref(log);
    }
    log_error("a segment is damaged: the logs that need it have ended",
              LOG_UINT("segment", segment->number), LOG_UINT("logs", ended), LOG_ERR(why));
}

/* ---- lists of them --------------------------------------------------------------------------- */

void segments_push(struct segments *segments, struct segment *segment)
{
    if (segments->len == segments->cap) {
        segments->cap = segments->cap ? segments->cap * 2 : 16;
        segments->items = xrealloc(segments->items, segments->cap * sizeof(struct segment *));
    }
    segments->items[segments->len++] = segment;
}

void segments_release(struct segments *segments)
{
    for (size_t i = 0; i < segments->len; i++)
        segment_unref(segments->items[i]);
    free(segments->items);
    *segments = (struct segments){0};
}
