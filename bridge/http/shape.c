#include "http/shape_private.h"
#include "http/sync.h"

#include "base/arena.h"
#include "base/logging.h"

#include <stdio.h>
#include <stdlib.h>

#define READY_AGAIN_MS 50 /* nobody says when the bridge becomes ready */

_Static_assert(sizeof(struct shape_request_state) <= 320, "a request that waits is to cost little");

/* ---- the site and its loops ------------------------------------------------------------------ */

void shape_site_init(struct shape_site *site, const struct service *service)
{
    *site = (struct shape_site){
        .service = service,
        .long_poll_ms = 20000,
        .ready_ms = 5000,
        .resolve_ms = 60000,
        .snapshot_ms = 60000,
        .sse_ms = 60000,
        .sse_idle_ms = 21000,
        .max_age_s = 60,
        .stale_age_s = 300,
        .known = shape_known_new(),
    };
}

void shape_site_release(struct shape_site *site)
{
    shape_known_free(site->known);
    site->known = NULL;
}

struct shape_loop *shape_loop_new(struct shape_site *site, struct http_loop *loop,
                                  struct watchers *watchers)
{
    struct shape_loop *l = xcalloc(1, sizeof(*l));

    l->site = site;
    l->store = site->service->store;
    l->loop = loop;
    l->watchers = watchers;
    return l;
}

void shape_loop_free(struct shape_loop *loop)
{
    for (size_t i = 0; i < SHAPE_BODIES; i++) {
        if (loop->bodies[i])
            shape_body_unref(loop->bodies[i]);
    }
    for (size_t i = 0; i < SHAPE_HEADS; i++)
        shape_head_free(loop->heads[i]);
    shape_asked_release(loop);
    u64map_release(&loop->resolutions);
    free(loop);
}

static struct shape_loop *loop_of(struct http_conn *conn)
{
    return ((struct endpoint_loop *)http_loop_user(http_conn_loop(conn)))->shapes;
}

/* What the pool is asked, once for all requests of one wording that come meanwhile: thousands may
 * come at once, and be gone again before the answer is there. */
struct resolution {
    struct shape_loop *loop;
    struct hash128 wording;
    size_t waiting; /* requests; 0: given up, and no request joins it any more */
    struct shape_answer answer;
};

/* No request joins it from now on. */
static void close_resolution(struct resolution *r)
{
    struct u64map *open = &r->loop->resolutions;

    if (u64map_get(open, r->wording.lo) == r)
        u64map_remove(open, r->wording.lo);
}

static void leave_resolution(struct shape_request_state *get)
{
    const struct service *service = get->loop->site->service;
    struct resolution *r = get->resolution;

    get->resolution = NULL;
    if (!r || --r->waiting > 0)
        return;
    close_resolution(r);
    service->cancel_shape(service->owner, r);
}

/* ---- the life of a request ------------------------------------------------------------------- */

static void link_waiting(struct shape_request_state *get)
{
    get->next = get->loop->waiting;
    get->link = &get->loop->waiting;
    if (get->next)
        get->next->link = &get->next;
    *get->link = get;
}

void shape_ends(struct shape_request_state *get)
{
    get->phase = SHAPE_ANSWERED;
    http_loop_timer_clear(get->loop->loop, &get->timer);
    watchers_remove(get->loop->watchers, &get->watcher);
    leave_resolution(get);
    if (get->link) {
        *get->link = get->next;
        if (get->next)
            get->next->link = get->link;
        get->link = NULL;
    }
    shape_asked_drop(get);
    free(get->tags);
    get->tags = NULL;
}

static atomic_size_t *counter_of(struct shape_request_state *get)
{
    return get->existing ? &get->loop->site->existing : &get->loop->site->initial;
}

static void release(void *user)
{
    struct shape_request_state *get = user;
    const struct service *service = get->loop->site->service;

    if (get->asking)
        (get->deletes ? service->cancel_shape : service->cancel_subset)(service->owner,
                                                                        get->asking);
    shape_forget_encoding(get);
    shape_ends(get);
    http_loop_timer_remove(get->loop->loop, &get->timer);
    if (get->admitted)
        atomic_fetch_sub(counter_of(get), 1);
    if (get->log)
        log_unref(get->log);
    free(get);
}

static struct shape_request_state *state_new(struct http_conn *conn,
                                             const struct http_request *request)
{
    struct shape_request_state *get = xcalloc(1, sizeof(*get));
    struct slice accept;

    get->loop = loop_of(conn);
    get->conn = conn;
    get->timer.fire = shape_on_timer;
    get->watcher.news = shape_on_news;
    get->post = !(request->method & HTTP_M_GET_HEAD);
    http_request_header(request, "accept-encoding", &accept);
    get->encoding = (uint8_t)http_encoding_choose(accept);
    const char *secret = get->loop->site->service->secret;
    get->private =
        request->auth.kind == AUTH_TOKEN || (secret[0] && !auth_secret_in_query(request, secret));
    get->expires = auth_ends(&request->auth, http_loop_now(get->loop->loop));
    link_waiting(get);
    http_conn_set_user(conn, get, release);
    return get;
}

/* ---- admission ------------------------------------------------------------------------------- */

static bool handle_is_known(const struct shape_loop *loop, const struct http_request *request)
{
    struct slice handle;

    if (!http_request_param(request, "handle", &handle) || !handle.len)
        return false;
    struct log *log = shapelog_find(loop->store, handle);

    if (log)
        log_unref(log);
    return log != NULL;
}

/* False when the answer was that there are too many. */
static bool admit(struct shape_request_state *get, const struct http_request *request)
{
    struct shape_site *site = get->loop->site;

    get->existing = handle_is_known(get->loop, request);
    size_t limit = get->existing ? site->max_existing : site->max_initial;

    get->admitted = true;
    if (atomic_fetch_add(counter_of(get), 1) < limit || !limit)
        return true;
    shape_answer_crowded(get, get->existing ? "existing" : "initial", limit);
    return false;
}

void shape_has_begun(struct shape_request_state *get)
{
    get->begun = true;
    if (get->existing)
        return;
    atomic_fetch_sub(counter_of(get), 1);
    get->existing = true;
    atomic_fetch_add(counter_of(get), 1);
}

/* ---- readiness ------------------------------------------------------------------------------- */

/* Why not, or NULL. Once the log has been where clients may be it is not behind them any more,
 * whatever becomes of the connection to Postgres. */
static const char *not_ready(struct shape_site *site)
{
    const struct service *service = site->service;

    if (atomic_load(&site->was_ready))
        return NULL;
    switch (service->status(service->owner)) {
    case SERVICE_STARTING:
        return "Timeout waiting for the connection to Postgres";
    case SERVICE_WAITING:
        return "Timeout waiting for another bridge that follows this database";
    case SERVICE_ACTIVE:
        break;
    }
    if (service_behind(service))
        return "Timeout waiting for the bridge to catch up with Postgres";
    atomic_store(&site->was_ready, true);
    return NULL;
}

/* ---- from the request to the log ------------------------------------------------------------- */

/* The rules' clause was held against the catalogue: it is what came in that does not fit. */
static bool is_of_claims(const char *field)
{
    return strcmp(field, "where") == 0 || strcmp(field, "params") == 0;
}

static void answer_unfit(struct shape_request_state *get, const struct err *err)
{
    char text[sizeof(err->msg) + 64];

    snprintf(text, sizeof(text), "the token's claims do not fit the shape: %s", err->msg);
    shape_answer_error(get, 403, text);
}

void shape_answer_unresolved(struct shape_request_state *get, const struct shape_answer *answer)
{
    if (answer->field && get->named && is_of_claims(answer->field))
        answer_unfit(get, &answer->err);
    else if (answer->field)
        shape_answer_field(get, answer->field, &answer->err);
    else if (answer->err.code == ERR_CONN)
        shape_answer_later(get,
                           "Cannot connect to the database to verify the shape. Please try again "
                           "later.",
                           1, false);
    else
        shape_answer_failure(get, &answer->err);
}

static void on_resolved(void *arg)
{
    struct resolution *r = arg;
    struct log *log = r->answer.log;
    struct shape_request_state *next;

    close_resolution(r);
    if (log)
        shape_known_note(r->loop->site->known, r->loop->store, r->wording, log);
    for (struct shape_request_state *get = r->loop->waiting; get && r->waiting; get = next) {
        next = get->next;
        if (get->resolution != r)
            continue;
        get->resolution = NULL;
        r->waiting--;
        if (log)
            shape_found(get, log_ref(log));
        else
            shape_answer_unresolved(get, &r->answer);
    }
    if (log)
        log_unref(log);
    free(r);
}

/* On a worker's thread. */
static void answered(void *arg, struct shape_answer *answer)
{
    struct resolution *r = arg;

    r->answer = *answer;
    http_loop_post(r->loop->loop, on_resolved, r);
}

/* The request has its log, maybe not the one that it named. */
void shape_found(struct shape_request_state *get, struct log *log)
{
    struct slice handle = get->asked->params.handle;

    http_loop_timer_clear(get->loop->loop, &get->timer);
    get->log = log;
    get->phase = SHAPE_FOUND;
    if (handle.len && !slice_eq(handle, log_handle(log))) {
        shape_answer_refetch(get, log);
        return;
    }
    shape_asked_drop(get);
    shape_go_on(get);
}

static struct resolution *ask_pool(struct shape_loop *loop, const struct shape_request *request,
                                   struct hash128 wording)
{
    const struct service *service = loop->site->service;
    struct resolution *r = xcalloc(1, sizeof(*r));

    *r = (struct resolution){.loop = loop, .wording = wording};
    u64map_set(&loop->resolutions, wording.lo, r);
    service->request_shape(service->owner, request, answered, r);
    return r;
}

static void resolve(struct shape_request_state *get)
{
    struct shape_loop *loop = get->loop;
    struct hash128 wording = shape_asked_wording(get);
    struct log *log = shape_known_find(loop->site->known, loop->store, wording);

    if (log) {
        shape_found(get, log);
        return;
    }
    struct resolution *r = u64map_get(&loop->resolutions, wording.lo);

    if (!r || r->wording.hi != wording.hi)
        r = ask_pool(loop, &get->asked->params.shape, wording);
    r->waiting++;
    get->resolution = r;
    shape_wait(get, SHAPE_RESOLVING, loop->site->resolve_ms);
}

void shape_resolve_when_ready(struct shape_request_state *get)
{
    const char *unready = not_ready(get->loop->site);
    int64_t now = http_loop_now(get->loop->loop);

    if (!unready) {
        http_loop_timer_clear(get->loop->loop, &get->timer);
        if (get->deletes)
            shape_delete_named(get);
        else if (get->subset)
            shape_ask_subset(get);
        else
            resolve(get);
    } else if (now >= get->until || http_conn_stopping(get->conn)) {
        shape_answer_later(get, unready, 5, false);
    } else {
        http_loop_timer_set(get->loop->loop, &get->timer, READY_AGAIN_MS);
    }
}

/* ---- the request ----------------------------------------------------------------------------- */

static void take_params(struct shape_request_state *get, const struct http_request *request)
{
    const struct shape_params *params = &get->asked->params;
    struct slice tags;

    get->live = params->live;
    get->sse = params->sse;
    get->subset = params->is_subset;
    get->at = (uint8_t)params->at;
    get->offset = params->offset;
    get->cursor = params->cursor;
    if (!get->subset && http_request_header(request, "if-none-match", &tags) && tags.len)
        get->tags = memcpy(xcalloc(tags.len + 1, 1), tags.ptr, tags.len);
}

typedef bool read_params(const struct http_request *request, struct arena *arena,
                         struct shape_params *out, struct shape_invalid *invalid);

static const char no_free_table[] =
    "a token is for the shapes that the rules name: ask for shape=NAME (a free table needs the "
    "secret)";

/* What the rules have under the name. False: it was answered. */
static bool take_named(struct shape_request_state *get, const struct http_request *request)
{
    const struct service *service = get->loop->site->service;
    struct shape_params *params = &get->asked->params;
    struct shape_request named;
    struct err err;

    if (!params->name.len) {
        if (request->auth.kind != AUTH_TOKEN)
            return true;
        shape_answer_error(get, 403, no_free_table);
        return false;
    }
    if (!service->named_shape(service->owner, &request->auth, params->name, &get->asked->arena,
                              &named, &err)) {
        if (err.code == ERR_NOT_FOUND)
            shape_answer_field(get, "shape", &err);
        else
            shape_answer_error(get, 403, err.msg);
        return false;
    }
    named.replica = params->shape.replica;
    named.changes_only = params->shape.changes_only;
    params->shape = named;
    get->named = true;
    return true;
}

/* Bearers without a subject are one. */
static struct slice subject_of(const struct token *token)
{
    struct slice subject = token_subject(token);

    return subject.ptr ? subject : SLICE("");
}

/* Reads the parameters; false: it was answered. */
static bool read_asked(struct shape_request_state *get, const struct http_request *request,
                       read_params *read)
{
    struct shape_invalid invalid;

    get->asked = shape_asked_take(get->loop);
    if (!read(request, &get->asked->arena, &get->asked->params, &invalid)) {
        shape_answer_invalid(get, invalid.status, invalid.body);
        return false;
    }
    if (!take_named(get, request))
        return false;
    if (request->auth.token)
        get->asked->params.subset.subject = subject_of(request->auth.token);
    shape_asked_keep(get, request);
    return true;
}

/* An admitted request: its parameters, and then its log. */
static void take(struct shape_request_state *get, const struct http_request *request,
                 read_params *read)
{
    get->asked = get->deletes ? NULL : shape_asked_find(get->loop, request);
    if (!get->asked && !read_asked(get, request, read))
        return;
    take_params(get, request);
    get->phase = SHAPE_READY;
    get->until = http_loop_now(get->loop->loop) + get->loop->site->ready_ms;
    shape_resolve_when_ready(get);
}

void shape_get(struct http_conn *conn, const struct http_request *request)
{
    struct shape_request_state *get = state_new(conn, request);

    if (admit(get, request))
        take(get, request, shape_params_read);
}

void shape_delete(struct http_conn *conn, const struct http_request *request)
{
    struct shape_request_state *get = state_new(conn, request);

    get->deletes = true;
    if (request->auth.kind == AUTH_TOKEN)
        shape_answer_error(get, 403, "DELETE needs the secret");
    else if (!get->loop->site->allow_delete)
        shape_answer_error(get, 405, "DELETE not allowed");
    else if (admit(get, request))
        take(get, request, shape_params_read_delete);
}
