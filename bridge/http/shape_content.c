/*
 * The bytes of responses. Messages are never parsed: runs of them are joined by ",", and one that
 * is its transaction's last gets "last":true in front of its closing braces.
 *
 * As server-sent events each message is a line of its own; the boundary between two is found by
 * the bytes `}},{"key":"`, which no JSON string can hold.
 */
#include "http/shape_private.h"

#include "base/arena.h"
#include "shapelog/io.h"

#include <stdlib.h>

#define PIECES 64

/* ---- reading --------------------------------------------------------------------------------- */

/* Appends the bytes of a file; a limit of the buffer that they are beyond is a failure too. */
static bool put_file(struct buf *out, int fd, uint64_t offset, size_t len, struct err *err)
{
    char *at = len ? buf_room(out, len) : NULL;

    if (len && !at)
        return err_set(err, ERR_LIMIT, "the body is longer than the %zu bytes that it may have",
                       out->limit);
    if (len && !io_read(fd, at, len, offset, err))
        return false;
    buf_added(out, len);
    return true;
}

static void put_comma(struct buf *out, size_t begin)
{
    if (out->len > begin)
        buf_put_u8(out, ',');
}

static bool put_piece(struct buf *out, const struct log_piece *piece, struct err *err)
{
    size_t len = piece->last ? piece->len - 2 : piece->len;

    if (!put_file(out, piece->fd, piece->offset, len, err))
        return false;
    if (piece->last)
        buf_put_cstr(out, LOG_PIECE_LAST);
    return true;
}

static bool put_range(struct shapelog *store, const struct shape_content *content, struct buf *out,
                      struct err *err)
{
    struct log_piece pieces[PIECES];
    struct log_range_cursor cursor = {0};
    const size_t begin = out->len;
    size_t n;

    do {
        bool ok =
            log_range_read(store, content->log, &content->range, &cursor, pieces, PIECES, &n, err);
        if (!ok)
            return false;
        for (size_t i = 0; ok && i < n; i++) {
            put_comma(out, begin);
            ok = put_piece(out, &pieces[i], err);
        }
        log_pieces_release(pieces, n);
        if (!ok)
            return false;
    } while (n > 0);
    return true;
}

static bool put_chunk(struct shapelog *store, const struct shape_content *content, struct buf *out,
                      struct err *err)
{
    const size_t begin = out->len;
    struct snapshot_block block;

    for (uint32_t i = content->chunk.block;; i++) {
        enum snapshot_read read = log_snapshot_block(store, content->log, i, &block);

        if (read != SNAPSHOT_BLOCK) {
            put_comma(out, begin);
            return (read == SNAPSHOT_END && shape_put_snapshot_end(out, content->log)) ||
                   err_set(err, ERR_NOT_FOUND, "the snapshot is not there");
        }
        put_comma(out, begin);
        bool ok = put_file(out, block.fd, block.offset, block.len, err), ends = block.ends_chunk;

        snapshot_block_release(&block);
        if (!ok || ends)
            return ok;
    }
}

static bool put_messages(struct shapelog *store, const struct shape_content *content,
                         struct buf *out, struct err *err)
{
    return content->snapshot ? put_chunk(store, content, out, err)
                             : put_range(store, content, out, err);
}

bool shape_content_read(struct shapelog *store, const struct shape_content *content,
                        struct buf *out, struct err *err)
{
    buf_put_u8(out, '[');
    bool ok = put_messages(store, content, out, err);
    buf_put_u8(out, ']');
    return ok;
}

/* ---- control messages ------------------------------------------------------------------------ */

void shape_put_up_to_date(struct buf *out, lsn_t seen)
{
    buf_printf(
        out, "{\"headers\":{\"control\":\"up-to-date\",\"global_last_seen_lsn\":\"%" PRIu64 "\"}}",
        seen);
}

bool shape_put_snapshot_end(struct buf *out, struct log *log)
{
    struct arena arena = {0};
    struct snapshot s;
    bool known = log_snapshot(log, &arena, &s);

    if (known) {
        buf_printf(out,
                   "{\"headers\":{\"control\":\"snapshot-end\",\"xmin\":\"%" PRIu64
                   "\",\"xmax\":\"%" PRIu64 "\",\"xip_list\":[",
                   s.xmin, s.xmax);
        for (size_t i = 0; i < s.nxip; i++)
            buf_printf(out, "%s\"%" PRIu64 "\"", i ? "," : "", s.xip[i]);
        buf_put_cstr(out, "]}}");
    }
    arena_release(&arena);
    return known;
}

/* ---- how large ------------------------------------------------------------------------------- */

bool shape_content_is_small(const struct shape_content *c)
{
    return c->snapshot ? c->chunk.complete && c->chunk.size <= SHAPE_SMALL
                       : c->range.size <= SHAPE_SMALL;
}

bool shape_content_is_chunk(const struct shape_plan *plan)
{
    const struct shape_content *c = &plan->content;

    if (c->snapshot)
        return c->chunk.complete && c->chunk.size < ENCODER_BODY_MAX;
    return c->range.from_bound && c->range.closed && !plan->up_to_date &&
           c->range.size < ENCODER_BODY_MAX;
}

/* How long the body may be: what the messages are joined by and end with, the brackets, and an
 * up-to-date message. */
static size_t size_bound(const struct shape_content *c)
{
    const size_t around = 160;
    size_t pieces = c->range.end - c->range.first;
    struct buf end;

    if (!c->snapshot)
        return around + c->range.size + pieces * sizeof(LOG_PIECE_LAST);
    buf_init(&end, BUF_NO_LIMIT);
    shape_put_snapshot_end(&end, c->log);
    size_t bound = around + c->chunk.size + c->chunk.blocks + end.len;

    buf_release(&end);
    return bound;
}

bool shape_content_varies(const struct shape_content *content)
{
    return !shape_content_is_small(content) || size_bound(content) > HTTP_ENCODE_MIN;
}

/* ---- server-sent events ---------------------------------------------------------------------- */

static void put_event(struct buf *out, struct slice message)
{
    buf_put_cstr(out, "data: ");
    buf_put_slice(out, message);
    buf_put_cstr(out, "\n\n");
}

/* Messages joined by "," as an event each. */
static void put_events(struct buf *out, struct slice messages)
{
    static const char boundary[] = "}},{\"key\":\"";

    while (messages.len) {
        const char *end = memmem(messages.ptr, messages.len, boundary, sizeof(boundary) - 1);
        size_t len = end ? (size_t)(end - messages.ptr) + 2 : messages.len;

        put_event(out, (struct slice){messages.ptr, len});
        len += end ? 1 : 0; /* the comma */
        messages.ptr += len;
        messages.len -= len;
    }
}

/* ---- bodies that are shared ------------------------------------------------------------------ */

static struct shape_body_key key_of(const struct shape_plan *plan, bool events)
{
    const struct shape_content *c = &plan->content;
    struct shape_body_key key;

    memset(&key, 0, sizeof(key)); /* it is compared as bytes */
    key.log = log_id(c->log);
    key.chunk = c->snapshot ? c->number + 1 : 0;
    key.after = c->range.after;
    key.to = c->range.to;
    key.seen = plan->up_to_date ? plan->seen : 0;
    key.events = events;
    return key;
}

static bool fill_json(struct shape_body *body, struct shape_loop *loop,
                      const struct shape_plan *plan, struct err *err)
{
    struct buf *out = &body->text[HTTP_IDENTITY];

    buf_put_u8(out, '[');
    bool ok = put_messages(loop->store, &plan->content, out, err);

    if (plan->up_to_date) {
        put_comma(out, 1);
        shape_put_up_to_date(out, plan->seen);
    }
    buf_put_u8(out, ']');
    return ok;
}

static bool fill_events(struct shape_body *body, struct shape_loop *loop,
                        const struct shape_plan *plan, struct err *err)
{
    struct buf *out = &body->text[HTTP_IDENTITY];
    struct buf messages, control;

    buf_init(&messages, BUF_NO_LIMIT);
    buf_init(&control, BUF_NO_LIMIT);
    bool ok = put_messages(loop->store, &plan->content, &messages, err);

    put_events(out, buf_slice(&messages));
    if (plan->up_to_date) {
        shape_put_up_to_date(&control, plan->seen);
        put_event(out, buf_slice(&control));
    }
    buf_release(&messages);
    buf_release(&control);
    return ok;
}

static struct shape_body *body_new(const struct shape_body_key *key)
{
    struct shape_body *body = xcalloc(1, sizeof(*body));

    body->refs = 1;
    memcpy(&body->key, key, sizeof(*key));
    for (size_t i = 0; i < HTTP_NENCODINGS; i++)
        buf_init(&body->text[i], BUF_NO_LIMIT);
    return body;
}

void shape_body_unref(void *arg)
{
    struct shape_body *body = arg;

    if (--body->refs > 0)
        return;
    for (size_t i = 0; i < HTTP_NENCODINGS; i++)
        buf_release(&body->text[i]);
    free(body);
}

struct shape_body *shape_body_get(struct shape_loop *loop, const struct shape_plan *plan,
                                  bool events, struct err *err)
{
    struct shape_body_key key = key_of(plan, events);
    struct slice bytes = {(const char *)&key, sizeof(key)};
    struct shape_body **place = &loop->bodies[hash_bytes(bytes) % SHAPE_BODIES];
    struct shape_body *body = *place;

    if (!body || memcmp(&body->key, &key, sizeof(key)) != 0) {
        body = body_new(&key);
        bool ok = events ? fill_events(body, loop, plan, err) : fill_json(body, loop, plan, err);
        if (!ok) {
            shape_body_unref(body);
            return NULL;
        }
        if (*place)
            shape_body_unref(*place);
        *place = body;
    }
    body->refs++;
    return body;
}

struct slice shape_body_bytes(struct shape_body *body, enum http_encoding *encoding)
{
    struct buf *identity = &body->text[HTTP_IDENTITY], *encoded = &body->text[*encoding];

    if (*encoding != HTTP_IDENTITY && !body->tried[*encoding] && identity->len > HTTP_ENCODE_MIN)
        http_encode(*encoding, HTTP_EFFORT_QUICK, buf_slice(identity), encoded);
    body->tried[*encoding] = true;
    if (encoded->len == 0)
        *encoding = HTTP_IDENTITY;
    return buf_slice(&body->text[*encoding]);
}
