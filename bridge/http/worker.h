/*
 * A loop's thread and what its connections share. Private to the core; tests
 * use it to run connections without threads or listeners.
 */
#ifndef HTTP_WORKER_H
#define HTTP_WORKER_H

#include "http/conn_private.h"
#include "http/server.h"

#include <pthread.h>

#define HTTP_SCRATCH ((size_t)32 * 1024)
#define HTTP_DATE_SIZE 32
#define HTTP_ID_SIZE 33

/* What all connections of one listening address have in common, over all threads. */
struct http_place {
    const struct http_listen *listen;
    _Atomic uint64_t open;
    uint16_t port;
    char address[64];
};

struct http_worker;

/* One worker's listening socket. */
struct http_acceptor {
    struct http_watch watch;
    struct http_timer resume; /* after a pause */
    struct http_worker *worker;
    struct http_place *place;
    int fd;
    int64_t logged_at; /* when it last said why it pauses; 0: never */
};

/* Where a reference points. */
struct http_slot {
    struct http_conn *conn; /* NULL: free, and `next_free` holds */
    uint32_t generation, next_free;
};

struct http_worker {
    const struct http_config *config;
    struct http_metrics *metrics;
    struct http_limits limits;
    struct http_loop *loop;
    struct http_acceptor *acceptors;
    size_t nacceptors;
    struct http_conn *conns; /* all of them */
    size_t nconns;
    bool started; /* the endpoints were told of the loop */
    bool stopping;
    struct http_timer stop_timer; /* cuts what is left */

    struct http_slot *slots;
    uint32_t nslots, free_slot;

    struct http_intake *intakes; /* pools */
    struct http_out *outs;
    unsigned nintakes, nouts;
    struct http_headers core_headers; /* of the answer whose head is being written */

    int64_t date_s;
    char date[HTTP_DATE_SIZE];
    uint64_t id_seed[2];
    char scratch[HTTP_SCRATCH];
    pthread_t thread;
};

/* False when the loop could not be made. `config` and `metrics` are borrowed. */
bool http_worker_init(struct http_worker *worker, const struct http_config *config,
                      struct http_metrics *metrics, struct err *err) MUST_CHECK;
/* Cuts the connections that are left, closes the listeners. */
void http_worker_release(struct http_worker *worker);
/* Begins to stop: as http_server_stop() says. On the loop's thread. */
void http_worker_stop(struct http_worker *worker, int64_t ms);
/* Called by a connection that has gone. */
void http_worker_conn_gone(struct http_worker *worker);

uint32_t http_worker_take_slot(struct http_worker *worker, struct http_conn *conn);
void http_worker_free_slot(struct http_worker *worker, uint32_t slot);

struct http_intake *http_worker_intake(struct http_worker *worker);
void http_worker_return_intake(struct http_worker *worker, struct http_intake *intake);
struct http_out *http_worker_out(struct http_worker *worker);
void http_worker_return_out(struct http_worker *worker, struct http_out *out);

/* "Sat, 21 Nov 2026 08:55:26 GMT" */
const char *http_worker_date(struct http_worker *worker);
/* Writes a new request id of 32 hex digits and a NUL. */
void http_worker_new_id(struct http_worker *worker, char id[HTTP_ID_SIZE]);

/* listen.c */

/* Opens the listening socket of a place; the first worker's picks the port that the others share.
 */
bool http_acceptor_open(struct http_acceptor *acceptor, struct http_worker *worker,
                        struct http_place *place, struct err *err) MUST_CHECK;
void http_acceptor_close(struct http_acceptor *acceptor);

#endif
