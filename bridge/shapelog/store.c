/*
 * The store: opening and closing it, the registry of its logs, how they are made and end.
 */
#include "shapelog/store.h"
#include "base/clock.h"
#include "base/logging.h"
#include "shapelog/chunks.h"
#include "shapelog/io.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define DEFAULT_SEGMENT_SIZE ((uint64_t)16 << 20)
#define MAX_SEGMENT_SIZE ((uint64_t)1 << 30)
#define DEFAULT_SYNC_INTERVAL_MS 100
#define DEFAULT_CHUNK_SIZE ((size_t)10485760)
#define ID_RESERVE 4096u

void buf_must(const struct buf *buf)
{
    if (!buf->failed)
        return;
    fprintf(stderr, "out of memory: a buffer of the shape log has %zu bytes\n", buf->len);
    abort();
}

void logs_push(struct logs *logs, struct log *log)
{
    if (logs->len == logs->cap) {
        logs->cap = logs->cap ? logs->cap * 2 : 64;
        logs->items = xrealloc(logs->items, logs->cap * sizeof(struct log *));
    }
    logs->items[logs->len++] = log;
}

void numbers_push(struct numbers *numbers, uint64_t n)
{
    if (numbers->len == numbers->cap) {
        numbers->cap = numbers->cap ? numbers->cap * 2 : 16;
        numbers->items = xrealloc(numbers->items, numbers->cap * sizeof(*numbers->items));
    }
    numbers->items[numbers->len++] = n;
}

/* ---- opening --------------------------------------------------------------------------------- */

static struct shapelog *store_new(const struct shapelog_config *config)
{
    struct shapelog *store = xcalloc(1, sizeof(*store));
    uint64_t size = config->segment_size ? config->segment_size : DEFAULT_SEGMENT_SIZE;

    store->dir = xstrdup(config->dir);
    store->segment_size = size < MAX_SEGMENT_SIZE ? size : MAX_SEGMENT_SIZE;
    store->sync_interval_ms =
        config->sync_interval_ms ? config->sync_interval_ms : DEFAULT_SYNC_INTERVAL_MS;
    store->chunk_size = config->chunk_size ? config->chunk_size : DEFAULT_CHUNK_SIZE;
    store->lock_fd = -1;
    atomic_init(&store->next_segment, 1);
    pthread_mutex_init(&store->registry, NULL);
    for (size_t i = 0; i < STRIPES; i++)
        pthread_mutex_init(&store->stripes[i], NULL);
    pthread_mutex_init(&store->segments_lock, NULL);
    pthread_mutex_init(&store->snapshots, NULL);
    pthread_mutex_init(&store->recent_lock, NULL);
    store->snapshots_kept = snapshot_files_kept();
    pthread_mutex_init(&store->times.lock, NULL);
    pthread_mutex_init(&store->cycle, NULL);
    pthread_mutex_init(&store->live, NULL);
    pthread_mutex_init(&store->sync_lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&store->sync_wanted, &attr);
    pthread_condattr_destroy(&attr);
    for (size_t i = 0; i < LISTENERS; i++)
        pthread_mutex_init(&store->listeners[i].lock, NULL);
    appender_init(&store->appender);
    return store;
}

static bool make_folders(const struct shapelog *store, struct err *err)
{
    static const char *const names[] = {"", "/segments", "/snapshots"};
    struct buf path;
    bool ok = true;

    buf_init(&path, BUF_NO_LIMIT);
    for (size_t i = 0; ok && i < sizeof(names) / sizeof(names[0]); i++) {
        buf_clear(&path);
        buf_printf(&path, "%s%s", store->dir, names[i]);
        ok = io_mkdir(buf_cstr(&path), err);
    }
    buf_release(&path);
    return ok;
}

static bool lock_folder(struct shapelog *store, struct err *err)
{
    struct buf path;

    buf_init(&path, BUF_NO_LIMIT);
    buf_printf(&path, "%s/lock", store->dir);
    store->lock_fd = open(buf_cstr(&path), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    buf_release(&path);
    if (store->lock_fd < 0)
        return err_errno(err, ERR_IO, "could not open the lock of \"%s\"", store->dir);
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    if (errno != EWOULDBLOCK)
        return err_errno(err, ERR_IO, "could not lock \"%s\"", store->dir);
    err_set(err, ERR_BUSY, "the data folder \"%s\" is in use by another process", store->dir);
    return err_hint(err, "stop the other bridge, or give this one a folder of its own");
}

static void store_free(struct shapelog *store)
{
    appender_release(store);
    for (size_t i = 0; i < store->nlogs; i++) {
        if (store->logs[i].log)
            log_unref(store->logs[i].log);
    }
    free(store->logs);
    hashset_release(&store->by_handle);
    hashset_release(&store->by_shape);
    for (size_t i = 0; i < RECENT; i++)
        snapshot_release(store->recent[i]);
    size_t at = 0;
    struct u64map_slot *slot;
    while ((slot = u64map_next(&store->segments, &at)))
        segment_unref(slot->value);
    u64map_release(&store->segments);
    segments_release(&store->sync.written);
    segments_release(&store->sync.made);
    segments_release(&store->sync.sealed);
    free(store->sync.ended.items);
    for (size_t i = 0; i < LISTENERS; i++) {
        while (store->listeners[i].len > 0)
            log_unref(log_listener_next(store, store->listeners[i].listener));
        free(store->listeners[i].queue);
        pthread_mutex_destroy(&store->listeners[i].lock);
    }
    catalog_close(store->catalog);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    for (size_t i = 0; i < STRIPES; i++)
        pthread_mutex_destroy(&store->stripes[i]);
    pthread_cond_destroy(&store->sync_wanted);
    free(store->dir);
    free(store);
}

struct shapelog *shapelog_open(const struct shapelog_config *config, struct err *err)
{
    struct shapelog *store = store_new(config);

    if (make_folders(store, err) && lock_folder(store, err) &&
        (store->catalog = catalog_open(store->dir, err)) && store_recover(store, err) &&
        syncer_start(store, err))
        return store;
    err_wrap(err, "shape log in \"%s\"", store->dir);
    store_free(store);
    return NULL;
}

void shapelog_close(struct shapelog *store)
{
    if (!store)
        return;
    shapelog_rollback(store);
    syncer_stop(store);
    store_free(store);
}

/* ---- the registry ---------------------------------------------------------------------------- */

static struct log_entry *find_entry(struct shapelog *store, uint64_t id, bool or_next)
{
    size_t lo = 0, hi = store->nlogs;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (store->logs[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == store->nlogs || (!or_next && store->logs[lo].id != id))
        return NULL;
    return &store->logs[lo];
}

struct log *registry_by_id(struct shapelog *store, uint64_t id)
{
    struct log_entry *entry = find_entry(store, id, false);

    return entry ? entry->log : NULL;
}

static bool has_handle(const void *log, const void *handle)
{
    return slice_eq(log_handle(log), *(const struct slice *)handle);
}

static bool has_shape(const void *log, const void *shape)
{
    return shape_same(log_shape(log), shape);
}

static struct log *get_by_shape(const struct shapelog *store, const struct shape *shape)
{
    return hashset_get(&store->by_shape, shape->is.lo, has_shape, shape);
}

void registry_add(struct shapelog *store, struct log *log)
{
    struct shape *shape = atomic_load(&log->shape);

    assert(store->nlogs == 0 || store->logs[store->nlogs - 1].id < log->id);
    if (store->nlogs == store->logs_cap) {
        store->logs_cap = store->logs_cap ? store->logs_cap * 2 : 64;
        store->logs = xrealloc(store->logs, store->logs_cap * sizeof(*store->logs));
    }
    store->logs[store->nlogs++] = (struct log_entry){log->id, log};
    hashset_add(&store->by_handle, hash_bytes(log_handle(log)), log);
    if (shape)
        hashset_add(&store->by_shape, shape->is.lo, log);
}

/* Leaves a hole; holes are closed when they are the half. */
static void remove_entry(struct shapelog *store, uint64_t id)
{
    size_t kept = 0;

    find_entry(store, id, false)->log = NULL;
    if (++store->logs_gone * 2 <= store->nlogs)
        return;
    for (size_t i = 0; i < store->nlogs; i++) {
        if (store->logs[i].log)
            store->logs[kept++] = store->logs[i];
    }
    store->nlogs = kept;
    store->logs_gone = 0;
}

static void unregister(struct shapelog *store, struct log *log)
{
    struct shape *shape = atomic_load(&log->shape);

    remove_entry(store, log->id);
    hashset_remove(&store->by_handle, hash_bytes(log_handle(log)), log);
    if (shape)
        hashset_remove(&store->by_shape, shape->is.lo, log);
}

struct log *shapelog_find(struct shapelog *store, struct slice handle)
{
    uint64_t hash = hash_bytes(handle);

    pthread_mutex_lock(&store->registry);
    struct log *log = hashset_get(&store->by_handle, hash, has_handle, &handle);

    if (log)
        log_ref(log);
    pthread_mutex_unlock(&store->registry);
    return log;
}

struct log *shapelog_find_shape(struct shapelog *store, const struct shape *shape)
{
    pthread_mutex_lock(&store->registry);
    struct log *log = get_by_shape(store, shape);

    if (log)
        log_ref(log);
    pthread_mutex_unlock(&store->registry);
    return log;
}

struct log *shapelog_next(struct shapelog *store, uint64_t *at)
{
    struct log *log = NULL;

    pthread_mutex_lock(&store->registry);
    struct log_entry *entry = find_entry(store, *at + 1, true);
    while (entry && entry < store->logs + store->nlogs && !entry->log)
        entry++;
    if (entry && entry < store->logs + store->nlogs) {
        log = log_ref(entry->log);
        *at = entry->id;
    }
    pthread_mutex_unlock(&store->registry);
    return log;
}

/* ---- making and ending logs ------------------------------------------------------------------ */

/* Ids must never be used again, also by what a crash makes forget: so they are taken from a stock
 * that the catalogue knows to be used. Holding the registry. */
static bool take_id(struct shapelog *store, uint64_t *id, struct err *err)
{
    if (store->next_id >= store->reserved_id) {
        if (!catalog_reserve_ids(store->catalog, store->next_id + ID_RESERVE, err))
            return false;
        store->reserved_id = store->next_id + ID_RESERVE;
    }
    *id = store->next_id++;
    return true;
}

static struct log *create(struct shapelog *store, struct shape *shape, uint64_t hash,
                          struct err *err)
{
    char text[48];
    uint64_t id;

    if (!take_id(store, &id, err))
        return NULL;
    int64_t us = clock_unix_us();
    if (us <= store->last_handle_us)
        us = store->last_handle_us + 1;
    store->last_handle_us = us;
    snprintf(text, sizeof(text), "%llu-%lld", (unsigned long long)hash, (long long)us);
    struct log *log = log_new(store, id, slice_of(text), LOG_PENDING);

    atomic_store(&log->shape, shape_ref(shape));
    registry_add(store, log);
    return log;
}

struct log *shapelog_create(struct shapelog *store, struct shape *shape, bool *made,
                            struct err *err)
{
    uint64_t hash = shape_hash(shape); /* takes longer than what is done under the lock */

    *made = false;
    pthread_mutex_lock(&store->registry);
    struct log *log = get_by_shape(store, shape);

    if (!log) {
        log = create(store, shape, hash, err);
        *made = log != NULL;
    }
    if (log)
        log_ref(log);
    pthread_mutex_unlock(&store->registry);
    return log;
}

void log_bind(struct log *log, struct shape *shape)
{
    struct shapelog *store = log->store;

    pthread_mutex_lock(&store->registry);
    pthread_mutex_lock(log_stripe(log));
    if (log_state_of(log) == LOG_LOADED) {
        atomic_store(&log->shape, shape_ref(shape));
        atomic_store(&log->state, LOG_LIVE);
        if (!get_by_shape(store, shape))
            hashset_add(&store->by_shape, shape->is.lo, log);
    }
    pthread_mutex_unlock(log_stripe(log));
    pthread_mutex_unlock(&store->registry);
}

/* Takes the extents off their segments' accounts. */
static void release_extents(struct shapelog *store, struct extents *extents)
{
    pthread_mutex_lock(&store->segments_lock);
    struct segment *segment = NULL;
    for (uint32_t i = 0; i < extents->len; i++) {
        const struct extent *e = extents_at(extents, i);

        if (!segment || segment->number != e->segment)
            segment = u64map_get(&store->segments, e->segment);
        if (!segment)
            continue;
        atomic_fetch_sub(&segment->live_bytes, (int64_t)e->len);
        atomic_fetch_sub(&segment->live_refs, 1);
    }
    pthread_mutex_unlock(&store->segments_lock);
    extents_release(extents);
}

static bool mark_ended(struct log *log, const char *reason, struct extents *extents)
{
    pthread_mutex_lock(log_stripe(log));
    bool ends = log_state_of(log) != LOG_ENDED;

    if (ends) {
        log->reason = xstrdup(reason);
        *extents = log->extents;
        log->extents = (struct extents){0};
        log->log_bytes = 0;
        chunks_free(log->chunks);
        log->chunks = NULL;
        atomic_store_explicit(&log->state, LOG_ENDED, memory_order_release);
        /* Here, so that whoever finds that the log needs a segment no more also finds its row among
         * those to delete. */
        pthread_mutex_lock(&log->store->sync_lock);
        numbers_push(&log->store->sync.ended, log->id);
        pthread_mutex_unlock(&log->store->sync_lock);
    }
    pthread_mutex_unlock(log_stripe(log));
    return ends;
}

void shapelog_end_log(struct shapelog *store, struct log *log, const char *reason)
{
    struct extents extents;

    pthread_mutex_lock(&store->registry);
    bool ends = mark_ended(log, reason, &extents);
    if (ends)
        unregister(store, log);
    pthread_mutex_unlock(&store->registry);
    if (!ends)
        return;
    release_extents(store, &extents);
    syncer_wake(store);
    wait_notify(log);
    log_debug("a log has ended", LOG_STR("log", log->handle), LOG_STR("reason", reason));
    log_unref(log); /* the registry's */
}

const char *shapelog_dir(const struct shapelog *store)
{
    return store->dir;
}
