/*
 * libtombolo's handle: who syncs, and what is told of it. The work is replica's and fetch's.
 *
 * One timer is what ends or wakes the sync: it goes off when the time given has passed, and at once
 * when somebody stops the thread or gives it another token; flags say which. Waiting looks at the
 * file, since another process may be the one that syncs it; our own thread only makes it quicker.
 */
#include "lib/tombolo.h"

#include "base/arena.h"
#include "base/logging.h"
#include "fetch/fetch.h"
#include "lib/handle.h"
#include "replica/replica.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define RETRY_MS 60000 /* what does not change by asking again is asked again nevertheless */

static _Thread_local char error_text[TOMBOLO_PROBLEM_SIZE];

const char *tombolo_version(void)
{
    return TOMBOLO_VERSION;
}

const char *tombolo_result_name(enum tombolo_result result)
{
    static const char *const names[] = {
        [TOMBOLO_OK] = "ok",           [TOMBOLO_TIMEOUT] = "timeout", [TOMBOLO_BUSY] = "busy",
        [TOMBOLO_OFFLINE] = "offline", [TOMBOLO_REFUSED] = "refused", [TOMBOLO_MISUSE] = "misuse",
        [TOMBOLO_FAILED] = "failed",
    };

    return (size_t)result < sizeof(names) / sizeof(names[0]) ? names[result] : "unknown";
}

const char *tombolo_error(void)
{
    return error_text;
}

static void put_text(char out[TOMBOLO_PROBLEM_SIZE], const struct err *err)
{
    snprintf(out, TOMBOLO_PROBLEM_SIZE, "%s%s%s", err->msg, err->hint[0] ? "; " : "", err->hint);
}

static enum tombolo_result result_of(const struct err *err)
{
    switch (err->code) {
    case ERR_NONE:
        return TOMBOLO_OK;
    case ERR_BUSY:
        return TOMBOLO_BUSY;
    case ERR_STOPPED:
        return TOMBOLO_TIMEOUT;
    case ERR_CONN:
    case ERR_TIMEOUT:
    case ERR_CHANGED:
        return TOMBOLO_OFFLINE;
    case ERR_INPUT:
    case ERR_PG:
        return TOMBOLO_REFUSED;
    default:
        return TOMBOLO_FAILED;
    }
}

enum tombolo_result handle_failed(const struct err *err)
{
    put_text(error_text, err);
    return result_of(err);
}

enum tombolo_result handle_misuse(const char *text)
{
    snprintf(error_text, sizeof(error_text), "%s", text);
    return TOMBOLO_MISUSE;
}

/* ---- a handle ---- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool usable;

static void init_process(void)
{
    struct err err;

    logging_init(LOG_ERROR, LOG_LOGFMT);
    usable = fetch_init(&err);
}

struct tombolo *tombolo_open(const char *path, const char *url)
{
    struct tombolo *t = xcalloc(1, sizeof(*t));
    pthread_condattr_t monotonic;

    pthread_once(&once, init_process);
    t->path = xstrdup(path);
    t->url = url ? xstrdup(url) : NULL;
    pthread_mutex_init(&t->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&t->moved, &monotonic);
    pthread_condattr_destroy(&monotonic);
    t->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    return t;
}

void tombolo_close(struct tombolo *t)
{
    if (!t)
        return;
    tombolo_stop(t);
    for (size_t i = 0; i < t->nshapes; i++)
        replica_shape_release(&t->shapes[i]);
    free(t->shapes);
    if (t->timer >= 0)
        close(t->timer);
    pthread_cond_destroy(&t->moved);
    pthread_mutex_destroy(&t->mutex);
    free(t->token);
    free(t->url);
    free(t->path);
    free(t);
}

/* The timer goes off in `ms`; never when it is below 0, at once when 0. */
static void set_timer(struct tombolo *t, int ms)
{
    struct itimerspec at = {.it_value = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}};

    if (ms < 0)
        at = (struct itimerspec){0};
    else if (ms == 0)
        at.it_value.tv_nsec = 1;
    timerfd_settime(t->timer, 0, &at, NULL);
}

void tombolo_set_token(struct tombolo *t, const char *token)
{
    pthread_mutex_lock(&t->mutex);
    free(t->token);
    t->token = token ? xstrdup(token) : NULL;
    if (t->threaded) {
        t->renewed = true;
        set_timer(t, 0);
        pthread_cond_broadcast(&t->moved);
    }
    pthread_mutex_unlock(&t->mutex);
}

void tombolo_on_event(struct tombolo *t, tombolo_callback *callback, void *arg)
{
    t->callback = callback;
    t->arg = arg;
}

enum tombolo_result tombolo_add_shape(struct tombolo *t, const char *shape)
{
    struct err err;

    t->shapes = xrealloc(t->shapes, (t->nshapes + 1) * sizeof(*t->shapes));
    if (!replica_shape_parse(shape, &t->shapes[t->nshapes], &err)) {
        handle_failed(&err);
        return TOMBOLO_MISUSE;
    }
    t->nshapes++;
    return TOMBOLO_OK;
}

/* ---- syncing ---- */

static void tell(struct tombolo *t, enum tombolo_event event)
{
    if (t->callback)
        t->callback(t->arg, event);
}

static void note(struct tombolo *t, const struct err *err)
{
    pthread_mutex_lock(&t->mutex);
    t->result = err ? result_of(err) : TOMBOLO_OK;
    t->problem[0] = '\0';
    if (err)
        put_text(t->problem, err);
    pthread_mutex_unlock(&t->mutex);
    if (err)
        tell(t, TOMBOLO_PROBLEM);
}

static void on_failure(void *arg, const struct err *err)
{
    note(arg, err);
}

static void on_bytes(void *arg)
{
    struct tombolo *t = arg;
    struct replica_progress progress;
    bool first;

    replica_progress(t->replica, &progress);
    pthread_mutex_lock(&t->mutex);
    first = t->result != TOMBOLO_OK;
    bool moved = progress.commits > t->commits;
    t->commits = progress.commits;
    t->changes += moved;
    if (moved)
        pthread_cond_broadcast(&t->moved);
    pthread_mutex_unlock(&t->mutex);
    if (first)
        note(t, NULL);
    if (moved)
        tell(t, TOMBOLO_CHANGED);
}

/* Takes the file; only one may. */
static bool take_file(struct tombolo *t, struct err *err)
{
    if (!usable || t->timer < 0)
        return err_set(err, ERR_IO, "could not initialise curl or make a timer");
    t->replica = replica_open(t->path, err);
    t->commits = 0;
    if (t->replica &&
        (t->nshapes == 0 || replica_set_shapes(t->replica, t->shapes, t->nshapes, false, err)))
        return true;
    replica_close(t->replica);
    t->replica = NULL;
    return false;
}

static char *copy_token(struct tombolo *t)
{
    pthread_mutex_lock(&t->mutex);
    char *token = t->token ? xstrdup(t->token) : NULL;
    pthread_mutex_unlock(&t->mutex);
    return token;
}

/* Until up to date, stopped, or what asking again does not help against. */
static bool run(struct tombolo *t, bool only_once, struct err *err)
{
    char *token = copy_token(t);
    const struct fetch_options options = {.url = t->url,
                                          .bearer = token,
                                          .once = only_once,
                                          .attempts = UINT_MAX,
                                          .stop_fd = t->timer,
                                          .on_bytes = on_bytes,
                                          .on_failure = on_failure,
                                          .arg = t};
    bool ok = fetch_run(t->replica, &options, err);

    free(token);
    return ok;
}

/* A write to a connection that is gone must not end the program. */
static void hold_sigpipe(sigset_t *before)
{
    sigset_t pipe;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, before);
}

static void release_sigpipe(const sigset_t *before)
{
    const struct timespec at_once = {0};
    sigset_t pipe;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    if (!sigismember(before, SIGPIPE))
        while (sigtimedwait(&pipe, NULL, &at_once) == SIGPIPE)
            ;
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* TOMBOLO_OK: the caller is the one that syncs. */
static enum tombolo_result claim(struct tombolo *t)
{
    if (!t->url)
        return handle_misuse("the handle was opened without the bridge's URL");
    pthread_mutex_lock(&t->mutex);
    bool free_now = !t->running;
    t->running = true;
    t->stopping = false;
    pthread_mutex_unlock(&t->mutex);
    return free_now
               ? TOMBOLO_OK
               : handle_misuse("the handle syncs already; tombolo_wait_written() waits for it");
}

static void let_go(struct tombolo *t)
{
    replica_close(t->replica);
    t->replica = NULL;
    pthread_mutex_lock(&t->mutex);
    t->running = false;
    pthread_mutex_unlock(&t->mutex);
}

enum tombolo_result tombolo_sync(struct tombolo *t, int timeout_ms)
{
    struct err err = {0};
    sigset_t before;

    if (claim(t) != TOMBOLO_OK)
        return TOMBOLO_MISUSE;
    hold_sigpipe(&before);
    set_timer(t, timeout_ms);
    bool ok = take_file(t, &err) && run(t, true, &err);
    set_timer(t, -1);
    let_go(t);
    release_sigpipe(&before);
    if (ok)
        return TOMBOLO_OK;
    if (err.code == ERR_STOPPED)
        err_set(&err, ERR_STOPPED, "not up to date within %d ms%s%s", timeout_ms,
                t->problem[0] ? ": " : "", t->problem);
    return handle_failed(&err);
}

/* The thread between two attempts. */
static void rest(struct tombolo *t)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += RETRY_MS / 1000;
    pthread_mutex_lock(&t->mutex);
    while (!t->stopping && !t->renewed && rc == 0)
        rc = pthread_cond_timedwait(&t->moved, &t->mutex, &until);
    pthread_mutex_unlock(&t->mutex);
}

/* Before an attempt of the thread's: the timer is quiet. False: it is to stop. */
static bool begin(struct tombolo *t)
{
    pthread_mutex_lock(&t->mutex);
    bool go_on = !t->stopping;
    t->renewed = false;
    if (go_on)
        set_timer(t, -1);
    pthread_mutex_unlock(&t->mutex);
    return go_on;
}

static void *follow(void *arg)
{
    struct tombolo *t = arg;
    struct err err;

    while (begin(t)) {
        if (run(t, false, &err) || err.code == ERR_STOPPED)
            continue; /* for another token, or to end: begin() knows */
        note(t, &err);
        rest(t);
    }
    return NULL;
}

/* The thread takes no signal of the program's. */
static bool start_thread(struct tombolo *t, struct err *err)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&t->mutex);
    int rc = pthread_create(&t->thread, NULL, follow, t);
    t->threaded = rc == 0;
    pthread_mutex_unlock(&t->mutex);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 || err_set(err, ERR_IO, "could not start a thread: %s", strerror(rc));
}

enum tombolo_result tombolo_start(struct tombolo *t)
{
    struct err err = {0};

    if (claim(t) != TOMBOLO_OK)
        return TOMBOLO_MISUSE;
    set_timer(t, -1);
    if (take_file(t, &err) && start_thread(t, &err))
        return TOMBOLO_OK;
    let_go(t);
    return handle_failed(&err);
}

void tombolo_stop(struct tombolo *t)
{
    pthread_mutex_lock(&t->mutex);
    bool threaded = t->threaded;
    t->threaded = false;
    t->stopping = true;
    if (threaded)
        set_timer(t, 0);
    pthread_cond_broadcast(&t->moved);
    pthread_mutex_unlock(&t->mutex);
    if (!threaded)
        return;
    pthread_join(t->thread, NULL);
    let_go(t);
}
