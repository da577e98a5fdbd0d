/*
 * What endpoints ask of a connection (conn.h): answers, their heads, pulling
 * from sources, references. Nothing here sends or frees a connection; it
 * fills conn->out, moves the state and lets conn.c go on.
 */
#include "http/conn_private.h"

#include "base/arena.h"
#include "base/logging.h"
#include "http/worker.h"

#include <stdlib.h>

#define COPY_LIMIT ((size_t)32 * 1024) /* a longer body gets memory of its own */

static bool has_no_body(int status)
{
    return status < 200 || status == 204 || status == 304;
}

static const struct http_request *request_of(const struct http_conn *conn)
{
    return conn->intake && conn->intake->head_done && !conn->intake->status ? &conn->intake->request
                                                                            : NULL;
}

bool http_request_id_valid(struct slice id)
{
    if (id.len < 20 || id.len > 200)
        return false;
    for (size_t i = 0; i < id.len; i++) {
        if (id.ptr[i] <= 0x20 || id.ptr[i] >= 0x7f)
            return false;
    }
    return true;
}

static void put_request_id(struct http_conn *conn, struct http_headers *h)
{
    const struct http_request *request = request_of(conn);
    char fresh[HTTP_ID_SIZE];
    struct slice id;

    if (conn->request_id) {
        id = slice_of(conn->request_id);
    } else if (!request || !http_request_header(request, "x-request-id", &id) ||
               !http_request_id_valid(id)) {
        http_worker_new_id(conn->worker, fresh);
        id = slice_of(fresh);
    }
    buf_put_cstr(&h->text, "x-request-id: ");
    buf_put_slice(&h->text, id);
    buf_put_cstr(&h->text, "\r\n");
}

static void put_length(struct http_headers *h, uint64_t length)
{
    buf_put_cstr(&h->text, "content-length: ");
    buf_put_dec(&h->text, length);
    buf_put_cstr(&h->text, "\r\n");
}

/* The headers that frame the response, and say whether it is the last. */
static void put_framing(struct http_conn *conn, int status, uint64_t length, struct http_headers *h)
{
    bool body = !has_no_body(status);

    if (body && length != HTTP_LENGTH_UNKNOWN)
        put_length(h, length);
    else if (body && !conn->http10)
        buf_put_cstr(&h->text, "transfer-encoding: chunked\r\n");
    if (conn->last)
        buf_put_cstr(&h->text, "connection: close\r\n");
    else if (conn->http10)
        buf_put_cstr(&h->text, "connection: keep-alive\r\n");
}

static void put_status_and_date(struct http_conn *conn, int status, struct http_headers *h)
{
    buf_put_cstr(&h->text, "HTTP/1.1 ");
    buf_put_dec(&h->text, (uint64_t)status);
    buf_put_u8(&h->text, ' ');
    buf_put_cstr(&h->text, http_status_text(status));
    buf_put_cstr(&h->text, "\r\ndate: ");
    buf_put_cstr(&h->text, http_worker_date(conn->worker));
    buf_put_cstr(&h->text, "\r\n");
}

/* Takes the text of `headers`; false, with nothing written, when there is something wrong in it. */
static bool write_head(struct http_conn *conn, int status, struct http_headers *headers,
                       uint64_t length)
{
    const struct http_config *config = conn->worker->config;
    struct http_headers *core = &conn->worker->core_headers;

    if (config->add_headers)
        config->add_headers(config->hook_arg, conn, request_of(conn), status, headers);
    buf_clear(&core->text);
    put_status_and_date(conn, status, core);
    put_request_id(conn, core);
    put_framing(conn, status, length, core);
    bool good = !headers->text.failed && !core->text.failed;
    if (good) {
        http_out_put_core(conn->out, buf_slice(&core->text));
        http_out_put_core(conn->out, headers->lent);
        http_out_put_core(conn->out, buf_slice(&headers->text));
        http_out_put_core(conn->out, SLICE("\r\n"));
    }
    http_headers_release(headers);
    return good;
}

static bool may_respond(const struct http_conn *conn)
{
    if (conn->state == HTTP_CONN_HANDLING)
        return true;
    log_error("a request was answered twice",
              LOG_STR("route", conn->route ? conn->route->path : NULL));
    return false;
}

/* The answer when an endpoint's headers cannot be sent. */
static void write_failure(struct http_conn *conn, struct http_headers *headers)
{
    const struct slice text = SLICE("internal error: a response header is not valid");

    log_error("a response header is not valid or too long",
              LOG_STR("route", conn->route ? conn->route->path : NULL));
    conn->last = true;
    http_headers_init(headers);
    if (write_head(conn, 500, headers, text.len) && !conn->head_only)
        http_out_put(conn->out, text);
}

/* Writes the head and moves to SENDING. False when the answer has become another one, which needs
 * no body. */
static bool begin(struct http_conn *conn, int status, struct http_headers *headers, uint64_t length)
{
    struct http_worker *worker = conn->worker;
    struct http_headers none;

    if (!headers) {
        http_headers_init(&none);
        headers = &none;
    }
    conn->out = http_worker_out(worker);
    conn->last |=
        !conn->keep_alive || worker->stopping || (conn->http10 && length == HTTP_LENGTH_UNKNOWN);
    conn->blocked = conn->waits = conn->woken = conn->pull_now = false;
    bool good = status >= 200 && status <= 599 && write_head(conn, status, headers, length);
    if (!good) {
        http_headers_release(headers);
        write_failure(conn, headers);
        status = 500;
    }
    http_headers_release(headers);
    atomic_fetch_add_explicit(&worker->metrics->responses[status / 100], 1, memory_order_relaxed);
    http_conn_set_state(conn, HTTP_CONN_SENDING);
    http_conn_go_on(conn);
    return good && !conn->head_only && !has_no_body(status);
}

void http_respond_shared(struct http_conn *conn, int status, struct http_headers *headers,
                         struct slice body, void (*release)(void *arg), void *arg)
{
    if (may_respond(conn) && begin(conn, status, headers, body.len))
        http_out_put_shared(conn->out, body, release, arg);
    else if (release)
        release(arg);
}

void http_respond(struct http_conn *conn, int status, struct http_headers *headers,
                  struct slice body)
{
    if (body.len > COPY_LIMIT) {
        char *copy = memcpy(xmalloc(body.len), body.ptr, body.len);

        http_respond_shared(conn, status, headers, (struct slice){copy, body.len}, free, copy);
        return;
    }
    if (may_respond(conn) && begin(conn, status, headers, body.len))
        http_out_put(conn->out, body);
}

void http_respond_text(struct http_conn *conn, int status, struct http_headers *headers,
                       struct slice text)
{
    struct http_headers own;

    if (!headers) {
        http_headers_init(&own);
        headers = &own;
    }
    http_headers_add(headers, "content-type", "text/plain; charset=utf-8");
    http_respond(conn, status, headers, text);
}

void http_respond_source(struct http_conn *conn, int status, struct http_headers *headers,
                         uint64_t length, struct http_source *source)
{
    if (!may_respond(conn) || !begin(conn, status, headers, length)) {
        source->ops->release(source);
        return;
    }
    conn->source = source;
    conn->left = length;
    conn->chunked = length == HTTP_LENGTH_UNKNOWN && !conn->http10;
    conn->pull_now = true;
}

void http_conn_close_after(struct http_conn *conn)
{
    conn->last = true;
}

/* ---- sources ---- */

/* Whether what the source has put and said agrees with what it promised. */
static const char *fault_of(struct http_conn *conn, enum http_pull said)
{
    const struct http_out *out = conn->out;

    if (out->failed)
        return "a source put more than there is room for";
    if (said == HTTP_MORE && out->round_size == 0)
        return "a source has more but put nothing";
    if (conn->left == HTTP_LENGTH_UNKNOWN)
        return NULL;
    if (out->round_size > conn->left)
        return "a source put more than its length";
    conn->left -= out->round_size;
    if (said == HTTP_END && conn->left > 0)
        return "a source ended before its length";
    return NULL;
}

enum http_pull http_conn_abort(const struct http_conn *conn, const char *handle,
                               const struct err *why)
{
    log_at(why->code == ERR_NOT_FOUND ? LOG_WARN : LOG_ERROR, "a response was cut short",
           LOG_STR("route", conn->route ? conn->route->path : NULL), LOG_STR("handle", handle),
           LOG_ERR(why));
    return HTTP_ABORT;
}

static void end_source(struct http_conn *conn)
{
    struct http_source *source = conn->source;

    conn->source = NULL;
    source->ops->release(source);
    if (conn->chunked)
        http_out_put_core(conn->out, SLICE("0\r\n\r\n"));
}

void http_conn_pull(struct http_conn *conn)
{
    struct http_out *out = conn->out;

    conn->pull_now = conn->waits = conn->woken = false;
    conn->wake_after = 0;
    http_out_round(out);
    if (conn->chunked)
        http_out_open_chunk(out);
    enum http_pull said = conn->source->ops->pull(conn->source, conn, out);
    if (conn->chunked)
        http_out_close_chunk(out);
    const char *fault = said == HTTP_ABORT ? NULL : fault_of(conn, said);
    if (fault)
        log_error(fault, LOG_STR("route", conn->route ? conn->route->path : NULL));
    conn->cut = fault || said == HTTP_ABORT;
    if (conn->cut)
        return;
    conn->waits = said == HTTP_WAIT;
    if (said == HTTP_END)
        end_source(conn);
}

void http_conn_wake(struct http_conn *conn)
{
    conn->woken = true;
    if (conn->state == HTTP_CONN_PARKED)
        http_conn_go_on(conn);
}

void http_conn_wake_after(struct http_conn *conn, int64_t ms)
{
    conn->wake_after = ms;
}

/* ---- the rest ---- */

void http_conn_set_user(struct http_conn *conn, void *user, void (*release)(void *user))
{
    if (conn->user_release)
        conn->user_release(conn->user);
    conn->user = user;
    conn->user_release = release;
}

void *http_conn_user(const struct http_conn *conn)
{
    return conn->user;
}

struct http_ref http_conn_ref(const struct http_conn *conn)
{
    const struct http_worker *worker = conn->worker;

    return (struct http_ref){worker->loop, conn->slot, worker->slots[conn->slot].generation};
}

struct http_conn *http_ref_conn(struct http_ref ref)
{
    const struct http_worker *worker = http_loop_owner(ref.loop);

    if (!worker || ref.slot >= worker->nslots ||
        worker->slots[ref.slot].generation != ref.generation)
        return NULL;
    return worker->slots[ref.slot].conn;
}

struct http_loop *http_conn_loop(const struct http_conn *conn)
{
    return conn->worker->loop;
}

const struct http_route *http_conn_route(const struct http_conn *conn)
{
    return conn->route;
}

bool http_conn_stopping(const struct http_conn *conn)
{
    return conn->worker->stopping;
}
