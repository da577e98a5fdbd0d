/*
 * The HTTP server: listeners, one loop a thread, and what all responses have
 * in common. It knows nothing of shapes; endpoints are functions in its route
 * tables (route.h, conn.h).
 *
 *     struct http_listen listens[] = {
 *         {.address = "0.0.0.0:3000", .routes = {api, 2}},
 *         {.address = "127.0.0.1:9090", .routes = {metrics, 1}},
 *     };
 *     struct http_config config = http_config_default();
 *
 *     config.listens = listens;
 *     config.nlistens = 2;
 *     struct http_server *server = http_server_start(&config, &err);
 *     ...
 *     http_server_stop(server, 10000);
 *     http_server_free(server);
 *
 * Threads: each loop has its thread, its own listening socket for each address
 * (SO_REUSEPORT: the kernel spreads the connections), and the connections that
 * it accepted, for their whole life. A connection's struct is touched by that
 * thread alone. Metrics are atomics that anyone may read.
 */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include "base/err.h"
#include "http/conn.h"
#include "http/headers.h"
#include "http/loop.h"
#include "http/route.h"

#include <stdatomic.h>

struct http_server;

struct http_listen {
    /* "host:port", "[v6]:port", ":port" or "*:port" (all addresses, both families). A name that
     * has several addresses stands for its first. Port 0 picks a free one. */
    const char *address;
    struct http_routes routes;
    uint32_t max_connections; /* 0: no limit. Above it, clients wait in the kernel's queue */
};

/* Sizes in bytes, times in milliseconds. */
struct http_config {
    const struct http_listen *listens;
    size_t nlistens;
    unsigned threads; /* 0: one a core */

    size_t head_limit, url_limit;
    int64_t head_ms;   /* from the first byte of a request (or the connection's start) to its head's
                          end, whatever drips in meanwhile */
    int64_t body_ms;   /* from there to the end of its body */
    int64_t idle_ms;   /* between requests */
    int64_t send_ms;   /* without the client taking a single byte */
    int64_t linger_ms; /* after the last response, for the client to close first */

    void *hook_arg; /* the first argument of the hooks below, each of which may be NULL */
    /* Adds headers to each response that the core or an endpoint gives, behind the endpoint's own
     * (see http_headers_has()). `request` is NULL when the answer comes after the handler has
     * returned, or when the request was not understood. */
    void (*add_headers)(void *arg, struct http_conn *conn, const struct http_request *request,
                        int status, struct http_headers *headers);
    /* Asked before the handler of a route that needs the secret; fills in request->auth. When it
     * returns false it has answered. */
    bool (*authorise)(void *arg, struct http_conn *conn, struct http_request *request);
    /* For each loop before it runs (in the thread of http_server_start()), and when it has ended,
     * its connections are gone and all that was posted to it has run (in the thread of
     * http_server_free()): for what endpoints keep a loop (http_loop_set_user()). */
    void (*loop_started)(void *arg, struct http_loop *loop);
    /* The server stops: requests that have no answer yet should get one. On the loop's thread. */
    void (*loop_stopping)(void *arg, struct http_loop *loop);
    void (*loop_ended)(void *arg, struct http_loop *loop);
};

/* The limits and times of the documentation; no listeners, no hooks. */
struct http_config http_config_default(void);

struct http_metrics {
    _Atomic uint64_t responses[6]; /* by status class; [1] is 100-continue, [0] stays 0 */
    _Atomic uint64_t accepted;     /* connections so far */
    _Atomic uint64_t open;         /* connections now */
    _Atomic uint64_t parked;       /* of these, how many sources wait */
    _Atomic uint64_t bytes_sent;
    _Atomic uint64_t accept_errors; /* times that accepting had to pause or failed */
    _Atomic uint64_t bad_requests;  /* refused by the core: framing, limits, deadlines */
    _Atomic uint64_t timeouts;      /* connections closed by a deadline, idle ones not counted */
    _Atomic uint64_t aborted;       /* responses cut: broken connections, sources that gave up */
};

/* Binds, starts the threads. What `config` points to is borrowed until http_server_free(). */
struct http_server *http_server_start(const struct http_config *config, struct err *err) MUST_CHECK;
/* Stops accepting and closes idle connections at once, lets running responses end (sources see
 * http_conn_stopping()), and cuts what is left after `ms`. Returns when all threads have ended.
 * Once. */
void http_server_stop(struct http_server *server, int64_t ms);
/* After http_server_stop(), when no other thread posts to the loops any more. */
void http_server_free(struct http_server *server);

/* "127.0.0.1:3000": where listens[i] really listens. */
const char *http_server_address(const struct http_server *server, size_t i);
uint16_t http_server_port(const struct http_server *server, size_t i);
const struct http_metrics *http_server_metrics(const struct http_server *server);
unsigned http_server_nloops(const struct http_server *server);
struct http_loop *http_server_loop(const struct http_server *server, unsigned i);

#endif
