/*
 * What a handle says of its file, and waiting for it: read from the file each time, whoever syncs
 * it, so all of it holds for a handle that does not sync too.
 */
#include "lib/handle.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

#define LOOK_MS 50 /* how often, where another process syncs */

static void add_shape(struct tombolo_status *out, const struct replica_shape_status *s)
{
    out->fetching += strcmp(s->status, "live") != 0;
    if (s->kept && out->kept++ == 0)
        snprintf(out->kept_why, sizeof(out->kept_why), "%s: %s", s->local, s->kept);
}

enum tombolo_result tombolo_status(struct tombolo *t, struct tombolo_status *out)
{
    struct replica_status status;
    struct err err;

    *out = (struct tombolo_status){0};
    if (!replica_status_read(t->path, &status, &err))
        return handle_failed(&err);
    out->position = status.position;
    out->committed_at = status.at;
    out->heard_at = status.heard_at;
    out->consistent = status.consistent;
    out->syncing = status.syncer_pid != 0;
    out->pending = status.pending;
    out->rejected = status.rejected;
    out->shapes = status.nshapes;
    for (size_t i = 0; i < status.nshapes; i++)
        add_shape(out, &status.shapes[i]);
    replica_status_release(&status);
    pthread_mutex_lock(&t->mutex);
    out->result = t->result;
    snprintf(out->problem, sizeof(out->problem), "%s", t->problem);
    pthread_mutex_unlock(&t->mutex);
    return TOMBOLO_OK;
}

/* ---- waiting ---- */

struct wait {
    struct tombolo *t;
    int64_t deadline; /* clock_ms(); INT64_MAX: none */
};

static struct wait wait_begin(struct tombolo *t, int timeout_ms)
{
    return (struct wait){t, timeout_ms < 0 ? INT64_MAX : clock_ms() + timeout_ms};
}

/* Until our thread has applied something, or it is time to look; false when the time is up. */
static bool wait_on(const struct wait *w)
{
    int64_t left = w->deadline - clock_ms();
    struct timespec until;

    if (left <= 0)
        return false;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (left < LOOK_MS ? left : LOOK_MS) * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&w->t->mutex);
    pthread_cond_timedwait(&w->t->moved, &w->t->mutex, &until);
    pthread_mutex_unlock(&w->t->mutex);
    return true;
}

static enum tombolo_result timed_out(struct tombolo *t, const char *what)
{
    struct err err;

    pthread_mutex_lock(&t->mutex);
    err_set(&err, ERR_STOPPED, "%s%s%s", what, t->problem[0] ? ": " : "", t->problem);
    pthread_mutex_unlock(&t->mutex);
    return handle_failed(&err);
}

enum tombolo_result tombolo_wait_position(struct tombolo *t, uint64_t position, int timeout_ms)
{
    const struct wait w = wait_begin(t, timeout_ms);
    bool there = false;
    struct err err;

    do {
        if (!replica_is_at(t->path, position, &there, &err))
            return handle_failed(&err);
        if (there)
            return TOMBOLO_OK;
    } while (wait_on(&w));
    return timed_out(t, "the file has not come to the position in time");
}

enum tombolo_result tombolo_wait_written(struct tombolo *t, int timeout_ms)
{
    const struct wait w = wait_begin(t, timeout_ms);
    bool decided = false;
    int64_t last;
    struct err err;

    if (!replica_last_write(t->path, &last, &err))
        return handle_failed(&err);
    do {
        if (!replica_is_decided(t->path, last, &decided, &err))
            return handle_failed(&err);
        if (decided)
            return TOMBOLO_OK;
    } while (wait_on(&w));
    return timed_out(t, "what was written has not been acknowledged in time");
}

enum tombolo_result tombolo_wait_change(struct tombolo *t, uint64_t *seen, int timeout_ms)
{
    const struct wait w = wait_begin(t, timeout_ms);

    do {
        pthread_mutex_lock(&t->mutex);
        uint64_t changes = t->changes;
        pthread_mutex_unlock(&t->mutex);
        if (changes != *seen) {
            *seen = changes;
            return TOMBOLO_OK;
        }
    } while (wait_on(&w));
    return timed_out(t, "nothing was applied in time");
}

/* ---- refused writes ---- */

static const char *operation_of(const struct replica_rejected *r)
{
    return r->op[0] == 'I' ? "insert" : r->op[0] == 'U' ? "update" : "delete";
}

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

enum tombolo_result tombolo_rejected(struct tombolo *t, tombolo_each_rejection *each, void *arg)
{
    struct replica_rejected *list;
    struct err err;
    size_t n;

    if (!replica_rejected_read(t->path, &list, &n, &err))
        return handle_failed(&err);
    for (size_t i = 0; i < n; i++) {
        const struct tombolo_rejection rejection = {.id = list[i].id,
                                                    .at = list[i].at,
                                                    .table = list[i].table,
                                                    .operation = operation_of(&list[i]),
                                                    .key = list[i].key,
                                                    .before = or_empty(list[i].before),
                                                    .after = or_empty(list[i].after),
                                                    .code = list[i].code,
                                                    .sqlstate = or_empty(list[i].sqlstate),
                                                    .message = or_empty(list[i].message)};

        if (each(arg, &rejection) != 0)
            break;
    }
    replica_rejected_release(list, n);
    return TOMBOLO_OK;
}

/* What there is not cannot be meant. */
static enum tombolo_result looked_after(bool ok, const struct err *err)
{
    if (ok)
        return TOMBOLO_OK;
    return err->code == ERR_NOT_FOUND ? handle_misuse(err->msg) : handle_failed(err);
}

enum tombolo_result tombolo_discard(struct tombolo *t, int64_t id)
{
    struct err err;

    return looked_after(replica_rejected_discard(t->path, id, &err), &err);
}

enum tombolo_result tombolo_retry(struct tombolo *t, int64_t id)
{
    struct err err;

    return looked_after(replica_rejected_retry(t->path, id, &err), &err);
}
