/*
 * A server's timeline and those that it came from, each with where it ended. A server that was
 * restored to a point of the past, or promoted, goes on under a new timeline: what was received is
 * in its history up to the switch, and no further.
 */
#ifndef WAL_TIMELINES_H
#define WAL_TIMELINES_H

#include "base/arena.h"
#include "change/lsn.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timeline_end {
    uint32_t timeline;
    lsn_t end; /* where the next one begins */
};

struct timelines {
    uint32_t timeline; /* the server's */
    size_t n;
    struct timeline_end *ends; /* of those before it; in the arena */
};

/* From the text of a history file, as TIMELINE_HISTORY gives it: a line each, with timeline, switch
 * point and a reason; others are passed over. */
void timelines_read(struct timelines *timelines, uint32_t timeline, struct slice text,
                    struct arena *arena);
/* Whether the server's history has what that timeline had at `lsn`. */
bool timelines_have(const struct timelines *timelines, uint32_t timeline, lsn_t lsn);

#endif
