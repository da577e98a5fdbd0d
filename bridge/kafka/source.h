/*
 * The feed of a fan-out node: `<prefix>.stream`, which a publisher (kafka/publisher.h) writes.
 *
 * A node has no slot and takes no lock, and keeps nothing on the brokers: it knows by itself how
 * far it is. Opening looks at three things:
 *
 *     Postgres    is it the one that the topic's history names; where does the publisher's slot
 *                 stand; where does the WAL end
 *     the topic   its last record: history, epoch, position
 *     the node    which history it holds, and what of it is durable
 *
 * and begins at p, the lower one of what is durable and where the slot stands. The slot is never
 * told of a transaction before every new snapshot sees it, so what a node may have to keep apart
 * from its snapshots lies behind p. If the topic does not reach back to p any more, or has begun
 * another history, everything is fetched again from Postgres; p is then where the slot stands.
 *
 * It has caught up when it has what the topic had by then: its clients cannot have seen more.
 *
 * What is missing yet (the slot, the topic, its first record) is waited for.
 */
#ifndef KAFKA_SOURCE_H
#define KAFKA_SOURCE_H

#include "kafka/client.h"
#include "kafka/topic_reader.h"
#include "wal/feed.h"

struct unseen;

struct source_config {
    struct client_config client;
    const char *prefix; /* the topic's, without ".stream" */
    const char *conninfo;
    const char *slot, *publication; /* the publisher's */
    struct unseen *unseen;          /* emptied when another history begins */
    struct feed_keep keep;
};

/* What `url` says, "kafka://broker[:port][,broker[:port]...]/prefix"; both allocated. */
bool source_parse(const char *url, char **brokers, char **prefix, struct err *err) MUST_CHECK;

/* The texts of the configuration are borrowed. ERR_CONFIG for a property that librdkafka does not
 * take. */
struct feed *source_new(const struct source_config *config, struct err *err) MUST_CHECK;
void source_free(struct feed *feed);

struct source_status {
    char topic[256];
    int64_t offset,
        end; /* of the next record, and of the topic when it was opened; -1: not known */
    char trouble[TOPIC_TROUBLE_SIZE]; /* what is wrong with the brokers; "" */
};
/* Any thread. */
void source_get_status(struct feed *feed, struct source_status *status);

#endif
