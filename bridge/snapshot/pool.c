#include "snapshot/pool.h"
#include "base/logging.h"
#include "snapshot/job.h"

#include <pthread.h>
#include <stdlib.h>

#define MAX_QUEUED 20000

struct request {
    struct arena arena;
    struct shape_request shape;
    shape_answered *done;
    void *arg;
    bool find_only; /* no log is made */
    struct request *next;
};

struct worker {
    struct snapshot_pool *pool;
    pthread_t thread;
    struct pg_conn *conn; /* written under the pool's mutex, so that it can be cancelled */
};

struct snapshot_pool {
    struct snapshot_config config;
    struct snapshot_stats stats;
    struct trust trust;
    struct tables tables;
    atomic_bool stop;
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct request *first, **last;
    size_t queued;
    struct worker *workers;
    int nworkers;
};

/* ---- requests -------------------------------------------------------------------------------- */

static struct slice copy_given(struct arena *arena, struct slice s)
{
    return s.ptr ? arena_copy(arena, s) : s;
}

/* About what the copies take: thousands may wait, each in an arena of its own. */
static size_t room_for(const struct shape_request *shape)
{
    const size_t slack = 16; /* the NUL, and the rounding up */
    size_t room = shape->table.len + shape->where.len + shape->columns.len + 4 * slack;

    for (size_t i = 0; i < shape->params.n; i++)
        room += sizeof(struct slice) + shape->params.values[i].len + slack;
    return room;
}

static struct request *request_new(const struct shape_request *shape, shape_answered *done,
                                   void *arg)
{
    struct request *r = xcalloc(1, sizeof(*r));

    arena_reserve(&r->arena, room_for(shape));
    struct slice *values = arena_calloc(&r->arena, shape->params.n, sizeof(*values));
    for (size_t i = 0; i < shape->params.n; i++)
        values[i] = copy_given(&r->arena, shape->params.values[i]);
    r->shape = *shape;
    r->shape.table = copy_given(&r->arena, shape->table);
    r->shape.where = copy_given(&r->arena, shape->where);
    r->shape.columns = copy_given(&r->arena, shape->columns);
    r->shape.params = (struct where_params){values, shape->params.n};
    r->done = done;
    r->arg = arg;
    return r;
}

static void request_free(struct request *r)
{
    arena_release(&r->arena);
    free(r);
}

static void refuse(struct request *r, enum err_code code, const char *text)
{
    struct shape_answer answer = {0};

    err_set(&answer.err, code, "%s", text);
    r->done(r->arg, &answer);
    request_free(r);
}

static void submit(struct snapshot_pool *pool, struct request *r)
{
    pthread_mutex_lock(&pool->mutex);
    bool stopping = atomic_load(&pool->stop), full = pool->queued >= MAX_QUEUED;
    if (!stopping && !full) {
        *pool->last = r;
        pool->last = &r->next;
        pool->queued++;
        pthread_cond_signal(&pool->work);
    }
    pthread_mutex_unlock(&pool->mutex);
    if (stopping)
        refuse(r, ERR_STOPPED, "the bridge is stopping");
    else if (full)
        refuse(r, ERR_BUSY, "too many shapes are being made");
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

static struct request *next_request(struct snapshot_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    while (!pool->first && !atomic_load(&pool->stop))
        pthread_cond_wait(&pool->work, &pool->mutex);
    struct request *r = pool->first;
    if (r) {
        pool->first = r->next;
        pool->queued--;
        if (!pool->first)
            pool->last = &pool->first;
    }
    pthread_mutex_unlock(&pool->mutex);
    return r;
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

static bool resolve(const struct job_context *ctx, const struct request *r,
                    struct shape_answer *answer, bool *made)
{
    *made = false;
    return r->find_only ? job_find(ctx, &r->shape, answer)
                        : job_resolve(ctx, &r->shape, answer, made);
}

static void serve(struct worker *w, struct request *r)
{
    struct snapshot_pool *pool = w->pool;
    struct shape_answer answer = {0};
    bool made = false;

    if (!ensure_connected(w, &answer.err)) {
        answer.err.code = ERR_CONN;
        r->done(r->arg, &answer);
        request_free(r);
        return;
    }
    const struct job_context ctx = {&pool->config, w->conn,      &pool->trust,
                                    &pool->tables, &pool->stats, &pool->stop};
    bool ok = resolve(&ctx, r, &answer, &made);

    /* A connection that turned out dead: once more with a new one. */
    if (!ok && answer.err.code == ERR_CONN && !pg_alive(w->conn) &&
        ensure_connected(w, &answer.err)) {
        const struct job_context again = {&pool->config, w->conn,      &pool->trust,
                                          &pool->tables, &pool->stats, &pool->stop};

        answer = (struct shape_answer){0};
        ok = resolve(&again, r, &answer, &made);
    }
    struct log *log = ok && made ? log_ref(answer.log) : NULL;

    r->done(r->arg, &answer);
    request_free(r);
    if (log) {
        const struct job_context now = {&pool->config, w->conn,      &pool->trust,
                                        &pool->tables, &pool->stats, &pool->stop};

        job_fill(&now, log);
        log_unref(log);
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;

    for (struct request *r; (r = next_request(w->pool));) {
        if (atomic_load(&w->pool->stop))
            refuse(r, ERR_STOPPED, "the bridge is stopping");
        else
            serve(w, r);
    }
    set_conn(w, NULL);
    return NULL;
}

struct snapshot_pool *snapshot_pool_new(const struct snapshot_config *config, struct err *err)
{
    struct snapshot_pool *pool = xcalloc(1, sizeof(*pool));

    pool->config = *config;
    pool->last = &pool->first;
    trust_init(&pool->trust);
    tables_init(&pool->tables);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pool->workers = xcalloc((size_t)config->workers, sizeof(*pool->workers));
    for (; pool->nworkers < config->workers; pool->nworkers++) {
        struct worker *w = &pool->workers[pool->nworkers];

        w->pool = pool;
        if (pthread_create(&w->thread, NULL, work, w) != 0) {
            err_set(err, ERR_IO, "could not start a snapshot worker");
            snapshot_pool_free(pool);
            return NULL;
        }
    }
    return pool;
}

void snapshot_pool_stop(struct snapshot_pool *pool)
{
    atomic_store(&pool->stop, true);
    pthread_mutex_lock(&pool->mutex);
    for (int i = 0; i < pool->nworkers; i++) {
        if (pool->workers[i].conn)
            pg_cancel(pool->workers[i].conn);
    }
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
}

void snapshot_pool_free(struct snapshot_pool *pool)
{
    if (!pool)
        return;
    snapshot_pool_stop(pool);
    for (int i = 0; i < pool->nworkers; i++)
        pthread_join(pool->workers[i].thread, NULL);
    free(pool->workers);
    trust_release(&pool->trust);
    tables_release(&pool->tables);
    pthread_cond_destroy(&pool->work);
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

void snapshot_pool_trust(struct snapshot_pool *pool, uint32_t relid, bool full)
{
    trust_set(&pool->trust, relid, full ? TRUST_FULL : TRUST_PUBLISHED);
}

void snapshot_pool_distrust(struct snapshot_pool *pool, uint32_t relid)
{
    trust_set(&pool->trust, relid, TRUST_NONE);
}

void snapshot_pool_distrust_all(struct snapshot_pool *pool)
{
    trust_forget_all(&pool->trust);
}
