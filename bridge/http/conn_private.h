/*
 * A connection's insides, shared by conn.c (what happens), receive.c
 * (requests) and respond.c (what an endpoint asks for). Private to the core.
 *
 *                     first byte            complete
 *        +--> IDLE ---------------> READING ---------> HANDLING   the handler has been called;
 *        |      |                      |                   |      no answer yet
 *        |      | EOF, deadline        | refused           | http_respond...()
 *        |      v                      v                   v
 *        |   (gone)                 SENDING <--------------+
 *        |                          |  |  ^
 *        |    all sent, keep-alive  |  |  | woken
 *        +--------------------------+  |  |
 *        all sent, last one |          v  |
 *                           v         PARKED   the source waits; no buffers
 *                        LINGER
 *                           | EOF, deadline
 *                           v
 *                        (gone)     from every state when the connection breaks
 *
 * Input is read in IDLE, READING and (thrown away) LINGER only: the next
 * request of a pipeline stays in the kernel, or in `ahead`, until the response
 * before it has been sent.
 */
#ifndef HTTP_CONN_PRIVATE_H
#define HTTP_CONN_PRIVATE_H

#include "http/conn.h"
#include "http/intake.h"

#include <stdatomic.h>

struct http_worker;
struct http_place;

enum http_conn_state {
    HTTP_CONN_IDLE,
    HTTP_CONN_READING,
    HTTP_CONN_HANDLING,
    HTTP_CONN_SENDING,
    HTTP_CONN_PARKED,
    HTTP_CONN_LINGER,
};

enum http_step {
    HTTP_STEP_ON,   /* go on with the next step */
    HTTP_STEP_REST, /* wait for an event, a wake-up or the deadline */
    HTTP_STEP_GONE, /* the connection has been freed */
};

struct http_conn {
    struct http_watch watch;
    struct http_task task;
    struct http_timer timer; /* the one deadline of the state */
    struct http_worker *worker;
    struct http_place *place;
    struct http_conn *next, **link; /* in the worker's list */

    int fd;
    uint32_t interest; /* the epoll events that are asked for */
    uint32_t slot;
    uint8_t state; /* enum http_conn_state */

    bool running : 1;     /* in conn.c, which will go on by itself */
    bool half_closed : 1; /* the client has shut its sending side */
    bool blocked : 1;     /* there is more to be sent, when the socket is writable */
    bool fresh : 1;       /* has had no request yet */
    bool last : 1;        /* close after this response */
    bool keep_alive : 1;  /* the client wants to go on */
    bool http10 : 1;
    bool head_only : 1; /* HEAD */
    bool chunked : 1;
    bool pull_now : 1; /* the source is to be asked before anything is sent */
    bool waits : 1;    /* it said HTTP_WAIT */
    bool woken : 1;    /* and has been woken since its last pull */
    bool cut : 1;      /* something is wrong: reset the connection */

    struct http_intake *intake; /* READING and during the handler */
    struct http_out *out;       /* SENDING */
    struct http_source *source;
    uint64_t left; /* bytes that the source owes, or HTTP_LENGTH_UNKNOWN */
    const struct http_route *route;
    char *request_id; /* the client's, or NULL: one is made */
    char *ahead;      /* bytes behind the request, owned; NULL: none */
    uint32_t ahead_at, ahead_len;
    int64_t wake_after;
    void *user;
    void (*user_release)(void *user);
};

/* Takes the socket, non-blocking. NULL (with the socket closed) when it cannot be watched. */
struct http_conn *http_conn_open(struct http_worker *worker, struct http_place *place, int fd);
/* Resets the connection and frees everything. */
void http_conn_cut(struct http_conn *conn);
/* The server stops: idle connections go, waiting sources are pulled. May free the connection. */
void http_conn_stop(struct http_conn *conn);

/* Frees everything; the connection ends in order, if its output did. */
void http_conn_free(struct http_conn *conn);

/* receive.c: reads and takes what has come (IDLE, READING). */
enum http_step http_conn_read(struct http_conn *conn);
/* Answers with `reason` instead of calling a handler, and ends (READING). */
void http_conn_refuse(struct http_conn *conn, int status, const char *reason);

void http_conn_set_deadline(struct http_conn *conn, int64_t after_ms);
void http_conn_clear_deadline(struct http_conn *conn);
void http_conn_drop_ahead(struct http_conn *conn);
void http_conn_drop_intake(struct http_conn *conn);
void http_conn_set_state(struct http_conn *conn, enum http_conn_state state);
/* Goes on with the connection soon, unless it is being run already. */
void http_conn_go_on(struct http_conn *conn);

/* The core's own answers: text/plain, and for a wrong request the connection's last. */
void http_respond_text(struct http_conn *conn, int status, struct http_headers *headers,
                       struct slice text);
/* Whether a client's x-request-id is echoed: 20 to 200 visible characters. */
bool http_request_id_valid(struct slice id);
static inline void http_count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}
/* Asks the source, and frames what it gives. */
void http_conn_pull(struct http_conn *conn);

#endif
