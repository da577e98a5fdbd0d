/*
 * Time. Deadlines use the monotonic clock; only what a person or another
 * machine reads uses the wall clock.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_us_of(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Monotonic microseconds. */
static inline int64_t clock_us(void)
{
    return clock_us_of(CLOCK_MONOTONIC);
}

/* Monotonic milliseconds. */
static inline int64_t clock_ms(void)
{
    return clock_us() / 1000;
}

/* Microseconds since 1970 in UTC. */
static inline int64_t clock_unix_us(void)
{
    return clock_us_of(CLOCK_REALTIME);
}

/* Shorter when a signal comes. */
static inline void clock_sleep_ms(int64_t ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

#endif
