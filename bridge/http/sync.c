#include "http/sync.h"
#include "base/clock.h"
#include "base/logging.h"
#include "change/json.h"
#include "http/sync_session.h"
#include "shapes/ident.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* One answer on its way from a worker's thread to the session's loop. The session may have gone by
 * then. */
struct resolution {
    struct http_ref ref;
    struct sync_session *session;
    size_t shape;
    struct shape_answer answer;
};

struct fence_answer {
    struct http_ref ref;
    struct sync_session *session;
    bool ok;
    lsn_t lsn;
};

/* ---- answers that are no stream -------------------------------------------------------------- */

static void respond_json(struct http_conn *conn, int status, const char *retry_after,
                         struct buf *body)
{
    struct http_headers h;

    http_headers_init(&h);
    http_headers_add(&h, "content-type", "application/json; charset=utf-8");
    http_headers_add(&h, "cache-control", "no-store");
    if (retry_after)
        http_headers_add(&h, "retry-after", retry_after);
    http_respond(conn, status, &h, buf_slice(body));
    buf_release(body);
}

static void respond_invalid(struct http_conn *conn, const struct sync_invalid *invalid)
{
    struct buf body;

    buf_init(&body, BUF_NO_LIMIT);
    sync_invalid_put(invalid, &body);
    respond_json(conn, 400, NULL, &body);
}

static void respond_message(struct http_conn *conn, int status, const char *retry_after,
                            const char *text)
{
    struct buf body;

    buf_init(&body, BUF_NO_LIMIT);
    buf_put_cstr(&body, "{\"message\":");
    json_put_string(&body, slice_of(text));
    buf_put_u8(&body, '}');
    respond_json(conn, status, retry_after, &body);
}

static void respond_unavailable(struct http_conn *conn, const char *text)
{
    respond_message(conn, 503, "1", text);
}

/* ---- from the request to logs ---------------------------------------------------------------- */

void sync_drop_runs(struct sync_shape *s)
{
    if (s->runs)
        log_runs_release(s->runs->items + s->runs->first, s->runs->n - s->runs->first);
    free(s->runs);
    s->runs = NULL;
}

void sync_session_free(struct sync_session *session)
{
    for (size_t i = 0; i < session->nshapes; i++) {
        struct sync_shape *s = &session->shapes[i];

        watchers_remove(&session->loop->watchers, &s->watcher);
        sync_drop_runs(s);
        free(s->refetch);
        if (s->asking)
            session->service->cancel_shape(session->service->owner, s->asking);
        if (s->log)
            log_unref(s->log);
    }
    if (session->streaming && session->request.live)
        atomic_fetch_sub(session->service->clients, 1);
    if (session->acks)
        acks_release(session->acks);
    free(session->acks);
    auth_release(&session->auth);
    arena_release(&session->arena);
    free(session->invalid);
    free(session);
}

static void release_user(void *user)
{
    sync_session_free(user);
}

static bool same_text(struct slice a, struct slice b)
{
    return !a.len == !b.len && slice_eq(a, b);
}

/* Asked in the same words: then the handle's log is the one that was asked for, without looking
 * into the catalogue. */
static bool same_request(const struct shape_request *a, const struct shape_request *b)
{
    if (!same_text(a->table, b->table) || !same_text(a->where, b->where) ||
        !same_text(a->columns, b->columns) || a->params.n != b->params.n ||
        a->replica != b->replica || a->changes_only != b->changes_only ||
        a->keyed_by_identity != b->keyed_by_identity)
        return false;
    for (size_t i = 0; i < a->params.n; i++) {
        if (!same_text(a->params.values[i], b->params.values[i]))
            return false;
    }
    return true;
}

static bool was_asked(const struct shape *shape, const struct shape_request *request)
{
    struct shape_request before;
    struct arena arena = {0};

    shape_get_request(shape, &arena, &before);
    bool same = same_request(&before, request);

    arena_release(&arena);
    return same;
}

static struct log *find_by_handle(const struct sync_session *session,
                                  const struct sync_shape_request *request)
{
    struct log *log =
        request->handle.len ? shapelog_find(session->service->store, request->handle) : NULL;

    if (log && log_shape(log) && was_asked(log_shape(log), &request->shape))
        return log;
    if (log)
        log_unref(log);
    return NULL;
}

/* News of a log before the stream has begun: maybe it can begin now. */
static void begin_if_ready(struct sync_session *session);

static void on_news(struct watcher *watcher)
{
    struct sync_shape *s =
        (struct sync_shape *)(void *)((char *)watcher - offsetof(struct sync_shape, watcher));

    if (s->session->streaming)
        http_conn_wake(s->session->conn);
    else
        begin_if_ready(s->session);
}

/* The shape has its log; from where it goes is decided when all have. Takes the reference. */
static void take_log(struct sync_session *session, size_t i, struct log *log)
{
    struct sync_shape *s = &session->shapes[i];

    s->log = log;
    s->phase = SYNC_OPEN;
    s->block = 0;
    s->cursor = (struct log_cursor){0};
    watchers_add(&session->loop->watchers, log, &s->watcher);
}

static void note_failure(struct sync_session *session, size_t i, const struct shape_answer *answer)
{
    if (session->invalid)
        return;
    struct sync_invalid *invalid = session->invalid = xcalloc(1, sizeof(*invalid));
    invalid->err = answer->err;
    invalid->shape = i;
    /* A feed's failure is no fault of the client's. */
    if (answer->field && !sync_is_feed(&session->shapes[i]))
        snprintf(invalid->field, sizeof(invalid->field), "shapes[%zu].%s", i, answer->field);
    session->unfit = session->shapes[i].request->name.len && answer->field &&
                     (strcmp(answer->field, "where") == 0 || strcmp(answer->field, "params") == 0);
}

static void on_resolved(void *arg)
{
    struct resolution *r = arg;
    struct sync_session *session = http_ref_conn(r->ref) ? r->session : NULL;

    if (session)
        session->shapes[r->shape].asking = NULL;
    if (session && r->answer.log)
        take_log(session, r->shape, log_ref(r->answer.log));
    else if (session)
        note_failure(session, r->shape, &r->answer);
    if (session) {
        session->resolving--;
        if (session->streaming)
            http_conn_wake(session->conn);
        else
            begin_if_ready(session);
    }
    if (r->answer.log)
        log_unref(r->answer.log);
    free(r);
}

/* On a worker's thread. */
static void answered(void *arg, struct shape_answer *answer)
{
    struct resolution *r = arg;

    r->answer = *answer;
    http_loop_post(r->ref.loop, on_resolved, r);
}

static void put_duration(char *out, size_t size, int64_t ms)
{
    int64_t s = (ms + 999) / 1000;

    if (s < 120)
        snprintf(out, size, "%" PRId64 " s", s);
    else
        snprintf(out, size, "%" PRId64 " min", (s + 59) / 60);
}

static void end_refused(struct sync_session *session, struct log *log, struct slice why)
{
    char text[400], handle[80];

    snprintf(text, sizeof(text), "a replica could not apply it: %.*s", SLICE_ARG(why));
    snprintf(handle, sizeof(handle), "%.*s", SLICE_ARG(log_handle(log)));
    log_warn("a shape begins anew", LOG_STR("handle", handle), LOG_STR("reason", text));
    shapelog_end_log(session->service->store, log, text);
}

/* Why it is not ended, for the replica. */
static char *not_ended(struct slice why, bool of_token, int64_t wait_ms)
{
    char text[400], wait[32];

    put_duration(wait, sizeof(wait), wait_ms);
    if (of_token)
        snprintf(text, sizeof(text),
                 "it is not begun anew for everybody at a token's word; refused because: %.*s",
                 SLICE_ARG(why));
    else
        snprintf(text, sizeof(text),
                 "it was refused not long ago, and is not begun anew again for %s; refused now "
                 "because: %.*s",
                 wait, SLICE_ARG(why));
    return xstrdup(text);
}

/* The replica cannot apply what the log holds: it ends, and the shape begins anew. Not too often,
 * and not for a token, whose bearer shares it with strangers: then the replica is told so, and gets
 * the same log once more. */
static void heed_refusal(struct sync_session *session, struct sync_shape *s)
{
    struct slice why = s->request->refused;
    struct log *log = find_by_handle(session, s->request);
    bool of_token = session->auth.kind == AUTH_TOKEN;
    int64_t wait_ms = 0;

    if (!log)
        return; /* another has begun by now */
    if (!of_token &&
        refusals_take(session->service->refusals, log_shape(log)->is.lo, clock_ms(), &wait_ms))
        end_refused(session, log, why);
    else
        s->refetch = not_ended(why, of_token, wait_ms);
    log_unref(log);
}

void sync_resolve(struct sync_session *session, size_t i)
{
    struct sync_shape *s = &session->shapes[i];

    if (s->request->refused.len && !s->refetched)
        heed_refusal(session, s);
    struct log *log = s->refetched ? NULL : find_by_handle(session, s->request);

    if (log) {
        take_log(session, i, log);
        return;
    }
    struct resolution *r = xcalloc(1, sizeof(*r));
    *r = (struct resolution){.ref = http_conn_ref(session->conn), .session = session, .shape = i};
    s->asking = r;
    s->phase = SYNC_RESOLVING;
    session->resolving++;
    session->service->request_shape(session->service->owner, &s->request->shape, answered, r);
}

/* ---- the fence ------------------------------------------------------------------------------- */

static void on_fenced(void *arg)
{
    struct fence_answer *a = arg;

    if (http_ref_conn(a->ref)) {
        a->session->fenced = a->ok;
        a->session->fence_asked = a->ok; /* asked again when it failed */
        a->session->fence = a->lsn;
        if (a->session->streaming)
            http_conn_wake(a->session->conn);
    }
    free(a);
}

static void fenced(void *arg, bool ok, lsn_t lsn)
{
    struct fence_answer *a = arg;

    a->ok = ok;
    a->lsn = lsn;
    http_loop_post(a->ref.loop, on_fenced, a);
}

void sync_ask_fence(struct sync_session *session)
{
    struct fence_answer *a = xcalloc(1, sizeof(*a));

    *a = (struct fence_answer){.ref = http_conn_ref(session->conn), .session = session};
    session->fence_asked = true;
    session->service->fence(session->service->owner, fenced, a);
}

/* ---- from logs to the stream ----------------------------------------------------------------- */

/* A log that ended before it had rows: why, for the client. */
static bool find_dead_log(struct sync_session *session, char reason[256])
{
    for (size_t i = 0; i < session->nshapes; i++) {
        if (log_state(session->shapes[i].log) == LOG_ENDED) {
            log_reason(session->shapes[i].log, reason);
            return true;
        }
    }
    return false;
}

static bool all_begun(const struct sync_session *session)
{
    for (size_t i = 0; i < session->nshapes; i++) {
        if (log_state(session->shapes[i].log) == LOG_PENDING)
            return false;
    }
    return true;
}

/* The rules' clause was held against the catalogue: it is the claims that do not fit. */
static void respond_unfit(struct sync_session *session)
{
    char text[sizeof(session->invalid->err.msg) + 64];

    snprintf(text, sizeof(text), "the token's claims do not fit the shape: %s",
             session->invalid->err.msg);
    respond_message(session->conn, 403, NULL, text);
}

static void begin_if_ready(struct sync_session *session)
{
    char reason[256];

    if (session->resolving || session->answered)
        return;
    if (session->invalid) {
        session->answered = true;
        if (session->unfit)
            respond_unfit(session);
        else if (session->invalid->field[0])
            respond_invalid(session->conn, session->invalid);
        else
            respond_unavailable(session->conn,
                                session->invalid->err.code == ERR_CONN
                                    ? "Cannot connect to the database to verify the shape. Please "
                                      "try again later."
                                    : session->invalid->err.msg);
    } else if (find_dead_log(session, reason)) {
        session->answered = true;
        respond_unavailable(session->conn, reason[0] ? reason : "the shape could not be made");
    } else if (all_begun(session)) {
        sync_resume(session);
        sync_stream_start(session);
    }
}

/* Not ready, or maybe behind what a client has: say when to come again. */
static const char *not_ready(const struct service *service)
{
    switch (service->status(service->owner)) {
    case SERVICE_STARTING:
        return "the bridge is connecting to Postgres";
    case SERVICE_WAITING:
        return "another bridge follows this database";
    case SERVICE_ACTIVE:
        break;
    }
    return service_behind(service) ? "the bridge is catching up with Postgres" : NULL;
}

/* What the rules have under the names. False: it was answered. */
static bool take_named(struct sync_session *session, const struct auth *auth)
{
    const struct service *service = session->service;
    struct sync_invalid invalid;

    for (size_t i = 0; i < session->request.nshapes; i++) {
        struct sync_shape_request *r = &session->request.shapes[i];

        if (!r->name.len && auth->kind != AUTH_TOKEN)
            continue;
        if (!r->name.len) {
            respond_message(session->conn, 403, NULL,
                            "a token is for the shapes that the rules name: ask for \"shape\": "
                            "NAME (a free table needs the secret)");
            return false;
        }
        if (!service->named_shape(service->owner, auth, r->name, &session->arena, &r->shape,
                                  &invalid.err)) {
            snprintf(invalid.field, sizeof(invalid.field), "shapes[%zu].shape", i);
            if (invalid.err.code == ERR_NOT_FOUND)
                respond_invalid(session->conn, &invalid);
            else
                respond_message(session->conn, 403, NULL, invalid.err.msg);
            return false;
        }
        r->shape.keyed_by_identity = true;
        session->by_rules = true;
    }
    return true;
}

/* A token's bearer without a subject writes nothing. */
static bool may_be_told(const struct sync_session *session)
{
    const struct service *service = session->service;

    return session->request.writes && service->writes_ready(service->owner) &&
           (!session->auth.token || token_subject(session->auth.token).ptr);
}

static void make_shapes(struct sync_session *session, struct slice replica)
{
    size_t most = session->request.nshapes + ACKS_NFEEDS;

    session->nshapes = (uint32_t)session->request.nshapes;
    if (!session->request.writes)
        most = session->nshapes;
    session->by_rules |= session->request.writes;
    session->shapes = arena_calloc(&session->arena, most, sizeof(*session->shapes));
    for (size_t i = 0; i < most; i++) {
        session->shapes[i].session = session;
        session->shapes[i].watcher.news = on_news;
    }
    for (size_t i = 0; i < session->nshapes; i++)
        session->shapes[i].request = &session->request.shapes[i];
    if (may_be_told(session))
        sync_feeds_add(session, replica);
}

void sync_post(struct http_conn *conn, const struct http_request *request)
{
    struct endpoint_loop *loop = http_loop_user(http_conn_loop(conn));
    struct sync_session *session = xcalloc(1, sizeof(*session));
    struct sync_invalid invalid;
    struct slice replica;
    const char *unready;

    session->source.ops = &sync_source_ops;
    session->service = loop->service;
    session->loop = loop;
    session->conn = conn;
    session->rules = atomic_load(session->service->rules_version);
    session->auth = auth_ref(&request->auth);
    session->expires = auth_ends(&request->auth, http_loop_now(http_conn_loop(conn)));
    http_conn_set_user(conn, session, release_user);
    if (!http_request_param(request, "replica", &replica) || !ident_is_replica(replica)) {
        snprintf(invalid.field, sizeof(invalid.field), "replica");
        err_set(&invalid.err, ERR_INPUT,
                "must be 1 to 128 of A-Z a-z 0-9 . _ : - in the query string");
        respond_invalid(conn, &invalid);
        return;
    }
    if (!sync_request_parse(request->body, session->service->max_shapes, sizeof(*session->shapes),
                            &session->arena, &session->request, &invalid)) {
        respond_invalid(conn, &invalid);
        return;
    }
    if (!take_named(session, &request->auth))
        return;
    if ((unready = not_ready(session->service))) {
        respond_unavailable(conn, unready);
        return;
    }
    session->history = shapelog_resets(session->service->store);
    make_shapes(session, replica);
    if (!session->request.live)
        sync_ask_fence(session);
    for (size_t i = 0; i < session->nshapes; i++)
        sync_resolve(session, i);
    begin_if_ready(session);
}
