/*
 * The end of `<prefix>.stream`, or of `<prefix>.offsets`, whose records have the same headers: from
 * what is there a publisher learns where it goes on.
 */
#ifndef KAFKA_TAIL_H
#define KAFKA_TAIL_H

#include "base/err.h"
#include "change/lsn.h"
#include "kafka/client.h"
#include "kafka/frames.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Headers beside those of kafka/frames.h, which only the next publisher reads. */
#define TAIL_TIMELINE "timeline"
#define TAIL_TABLES "tables"

struct stream_tail {
    int64_t end; /* the offset that the next record gets */
    bool found;  /* there is a record, so that the following is known: */
    uint64_t epoch;
    lsn_t position; /* end of the last whole transaction, or the last heartbeat's */
    char history[FRAMES_HISTORY_SIZE];
    uint32_t timeline; /* the server's; 0: not known */
    bool tables;       /* what is said of the position holds for the tables' topics too */
};

/* Which records count. */
struct tail_source {
    const struct client_config *client;
    const char *topic;       /* has one partition */
    const char *key;         /* those with this key; NULL: all */
    uint64_t epoch;          /* of this epoch or a higher one: others are void */
    const atomic_bool *stop; /* looked at while it waits */
};

/* Reads the last records of the topic. */
bool tail_read(const struct tail_source *source, struct stream_tail *tail,
               struct err *err) MUST_CHECK;

#endif
