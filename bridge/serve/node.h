/*
 * A fan-out node: a bridge whose stream comes from a topic (--source kafka://...). In a build
 * without Kafka there is none, and asking for one is an error (node_none.c).
 */
#ifndef SERVE_NODE_H
#define SERVE_NODE_H

#include "base/buf.h"
#include "settings/config.h"
#include "wal/feed.h"

struct node;
struct unseen;

/* `slot`, `publication`: those of the publisher; borrowed, as the configuration. ERR_CONFIG when
 * its source cannot be one. */
struct node *node_new(const struct config *config, const char *slot, const char *publication,
                      struct unseen *unseen, const struct feed_keep *keep,
                      struct err *err) MUST_CHECK;
void node_free(struct node *node); /* NULL is allowed */
/* The node's, as long as it. */
struct feed *node_feed(struct node *node);

struct node_status {
    char topic[256];
    char trouble[384]; /* what is wrong with the brokers; "" */
    int64_t offset;    /* of the record to be read next; -1: none yet */
};
/* Any thread. */
void node_get_status(struct node *node, struct node_status *status);

#endif
