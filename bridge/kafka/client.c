#include "kafka/client.h"
#include "base/logging.h"

#include <librdkafka/rdkafka.h>

/* Syslog's levels. Connections that come and go (3) are told by error callbacks. */
static void take_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    log_at(level < 3 ? LOG_WARN : LOG_DEBUG, "librdkafka", LOG_STR("facility", facility),
           LOG_STR("text", text));
}

static bool set(rd_kafka_conf_t *conf, const struct client_property *property, struct err *err)
{
    char why[256];

    return rd_kafka_conf_set(conf, property->name, property->value, why, sizeof(why)) ==
               RD_KAFKA_CONF_OK ||
           err_set(err, ERR_CONFIG, "kafka.property.%s: %s", property->name, why);
}

struct rd_kafka_conf_s *client_conf(const struct client_config *config,
                                    const struct client_property *ours, size_t nours,
                                    struct err *err)
{
    const struct client_property brokers = {"bootstrap.servers", config->brokers};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    rd_kafka_conf_set_log_cb(conf, take_log);
    bool ok = set(conf, &brokers, err);
    for (size_t i = 0; ok && i < nours; i++)
        ok = set(conf, &ours[i], err);
    for (size_t i = 0; ok && i < config->nproperties; i++)
        ok = set(conf, &config->properties[i], err);
    if (ok)
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}
