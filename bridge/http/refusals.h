/*
 * How often a replica may have a shape begun anew. One that cannot apply what a shape's log holds
 * refuses its handle (docs/PROTOCOL.md), and then the log ends, for everybody who follows it.
 * A replica that is broken, or means harm, must not keep the bridge copying the table: of the
 * shapes of one identity one log is ended in `interval_ms`, and of all together so many that the
 * list of them stays short.
 *
 * Any thread; a mutex guards the list.
 */
#ifndef HTTP_REFUSALS_H
#define HTTP_REFUSALS_H

#include "base/hash.h"

#include <pthread.h>

struct refusals {
    pthread_mutex_t mutex;
    int64_t interval_ms;
    struct u64map ended; /* hash of the identity -> when its log was ended */
    int64_t oldest;      /* nothing in the map is older */
};

void refusals_init(struct refusals *refusals, int64_t interval_ms);
void refusals_release(struct refusals *refusals);

/* Whether a log of the identity with this hash may be ended at `now_ms` (clock_ms()). True counts
 * as done; false with how long it is until it may in *wait_ms. */
bool refusals_take(struct refusals *refusals, uint64_t identity, int64_t now_ms, int64_t *wait_ms);

#endif
