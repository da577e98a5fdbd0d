/*
 * From the records of one event to the outlet: into which topic, and whether they are small enough.
 */
#ifndef KAFKA_POSTING_H
#define KAFKA_POSTING_H

#include "kafka/envelope.h"
#include "kafka/outlet.h"

/* `<prefix>.<schema>.<table>`, with _ for what Kafka does not take in a name. */
void posting_put_topic(const char *prefix, struct slice nspname, struct slice relname,
                       struct buf *out);

/* Whether each record's key, value and headers are no more than `message_max`; ERR_LIMIT with the
 * topic, the key and the size where one is more. */
bool posting_fits(struct slice topic, const struct envelope_records *records, size_t message_max,
                  struct err *err);

/* Into the queue. That the outlet is closed is no error. */
void posting_put(struct outlet *outlet, struct slice topic, int32_t partition,
                 const struct envelope_records *records);
/* At once, on the publishing thread. */
bool posting_produce(struct outlet *outlet, struct slice topic,
                     const struct envelope_records *records, struct err *err) MUST_CHECK;

#endif
