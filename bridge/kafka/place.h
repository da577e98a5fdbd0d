/*
 * How far the topics are is in a topic itself, so that whoever publishes next goes on there: in the
 * headers of each record of `<prefix>.stream`; without that, and with Kafka transactions, in the
 * last record of `<prefix>.offsets`, whose headers are the same and whose key is the slot's name.
 */
#ifndef KAFKA_PLACE_H
#define KAFKA_PLACE_H

#include "kafka/frames.h"
#include "kafka/outlet.h"
#include "kafka/tail.h"

enum { TOPIC_NAME_MAX = 249 };

struct place {
    const struct client_config *client;
    char topic[TOPIC_NAME_MAX + 1]; /* "": none says it */
    const char *key;                /* of the records that count; NULL in the stream's topic */
    int32_t replication_factor;     /* when the topic is made; -1: the brokers' default */
};

/* ---- records --------------------------------------------------------------------------------- */

/* What a record's headers say beside those of kafka/frames.h. */
struct place_labels {
    const char *history; /* kafka/publisher.h */
    uint32_t timeline;   /* the server's; 0: not known */
    bool tables;         /* the record and what the tables' topics have before it come together */
};

enum { PLACE_NHEADERS = FRAMES_NHEADERS + 3 };

struct place_record {
    struct outlet_record record; /* points into what follows, which must not be moved */
    struct outlet_header headers[PLACE_NHEADERS];
    struct buf texts;
    char timeline[12], value[64];
};

/* With the frame's value. What frame and labels have must stay until the release. */
void place_record_init(struct place_record *r, const struct place *place,
                       const struct frames_record *frame, const struct place_labels *labels);
/* One that says no more than that the topics are where `tail` says. */
void place_record_init_at(struct place_record *r, const struct place *place,
                          const struct stream_tail *tail);
void place_record_release(struct place_record *r);

/* ---- on the publishing thread ---------------------------------------------------------------- */

/* Makes the topic where it is not there, and reads where it stands. Records of an epoch below
 * `epoch` do not count; tail->epoch is the one of whoever goes on. */
bool place_read(const struct place *place, struct outlet *outlet, uint64_t epoch,
                struct stream_tail *tail, struct err *err) MUST_CHECK;
/* Writes a record that says so. */
bool place_produce(const struct place *place, struct outlet *outlet, const struct stream_tail *tail,
                   struct err *err) MUST_CHECK;

#endif
