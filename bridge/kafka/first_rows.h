/*
 * A table's rows as they are in one snapshot, published as events of op r.
 */
#ifndef KAFKA_FIRST_ROWS_H
#define KAFKA_FIRST_ROWS_H

#include "kafka/envelope.h"
#include "kafka/outlet.h"
#include "pg/pg.h"

#include <stdatomic.h>

struct first_rows {
    struct pg_conn *conn; /* in the snapshot's transaction (pg/reading.h) */
    uint32_t relid;
    lsn_t lsn; /* the snapshot's */
    const char *prefix;
    const struct envelope_settings *settings;
    size_t message_max;
    struct outlet *outlet;
    const atomic_bool *stop;
    uint64_t rows; /* out */
    bool broker;   /* out, after a failure: it is the broker's, or the record's */
};

/* On the publishing thread. When it returns true the broker has all of them. */
bool first_rows_publish(struct first_rows *rows, struct err *err) MUST_CHECK;

#endif
