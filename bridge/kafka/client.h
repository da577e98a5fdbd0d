/*
 * What every client of the brokers has of librdkafka's properties.
 */
#ifndef KAFKA_CLIENT_H
#define KAFKA_CLIENT_H

#include "base/err.h"

#include <stddef.h>

struct rd_kafka_conf_s;

struct client_property {
    const char *name, *value;
};

struct client_config {
    const char *brokers;
    const struct client_property *properties; /* librdkafka's, over ours */
    size_t nproperties;
};

/* `ours` first, then the configuration's; what librdkafka has to say goes to the log. NULL with
 * ERR_CONFIG that names the property. */
struct rd_kafka_conf_s *client_conf(const struct client_config *config,
                                    const struct client_property *ours, size_t nours,
                                    struct err *err) MUST_CHECK;

#endif
