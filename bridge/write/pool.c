/*
 * One list of jobs in the order they came. A worker takes the first one that nobody works on and
 * whose turn it is; which replica it is for is known once it has been parsed:
 *
 *     JOB_NEW -> JOB_PARSING -> JOB_RUNNING -> answered
 *                    |              ^
 *                    +-> JOB_PARKED-+   its replica has another one under way, or its subject
 *                                       has half of the workers
 */
#include "write/pool.h"
#include "base/clock.h"
#include "base/logging.h"
#include "token/token.h"
#include "write/sqlstate.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_PARKED 8  /* of a replica: one is what it needs */
#define QUEUE_SHARE 4 /* a subject's part of the queue is one of so many */

enum job_state { JOB_NEW, JOB_PARSING, JOB_PARKED, JOB_RUNNING };

struct job {
    struct job *prev, *next;
    enum job_state state;
    struct arena arena; /* the request's, once it has been parsed */
    struct slice body;  /* owned; given back when parsed */
    size_t size;        /* of the body */
    struct write_request request;
    struct token *token;
    write_answered *answered;
    void *arg;
    int64_t since; /* us */
};

struct worker {
    struct write_pool *pool;
    pthread_t thread;
    struct pg_conn *conn; /* the thread's alone */
    struct job *job;      /* that it runs */
};

struct write_pool {
    struct write_pool_config config;
    struct write_stats stats;
    pthread_mutex_t mutex;
    pthread_cond_t work;
    bool stop;
    struct job *first, *last; /* oldest first, those at work too */
    size_t waiting, waiting_bytes;
    char trouble[256]; /* "": none */
    struct worker *workers;
    int nworkers;
};

/* ---- the list -------------------------------------------------------------------------------- */

static bool waits(const struct job *job)
{
    return job->state == JOB_NEW || job->state == JOB_PARKED;
}

/* Holding the mutex, as everything in this section. */
static void set_state(struct write_pool *pool, struct job *job, enum job_state state)
{
    bool before = waits(job);

    job->state = state;
    if (waits(job) == before)
        return;
    pool->waiting += before ? (size_t)-1 : 1;
    pool->waiting_bytes += before ? 0 - job->size : job->size;
    atomic_store(&pool->stats.waiting, pool->waiting);
}

static void link_last(struct write_pool *pool, struct job *job)
{
    job->prev = pool->last;
    *(pool->last ? &pool->last->next : &pool->first) = job;
    pool->last = job;
    job->state = JOB_RUNNING; /* which does not count */
    set_state(pool, job, JOB_NEW);
}

static void unlink_job(struct write_pool *pool, struct job *job)
{
    set_state(pool, job, JOB_RUNNING);
    *(job->prev ? &job->prev->next : &pool->first) = job->next;
    *(job->next ? &job->next->prev : &pool->last) = job->prev;
}

static bool same_replica(const struct job *a, const struct job *b)
{
    return slice_eq(a->request.replica, b->request.replica);
}

/* The operator is one whom all replicas may share: his never are. */
static bool same_subject(const struct job *a, const struct job *b)
{
    return a->token && b->token && slice_eq(token_subject(a->token), token_subject(b->token));
}

/* No other job of its replica runs, and not too many of its subject. */
static bool may_run(const struct write_pool *pool, const struct job *job)
{
    int share = (pool->nworkers + 1) / 2;

    for (int i = 0; i < pool->nworkers; i++) {
        const struct job *other = pool->workers[i].job;

        if (other && (same_replica(other, job) || (same_subject(other, job) && --share == 0)))
            return false;
    }
    return true;
}

/* Whether its subject has its part of the queue. */
static bool has_its_share(const struct write_pool *pool, const struct job *job)
{
    size_t n = 0, bytes = 0;

    for (const struct job *j = pool->first; j; j = j->next) {
        if (waits(j) && same_subject(j, job)) {
            n++;
            bytes += j->size;
        }
    }
    return n >= pool->config.max_waiting / QUEUE_SHARE + 1 ||
           (n && bytes + job->size > pool->config.max_waiting_bytes / QUEUE_SHARE);
}

static size_t parked_beside(const struct write_pool *pool, const struct job *job)
{
    size_t n = 0;

    for (const struct job *j = pool->first; j; j = j->next)
        n += j->state == JOB_PARKED && same_replica(j, job);
    return n;
}

static struct job *next_job(const struct write_pool *pool)
{
    for (struct job *j = pool->first; j; j = j->next) {
        if (j->state == JOB_NEW || (j->state == JOB_PARKED && (pool->stop || may_run(pool, j))))
            return j;
    }
    return NULL;
}

/* ---- answers --------------------------------------------------------------------------------- */

/* Frees the job, which is in no list. */
static void answer(struct job *job, struct write_reply *reply)
{
    job->answered(job->arg, reply);
    token_unref(job->token);
    arena_release(&job->arena);
    free((char *)(uintptr_t)job->body.ptr);
    free(job);
}

static void turn_away(struct job *job, const char *why)
{
    struct write_reply reply;
    struct err err;

    err_set(&err, ERR_BUSY, "%s", why);
    answer_failure(&err, &reply);
    answer(job, &reply);
}

/* The job is done: others of its replica may go on. */
static void finish(struct worker *w, struct job *job, struct write_reply *reply)
{
    struct write_pool *pool = w->pool;

    atomic_fetch_add(&pool->stats.requests, 1);
    atomic_fetch_add(&pool->stats.us, (uint64_t)(clock_us() - job->since));
    pthread_mutex_lock(&pool->mutex);
    w->job = NULL;
    unlink_job(pool, job);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    answer(job, reply);
}

static bool is_stopping(struct write_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    bool stop = pool->stop;
    pthread_mutex_unlock(&pool->mutex);
    return stop;
}

/* NULL: it works again. */
static void note_trouble(struct write_pool *pool, const struct err *err)
{
    pthread_mutex_lock(&pool->mutex);
    bool news = !pool->stop && !pool->trouble[0] != !err;
    snprintf(pool->trouble, sizeof(pool->trouble), "%.*s", (int)sizeof(pool->trouble) - 1,
             err ? err->msg : "");
    pthread_mutex_unlock(&pool->mutex);
    if (news && err)
        log_warn("replicas' writes cannot be applied", LOG_ERR(err));
    else if (news)
        log_info("replicas' writes are applied again");
}

bool write_pool_trouble(struct write_pool *pool, char text[256])
{
    pthread_mutex_lock(&pool->mutex);
    memcpy(text, pool->trouble, sizeof(pool->trouble));
    pthread_mutex_unlock(&pool->mutex);
    return text[0];
}

/* ---- a worker -------------------------------------------------------------------------------- */

/* NULL when the pool stops and nothing is left. */
static struct job *take_job(struct worker *w)
{
    struct write_pool *pool = w->pool;
    struct job *job;

    pthread_mutex_lock(&pool->mutex);
    while (!(job = next_job(pool)) && !pool->stop)
        pthread_cond_wait(&pool->work, &pool->mutex);
    if (job && job->state == JOB_PARKED)
        w->job = job;
    if (job)
        set_state(pool, job, job->state == JOB_NEW ? JOB_PARSING : JOB_RUNNING);
    pthread_mutex_unlock(&pool->mutex);
    return job;
}

static bool parse(struct write_pool *pool, struct job *job, struct write_reply *reply)
{
    struct write_invalid invalid;

    if (!write_request_parse(job->body, &pool->config.body, &job->arena, &job->request, &invalid)) {
        answer_invalid(&invalid, reply);
        return false;
    }
    free((char *)(uintptr_t)job->body.ptr);
    job->body = (struct slice){NULL, 0};
    return true;
}

/* What is to become of a job that has been parsed. */
static enum job_state place(struct worker *w, struct job *job)
{
    struct write_pool *pool = w->pool;

    pthread_mutex_lock(&pool->mutex);
    bool runs = may_run(pool, job);
    if (runs)
        w->job = job;
    if (runs || parked_beside(pool, job) < MAX_PARKED)
        set_state(pool, job, runs ? JOB_RUNNING : JOB_PARKED);
    enum job_state state = job->state;
    pthread_mutex_unlock(&pool->mutex);
    return state;
}

static bool ensure_connected(struct worker *w, struct err *err)
{
    if (pg_alive(w->conn))
        return true;
    pg_close(w->conn);
    w->conn = pg_connect(w->pool->config.conninfo, "tombolo write", false, err);
    if (!w->conn)
        err->code = ERR_CONN;
    /* For what does not set its own: the question of what was decided. */
    return w->conn &&
           pg_runf(w->conn, err, "SET lock_timeout = %d", w->pool->config.limits.lock_timeout_ms);
}

static void count(struct write_stats *stats, const struct write_request *request,
                  const struct write_outcome *outcome)
{
    atomic_uint_fast64_t *const counters[] = {
        [WRITE_AGAIN] = &stats->again,
        [WRITE_APPLIED] = &stats->applied,
        [WRITE_PARTLY] = &stats->partly,
        [WRITE_REJECTED] = &stats->rejected,
    };

    for (size_t i = 0; outcome->answer == WRITE_DONE && i < request->ntxns; i++) {
        const struct write_result *result = &outcome->results[i];

        atomic_fetch_add(result->repeated ? &stats->repeated : counters[result->status], 1);
    }
}

static bool apply(struct worker *w, struct job *job, const struct write_rules *rules,
                  struct write_reply *reply, struct err *err)
{
    struct write_pool *pool = w->pool;
    struct write_outcome outcome;
    bool ok = write_apply(w->conn, rules, &job->request, &pool->config.limits, &job->arena,
                          &outcome, err);

    count(&pool->stats, &job->request, &outcome);
    if (outcome.schema_changed)
        pool->config.schema_changed(pool->config.owner);
    answer_outcome(&job->request, &outcome, err, reply);
    return ok;
}

static bool ask(struct worker *w, struct job *job, const struct write_rules *rules,
                struct write_reply *reply, struct err *err)
{
    struct write_known known;
    bool ok = memory_ask(w->conn, &job->request, rules->subject, &job->arena, &known, err);

    if (ok)
        answer_known(&known, reply);
    else
        answer_failure(err, reply);
    return ok;
}

/* Once: what was decided stays so, and a repeat finds it. */
static bool run_once(struct worker *w, struct job *job, const struct write_rules *rules,
                     struct write_reply *reply, struct err *err)
{
    bool ok = false;

    if (!ensure_connected(w, err))
        answer_failure(err, reply);
    else if (job->request.decided)
        ok = ask(w, job, rules, reply, err);
    else
        ok = apply(w, job, rules, reply, err);
    if (!ok) {
        pg_close(w->conn);
        w->conn = NULL;
    }
    return ok;
}

/* A connection that turned out dead: once more with a new one. */
static void run(struct worker *w, struct job *job, const struct write_rules *rules,
                struct write_reply *reply)
{
    bool had = w->conn;
    struct err err = {0};
    bool ok = run_once(w, job, rules, reply, &err);

    if (!ok && had && err.code == ERR_CONN) {
        buf_release(&reply->body);
        ok = run_once(w, job, rules, reply, &err);
    }
    note_trouble(w->pool, ok ? NULL : &err);
}

static void serve(struct worker *w, struct job *job)
{
    struct write_pool *pool = w->pool;
    struct write_reply reply;
    struct write_rules rules;
    void *held = NULL;
    struct err err = {0};

    if (pool->config.rules(pool->config.owner, job->token, &job->arena, &rules, &held, &err))
        run(w, job, &rules, &reply);
    else
        answer_failure(&err, &reply);
    if (held)
        pool->config.release(held);
    finish(w, job, &reply);
}

static void refuse(struct worker *w, struct job *job, enum err_code code, const char *why)
{
    struct write_reply reply;
    struct err err;

    err_set(&err, code, "%s", why);
    answer_failure(&err, &reply);
    finish(w, job, &reply);
}

static void begin(struct worker *w, struct job *job)
{
    struct write_reply reply;

    if (!parse(w->pool, job, &reply)) {
        finish(w, job, &reply);
        return;
    }
    switch (place(w, job)) {
    case JOB_RUNNING:
        serve(w, job);
        break;
    case JOB_PARKED:
        break;
    default:
        refuse(w, job, ERR_BUSY, "this replica has too many requests under way");
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;

    for (struct job *job; (job = take_job(w));) {
        if (is_stopping(w->pool))
            refuse(w, job, ERR_STOPPED, "the bridge is stopping");
        else if (job->state == JOB_RUNNING)
            serve(w, job);
        else
            begin(w, job);
    }
    pg_close(w->conn);
    return NULL;
}

/* ---- the pool -------------------------------------------------------------------------------- */

/* False with the reason. */
static bool enqueue(struct write_pool *pool, struct job *job, const char **why)
{
    pthread_mutex_lock(&pool->mutex);
    bool full = pool->waiting >= pool->config.max_waiting ||
                (pool->waiting && pool->waiting_bytes + job->size > pool->config.max_waiting_bytes);
    *why = pool->stop                 ? "the bridge is stopping"
           : full                     ? "too many writes are waiting"
           : has_its_share(pool, job) ? "too many writes of this subject are waiting"
                                      : NULL;
    if (!*why) {
        link_last(pool, job);
        pthread_cond_signal(&pool->work);
    }
    pthread_mutex_unlock(&pool->mutex);
    return !*why;
}

void write_pool_request(struct write_pool *pool, struct slice body, struct token *token,
                        write_answered *answered, void *arg)
{
    struct job *job = xcalloc(1, sizeof(*job));
    const char *why;

    *job = (struct job){.body = {memcpy(xmalloc(body.len + 1), body.ptr, body.len), body.len},
                        .size = body.len,
                        .token = token,
                        .answered = answered,
                        .arg = arg,
                        .since = clock_us()};
    if (!enqueue(pool, job, &why))
        turn_away(job, why);
}

struct write_pool *write_pool_new(const struct write_pool_config *config, struct err *err)
{
    struct write_pool *pool = xcalloc(1, sizeof(*pool));

    pool->config = *config;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pool->workers = xcalloc((size_t)config->workers, sizeof(*pool->workers));
    for (; pool->nworkers < config->workers; pool->nworkers++) {
        struct worker *w = &pool->workers[pool->nworkers];

        w->pool = pool;
        if (pthread_create(&w->thread, NULL, work, w) != 0) {
            err_set(err, ERR_IO, "could not start a worker for writes");
            write_pool_free(pool);
            return NULL;
        }
    }
    return pool;
}

void write_pool_stop(struct write_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->stop = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
}

void write_pool_free(struct write_pool *pool)
{
    if (!pool)
        return;
    write_pool_stop(pool);
    for (int i = 0; i < pool->nworkers; i++)
        pthread_join(pool->workers[i].thread, NULL);
    free(pool->workers);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

const struct write_stats *write_pool_stats(const struct write_pool *pool)
{
    return &pool->stats;
}
