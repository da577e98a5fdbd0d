/*
 * Where in the segments a log's messages lie: a run of bytes each, in order of commit LSN and op.
 * 32 bytes an extent; the first chunk of 128 grows by doubling, later ones are whole, so that an
 * idle log costs little and a long one is never copied.
 *
 * An extent is never merged with its neighbour once it can be read: its end is an offset at which
 * clients may have stopped.
 *
 * Not locked here: the log's lock guards it.
 */
#ifndef SHAPELOG_EXTENTS_H
#define SHAPELOG_EXTENTS_H

#include "change/lsn.h"

#include <stddef.h>
#include <stdint.h>

#define EXTENTS_CHUNK 128u

struct extent {
    lsn_t commit_lsn;
    uint32_t segment;
    uint32_t offset, len;
    uint32_t first_op, last_op;
    uint32_t xid;
};

struct extents {
    struct extent *first; /* the first EXTENTS_CHUNK */
    struct extent **more; /* then chunks of as many */
    uint32_t len, cap;
};

static inline struct extent *extents_at(const struct extents *extents, uint32_t i)
{
    return i < EXTENTS_CHUNK ? &extents->first[i]
                             : &extents->more[i / EXTENTS_CHUNK - 1][i % EXTENTS_CHUNK];
}

/* Adds at the end, or before extents of the same transaction with a higher op: two lanes may hand
 * theirs over out of turn. */
void extents_add(struct extents *extents, const struct extent *extent);
/* Adds at the end, in any order: extents_sort() must follow. */
void extents_push(struct extents *extents, const struct extent *extent);
void extents_sort(struct extents *extents);
/* Index of the first with a commit LSN above `lsn`. */
uint32_t extents_after(const struct extents *extents, lsn_t lsn);
/* Drops the last one. */
void extents_pop(struct extents *extents);
void extents_release(struct extents *extents);
size_t extents_memory(const struct extents *extents);

#endif
