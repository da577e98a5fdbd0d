/*
 * What makes the log durable. A cycle takes what was written since the last one, syncs these files,
 * says in the catalogue how far that reaches, which files there are and which logs have ended, all
 * in one transaction, and then moves the durable position. Afterwards it clears away what is dead.
 *
 * A sync that fails is final: the kernel may have dropped the bytes. The durable position stays
 * where it is until the bridge is started again, and recovery finds out what is there.
 */
#include "shapelog/io.h"
#include "shapelog/store.h"
#include "base/clock.h"
#include "base/logging.h"

#include <stdlib.h>
#include <time.h>

/* What a cycle has taken out of sync_state. */
struct work {
    struct catalog_mark mark;
    struct segments written, made, sealed;
};

void syncer_wake(struct shapelog *store)
{
    pthread_mutex_lock(&store->sync_lock);
    store->sync.dirty = true;
    pthread_cond_signal(&store->sync_wanted);
    pthread_mutex_unlock(&store->sync_lock);
}

struct numbers syncer_take_ended(struct shapelog *store)
{
    pthread_mutex_lock(&store->sync_lock);
    struct numbers ended = store->sync.ended;

    store->sync.ended = (struct numbers){0};
    pthread_mutex_unlock(&store->sync_lock);
    return ended;
}

static void return_ended(struct shapelog *store, const struct numbers *ended)
{
    pthread_mutex_lock(&store->sync_lock);
    for (size_t i = 0; i < ended->len; i++)
        numbers_push(&store->sync.ended, ended->items[i]);
    pthread_mutex_unlock(&store->sync_lock);
}

bool syncer_apply(struct shapelog *store, const struct catalog_batch *batch, struct err *err)
{
    struct catalog_batch whole = *batch;

    pthread_mutex_lock(&store->live);
    struct numbers ended = syncer_take_ended(store);
    whole.ended = ended.items;
    whole.nended = ended.len;
    bool ok = catalog_apply(store->catalog, &whole, err);

    if (!ok)
        return_ended(store, &ended);
    pthread_mutex_unlock(&store->live);
    free(ended.items);
    return ok;
}

static struct work take_work(struct shapelog *store)
{
    struct sync_state *sync = &store->sync;

    pthread_mutex_lock(&store->sync_lock);
    struct work work = {sync->mark, sync->written, sync->made, sync->sealed};

    sync->written = sync->made = sync->sealed = (struct segments){0};
    sync->dirty = false;
    sync->busy = true;
    pthread_mutex_unlock(&store->sync_lock);
    return work;
}

/* In front of what came meanwhile. */
static void put_back(struct segments *to, struct segments *from)
{
    for (size_t i = 0; i < to->len; i++)
        segments_push(from, to->items[i]);
    free(to->items);
    *to = *from;
    *from = (struct segments){0};
}

static void return_work(struct shapelog *store, struct work *work)
{
    pthread_mutex_lock(&store->sync_lock);
    put_back(&store->sync.written, &work->written);
    put_back(&store->sync.made, &work->made);
    put_back(&store->sync.sealed, &work->sealed);
    store->sync.dirty = true;
    store->sync.busy = false;
    pthread_mutex_unlock(&store->sync_lock);
}

static bool sync_files(struct shapelog *store, const struct work *work, struct err *err)
{
    struct buf path;
    bool ok = true;

    for (size_t i = 0; ok && i < work->written.len; i++)
        ok = io_sync(atomic_load(&work->written.items[i]->fd), err);
    if (!ok || work->made.len == 0)
        return ok;
    buf_init(&path, BUF_NO_LIMIT);
    buf_printf(&path, "%s/segments", store->dir);
    ok = io_sync_dir(buf_cstr(&path), err);
    buf_release(&path);
    return ok;
}

static struct catalog_segment *rows_of(const struct segments *segments, bool with_logs)
{
    struct catalog_segment *rows = xcalloc(segments->len, sizeof(*rows));

    for (size_t i = 0; i < segments->len; i++) {
        struct segment *segment = segments->items[i];
        struct buf logs;

        rows[i].number = segment->number;
        rows[i].kind = segment->kind;
        if (!with_logs)
            continue;
        buf_init(&logs, BUF_NO_LIMIT);
        if (footer_logs(buf_slice(&segment->index), &logs))
            rows[i].logs = buf_slice(&logs);
        else
            buf_release(&logs);
    }
    return rows;
}

static void free_rows(struct catalog_segment *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free((char *)rows[i].logs.ptr);
    free(rows);
}

static bool record(struct shapelog *store, const struct work *work, struct err *err)
{
    struct catalog_segment *made = rows_of(&work->made, false);
    struct catalog_segment *sealed = rows_of(&work->sealed, true);

    const struct catalog_batch batch = {
        .made = made,
        .nmade = work->made.len,
        .sealed = sealed,
        .nsealed = work->sealed.len,
        .mark = &work->mark,
    };
    bool ok = syncer_apply(store, &batch, err);

    free_rows(made, work->made.len);
    free_rows(sealed, work->sealed.len);
    return ok;
}

static void done(struct shapelog *store, struct work *work)
{
    for (size_t i = 0; i < work->sealed.len; i++)
        buf_release(&work->sealed.items[i]->index);
    store->durable_segment = work->mark.segment;
    pthread_mutex_lock(&store->sync_lock);
    if (work->mark.end_lsn > shapelog_durable(store))
        atomic_store_explicit(&store->durable, work->mark.end_lsn, memory_order_release);
    store->sync.busy = false;
    pthread_mutex_unlock(&store->sync_lock);
    segments_release(&work->written);
    segments_release(&work->made);
    segments_release(&work->sealed);
}

static bool sync_once(struct shapelog *store, struct err *err)
{
    struct work work = take_work(store);

    if (store->sync_failed) {
        return_work(store, &work);
        return err_set(err, ERR_IO, "a sync has failed before");
    }
    if (!sync_files(store, &work, err)) {
        store->sync_failed = true;
        return_work(store, &work);
        err_hint(err, "the slot is held; look at the disk, then start the bridge again");
        return err_wrap(err, "segments");
    }
    if (!record(store, &work, err)) {
        return_work(store, &work);
        return false;
    }
    done(store, &work);
    return true;
}

static bool clear_away(struct shapelog *store, struct err *err)
{
    bool worked = true;

    if (!compact_drop_dead(store, err))
        return false;
    return !compact_pays(store) || compact_pass(store, &worked, err);
}

/* A failure that lasts is logged once. */
static void cycle(struct shapelog *store, enum err_code *last)
{
    struct err err = {0};

    pthread_mutex_lock(&store->cycle);
    bool ok = sync_once(store, &err) && clear_away(store, &err);
    pthread_mutex_unlock(&store->cycle);
    if (!ok && err.code != *last)
        log_error("the shape log could not be synced", LOG_ERR(&err));
    *last = ok ? ERR_NONE : err.code;
}

bool shapelog_compact(struct shapelog *store, bool *worked, struct err *err)
{
    *worked = false;
    pthread_mutex_lock(&store->cycle);
    bool ok = compact_drop_dead(store, err) && compact_pass(store, worked, err);
    pthread_mutex_unlock(&store->cycle);
    return ok;
}

/* Waits until something is to be done and the interval since the last cycle is over. False when it
 * is time to stop. Holding sync_lock. */
static bool wait_for_work(struct shapelog *store, int64_t not_before_us)
{
    struct sync_state *sync = &store->sync;

    while (!sync->stop && !sync->dirty)
        pthread_cond_wait(&store->sync_wanted, &store->sync_lock);
    const struct timespec until = {.tv_sec = not_before_us / 1000000,
                                   .tv_nsec = not_before_us % 1000000 * 1000};
    while (!sync->stop && clock_us() < not_before_us)
        pthread_cond_timedwait(&store->sync_wanted, &store->sync_lock, &until);
    return !sync->stop;
}

static void *syncer_main(void *arg)
{
    struct shapelog *store = arg;
    enum err_code last = ERR_NONE;
    int64_t not_before = 0;

    for (;;) {
        pthread_mutex_lock(&store->sync_lock);
        bool goes_on = wait_for_work(store, not_before);
        pthread_mutex_unlock(&store->sync_lock);
        if (!goes_on)
            break;
        not_before = clock_us() + (int64_t)store->sync_interval_ms * 1000;
        cycle(store, &last);
    }
    cycle(store, &last);
    return NULL;
}

bool syncer_start(struct shapelog *store, struct err *err)
{
    int code = pthread_create(&store->syncer, NULL, syncer_main, store);

    if (code != 0)
        return err_set(err, ERR_IO, "could not start the syncer's thread: %s", strerror(code));
    store->syncer_runs = true;
    return true;
}

void syncer_stop(struct shapelog *store)
{
    if (!store->syncer_runs)
        return;
    pthread_mutex_lock(&store->sync_lock);
    store->sync.stop = true;
    pthread_cond_signal(&store->sync_wanted);
    pthread_mutex_unlock(&store->sync_lock);
    pthread_join(store->syncer, NULL);
    store->syncer_runs = false;
}

/* ---- beginning again ------------------------------------------------------------------------- */

static void end_all(struct shapelog *store, const char *reason)
{
    uint64_t at = 0;
    struct log *log;

    while ((log = shapelog_next(store, &at))) {
        shapelog_end_log(store, log, reason);
        log_unref(log);
    }
}

static void drop_all_segments(struct shapelog *store)
{
    struct tail *tail = &store->appender.tail;
    struct segments all = {0};
    struct u64map_slot *slot;
    size_t at = 0;

    pthread_mutex_lock(&store->segments_lock);
    while ((slot = u64map_next(&store->segments, &at)))
        segments_push(&all, segment_ref(slot->value));
    pthread_mutex_unlock(&store->segments_lock);
    for (size_t i = 0; i < all.len; i++)
        store_drop_segment(store, all.items[i]);
    segments_release(&all);
    segment_unref(tail->segment);
    tail->segment = NULL;
    tail->sealing = false;
    buf_clear(&tail->bytes);
    buf_release(&tail->footer.body);
    footer_init(&tail->footer);
}

static void forget_position(struct shapelog *store)
{
    struct work work = take_work(store);

    segments_release(&work.written);
    segments_release(&work.made);
    segments_release(&work.sealed);
    pthread_mutex_lock(&store->sync_lock);
    store->sync.mark = (struct catalog_mark){0};
    store->sync.busy = false;
    pthread_mutex_unlock(&store->sync_lock);
    pthread_mutex_lock(&store->times.lock);
    store->times.n = 0;
    pthread_mutex_unlock(&store->times.lock);
    store->durable_segment = 0;
    atomic_store(&store->durable, LSN_NONE);
    atomic_store(&store->published, LSN_NONE);
    atomic_store(&store->last_commit, LSN_NONE);
}

bool shapelog_reset(struct shapelog *store, const char *reason, struct err *err)
{
    shapelog_rollback(store);
    pthread_mutex_lock(&store->cycle);
    pthread_mutex_lock(&store->live);
    bool ok = catalog_reset(store->catalog, err);

    if (ok) {
        atomic_fetch_add(&store->resets, 1); /* before those who wait for a log hear of its end */
        end_all(store, reason);
        drop_all_segments(store);
        forget_position(store);
    }
    pthread_mutex_unlock(&store->live);
    pthread_mutex_unlock(&store->cycle);
    return ok;
}
