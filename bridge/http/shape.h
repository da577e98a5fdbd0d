/*
 * /v1/shape: one shape's rows and changes over plain HTTP, as Electric's clients and any cache
 * understand it (docs/ELECTRIC.md). In reading order the files are
 *
 *     shape_params    what a request asks for
 *     shape           from a request to its shape's log: admission, readiness, handles; DELETE
 *     shape_asked     its parameters, until the log is there; what was asked lately
 *     shape_known     which wording of a request was which log
 *     shape_plan      which messages answer it, or what it waits for
 *     shape_live      waiting, and what ends it
 *     shape_content   the bytes of those messages; small bodies are made once for all who wait
 *     shape_send      large ones, from the files
 *     shape_sse       the same as a stream of events
 *     shape_subset    rows by a clause of the client's own
 *     shape_respond   status, headers, errors
 *     shape_head      headers that are kept
 *
 * A request that waits is a struct of some 300 bytes on its loop; its strings are gone by then.
 */
#ifndef HTTP_SHAPE_H
#define HTTP_SHAPE_H

#include "http/conn.h"
#include "http/encoder.h"
#include "http/service.h"

#include <stdatomic.h>

struct shape_loop;
struct watchers;

/* One for all loops, filled in before they run: times in milliseconds. */
struct shape_site {
    const struct service *service;
    int64_t long_poll_ms;
    int64_t ready_ms;    /* how long to wait for the bridge to become ready */
    int64_t resolve_ms;  /* and for Postgres to say which shape is meant */
    int64_t snapshot_ms; /* and for a snapshot's rows to appear */
    int64_t sse_ms;      /* how long a stream of events lasts ... */
    int64_t sse_idle_ms; /* ... and may be silent */
    int64_t max_age_s, stale_age_s;
    size_t max_initial, max_existing; /* 0: no limit */
    bool allow_delete;
    struct encoder *encoder; /* NULL: large bodies are sent as they are */

    atomic_size_t initial, existing; /* requests under way */
    struct shape_known *known;       /* which wordings are which logs */
    atomic_bool was_ready; /* the log has been where clients may be: it is not behind them again */
};

/* The contract's times, and nothing known; the rest zeroed. */
void shape_site_init(struct shape_site *site, const struct service *service);
/* When its loops are gone; also of a zeroed one. */
void shape_site_release(struct shape_site *site);

/* What a loop keeps. The watchers are the loop's, and must outlive it. */
struct shape_loop *shape_loop_new(struct shape_site *site, struct http_loop *loop,
                                  struct watchers *watchers);
/* The server is stopping: answers those who wait. */
void shape_loop_stop(struct shape_loop *loop);
void shape_loop_free(struct shape_loop *loop);

/* Routes. GET and POST are one: a GET has no body. */
http_handler shape_get;
http_handler shape_delete;

#endif
