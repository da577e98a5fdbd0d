#include "snapshot/pool.h"
#include "base/logging.h"
#include "snapshot/job.h"
#include "snapshot/queue.h"
#include "snapshot/waiting.h"

#include <pthread.h>
#include <stdlib.h>

#define STOPPING "the bridge is stopping"
#define GONE "whoever asked has gone"
#define MAX_WAITS 64 /* tables that are waited for at a time, each by a worker */

struct worker {
    struct snapshot_pool *pool;
    pthread_t thread;
    struct pg_conn *conn; /* written under the pool's mutex, so that it can be cancelled */
};

/* A table that is waited for. */
struct table_wait {
    unsigned users;
    struct requests parked;
};

struct snapshot_pool {
    struct snapshot_config config;
    struct snapshot_stats stats;
    struct trust trust;
    struct tables tables;
    atomic_bool stop;
    pthread_mutex_t mutex;
    pthread_cond_t work, look;
    struct queue queue;
    struct worker looker;
    bool looks;             /* it was started */
    struct worker *workers; /* room for all there may be */
    int nworkers;           /* started */
    int waiting;            /* of these, for a table: others take their place */
    int busy;               /* with a request, and not waiting: at most config.workers begin one */
    struct u64map waits;    /* relid -> struct table_wait */
};

/* ---- requests -------------------------------------------------------------------------------- */

/* Whoever asked may use `arg` for another, once it is answered. */
static void answer(struct snapshot_pool *pool, struct request *r, struct shape_answer *a)
{
    pthread_mutex_lock(&pool->mutex);
    queue_forget(&pool->queue, r);
    pthread_mutex_unlock(&pool->mutex);
    r->done(r->arg, a);
    request_free(r);
}

static void refuse(struct snapshot_pool *pool, struct request *r, enum err_code code,
                   const char *text)
{
    struct shape_answer a = {0};

    err_set(&a.err, code, "%s", text);
    answer(pool, r, &a);
}

/* Somebody for what is in the queue. Holding the mutex. */
static void wake(struct snapshot_pool *pool)
{
    if (pool->busy < pool->config.workers)
        pthread_cond_signal(&pool->work);
    else if (pool->queue.fresh.first)
        pthread_cond_signal(&pool->look);
}

/* ---- from outside ---------------------------------------------------------------------------- */

static void submit(struct snapshot_pool *pool, struct request *r)
{
    pthread_mutex_lock(&pool->mutex);
    bool stopping = atomic_load(&pool->stop), fits = !stopping && queue_add(&pool->queue, r);
    if (fits)
        wake(pool);
    pthread_mutex_unlock(&pool->mutex);
    if (stopping)
        refuse(pool, r, ERR_STOPPED, STOPPING);
    else if (!fits)
        refuse(pool, r, ERR_BUSY,
               "Snapshot creation failed because of a connection pool queue timeout");
}

void snapshot_pool_request(struct snapshot_pool *pool, const struct shape_request *shape,
                           shape_answered *done, void *arg)
{
    submit(pool, request_new(shape, done, arg));
}

void snapshot_pool_find(struct snapshot_pool *pool, const struct shape_request *shape,
                        shape_answered *done, void *arg)
{
    struct request *r = request_new(shape, done, arg);

    r->find_only = true;
    submit(pool, r);
}

/* What is at work goes on: somebody may come back for it, and it is dropped when it would have to
 * wait. */
void snapshot_pool_cancel(struct snapshot_pool *pool, void *arg)
{
    pthread_mutex_lock(&pool->mutex);
    struct request *r = queue_find(&pool->queue, arg);
    bool waits = r && r->where;
    if (waits)
        queue_leave(&pool->queue, r);
    else if (r)
        r->gone = true;
    pthread_mutex_unlock(&pool->mutex);
    if (waits)
        refuse(pool, r, ERR_STOPPED, GONE);
}

static bool is_idle(const struct snapshot_pool *pool)
{
    return !pool->queue.fresh.first && !pool->queue.absent.first;
}

static struct request *next_request(struct snapshot_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    while ((is_idle(pool) || pool->busy >= pool->config.workers) && !atomic_load(&pool->stop))
        pthread_cond_wait(&pool->work, &pool->mutex);
    struct queue *q = &pool->queue;
    struct request *r = queue_take(q, q->absent.first ? &q->absent : &q->fresh);
    if (r) {
        pool->busy++;
        wake(pool);
    }
    pthread_mutex_unlock(&pool->mutex);
    return r;
}

/* The looker's: while all others are at work. */
static struct request *next_to_look_up(struct snapshot_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    while ((!pool->queue.fresh.first || pool->busy < pool->config.workers) &&
           !atomic_load(&pool->stop))
        pthread_cond_wait(&pool->look, &pool->mutex);
    struct request *r = queue_take(&pool->queue, &pool->queue.fresh);
    pthread_mutex_unlock(&pool->mutex);
    return r;
}

/* The looker has found no log: somebody is to make one. */
static void hand_over(struct snapshot_pool *pool, struct request *r)
{
    pthread_mutex_lock(&pool->mutex);
    bool gone = r->gone, stopping = atomic_load(&pool->stop);
    if (!gone && !stopping) {
        queue_join(&pool->queue, &pool->queue.absent, r);
        pthread_cond_signal(&pool->work);
    }
    pthread_mutex_unlock(&pool->mutex);
    if (gone || stopping)
        refuse(pool, r, ERR_STOPPED, gone ? GONE : STOPPING);
}

/* Whether nothing waits to be done. */
static bool end_request(struct snapshot_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->busy--;
    bool idle = is_idle(pool);
    pthread_mutex_unlock(&pool->mutex);
    return idle;
}

/* ---- workers --------------------------------------------------------------------------------- */

static void set_conn(struct worker *w, struct pg_conn *conn)
{
    pthread_mutex_lock(&w->pool->mutex);
    struct pg_conn *before = w->conn;
    w->conn = conn;
    pthread_mutex_unlock(&w->pool->mutex);
    pg_close(before);
}

static bool ensure_connected(struct worker *w, struct err *err)
{
    if (pg_alive(w->conn))
        return true;
    set_conn(w, NULL);
    struct pg_conn *conn = pg_connect(w->pool->config.conninfo, "tombolo snapshot", false, err);
    if (conn)
        set_conn(w, conn);
    return conn != NULL;
}

static struct job_context context_of(const struct worker *w, struct request *r)
{
    struct snapshot_pool *pool = w->pool;

    return (struct job_context){.config = &pool->config,
                                .pool = pool,
                                .request = r,
                                .conn = w->conn,
                                .trust = &pool->trust,
                                .tables = &pool->tables,
                                .stats = &pool->stats,
                                .stop = &pool->stop};
}

static enum job_outcome resolve(const struct worker *w, struct request *r,
                                struct shape_answer *answer)
{
    const struct job_context ctx = context_of(w, r);

    *answer = (struct shape_answer){0};
    if (r->find_only)
        return job_find(&ctx, &r->shape, answer);
    return w == &w->pool->looker ? job_look(&ctx, &r->shape, answer)
                                 : job_resolve(&ctx, &r->shape, answer);
}

static void serve(struct worker *w, struct request *r)
{
    struct shape_answer a = {0};

    if (!ensure_connected(w, &a.err)) {
        a.err.code = ERR_CONN;
        answer(w->pool, r, &a);
        return;
    }
    enum job_outcome outcome = resolve(w, r, &a);

    /* A connection that turned out dead: once more with a new one. */
    if (outcome == JOB_REFUSED && a.err.code == ERR_CONN && !pg_alive(w->conn) &&
        ensure_connected(w, &a.err))
        outcome = resolve(w, r, &a);
    if (outcome == JOB_PARKED)
        return; /* somebody else may have served it by now */
    if (outcome == JOB_ABSENT) {
        hand_over(w->pool, r);
        return;
    }
    /* The end cancels whatever it finds at work. */
    if (outcome == JOB_REFUSED && !a.field && atomic_load(&w->pool->stop))
        err_set(&a.err, ERR_STOPPED, STOPPING);
    else if (outcome == JOB_REFUSED && !a.field && !r->find_only)
        log_warn("could not make a shape", LOG_ERR(&a.err));
    struct log *log = outcome == JOB_MADE ? log_ref(a.log) : NULL;

    answer(w->pool, r, &a);
    if (log) {
        const struct job_context now = context_of(w, NULL);

        job_fill(&now, log);
        log_unref(log);
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    bool is_spare = w - w->pool->workers >= w->pool->config.workers;

    for (struct request *r; (r = next_request(w->pool));) {
        if (atomic_load(&w->pool->stop))
            refuse(w->pool, r, ERR_STOPPED, STOPPING);
        else
            serve(w, r);
        if (end_request(w->pool) && is_spare)
            set_conn(w, NULL);
    }
    set_conn(w, NULL);
    return NULL;
}

static void *look(void *arg)
{
    struct worker *w = arg;

    for (struct request *r; (r = next_to_look_up(w->pool));) {
        if (atomic_load(&w->pool->stop))
            refuse(w->pool, r, ERR_STOPPED, STOPPING);
        else
            serve(w, r);
    }
    set_conn(w, NULL);
    return NULL;
}

static bool start_looker(struct snapshot_pool *pool)
{
    pool->looker.pool = pool;
    pool->looks = pthread_create(&pool->looker.thread, NULL, look, &pool->looker) == 0;
    return pool->looks;
}

/* Holding the mutex, or before there is another thread. */
static bool start_worker(struct snapshot_pool *pool)
{
    struct worker *w = &pool->workers[pool->nworkers];

    w->pool = pool;
    if (pthread_create(&w->thread, NULL, work, w) != 0)
        return false;
    pool->nworkers++;
    return true;
}

struct snapshot_pool *snapshot_pool_new(const struct snapshot_config *config, struct err *err)
{
    struct snapshot_pool *pool = xcalloc(1, sizeof(*pool));

    pool->config = *config;
    trust_init(&pool->trust);
    tables_init(&pool->tables);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->look, NULL);
    pool->workers = xcalloc((size_t)config->workers + MAX_WAITS, sizeof(*pool->workers));
    bool ok = start_looker(pool);
    while (ok && pool->nworkers < config->workers)
        ok = start_worker(pool);
    if (ok)
        return pool;
    err_set(err, ERR_IO, "could not start a snapshot worker");
    snapshot_pool_free(pool);
    return NULL;
}

/* ---- tables that are waited for -------------------------------------------------------------- */

static void step_aside(struct snapshot_pool *pool, uint32_t relid, struct table_wait *wait)
{
    if (!wait) {
        wait = xcalloc(1, sizeof(*wait));
        u64map_set(&pool->waits, relid, wait);
    }
    wait->users++;
    pool->busy--;
    if (pool->nworkers - ++pool->waiting < pool->config.workers && !start_worker(pool))
        log_warn("could not start a spare snapshot worker");
    pthread_cond_signal(&pool->work);
}

enum waiting pool_wait_begin(struct snapshot_pool *pool, uint32_t relid, struct request *request,
                             struct err *err)
{
    enum waiting outcome = WAITING;

    pthread_mutex_lock(&pool->mutex);
    struct table_wait *wait = u64map_get(&pool->waits, relid);
    bool gone = request && request->gone;
    if (gone || (wait && request))
        outcome = WAITING_PARKED;
    else if (pool->waiting >= MAX_WAITS)
        outcome = WAITING_REFUSED;
    if (outcome == WAITING_PARKED && !gone)
        queue_join(&pool->queue, &wait->parked, request);
    else if (outcome == WAITING)
        step_aside(pool, relid, wait);
    pthread_mutex_unlock(&pool->mutex);
    if (gone)
        refuse(pool, request, ERR_STOPPED, GONE);
    if (outcome == WAITING_REFUSED)
        err_set(err, ERR_BUSY, "%d tables are locked by other transactions already", MAX_WAITS);
    return outcome;
}

/* Each is out of its list, and cannot be cancelled, before it is answered. */
static void fail(struct snapshot_pool *pool, struct request *parked, const struct err *failed)
{
    for (struct request *r = parked, *next; r; r = next) {
        struct shape_answer a = {.err = *failed};

        next = r->next;
        answer(pool, r, &a);
    }
}

void pool_wait_end(struct snapshot_pool *pool, uint32_t relid, const struct err *failed)
{
    struct request *parked = NULL;

    pthread_mutex_lock(&pool->mutex);
    struct table_wait *wait = u64map_get(&pool->waits, relid);
    pool->waiting--;
    pool->busy++;
    if (--wait->users == 0) {
        if (failed) {
            parked = queue_take_all(&pool->queue, &wait->parked);
        } else {
            queue_put_back(&pool->queue, &wait->parked);
            pthread_cond_broadcast(&pool->work);
        }
        u64map_remove(&pool->waits, relid);
        free(wait);
    }
    wake(pool);
    pthread_mutex_unlock(&pool->mutex);
    fail(pool, parked, failed);
}

/* ---- the end --------------------------------------------------------------------------------- */

void snapshot_pool_stop(struct snapshot_pool *pool)
{
    atomic_store(&pool->stop, true);
    pthread_mutex_lock(&pool->mutex);
    for (int i = 0; i < pool->nworkers; i++) {
        if (pool->workers[i].conn)
            pg_cancel(pool->workers[i].conn);
    }
    if (pool->looker.conn)
        pg_cancel(pool->looker.conn);
    pthread_cond_broadcast(&pool->work);
    pthread_cond_broadcast(&pool->look);
    pthread_mutex_unlock(&pool->mutex);
}

void snapshot_pool_free(struct snapshot_pool *pool)
{
    if (!pool)
        return;
    snapshot_pool_stop(pool);
    for (int i = 0; i < pool->nworkers; i++)
        pthread_join(pool->workers[i].thread, NULL);
    if (pool->looks)
        pthread_join(pool->looker.thread, NULL);
    free(pool->workers);
    u64map_release(&pool->waits);
    queue_release(&pool->queue);
    trust_release(&pool->trust);
    tables_release(&pool->tables);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->look);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

const struct snapshot_stats *snapshot_pool_stats(const struct snapshot_pool *pool)
{
    return &pool->stats;
}

struct table *snapshot_pool_share(struct snapshot_pool *pool, struct table *table)
{
    return tables_share(&pool->tables, table);
}

void snapshot_pool_trust(struct snapshot_pool *pool, const struct table *table, bool full)
{
    trust_set(&pool->trust, table, full);
}

void snapshot_pool_distrust(struct snapshot_pool *pool, uint32_t relid)
{
    trust_forget(&pool->trust, relid);
}

void snapshot_pool_trust_only(struct snapshot_pool *pool, const struct u64map *relids)
{
    trust_keep(&pool->trust, relids);
}

void snapshot_pool_distrust_all(struct snapshot_pool *pool)
{
    trust_forget_all(&pool->trust);
}
