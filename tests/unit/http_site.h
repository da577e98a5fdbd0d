/*
 * A server with two threads for tests over TCP: endpoints that park and that
 * answer from other threads, and words to talk with.
 */
#ifndef TEST_HTTP_SITE_H
#define TEST_HTTP_SITE_H

#include "http_util.h"

#include <pthread.h>

/* ---- endpoints ---- */

/* Those that wait on one loop; the loop's user pointer. */
struct room {
    struct waiter *first;
};

/* Waits for the loop's signal, then says its line and ends; at a stop says "bye". */
struct waiter {
    struct http_source source;
    struct http_conn *conn;
    struct waiter *next, **link;
    bool called;
    bool stubborn; /* ignores the stop */
};

static _Atomic int released, vanished;

static inline enum http_pull waiter_pull(struct http_source *source, struct http_conn *conn,
                                         struct http_out *out)
{
    struct waiter *w = (struct waiter *)source;

    if (!w->called && (w->stubborn || !http_conn_stopping(conn)))
        return HTTP_WAIT;
    http_out_put_cstr(out, w->called ? "woken" : "bye");
    return HTTP_END;
}

static inline void waiter_release(struct http_source *source)
{
    struct waiter *w = (struct waiter *)source;

    *w->link = w->next;
    if (w->next)
        w->next->link = w->link;
    atomic_fetch_add(&released, 1);
    free(w);
}

static inline void park_here(struct http_conn *conn, const struct http_request *request)
{
    static const struct http_source_ops ops = {waiter_pull, waiter_release};
    struct room *room = http_loop_user(http_conn_loop(conn));
    struct waiter *w = xcalloc(1, sizeof(*w));

    *w = (struct waiter){.source.ops = &ops, .conn = conn, .next = room->first};
    w->link = &room->first;
    w->stubborn = param_long(request, "stubborn") != 0;
    if (w->next)
        w->next->link = &w->next;
    room->first = w;
    http_respond_source(conn, 200, NULL, HTTP_LENGTH_UNKNOWN, &w->source);
}

static inline void wake_room(struct http_loop *loop, void *arg)
{
    struct room *room = http_loop_user(loop);

    (void)arg;
    for (struct waiter *w = room->first; w; w = w->next) {
        w->called = true;
        http_conn_wake(w->conn);
    }
}

/* Answered by another thread, through a reference. */
struct job {
    struct http_ref ref;
    _Atomic bool *go;
    pthread_t thread;
};

static _Atomic bool job_go;
static _Atomic int jobs_answered, jobs_missed;

static inline void on_job_done(void *arg)
{
    struct job *job = arg;
    struct http_conn *conn = http_ref_conn(job->ref);

    pthread_join(job->thread, NULL);
    if (conn) {
        http_respond(conn, 200, NULL, SLICE("later"));
        atomic_fetch_add(&jobs_answered, 1);
    } else {
        atomic_fetch_add(&jobs_missed, 1);
    }
    free(job);
}

static inline void *do_job(void *arg)
{
    struct job *job = arg;

    while (!atomic_load(job->go))
        usleep(500);
    http_loop_post(job->ref.loop, on_job_done, job);
    return NULL;
}

static inline void note_vanished(void *user)
{
    (void)user;
    atomic_fetch_add(&vanished, 1);
}

static inline void later(struct http_conn *conn, const struct http_request *request)
{
    struct job *job = xcalloc(1, sizeof(*job));

    (void)request;
    job->ref = http_conn_ref(conn);
    job->go = &job_go;
    http_conn_set_user(conn, conn, note_vanished);
    assert_int_equal(pthread_create(&job->thread, NULL, do_job, job), 0);
}

/* ---- the site ---- */

static const struct http_route other_routes[] = {
    {.path = "/metrics", .methods = HTTP_M_GET_HEAD, .handle = hello},
};

struct site {
    struct http_config config;
    struct http_listen listens[2];
    struct http_server *server;
    uint16_t port;
};

static inline void on_loop_started(void *arg, struct http_loop *loop)
{
    (void)arg;
    http_loop_set_user(loop, xcalloc(1, sizeof(struct room)));
    http_loop_on_signal(loop, wake_room, NULL);
}

static inline void on_loop_ended(void *arg, struct http_loop *loop)
{
    struct room *room = http_loop_user(loop);

    (void)arg;
    assert_null(room->first);
    free(room);
}

static inline void site_init(struct site *site, const struct http_route *routes, size_t n)
{
    *site = (struct site){.config = http_config_default()};
    site->listens[0] = (struct http_listen){.address = "127.0.0.1:0", .routes = {routes, n}};
    site->listens[1] = (struct http_listen){.address = "127.0.0.1:0", .routes = {other_routes, 1}};
    site->config.nlistens = 2;
    site->config.threads = 2;
    site->config.linger_ms = 200;
    site->config.loop_started = on_loop_started;
    site->config.loop_ended = on_loop_ended;
    released = vanished = jobs_answered = jobs_missed = 0;
    job_go = false;
}

static inline void site_start(struct site *site)
{
    struct err err;

    site->config.listens = site->listens;
    site->server = http_server_start(&site->config, &err);
    if (!site->server)
        fail_msg("%s", err.msg);
    site->port = http_server_port(site->server, 0);
}

static inline uint64_t site_metric(const struct site *site, size_t offset)
{
    const char *m = (const char *)http_server_metrics(site->server);

    return atomic_load((const _Atomic uint64_t *)(m + offset));
}

#define METRIC(site, field) site_metric(site, offsetof(struct http_metrics, field))

static inline void site_stop(struct site *site)
{
    http_server_stop(site->server, 5000);
    assert_int_equal(METRIC(site, open), 0);
    assert_int_equal(METRIC(site, parked), 0);
    http_server_free(site->server);
}

static inline void signal_all(const struct site *site)
{
    for (unsigned i = 0; i < http_server_nloops(site->server); i++)
        http_loop_signal(http_server_loop(site->server, i));
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define GET_LAST(path) "GET " path " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

/* Reads to the end; the connection must have ended in order, with these answers. */
static inline void expect_answers(int fd, const char *want)
{
    struct buf raw, got;

    buf_init(&raw, BUF_NO_LIMIT);
    buf_init(&got, BUF_NO_LIMIT);
    assert_true(hear_all(fd, &raw));
    digest(&got, buf_slice(&raw), false);
    assert_string_equal(buf_cstr(&got), want);
    buf_release(&raw);
    buf_release(&got);
}

#endif
