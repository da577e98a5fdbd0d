/*
 * Who wants to hear of news. A listener has a slot; a log has a bit for each slot that watches it,
 * and another for each queue that it is in, so that it is queued once however much happens before
 * the loop comes round.
 */
#include "shapelog/store.h"

#include <assert.h>
#include <stdlib.h>

bool shapelog_listen(struct shapelog *store, struct log_listener *listener, struct err *err)
{
    for (unsigned i = 0; i < LISTENERS; i++) {
        struct listener_slot *slot = &store->listeners[i];

        pthread_mutex_lock(&slot->lock);
        bool taken = slot->listener != NULL;
        if (!taken) {
            listener->slot = i;
            slot->listener = listener;
        }
        pthread_mutex_unlock(&slot->lock);
        if (!taken)
            return true;
    }
    return err_set(err, ERR_LIMIT, "more than %u listeners", LISTENERS);
}

static struct log *pop(struct listener_slot *slot)
{
    if (slot->len == 0)
        return NULL;
    struct log *log = slot->queue[slot->head];

    slot->head = (slot->head + 1) % slot->cap;
    slot->len--;
    return log;
}

static void push(struct listener_slot *slot, struct log *log)
{
    if (slot->len == slot->cap) {
        size_t cap = slot->cap ? slot->cap * 2 : 64;
        struct log **queue = xmalloc(cap * sizeof(*queue));

        for (size_t i = 0; i < slot->len; i++)
            queue[i] = slot->queue[(slot->head + i) % slot->cap];
        free(slot->queue);
        slot->queue = queue;
        slot->head = 0;
        slot->cap = cap;
    }
    slot->queue[(slot->head + slot->len++) % slot->cap] = log;
}

void shapelog_unlisten(struct shapelog *store, struct log_listener *listener)
{
    struct log *log;

    while ((log = log_listener_next(store, listener)))
        log_unref(log);
    struct listener_slot *slot = &store->listeners[listener->slot];

    pthread_mutex_lock(&slot->lock);
    assert(slot->listener == listener);
    slot->listener = NULL;
    free(slot->queue);
    slot->queue = NULL;
    slot->head = slot->len = slot->cap = 0;
    pthread_mutex_unlock(&slot->lock);
}

void log_watch(struct shapelog *store, struct log *log, struct log_listener *listener)
{
    (void)store;
    atomic_fetch_or(&log->watchers, (uint64_t)1 << listener->slot);
}

void log_unwatch(struct shapelog *store, struct log *log, struct log_listener *listener)
{
    (void)store;
    atomic_fetch_and(&log->watchers, ~((uint64_t)1 << listener->slot));
}

struct log *log_listener_next(struct shapelog *store, struct log_listener *listener)
{
    struct listener_slot *slot = &store->listeners[listener->slot];
    const uint64_t bit = (uint64_t)1 << listener->slot;

    for (;;) {
        pthread_mutex_lock(&slot->lock);
        struct log *log = pop(slot);
        pthread_mutex_unlock(&slot->lock);
        if (!log)
            return NULL;
        /* Before the caller looks: news from now on queues it again. */
        atomic_fetch_and(&log->queued, ~bit);
        if (atomic_load(&log->watchers) & bit)
            return log;
        log_unref(log);
    }
}

static bool queue_one(struct log *log, unsigned i)
{
    struct listener_slot *slot = &log->store->listeners[i];
    const uint64_t bit = (uint64_t)1 << i;

    if (atomic_fetch_or(&log->queued, bit) & bit)
        return false;
    pthread_mutex_lock(&slot->lock);
    bool there = slot->listener != NULL;
    if (there)
        push(slot, log_ref(log));
    pthread_mutex_unlock(&slot->lock);
    if (!there)
        atomic_fetch_and(&log->queued, ~bit);
    return there;
}

uint64_t wait_queue(struct log *log)
{
    uint64_t left = atomic_load(&log->watchers), queued = 0;

    for (unsigned i = 0; left; i++, left >>= 1) {
        if ((left & 1) && queue_one(log, i))
            queued |= (uint64_t)1 << i;
    }
    return queued;
}

void wait_wake(struct shapelog *store, uint64_t listeners)
{
    for (unsigned i = 0; listeners; i++, listeners >>= 1) {
        struct listener_slot *slot = &store->listeners[i];

        if (!(listeners & 1))
            continue;
        pthread_mutex_lock(&slot->lock);
        if (slot->listener)
            slot->listener->wake(slot->listener);
        pthread_mutex_unlock(&slot->lock);
    }
}

void wait_notify(struct log *log)
{
    wait_wake(log->store, wait_queue(log));
}
