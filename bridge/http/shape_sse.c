/*
 * A live response as server-sent events: each message is `data: <json>`, an up-to-date follows each
 * batch, a comment says now and then that the stream is alive. It ends after a minute, when the log
 * does, or when the bridge stops; the client comes again.
 *
 * A small batch is one body that all who wait for it share. A large one goes through the output's
 * own buffer: its bytes are read from the file, and what stands between two messages is written
 * anew. Where a read ends within such a boundary the bytes of it are left for the next.
 */
#include "http/shape_private.h"

#include "base/arena.h"
#include "shapelog/io.h"

#include <stdlib.h>

#define STRETCH ((size_t)16 * 1024)
#define ROOM (STRETCH * 3) /* what it may grow to: the shortest message gets ten bytes more */
#define BOUNDARY "}},{\"key\":\""
#define BOUNDARY_LEN (sizeof(BOUNDARY) - 1)

struct large_batch {
    struct log_range range;
    struct log_range_cursor cursor;
    struct log_piece piece; /* being sent; segment NULL: none */
    uint64_t at;            /* bytes of it that were */
    bool within;            /* an event has been begun */
};

struct event_stream {
    struct http_source source; /* first */
    struct shape_request_state *get;
    struct log_offset offset; /* sent up to here */
    struct large_batch *batch;
    lsn_t seen; /* behind the batch: 0, or an up-to-date */
    int64_t end, said_at;
};

static void put_up_to_date(struct http_out *out, lsn_t seen)
{
    struct buf text;

    buf_init(&text, BUF_NO_LIMIT);
    shape_put_up_to_date(&text, seen);
    http_out_put_cstr(out, "data: ");
    http_out_put(out, buf_slice(&text));
    http_out_put_cstr(out, "\n\n");
    buf_release(&text);
}

/* ---- a large batch --------------------------------------------------------------------------- */

static bool next_piece(struct event_stream *s, struct err *err)
{
    struct large_batch *b = s->batch;
    size_t n;

    b->at = 0;
    b->piece.segment = NULL;
    return log_range_read(s->get->loop->store, s->get->log, &b->range, &b->cursor, &b->piece, 1, &n,
                          err);
}

/* Messages, of which the first and the last may be parts. */
static void put_stretch(struct large_batch *b, struct http_out *out, struct slice bytes)
{
    while (bytes.len) {
        const char *end = memmem(bytes.ptr, bytes.len, BOUNDARY, BOUNDARY_LEN);
        size_t len = end ? (size_t)(end - bytes.ptr) + 2 : bytes.len;

        if (!b->within)
            http_out_put_cstr(out, "data: ");
        b->within = !end;
        http_out_put(out, (struct slice){bytes.ptr, len});
        if (end)
            http_out_put_cstr(out, "\n\n");
        len += end ? 1 : 0;
        bytes.ptr += len;
        bytes.len -= len;
    }
}

/* How many bytes at the end may be the beginning of a boundary. */
static size_t held_back(struct slice bytes)
{
    for (size_t n = BOUNDARY_LEN - 1; n > 0; n--) {
        if (bytes.len >= n && memcmp(bytes.ptr + bytes.len - n, BOUNDARY, n) == 0)
            return n;
    }
    return 0;
}

static bool put_part(struct large_batch *b, struct http_out *out, struct err *err)
{
    char bytes[STRETCH];
    uint64_t end = b->piece.last ? b->piece.len - 2 : b->piece.len, left = end - b->at;
    size_t len = left < STRETCH ? (size_t)left : STRETCH;

    if (!io_read(b->piece.fd, bytes, len, b->piece.offset + b->at, err))
        return false;
    if (len < left)
        len -= held_back((struct slice){bytes, len});
    put_stretch(b, out, (struct slice){bytes, len});
    b->at += len;
    if (b->at < end)
        return true;
    if (b->piece.last)
        http_out_put_cstr(out, LOG_PIECE_LAST);
    http_out_put_cstr(out, "\n\n");
    b->within = false;
    log_pieces_release(&b->piece, 1);
    b->piece.segment = NULL;
    return true;
}

static void end_batch(struct event_stream *s)
{
    if (s->batch && s->batch->piece.segment)
        log_pieces_release(&s->batch->piece, 1);
    free(s->batch);
    s->batch = NULL;
}

/* As much as there is room for; the batch is gone when that was all. */
static enum http_pull pull_batch(struct event_stream *s, struct http_out *out)
{
    struct err err;

    while (http_out_room(out) >= ROOM) {
        /* The log has ended, and its events with a whole one: the client is told when it comes. */
        if (!s->batch->piece.segment && !next_piece(s, &err))
            return HTTP_END;
        if (!s->batch->piece.segment) {
            if (s->seen)
                put_up_to_date(out, s->seen);
            s->offset = s->batch->range.to;
            end_batch(s);
            break;
        }
        if (!put_part(s->batch, out, &err))
            return http_conn_abort(s->get->conn, log_handle(s->get->log).ptr, &err);
    }
    return HTTP_MORE;
}

/* ---- the stream ------------------------------------------------------------------------------ */

static enum http_pull put_small(struct event_stream *s, struct http_out *out,
                                const struct shape_plan *plan)
{
    struct err err;
    struct shape_body *body = shape_body_get(s->get->loop, plan, true, &err);

    if (!body)
        return HTTP_END;
    http_out_put_shared(out, buf_slice(&body->text[HTTP_IDENTITY]), shape_body_unref, body);
    s->offset = plan->to;
    return HTTP_MORE;
}

static void begin_batch(struct event_stream *s, const struct shape_plan *plan)
{
    s->batch = xcalloc(1, sizeof(*s->batch));
    s->batch->range = plan->content.range;
    s->seen = plan->up_to_date ? plan->seen : 0;
}

/* Nothing to send: says so now and then. */
static enum http_pull rest(struct event_stream *s, struct http_conn *conn, struct http_out *out)
{
    int64_t now = http_loop_now(http_conn_loop(conn));
    int64_t idle = s->get->loop->site->sse_idle_ms;

    if (now >= s->end || http_conn_stopping(conn))
        return HTTP_END;
    if (now - s->said_at >= idle) {
        http_out_put_cstr(out, ": keep-alive\n\n");
        s->said_at = now;
    }
    int64_t next = s->said_at + idle;

    http_conn_wake_after(conn, (next < s->end ? next : s->end) - now);
    return HTTP_WAIT;
}

/* The next messages: put, when they are few, or a large batch that has been begun. */
static enum http_pull next_batch(struct event_stream *s, struct http_conn *conn,
                                 struct http_out *out)
{
    struct shape_plan plan = {0};

    if (http_loop_now(http_conn_loop(conn)) >= s->get->expires)
        return HTTP_END;
    if (!shape_plan_range(s->get->loop, s->get->log, s->offset, true, &plan))
        return HTTP_END;
    if (log_offset_compare(plan.to, plan.content.range.after) == 0)
        return rest(s, conn, out);
    s->said_at = http_loop_now(http_conn_loop(conn));
    if (shape_content_is_small(&plan.content))
        return put_small(s, out, &plan);
    begin_batch(s, &plan);
    return HTTP_MORE;
}

/* Beginning a batch puts nothing, and neither does its end where all its bytes had gone before. */
static enum http_pull pull(struct http_source *source, struct http_conn *conn, struct http_out *out)
{
    struct event_stream *s = (struct event_stream *)source;
    enum http_pull said = HTTP_MORE;

    while (said == HTTP_MORE && http_out_is_round_empty(out))
        said = s->batch ? pull_batch(s, out) : next_batch(s, conn, out);
    return said;
}

static void release(struct http_source *source)
{
    struct event_stream *s = (struct event_stream *)source;

    end_batch(s);
    free(s);
}

void shape_send_events(struct shape_request_state *get, const struct shape_plan *plan)
{
    static const struct http_source_ops ops = {pull, release};
    const struct shape_reply reply = {.status = 200, .offset = get->offset, .up_to_date = false};
    struct event_stream *s;
    struct http_headers h;

    /* Rows come as an array: a client that has them not all is given the next of these first. */
    if (plan->kind == SHAPE_PLAN_CONTENT && plan->content.snapshot) {
        get->sse = false;
        shape_send_plan(get, plan);
        return;
    }
    s = xcalloc(1, sizeof(*s));
    s->source.ops = &ops;
    s->get = get;
    s->offset = get->offset.lsn == 0 ? LOG_OFFSET_BEGIN : get->offset;
    s->said_at = http_loop_now(get->loop->loop);
    s->end = s->said_at + get->loop->site->sse_ms;
    if (s->end > get->expires)
        s->end = get->expires;
    shape_ends(get);
    shape_put_headers(get, &reply, &h);
    watchers_add(get->loop->watchers, get->log, &get->watcher);
    http_respond_source(get->conn, 200, &h, HTTP_LENGTH_UNKNOWN, &s->source);
}
