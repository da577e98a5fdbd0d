#include "kafka/outlet_private.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/logging.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define STALLED_AFTER_MS 5000

/* ---- states ---------------------------------------------------------------------------------- */

static void wake(struct outlet *o)
{
    if (eventfd_write(o->wake_fd, 1) < 0) {
        /* it is full: awake already */
    }
}

bool outlet_is_stopping(const struct outlet *o)
{
    return atomic_load(&o->stop);
}

const atomic_bool *outlet_stopping(const struct outlet *o)
{
    return &o->stop;
}

lsn_t outlet_acked(const struct outlet *o)
{
    return atomic_load(&o->acked);
}

void outlet_get_stats(struct outlet *o, struct outlet_stats *stats)
{
    bool waits = atomic_load(&o->inflight) > 0;

    pthread_mutex_lock(&o->mutex);
    *stats = (struct outlet_stats){
        .state = o->state,
        .stalled = waits && clock_ms() - atomic_load(&o->progress_ms) > STALLED_AFTER_MS,
        .records = o->records,
        .bytes = o->bytes,
        .errors = o->errors,
        .queued_bytes = spool_bytes(o->spool),
        .spooled_bytes = spool_file_bytes(o->spool),
        .acked = outlet_acked(o),
    };
    snprintf(stats->error, sizeof(stats->error), "%s", o->error.msg);
    pthread_mutex_unlock(&o->mutex);
}

/* ---- the queue's entries --------------------------------------------------------------------- */

static bool put_record(struct outlet *o, const struct outlet_record *r, struct err *err)
{
    struct entry e = {.kind = ENTRY_RECORD,
                      .partition = r->partition,
                      .has_key = r->has_key,
                      .has_value = r->has_value,
                      .topic = (uint32_t)r->topic.len,
                      .key = r->has_key ? (uint32_t)r->key.len : 0,
                      .value = r->has_value ? (uint32_t)r->value.len : 0,
                      .nheaders = (uint32_t)r->nheaders};
    struct slice parts[4 + 2 * OUTLET_MAX_HEADERS] = {
        {(const char *)&e, sizeof(e)}, r->topic, {r->key.ptr, e.key}, {r->value.ptr, e.value}};
    size_t n = 4;

    for (size_t i = 0; i < r->nheaders; i++) {
        e.headers[i].name = (uint32_t)r->headers[i].name.len;
        e.headers[i].value = (uint32_t)r->headers[i].value.len;
        parts[n++] = r->headers[i].name;
        parts[n++] = r->headers[i].value;
    }
    return spool_put(o->spool, parts, n, err);
}

/* ---- the stream's thread --------------------------------------------------------------------- */

bool outlet_open(struct outlet *o, int wait_ms)
{
    int64_t until_us = clock_us() + (int64_t)wait_ms * 1000;
    struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};

    pthread_mutex_lock(&o->mutex);
    o->wanted = true;
    wake(o);
    for (int rc = 0; rc == 0 && !(o->state == OUTLET_OPEN && o->idle) && o->state != OUTLET_FAILED;)
        rc = pthread_cond_timedwait(&o->changed, &o->mutex, &until);
    o->open = o->state == OUTLET_OPEN && o->idle && !o->restart;
    o->asked = !o->open;
    o->unmarked = false;
    bool open = o->open;
    pthread_mutex_unlock(&o->mutex);
    return open;
}

bool outlet_is_open(const struct outlet *o)
{
    return atomic_load(&o->open);
}

void outlet_close(struct outlet *o)
{
    pthread_mutex_lock(&o->mutex);
    o->restart |= o->open && o->unmarked && o->config.transactional_id;
    o->open = false;
    pthread_mutex_unlock(&o->mutex);
    wake(o);
}

void outlet_reset(struct outlet *o)
{
    pthread_mutex_lock(&o->mutex);
    o->restart |= o->state != OUTLET_IDLE;
    o->forget = true;
    o->open = false;
    pthread_mutex_unlock(&o->mutex);
    wake(o);
}

/* With the mutex: takes nothing more, until it is opened again. */
static void fall_behind(struct outlet *o, const struct err *why)
{
    o->open = false;
    o->asked = true;
    o->restart |= o->unmarked && o->config.transactional_id;
    log_warn("publishing falls behind: the slot keeps what follows", LOG_ERR(why));
}

/* A record, or an entry without bytes. */
static bool put_entry(struct outlet *o, const struct outlet_record *record,
                      const struct entry *entry, struct call *call)
{
    const struct slice bytes = {(const char *)entry, sizeof(*entry)};
    struct err err;

    pthread_mutex_lock(&o->mutex);
    bool open = o->open;
    bool ok = open && (record ? put_record(o, record, &err) : spool_put(o->spool, &bytes, 1, &err));
    if (ok) {
        o->unmarked = record || (o->unmarked && entry->kind != ENTRY_MARK);
        o->idle = false;
        if (call) {
            *o->last_call = call;
            o->last_call = &call->next;
        }
    } else if (open) {
        fall_behind(o, &err);
    }
    bool asleep = o->sleeping;
    pthread_mutex_unlock(&o->mutex);
    if (asleep)
        wake(o);
    return ok;
}

bool outlet_put(struct outlet *o, const struct outlet_record *record)
{
    return put_entry(o, record, NULL, NULL);
}

void outlet_mark(struct outlet *o, lsn_t lsn)
{
    bool ok = put_entry(o, NULL, &(struct entry){.kind = ENTRY_MARK, .lsn = lsn}, NULL);

    (void)ok; /* it has closed, as the next record will tell */
}

bool outlet_call(struct outlet *o, outlet_fn *fn, void *arg)
{
    struct call *call = xcalloc(1, sizeof(*call));
    struct err err = {0};

    *call = (struct call){.fn = fn, .arg = arg};
    if (put_entry(o, NULL, &(struct entry){.kind = ENTRY_CALL}, call))
        return true;
    free(call);
    fn(arg, false, &err);
    return false;
}

/* ---- from beginning to end ------------------------------------------------------------------- */

static void release(struct outlet *o)
{
    spool_free(o->spool);
    if (o->wake_fd >= 0)
        close(o->wake_fd);
    pthread_cond_destroy(&o->changed);
    pthread_mutex_destroy(&o->mutex);
    free(o);
}

struct outlet *outlet_new(const struct outlet_config *config, struct err *err)
{
    struct outlet *o = xcalloc(1, sizeof(*o));
    pthread_condattr_t attr;

    o->config = *config;
    o->spool = spool_new(config->spool_dir, config->spool_limit);
    o->last_call = &o->calls;
    o->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&o->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&o->changed, &attr);
    pthread_condattr_destroy(&attr);
    if (o->wake_fd >= 0 && pthread_create(&o->thread, NULL, outlet_run, o) == 0)
        return o;
    err_set(err, ERR_IO, "could not start the publishing thread");
    release(o);
    return NULL;
}

void outlet_stop(struct outlet *o)
{
    atomic_store(&o->stop, true);
    wake(o);
}

void outlet_free(struct outlet *o)
{
    if (!o)
        return;
    outlet_stop(o);
    pthread_join(o->thread, NULL);
    release(o);
}
