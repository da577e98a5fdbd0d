/*
 * /v1/shape over a real store, with clients on socket pairs and the loop turned by hand. The shape
 * "items" is there; who asks for another table waits for an answer that does not come.
 */
#ifndef TEST_SHAPE_SITE_KIT_H
#define TEST_SHAPE_SITE_KIT_H

#include "http_util.h"

#include "http/shape_private.h"
#include "http/sync.h"
#include "test_shapelog_fixture.h"

struct kit {
    char dir[64];
    struct shapelog *store;
    struct lane *lane;
    struct log *log; /* of "items" */
    struct service service;
    atomic_uint rules_version;
    struct shape_site site;
    struct endpoint_loop mine;
    struct rig *rig; /* the first client */
    enum service_status status;
    lsn_t catchup;
    unsigned asked; /* requests for shapes that came through to the pool */

    bool holds; /* they are answered by kit_answer() */
    struct {
        shape_answered *answered;
        void *arg;
    } held[16];
    const char *history; /* of a stream that others read too, or NULL */
    const char *next;    /* not NULL: the history that begins when it is asked for, ... */
    unsigned skip;       /* ... but for so many times */
    unsigned nheld;
    unsigned cancelled; /* of them; they are answered nevertheless */
};

static inline enum service_status kit_status(void *owner)
{
    return ((struct kit *)owner)->status;
}

static inline lsn_t kit_catchup(void *owner)
{
    return ((struct kit *)owner)->catchup;
}

static inline bool kit_history(void *owner, char history[32])
{
    struct kit *kit = owner;
    struct err err;

    if (kit->next && kit->skip-- == 0) {
        assert_ok(shapelog_reset(kit->store, "another history", &err), err);
        kit->history = kit->next;
        kit->next = NULL;
    }
    snprintf(history, 32, "%s", kit->history ? kit->history : "");
    return kit->history != NULL;
}

static inline void kit_request_shape(void *owner, const struct shape_request *request,
                                     shape_answered *answered, void *arg)
{
    struct kit *kit = owner;
    struct shape_answer answer = {.log = log_ref(kit->log)};

    kit->asked++;
    if (kit->holds) {
        assert_true(kit->nheld < 16);
        kit->held[kit->nheld].answered = answered;
        kit->held[kit->nheld++].arg = arg;
        log_unref(answer.log);
        return;
    }
    if (!slice_is(request->table, "items")) {
        log_unref(answer.log);
        answer.log = NULL;
        answer.field = "table";
        err_set(&answer.err, ERR_NOT_FOUND, "no such table");
    }
    answered(arg, &answer);
}

static inline void kit_cancel_shape(void *owner, void *arg)
{
    struct kit *kit = owner;
    unsigned i = 0;

    while (i < kit->nheld && kit->held[i].arg != arg)
        i++;
    kit->cancelled += i < kit->nheld;
}

/* Answers the i-th request that is held: with the log, or that the clause is wrong. */
static inline void kit_answer(struct kit *kit, unsigned i, bool good)
{
    struct shape_answer answer = {.log = good ? log_ref(kit->log) : NULL, .field = "where"};

    if (!good)
        err_set(&answer.err, ERR_INPUT, "makes no sense");
    kit->held[i].answered(kit->held[i].arg, &answer);
}

static inline bool kit_may_write(void *owner, const struct auth *auth, const struct table *table,
                                 bool ops[WRITE_DELETE + 1])
{
    (void)owner;
    (void)auth;
    (void)table;
    (void)ops;
    return false;
}

static const struct http_route kit_routes[] = {
    {.path = "/v1/shape", .methods = HTTP_M_GET_HEAD, .handle = shape_get},
    {.path = "/v1/shape", .methods = HTTP_M_DELETE, .handle = shape_delete},
    {.path = "/v1/sync",
     .methods = HTTP_M_POST,
     .handle = sync_post,
     .body_limit = SYNC_BODY_LIMIT},
};

/* With a log that has no snapshot yet. */
static inline struct kit *kit_new_pending_chunked(size_t chunk_size)
{
    struct kit *kit = xcalloc(1, sizeof(*kit));
    struct err err;

    make_fast_folder(kit->dir);
    kit->store = open_store_chunked(kit->dir, 0, chunk_size);
    kit->lane = shapelog_lane_new(kit->store);
    kit->log = new_log(kit->store, 1);
    log_register(kit->log, 10);
    publish(kit->store, 10);
    kit->status = SERVICE_ACTIVE;
    kit->catchup = 1;
    kit->service = (struct service){.store = kit->store,
                                    .owner = kit,
                                    .status = kit_status,
                                    .catchup = kit_catchup,
                                    .history = kit_history,
                                    .request_shape = kit_request_shape,
                                    .cancel_shape = kit_cancel_shape,
                                    .find_shape = kit_request_shape,
                                    .may_write = kit_may_write,
                                    .rules_version = &kit->rules_version,
                                    .max_shapes = 10,
                                    .secret = ""};
    shape_site_init(&kit->site, &kit->service);
    kit->rig = rig_new();
    kit->rig->listen.routes =
        (struct http_routes){kit_routes, sizeof(kit_routes) / sizeof(*kit_routes)};
    kit->mine.service = &kit->service;
    assert_ok(watchers_init(&kit->mine.watchers, kit->rig->worker.loop, kit->store, &err), err);
    kit->mine.shapes = shape_loop_new(&kit->site, kit->rig->worker.loop, &kit->mine.watchers);
    http_loop_set_user(kit->rig->worker.loop, &kit->mine);
    return kit;
}

static inline struct kit *kit_new_pending(void)
{
    return kit_new_pending_chunked(4096);
}

/* Its snapshot: `rows` messages, of a time at which the server wrote at `limit`. */
static inline void kit_snapshot_at(struct kit *kit, const char *const *rows, size_t n, lsn_t limit)
{
    struct snapshot_writer *writer;
    struct err err;

    set_snapshot(kit->log, 1, 0, limit);
    writer = snapshot_writer_new(kit->store, kit->log, &err);
    assert_non_null(writer);
    for (size_t i = 0; i < n; i++)
        assert_ok(snapshot_writer_put(writer, slice_of(rows[i]), &err), err);
    assert_ok(snapshot_writer_finish(writer, &err), err);
}

static inline void kit_snapshot(struct kit *kit, const char *const *rows, size_t n)
{
    kit_snapshot_at(kit, rows, n, 10);
}

static inline struct kit *kit_new_chunked(size_t chunk_size)
{
    struct kit *kit = kit_new_pending_chunked(chunk_size);

    kit_snapshot(kit, NULL, 0);
    return kit;
}

static inline struct kit *kit_new(void)
{
    return kit_new_chunked(4096);
}

static inline void kit_free(struct kit *kit)
{
    rig_close(kit->rig);
    assert_int_equal(kit->rig->worker.nconns, 0);
    assert_int_equal(atomic_load(&kit->site.initial), 0);
    assert_int_equal(atomic_load(&kit->site.existing), 0);
    shape_loop_free(kit->mine.shapes);
    shape_site_release(&kit->site);
    watchers_release(&kit->mine.watchers);
    http_worker_release(&kit->rig->worker);
    free(kit->rig);
    log_unref(kit->log);
    shapelog_lane_free(kit->store, kit->lane);
    shapelog_close(kit->store);
    remove_folder(kit->dir);
    free(kit);
}

/* ---- messages -------------------------------------------------------------------------------- */

#define KIT_BOUNDARY "}},{\\\"key\\\":\\\""

/* One of a message's `pad` bytes, or what looks like a message's end. */
static inline const char *kit_pad(size_t i)
{
    return i % 7 == 3 ? KIT_BOUNDARY : "p";
}

static inline void kit_put_pad(struct buf *out, size_t pad)
{
    size_t i = 0;

    for (; i + 7 <= pad; i += 7)
        buf_put_cstr(out, "ppp" KIT_BOUNDARY "ppp");
    for (; i < pad; i++)
        buf_put_cstr(out, kit_pad(i));
}

/* As change/message.c makes them, with `pad` more bytes, and as misleading as JSON allows. */
static inline void kit_message(struct buf *out, lsn_t lsn, uint64_t op, size_t pad)
{
    buf_printf(out, "{\"key\":\"\\\"public\\\".\\\"items\\\"/\\\"%llu\\\"\",\"value\":{\"v\":\"",
               (unsigned long long)op);
    kit_put_pad(out, pad);
    buf_printf(out,
               "\"},\"headers\":{\"operation\":\"insert\",\"txids\":[1],\"lsn\":\"%llu\","
               "\"op_position\":%llu}}",
               (unsigned long long)lsn, (unsigned long long)op);
}

/* A transaction of `n` messages, committed and published. */
static inline void kit_commit(struct kit *kit, lsn_t lsn, unsigned n, size_t pad)
{
    struct buf message;

    buf_init(&message, BUF_NO_LIMIT);
    begin(kit->store, lsn);
    for (unsigned i = 0; i < n; i++) {
        buf_clear(&message);
        kit_message(&message, lsn, i * 2, pad ? pad + i % 5 : 0);
        append(kit->store, kit->lane, buf_cstr(&message), i * 2, kit->log);
    }
    commit(kit->store, lsn);
    publish(kit->store, lsn);
    buf_release(&message);
}

/* ---- clients --------------------------------------------------------------------------------- */

struct client {
    struct kit *kit;
    int fd;
    struct buf heard;
};

static inline void client_open(struct client *c, struct kit *kit)
{
    int fds[2];

    *c = (struct client){.kit = kit};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    c->fd = fds[0];
    buf_init(&c->heard, BUF_NO_LIMIT);
    atomic_fetch_add(&kit->rig->place.open, 1);
    assert_non_null(http_conn_open(&kit->rig->worker, &kit->rig->place, fds[1]));
}

static inline void client_close(struct client *c)
{
    close(c->fd);
    buf_release(&c->heard);
}

/* `%s` in the query is the handle. */
static inline void client_ask(struct client *c, const char *method, const char *query,
                              const char *headers)
{
    char handle[64], text[8192], request[9000];

    copy_handle(c->kit->log, handle);
    snprintf(text, sizeof(text), query, handle);
    int n = snprintf(request, sizeof(request),
                     "%s /v1/shape?table=items&%s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, text,
                     headers);
    assert_int_equal(send(c->fd, request, (size_t)n, MSG_NOSIGNAL), n);
}

static inline void kit_turn(struct kit *kit)
{
    for (int i = 0; i < 4; i++)
        http_loop_turn(kit->rig->worker.loop, 0);
}

static inline void client_hear(struct client *c)
{
    char bytes[65536];
    ssize_t n;

    kit_turn(c->kit);
    while ((n = recv(c->fd, bytes, sizeof(bytes), 0)) > 0) {
        buf_put(&c->heard, bytes, (size_t)n);
        kit_turn(c->kit);
    }
}

static inline bool client_has_from(const struct client *c, size_t from, const char *text)
{
    return c->heard.len > from &&
           memmem(c->heard.ptr + from, c->heard.len - from, text, strlen(text));
}

static inline bool client_has(const struct client *c, const char *text)
{
    return client_has_from(c, 0, text);
}

/* Until the text has come. What was looked at is not looked at again: it may be long. */
static inline void client_hear_until(struct client *c, const char *text)
{
    int64_t until = clock_ms() + PATIENCE_MS;
    size_t from = 0;

    for (client_hear(c); !client_has_from(c, from, text); client_hear(c)) {
        from = c->heard.len > strlen(text) ? c->heard.len - strlen(text) : 0;
        if (clock_ms() > until)
            fail_msg("\"%s\" has not come: %.300s", text, buf_cstr(&c->heard));
        http_loop_turn(c->kit->rig->worker.loop, 1);
    }
}

/* How often the text has come. */
static inline unsigned client_count(const struct client *c, const char *text)
{
    const char *at = c->heard.ptr, *end = at + c->heard.len;
    unsigned n = 0;

    for (; at < end && (at = memmem(at, (size_t)(end - at), text, strlen(text))); n++)
        at += strlen(text);
    return n;
}

/* A header's value; "" when it is not there. In the arena of the caller. */
static inline struct slice client_header(const struct client *c, const char *name)
{
    char line[128];

    snprintf(line, sizeof(line), "\r\n%s: ", name);
    const char *end = memmem(c->heard.ptr, c->heard.len, "\r\n\r\n", 4);
    const char *at =
        end ? memmem(c->heard.ptr, (size_t)(end - c->heard.ptr) + 2, line, strlen(line)) : NULL;
    if (!at)
        return SLICE("");
    at += strlen(line);
    const char *stop = memmem(at, (size_t)(end - at) + 2, "\r\n", 2);

    return (struct slice){at, (size_t)(stop - at)};
}

/* The body of one complete response, out of its chunks; what was heard is forgotten. */
static inline void client_body(struct client *c, struct buf *out)
{
    struct buf text;

    buf_init(&text, BUF_NO_LIMIT);
    digest(&text, buf_slice(&c->heard), false);
    assert_true(text.len > 5);
    assert_memory_equal(text.ptr + text.len - 1, "|", 1);
    assert_false(text.len >= 5 && memcmp(text.ptr + text.len - 5, "HALF|", 5) == 0);
    buf_clear(out);
    buf_put(out, text.ptr + 4, text.len - 5);
    buf_clear(&c->heard);
    buf_release(&text);
}

#endif
