/*
 * The publisher's parts, private to publisher.c (its life, and the outlet's calls) and
 * publisher_sink.c (the stream's thread).
 */
#ifndef KAFKA_PUBLISHER_PRIVATE_H
#define KAFKA_PUBLISHER_PRIVATE_H

#include "kafka/frames.h"
#include "kafka/publisher.h"
#include "kafka/setback.h"
#include "kafka/standing.h"

#include <stdatomic.h>

struct publisher {
    struct wal_sink sink; /* first */
    struct publisher_config config;
    struct outlet *outlet;
    struct topics *topics; /* NULL: none */
    char transactional_id[200];
    struct standing standing;
    struct setback setback;

    /* the stream's thread: */
    struct frames_writer writer;
    char history[FRAMES_HISTORY_SIZE];
    bool was_connected;
    bool reset, noted; /* what the topics have is void; there is a note of it (kafka/anew.h) */
    lsn_t stream_from, topics_from; /* what ends before is in the topics already */
    bool skips, skips_rows;         /* so is the transaction at hand */
    lsn_t position;                 /* marked last, ... */
    uint64_t producer;              /* ... with this producer */
    int64_t position_ms;
    atomic_bool taking; /* read by who asks for the figures */
};

/* ---- publisher_sink.c ------------------------------------------------------------------------ */

extern const struct wal_sink_ops publisher_sink_ops;
/* The writer's emit; `owner` is the publisher. */
bool publisher_put_frame(void *owner, const struct frames_record *frame, struct err *err);

#endif
