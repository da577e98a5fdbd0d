#include "base/clock.h"
#include "metrics/metrics.h"
#include "serve/bridge.h"

/* The rooms count in totals of their own, the metrics by additions: what has been added of each so
 * far. */
static struct {
    pthread_mutex_t mutex;
    uint64_t seen[METRIC_NCOUNTERS];
} totals = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void total(enum metric_counter counter, unsigned value, uint64_t now)
{
    uint64_t *seen = &totals.seen[counter + value];

    if (now > *seen)
        metric_add_at(counter, value, now - *seen);
    *seen = now;
}

static void collect_stream(const struct bridge *b)
{
    const struct receiver_stats *s = receiver_get_stats(b->receiver);
    const struct fanout_stats *f = fanout_get_stats(b->fanout);
    uint64_t server = atomic_load(&s->server_lsn), received = atomic_load(&s->received_lsn);
    uint64_t published = shapelog_published(b->store);
    int64_t lag = atomic_load(&s->receive_time_us) - atomic_load(&s->commit_time_us);

    total(METRIC_WAL_RECEIVED_BYTES, 0, atomic_load(&s->received_bytes));
    total(METRIC_TRANSACTIONS, 0, atomic_load(&s->transactions));
    total(METRIC_ROWS_IN, 0, atomic_load(&s->changes));
    total(METRIC_ROWS_OUT, 0, atomic_load(&f->rows_out));
    total(METRIC_SHAPES_ENDED, 0, atomic_load(&f->ended));
    total(METRIC_RECONNECTS, 0, atomic_load(&s->reconnects));
    if (received > server)
        server = received;
    metric_set(METRIC_WAL_RECEIVED_LSN, received);
    metric_set(METRIC_WAL_CONFIRMED_LSN, atomic_load(&s->confirmed_lsn));
    metric_set(METRIC_WAL_LAG_BYTES, server > published + 1 ? server - published - 1 : 0);
    metric_set(METRIC_WAL_LAG_SECONDS, server > published + 1 && lag > 0 ? (uint64_t)lag : 0);
    metric_set(METRIC_STATE, (uint64_t)b->service.status(b->service.owner));
}

static void collect_source(const struct bridge *b)
{
    struct node_status now;

    if (!b->node)
        return;
    node_get_status(b->node, &now);
    metric_set(METRIC_SOURCE_OFFSET, now.offset > 0 ? (uint64_t)now.offset : 0);
    metric_set(METRIC_SOURCE_UP, !now.trouble[0]);
}

static void collect_store(const struct bridge *b)
{
    const struct snapshot_stats *s = snapshot_pool_stats(b->pool);
    struct shapelog_stats stats;

    shapelog_get_stats(b->store, &stats);
    metric_set(METRIC_SHAPES, stats.logs);
    metric_set(METRIC_LOG_SEGMENT_BYTES, stats.segment_bytes);
    metric_set(METRIC_LOG_SNAPSHOT_BYTES, stats.snapshot_bytes);
    metric_set(METRIC_LOG_MEMORY_BYTES, stats.memory_bytes);
    metric_set(METRIC_UNREAD_SUBSET_BYTES, atomic_load(&b->subset_budget.taken));
    total(METRIC_SNAPSHOTS, 0, atomic_load(&s->snapshots));
    total(METRIC_SNAPSHOT_ROWS, 0, atomic_load(&s->rows));
    total(METRIC_SNAPSHOT_FAILURES, 0, atomic_load(&s->failures));
}

static void collect_tokens(const struct bridge *b)
{
    struct token_stats stats;

    if (!b->tokens)
        return;
    token_keys_stats(b->tokens, &stats);
    total(METRIC_TOKENS_VERIFIED, 0, stats.verified);
    total(METRIC_TOKENS_CACHED, 0, stats.cached);
    total(METRIC_TOKENS_REFUSED, 0, stats.refused);
    total(METRIC_TOKEN_KEYS_RELOADED, 0, stats.reloads);
}

static void collect_http(const struct bridge *b)
{
    const struct http_metrics *m = http_server_metrics(b->http);

    for (unsigned class = METRIC_1XX; class <= METRIC_5XX; class ++)
        total(METRIC_HTTP_REQUESTS, class, atomic_load(&m->responses[class + 1]));
    total(METRIC_HTTP_BYTES_SENT, 0, atomic_load(&m->bytes_sent));
    metric_move(METRIC_CLIENTS,
                (int64_t)atomic_load(&b->clients) - metric_level_value(METRIC_CLIENTS));
    metric_set(METRIC_SHAPE_REQUESTS,
               atomic_load(&b->shapes.initial) + atomic_load(&b->shapes.existing));
    metric_move(METRIC_HTTP_CONNECTIONS,
                (int64_t)atomic_load(&m->open) - metric_level_value(METRIC_HTTP_CONNECTIONS));
}

static void collect_writes(const struct bridge *b)
{
    const struct write_stats *s = write_pool_stats(b->writes.pool);

    total(METRIC_WRITES, METRIC_WRITE_APPLIED, atomic_load(&s->applied));
    total(METRIC_WRITES, METRIC_WRITE_PARTLY, atomic_load(&s->partly));
    total(METRIC_WRITES, METRIC_WRITE_REJECTED, atomic_load(&s->rejected));
    total(METRIC_WRITES, METRIC_WRITE_REPEATED, atomic_load(&s->repeated));
    total(METRIC_WRITES, METRIC_WRITE_AGAIN, atomic_load(&s->again));
    total(METRIC_WRITE_REQUESTS, 0, atomic_load(&s->requests));
    total(METRIC_WRITE_SECONDS, 0, atomic_load(&s->us));
    metric_set(METRIC_WRITES_WAITING, atomic_load(&s->waiting));
}

static void collect_kafka(struct bridge *b)
{
    uint64_t server = atomic_load(&receiver_get_stats(b->receiver)->server_lsn);
    struct kafka_figures k;

    if (!bridge_kafka_figures(b, &k))
        return;
    total(METRIC_KAFKA_RECORDS, 0, k.records);
    total(METRIC_KAFKA_BYTES, 0, k.bytes);
    total(METRIC_KAFKA_ERRORS, 0, k.errors);
    metric_set(METRIC_KAFKA_STATE, k.state);
    metric_set(METRIC_KAFKA_SPOOL_BYTES, k.spooled_bytes);
    metric_set(METRIC_KAFKA_ACKED_LSN, k.acked);
    metric_set(METRIC_KAFKA_LAG_BYTES, server > k.acked ? server - k.acked : 0);
}

void bridge_collect_figures(struct bridge *b)
{
    pthread_mutex_lock(&totals.mutex);
    collect_stream(b);
    collect_source(b);
    collect_store(b);
    collect_http(b);
    collect_tokens(b);
    collect_writes(b);
    collect_kafka(b);
    pthread_mutex_unlock(&totals.mutex);
}
