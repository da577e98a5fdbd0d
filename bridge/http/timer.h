/*
 * Deadlines of one loop: a heap of timers that their owners embed.
 *
 * A connection moves its deadline at each request and each byte that goes
 * out, nearly always to a later time. So a timer that is set later, or
 * cleared, stays where it is in the heap; when its old place comes up it is
 * put where it now belongs. Moving a deadline costs a store, not a sift.
 *
 * Times are monotonic milliseconds. A zeroed timer is one that is not set; a
 * zeroed heap is empty. One thread only.
 */
#ifndef HTTP_TIMER_H
#define HTTP_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#define HTTP_NEVER INT64_MAX

struct http_timer {
    void (*fire)(
        struct http_timer *timer); /* set by the owner before the first http_timers_set() */
    int64_t due;
    uint32_t place; /* in the heap, counted from 1; 0: not there */
};

struct http_timers {
    struct http_timer_entry {
        int64_t key; /* at or before timer->due */
        struct http_timer *timer;
    } * heap;
    uint32_t len, cap;
};

/* Fires at `due` instead of any earlier choice; HTTP_NEVER clears it. */
void http_timers_set(struct http_timers *timers, struct http_timer *timer, int64_t due);
/* Forgets the timer: called before its memory goes. */
void http_timers_remove(struct http_timers *timers, struct http_timer *timer);
/* When http_timers_fire() next has something to do; HTTP_NEVER when nothing is set. May be earlier
 * than the first deadline. */
int64_t http_timers_next(const struct http_timers *timers);
/* Calls what is due at `now`. A timer is not set any more when its fire() runs, which may set it
 * again (for later than `now`) and may set and remove others. */
void http_timers_fire(struct http_timers *timers, int64_t now);
void http_timers_release(struct http_timers *timers);

#endif
