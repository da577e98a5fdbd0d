/*
 * The workers, each of which takes a job (jobs.h), parses it, takes to it what else may go in its
 * commit, and has it served (serve.h).
 */
#include "write/pool.h"

#include "base/clock.h"
#include "base/logging.h"
#include "token/token.h"
#include "write/serve.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_PARKED 8 /* of a replica: one is what it needs */

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

/* Somebody takes it, if there is something to be taken; or watches what is held back. */
static void wake_one(struct write_pool *pool)
{
    if (jobs_next(pool) || (pool->waiting > 0 && !pool->watched))
        pthread_cond_signal(&pool->work);
}

/* The job is done: others of its replica may go on. */
void pool_finish(struct worker *w, struct job *job, struct write_reply *reply)
{
    struct write_pool *pool = w->pool;

    atomic_fetch_add(&pool->stats.requests, 1);
    atomic_fetch_add(&pool->stats.us, (uint64_t)(clock_us() - job->since));
    pthread_mutex_lock(&pool->mutex);
    jobs_drop(w, job);
    jobs_remove(pool, job);
    wake_one(pool);
    pthread_mutex_unlock(&pool->mutex);
    answer(job, reply);
}

/* It did not go through with others: its turn comes, by itself. */
void pool_put_back(struct worker *w, struct job *job)
{
    struct write_pool *pool = w->pool;

    pthread_mutex_lock(&pool->mutex);
    jobs_drop(w, job);
    job->alone = true;
    jobs_set_state(pool, job, JOB_PARKED);
    wake_one(pool);
    pthread_mutex_unlock(&pool->mutex);
}

static bool is_stopping(struct write_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    bool stop = pool->stop;
    pthread_mutex_unlock(&pool->mutex);
    return stop;
}

/* NULL: it works again. */
void pool_note_trouble(struct write_pool *pool, const struct err *err)
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

/* Holding the mutex. What is held back is looked at again when a lane's time is up, by one. */
static void wait_for_work(struct write_pool *pool)
{
    struct timespec until;

    if (pool->waiting == 0 || pool->watched) {
        pthread_cond_wait(&pool->work, &pool->mutex);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LANE_US * 1000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pool->watched = true;
    pthread_cond_timedwait(&pool->work, &pool->mutex, &until);
    pool->watched = false;
}

/* Holding the mutex. */
static void take(struct worker *w, struct job *job)
{
    w->jobs[w->njobs++] = job;
    jobs_set_state(w->pool, job, job->state == JOB_NEW ? JOB_PARSING : JOB_RUNNING);
}

/* NULL when the pool stops and nothing is left. */
static struct job *take_job(struct worker *w)
{
    struct write_pool *pool = w->pool;
    struct job *job;

    pthread_mutex_lock(&pool->mutex);
    while (!(job = jobs_next(pool)) && !pool->stop)
        wait_for_work(pool);
    w->since = clock_us();
    if (job) {
        take(w, job);
        wake_one(pool);
    }
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

/* What is to become of a job that the worker has parsed. */
static enum job_state place(struct worker *w, struct job *job)
{
    struct write_pool *pool = w->pool;

    pthread_mutex_lock(&pool->mutex);
    bool runs = w->jobs[0] != job ? jobs_may_join(pool, job)
                                  : jobs_may_run(pool, job) && !jobs_is_held_back(pool, job);
    if (runs) {
        jobs_set_state(pool, job, JOB_RUNNING);
    } else if (jobs_parked_beside(pool, job) < MAX_PARKED) {
        jobs_drop(w, job);
        jobs_set_state(pool, job, JOB_PARKED);
    }
    enum job_state state = job->state;
    pthread_mutex_unlock(&pool->mutex);
    return state;
}

static void refuse(struct worker *w, struct job *job, enum err_code code, const char *why)
{
    struct write_reply reply;
    struct err err;

    err_set(&err, code, "%s", why);
    answer_failure(&err, &reply);
    pool_finish(w, job, &reply);
}

/* Parses a job that is new, and takes it where its turn is now. */
static void begin(struct worker *w, struct job *job)
{
    struct write_reply reply;

    if (!parse(w->pool, job, &reply))
        pool_finish(w, job, &reply);
    else if (place(w, job) == JOB_PARSING)
        refuse(w, job, ERR_BUSY, "this replica has too many requests under way");
}

/* How many mutations of several requests are to share a commit: as few as do not take longer than a
 * lane has, where triggers make them slow. */
static size_t most_mutations(struct write_pool *pool)
{
    size_t most = pool->config.limits.group_rows;

    pthread_mutex_lock(&pool->mutex);
    if (pool->mutation_us > 0 && most > (size_t)(LANE_US / pool->mutation_us))
        most = (size_t)(LANE_US / pool->mutation_us);
    pthread_mutex_unlock(&pool->mutex);
    return most;
}

static size_t count_mutations(const struct write_request *request)
{
    size_t n = 0;

    for (size_t i = 0; i < request->ntxns; i++)
        n += request->txns[i].nmutations;
    return n;
}

static size_t count_all(const struct worker *w)
{
    size_t n = 0;

    for (size_t i = 0; i < w->njobs; i++)
        n += count_mutations(&w->jobs[i]->request);
    return n;
}

static size_t count_bytes(const struct worker *w)
{
    size_t n = 0;

    for (size_t i = 0; i < w->njobs; i++)
        n += w->jobs[i]->size;
    return n;
}

static bool take_companion(struct worker *w)
{
    struct write_pool *pool = w->pool;

    pthread_mutex_lock(&pool->mutex);
    struct job *job = pool->stop ? NULL : jobs_next_companion(pool, w->jobs[0]);
    bool is_new = job && job->state == JOB_NEW;
    if (job)
        take(w, job);
    pthread_mutex_unlock(&pool->mutex);
    if (is_new)
        begin(w, job);
    return job != NULL;
}

/* Takes what waits of the same bearer to the job at hand. What a worker has no longer counts as
 * waiting: it is less than two of the largest requests. */
static void gather(struct worker *w)
{
    size_t most = most_mutations(w->pool), most_bytes = w->pool->config.body.bytes;

    if (w->jobs[0]->alone || w->jobs[0]->request.decided)
        return;
    while (w->njobs < TOGETHER_MOST && count_all(w) < most && count_bytes(w) < most_bytes &&
           take_companion(w))
        ;
}

static void *work(void *arg)
{
    struct worker *w = arg;

    for (struct job *job; (job = take_job(w));) {
        if (is_stopping(w->pool)) {
            refuse(w, job, ERR_STOPPED, "the bridge is stopping");
            continue;
        }
        if (job->state == JOB_PARSING)
            begin(w, job);
        if (w->njobs > 0)
            gather(w);
        if (w->njobs > 1)
            serve_together(w);
        else if (w->njobs == 1)
            serve_alone(w, w->jobs[0]);
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
    *why = pool->stop                         ? "the bridge is stopping"
           : full                             ? "too many writes are waiting"
           : jobs_have_their_share(pool, job) ? "too many writes of this subject are waiting"
                                              : NULL;
    if (!*why) {
        jobs_add(pool, job);
        if (!pool->watched || jobs_is_due(pool, job))
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
    pthread_condattr_t attr;

    pool->config = *config;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->work, &attr);
    pthread_condattr_destroy(&attr);
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
