/*
 * The schemas that Kafka Connect's JSON converter puts before each payload with
 * schemas.enable=true: what the fields of a table's events are.
 *
 * A column is optional unless it is part of the key: an old row may be known by its key alone.
 */
#ifndef KAFKA_SCHEMA_H
#define KAFKA_SCHEMA_H

#include "base/buf.h"
#include "kafka/values.h"

struct schema_source {
    const struct table *table;
    const struct value_modes *modes;
    struct slice prefix; /* topic.prefix */
    const uint16_t *key; /* indexes into table->cols */
    uint16_t nkey;
};

/* `<prefix>.<schema>.<table>.Key` */
void schema_put_key(const struct schema_source *source, struct buf *out);
/* `<prefix>.<schema>.<table>.Envelope` */
void schema_put_envelope(const struct schema_source *source, struct buf *out);

/* Those of records that are no table's. */
enum schema_of {
    SCHEMA_MESSAGE_KEY,
    SCHEMA_MESSAGE,
    SCHEMA_TRANSACTION_KEY,
    SCHEMA_TRANSACTION,
    SCHEMA_HEARTBEAT_KEY,
    SCHEMA_HEARTBEAT,
};
void schema_put(enum schema_of what, enum binary_mode mode, struct buf *out);

#endif
