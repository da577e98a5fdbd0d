#include "shapelog/chunks.h"
#include "shapelog/messages.h"

#include <stdlib.h>

#define STEP 16384u /* extents gone through before the stripe is let go */

void chunks_free(struct chunks *chunks)
{
    if (!chunks)
        return;
    free(chunks->bounds);
    free(chunks);
}

/* Index of the first bound at or above `at`, when `above` only above it. */
static uint32_t find_bound(const struct chunks *chunks, struct log_offset at, bool above)
{
    uint32_t lo = 0, hi = chunks->n;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int order = log_offset_compare(chunks->bounds[mid].at, at);

        if (order > 0 || (order == 0 && !above))
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

const struct chunk_bound *chunks_after(const struct log *log, struct log_offset after)
{
    const struct chunks *chunks = log->chunks;
    uint32_t i = chunks ? find_bound(chunks, after, true) : 0;

    return chunks && i < chunks->n ? &chunks->bounds[i] : NULL;
}

const struct chunk_bound *chunks_at(const struct log *log, struct log_offset at)
{
    const struct chunks *chunks = log->chunks;
    uint32_t i = chunks ? find_bound(chunks, at, false) : 0;

    return chunks && i < chunks->n && log_offset_compare(chunks->bounds[i].at, at) == 0
               ? &chunks->bounds[i]
               : NULL;
}

/* ---- going through --------------------------------------------------------------------------- */

/* What a look at the extents came to. */
enum scan { SCAN_DONE, SCAN_MORE, SCAN_BOUND };

/* Goes on for a while. SCAN_BOUND: one falls into the next extent. Holding the stripe. */
static enum scan scan_some(struct log *log, struct log_offset after, uint32_t end)
{
    struct chunks *chunks = log->chunks;

    if (chunks_after(log, after))
        return SCAN_DONE;
    for (uint32_t i = 0; i < STEP; i++) {
        if (chunks->scanned >= end)
            return SCAN_DONE;
        const struct extent *e = extents_at(&log->extents, chunks->scanned);

        if (log_shows(log, e->commit_lsn, e->xid)) {
            if (chunks->sum + e->len + 1 >= log->chunk_size)
                return SCAN_BOUND;
            chunks->sum += e->len + 1u;
        }
        chunks->scanned++;
    }
    return SCAN_MORE;
}

/* Whether the log is too small to have a bound. */
static bool is_small(const struct log *log)
{
    return log->log_bytes + log->extents.len < log->chunk_size;
}

/* The same, with the lock; *next is a copy of what is known and where it goes on. */
static bool scan_on(struct log *log, struct log_offset after, lsn_t upto, enum scan *result,
                    struct chunks *next, struct err *err)
{
    *result = SCAN_DONE;
    pthread_mutex_lock(log_stripe(log));
    bool there = !log_ended(log, err);

    if (there && log_state_of(log) != LOG_PENDING && (log->chunks || !is_small(log))) {
        if (!log->chunks)
            log->chunks = xcalloc(1, sizeof(*log->chunks));
        *result = scan_some(log, after, extents_after(&log->extents, upto));
        *next = *log->chunks;
    }
    pthread_mutex_unlock(log_stripe(log));
    return there;
}

/* ---- an extent with bounds ------------------------------------------------------------------- */

static void add_bound(struct chunks *chunks, const struct chunk_bound *bound)
{
    if (chunks->n == chunks->cap) {
        chunks->cap = chunks->cap ? chunks->cap * 2 : 4;
        chunks->bounds = xrealloc(chunks->bounds, chunks->cap * sizeof(*chunks->bounds));
    }
    chunks->bounds[chunks->n++] = *bound;
}

/* Finds the bounds within the extent; found->sum is the sum before it, and behind it then. */
static bool find_bounds(const struct log_extent *extent, uint32_t index, size_t chunk_size,
                        struct chunks *found, struct err *err)
{
    struct slice rest = extent->bytes, message;

    while (messages_next(&rest, &message)) {
        struct chunk_bound bound = {.at = {extent->at.commit_lsn, extent->at.last_op},
                                    .extent = index};

        found->sum += message.len + 1;
        if (found->sum < chunk_size)
            continue;
        if (rest.len > 0 && !messages_op(message, &bound.at.op))
            return err_set(err, ERR_CORRUPT, "a message of transaction %llu has no op_position",
                           (unsigned long long)extent->at.commit_lsn);
        bound.end = (uint32_t)(message.ptr + message.len - extent->bytes.ptr);
        add_bound(found, &bound);
        found->sum = 0;
    }
    found->scanned = index + 1;
    return true;
}

/* Unless another thread has been as far meanwhile. */
static void take_bounds(struct log *log, uint32_t index, const struct chunks *found)
{
    pthread_mutex_lock(log_stripe(log));
    struct chunks *chunks = log->chunks;

    if (chunks && chunks->scanned == index) {
        for (uint32_t i = 0; i < found->n; i++)
            add_bound(chunks, &found->bounds[i]);
        chunks->scanned = found->scanned;
        chunks->sum = found->sum;
    }
    pthread_mutex_unlock(log_stripe(log));
}

static bool read_bounds(struct shapelog *store, struct log *log, const struct chunks *known,
                        struct err *err)
{
    struct chunks found = {.sum = known->sum};
    struct log_extent extent;

    if (!log_extent_load(store, log, known->scanned, &extent, err))
        return false;
    bool ok = find_bounds(&extent, known->scanned, log->chunk_size, &found, err);

    if (ok)
        take_bounds(log, known->scanned, &found);
    log_extent_release(&extent);
    free(found.bounds);
    return ok;
}

bool chunks_reach(struct shapelog *store, struct log *log, struct log_offset after, lsn_t upto,
                  struct err *err)
{
    struct chunks next;
    enum scan result;

    do {
        if (!scan_on(log, after, upto, &result, &next, err) ||
            (result == SCAN_BOUND && !read_bounds(store, log, &next, err)))
            return false;
    } while (result != SCAN_DONE);
    return true;
}
