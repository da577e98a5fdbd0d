#include "serve/bridge.h"
#include "serve/kafka.h"

bool bridge_open_kafka(struct bridge *b, struct err *err)
{
    if (!b->config.kafka_brokers[0])
        return true;
    err_set(err, ERR_CONFIG, "this program was built without Kafka, but [kafka] brokers is set");
    return err_hint(err, "build it where librdkafka is, with -DTOMBOLO_KAFKA=ON");
}

void bridge_stop_kafka(struct bridge *b)
{
    (void)b;
}

void bridge_close_kafka(struct bridge *b)
{
    (void)b;
}

struct wal_sink *bridge_kafka_sink(struct bridge *b)
{
    (void)b;
    return NULL;
}

bool bridge_reset_kafka(struct bridge *b, struct err *err)
{
    (void)b;
    (void)err;
    return true;
}

void bridge_put_kafka(struct bridge *b, struct buf *out)
{
    (void)b;
    (void)out;
}

bool bridge_kafka_figures(struct bridge *b, struct kafka_figures *figures)
{
    (void)b;
    (void)figures;
    return false;
}
