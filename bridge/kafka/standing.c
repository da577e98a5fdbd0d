#include "kafka/standing.h"

#include "kafka/history.h"

#include <stdio.h>

void standing_init(struct standing *s)
{
    pthread_mutex_init(&s->mutex, NULL);
}

void standing_release(struct standing *s)
{
    pthread_mutex_destroy(&s->mutex);
}

bool standing_find(struct standing *s, struct outlet *outlet, struct err *err)
{
    struct stream_tail tail = {.found = outlet_acked(outlet) != LSN_NONE,
                               .position = outlet_acked(outlet)};

    if (s->place.topic[0] && !place_read(&s->place, outlet, s->tail.epoch, &tail, err))
        return false;
    if (s->stream) {
        outlet_expect(outlet, tail.end);
        if (tail.found &&
            !(place_produce(&s->place, outlet, &tail, err) && outlet_flush(outlet, err)))
            return false;
    }
    pthread_mutex_lock(&s->mutex);
    s->tail = tail;
    s->producers++;
    pthread_mutex_unlock(&s->mutex);
    return true;
}

bool standing_commit(struct standing *s, struct outlet *outlet, lsn_t lsn, struct err *err)
{
    struct stream_tail tail = {.position = lsn, .tables = true};

    if (s->stream)
        return true;
    pthread_mutex_lock(&s->mutex);
    tail.epoch = s->tail.epoch;
    tail.timeline = s->timeline;
    history_name_system(s->system_id, tail.history);
    pthread_mutex_unlock(&s->mutex);
    return place_produce(&s->place, outlet, &tail, err);
}

uint64_t standing_get(struct standing *s, struct stream_tail *tail)
{
    pthread_mutex_lock(&s->mutex);
    uint64_t producer = s->producers;

    *tail = s->tail;
    pthread_mutex_unlock(&s->mutex);
    return producer;
}

void standing_set_server(struct standing *s, const struct wal_place *place)
{
    pthread_mutex_lock(&s->mutex);
    s->timeline = place->timeline;
    snprintf(s->system_id, sizeof(s->system_id), "%s", place->system_id);
    pthread_mutex_unlock(&s->mutex);
}
