/*
 * Status, headers, and the answers that are no messages. What caches are told depends on nothing
 * but the request and the status; the tag says which log, from where, to where.
 */
#include "http/shape_private.h"

#include "base/arena.h"
#include "base/clock.h"
#include "change/json.h"
#include "http/etag.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define REFETCH "[{\"headers\":{\"control\":\"must-refetch\"}}]"
#define CURSOR_EPOCH INT64_C(1728432000) /* 2024-10-09T00:00:00Z */

/* ---- offsets and tags ------------------------------------------------------------------------ */

void shape_offset_print(struct log_offset offset, char out[48])
{
    if (offset.op == LOG_OP_INF)
        snprintf(out, 48, "%" PRIu64 "_inf", offset.lsn);
    else
        snprintf(out, 48, "%" PRIu64 "_%" PRIu64, offset.lsn, offset.op);
}

static void print_asked(const struct shape_request_state *get, char out[48])
{
    switch ((enum shape_offset_at)get->at) {
    case SHAPE_OFFSET_START:
        memcpy(out, "-1", 3);
        break;
    case SHAPE_OFFSET_NOW:
        memcpy(out, "now", 4);
        break;
    case SHAPE_OFFSET_AT:
        shape_offset_print(get->offset, out);
        break;
    }
}

/* What stands between the quotes, for a body that is not encoded. */
static void print_tag(const struct shape_request_state *get, struct log_offset to, struct buf *out)
{
    char asked[48], got[48];

    print_asked(get, asked);
    shape_offset_print(to, got);
    buf_put_slice(out, log_handle(get->log));
    buf_printf(out, ":%s:%s", asked, got);
}

static void put_tag(const struct shape_request_state *get, const struct shape_reply *reply,
                    struct http_headers *h)
{
    struct buf tag;

    buf_init(&tag, BUF_NO_LIMIT);
    print_tag(get, reply->offset, &tag);
    /* Never to be found again: there was nothing in it. */
    if (reply->nothing)
        buf_printf(&tag, ":%" PRId64, clock_us());
    if (reply->encoding != HTTP_IDENTITY)
        buf_printf(&tag, "-%s", http_encoding_name(reply->encoding));
    http_headers_printf(h, "etag", "\"%s\"", buf_cstr(&tag));
    buf_release(&tag);
}

bool shape_tag_matches(struct shape_request_state *get, struct log_offset to)
{
    enum http_encoding of = HTTP_IDENTITY;
    struct buf tag;

    buf_init(&tag, BUF_NO_LIMIT);
    print_tag(get, to, &tag);
    bool matches = get->tags && http_etag_listed(slice_of(get->tags), buf_slice(&tag),
                                                 (enum http_encoding)get->encoding, &of);
    buf_release(&tag);
    get->tagged = (uint8_t)of;
    return matches;
}

/* ---- headers --------------------------------------------------------------------------------- */

/* Clients in one window of the long poll's length share a URL. */
static uint64_t next_cursor(const struct shape_request_state *get)
{
    uint64_t window = (uint64_t)get->loop->site->long_poll_ms / 1000;
    uint64_t now = (uint64_t)(clock_unix_us() / 1000000 - CURSOR_EPOCH);
    uint16_t random = 0;

    if (!window)
        return 0;
    uint64_t next = (now + window - 1) / window * window;
    /* One from so far ahead is none of ours, and there would be none behind it. */
    if (next > get->cursor || get->cursor > UINT64_MAX / 2)
        return next;
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
        random = (uint16_t)now;
    return get->cursor + 1 + random % 3600;
}

/* The JSON with all but ASCII escaped: what a header's bytes mean is not agreed upon. */
static void put_ascii(struct buf *out, struct slice json)
{
    for (size_t i = 0; i < json.len;) {
        unsigned char c = (unsigned char)json.ptr[i++];
        unsigned more = c < 0xc0 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
        uint32_t point = more ? c & (0x3fu >> more) : c;

        if (c < 0x7f) {
            buf_put_u8(out, c);
            continue;
        }
        for (; more && i < json.len; more--)
            point = point << 6 | ((unsigned char)json.ptr[i++] & 0x3fu);
        if (point < 0x10000) {
            buf_printf(out, "\\u%04x", (unsigned)point);
        } else {
            point -= 0x10000;
            buf_printf(out, "\\u%04x\\u%04x", (unsigned)(0xd800 | (point >> 10 & 0x3ff)),
                       (unsigned)(0xdc00 | (point & 0x3ff)));
        }
    }
}

void shape_put_schema_header(struct log *log, struct http_headers *h)
{
    struct buf json, ascii;

    buf_init(&json, BUF_NO_LIMIT);
    buf_init(&ascii, BUF_NO_LIMIT);
    log_put_schema(log, false, &json);
    put_ascii(&ascii, buf_slice(&json));
    http_headers_add_slice(h, "electric-schema", buf_slice(&ascii));
    buf_release(&json);
    buf_release(&ascii);
}

void shape_put_caching(const struct shape_request_state *get, const char *age, bool varies,
                       struct http_headers *h)
{
    if (!age)
        http_headers_add(h, "cache-control", "no-cache");
    else
        http_headers_printf(h, "cache-control", "%s, %s", get->private ? "private" : "public", age);
    if (varies || get->private)
        http_headers_add(h, "vary",
                         !get->private ? "accept-encoding"
                         : varies      ? "authorization, accept-encoding"
                                       : "authorization");
}

static void put_caching(const struct shape_request_state *get, const struct shape_reply *reply,
                        struct http_headers *h)
{
    const struct shape_site *site = get->loop->site;
    char age[96];

    /* Nor what is only not there yet: the client asks the same again. */
    if (get->post || (reply->nothing && !reply->up_to_date)) {
        shape_put_caching(get, NULL, reply->varies, h);
        return;
    }
    if (get->at == SHAPE_OFFSET_START && get->private)
        snprintf(age, sizeof(age), "max-age=604800, stale-while-revalidate=2629746");
    else if (get->at == SHAPE_OFFSET_START)
        snprintf(age, sizeof(age), "max-age=604800, s-maxage=3600, stale-while-revalidate=2629746");
    else if (get->live && get->sse)
        snprintf(age, sizeof(age), "max-age=%" PRId64,
                 site->sse_ms > 2000 ? site->sse_ms / 1000 - 1 : 1);
    else if (get->live)
        snprintf(age, sizeof(age), "max-age=5, stale-while-revalidate=5");
    else
        snprintf(age, sizeof(age), "max-age=%" PRId64 ", stale-while-revalidate=%" PRId64,
                 site->max_age_s, site->stale_age_s);
    shape_put_caching(get, age, reply->varies, h);
}

static const char *content_type(const struct shape_request_state *get)
{
    return get->sse ? "text/event-stream" : "application/json; charset=utf-8";
}

void shape_make_headers(const struct shape_request_state *get, const struct shape_reply *reply,
                        struct http_headers *h)
{
    char offset[48];

    shape_offset_print(reply->offset, offset);
    if (reply->status == 200)
        http_headers_add(h, "content-type", content_type(get));
    http_headers_add_slice(h, "electric-handle", log_handle(get->log));
    http_headers_add(h, "electric-offset", offset);
    if (reply->status == 200 && !get->live)
        shape_put_schema_header(get->log, h);
    if (reply->up_to_date)
        http_headers_add(h, "electric-up-to-date", "");
    http_headers_add(h, "electric-has-data", reply->nothing ? "false" : "true");
    if (get->live)
        http_headers_printf(h, "electric-cursor", "%" PRIu64, next_cursor(get));
    put_tag(get, reply, h);
    put_caching(get, reply, h);
    if (reply->encoding != HTTP_IDENTITY && reply->status == 200)
        http_headers_add(h, "content-encoding", http_encoding_name(reply->encoding));
    if (get->sse)
        http_headers_add(h, "x-accel-buffering", "no");
}

/* ---- answers without messages ---------------------------------------------------------------- */

/* With the tag of what the client has: a cache finds by it which of its answers is still good. */
void shape_answer_not_modified(struct shape_request_state *get, const struct shape_plan *plan)
{
    const struct shape_reply reply = {.status = 304,
                                      .offset = plan->to,
                                      .up_to_date = plan->up_to_date,
                                      .encoding = (enum http_encoding)get->tagged,
                                      .varies = !get->sse && shape_content_varies(&plan->content)};
    struct http_headers h;

    shape_ends(get);
    shape_put_headers(get, &reply, &h);
    http_respond(get->conn, 304, &h, SLICE(""));
}

void shape_answer_nothing(struct shape_request_state *get, const struct shape_plan *plan)
{
    const struct shape_reply reply = {
        .status = 200, .offset = plan->to, .up_to_date = true, .nothing = true};
    struct http_headers h;
    struct buf body;

    buf_init(&body, BUF_NO_LIMIT);
    buf_put_u8(&body, '[');
    shape_put_up_to_date(&body, plan->seen);
    buf_put_u8(&body, ']');
    shape_ends(get);
    shape_put_headers(get, &reply, &h);
    http_respond(get->conn, 200, &h, buf_slice(&body));
    buf_release(&body);
}

void shape_answer_refetch(struct shape_request_state *get, const struct log *instead)
{
    struct http_headers h;

    shape_ends(get);
    http_headers_init(&h);
    http_headers_add(&h, "content-type", "application/json; charset=utf-8");
    if (instead)
        http_headers_add_slice(&h, "electric-handle", log_handle(instead));
    shape_put_caching(get,
                      get->post ? NULL
                      : instead ? "max-age=60, must-revalidate"
                                : "max-age=1, must-revalidate",
                      false, &h);
    http_respond(get->conn, 409, &h, SLICE(REFETCH));
}

/* ---- errors ---------------------------------------------------------------------------------- */

static void begin_error(struct shape_request_state *get, struct http_headers *h)
{
    shape_ends(get);
    http_headers_init(h);
    http_headers_add(h, "content-type", "application/json; charset=utf-8");
    http_headers_add(h, "cache-control", "no-store");
    http_headers_add(h, "surrogate-control", "no-store");
}

/* The body may lie among the parameters, which are let go. Of a request's body that could not be
 * read nothing is said to caches: they do not keep answers to a POST. */
void shape_answer_invalid(struct shape_request_state *get, int status, struct slice body)
{
    static const char of_body[] = "{\"error\":";
    struct http_headers h;
    struct buf copy;

    buf_init(&copy, BUF_NO_LIMIT);
    buf_put_slice(&copy, body);
    if (body.len >= sizeof(of_body) && memcmp(body.ptr, of_body, sizeof(of_body) - 1) == 0) {
        shape_ends(get);
        http_headers_init(&h);
        http_headers_add(&h, "content-type", "application/json; charset=utf-8");
    } else {
        begin_error(get, &h);
    }
    http_respond(get->conn, status, &h, buf_slice(&copy));
    buf_release(&copy);
}

void shape_answer_field(struct shape_request_state *get, const char *field, const struct err *err)
{
    struct http_headers h;
    struct buf body;

    buf_init(&body, BUF_NO_LIMIT);
    shape_invalid_put(&body, field, err);
    begin_error(get, &h);
    http_respond(get->conn, 400, &h, buf_slice(&body));
    buf_release(&body);
}

static void put_message(struct buf *body, const char *text)
{
    buf_put_cstr(body, "{\"message\":");
    json_put_string(body, slice_of(text));
    buf_put_u8(body, '}');
}

void shape_answer_error(struct shape_request_state *get, int status, const char *text)
{
    struct http_headers h;
    struct buf body;

    buf_init(&body, BUF_NO_LIMIT);
    put_message(&body, text);
    begin_error(get, &h);
    http_respond(get->conn, status, &h, buf_slice(&body));
    buf_release(&body);
}

void shape_answer_503(struct shape_request_state *get, struct slice body, unsigned retry_after,
                      bool known)
{
    struct http_headers h;

    begin_error(get, &h);
    http_headers_printf(&h, "retry-after", "%u", retry_after);
    if (known)
        http_headers_add(&h, "electric-internal-known-error", "true");
    http_respond(get->conn, 503, &h, body);
}

void shape_answer_later(struct shape_request_state *get, const char *text, unsigned retry_after,
                        bool known)
{
    struct buf body;

    buf_init(&body, BUF_NO_LIMIT);
    put_message(&body, text);
    shape_answer_503(get, buf_slice(&body), retry_after, known);
    buf_release(&body);
}

void shape_answer_crowded(struct shape_request_state *get, const char *kind, size_t limit)
{
    uint8_t random = 0;
    struct buf body;

    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
        random = 0;
    buf_init(&body, BUF_NO_LIMIT);
    buf_printf(
        &body,
        "{\"code\":\"concurrent_request_limit_exceeded\",\"message\":\"Concurrent %s request "
        "limit exceeded (limit: %zu), please retry\"}",
        kind, limit);
    shape_answer_503(get, buf_slice(&body), 6u + random % 5u, true);
    buf_release(&body);
}
