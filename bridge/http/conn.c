/*
 * What happens on a connection. The state says which step comes next; run()
 * takes steps until one has to wait for the socket, a wake-up or a deadline.
 * Only run() and what the loop calls (events, timer, task) ever free a
 * connection; what endpoints call just notes things (respond.c).
 */
#include "http/conn_private.h"

#include "base/arena.h"
#include "base/logging.h"
#include "http/worker.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define STEPS_A_TURN 32

_Static_assert(sizeof(struct http_conn) <= 400, "a parked connection is to cost little");

void http_conn_set_deadline(struct http_conn *conn, int64_t after_ms)
{
    http_loop_timer_set(conn->worker->loop, &conn->timer, after_ms);
}

void http_conn_clear_deadline(struct http_conn *conn)
{
    http_loop_timer_clear(conn->worker->loop, &conn->timer);
}

void http_conn_set_state(struct http_conn *conn, enum http_conn_state state)
{
#define TO(s) (1u << HTTP_CONN_##s)
    static const unsigned allowed[] = {
        [HTTP_CONN_IDLE] = TO(READING),
        [HTTP_CONN_READING] = TO(HANDLING),
        [HTTP_CONN_HANDLING] = TO(SENDING),
        [HTTP_CONN_SENDING] = TO(IDLE) | TO(PARKED) | TO(LINGER),
        [HTTP_CONN_PARKED] = TO(SENDING),
        [HTTP_CONN_LINGER] = 0,
    };
#undef TO
    _Atomic uint64_t *parked = &conn->worker->metrics->parked;

    assert(allowed[conn->state] & (1u << state));
    (void)allowed;
    if (state == HTTP_CONN_PARKED)
        atomic_fetch_add_explicit(parked, 1, memory_order_relaxed);
    else if (conn->state == HTTP_CONN_PARKED)
        atomic_fetch_sub_explicit(parked, 1, memory_order_relaxed);
    conn->state = (uint8_t)state;
}

/* ---- the end ---- */

void http_conn_drop_ahead(struct http_conn *conn)
{
    free(conn->ahead);
    conn->ahead = NULL;
    conn->ahead_at = conn->ahead_len = 0;
}

void http_conn_drop_intake(struct http_conn *conn)
{
    if (conn->intake)
        http_worker_return_intake(conn->worker, conn->intake);
    conn->intake = NULL;
}

static void drop_out(struct http_conn *conn)
{
    if (conn->out)
        http_worker_return_out(conn->worker, conn->out);
    conn->out = NULL;
}

/* Everything that belongs to the request that is being answered. */
static void drop_request(struct http_conn *conn)
{
    struct http_source *source = conn->source;
    void (*release)(void *user) = conn->user_release;
    void *user = conn->user;

    conn->source = NULL;
    conn->user_release = NULL;
    conn->user = NULL;
    if (source)
        source->ops->release(source);
    if (release)
        release(user);
    free(conn->request_id);
    conn->request_id = NULL;
    conn->route = NULL;
    conn->worker->slots[conn->slot].generation++;
    http_conn_drop_intake(conn);
    drop_out(conn);
}

void http_conn_free(struct http_conn *conn)
{
    struct http_worker *worker = conn->worker;

    if (conn->state == HTTP_CONN_PARKED)
        atomic_fetch_sub_explicit(&worker->metrics->parked, 1, memory_order_relaxed);
    drop_request(conn);
    http_conn_drop_ahead(conn);
    http_loop_timer_remove(worker->loop, &conn->timer);
    http_task_cancel(&conn->task);
    http_loop_unwatch(worker->loop, &conn->watch, conn->fd);
    close(conn->fd);
    http_worker_free_slot(worker, conn->slot);
    *conn->link = conn->next;
    if (conn->next)
        conn->next->link = conn->link;
    atomic_fetch_sub_explicit(&worker->metrics->open, 1, memory_order_relaxed);
    atomic_fetch_sub(&conn->place->open, 1);
    free(conn);
    http_worker_conn_gone(worker);
}

void http_conn_cut(struct http_conn *conn)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};

    if (conn->state == HTTP_CONN_SENDING)
        http_count(&conn->worker->metrics->aborted);
    /* A reset, not an orderly end: a body that ends with the connection must not look complete. */
    setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    http_conn_free(conn);
}

static enum http_step gone(struct http_conn *conn)
{
    http_conn_free(conn);
    return HTTP_STEP_GONE;
}

static enum http_step cut(struct http_conn *conn)
{
    http_conn_cut(conn);
    return HTTP_STEP_GONE;
}

/* ---- sending ---- */

static enum http_step finish(struct http_conn *conn)
{
    drop_request(conn);
    if (!conn->last && conn->keep_alive && !conn->worker->stopping) {
        http_conn_set_state(conn, HTTP_CONN_IDLE);
        http_conn_set_deadline(conn, conn->worker->config->idle_ms);
        return conn->ahead ? HTTP_STEP_ON : HTTP_STEP_REST;
    }
    http_conn_drop_ahead(conn);
    http_conn_set_state(conn, HTTP_CONN_LINGER);
    http_conn_set_deadline(conn, conn->worker->config->linger_ms);
    shutdown(conn->fd, SHUT_WR);
    return HTTP_STEP_ON;
}

static enum http_step park(struct http_conn *conn)
{
    /* Nobody would notice that this client has gone: its side is shut already. */
    if (conn->half_closed)
        return gone(conn);
    drop_out(conn);
    http_conn_set_state(conn, HTTP_CONN_PARKED);
    if (conn->wake_after > 0)
        http_conn_set_deadline(conn, conn->wake_after);
    else
        http_conn_clear_deadline(conn);
    return HTTP_STEP_REST;
}

static enum http_flush flush(struct http_conn *conn)
{
    struct http_worker *worker = conn->worker;
    uint64_t sent = 0;
    enum http_flush result = http_out_flush(conn->out, conn->fd, &sent);
    bool blocked = result == HTTP_FLUSH_BLOCKED;

    atomic_fetch_add_explicit(&worker->metrics->bytes_sent, sent, memory_order_relaxed);
    if (sent || (blocked && !conn->blocked))
        http_conn_set_deadline(conn, worker->config->send_ms);
    conn->blocked = blocked;
    return result;
}

/* What failed was the file, not the client. */
static void note_unread(const struct http_conn *conn)
{
    struct err err;

    if (errno == EIO)
        err_errno(&err, ERR_IO, "could not read what was to be sent");
    else if (errno == ENODATA)
        err_set(&err, ERR_CORRUPT, "a file is shorter than what was to be sent of it");
    else
        return;
    http_conn_abort(conn, NULL, &err);
}

static enum http_step step_send(struct http_conn *conn)
{
    if (conn->pull_now)
        http_conn_pull(conn);
    if (conn->cut)
        return cut(conn);
    switch (flush(conn)) {
    case HTTP_FLUSH_BLOCKED:
        return HTTP_STEP_REST;
    case HTTP_FLUSH_FAILED:
        note_unread(conn);
        return cut(conn);
    case HTTP_FLUSH_DONE:
        break;
    }
    if (!conn->source)
        return finish(conn);
    if (conn->waits && !conn->woken)
        return park(conn);
    conn->pull_now = true;
    return HTTP_STEP_ON;
}

static enum http_step step_parked(struct http_conn *conn)
{
    if (!conn->woken)
        return HTTP_STEP_REST;
    http_conn_set_state(conn, HTTP_CONN_SENDING);
    conn->out = http_worker_out(conn->worker);
    conn->pull_now = true;
    return HTTP_STEP_ON;
}

/* Reads away what the client still sends: closing with input unread would reset the connection,
 * and the client might never see the response. */
static enum http_step step_linger(struct http_conn *conn)
{
    struct http_worker *worker = conn->worker;
    ssize_t n = recv(conn->fd, worker->scratch, sizeof(worker->scratch), 0);

    if (n > 0)
        return HTTP_STEP_ON;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return HTTP_STEP_REST;
    return gone(conn);
}

/* ---- what the loop calls ---- */

static enum http_step step(struct http_conn *conn)
{
    switch ((enum http_conn_state)conn->state) {
    case HTTP_CONN_IDLE:
    case HTTP_CONN_READING:
        return http_conn_read(conn);
    case HTTP_CONN_HANDLING:
        return HTTP_STEP_REST;
    case HTTP_CONN_SENDING:
        return step_send(conn);
    case HTTP_CONN_PARKED:
        return step_parked(conn);
    case HTTP_CONN_LINGER:
        return step_linger(conn);
    }
    return HTTP_STEP_REST;
}

static uint32_t events_needed(const struct http_conn *conn)
{
    uint32_t events = conn->half_closed ? 0 : EPOLLRDHUP;

    switch ((enum http_conn_state)conn->state) {
    case HTTP_CONN_IDLE:
    case HTTP_CONN_READING:
    case HTTP_CONN_LINGER:
        return events | EPOLLIN;
    case HTTP_CONN_SENDING:
        return conn->blocked ? events | EPOLLOUT : events;
    case HTTP_CONN_HANDLING:
    case HTTP_CONN_PARKED:
        break;
    }
    return events;
}

/* EPOLLIN that is not needed is left on until input really comes: most requests are answered before
 * that, and two system calls are saved. */
static void adjust_events(struct http_conn *conn, bool input_came)
{
    uint32_t needed = events_needed(conn);
    uint32_t tolerated = input_came ? 0 : EPOLLIN & ~needed;

    if ((conn->interest & ~tolerated) == needed)
        return;
    conn->interest = needed;
    http_loop_rewatch(conn->worker->loop, &conn->watch, conn->fd, needed);
}

static void run(struct http_conn *conn)
{
    enum http_step s = HTTP_STEP_ON;

    conn->running = true;
    for (int i = 0; i < STEPS_A_TURN && s == HTTP_STEP_ON; i++)
        s = step(conn);
    if (s == HTTP_STEP_GONE)
        return;
    conn->running = false;
    if (s == HTTP_STEP_ON)
        http_loop_soon(conn->worker->loop, &conn->task);
    adjust_events(conn, false);
}

static void on_task(struct http_task *task)
{
    run((struct http_conn *)((char *)task - offsetof(struct http_conn, task)));
}

/* The client has shut its sending side, or has gone: only the latter is likely while it waits. */
static enum http_step client_shut(struct http_conn *conn)
{
    if (conn->state == HTTP_CONN_HANDLING || conn->state == HTTP_CONN_PARKED)
        return gone(conn);
    if (conn->state == HTTP_CONN_SENDING)
        conn->half_closed = true;
    return HTTP_STEP_ON;
}

static void on_ready(struct http_watch *watch, uint32_t events)
{
    struct http_conn *conn = (struct http_conn *)watch;

    if (events & (EPOLLERR | EPOLLHUP)) {
        if (conn->state == HTTP_CONN_SENDING)
            http_count(&conn->worker->metrics->aborted);
        http_conn_free(conn);
        return;
    }
    if ((events & EPOLLRDHUP) && client_shut(conn) == HTTP_STEP_GONE)
        return;
    if (events & events_needed(conn) & (EPOLLIN | EPOLLOUT))
        run(conn);
    else
        adjust_events(conn, (events & EPOLLIN) != 0);
}

static void read_too_slow(struct http_conn *conn)
{
    http_count(&conn->worker->metrics->timeouts);
    if (!conn->intake->head_done && conn->intake->target.len == 0) {
        http_conn_free(conn);
        return;
    }
    http_conn_refuse(conn, 408, "the request took too long");
    run(conn);
}

static void on_timer(struct http_timer *timer)
{
    struct http_conn *conn =
        (struct http_conn *)((char *)timer - offsetof(struct http_conn, timer));

    switch ((enum http_conn_state)conn->state) {
    case HTTP_CONN_READING:
        read_too_slow(conn);
        break;
    case HTTP_CONN_SENDING:
        http_count(&conn->worker->metrics->timeouts);
        http_conn_cut(conn);
        break;
    case HTTP_CONN_PARKED:
        conn->woken = true;
        run(conn);
        break;
    case HTTP_CONN_IDLE:
    case HTTP_CONN_LINGER:
        http_conn_free(conn);
        break;
    case HTTP_CONN_HANDLING:
        break;
    }
}

/* ---- what the worker calls ---- */

struct http_conn *http_conn_open(struct http_worker *worker, struct http_place *place, int fd)
{
    struct http_conn *conn = xcalloc(1, sizeof(*conn));
    struct err err;

    *conn = (struct http_conn){.watch.ready = on_ready,
                               .task.run = on_task,
                               .timer.fire = on_timer,
                               .worker = worker,
                               .place = place,
                               .fd = fd,
                               .interest = EPOLLIN | EPOLLRDHUP,
                               .fresh = true};
    if (!http_loop_watch(worker->loop, &conn->watch, fd, conn->interest, &err)) {
        log_error("could not take a connection", LOG_ERR(&err));
        close(fd);
        free(conn);
        atomic_fetch_sub(&place->open, 1);
        return NULL;
    }
    conn->slot = http_worker_take_slot(worker, conn);
    conn->next = worker->conns;
    conn->link = &worker->conns;
    if (conn->next)
        conn->next->link = &conn->next;
    worker->conns = conn;
    worker->nconns++;
    http_count(&worker->metrics->accepted);
    http_count(&worker->metrics->open);
    http_conn_set_deadline(conn, worker->config->head_ms);
    return conn;
}

void http_conn_stop(struct http_conn *conn)
{
    if (conn->state == HTTP_CONN_IDLE)
        http_conn_free(conn);
    else if (conn->source)
        http_conn_wake(conn);
}

void http_conn_go_on(struct http_conn *conn)
{
    if (!conn->running)
        http_loop_soon(conn->worker->loop, &conn->task);
}
