#include "serve/node.h"

struct node *node_new(const struct config *config, const char *slot, const char *publication,
                      struct unseen *unseen, const struct feed_keep *keep, struct err *err)
{
    (void)slot;
    (void)publication;
    (void)unseen;
    (void)keep;
    err_set(err, ERR_CONFIG, "source \"%s\": this program was built without Kafka", config->source);
    err_hint(err, "install librdkafka-dev and build it again");
    return NULL;
}

void node_free(struct node *node)
{
    (void)node;
}

struct feed *node_feed(struct node *node)
{
    (void)node;
    return NULL;
}

void node_get_status(struct node *node, struct node_status *status)
{
    (void)node;
    *status = (struct node_status){.offset = -1};
}
