/*
 * For tests of the HTTP core: endpoints of every kind, a reader of responses
 * that insists on their framing, and two ways to talk to them:
 *
 *   rig   one connection over a socket pair, its loop turned by hand: what
 *         arrives when is up to the test
 *   site  a server with threads and TCP
 */
#ifndef TEST_HTTP_UTIL_H
#define TEST_HTTP_UTIL_H

#include "base/arena.h"
#include "base/clock.h"
#include "base/logging.h"
#include "http/server.h"
#include "http/worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define PATIENCE_MS 20000 /* how long a test waits for what must come */

/* ---- endpoints ---- */

static inline void hello(struct http_conn *conn, const struct http_request *request)
{
    struct http_headers h;

    (void)request;
    http_headers_init(&h);
    http_headers_add(&h, "content-type", "text/plain");
    http_respond(conn, 200, &h, SLICE("hello"));
}

static inline void echo(struct http_conn *conn, const struct http_request *request)
{
    http_respond(conn, 200, NULL, request->body);
}

/* Answers with each parameter as "name=value;". */
static inline void params(struct http_conn *conn, const struct http_request *request)
{
    struct buf text;

    buf_init(&text, BUF_NO_LIMIT);
    for (size_t i = 0; i < request->query.len; i++) {
        buf_put_slice(&text, request->query.params[i].name);
        buf_put_cstr(&text, "=");
        buf_put_slice(&text, request->query.params[i].value);
        buf_put_cstr(&text, ";");
    }
    http_respond(conn, 200, NULL, buf_slice(&text));
    buf_release(&text);
}

/* A source of `left` lines of ten bytes, one a pull. */
struct lines {
    struct http_source source;
    long left;
    _Atomic int *released;
};

static inline enum http_pull lines_pull(struct http_source *source, struct http_conn *conn,
                                        struct http_out *out)
{
    struct lines *l = (struct lines *)source;

    (void)conn;
    if (l->left == 0)
        return HTTP_END;
    while (l->left > 0 && http_out_room(out) >= 10) {
        http_out_put_cstr(out, "123456789\n");
        l->left--;
        if (l->left % 3 == 0)
            return HTTP_MORE;
    }
    return HTTP_MORE;
}

static inline void lines_release(struct http_source *source)
{
    struct lines *l = (struct lines *)source;

    if (l->released)
        atomic_fetch_add(l->released, 1);
    free(l);
}

static inline struct http_source *lines_new(long n)
{
    static const struct http_source_ops ops = {lines_pull, lines_release};
    struct lines *l = xcalloc(1, sizeof(*l));

    l->source.ops = &ops;
    l->left = n;
    return &l->source;
}

static inline long param_long(const struct http_request *request, const char *name)
{
    struct slice value;
    char text[32] = "0";

    if (http_request_param(request, name, &value) && value.len < sizeof(text))
        memcpy(text, value.ptr, value.len);
    return strtol(text, NULL, 10);
}

static inline void chunked(struct http_conn *conn, const struct http_request *request)
{
    http_respond_source(conn, 200, NULL, HTTP_LENGTH_UNKNOWN, lines_new(param_long(request, "n")));
}

/* Says that it has `says` bytes and gives n lines. */
static inline void sized(struct http_conn *conn, const struct http_request *request)
{
    long says = param_long(request, "says");

    http_respond_source(conn, 200, NULL, (uint64_t)says, lines_new(param_long(request, "n")));
}

static inline void forged(struct http_conn *conn, const struct http_request *request)
{
    struct http_headers h;
    struct slice value;

    http_request_param(request, "v", &value);
    http_headers_init(&h);
    http_headers_add_slice(&h, "x-echo", value);
    http_respond(conn, 200, &h, SLICE("ok"));
}

static inline void no_content(struct http_conn *conn, const struct http_request *request)
{
    http_respond(conn, (int)param_long(request, "status"), NULL, SLICE("left out"));
}

static const struct http_route base_routes[] = {
    {.path = "/", .methods = HTTP_M_GET_HEAD, .handle = hello},
    {.path = "/v1/hello", .methods = HTTP_M_GET_HEAD, .handle = hello},
    {.path = "/echo", .methods = HTTP_M_POST, .handle = echo, .body_limit = 1000},
    {.path = "/tiny", .methods = HTTP_M_POST, .handle = echo, .body_limit = 4},
    {.path = "/big", .methods = HTTP_M_POST, .handle = echo, .body_limit = 10u << 20},
    {.path = "/params", .methods = HTTP_M_GET, .handle = params},
    {.path = "/chunked", .methods = HTTP_M_GET_HEAD, .handle = chunked},
    {.path = "/sized", .methods = HTTP_M_GET_HEAD, .handle = sized},
    {.path = "/forged", .methods = HTTP_M_GET, .handle = forged},
    {.path = "/empty", .methods = HTTP_M_GET, .handle = no_content},
    {.path = "/secret", .methods = HTTP_M_GET, .handle = hello, .needs_secret = true},
};
#define BASE_ROUTES                                                                                \
    {                                                                                              \
        base_routes, sizeof(base_routes) / sizeof(base_routes[0])                                  \
    }

/* ---- reading responses ---- */

/* Appends "STATUS BODY|" for each response in `raw`, "HALF|" for one that is cut, "JUNK|" for what
 * is no response. Interim responses are "100|". */
struct digest {
    struct slice raw;
    bool head; /* the answers to HEAD: no bodies */
    struct buf *out;
};

static inline bool digest_line(struct slice *in, struct slice *line)
{
    /* Not memmem(): to TSan that reads all there is. */
    const char *end = in->len ? memchr(in->ptr, '\n', in->len) : NULL;

    if (!end || end == in->ptr || end[-1] != '\r')
        return false;
    *line = (struct slice){in->ptr, (size_t)(end - in->ptr) - 1};
    in->ptr = end + 1;
    in->len -= line->len + 2;
    return true;
}

static inline bool digest_take(struct digest *d, size_t n)
{
    if (d->raw.len < n)
        return false;
    buf_put(d->out, d->raw.ptr, n);
    d->raw.ptr += n;
    d->raw.len -= n;
    return true;
}

static inline bool digest_chunks(struct digest *d)
{
    struct slice line;

    for (;;) {
        if (!digest_line(&d->raw, &line))
            return false;
        unsigned long n = strtoul(line.ptr, NULL, 16);
        if (n > 0 && !digest_take(d, n))
            return false;
        if (!digest_line(&d->raw, &line) || line.len != 0)
            return false;
        if (n == 0)
            return true;
    }
}

static inline bool digest_one(struct digest *d)
{
    struct slice line;
    bool is_chunked = false, has_length = false;
    unsigned long length = 0;

    if (!digest_line(&d->raw, &line) || line.len < 12 || memcmp(line.ptr, "HTTP/1.1 ", 9) != 0)
        return false;
    int status = (int)strtol(line.ptr + 9, NULL, 10);
    buf_put(d->out, line.ptr + 9, 3);
    do {
        if (!digest_line(&d->raw, &line))
            return false;
        if (line.len > 16 && strncasecmp(line.ptr, "content-length: ", 16) == 0) {
            length = strtoul(line.ptr + 16, NULL, 10);
            has_length = true;
        }
        is_chunked |= slice_is(line, "transfer-encoding: chunked");
    } while (line.len);
    if (status < 200 || status == 204 || status == 304)
        return !is_chunked && !has_length;
    buf_put_cstr(d->out, " ");
    if (d->head)
        return true;
    if (is_chunked)
        return !has_length && digest_chunks(d);
    return digest_take(d, has_length ? length : d->raw.len);
}

static inline void digest(struct buf *out, struct slice raw, bool head)
{
    struct digest d = {raw, head, out};

    buf_clear(out);
    while (d.raw.len) {
        bool good = digest_one(&d);

        buf_put_cstr(out, good ? "|" : "HALF|");
        if (!good)
            return;
    }
}

/* ---- rig ---- */

struct rig {
    struct http_config config;
    struct http_metrics metrics;
    struct http_listen listen;
    struct http_place place;
    struct http_worker worker;
    int fd;           /* the client's end */
    bool ended;       /* the server has closed */
    struct buf heard; /* what the client has got */
};

static inline void rig_open(struct rig *rig)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    rig->fd = fds[0];
    rig->ended = false;
    buf_init(&rig->heard, BUF_NO_LIMIT);
    atomic_fetch_add(&rig->place.open, 1);
    assert_non_null(http_conn_open(&rig->worker, &rig->place, fds[1]));
}

static inline struct rig *rig_new(void)
{
    struct rig *rig = xcalloc(1, sizeof(*rig));
    struct err err;

    signal(SIGPIPE, SIG_IGN);
    rig->config = http_config_default();
    rig->listen = (struct http_listen){.address = "rig", .routes = BASE_ROUTES};
    rig->place.listen = &rig->listen;
    assert_true(http_worker_init(&rig->worker, &rig->config, &rig->metrics, &err));
    rig_open(rig);
    return rig;
}

static inline void rig_hear(struct rig *rig)
{
    char bytes[16384];
    ssize_t n;

    while ((n = recv(rig->fd, bytes, sizeof(bytes), 0)) > 0)
        buf_put(&rig->heard, bytes, (size_t)n);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        rig->ended = true;
}

static inline void rig_turn(struct rig *rig)
{
    for (int i = 0; i < 3; i++) {
        http_loop_turn(rig->worker.loop, 0);
        rig_hear(rig);
    }
}

static inline void rig_say(struct rig *rig, const char *bytes, size_t n)
{
    while (n) {
        ssize_t sent = send(rig->fd, bytes, n, MSG_NOSIGNAL);

        if (sent < 0 && errno != EAGAIN)
            break; /* the server has closed */
        if (sent > 0) {
            bytes += sent;
            n -= (size_t)sent;
        }
        rig_turn(rig);
    }
}

static inline void rig_close(struct rig *rig)
{
    close(rig->fd);
    buf_release(&rig->heard);
    for (int i = 0; i < 1000 && rig->worker.nconns; i++)
        http_loop_turn(rig->worker.loop, 1);
}

static inline void rig_free(struct rig *rig)
{
    rig_close(rig);
    assert_int_equal(rig->worker.nconns, 0);
    assert_int_equal(atomic_load(&rig->metrics.open), 0);
    assert_int_equal(atomic_load(&rig->metrics.parked), 0);
    http_worker_release(&rig->worker);
    free(rig);
}

/* ---- site ---- */

static inline int dial(uint16_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static inline void say(int fd, const char *text)
{
    size_t n = strlen(text);

    assert_int_equal(send(fd, text, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* Reads what comes within the test's patience; 0 at the end, -1 at a reset. */
static inline ssize_t hear_some(int fd, char *bytes, size_t size)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    return recv(fd, bytes, size, 0);
}

/* Reads to the connection's end; false when it was a reset. Closes. */
static inline bool hear_all(int fd, struct buf *out)
{
    char bytes[16384];
    ssize_t n;

    buf_clear(out);
    while ((n = hear_some(fd, bytes, sizeof(bytes))) > 0)
        buf_put(out, bytes, (size_t)n);
    close(fd);
    return n == 0;
}

/* Reads until `text` has come. */
static inline void hear_until(int fd, struct buf *out, const char *text)
{
    char bytes[4096];

    buf_clear(out);
    while (!memmem(out->ptr ? out->ptr : "", out->len, text, strlen(text))) {
        ssize_t n = hear_some(fd, bytes, sizeof(bytes));

        assert_true(n > 0);
        buf_put(out, bytes, (size_t)n);
    }
}

/* Waits until `condition` holds. */
#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        int64_t until_ = clock_ms() + PATIENCE_MS;                                                 \
                                                                                                   \
        while (!(condition)) {                                                                     \
            assert_true(clock_ms() < until_);                                                      \
            usleep(1000);                                                                          \
        }                                                                                          \
    } while (0)

static inline void raise_fd_limit(void)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

#endif
