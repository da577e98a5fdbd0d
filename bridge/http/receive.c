/*
 * Requests: from bytes on the socket, or behind the request before, to the
 * handler's call. What cannot be taken is refused here with the answer that
 * says why, and the connection ends.
 */
#include "http/conn_private.h"

#include "base/arena.h"
#include "base/logging.h"
#include "http/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

/* What was read behind the request waits here: the next request of a pipeline. */
static void keep_ahead(struct http_conn *conn, struct slice in, size_t used)
{
    if (conn->ahead) {
        conn->ahead_at += (uint32_t)used;
        if (conn->ahead_at == conn->ahead_len)
            http_conn_drop_ahead(conn);
    } else if (used < in.len) {
        conn->ahead_len = (uint32_t)(in.len - used);
        conn->ahead = memcpy(xmalloc(conn->ahead_len), in.ptr + used, conn->ahead_len);
    }
}

/* What the answer depends on, from a head as far as it was understood. */
static void note_request(struct http_conn *conn)
{
    const struct http_intake *in = conn->intake;

    conn->http10 = in->head_done && in->request.minor == 0;
    conn->head_only = in->head_done && in->request.method == HTTP_M_HEAD;
    conn->keep_alive = in->head_done && in->keep_alive;
    conn->last = false;
    conn->cut = false;
    conn->chunked = false;
    conn->left = HTTP_LENGTH_UNKNOWN;
}

static const struct http_route *find_route(struct http_conn *conn, uint32_t *allowed)
{
    const struct http_request *r = &conn->intake->request;

    return http_route_find(&conn->place->listen->routes, r->path, r->method, allowed);
}

static void answer_refused(struct http_conn *conn, int status, const char *reason)
{
    uint32_t allowed;

    /* For the hook that adds headers, too. */
    if (conn->intake->head_done)
        conn->route = find_route(conn, &allowed);
    if (status != 413 || !conn->route || !conn->route->too_large) {
        http_respond_text(conn, status, NULL, slice_of(reason));
        return;
    }
    struct http_headers headers;

    http_headers_init(&headers);
    http_headers_add(&headers, "content-type", "application/json; charset=utf-8");
    http_respond(conn, status, &headers, slice_of(conn->route->too_large));
}

void http_conn_refuse(struct http_conn *conn, int status, const char *reason)
{
    http_count(&conn->worker->metrics->bad_requests);
    log_debug("http request refused", LOG_INT("status", status), LOG_STR("reason", reason));
    note_request(conn);
    conn->last = true;
    http_conn_clear_deadline(conn);
    http_conn_set_state(conn, HTTP_CONN_HANDLING);
    answer_refused(conn, status, reason);
    http_conn_drop_intake(conn);
    http_conn_drop_ahead(conn);
}

/* Best effort: a client that is told nothing sends its body after a while anyway. */
static bool send_continue(struct http_conn *conn)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    ssize_t n = send(conn->fd, text, sizeof(text) - 1, MSG_NOSIGNAL);

    http_count(&conn->worker->metrics->responses[1]);
    return n == (ssize_t)sizeof(text) - 1 || (n < 0 && errno == EAGAIN);
}

static enum http_step head_complete(struct http_conn *conn)
{
    /* The body of a request that no route takes is read so that the connection can go on. */
    static const size_t unrouted_limit = (size_t)64 * 1024;
    struct http_intake *in = conn->intake;
    uint32_t allowed;
    const struct http_route *route = find_route(conn, &allowed);

    if (!http_intake_limit_body(in, route ? route->body_limit : unrouted_limit)) {
        http_conn_refuse(conn, in->status, in->reason);
        return HTTP_STEP_ON;
    }
    http_conn_set_deadline(conn, conn->worker->config->body_ms);
    if (in->wants_continue && !conn->ahead && !send_continue(conn)) {
        http_conn_cut(conn);
        return HTTP_STEP_GONE;
    }
    return HTTP_STEP_ON;
}

static void answer_unrouted(struct http_conn *conn, uint32_t allowed)
{
    struct http_headers headers;
    char allow[HTTP_ALLOW_SIZE];

    if (!allowed) {
        http_respond_text(conn, 404, NULL, SLICE("Not found"));
        return;
    }
    http_methods_print(allowed, allow);
    http_headers_init(&headers);
    http_headers_add(&headers, "allow", allow);
    http_respond_text(conn, 405, &headers, SLICE("Method not allowed"));
}

/* Of an answer that comes later: the request's headers will be gone. */
static void keep_request_id(struct http_conn *conn)
{
    struct slice id;

    if (http_request_header(&conn->intake->request, "x-request-id", &id) &&
        http_request_id_valid(id)) {
        conn->request_id = memcpy(xcalloc(id.len + 1, 1), id.ptr, id.len);
    }
}

static bool authorised(struct http_conn *conn, struct http_request *request)
{
    const struct http_config *config = conn->worker->config;

    if (!conn->route->needs_secret || !config->authorise ||
        config->authorise(config->hook_arg, conn, request))
        return true;
    if (conn->state == HTTP_CONN_HANDLING)
        http_respond_text(conn, 401, NULL, SLICE("Unauthorized"));
    return false;
}

static void handle(struct http_conn *conn)
{
    struct http_request *request = &conn->intake->request;
    uint32_t allowed;

    note_request(conn);
    http_conn_clear_deadline(conn);
    http_conn_set_state(conn, HTTP_CONN_HANDLING);
    conn->route = request->route = find_route(conn, &allowed);
    if (!conn->route)
        answer_unrouted(conn, allowed);
    else if (authorised(conn, request))
        conn->route->handle(conn, request);
    auth_release(&request->auth);
    if (conn->state == HTTP_CONN_HANDLING)
        keep_request_id(conn);
    http_conn_drop_intake(conn);
}

static enum http_step take(struct http_conn *conn, struct slice in, bool more_there)
{
    size_t used;
    enum http_intake_result result = http_intake_feed(conn->intake, in.ptr, in.len, &used);

    if (result == HTTP_INTAKE_BAD) {
        http_conn_refuse(conn, conn->intake->status, conn->intake->reason);
        return HTTP_STEP_ON;
    }
    keep_ahead(conn, in, used);
    if (result == HTTP_INTAKE_HEAD)
        return head_complete(conn);
    if (result == HTTP_INTAKE_MORE)
        return more_there ? HTTP_STEP_ON : HTTP_STEP_REST;
    handle(conn);
    return conn->state == HTTP_CONN_HANDLING ? HTTP_STEP_REST : HTTP_STEP_ON;
}

enum http_step http_conn_read(struct http_conn *conn)
{
    struct http_worker *worker = conn->worker;
    struct slice in;
    bool more_there = true;

    if (conn->ahead) {
        in = (struct slice){conn->ahead + conn->ahead_at, conn->ahead_len - conn->ahead_at};
    } else {
        ssize_t n = recv(conn->fd, worker->scratch, sizeof(worker->scratch), 0);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return HTTP_STEP_REST;
        if (n <= 0) {
            http_conn_free(conn);
            return HTTP_STEP_GONE;
        }
        in = (struct slice){worker->scratch, (size_t)n};
        more_there = (size_t)n == sizeof(worker->scratch);
    }
    if (conn->state == HTTP_CONN_IDLE) {
        http_conn_set_state(conn, HTTP_CONN_READING);
        conn->intake = http_worker_intake(worker);
        /* The first request's deadline runs since the connection is there. */
        if (!conn->fresh)
            http_conn_set_deadline(conn, worker->config->head_ms);
        conn->fresh = false;
    }
    return take(conn, in, more_there);
}
