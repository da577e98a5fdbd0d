#include "http/intake.h"

#include <stdlib.h>
#include <strings.h>

#define KEEP_BUF ((size_t)32 * 1024)
#define KEEP_ARENA ((size_t)64 * 1024)

/* Ends the request as BAD. The value makes llhttp stop. */
static int refuse(struct http_intake *in, int status, const char *reason)
{
    if (!in->status) {
        in->status = status;
        in->reason = reason;
    }
    return HPE_USER;
}

static int refuse_err(struct http_intake *in, int status)
{
    return refuse(in, status, in->err.msg);
}

static struct slice span_slice(const struct http_intake *in, struct http_span span)
{
    return (struct slice){in->head.ptr + span.at, span.len};
}

/* Adds bytes to the span that is the last one in the text. */
static int extend(struct http_intake *in, struct http_span *span, const char *p, size_t n)
{
    if (span->len == 0)
        span->at = (uint32_t)in->head.len;
    buf_put(&in->head, p, n);
    span->len += (uint32_t)n;
    return in->head.failed ? refuse(in, 431, "headers too large") : 0;
}

static int on_url(llhttp_t *parser, const char *p, size_t n)
{
    struct http_intake *in = parser->data;

    if (in->target.len + n > in->limits->url)
        return refuse(in, 414, "url too long");
    return extend(in, &in->target, p, n);
}

/* Trailers come through the same callbacks as headers. They are framing only: taken as headers
 * they would slip past whoever checked the head. */
static int on_trailer(struct http_intake *in, size_t n)
{
    in->trailer_taken += n;
    return in->trailer_taken > in->limits->head ? refuse(in, 431, "trailers too large") : 0;
}

static int on_field(llhttp_t *parser, const char *p, size_t n)
{
    struct http_intake *in = parser->data;

    if (in->head_done)
        return on_trailer(in, n);
    if (in->nheaders == HTTP_HEADERS_MAX)
        return refuse(in, 431, "too many headers");
    return extend(in, &in->names[in->nheaders], p, n);
}

static int on_value(llhttp_t *parser, const char *p, size_t n)
{
    struct http_intake *in = parser->data;

    if (in->head_done)
        return on_trailer(in, n);
    return extend(in, &in->values[in->nheaders], p, n);
}

static int on_value_complete(llhttp_t *parser)
{
    struct http_intake *in = parser->data;

    if (!in->head_done)
        in->nheaders++;
    return 0;
}

static uint32_t method_bit(uint8_t method)
{
    switch (method) {
    case HTTP_GET:
        return HTTP_M_GET;
    case HTTP_HEAD:
        return HTTP_M_HEAD;
    case HTTP_POST:
        return HTTP_M_POST;
    case HTTP_PUT:
        return HTTP_M_PUT;
    case HTTP_DELETE:
        return HTTP_M_DELETE;
    case HTTP_OPTIONS:
        return HTTP_M_OPTIONS;
    case HTTP_PATCH:
        return HTTP_M_PATCH;
    default:
        return HTTP_M_OTHER;
    }
}

static struct slice trim(struct slice s)
{
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    return s;
}

static void collect_headers(struct http_intake *in)
{
    struct http_header *headers = arena_calloc(&in->arena, in->nheaders, sizeof(*headers));

    for (size_t i = 0; i < in->nheaders; i++) {
        headers[i].name = span_slice(in, in->names[i]);
        headers[i].value = trim(span_slice(in, in->values[i]));
    }
    in->request.headers = headers;
    in->request.nheaders = in->nheaders;
}

static size_t count_header(const struct http_request *request, const char *name)
{
    size_t n = 0;

    for (size_t i = 0; i < request->nheaders; i++)
        n += http_name_is(request->headers[i].name, name);
    return n;
}

/* `http://host/path?query` as a target is allowed; the host in it is dropped. */
static struct slice without_origin(struct slice target)
{
    static const char *const schemes[] = {"http://", "https://"};

    for (size_t i = 0; i < 2; i++) {
        size_t n = strlen(schemes[i]);

        if (target.len < n || strncasecmp(target.ptr, schemes[i], n) != 0)
            continue;
        while (n < target.len && target.ptr[n] != '/' && target.ptr[n] != '?')
            n++;
        return n < target.len ? (struct slice){target.ptr + n, target.len - n} : SLICE("/");
    }
    return target;
}

static int read_target(struct http_intake *in)
{
    struct http_request *r = &in->request;

    r->target = span_slice(in, in->target);
    struct slice path = without_origin(r->target);
    const char *end = memchr(path.ptr, '#', path.len);
    if (end)
        path.len = (size_t)(end - path.ptr);
    const char *mark = memchr(path.ptr, '?', path.len);
    if (mark) {
        size_t at = (size_t)(mark - path.ptr);

        r->query_text = (struct slice){mark + 1, path.len - at - 1};
        path.len = at;
    }
    if (!http_path_normalise(path.len ? path : SLICE("/"), &in->arena, &r->path, &in->err) ||
        !http_query_parse(&r->query, r->query_text, &in->arena, &in->err))
        return refuse_err(in, 400);
    return 0;
}

/* Transfer codings are how requests are smuggled: exactly one header that says exactly "chunked",
 * and only in HTTP/1.1. */
static int check_codings(struct http_intake *in)
{
    struct slice value;

    if (!http_request_header(&in->request, "transfer-encoding", &value))
        return 0;
    if (in->request.minor == 0)
        return refuse(in, 400, "transfer-encoding in http/1.0");
    if (count_header(&in->request, "transfer-encoding") > 1)
        return refuse(in, 400, "more than one transfer-encoding");
    if (!http_name_is(value, "chunked"))
        return refuse(in, 501, "unknown transfer-encoding");
    return 0;
}

static int check_host(struct http_intake *in)
{
    size_t n = count_header(&in->request, "host");

    if (n > 1)
        return refuse(in, 400, "more than one host header");
    if (n == 0 && in->request.minor == 1)
        return refuse(in, 400, "no host header");
    return 0;
}

static int check_expect(struct http_intake *in)
{
    struct slice value;

    if (in->request.minor == 0 || !http_request_header(&in->request, "expect", &value))
        return 0;
    if (!http_name_is(value, "100-continue"))
        return refuse(in, 417, "unknown expectation");
    in->wants_continue = in->has_body;
    return 0;
}

static int on_headers_complete(llhttp_t *parser)
{
    struct http_intake *in = parser->data;

    if (parser->http_major != 1 || parser->http_minor > 1)
        return refuse(in, 505, "only http/1.0 and http/1.1 are spoken here");
    in->request.method = method_bit(parser->method);
    in->request.minor = parser->http_minor;
    if (parser->method == HTTP_CONNECT)
        return refuse(in, 400, "not a proxy");
    /* Nothing to upgrade to: the request is an ordinary one. */
    parser->upgrade = 0;
    in->head_done = true;
    in->has_body = (parser->flags & F_CHUNKED) || parser->content_length > 0;
    in->keep_alive = llhttp_should_keep_alive(parser);
    collect_headers(in);

    int bad = check_codings(in);
    if (!bad)
        bad = check_host(in);
    if (!bad)
        bad = check_expect(in);
    if (!bad)
        bad = read_target(in);
    if (bad)
        return bad;
    return in->has_body ? HPE_PAUSED : 0;
}

static int on_body(llhttp_t *parser, const char *p, size_t n)
{
    struct http_intake *in = parser->data;

    buf_put(&in->body, p, n);
    return in->body.failed ? refuse(in, 413, "body too large") : 0;
}

static int on_message_complete(llhttp_t *parser)
{
    struct http_intake *in = parser->data;

    in->request.body = in->body.len ? buf_slice(&in->body) : SLICE("");
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

struct http_intake *http_intake_new(void)
{
    return xcalloc(1, sizeof(struct http_intake));
}

void http_intake_free(struct http_intake *in)
{
    buf_release(&in->head);
    buf_release(&in->body);
    arena_release(&in->arena);
    free(in);
}

void http_intake_start(struct http_intake *in, const struct http_limits *limits)
{
    llhttp_init(&in->parser, HTTP_REQUEST, &settings);
    in->parser.data = in;
    in->limits = limits;
    in->head.limit = limits->head + 1;
    in->body.limit = 0;
    in->request.arena = &in->arena;
}

static void clear_buf(struct buf *buf)
{
    if (buf->cap > KEEP_BUF)
        buf_release(buf);
    buf_clear(buf);
}

void http_intake_clear(struct http_intake *in)
{
    clear_buf(&in->head);
    clear_buf(&in->body);
    if (in->arena.size > KEEP_ARENA)
        arena_release(&in->arena);
    else
        arena_reset(&in->arena);

    *in = (struct http_intake){.arena = in->arena, .head = in->head, .body = in->body};
}

bool http_intake_limit_body(struct http_intake *in, size_t limit)
{
    in->body.limit = limit;
    if (!(in->parser.flags & F_CHUNKED) && in->parser.content_length > limit) {
        refuse(in, 413, "body too large");
        return false;
    }
    return true;
}

/* What stopped llhttp, in words for the client. */
static void explain(struct http_intake *in, llhttp_errno_t code)
{
    const char *reason = llhttp_get_error_reason(&in->parser);
    bool known_version = in->parser.http_major == 1 && in->parser.http_minor <= 1;

    if (in->status)
        return;
    if ((code == HPE_INVALID_VERSION && !known_version) || code == HPE_PAUSED_H2_UPGRADE)
        refuse(in, 505, "only http/1.0 and http/1.1 are spoken here");
    else
        refuse(in, 400, reason && reason[0] ? reason : "malformed request");
}

/* Before the head is complete no more is fed than it may still take. */
static size_t head_room(const struct http_intake *in, size_t n)
{
    size_t room = in->limits->head - in->head_taken;

    return !in->head_done && n > room ? room : n;
}

static enum http_intake_result after_pause(struct http_intake *in)
{
    llhttp_resume(&in->parser);
    if (in->has_body && !in->head_told) {
        in->head_told = true;
        return HTTP_INTAKE_HEAD;
    }
    return HTTP_INTAKE_DONE;
}

enum http_intake_result http_intake_feed(struct http_intake *in, const char *p, size_t n,
                                         size_t *used)
{
    size_t take = head_room(in, n);
    bool in_head = !in->head_done;
    llhttp_errno_t code = llhttp_execute(&in->parser, p, take);

    *used = take;
    if (code == HPE_PAUSED) {
        *used = (size_t)(llhttp_get_error_pos(&in->parser) - p);
        return after_pause(in);
    }
    if (code != HPE_OK) {
        explain(in, code);
        return HTTP_INTAKE_BAD;
    }
    if (in_head && !in->head_done) {
        in->head_taken += take;
        if (in->head_taken == in->limits->head) {
            refuse(in, 431, "headers too large");
            return HTTP_INTAKE_BAD;
        }
    }
    return HTTP_INTAKE_MORE;
}
