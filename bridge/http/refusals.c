#include "http/refusals.h"

#define MOST 10000 /* identities at once */

void refusals_init(struct refusals *refusals, int64_t interval_ms)
{
    *refusals = (struct refusals){.interval_ms = interval_ms};
    pthread_mutex_init(&refusals->mutex, NULL);
}

void refusals_release(struct refusals *refusals)
{
    u64map_release(&refusals->ended);
    pthread_mutex_destroy(&refusals->mutex);
}

/* Times are kept as the map's values, of which NULL is none. */
static void *as_value(int64_t ms)
{
    return (void *)(uintptr_t)(ms + 1);
}

static int64_t as_time(const void *value)
{
    return (int64_t)(uintptr_t)value - 1;
}

/* Not before the oldest of them is: whoever asks at the limit must cost little. */
static void forget_old(struct refusals *refusals, int64_t now_ms)
{
    struct u64map kept = {0};
    struct u64map_slot *slot;

    if (now_ms - refusals->oldest < refusals->interval_ms)
        return;
    refusals->oldest = now_ms;
    for (size_t at = 0; (slot = u64map_next(&refusals->ended, &at));) {
        int64_t ended = as_time(slot->value);

        if (now_ms - ended >= refusals->interval_ms)
            continue;
        u64map_set(&kept, slot->key, slot->value);
        if (ended < refusals->oldest)
            refusals->oldest = ended;
    }
    u64map_release(&refusals->ended);
    refusals->ended = kept;
}

bool refusals_take(struct refusals *refusals, uint64_t identity, int64_t now_ms, int64_t *wait_ms)
{
    pthread_mutex_lock(&refusals->mutex);
    const void *before = u64map_get(&refusals->ended, identity);
    if (refusals->ended.len >= MOST)
        forget_old(refusals, now_ms);
    int64_t left = before ? as_time(before) + refusals->interval_ms - now_ms : 0;
    if (!before && refusals->ended.len >= MOST)
        left = refusals->interval_ms;
    if (left <= 0)
        u64map_set(&refusals->ended, identity, as_value(now_ms));
    pthread_mutex_unlock(&refusals->mutex);
    *wait_ms = left > 0 ? left : 0;
    return left <= 0;
}
