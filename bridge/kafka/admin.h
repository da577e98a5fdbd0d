/*
 * What a client of the brokers is made of, and what all have in common: its errors and a record's
 * headers as ours, and topics: making them, and how many partitions they have.
 */
#ifndef KAFKA_ADMIN_H
#define KAFKA_ADMIN_H

#include "base/err.h"
#include "kafka/frames.h"

#include <librdkafka/rdkafka.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Takes the configuration in any case. Nobody else's signals reach librdkafka's threads. */
rd_kafka_t *admin_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct err *err) MUST_CHECK;

/* "what: librdkafka's text for the code", with a code of ours that fits; returns false. */
bool admin_err(struct err *err, rd_kafka_resp_err_t code, const char *what);
/* The same from an error object, which it destroys. */
bool admin_error(struct err *err, rd_kafka_error_t *error, const char *what);

/* The record's headers, borrowed from it; how many. */
size_t admin_read_headers(const rd_kafka_message_t *message,
                          struct frames_header headers[FRAMES_MAX_HEADERS]);

struct admin_topic {
    const char *name;
    int32_t partitions, replication_factor; /* when it is made; -1: the brokers' default */
    const char *cleanup_policy;             /* NULL: the brokers' default */
};

/* How long an answer is waited for; `stop` is looked at meanwhile: ERR_STOPPED. */
struct admin_wait {
    int ms;
    const atomic_bool *stop;
};

/* Makes the topic if it is not there. One that may not be made counts as there: its first use
 * tells. */
bool admin_make_topic(rd_kafka_t *rk, const struct admin_topic *topic, struct admin_wait wait,
                      struct err *err) MUST_CHECK;
/* How many partitions it has; waits until each has a leader. */
bool admin_partitions(rd_kafka_t *rk, const char *topic, struct admin_wait wait, int32_t *n,
                      struct err *err) MUST_CHECK;

#endif
