/*
 * Who on this loop waits for news of which log. The shape log tells a loop
 * only which logs have news; the loop's watchers of just those are called. So a change
 * costs by the clients that it concerns, not by those that are there.
 *
 * One struct watchers a loop; all of it is for the loop's thread.
 */
#ifndef HTTP_WATCHERS_H
#define HTTP_WATCHERS_H

#include "base/hash.h"
#include "http/loop.h"
#include "shapelog/shapelog.h"

struct watcher {
    /* The log was published to, its snapshot grew, or its state changed. May add and remove
     * watchers. */
    void (*news)(struct watcher *watcher);
    struct watched *watched; /* NULL: not watching */
    struct watcher *prev, *next;
};

struct watchers {
    struct log_listener listener; /* first: the shape log calls by it */
    struct http_loop *loop;
    struct shapelog *store;
    struct u64map logs; /* log id -> struct watched */
};

/* Listens, and takes the loop's signal. */
bool watchers_init(struct watchers *watchers, struct http_loop *loop, struct shapelog *store,
                   struct err *err) MUST_CHECK;
void watchers_release(struct watchers *watchers);

/* Call and then look at the log: what came before is not told. */
void watchers_add(struct watchers *watchers, struct log *log, struct watcher *watcher);
/* No effect when it does not watch. */
void watchers_remove(struct watchers *watchers, struct watcher *watcher);

#endif
