/*
 * Reads a topic of one partition, from any offset on: what of librdkafka's consumer a fan-out node
 * needs. It is in no consumer group and commits nothing: where it has come to is the node's to
 * know. Of Kafka transactions it reads what is committed.
 *
 * One thread at a time, but for topic_reader_trouble().
 */
#ifndef KAFKA_TOPIC_READER_H
#define KAFKA_TOPIC_READER_H

#include "base/err.h"
#include "kafka/client.h"
#include "kafka/frames.h"

#include <stdint.h>

struct topic_reader;

enum { TOPIC_TROUBLE_SIZE = 384 };

/* Borrowed until the next call with its reader. */
struct topic_record {
    int64_t offset;
    struct slice value; /* without one as with an empty one */
    size_t nheaders;
    struct frames_header headers[FRAMES_MAX_HEADERS];
};

struct topic_reader *topic_reader_new(const struct client_config *config, const char *topic,
                                      struct err *err) MUST_CHECK;
void topic_reader_free(struct topic_reader *reader);

/* How many partitions the topic has; 0: there is no such topic. */
bool topic_reader_partitions(struct topic_reader *reader, int *partitions,
                             struct err *err) MUST_CHECK;
/* What is there: offsets from *low to below *high. */
bool topic_reader_range(struct topic_reader *reader, int64_t *low, int64_t *high,
                        struct err *err) MUST_CHECK;
/* Reads from this offset on. */
bool topic_reader_seek(struct topic_reader *reader, int64_t offset, struct err *err) MUST_CHECK;
/* Reads no more. */
void topic_reader_unseek(struct topic_reader *reader);

enum topic_got { TOPIC_NOTHING, TOPIC_RECORD, TOPIC_END, TOPIC_FAILED };
/* The next record, without waiting for it. END: there is none for now, and the broker has said so;
 * it comes once each time. A failure is final: ERR_CHANGED when the offset is not there any more,
 * by retention or since the topic was made anew. */
enum topic_got topic_reader_next(struct topic_reader *reader, struct topic_record *record,
                                 struct err *err);
/* Seeks, if it does not stand there, and waits for the record there or behind it; *found is false
 * when there is none. */
bool topic_reader_at(struct topic_reader *reader, int64_t offset, struct topic_record *record,
                     bool *found, struct err *err) MUST_CHECK;

/* Becomes readable when there may be a next one; topic_reader_next() takes what made it so. */
int topic_reader_fd(const struct topic_reader *reader);
/* What is wrong with the brokers, for people; false when nothing is known to be. Any thread. */
bool topic_reader_trouble(struct topic_reader *reader, char text[TOPIC_TROUBLE_SIZE]);

#endif
