/*
 * The readers' side: from a log's extents to runs of bytes in files.
 *
 * The extents are copied under the log's stripe; then each is given its segment. In between,
 * compaction may have moved them: a segment that is gone means that the log now says otherwise, so
 * it is asked again.
 */
#include "shapelog/io.h"
#include "shapelog/store.h"

#include <assert.h>
#include <stdlib.h>

void log_run_of(struct log_run *run, const struct extent *e)
{
    *run = (struct log_run){
        .commit_lsn = e->commit_lsn,
        .fd = (int)e->segment, /* until the segment is found */
        .offset = e->offset,
        .len = e->len,
        .first_op = e->first_op,
        .last_op = e->last_op,
    };
}

/* Copies the runs of one transaction that begins at extent *i, leaving out `skip` of them; moves
 * *i behind what was copied. False when there was not enough room for all. */
static bool copy_txn(const struct log *log, uint32_t *i, size_t skip, struct log_run *runs,
                     size_t max, size_t *n)
{
    const lsn_t lsn = extents_at(&log->extents, *i)->commit_lsn;

    for (; *i < log->extents.len; (*i)++) {
        const struct extent *e = extents_at(&log->extents, *i);

        if (e->commit_lsn != lsn)
            break;
        if (skip > 0) {
            skip--;
            continue;
        }
        if (*n == max)
            return false;
        log_run_of(&runs[(*n)++], e);
    }
    if (*n > 0)
        runs[*n - 1].last = true;
    return true;
}

static uint32_t skip_txn(const struct log *log, uint32_t i)
{
    const lsn_t lsn = extents_at(&log->extents, i)->commit_lsn;

    while (i < log->extents.len && extents_at(&log->extents, i)->commit_lsn == lsn)
        i++;
    return i;
}

/* Holding the stripe. */
static size_t copy_runs(const struct log *log, struct log_cursor *cursor, lsn_t upto,
                        struct log_run *runs, size_t max)
{
    uint32_t i = extents_after(&log->extents, cursor->after);
    size_t n = 0;

    while (i < log->extents.len && n < max) {
        const struct extent *e = extents_at(&log->extents, i);
        size_t whole = n;

        if (e->commit_lsn > upto)
            break;
        if (!log_shows(log, e->commit_lsn, e->xid)) {
            i = skip_txn(log, i);
            continue;
        }
        if (!copy_txn(log, &i, cursor->skip, runs, max, &n)) {
            if (whole > 0)
                return whole;
            cursor->skip += n;
            return n;
        }
        *cursor = (struct log_cursor){.after = e->commit_lsn};
    }
    return n;
}

void log_runs_release(struct log_run *runs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        segment_unref(runs[i].segment);
        runs[i].segment = NULL;
    }
}

/* Gives each run its segment; false when one is not there. */
static bool find_segments(struct shapelog *store, struct log_run *runs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t number = (uint32_t)runs[i].fd;
        struct segment *before = i > 0 ? runs[i - 1].segment : NULL;

        runs[i].segment =
            before && before->number == number ? segment_ref(before) : store_segment(store, number);
        if (!runs[i].segment) {
            log_runs_release(runs, i);
            return false;
        }
    }
    return true;
}

/* Checks what was not written by this process, and opens. */
static bool check_segments(struct shapelog *store, struct log_run *runs, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        struct segment *segment = runs[i].segment;

        if (!segment_check(segment, err)) {
            if (err->code == ERR_CORRUPT)
                store_segment_damaged(store, segment, err);
            log_runs_release(runs, n);
            return false;
        }
        runs[i].fd = atomic_load(&segment->fd);
    }
    return true;
}

enum runs_opened runs_open(struct shapelog *store, struct log_run *runs, size_t n, struct err *err)
{
    if (!find_segments(store, runs, n))
        return RUNS_MOVED;
    return check_segments(store, runs, n, err) ? RUNS_OPEN : RUNS_FAILED;
}

bool log_lacks_segment(struct shapelog *store, struct log *log, struct err *err)
{
    shapelog_end_log(store, log, "a part of the log is missing");
    return err_set(err, ERR_CORRUPT, "a segment that the log needs is missing");
}

bool log_ended(const struct log *log, struct err *err)
{
    if (log_state_of(log) != LOG_ENDED)
        return false;
    err_set(err, ERR_NOT_FOUND, "the log has ended: %s", log->reason);
    return true;
}

static bool read_once(struct log *log, struct log_cursor *cursor, lsn_t upto, struct log_run *runs,
                      size_t max, size_t *n, struct err *err)
{
    pthread_mutex_lock(log_stripe(log));
    bool there = !log_ended(log, err);

    if (there)
        *n = copy_runs(log, cursor, upto, runs, max);
    pthread_mutex_unlock(log_stripe(log));
    return there;
}

bool log_read(struct shapelog *store, struct log *log, struct log_cursor *cursor, lsn_t upto,
              struct log_run *runs, size_t max, size_t *n, struct err *err)
{
    const lsn_t published = shapelog_published(store);

    assert(max > 0);
    if (upto > published)
        upto = published;
    for (unsigned attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
        struct log_cursor moved = *cursor;

        *n = 0;
        if (!read_once(log, &moved, upto, runs, max, n, err))
            return false;
        switch (runs_open(store, runs, *n, err)) {
        case RUNS_OPEN:
            *cursor = moved;
            return true;
        case RUNS_FAILED:
            *n = 0;
            return false;
        case RUNS_MOVED:
            break;
        }
    }
    *n = 0;
    return log_lacks_segment(store, log, err);
}

static bool copy_extent(struct log *log, uint32_t index, struct extent *extent, struct err *err)
{
    pthread_mutex_lock(log_stripe(log));
    bool there = !log_ended(log, err);

    if (there)
        *extent = *extents_at(&log->extents, index);
    pthread_mutex_unlock(log_stripe(log));
    return there;
}

static bool load_run(const struct log_run *run, struct slice *bytes, struct err *err)
{
    char *p = xmalloc(run->len);
    bool ok = io_read(run->fd, p, run->len, run->offset, err);

    if (ok)
        *bytes = (struct slice){p, run->len};
    else
        free(p);
    return ok;
}

bool log_extent_load(struct shapelog *store, struct log *log, uint32_t index,
                     struct log_extent *extent, struct err *err)
{
    enum runs_opened opened = RUNS_MOVED;
    struct log_run run;

    for (unsigned attempt = 0; opened == RUNS_MOVED && attempt < READ_ATTEMPTS; attempt++) {
        if (!copy_extent(log, index, &extent->at, err))
            return false;
        log_run_of(&run, &extent->at);
        opened = runs_open(store, &run, 1, err);
    }
    if (opened == RUNS_MOVED)
        return log_lacks_segment(store, log, err);
    if (opened == RUNS_FAILED)
        return false;
    bool ok = load_run(&run, &extent->bytes, err);

    log_runs_release(&run, 1);
    return ok;
}

void log_extent_release(struct log_extent *extent)
{
    free((char *)extent->bytes.ptr);
}

lsn_t log_last(struct log *log, lsn_t upto)
{
    const lsn_t published = shapelog_published(log->store);
    lsn_t last = LSN_NONE;

    pthread_mutex_lock(log_stripe(log));
    uint32_t i = extents_after(&log->extents, upto < published ? upto : published);
    while (i > 0 && last == LSN_NONE) {
        const struct extent *e = extents_at(&log->extents, --i);

        if (log_shows(log, e->commit_lsn, e->xid))
            last = e->commit_lsn;
    }
    pthread_mutex_unlock(log_stripe(log));
    return last;
}
