/*
 * Sends the messages of a response: small ones as a body that all who ask for it share, large ones
 * from the files, or, when they are a whole chunk, as an encoder has made them. A client that comes
 * from within a chunk, or by an offset that was never one, gets what is left of it as it is.
 */
#include "http/shape_private.h"

#include "base/arena.h"
#include "base/logging.h"

#include <assert.h>
#include <stdlib.h>

#define FRAME 256 /* what may stand around one */
#define PIECES 16

static void put_text(struct http_out *out, struct buf *text)
{
    http_out_put(out, buf_slice(text));
    buf_release(text);
}

static void put_up_to_date(struct http_out *out, lsn_t seen)
{
    struct buf text;

    buf_init(&text, BUF_NO_LIMIT);
    shape_put_up_to_date(&text, seen);
    put_text(out, &text);
}

/* Whether a stretch of the file fits, with what stands around it. */
static bool fits(const struct http_out *out, size_t len)
{
    return http_out_has_run(out) &&
           http_out_room(out) >= (len > HTTP_OUT_COPY_MOST ? 0 : len) + FRAME;
}

/* ---- a chunk of the snapshot ----------------------------------------------------------------- */

/* The request, which is the connection's, outlives its source. */
struct chunk_source {
    struct http_source source; /* first */
    struct shape_request_state *get;
    uint32_t block; /* the next one */
    bool opened;
};

static bool put_stretch(struct http_out *out, const struct snapshot_block *stretch, struct err *err)
{
    bool ok = true;

    if (stretch->len > HTTP_OUT_COPY_MOST) {
        http_out_put_file(out, stretch->fd, (off_t)stretch->offset, stretch->len,
                          snapshot_block_drop, snapshot_block_keep(stretch));
    } else {
        ok = http_out_copy_file(out, stretch->fd, stretch->offset, stretch->len, err);
        snapshot_block_release(stretch);
    }
    return ok;
}

static enum http_pull cut_short(const struct shape_request_state *get, const struct err *why)
{
    return http_conn_abort(get->conn, log_handle(get->log).ptr, why);
}

/* Of the first rows: their log has ended, or said why they cannot be read. */
static enum http_pull rows_gone(const struct shape_request_state *get)
{
    char reason[256];
    struct err err;

    log_reason(get->log, reason);
    if (log_state(get->log) == LOG_ENDED)
        err_set(&err, ERR_NOT_FOUND, "the log has ended: %s", reason);
    else
        err_set(&err, ERR_IO, "the first rows cannot be read");
    return cut_short(get, &err);
}

/* What ends the last chunk, behind the rows. */
static enum http_pull end_rows(struct chunk_source *s, struct http_out *out)
{
    struct buf text;

    buf_init(&text, BUF_NO_LIMIT);
    bool ok = shape_put_snapshot_end(&text, s->get->log);
    buf_put_u8(&text, ']');
    /* Its list of transactions under way may be long: handed over, then. */
    if (text.len < FRAME)
        put_text(out, &text);
    else
        http_out_put_shared(out, buf_slice(&text), free, text.ptr);
    return ok ? HTTP_END : rows_gone(s->get);
}

static enum http_pull pull_chunk(struct http_source *source, struct http_conn *conn,
                                 struct http_out *out)
{
    struct chunk_source *s = (struct chunk_source *)source;
    struct snapshot_block stretch;
    struct err err;

    (void)conn;
    if (!s->opened)
        http_out_put_cstr(out, "[");
    s->opened = true;
    while (fits(out, HTTP_OUT_COPY_MOST)) {
        switch (log_snapshot_stretch(s->get->loop->store, s->get->log, &s->block, &stretch)) {
        case SNAPSHOT_WAIT:
            return HTTP_WAIT;
        case SNAPSHOT_GONE:
            return rows_gone(s->get);
        case SNAPSHOT_END:
            return end_rows(s, out);
        case SNAPSHOT_BLOCK:
            break;
        }
        if (!put_stretch(out, &stretch, &err))
            return cut_short(s->get, &err);
        if (stretch.ends_chunk)
            return HTTP_END;
    }
    return HTTP_MORE;
}

static void release_source(struct http_source *source)
{
    free(source);
}

static struct http_source *chunk_source_new(struct shape_request_state *get,
                                            const struct shape_plan *plan)
{
    static const struct http_source_ops ops = {pull_chunk, release_source};
    struct chunk_source *s = xcalloc(1, sizeof(*s));

    s->source.ops = &ops;
    s->get = get;
    s->block = plan->content.chunk.block;
    return &s->source;
}

/* ---- a range of the log ---------------------------------------------------------------------- */

struct range_source {
    struct http_source source; /* first */
    struct shape_request_state *get;
    struct log_range range;
    struct log_range_cursor cursor;
    lsn_t seen; /* for an up-to-date behind it; 0: none */
    bool opened;
    struct log_piece pieces[PIECES]; /* read, not yet sent: [first, n) */
    size_t first, n;
};

static void release_piece(void *arg)
{
    log_pieces_release(arg, 1);
    free(arg);
}

/* Takes the piece. */
static bool put_piece(struct http_out *out, struct log_piece *piece, struct err *err)
{
    uint32_t len = piece->last ? piece->len - 2 : piece->len;
    bool last = piece->last, ok = true;

    if (len > HTTP_OUT_COPY_MOST) {
        struct log_piece *copy = xmalloc(sizeof(*copy));

        *copy = *piece;
        http_out_put_file(out, piece->fd, (off_t)piece->offset, len, release_piece, copy);
    } else {
        ok = http_out_copy_file(out, piece->fd, piece->offset, len, err);
        log_pieces_release(piece, 1);
    }
    if (last)
        http_out_put_cstr(out, LOG_PIECE_LAST);
    return ok;
}

/* Reads on when all that was read is sent. */
static bool fill_pieces(struct range_source *s, struct err *err)
{
    if (s->first < s->n)
        return true;
    s->first = s->n = 0;
    return log_range_read(s->get->loop->store, s->get->log, &s->range, &s->cursor, s->pieces,
                          PIECES, &s->n, err);
}

static enum http_pull pull_range(struct http_source *source, struct http_conn *conn,
                                 struct http_out *out)
{
    struct range_source *s = (struct range_source *)source;
    struct err err;

    (void)conn;
    while (fits(out, HTTP_OUT_COPY_MOST)) {
        if (!fill_pieces(s, &err))
            return cut_short(s->get, &err);
        if (s->first == s->n) {
            if (s->seen) {
                http_out_put_cstr(out, s->opened ? "," : "[");
                put_up_to_date(out, s->seen);
            }
            http_out_put_cstr(out, "]");
            return HTTP_END;
        }
        http_out_put_cstr(out, s->opened ? "," : "[");
        s->opened = true;
        if (!put_piece(out, &s->pieces[s->first++], &err))
            return cut_short(s->get, &err);
    }
    return HTTP_MORE;
}

static void release_range(struct http_source *source)
{
    struct range_source *s = (struct range_source *)source;

    log_pieces_release(s->pieces + s->first, s->n - s->first);
    free(s);
}

static struct http_source *range_source_new(struct shape_request_state *get,
                                            const struct shape_plan *plan)
{
    static const struct http_source_ops ops = {pull_range, release_range};
    struct range_source *s = xcalloc(1, sizeof(*s));

    s->source.ops = &ops;
    s->get = get;
    s->range = plan->content.range;
    s->seen = plan->up_to_date ? plan->seen : 0;
    return &s->source;
}

/* ---- answers --------------------------------------------------------------------------------- */

static struct shape_reply reply_to(const struct shape_plan *plan)
{
    return (struct shape_reply){.status = 200, .offset = plan->to, .up_to_date = plan->up_to_date};
}

/* Of a chunk that lies whole in its file. */
static uint64_t length_of(const struct shape_content *content)
{
    const struct snapshot_chunk *chunk = &content->chunk;

    return content->snapshot && chunk->complete && !chunk->last ? 1 + chunk->size
                                                                : HTTP_LENGTH_UNKNOWN;
}

static void send_from_files(struct shape_request_state *get, const struct shape_plan *plan)
{
    struct shape_reply reply = reply_to(plan);
    bool growing = plan->content.snapshot && !plan->content.chunk.complete;
    struct http_headers h;

    /* Encoded or not: what is still growing, or met too much work, may be at another time. */
    reply.varies = true;
    shape_ends(get);
    shape_put_headers(get, &reply, &h);
    /* Rows that are still coming: news of them wakes the connection. */
    if (growing)
        watchers_add(get->loop->watchers, get->log, &get->watcher);
    http_respond_source(get->conn, 200, &h, length_of(&plan->content),
                        plan->content.snapshot ? chunk_source_new(get, plan)
                                               : range_source_new(get, plan));
}

static void send_small(struct shape_request_state *get, const struct shape_plan *plan)
{
    struct shape_reply reply = reply_to(plan);
    enum http_encoding encoding = (enum http_encoding)get->encoding;
    struct http_headers h;
    struct err err;
    struct shape_body *body = shape_body_get(get->loop, plan, false, &err);

    if (!body && log_state(get->log) == LOG_ENDED) {
        shape_answer_refetch(get, NULL);
        return;
    }
    if (!body) {
        shape_answer_error(get, 500, "Unable to retrieve shape log");
        return;
    }
    struct slice bytes = shape_body_bytes(body, &encoding);

    reply.encoding = encoding;
    reply.varies = shape_content_varies(&plan->content);
    assert(reply.varies || body->text[HTTP_IDENTITY].len <= HTTP_ENCODE_MIN);
    shape_ends(get);
    shape_put_headers(get, &reply, &h);
    http_respond_shared(get->conn, 200, &h, bytes, shape_body_unref, body);
}

/* ---- what an encoder makes ------------------------------------------------------------------- */

struct chunk_job {
    struct encoder_job job; /* first */
    struct shapelog *store;
    struct shape_content content; /* with a reference to the log */
};

/* One who waits for it. */
struct chunk_waiter {
    struct encoder_waiter waiter; /* first */
    struct http_ref ref;
    struct shape_request_state *get;
    struct shape_plan plan;
};

static bool read_chunk(struct encoder_job *job, struct buf *body)
{
    struct chunk_job *j = (struct chunk_job *)job;
    struct err err;

    return shape_content_read(j->store, &j->content, body, &err);
}

static void release_job(struct encoder_job *job)
{
    struct chunk_job *j = (struct chunk_job *)job;

    log_unref(j->content.log);
    free(j);
}

static struct encoder_key job_key(const struct shape_content *content, enum http_encoding encoding)
{
    const struct log_range *r = &content->range;
    uint64_t kind = (uint64_t)encoding << 1 | content->snapshot;

    if (content->snapshot)
        return (struct encoder_key){{log_id(content->log), kind, content->number}};
    return (struct encoder_key){
        {log_id(content->log), kind, r->after.lsn, r->after.op, r->to.lsn, r->to.op}};
}

static struct encoder_job *job_new(struct shape_request_state *get,
                                   const struct shape_content *content,
                                   const struct encoder_key *key)
{
    struct chunk_job *j = xcalloc(1, sizeof(*j));

    j->job = (struct encoder_job){*key, (enum http_encoding)get->encoding, read_chunk, release_job};
    j->store = get->loop->store;
    j->content = *content;
    log_ref(j->content.log);
    return &j->job;
}

static void release_encoded(void *arg)
{
    encoded_unref(arg);
}

/* Takes the reference. */
static void send_encoded(struct shape_request_state *get, const struct shape_plan *plan,
                         struct encoded *encoded)
{
    struct shape_reply reply = reply_to(plan);
    struct http_headers h;

    if (!encoded->bytes.len) {
        encoded_unref(encoded);
        send_from_files(get, plan);
        return;
    }
    reply.encoding = (enum http_encoding)get->encoding;
    reply.varies = true;
    shape_ends(get);
    shape_put_headers(get, &reply, &h);
    http_respond_shared(get->conn, 200, &h, encoded->bytes, release_encoded, encoded);
}

static void on_encoded(struct encoder_waiter *waiter, struct encoded *encoded)
{
    struct chunk_waiter *w = (struct chunk_waiter *)waiter;

    if (http_ref_conn(w->ref) && w->get->phase == SHAPE_ENCODING) {
        w->get->awaited = NULL;
        send_encoded(w->get, &w->plan, encoded);
    } else {
        encoded_unref(encoded);
    }
    free(w);
}

void shape_forget_encoding(struct shape_request_state *get)
{
    struct encoder *encoder = get->loop->site->encoder;
    struct chunk_waiter *w = get->awaited;

    get->awaited = NULL;
    if (w && encoder && encoder_cancel(encoder, &w->waiter))
        free(w);
}

static void send_when_encoded(struct shape_request_state *get, const struct shape_plan *plan)
{
    struct encoder *encoder = get->loop->site->encoder;
    struct encoder_key key = job_key(&plan->content, (enum http_encoding)get->encoding);
    struct encoded *encoded = encoder_find(encoder, &key);

    if (encoded) {
        send_encoded(get, plan, encoded);
        return;
    }
    struct chunk_waiter *w = xcalloc(1, sizeof(*w));

    *w = (struct chunk_waiter){.waiter = {.loop = get->loop->loop, .done = on_encoded},
                               .ref = http_conn_ref(get->conn),
                               .get = get,
                               .plan = *plan};
    if (!encoder_request(encoder, job_new(get, &plan->content, &key), &w->waiter)) {
        free(w);
        send_from_files(get, plan);
        return;
    }
    get->phase = SHAPE_ENCODING;
    get->awaited = w;
    http_loop_timer_clear(get->loop->loop, &get->timer);
}

void shape_send_plan(struct shape_request_state *get, const struct shape_plan *plan)
{
    if (shape_content_is_small(&plan->content))
        send_small(get, plan);
    else if (get->encoding != HTTP_IDENTITY && get->loop->site->encoder &&
             shape_content_is_chunk(plan))
        send_when_encoded(get, plan);
    else
        send_from_files(get, plan);
}
