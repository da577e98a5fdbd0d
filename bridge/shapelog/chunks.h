/*
 * Where a log's chunks end (range.h says by which rule), as far as readers have asked.
 *
 * The extents are gone through once, in order. One in which no bound falls adds its length, and one
 * for the comma that follows it: that is the sum over its messages. Only one in which a bound falls
 * is read and taken apart. Extents keep their index for as long as the log lives in this process,
 * whatever compaction does; so a bound is an extent and a number of bytes in it.
 *
 * A log that is smaller than a chunk has no such memory at all.
 */
#ifndef SHAPELOG_CHUNKS_H
#define SHAPELOG_CHUNKS_H

#include "shapelog/range.h"
#include "shapelog/store.h"

struct chunk_bound {
    struct log_offset at;
    uint32_t extent;
    uint32_t end; /* bytes of the extent that come before it, its message included */
};

/* Under the log's stripe. */
struct chunks {
    struct chunk_bound *bounds;
    uint32_t n, cap;
    uint32_t scanned; /* extents gone through */
    uint64_t sum;     /* since the last bound */
};

/* Goes on with the extents at or below `upto`, which is published, until a bound above `after` is
 * known or none is left. Reads files; takes the stripe. */
bool chunks_reach(struct shapelog *store, struct log *log, struct log_offset after, lsn_t upto,
                  struct err *err) MUST_CHECK;
/* The first known bound above `after`, or NULL. Holding the stripe. */
const struct chunk_bound *chunks_after(const struct log *log, struct log_offset after);
/* The bound that is `at`, or NULL. Holding the stripe. */
const struct chunk_bound *chunks_at(const struct log *log, struct log_offset at);
void chunks_free(struct chunks *chunks);

#endif
