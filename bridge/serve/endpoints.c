/*
 * The HTTP server's route tables, and the endpoints that are a line or two.
 */
#include "base/arena.h"
#include "base/logging.h"
#include "change/json.h"
#include "http/shape.h"
#include "http/shape_params.h"
#include "http/sync.h"
#include "http/write.h"
#include "metrics/metrics.h"
#include "serve/bridge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- what the endpoints need of the bridge --------------------------------------------------- */

static enum service_status status(void *owner)
{
    const struct bridge *b = owner;

    switch (atomic_load(&receiver_get_stats(b->receiver)->state)) {
    case RECEIVER_STREAMING:
        return keeper_ready(b->keeper) ? SERVICE_ACTIVE : SERVICE_STARTING;
    case RECEIVER_WAITING:
        return SERVICE_WAITING;
    default:
        return SERVICE_STARTING;
    }
}

static lsn_t catchup(void *owner)
{
    const struct bridge *b = owner;

    return atomic_load(&receiver_get_stats(b->receiver)->catchup_lsn);
}

static bool history(void *owner, char out[32])
{
    const struct bridge *b = owner;
    struct shapelog_source source;

    if (!b->node)
        return false;
    shapelog_get_source(b->store, &source);
    snprintf(out, 32, "%s", source.system_id);
    return source.system_id[0] != '\0';
}

static void request_shape(void *owner, const struct shape_request *request,
                          shape_answered *answered, void *arg)
{
    snapshot_pool_request(((struct bridge *)owner)->pool, request, answered, arg);
}

static void cancel_shape(void *owner, void *arg)
{
    snapshot_pool_cancel(((struct bridge *)owner)->pool, arg);
}

static void find_shape(void *owner, const struct shape_request *request, shape_answered *answered,
                       void *arg)
{
    snapshot_pool_find(((struct bridge *)owner)->pool, request, answered, arg);
}

static void request_subset(void *owner, const struct shape_request *request,
                           const struct subset_request *subset, struct slice handle,
                           subset_answered *answered, void *arg)
{
    subset_pool_request(((struct bridge *)owner)->subsets, request, subset, handle, answered, arg);
}

static void cancel_subset(void *owner, void *arg)
{
    subset_pool_cancel(((struct bridge *)owner)->subsets, arg);
}

static void fence(void *owner, service_fenced *fenced, void *arg)
{
    keeper_fence(((struct bridge *)owner)->keeper, fenced, arg);
}

static struct slice keep(struct arena *arena, struct slice s)
{
    return s.ptr ? arena_copy(arena, s) : s;
}

/* The values are in the arena already; the rest is the rules'. */
static bool named_shape(void *owner, const struct auth *auth, struct slice name,
                        struct arena *arena, struct shape_request *out, struct err *err)
{
    struct rules *rules = rules_site_get(((struct bridge *)owner)->rules);
    bool found = rules_shape(rules, name, auth->token, arena, out, err) == RULES_FOUND;

    out->table = keep(arena, out->table);
    out->where = keep(arena, out->where);
    out->columns = keep(arena, out->columns);
    out->queryable = keep(arena, out->queryable);
    rules_unref(rules);
    return found;
}

static void take_writes(void *owner, struct slice body, struct token *token,
                        write_answered *answered, void *arg)
{
    write_pool_request(((struct bridge *)owner)->writes.pool, body, token, answered, arg);
}

static bool writes_ready(void *owner)
{
    return atomic_load(&((struct bridge *)owner)->writes.ready);
}

static bool may_write(void *owner, const struct auth *auth, const struct table *table,
                      bool ops[WRITE_DELETE + 1])
{
    struct rules *rules = rules_site_get(((struct bridge *)owner)->rules);
    bool may = rules_may_write(rules, auth->token, table->nspname, table->relname, ops);

    rules_unref(rules);
    return may;
}

static void fill_service(struct bridge *b)
{
    b->auth = (struct auth_site){.secret = b->config.secret, .keys = b->tokens};
    refusals_init(&b->refusals, b->config.refusal_interval_ms);
    b->service = (struct service){
        .store = b->store,
        .owner = b,
        .status = status,
        .catchup = catchup,
        .history = history,
        .request_shape = request_shape,
        .cancel_shape = cancel_shape,
        .find_shape = find_shape,
        .request_subset = request_subset,
        .cancel_subset = cancel_subset,
        .fence = fence,
        .named_shape = named_shape,
        .write = take_writes,
        .rules_version = rules_site_version(b->rules),
        .writes_ready = writes_ready,
        .may_write = may_write,
        .clients = &b->clients,
        .max_shapes = (size_t)b->config.max_shapes_per_request,
        .keepalive_ms = b->config.keepalive_ms,
        .secret = b->config.secret,
        .refusals = &b->refusals,
    };
}

/* ---- endpoints ------------------------------------------------------------------------------- */

static struct bridge *bridge_of(struct http_conn *conn)
{
    const struct endpoint_loop *loop = http_loop_user(http_conn_loop(conn));

    return loop->service->owner;
}

static void get_root(struct http_conn *conn, const struct http_request *request)
{
    (void)request;
    http_respond(conn, 200, NULL, SLICE(""));
}

/* A fan-out node's: what it reads, and why it does not, if so. */
static void put_source(const struct bridge *b, struct buf *out)
{
    bool streams = atomic_load(&receiver_get_stats(b->receiver)->state) == RECEIVER_STREAMING;
    struct node_status now;
    char failure[512] = "";

    if (!b->node)
        return;
    node_get_status(b->node, &now);
    if (!streams)
        receiver_last_error(b->receiver, failure);
    buf_put_cstr(out, ",\"source\":{\"topic\":");
    json_put_string(out, slice_of(now.topic));
    buf_printf(out, ",\"offset\":%lld", (long long)now.offset);
    if (failure[0] || now.trouble[0]) {
        buf_put_cstr(out, ",\"error\":");
        json_put_string(out, slice_of(failure[0] ? failure : now.trouble));
    }
    buf_put_u8(out, '}');
}

/* Active is what serves. Why nothing moves though the bridge is active, if so, is said beside; how
 * far it has to catch up before it serves; and why no write could be applied. */
static void get_health(struct http_conn *conn, const struct http_request *request)
{
    static const struct {
        int code;
        const char *word;
    } answers[] = {
        [SERVICE_STARTING] = {202, "starting"},
        [SERVICE_WAITING] = {202, "waiting"},
        [SERVICE_ACTIVE] = {200, "active"},
    };
    enum service_status now = status(bridge_of(conn));
    uint64_t left = now == SERVICE_ACTIVE ? service_behind(&bridge_of(conn)->service) : 0;
    const char *hold = receiver_hold_text(bridge_of(conn)->receiver);
    struct http_headers h;
    char trouble[256];
    struct buf body;

    (void)request;
    if (left)
        now = SERVICE_STARTING;
    buf_init(&body, BUF_NO_LIMIT);
    buf_printf(&body, "{\"status\":\"%s\"", answers[now].word);
    if (left)
        buf_printf(&body, ",\"catching_up\":%" PRIu64, left);
    if (writes_trouble(&bridge_of(conn)->writes, trouble)) {
        buf_put_cstr(&body, ",\"writes\":");
        json_put_string(&body, slice_of(trouble));
    }
    if (hold)
        buf_printf(&body, ",\"holding\":\"%s\"", hold);
    bridge_put_kafka(bridge_of(conn), &body);
    put_source(bridge_of(conn), &body);
    buf_put_u8(&body, '}');
    http_headers_init(&h);
    http_headers_add(&h, "content-type", "application/json; charset=utf-8");
    http_headers_add(&h, "cache-control", "no-cache, no-store, must-revalidate");
    http_respond(conn, answers[now].code, &h, buf_slice(&body));
    buf_release(&body);
}

static void get_metrics(struct http_conn *conn, const struct http_request *request)
{
    struct http_headers h;
    struct buf body;

    (void)request;
    bridge_collect_figures(bridge_of(conn));
    buf_init(&body, BUF_NO_LIMIT);
    metrics_write(&body);
    http_headers_init(&h);
    http_headers_add(&h, "content-type", METRICS_CONTENT_TYPE);
    http_respond(conn, 200, &h, buf_slice(&body));
    buf_release(&body);
}

/* A browser asks what it may ask for: whatever it names. The secret is asked for afterwards. */
static void options(struct http_conn *conn, const struct http_request *request)
{
    struct slice wanted;
    struct http_headers h;

    http_headers_init(&h);
    if (http_request_header(request, "access-control-request-headers", &wanted) && wanted.len)
        http_headers_add_slice(&h, "access-control-allow-headers", wanted);
    http_headers_add(&h, "access-control-max-age", "86400");
    http_respond(conn, 204, &h, SLICE(""));
}

/* Not constant: how long a body of /v1/write may be is a setting. */
static struct http_route api_routes[] = {
    {.path = "/", .methods = HTTP_M_GET_HEAD, .handle = get_root},
    {.path = "/v1/health", .methods = HTTP_M_GET_HEAD, .handle = get_health},
    {.path = "/v1/shape", .methods = HTTP_M_GET_HEAD, .handle = shape_get, .needs_secret = true},
    {.path = "/v1/shape",
     .methods = HTTP_M_POST,
     .handle = shape_get,
     .body_limit = SHAPE_BODY_LIMIT,
     .needs_secret = true,
     .too_large = "{\"error\":\"Request body too large\"}"},
    {.path = "/v1/shape",
     .methods = HTTP_M_DELETE,
     .handle = shape_delete,
     .body_limit = SHAPE_BODY_LIMIT,
     .needs_secret = true},
    {.path = "/v1/shape", .methods = HTTP_M_OPTIONS, .handle = options},
    {.path = "/v1/sync",
     .methods = HTTP_M_POST,
     .handle = sync_post,
     .body_limit = SYNC_BODY_LIMIT,
     .needs_secret = true},
    {.path = "/v1/sync", .methods = HTTP_M_OPTIONS, .handle = options},
    {.path = "/v1/write",
     .methods = HTTP_M_POST,
     .handle = write_post,
     .needs_secret = true,
     .too_large = "{\"message\":\"is too large; send fewer transactions at a time\","
                  "\"place\":\"body\"}"},
    {.path = "/v1/write", .methods = HTTP_M_OPTIONS, .handle = options},
};

static const struct http_route metrics_routes[] = {
    {.path = "/", .methods = HTTP_M_GET_HEAD, .handle = get_root},
    {.path = "/metrics", .methods = HTTP_M_GET_HEAD, .handle = get_metrics},
};

/* ---- what all responses have ----------------------------------------------------------------- */

static struct slice methods_of(const struct http_route *route)
{
#define METHODS(names) SLICE("access-control-allow-methods: " names "\r\n")
    if (route && strcmp(route->path, "/v1/shape") == 0)
        return METHODS("GET, POST, HEAD, DELETE, OPTIONS");
    if (route && (strcmp(route->path, "/v1/sync") == 0 || strcmp(route->path, "/v1/write") == 0))
        return METHODS("POST, OPTIONS");
    return METHODS("GET, HEAD");
#undef METHODS
}

/* Any origin may read: who may ask is a matter of the secret, and a response that named the origin
 * could not be cached for others. Without the secret nothing is said; a page whose token has
 * expired must be able to see that. */
static void add_headers(void *arg, struct http_conn *conn, const struct http_request *request,
                        int status, struct http_headers *h)
{
    const struct bridge *b = arg;

    (void)request;
    http_headers_add_lines(h, SLICE("electric-server: ElectricSQL/1.7.12 (Tombolo)\r\n"));
    if (status != 204 && !http_headers_has(h, "cache-control"))
        http_headers_add(h, "cache-control", "max-age=0, private, must-revalidate");
    if (status == 401 && !b->tokens)
        return;
    http_headers_add_lines(
        h, SLICE("access-control-allow-origin: *\r\n"
                 "access-control-expose-headers: electric-cursor,electric-handle,"
                 "electric-has-data,electric-offset,electric-schema,electric-up-to-date,"
                 "electric-internal-known-error,retry-after\r\n"));
    http_headers_add_lines(h, methods_of(http_conn_route(conn)));
}

/* ---- who asks -------------------------------------------------------------------------------- */

static void put_challenge(const struct bridge *b, bool shape, struct http_headers *h)
{
    if (b->tokens)
        http_headers_add(h, "www-authenticate", "Bearer error=\"invalid_token\"");
    else if (!shape)
        http_headers_add(h, "www-authenticate", "Bearer");
}

/* Where no tokens are taken the text is the shape API's; else it says why, for the developer of the
 * app that made the token. */
static void respond_unauthorised(const struct bridge *b, struct http_conn *conn, bool shape,
                                 const struct err *why)
{
    struct http_headers h;
    struct buf body, text;

    buf_init(&body, BUF_NO_LIMIT);
    buf_init(&text, BUF_NO_LIMIT);
    buf_printf(&text, "Unauthorized%s", b->tokens ? " - " : shape ? " - Invalid API secret" : "");
    if (b->tokens)
        buf_printf(&text, "%s%s%s", why->msg, why->hint[0] ? ": " : "", why->hint);
    buf_put_cstr(&body, "{\"message\":");
    json_put_string(&body, buf_slice(&text));
    buf_put_u8(&body, '}');
    http_headers_init(&h);
    http_headers_add(&h, "content-type", "application/json; charset=utf-8");
    put_challenge(b, shape, &h);
    http_respond(conn, 401, &h, buf_slice(&body));
    buf_release(&text);
    buf_release(&body);
}

static bool authorise(void *arg, struct http_conn *conn, struct http_request *request)
{
    const struct bridge *b = arg;
    bool shape = strcmp(request->route->path, "/v1/shape") == 0;
    struct err why;

    if (auth_read(&b->auth, request, shape, &request->auth, &why))
        return true;
    respond_unauthorised(b, conn, shape, &why);
    return false;
}

/* ---- the server ------------------------------------------------------------------------------ */

static void loop_started(void *arg, struct http_loop *loop)
{
    struct bridge *b = arg;
    struct endpoint_loop *mine = xcalloc(1, sizeof(*mine));
    struct err err;

    mine->service = &b->service;
    if (!watchers_init(&mine->watchers, loop, b->store, &err)) {
        log_error("could not start an HTTP loop", LOG_ERR(&err));
        abort();
    }
    mine->shapes = shape_loop_new(&b->shapes, loop, &mine->watchers);
    http_loop_set_user(loop, mine);
}

static void loop_stopping(void *arg, struct http_loop *loop)
{
    struct endpoint_loop *mine = http_loop_user(loop);

    (void)arg;
    shape_loop_stop(mine->shapes);
}

static void loop_ended(void *arg, struct http_loop *loop)
{
    struct endpoint_loop *mine = http_loop_user(loop);

    (void)arg;
    shape_loop_free(mine->shapes);
    watchers_release(&mine->watchers);
    free(mine);
}

static void print_address(char *out, size_t size, const struct config_address *address)
{
    bool v6 = strchr(address->host, ':') != NULL;

    snprintf(out, size, "%s%s%s:%u", v6 ? "[" : "", address->host, v6 ? "]" : "", address->port);
}

static void limit_writes(const struct config *config)
{
    for (size_t i = 0; i < sizeof(api_routes) / sizeof(*api_routes); i++) {
        if (api_routes[i].handle == write_post)
            api_routes[i].body_limit = (size_t)config->write_body;
    }
}

/* What the settings say of /v1/shape. */
static bool make_site(struct bridge *b, struct err *err)
{
    const struct config *c = &b->config;

    shape_site_init(&b->shapes, &b->service);
    b->shapes.long_poll_ms = c->long_poll_timeout_ms;
    /* It may wait for the table's identity and for its writers, and then for its turn. */
    b->shapes.resolve_ms += 2 * c->lock_timeout_ms;
    b->shapes.max_age_s = c->cache_max_age_ms / 1000;
    b->shapes.stale_age_s = c->cache_stale_age_ms / 1000;
    b->shapes.max_initial = (size_t)c->max_concurrent_initial;
    b->shapes.max_existing = (size_t)c->max_concurrent_existing;
    b->shapes.allow_delete = c->allow_delete;
    if (c->encoded_cache == 0)
        return true;
    b->shapes.encoder = encoder_new((size_t)c->encoded_cache, err);
    return b->shapes.encoder != NULL;
}

void bridge_stop_encoder(struct bridge *b)
{
    encoder_free(b->shapes.encoder);
    b->shapes.encoder = NULL;
}

bool bridge_start_http(struct bridge *b, struct err *err)
{
    static struct http_listen listens[2];
    static char addresses[2][300];
    struct http_config config = http_config_default();

    fill_service(b);
    limit_writes(&b->config);
    if (!make_site(b, err))
        return false;
    print_address(addresses[0], sizeof(addresses[0]), &b->config.listen);
    listens[0] = (struct http_listen){
        .address = addresses[0],
        .routes = {api_routes, sizeof(api_routes) / sizeof(*api_routes)},
        .max_connections = (uint32_t)b->config.max_connections,
    };
    config.nlistens = 1;
    if (b->config.metrics_listen.host[0]) {
        print_address(addresses[1], sizeof(addresses[1]), &b->config.metrics_listen);
        listens[1] = (struct http_listen){
            .address = addresses[1],
            .routes = {metrics_routes, sizeof(metrics_routes) / sizeof(*metrics_routes)}};
        config.nlistens = 2;
    }
    config.listens = listens;
    config.threads = (unsigned)b->config.http_threads;
    config.head_ms = b->config.header_timeout_ms;
    config.body_ms = b->config.body_timeout_ms;
    config.idle_ms = b->config.idle_timeout_ms;
    config.send_ms = b->config.send_timeout_ms;
    config.hook_arg = b;
    config.add_headers = add_headers;
    config.authorise = authorise;
    config.loop_started = loop_started;
    config.loop_stopping = loop_stopping;
    config.loop_ended = loop_ended;
    b->http = http_server_start(&config, err);
    if (!b->http)
        return false;
    log_info("listening", LOG_STR("address", http_server_address(b->http, 0)),
             LOG_STR("metrics", config.nlistens > 1 ? http_server_address(b->http, 1) : NULL));
    return true;
}
