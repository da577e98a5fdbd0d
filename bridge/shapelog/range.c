/*
 * A range is planned from the extents in memory: its first extent, its last one, and how many bytes
 * of these two belong to it. The extents keep their index, and their bytes stay the same when
 * compaction moves them, so a plan holds until the log ends; the files are looked up when it is
 * read.
 */
#include "shapelog/range.h"
#include "shapelog/chunks.h"
#include "shapelog/messages.h"

#include <assert.h>

#define STEP 16384u /* extents gone through before the stripe is let go */
#define BATCH 64u

static lsn_t clamp(const struct log *log, lsn_t upto)
{
    lsn_t published = shapelog_published(log->store);

    return upto < published ? upto : published;
}

static bool shows(const struct log *log, uint32_t i)
{
    const struct extent *e = extents_at(&log->extents, i);

    return log_shows(log, e->commit_lsn, e->xid);
}

static struct log_offset extent_end(const struct log *log, uint32_t i)
{
    const struct extent *e = extents_at(&log->extents, i);

    return (struct log_offset){e->commit_lsn, e->last_op};
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Index behind the last extent at or below `upto` that readers are shown. Holding the stripe. */
static uint32_t shown_end(const struct log *log, lsn_t upto)
{
    uint32_t end = log_state_of(log) == LOG_PENDING ? 0 : extents_after(&log->extents, upto);

    while (end > 0 && !shows(log, end - 1))
        end--;
    return end;
}

struct log_offset log_end(struct log *log, lsn_t upto)
{
    struct log_offset offset = LOG_OFFSET_BEGIN;

    upto = clamp(log, upto);
    pthread_mutex_lock(log_stripe(log));
    uint32_t end = shown_end(log, upto);

    if (end > 0)
        offset = extent_end(log, end - 1);
    pthread_mutex_unlock(log_stripe(log));
    return offset;
}

/* ---- planning -------------------------------------------------------------------------------- */

/* Index of the first extent that has a message above the offset. */
static uint32_t extent_behind(const struct log *log, struct log_offset after, uint32_t end)
{
    uint32_t lo = 0, hi = end;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (log_offset_compare(extent_end(log, mid), after) > 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* Whether the message at `after` lies within the range's first extent, so that a part of it is to
 * be skipped. */
static bool begins_within(const struct log *log, const struct log_range *range)
{
    const struct extent *e = extents_at(&log->extents, range->first);

    return range->after.lsn == e->commit_lsn && range->after.op >= e->first_op;
}

/* Fills in all but the size, and `skip` where *scan says that it must be found in the bytes.
 * Holding the stripe. */
static void place(const struct log *log, lsn_t upto, struct log_range *range, bool *scan)
{
    uint32_t end = shown_end(log, upto);
    uint32_t first = extent_behind(log, range->after, end);

    range->at_end = true;
    if (first == end)
        return;
    const struct chunk_bound *bound = chunks_after(log, range->after);
    const struct chunk_bound *begin = chunks_at(log, range->after);

    range->from_bound = begin || log_offset_compare(range->after, LOG_OFFSET_BEGIN) == 0;
    range->first = first;
    range->end = end;
    range->to = extent_end(log, end - 1);
    if (bound && log_offset_compare(bound->at, range->to) <= 0) {
        range->closed = true;
        range->at_end = log_offset_compare(bound->at, range->to) == 0;
        range->to = bound->at;
        range->end = bound->extent + 1;
        range->take = bound->end;
    }
    *scan = begins_within(log, range) && !begin;
    if (begin && begin->extent == first)
        range->skip = begin->end + 1; /* and the comma */
}

static bool plan(struct log *log, lsn_t upto, struct log_range *range, bool *scan, struct err *err)
{
    pthread_mutex_lock(log_stripe(log));
    bool ok = !log_ended(log, err);

    if (ok && range->after.lsn != LSN_NONE && range->after.lsn < log->registered)
        ok = err_set(err, ERR_NOT_FOUND, "the log does not reach back to the offset");
    if (ok)
        place(log, upto, range, scan);
    pthread_mutex_unlock(log_stripe(log));
    return ok;
}

/* Finds how many bytes of the first extent come before the first message above `after`. */
static bool find_skip(struct shapelog *store, struct log *log, struct log_range *range,
                      struct err *err)
{
    struct log_extent extent;
    struct slice message;
    uint64_t op;
    bool ok = true;

    if (!log_extent_load(store, log, range->first, &extent, err))
        return false;
    for (struct slice rest = extent.bytes; messages_next(&rest, &message) && rest.len > 0;) {
        ok = messages_op(message, &op) ||
             err_set(err, ERR_CORRUPT, "a message of transaction %llu has no op_position",
                     (unsigned long long)extent.at.commit_lsn);
        if (!ok || op > range->after.op)
            break;
        range->skip = (uint32_t)(rest.ptr - extent.bytes.ptr);
    }
    log_extent_release(&extent);
    return ok;
}

/* The bytes of extent i that belong to the range. */
static uint32_t part(const struct log *log, const struct log_range *range, uint32_t i,
                     uint32_t *skip)
{
    const struct extent *e = extents_at(&log->extents, i);
    uint32_t end = i + 1 == range->end && range->take > 0 ? range->take : e->len;

    *skip = i == range->first ? range->skip : 0;
    assert(*skip < end && end <= e->len);
    return end - *skip;
}

/* Takes the stripe anew for each so many, so that the stream need not wait long. */
static bool add_up(struct log *log, struct log_range *range, struct err *err)
{
    uint32_t i = range->first, skip;

    while (i < range->end) {
        pthread_mutex_lock(log_stripe(log));
        bool there = !log_ended(log, err);

        for (uint32_t stop = i + STEP; there && i < range->end && i < stop; i++) {
            if (shows(log, i))
                range->size += part(log, range, i, &skip);
        }
        pthread_mutex_unlock(log_stripe(log));
        if (!there)
            return false;
    }
    return true;
}

bool log_range_after(struct shapelog *store, struct log *log, struct log_offset after, lsn_t upto,
                     struct log_range *range, struct err *err)
{
    bool scan = false;

    upto = clamp(log, upto);
    *range = (struct log_range){.after = after, .to = after};
    return chunks_reach(store, log, after, upto, err) && plan(log, upto, range, &scan, err) &&
           (!scan || find_skip(store, log, range, err)) && add_up(log, range, err);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Copies up to `max` runs from extent *i on. Holding the stripe. */
static size_t copy_parts(const struct log *log, const struct log_range *range, uint32_t *i,
                         struct log_run *runs, size_t max)
{
    size_t n = 0;

    for (; *i < range->end && n < max; (*i)++) {
        const struct extent *e = extents_at(&log->extents, *i);
        struct log_run *run = &runs[n];
        uint32_t skip;

        if (!log_shows(log, e->commit_lsn, e->xid))
            continue;
        log_run_of(run, e);
        run->len = part(log, range, *i, &skip);
        run->offset += skip;
        run->last = skip + run->len == e->len &&
                    (*i + 1 == log->extents.len ||
                     extents_at(&log->extents, *i + 1)->commit_lsn != e->commit_lsn);
        n++;
    }
    return n;
}

/* One attempt: false when the log has ended. */
static bool copy_once(struct log *log, const struct log_range *range, uint32_t *i,
                      struct log_run *runs, size_t max, size_t *n, struct err *err)
{
    pthread_mutex_lock(log_stripe(log));
    bool there = !log_ended(log, err);

    if (there)
        *n = copy_parts(log, range, i, runs, max);
    pthread_mutex_unlock(log_stripe(log));
    return there;
}

static bool read_batch(struct shapelog *store, struct log *log, const struct log_range *range,
                       uint32_t *i, struct log_run *runs, size_t max, size_t *n, struct err *err)
{
    enum runs_opened opened = RUNS_MOVED;
    uint32_t behind = *i;

    for (unsigned attempt = 0; opened == RUNS_MOVED && attempt < READ_ATTEMPTS; attempt++) {
        behind = *i;
        *n = 0;
        if (!copy_once(log, range, &behind, runs, max, n, err))
            return false;
        opened = runs_open(store, runs, *n, err);
    }
    if (opened == RUNS_MOVED)
        return log_lacks_segment(store, log, err);
    *i = behind;
    return opened == RUNS_OPEN;
}

bool log_range_read(struct shapelog *store, struct log *log, const struct log_range *range,
                    struct log_range_cursor *cursor, struct log_piece *pieces, size_t max,
                    size_t *n, struct err *err)
{
    uint32_t i = range->first + cursor->done;

    assert(max > 0);
    *n = 0;
    while (i < range->end && *n < max) {
        struct log_run runs[BATCH];
        size_t got, want = max - *n < BATCH ? max - *n : BATCH;

        if (!read_batch(store, log, range, &i, runs, want, &got, err)) {
            log_pieces_release(pieces, *n);
            *n = 0;
            return false;
        }
        for (size_t k = 0; k < got; k++)
            pieces[(*n)++] = (struct log_piece){runs[k].commit_lsn, runs[k].segment, runs[k].fd,
                                                runs[k].offset,     runs[k].len,     runs[k].last};
    }
    cursor->done = i - range->first;
    return true;
}

void log_pieces_release(struct log_piece *pieces, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        segment_unref(pieces[i].segment);
        pieces[i].segment = NULL;
    }
}
