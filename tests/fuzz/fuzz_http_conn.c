/*
 * A connection fed by hand over a socket pair. The input is a script: a byte
 * n below 0xf0 means "the next n bytes of the input arrive in one piece" (0:
 * all that is left); 0xf0 wakes what is parked; 0xf1 answers what waits for an
 * answer; 0xf2 shuts the client's side; 0xf3 lets the server stop.
 *
 * Whatever comes, every byte that the server says must be a response in order,
 * every source must be released, and nothing may be left behind.
 */
#include "http/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct http_worker worker;
static struct http_place place;
static struct http_metrics metrics;
static int sources; /* alive */
static struct http_ref pending;

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* ---- endpoints ---- */

static void echo(struct http_conn *conn, const struct http_request *request)
{
    struct http_headers h;
    struct slice value;

    http_headers_init(&h);
    if (http_request_param(request, "h", &value))
        http_headers_add_slice(&h, "x-echo", value);
    http_respond(conn, 200, &h, request->body);
}

struct source {
    struct http_source source;
    int left;
    bool waits;
};

static enum http_pull source_pull(struct http_source *source, struct http_conn *conn,
                                  struct http_out *out)
{
    struct source *s = (struct source *)source;

    if (s->left == 0 || http_conn_stopping(conn))
        return HTTP_END;
    s->left--;
    http_out_put_cstr(out, "line\n");
    http_out_put_shared(out, SLICE("shared\n"), NULL, NULL);
    return s->waits ? HTTP_WAIT : HTTP_MORE;
}

static void source_release(struct http_source *source)
{
    sources--;
    free(source);
}

static void stream(struct http_conn *conn, const struct http_request *request)
{
    static const struct http_source_ops ops = {source_pull, source_release};
    struct source *s = calloc(1, sizeof(*s));

    sources++;
    s->source.ops = &ops;
    s->left = 3;
    s->waits = request->query_text.len > 0;
    http_respond_source(conn, 200, NULL, HTTP_LENGTH_UNKNOWN, &s->source);
}

static void later(struct http_conn *conn, const struct http_request *request)
{
    (void)request;
    pending = http_conn_ref(conn);
}

static const struct http_route routes[] = {
    {.path = "/e", .methods = HTTP_M_GET_HEAD | HTTP_M_POST, .handle = echo, .body_limit = 64},
    {.path = "/s", .methods = HTTP_M_GET_HEAD, .handle = stream},
    {.path = "/l", .methods = HTTP_M_GET_HEAD, .handle = later},
};

static const struct http_listen listening = {.address = "fuzz", .routes = {routes, 3}};

static void set_up(void)
{
    static struct http_config config;
    struct err err;

    signal(SIGPIPE, SIG_IGN);
    config = http_config_default();
    config.head_limit = 512;
    config.url_limit = 128;
    place.listen = &listening;
    check(http_worker_init(&worker, &config, &metrics, &err));
}

/* ---- the client ---- */

struct client {
    int fd;
    bool shut;
    size_t heard;
    char first[9];
};

static void hear(struct client *client)
{
    char bytes[4096];
    ssize_t n;

    while ((n = recv(client->fd, bytes, sizeof(bytes), 0)) > 0) {
        for (ssize_t i = 0; i < n && client->heard < sizeof(client->first); i++)
            client->first[client->heard++] = bytes[i];
    }
}

static void turn(struct client *client)
{
    for (int i = 0; i < 3; i++) {
        http_loop_turn(worker.loop, 0);
        hear(client);
    }
}

static void say(struct client *client, const uint8_t *data, size_t n)
{
    if (!client->shut && n)
        (void)!send(client->fd, data, n, MSG_NOSIGNAL);
}

static void act(struct client *client, uint8_t code)
{
    struct http_conn *conn = worker.conns;

    if (code == 0xf0 && conn && conn->source)
        http_conn_wake(conn);
    if (code == 0xf1 && pending.loop && (conn = http_ref_conn(pending)))
        http_respond(conn, 200, NULL, SLICE("later"));
    if (code == 0xf2) {
        shutdown(client->fd, SHUT_WR);
        client->shut = true;
    }
    if (code == 0xf3)
        worker.stopping = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client client = {0};
    int fds[2];

    if (!worker.loop)
        set_up();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return 0;
    client.fd = fds[0];
    pending = (struct http_ref){0};
    worker.stopping = false;
    atomic_fetch_add(&place.open, 1);
    check(http_conn_open(&worker, &place, fds[1]));
    for (size_t at = 0; at < size;) {
        size_t n = data[at++];

        if (n >= 0xf0) {
            act(&client, (uint8_t)n);
        } else {
            if (n == 0 || n > size - at)
                n = size - at;
            say(&client, data + at, n);
            at += n;
        }
        turn(&client);
    }
    close(client.fd);
    for (int i = 0; i < 20 && worker.nconns; i++)
        http_loop_turn(worker.loop, 0);
    check(client.heard < 9 || memcmp(client.first, "HTTP/1.1 ", 9) == 0);
    check(worker.nconns == 0 && sources == 0);
    check(metrics.open == 0 && metrics.parked == 0 && place.open == 0);
    return 0;
}
