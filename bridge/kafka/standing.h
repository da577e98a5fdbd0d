/*
 * Where the topics stand, as the publisher's two threads tell each other: the publishing thread
 * reads it from the topic whenever a producer is made, and the stream's thread says of which server
 * that is what goes out.
 */
#ifndef KAFKA_STANDING_H
#define KAFKA_STANDING_H

#include "kafka/place.h"
#include "wal/feed.h"

#include <pthread.h>

struct standing {
    struct place place; /* the topic that says it; never changes */
    bool stream;        /* that is `<prefix>.stream` */

    pthread_mutex_t mutex;
    /* with the mutex: */
    struct stream_tail tail; /* as it was found when the producer was made */
    uint64_t producers;      /* how many were made */
    char system_id[32];      /* of the server whose stream is published, ... */
    uint32_t timeline;       /* ... and its timeline */
};

/* `place` and `stream` are the caller's to fill in. */
void standing_init(struct standing *standing);
void standing_release(struct standing *standing);

/* ---- the publishing thread ------------------------------------------------------------------- */

/* A producer is there: reads where the topics stand. With the first record that it writes to the
 * stream's topic nothing of an earlier one counts, whatever is still under way to the broker. */
bool standing_find(struct standing *standing, struct outlet *outlet, struct err *err) MUST_CHECK;
/* In a Kafka transaction that has all up to `lsn`: says so, unless the stream's records do. */
bool standing_commit(struct standing *standing, struct outlet *outlet, lsn_t lsn,
                     struct err *err) MUST_CHECK;

/* ---- the stream's thread --------------------------------------------------------------------- */

/* What was found last. Returns the number of the producer that was made then. */
uint64_t standing_get(struct standing *standing, struct stream_tail *tail);
void standing_set_server(struct standing *standing, const struct wal_place *place);

#endif
