#include "http/timer.h"

#include "base/arena.h"

#include <stdlib.h>

static void put(struct http_timers *timers, uint32_t i, struct http_timer_entry entry)
{
    timers->heap[i] = entry;
    entry.timer->place = i + 1;
}

static void sift_up(struct http_timers *timers, uint32_t i)
{
    struct http_timer_entry entry = timers->heap[i];

    while (i > 0 && timers->heap[(i - 1) / 2].key > entry.key) {
        put(timers, i, timers->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    put(timers, i, entry);
}

static void sift_down(struct http_timers *timers, uint32_t i)
{
    struct http_timer_entry entry = timers->heap[i];

    for (;;) {
        uint32_t child = 2 * i + 1;

        if (child + 1 < timers->len && timers->heap[child + 1].key < timers->heap[child].key)
            child++;
        if (child >= timers->len || timers->heap[child].key >= entry.key)
            break;
        put(timers, i, timers->heap[child]);
        i = child;
    }
    put(timers, i, entry);
}

static void insert(struct http_timers *timers, struct http_timer *timer)
{
    if (timers->len == timers->cap) {
        timers->cap = timers->cap ? timers->cap * 2 : 64;
        timers->heap = xrealloc(timers->heap, timers->cap * sizeof(*timers->heap));
    }
    put(timers, timers->len++, (struct http_timer_entry){timer->due, timer});
    sift_up(timers, timers->len - 1);
}

void http_timers_set(struct http_timers *timers, struct http_timer *timer, int64_t due)
{
    timer->due = due;
    if (!timer->place) {
        if (due != HTTP_NEVER)
            insert(timers, timer);
        return;
    }
    if (due < timers->heap[timer->place - 1].key) {
        timers->heap[timer->place - 1].key = due;
        sift_up(timers, timer->place - 1);
    }
}

void http_timers_remove(struct http_timers *timers, struct http_timer *timer)
{
    uint32_t i = timer->place - 1;

    if (!timer->place)
        return;
    timer->place = 0;
    struct http_timer_entry last = timers->heap[--timers->len];
    if (last.timer == timer)
        return;
    put(timers, i, last);
    sift_down(timers, i);
    sift_up(timers, last.timer->place - 1);
}

int64_t http_timers_next(const struct http_timers *timers)
{
    return timers->len ? timers->heap[0].key : HTTP_NEVER;
}

void http_timers_fire(struct http_timers *timers, int64_t now)
{
    while (timers->len && timers->heap[0].key <= now) {
        struct http_timer *timer = timers->heap[0].timer;

        if (timer->due > now && timer->due != HTTP_NEVER) {
            timers->heap[0].key = timer->due;
            sift_down(timers, 0);
            continue;
        }
        bool due = timer->due <= now;
        http_timers_remove(timers, timer);
        timer->due = HTTP_NEVER;
        if (due)
            timer->fire(timer);
    }
}

void http_timers_release(struct http_timers *timers)
{
    free(timers->heap);
    *timers = (struct http_timers){0};
}
