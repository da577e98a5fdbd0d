#include "http/write.h"
#include "http/sync.h"

#include <stdio.h>
#include <stdlib.h>

/* On its way to the workers and back. */
struct errand {
    struct http_ref ref;
    struct write_reply reply;
};

static void respond(struct http_conn *conn, const struct write_reply *reply)
{
    struct http_headers h;
    char seconds[16];

    http_headers_init(&h);
    http_headers_add(&h, "content-type", "application/json; charset=utf-8");
    http_headers_add(&h, "cache-control", "no-store");
    if (reply->again) {
        snprintf(seconds, sizeof(seconds), "%d", WRITE_RETRY_SECONDS);
        http_headers_add(&h, "retry-after", seconds);
    }
    http_respond(conn, reply->status, &h, buf_slice(&reply->body));
}

static void on_written(void *arg)
{
    struct errand *errand = arg;
    struct http_conn *conn = http_ref_conn(errand->ref);

    if (conn)
        respond(conn, &errand->reply);
    buf_release(&errand->reply.body);
    free(errand);
}

/* On a worker's thread, or on the loop's. */
static void written(void *arg, struct write_reply *reply)
{
    struct errand *errand = arg;

    errand->reply = *reply;
    http_loop_post(errand->ref.loop, on_written, errand);
}

void write_post(struct http_conn *conn, const struct http_request *request)
{
    const struct endpoint_loop *loop = http_loop_user(http_conn_loop(conn));
    const struct service *service = loop->service;
    struct errand *errand = xcalloc(1, sizeof(*errand));
    struct token *token = request->auth.token;

    errand->ref = http_conn_ref(conn);
    service->write(service->owner, request->body, token ? token_ref(token) : NULL, written, errand);
}
