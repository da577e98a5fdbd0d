#include "snapshot/subset_pool.h"
#include "base/logging.h"
#include "snapshot/subset_job.h"

#include <pthread.h>
#include <stdlib.h>

#define MAX_WAITING 20000
#define QUEUE_SHARE 4 /* a subject's part of the queue is one of so many */
#define GONE "nobody waits for it any more"

enum place { AT_SNAPSHOTS, IN_QUEUE, AT_WORK };

/* In the pool's list from the request to the answer. */
struct asked {
    struct subset_pool *pool;
    struct asked *prev, *next;
    unsigned refs; /* who gives it up holds one too: its address names it to the snapshot pool */
    enum place place;
    atomic_bool gone;
    struct arena arena;
    struct shape_request shape; /* its texts but for `queryable` are not kept */
    struct subset_request subset;
    struct slice handle;
    struct log *log; /* a reference, when it has been found */
    subset_answered *done;
    void *arg;
};

struct subset_worker {
    struct subset_pool *pool;
    pthread_t thread;
    struct pg_conn *conn;    /* written under the pool's mutex, so that it can be cancelled */
    const struct asked *job; /* that it runs; under the mutex */
};

struct subset_pool {
    struct snapshot_config config;
    struct snapshot_pool *snapshots;
    atomic_bool stop;
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct asked *first, *last; /* oldest first */
    size_t waiting;
    struct subset_worker *workers;
    int nworkers;
};

/* ---- the list -------------------------------------------------------------------------------- */

static struct asked *asked_new(struct subset_pool *pool, const struct shape_request *shape,
                               const struct subset_request *subset, struct slice handle,
                               subset_answered *done, void *arg)
{
    struct asked *a = xcalloc(1, sizeof(*a));

    a->pool = pool;
    a->refs = 1;
    a->done = done;
    a->arg = arg;
    subset_request_copy(subset, &a->arena, &a->subset);
    a->handle = arena_copy(&a->arena, handle);
    if (shape->queryable.ptr)
        a->shape.queryable = arena_copy(&a->arena, shape->queryable);
    return a;
}

/* Nobody's token: the operator's, or that of a bridge without tokens. They are not counted. */
static bool same_subject(const struct asked *a, const struct asked *b)
{
    return a->subset.subject.ptr && b->subset.subject.ptr &&
           slice_eq(a->subset.subject, b->subset.subject);
}

/* How many of its subject are there. Holding the mutex. */
static size_t beside(const struct subset_pool *pool, const struct asked *a)
{
    size_t n = 0;

    for (const struct asked *b = a->subset.subject.ptr ? pool->first : NULL; b; b = b->next)
        n += same_subject(a, b);
    return n;
}

/* Holding the mutex. */
static void link_last(struct subset_pool *pool, struct asked *a)
{
    a->prev = pool->last;
    if (pool->last)
        pool->last->next = a;
    else
        pool->first = a;
    pool->last = a;
    pool->waiting++;
}

static void unlink_asked(struct subset_pool *pool, struct asked *a)
{
    pthread_mutex_lock(&pool->mutex);
    *(a->prev ? &a->prev->next : &pool->first) = a->next;
    *(a->next ? &a->next->prev : &pool->last) = a->prev;
    pool->waiting--;
    for (int i = 0; i < pool->nworkers; i++) {
        if (pool->workers[i].job == a)
            pool->workers[i].job = NULL;
    }
    pthread_mutex_unlock(&pool->mutex);
}

static void asked_unref(struct asked *a)
{
    pthread_mutex_lock(&a->pool->mutex);
    bool last = --a->refs == 0;
    pthread_mutex_unlock(&a->pool->mutex);
    if (!last)
        return;
    arena_release(&a->arena);
    free(a);
}

/* Takes the answer's log. The list is left first: whoever asked may use `arg` for another. */
static void answer_asked(struct asked *a, struct subset_answer *answer)
{
    unlink_asked(a->pool, a);
    a->done(a->arg, answer);
    asked_unref(a);
}

static void refuse(struct asked *a, enum err_code code, const char *text)
{
    struct subset_answer answer = {.log = a->log, .body.fd = -1};

    err_set(&answer.err, code, "%s", text);
    answer_asked(a, &answer);
}

/* ---- from request to worker ------------------------------------------------------------------ */

/* The log is there. On a thread of the snapshot pool, or on that of the request. */
static void on_shape(void *arg, struct shape_answer *found)
{
    struct asked *a = arg;
    struct subset_pool *pool = a->pool;
    struct subset_answer answer = {
        .log = found->log, .body.fd = -1, .field = found->field, .err = found->err};

    if (!found->log || (a->handle.len && !slice_eq(a->handle, log_handle(found->log)))) {
        answer_asked(a, &answer);
        return;
    }
    a->log = found->log;
    pthread_mutex_lock(&pool->mutex);
    bool stopping = atomic_load(&pool->stop), gone = atomic_load(&a->gone);
    if (!stopping && !gone) {
        a->place = IN_QUEUE;
        pthread_cond_signal(&pool->work);
    }
    pthread_mutex_unlock(&pool->mutex);
    if (stopping || gone)
        refuse(a, ERR_STOPPED, stopping ? "the bridge is stopping" : GONE);
}

void subset_pool_request(struct subset_pool *pool, const struct shape_request *shape,
                         const struct subset_request *subset, struct slice handle,
                         subset_answered *done, void *arg)
{
    struct asked *a = asked_new(pool, shape, subset, handle, done, arg);

    pthread_mutex_lock(&pool->mutex);
    bool full = pool->waiting >= MAX_WAITING || beside(pool, a) > MAX_WAITING / QUEUE_SHARE;
    link_last(pool, a);
    pthread_mutex_unlock(&pool->mutex);
    if (full)
        refuse(a, ERR_BUSY, "Snapshot creation failed because of a connection pool queue timeout");
    else
        snapshot_pool_request(pool->snapshots, shape, on_shape, a);
}

/* Referenced, or NULL. Holding the mutex. */
static struct asked *find_asked(const struct subset_pool *pool, const void *arg)
{
    struct asked *a = pool->first;

    while (a && a->arg != arg)
        a = a->next;
    if (a)
        a->refs++;
    return a;
}

void subset_pool_cancel(struct subset_pool *pool, void *arg)
{
    pthread_mutex_lock(&pool->mutex);
    struct asked *a = find_asked(pool, arg);
    enum place place = a ? a->place : AT_WORK;
    if (a)
        atomic_store(&a->gone, true);
    if (place == IN_QUEUE)
        a->place = AT_WORK; /* ours: no worker takes it any more */
    pthread_mutex_unlock(&pool->mutex);
    if (place == IN_QUEUE)
        refuse(a, ERR_STOPPED, GONE);
    else if (place == AT_SNAPSHOTS)
        snapshot_pool_cancel(pool->snapshots, a);
    if (a)
        asked_unref(a);
}

/* ---- workers --------------------------------------------------------------------------------- */

/* Half of the workers. Whoever is done with one of its jobs takes the next. */
static bool has_its_share(const struct subset_pool *pool, const struct asked *a)
{
    int n = 0;

    for (int i = 0; i < pool->nworkers; i++)
        n += pool->workers[i].job && same_subject(pool->workers[i].job, a);
    return n >= (pool->nworkers + 1) / 2;
}

static struct asked *next_in_queue(const struct subset_pool *pool)
{
    for (struct asked *a = pool->first; a; a = a->next) {
        if (a->place == IN_QUEUE && (atomic_load(&pool->stop) || !has_its_share(pool, a)))
            return a;
    }
    return NULL;
}

/* NULL when the pool stops and nothing is left. */
static struct asked *take_asked(struct subset_worker *w)
{
    struct subset_pool *pool = w->pool;
    struct asked *a;

    pthread_mutex_lock(&pool->mutex);
    while (!(a = next_in_queue(pool)) && !atomic_load(&pool->stop))
        pthread_cond_wait(&pool->work, &pool->mutex);
    if (a)
        a->place = AT_WORK;
    w->job = a;
    pthread_mutex_unlock(&pool->mutex);
    return a;
}

static void set_conn(struct subset_worker *w, struct pg_conn *conn)
{
    pthread_mutex_lock(&w->pool->mutex);
    struct pg_conn *before = w->conn;
    w->conn = conn;
    pthread_mutex_unlock(&w->pool->mutex);
    pg_close(before);
}

static bool ensure_connected(struct subset_worker *w, struct err *err)
{
    if (pg_alive(w->conn))
        return true;
    set_conn(w, NULL);
    struct pg_conn *conn = pg_connect(w->pool->config.conninfo, "tombolo subset", false, err);
    if (conn)
        set_conn(w, conn);
    return conn != NULL;
}

static void run(struct subset_worker *w, struct asked *a, struct subset_answer *answer)
{
    const struct subset_job job = {.config = &w->pool->config,
                                   .conn = w->conn,
                                   .log = a->log,
                                   .request = &a->subset,
                                   .queryable = a->shape.queryable,
                                   .stop = &w->pool->stop,
                                   .gone = &a->gone};

    subset_job_run(&job, answer);
}

static void serve(struct subset_worker *w, struct asked *a)
{
    struct subset_answer answer = {.log = a->log, .body.fd = -1};

    if (!ensure_connected(w, &answer.err)) {
        answer.err.code = ERR_CONN;
        answer_asked(a, &answer);
        return;
    }
    run(w, a, &answer);
    /* A connection that turned out dead: once more with a new one. */
    if (answer.err.code == ERR_CONN && !pg_alive(w->conn) && ensure_connected(w, &answer.err)) {
        answer = (struct subset_answer){.log = a->log, .body.fd = -1};
        run(w, a, &answer);
    }
    answer_asked(a, &answer);
}

static void *work(void *arg)
{
    struct subset_worker *w = arg;

    for (struct asked *a; (a = take_asked(w));) {
        if (atomic_load(&w->pool->stop) || atomic_load(&a->gone))
            refuse(a, ERR_STOPPED, GONE);
        else
            serve(w, a);
    }
    set_conn(w, NULL);
    return NULL;
}

struct subset_pool *subset_pool_new(const struct snapshot_config *config,
                                    struct snapshot_pool *snapshots, struct err *err)
{
    struct subset_pool *pool = xcalloc(1, sizeof(*pool));

    pool->config = *config;
    pool->snapshots = snapshots;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pool->workers = xcalloc((size_t)config->workers, sizeof(*pool->workers));
    for (; pool->nworkers < config->workers; pool->nworkers++) {
        struct subset_worker *w = &pool->workers[pool->nworkers];

        w->pool = pool;
        if (pthread_create(&w->thread, NULL, work, w) != 0) {
            err_set(err, ERR_IO, "could not start a worker for subsets");
            subset_pool_free(pool);
            return NULL;
        }
    }
    return pool;
}

void subset_pool_stop(struct subset_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->stop, true);
    for (int i = 0; i < pool->nworkers; i++) {
        if (pool->workers[i].conn)
            pg_cancel(pool->workers[i].conn);
    }
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
}

void subset_pool_free(struct subset_pool *pool)
{
    if (!pool)
        return;
    subset_pool_stop(pool);
    for (int i = 0; i < pool->nworkers; i++)
        pthread_join(pool->workers[i].thread, NULL);
    free(pool->workers);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}
