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

#include <stdbool.h>
#include <stdint.h>

struct stream_tail {
    int64_t end; /* the offset that the next record gets */
    bool found;  /* there is a record, so that the following is known: */
    uint64_t epoch;
    lsn_t position; /* end of the last whole transaction, or the last heartbeat's */
    char history[FRAMES_HISTORY_SIZE];
};

/* Which records count. */
struct tail_source {
    const struct client_config *client;
    const char *topic;         /* has one partition */
    const char *key;           /* those with this key; NULL: all */
    uint64_t epoch;            /* of this epoch or a higher one: others are void */
    bool (*stop)(void *owner); /* looked at while it waits */
    void *owner;
};

/* Reads the last records of the topic. */
bool tail_read(const struct tail_source *source, struct stream_tail *tail,
               struct err *err) MUST_CHECK;

#endif
