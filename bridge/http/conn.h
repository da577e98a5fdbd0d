/*
 * What an endpoint sees of a connection: the request it came with, and the
 * ways to answer. The core underneath (loop, parser, limits, deadlines,
 * keep-alive, pipelining, framing) is not an endpoint's concern.
 *
 * An endpoint is a handler in a route (route.h). It is called when a request
 * is complete, and answers in one of three ways:
 *
 * 1. At once:
 *
 *     static void get_health(struct http_conn *conn, const struct http_request *request)
 *     {
 *         struct http_headers h;
 *
 *         http_headers_init(&h);
 *         http_headers_add(&h, "content-type", "application/json");
 *         http_respond(conn, 200, &h, SLICE("{\"status\":\"active\"}"));
 *     }
 *
 * 2. By a source, that is asked for more whenever the socket can take more:
 *
 *     struct ticks {
 *         struct http_source source;          first, so that a cast leads back
 *         int left;
 *     };
 *
 *     static enum http_pull ticks_pull(struct http_source *source, struct http_conn *conn,
 *                                      struct http_out *out)
 *     {
 *         struct ticks *t = (struct ticks *)source;
 *
 *         if (http_conn_stopping(conn) || t->left == 0)
 *             return HTTP_END;
 *         t->left--;
 *         http_out_put_cstr(out, "tick\n");
 *         http_conn_wake_after(conn, 1000);   pull again in a second ...
 *         return HTTP_WAIT;                   ... or at http_conn_wake()
 *     }
 *
 *     http_respond_source(conn, 200, &h, HTTP_LENGTH_UNKNOWN, &t->source);
 *
 *    Whoever has waiting connections (a list of live clients) keeps them in
 *    its own struct, removes them in release(), and wakes them by
 *    http_conn_wake() on the loop's thread. While a source waits, its
 *    connection holds no buffers: 0.3 KB in all.
 *
 * 3. Later, from work that another thread does: the handler returns without
 *    an answer and keeps a reference. The client may go at any time; so the
 *    other thread never sees the connection, only the reference, and posts
 *    its result to the loop, where the reference says whether it is still
 *    there:
 *
 *     job->ref = http_conn_ref(conn);                    in the handler
 *     http_loop_post(job->ref.loop, on_result, job);     in the other thread
 *
 *     static void on_result(void *arg)                   on the loop again
 *     {
 *         struct http_conn *conn = http_ref_conn(job->ref);
 *
 *         if (conn)
 *             http_respond(conn, 200, &h, job->body);
 *         ... free the job
 *     }
 *
 * Everything here is for the loop's thread. No function here frees the
 * connection or sends anything on the spot: they note what is to be done, and
 * the core does it when the endpoint has returned. So `conn` stays valid until
 * then; after that it is valid until release() of the source or of the user
 * data has been called, or for as long as http_ref_conn() gives it.
 *
 * A client that goes while it waits (2 parked, 3) is noticed at once, also when
 * it only shuts its sending side: the two cannot be told apart.
 */
#ifndef HTTP_CONN_H
#define HTTP_CONN_H

#include "http/headers.h"
#include "http/loop.h"
#include "http/out.h"
#include "http/request.h"

struct http_conn;
struct http_source;

/* What pull() says. What it has put into `out` goes out in any case but HTTP_ABORT. */
enum http_pull {
    HTTP_MORE,  /* ask again when that has gone; something must have been put */
    HTTP_WAIT,  /* ask again after a wake-up */
    HTTP_END,   /* the body is complete */
    HTTP_ABORT, /* cut the connection, so that the client sees that the body is not complete;
                   http_conn_abort() says why */
};

struct http_source_ops {
    /* Not called while earlier output is pending: a slow reader holds one round of output. */
    enum http_pull (*pull)(struct http_source *source, struct http_conn *conn,
                           struct http_out *out);
    /* Once, after HTTP_END or when the response ends otherwise (the client has gone, the answer to
     * a HEAD needs no body). Frees the source. Must not call anything of this header. */
    void (*release)(struct http_source *source);
};

struct http_source {
    const struct http_source_ops *ops;
};

#define HTTP_LENGTH_UNKNOWN UINT64_MAX

/* Answers. Each request gets exactly one. `headers` may be NULL; what it holds is taken, and it is
 * empty (as after http_headers_init()) when the function returns. */

/* Copies the body. */
void http_respond(struct http_conn *conn, int status, struct http_headers *headers,
                  struct slice body);
/* Borrows the body until `release(arg)`. */
void http_respond_shared(struct http_conn *conn, int status, struct http_headers *headers,
                         struct slice body, void (*release)(void *arg), void *arg);
/* Takes the source. With HTTP_LENGTH_UNKNOWN the body is chunked (HTTP/1.0: ends with the
 * connection); with a length the source must put exactly so many bytes, else the connection is
 * cut. */
void http_respond_source(struct http_conn *conn, int status, struct http_headers *headers,
                         uint64_t length, struct http_source *source);

/* For a pull() that cannot go on: tells the log why, and returns HTTP_ABORT. That what was being
 * sent is not there any more (ERR_NOT_FOUND) is a warning, all else an error. `handle` says what it
 * was, NULL: not known. */
enum http_pull http_conn_abort(const struct http_conn *conn, const char *handle,
                               const struct err *why);

/* The next response is the connection's last: answers `connection: close`. Before responding. */
void http_conn_close_after(struct http_conn *conn);

/* Parked sources. */

/* Pull again. May be called at any time between http_respond_source() and release(), in pull()
 * too; a wake-up before HTTP_WAIT is not lost. */
void http_conn_wake(struct http_conn *conn);
/* Pull again after so many milliseconds unless woken earlier; 0: never. Holds for one HTTP_WAIT. */
void http_conn_wake_after(struct http_conn *conn, int64_t ms);

/* State of the request, the endpoint's own: released when the response is complete or the client
 * has gone. For work that should be given up then. */
void http_conn_set_user(struct http_conn *conn, void *user, void (*release)(void *user));
void *http_conn_user(const struct http_conn *conn);

/* References. */

struct http_ref {
    struct http_loop *loop;
    uint32_t slot, generation;
};

/* Stands for the connection until this request's response is complete. */
struct http_ref http_conn_ref(const struct http_conn *conn);
/* The connection if it is still there and still has that request, else NULL. On the loop's
 * thread. */
struct http_conn *http_ref_conn(struct http_ref ref);

/* Questions. */

struct http_loop *http_conn_loop(const struct http_conn *conn);
/* The route of the request that is being answered; NULL when none was found. */
const struct http_route *http_conn_route(const struct http_conn *conn);
/* The server is to stop: a stream should come to its end soon. Waiting sources are pulled once
 * when this becomes true. */
bool http_conn_stopping(const struct http_conn *conn);

#endif
