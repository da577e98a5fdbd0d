/*
 * A subset of a shape's rows: the pool asks Postgres for it and answers with the response's body,
 * in a file that has no name any more.
 */
#include "http/shape_private.h"

#include "base/arena.h"

#include <stdlib.h>

struct question {
    struct http_ref ref;
    struct shape_request_state *get;
    struct subset_answer answer;
};

struct file_source {
    struct http_source source; /* first */
    struct subset_body body;
    bool sent;
};

static enum http_pull pull(struct http_source *source, struct http_conn *conn, struct http_out *out)
{
    struct file_source *s = (struct file_source *)source;

    (void)conn;
    /* The file stays open until the source is released, which is after its bytes have gone. */
    if (s->sent)
        return HTTP_END;
    s->sent = true;
    http_out_put_file(out, s->body.fd, 0, s->body.size, NULL, NULL);
    return HTTP_MORE;
}

static void release(struct http_source *source)
{
    struct file_source *s = (struct file_source *)source;

    subset_body_close(&s->body);
    free(s);
}

/* Clients go on behind the offset that they are given. So one that follows the log stays where it
 * is: what came meanwhile may be of rows that it has from elsewhere. One that begins here gets what
 * the rows may not hold. Who has them twice can tell by the snapshot. */
static struct log_offset offset_behind(const struct shape_request_state *get, lsn_t after)
{
    return get->at == SHAPE_OFFSET_AT ? get->offset : log_end(get->log, after);
}

static void put_headers(struct shape_request_state *get, lsn_t after, struct http_headers *h)
{
    char offset[48];

    shape_offset_print(offset_behind(get, after), offset);
    http_headers_init(h);
    http_headers_add(h, "content-type", "application/json; charset=utf-8");
    http_headers_add_slice(h, "electric-handle", log_handle(get->log));
    http_headers_add(h, "electric-offset", offset);
    shape_put_schema_header(get->log, h);
    http_headers_add(h, "electric-snapshot", "true");
    shape_put_caching(get, NULL, false, h);
}

/* Takes the file. */
static void answer_file(struct shape_request_state *get, const struct subset_answer *answer)
{
    static const struct http_source_ops ops = {pull, release};
    struct file_source *s = xcalloc(1, sizeof(*s));
    struct http_headers h;

    s->source.ops = &ops;
    s->body = answer->body;
    shape_ends(get);
    put_headers(get, answer->after, &h);
    http_respond_source(get->conn, 200, &h, s->body.size, &s->source);
}

/* Takes what is in the answer. */
static void take_answer(struct shape_request_state *get, struct subset_answer *answer)
{
    const struct shape_answer failed = {NULL, answer->field, answer->err};
    struct slice handle = get->asked->params.handle;

    get->log = answer->log;
    if (answer->body.fd >= 0)
        answer_file(get, answer);
    else if (answer->log && handle.len && !slice_eq(handle, log_handle(answer->log)))
        shape_answer_refetch(get, answer->log);
    else
        shape_answer_unresolved(get, &failed);
}

static void on_answered(void *arg)
{
    struct question *q = arg;
    struct shape_request_state *get = http_ref_conn(q->ref) ? q->get : NULL;

    if (get)
        get->asking = NULL;
    if (get && get->phase == SHAPE_SUBSET) {
        take_answer(get, &q->answer);
    } else {
        subset_body_close(&q->answer.body);
        if (q->answer.log)
            log_unref(q->answer.log);
    }
    free(q);
}

/* On a worker's thread. */
static void answered(void *arg, struct subset_answer *answer)
{
    struct question *q = arg;

    q->answer = *answer;
    http_loop_post(q->ref.loop, on_answered, q);
}

void shape_ask_subset(struct shape_request_state *get)
{
    const struct service *service = get->loop->site->service;
    const struct shape_params *params = &get->asked->params;
    struct question *q = xcalloc(1, sizeof(*q));

    *q = (struct question){.ref = http_conn_ref(get->conn), .get = get};
    get->phase = SHAPE_SUBSET;
    get->asking = q;
    service->request_subset(service->owner, &params->shape, &params->subset, params->handle,
                            answered, q);
}
