/*
 * The publisher to Kafka, where one is asked for. Without TOMBOLO_KAFKA kafka_none.c says that this
 * program has none.
 */
#ifndef SERVE_KAFKA_H
#define SERVE_KAFKA_H

#include "base/buf.h"
#include "wal/sink.h"

struct bridge;
struct client_property;
struct config_properties;

/* b->kafka, or NULL when nothing is to be published. Before the stream is made. */
bool bridge_open_kafka(struct bridge *b, struct err *err) MUST_CHECK;
/* Its threads end soon. */
void bridge_stop_kafka(struct bridge *b);
/* When the stream's thread has ended. */
void bridge_close_kafka(struct bridge *b);

/* NULL when nothing is published. */
struct wal_sink *bridge_kafka_sink(struct bridge *b);
/* The stream's thread: what is held is void. Durable when it returns true. */
bool bridge_reset_kafka(struct bridge *b, struct err *err) MUST_CHECK;

/* ,"kafka":{...} for /v1/health; any thread, as is the following. */
void bridge_put_kafka(struct bridge *b, struct buf *out);

struct kafka_figures {
    unsigned state; /* of metrics.h's words */
    uint64_t records, bytes, errors, spooled_bytes;
    lsn_t acked;
};
/* False when nothing is published. */
bool bridge_kafka_figures(struct bridge *b, struct kafka_figures *figures);

/* The configuration's as a client takes them, to be freed; the texts are borrowed. Only in a build
 * with Kafka. */
struct client_property *kafka_properties(const struct config_properties *from);

#endif
