#include "snapshot/pool.h"
#include "base/logging.h"
#include "snapshot/job.h"
#include "snapshot/pool_private.h"

#include <stdlib.h>

/* ---- requests -------------------------------------------------------------------------------- */

/* Whoever asked may use `arg` for another, once it is answered. */
void pool_answer(struct snapshot_pool *pool, struct request *r, struct shape_answer *a)
{
    pthread_mutex_lock(&pool->mutex);
    queue_forget(&pool->queue, r);
    pthread_mutex_unlock(&pool->mutex);
    r->done(r->arg, a);
    request_free(r);
}

void pool_refuse(struct snapshot_pool *pool, struct request *r, enum err_code code,
                 const char *text)
{
    struct shape_answer a = {0};

    err_set(&a.err, code, "%s", text);
    pool_answer(pool, r, &a);
}

/* ---- from outside ---------------------------------------------------------------------------- */

static void submit(struct snapshot_pool *pool, struct request *r)
{
    pthread_mutex_lock(&pool->mutex);
    bool stopping = atomic_load(&pool->stop), fits = !stopping && queue_add(&pool->queue, r);
    if (fits)
        pool_wake(pool);
    pthread_mutex_unlock(&pool->mutex);
    if (stopping)
        pool_refuse(pool, r, ERR_STOPPED, STOPPING);
    else if (!fits)
        pool_refuse(pool, r, ERR_BUSY,
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
        pool_refuse(pool, r, ERR_STOPPED, GONE);
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
        pool_refuse(pool, r, ERR_STOPPED, gone ? GONE : STOPPING);
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

bool worker_connect(struct worker *w, struct pg_conn **conn, struct err *err)
{
    if (!pg_alive(w->conn)) {
        set_conn(w, NULL);
        struct pg_conn *fresh =
            pg_connect(w->pool->config.conninfo, "tombolo snapshot", false, err);
        if (fresh)
            set_conn(w, fresh);
        else
            err->code = ERR_CONN;
    }
    *conn = w->conn;
    return w->conn != NULL;
}

static struct job_context context_of(struct worker *w, struct table **looked)
{
    struct snapshot_pool *pool = w->pool;

    return (struct job_context){.config = &pool->config,
                                .worker = w,
                                .trust = &pool->trust,
                                .tables = &pool->tables,
                                .looked = looked,
                                .finisher = pool->finisher,
                                .stats = &pool->stats,
                                .stop = &pool->stop};
}

static enum job_outcome resolve(struct job_context *ctx, struct request *r,
                                struct shape_answer *answer)
{
    *answer = (struct shape_answer){0};
    ctx->request = r;
    if (r->find_only)
        return job_find(ctx, &r->shape, answer);
    return ctx->worker == &ctx->worker->pool->looker ? job_look(ctx, &r->shape, answer)
                                                     : job_resolve(ctx, &r->shape, answer);
}

/* The end cancels whatever it finds at work. */
static void note_refusal(const struct snapshot_pool *pool, const struct request *r,
                         struct shape_answer *a)
{
    if (!a->field && atomic_load(&pool->stop))
        err_set(&a->err, ERR_STOPPED, STOPPING);
    else if (!a->field && !r->find_only)
        log_warn("could not make a shape", LOG_ERR(&a->err));
}

static void serve(struct job_context *ctx, struct request *r)
{
    struct worker *w = ctx->worker;
    struct shape_answer a = {0};
    enum job_outcome outcome = resolve(ctx, r, &a);

    /* A connection that turned out dead: once more with a new one. */
    if (outcome == JOB_REFUSED && a.err.code == ERR_CONN && !pg_alive(w->conn) &&
        worker_connect(w, &ctx->conn, &a.err))
        outcome = resolve(ctx, r, &a);
    if (outcome == JOB_PARKED)
        return; /* somebody else may have served it by now */
    if (outcome == JOB_ABSENT) {
        hand_over(w->pool, r);
        return;
    }
    if (outcome == JOB_REFUSED)
        note_refusal(w->pool, r, &a);
    struct log *log = outcome == JOB_MADE ? log_ref(a.log) : NULL;

    pool_answer(w->pool, r, &a);
    if (log)
        pool_put_fill(w, log);
}

/* What was taken together: each request is answered, then the new logs are filled. Once there is no
 * connection to be had, it is not tried again for each that is left. */
static void take_turn(struct worker *w)
{
    struct table *looked = NULL;
    struct job_context ctx = context_of(w, &looked);
    struct err err;
    bool ok = true;

    for (struct request *r; (r = pool_next_mate(w));) {
        ok = ok && job_may_begin(&ctx, &err);
        if (ok)
            serve(&ctx, r);
        else
            pool_answer(w->pool, r, &(struct shape_answer){.err = err});
    }
    table_unref(looked);
    job_fill(&ctx);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    bool is_spare = w - w->pool->workers >= w->pool->config.workers;

    while (pool_next_turn(w)) {
        take_turn(w);
        if (pool_end_turn(w) && is_spare)
            set_conn(w, NULL);
    }
    set_conn(w, NULL);
    return NULL;
}

static void *look(void *arg)
{
    struct worker *w = arg;

    while (pool_next_look(w))
        take_turn(w);
    set_conn(w, NULL);
    return NULL;
}

static bool start_looker(struct snapshot_pool *pool)
{
    pool->looker.pool = pool;
    pool->looks = pthread_create(&pool->looker.thread, NULL, look, &pool->looker) == 0;
    return pool->looks;
}

bool pool_start_worker(struct snapshot_pool *pool)
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
    pool->finisher = finisher_new(&pool->stats);
    bool ok = pool->finisher && start_looker(pool);
    pthread_mutex_lock(&pool->mutex); /* the first of them looks who else there is */
    while (ok && pool->nworkers < config->workers)
        ok = pool_start_worker(pool);
    pthread_mutex_unlock(&pool->mutex);
    if (ok)
        return pool;
    err_set(err, ERR_IO, "could not start a snapshot worker");
    snapshot_pool_free(pool);
    return NULL;
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
    finisher_free(pool->finisher);
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
