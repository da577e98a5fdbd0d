#include "serve/kafka.h"

#include "base/arena.h"
#include "change/json.h"
#include "kafka/publisher.h"
#include "serve/bridge.h"

#include <stdio.h>
#include <stdlib.h>

struct kafka {
    struct publisher *publisher;
    struct client_property *properties;
    char *spool_dir;
};

static const char *const state_names[] = {
    [PUBLISHER_CONNECTING] = "connecting",
    [PUBLISHER_PUBLISHING] = "publishing",
    [PUBLISHER_BEHIND] = "behind",
    [PUBLISHER_FAILED] = "failed",
};

/* The slot is ours as long as its stream flows. */
static bool is_connected(void *owner)
{
    const struct receiver_stats *stats = receiver_get_stats(((struct bridge *)owner)->receiver);

    return atomic_load(&stats->state) == RECEIVER_STREAMING;
}

static void reconnect(void *owner)
{
    receiver_disconnect(((struct bridge *)owner)->receiver);
}

struct client_property *kafka_properties(const struct config_properties *from)
{
    struct client_property *properties = xcalloc(from->n + 1, sizeof(*properties));

    for (size_t i = 0; i < from->n; i++)
        properties[i] = (struct client_property){from->list[i].name, from->list[i].value};
    return properties;
}

static void wake(void *owner)
{
    receiver_wake(((struct bridge *)owner)->receiver);
}

static struct topics_config topics_config_of(struct bridge *b)
{
    const struct config *c = &b->config;

    return (struct topics_config){
        .conninfo = c->database_url,
        .publication = b->publication,
        .data_dir = c->data_dir,
        .prefix = c->kafka_prefix,
        .tables = c->kafka_tables,
        .unseen = b->unseen,
        .first_rows = c->kafka_snapshot == KAFKA_SNAPSHOT_INITIAL,
        .manual_publishing = c->manual_table_publishing,
        .lock_timeout_ms = (int)c->lock_timeout_ms,
        .look_every_ms = c->catalog_interval_ms,
        .modes =
            {
                .decimal = (enum decimal_mode)c->kafka_decimal_mode,
                .time = (enum time_mode)c->kafka_time_mode,
                .binary = (enum binary_mode)c->kafka_binary_mode,
                .interval = (enum interval_mode)c->kafka_interval_mode,
                .hstore = (enum hstore_mode)c->kafka_hstore_mode,
            },
        .placeholder = c->kafka_placeholder,
        .schemas = c->kafka_schemas_enable,
        .no_tombstones = !c->kafka_tombstones,
        .transaction_metadata = c->kafka_transaction_metadata,
        .without_before = c->kafka_too_large == KAFKA_TOO_LARGE_WITHOUT_BEFORE,
        .skipped = c->kafka_skipped,
        .heartbeat_ms = c->kafka_heartbeat_ms,
        .message_max = (size_t)c->kafka_message_max,
        .wake = wake,
        .owner = b,
    };
}

static bool make_publisher(struct bridge *b, struct kafka *k, struct err *err)
{
    const struct config *c = &b->config;
    const struct topics_config topics = topics_config_of(b);
    int32_t replicas = c->kafka_replication_factor ? (int32_t)c->kafka_replication_factor : -1;
    const struct publisher_config config = {
        .slot = b->slot,
        .prefix = c->kafka_prefix,
        .data_dir = c->data_dir,
        .stream = c->kafka_stream,
        .topics = c->kafka_topics ? &topics : NULL,
        .outlet =
            {
                .client = {c->kafka_brokers, k->properties, c->kafka_properties.n},
                .transactional_id = c->kafka_transactions ? "" : NULL,
                .spool_dir = k->spool_dir,
                .spool_limit = (uint64_t)c->kafka_spool,
                .message_max = (size_t)c->kafka_message_max,
                .partitions = (int32_t)c->kafka_partitions,
                .replication_factor = replicas,
            },
        .owner = b,
        .is_connected = is_connected,
        .reconnect = reconnect,
    };

    k->publisher = publisher_new(&config, err);
    return k->publisher != NULL;
}

bool bridge_open_kafka(struct bridge *b, struct err *err)
{
    size_t size = strlen(b->config.data_dir) + sizeof("/kafka");

    if (!b->config.kafka_topics)
        topics_forget_folder(b->config.data_dir);
    if (!b->config.kafka_brokers[0])
        return true;
    b->kafka = xcalloc(1, sizeof(*b->kafka));
    b->kafka->properties = kafka_properties(&b->config.kafka_properties);
    b->kafka->spool_dir = xmalloc(size);
    snprintf(b->kafka->spool_dir, size, "%s/kafka", b->config.data_dir);
    return make_publisher(b, b->kafka, err);
}

void bridge_stop_kafka(struct bridge *b)
{
    if (b->kafka && b->kafka->publisher)
        publisher_stop(b->kafka->publisher);
}

void bridge_close_kafka(struct bridge *b)
{
    if (!b->kafka)
        return;
    publisher_free(b->kafka->publisher);
    free(b->kafka->properties);
    free(b->kafka->spool_dir);
    free(b->kafka);
    b->kafka = NULL;
}

struct wal_sink *bridge_kafka_sink(struct bridge *b)
{
    return b->kafka ? publisher_sink(b->kafka->publisher) : NULL;
}

bool bridge_reset_kafka(struct bridge *b, struct err *err)
{
    return !b->kafka || publisher_reset(b->kafka->publisher, err);
}

void bridge_put_kafka(struct bridge *b, struct buf *out)
{
    struct publisher_stats stats;

    if (!b->kafka)
        return;
    publisher_get_stats(b->kafka->publisher, &stats);
    buf_printf(out, ",\"kafka\":{\"state\":\"%s\"", state_names[stats.state]);
    if (stats.error[0]) {
        buf_put_cstr(out, ",\"error\":");
        json_put_string(out, slice_of(stats.error));
    }
    buf_put_u8(out, '}');
}

bool bridge_kafka_figures(struct bridge *b, struct kafka_figures *figures)
{
    struct publisher_stats stats;

    if (!b->kafka)
        return false;
    publisher_get_stats(b->kafka->publisher, &stats);
    *figures = (struct kafka_figures){
        .state = 1 + (unsigned)stats.state, /* 0: off */
        .records = stats.records,
        .bytes = stats.bytes,
        .errors = stats.errors,
        .spooled_bytes = stats.spooled_bytes,
        .acked = stats.acked,
    };
    return true;
}
