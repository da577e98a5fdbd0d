/*
 * Publishes the stream to Kafka: `<prefix>.stream` for fan-out nodes, the tables' topics for
 * everyone else (kafka/topics.h). A wal_sink beside the fan-out's, called after it on the stream's
 * thread with the same; it never fails, and never waits for a broker.
 *
 * It takes the stream or is behind. Behind, it passes over everything until the outlet is ready
 * (kafka/outlet.h); then `reconnect` is called, the stream begins anew at the slot's confirmed
 * position, and the publisher goes on behind what the topic has: memory and disk are bounded,
 * nobody waits, and the slot keeps what is missing.
 *
 * The stream's topic has one partition. Its records are those of kafka/frames.h, with three
 * headers more:
 *
 *     history    "<system id>-<10 hex digits>". Within one, no transaction is missing between its
 *                first record and its last. It is a new one when the topic cannot continue: it was
 *                empty, the slot is beyond it, Postgres's WAL is behind it or another's. A new one
 *                begins with a heartbeat at the position where it begins.
 *     timeline   Postgres's, of the position that the record tells. A server that does not have it
 *                in its own history up to there is another one, however far its WAL is.
 *     tables     1: what the tables' topics have before the record's position is in the brokers'
 *                hands together with the record, by a Kafka transaction. With 0 they may lack
 *                what the slot is not confirmed to have.
 *
 * The position of a heartbeat is an end: every transaction with a commit LSN below it is in the
 * topic. It is sent when nothing else has told a position for 50 ms, so a reader hears of an idle
 * database's progress, and the slot, which is told of delivered records alone, moves too.
 *
 * The epoch is that of the topic's last record + 1 whenever the producer is made anew (in an empty
 * topic the time in seconds: no reader shall take it for an older one); its first record is a
 * heartbeat where the topic stands, behind which nothing of lower epochs counts.
 *
 * With Kafka transactions the topics go forward together, and the stream's topic says how far; a
 * publisher without it has `<prefix>.offsets` for that: the same headers, the slot's name as key.
 */
#ifndef KAFKA_PUBLISHER_H
#define KAFKA_PUBLISHER_H

#include "kafka/outlet.h"
#include "kafka/topics.h"
#include "wal/sink.h"

struct publisher;

struct publisher_config {
    const char *slot;
    const char *prefix;
    const char *data_dir;
    bool stream;
    const struct topics_config *topics; /* NULL: none. Copied; its texts are not */
    struct outlet_config outlet; /* owner and functions are filled in; transactional_id "" for one
                                    that is made of prefix and slot; partitions and
                                    replication_factor -1 for the broker's */
    void *owner;
    /* The publishing thread: whether the stream is connected, so that the slot is ours. */
    bool (*is_connected)(void *owner);
    /* Any thread: connect the stream anew. */
    void (*reconnect)(void *owner);
};

enum publisher_state {
    PUBLISHER_CONNECTING,
    PUBLISHER_PUBLISHING,
    PUBLISHER_BEHIND, /* the broker is away or slow, and the slot holds the rest */
    PUBLISHER_FAILED,
};

struct publisher_stats {
    enum publisher_state state;
    char error[512];
    uint64_t records, bytes, errors, queued_bytes, spooled_bytes;
    lsn_t acked; /* the slot needs nothing before it any more */
};

struct publisher *publisher_new(const struct publisher_config *config, struct err *err) MUST_CHECK;
/* Any thread: its thread ends soon. */
void publisher_stop(struct publisher *publisher);
void publisher_free(struct publisher *publisher);
/* The same as long as the publisher. Its `confirmable` is what Kafka has acknowledged. */
struct wal_sink *publisher_sink(struct publisher *publisher);
/* The stream's thread, between connections: what is held is void (the slot was lost, the server
 * was restored from a copy), so the topic cannot be continued. Noted in data_dir until it has begun
 * anew, whenever that is. */
bool publisher_reset(struct publisher *publisher, struct err *err) MUST_CHECK;
void publisher_get_stats(struct publisher *publisher, struct publisher_stats *stats);

#endif
