#include "serve/node.h"
#include "kafka/source.h"
#include "serve/kafka.h"

#include <stdio.h>
#include <stdlib.h>

struct node {
    char *brokers, *prefix;
    struct client_property *properties;
    struct feed *feed;
};

static bool make(struct node *node, const struct config *config, struct source_config *source,
                 struct err *err)
{
    if (config->kafka_stream || config->kafka_topics)
        return err_set(err, ERR_CONFIG,
                       "a fan-out node (source) does not publish (kafka.stream, kafka.topics)");
    if (!source_parse(config->source, &node->brokers, &node->prefix, err))
        return false;
    node->properties = kafka_properties(&config->kafka_properties);
    source->client =
        (struct client_config){node->brokers, node->properties, config->kafka_properties.n};
    source->prefix = node->prefix;
    node->feed = source_new(source, err);
    return node->feed != NULL;
}

struct node *node_new(const struct config *config, const char *slot, const char *publication,
                      struct unseen *unseen, const struct feed_keep *keep, struct err *err)
{
    struct node *node = xcalloc(1, sizeof(*node));
    struct source_config source = {
        .conninfo = config->database_url,
        .slot = slot,
        .publication = publication,
        .unseen = unseen,
        .keep = *keep,
    };

    if (make(node, config, &source, err))
        return node;
    node_free(node);
    return NULL;
}

void node_free(struct node *node)
{
    if (!node)
        return;
    source_free(node->feed);
    free(node->properties);
    free(node->brokers);
    free(node->prefix);
    free(node);
}

struct feed *node_feed(struct node *node)
{
    return node->feed;
}

void node_get_status(struct node *node, struct node_status *status)
{
    struct source_status source;

    source_get_status(node->feed, &source);
    snprintf(status->topic, sizeof(status->topic), "%s", source.topic);
    snprintf(status->trouble, sizeof(status->trouble), "%s", source.trouble);
    status->offset = source.offset;
}
