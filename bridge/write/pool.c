/*
 * One list of jobs in the order they came. A worker takes the first one that nobody works on and
 * whose turn it is; which replica it is for is known once it has been parsed:
 *
 *     JOB_NEW -> JOB_PARSING -> JOB_RUNNING -> answered
 *                    |            |  ^
 *                    |            v  |
 *                    +-> JOB_PARKED -+   its replica has another one under way, its subject has
 *                                        half of the workers, or it did not go through together
 *                                        with others
 *
 * The requests of one bearer share commits (together.h): while LANES workers are at his, what comes
 * is held back, and the first of them that is done takes it all. A worker that has been at it for
 * longer than LANE_US does not count: whatever it waits for, others need not.
 */
#include "write/pool.h"
#include "base/clock.h"
#include "base/logging.h"
#include "token/token.h"
#include "write/sqlstate.h"
#include "write/together.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_PARKED 8  /* of a replica: one is what it needs */
#define QUEUE_SHARE 4 /* a subject's part of the queue is one of so many */
#define LANES 2       /* one commits while the other fills */
#define LANE_US 50000

enum job_state { JOB_NEW, JOB_PARSING, JOB_PARKED, JOB_RUNNING };

struct job {
    struct job *prev, *next;
    enum job_state state;
    bool alone;         /* it shares no commit */
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
    struct pg_conn *conn;            /* the thread's alone */
    struct job *jobs[TOGETHER_MOST]; /* that it runs */
    size_t njobs;
    int64_t since; /* us: when it began with them */
};

struct write_pool {
    struct write_pool_config config;
    struct write_stats stats;
    pthread_mutex_t mutex;
    pthread_cond_t work;
    bool stop;
    bool watched;             /* somebody looks again when a lane's time is up */
    struct job *first, *last; /* oldest first, those at work too */
    size_t waiting, waiting_bytes;
    int64_t mutation_us; /* what one has taken lately, of those that shared a commit */
    char trouble[256];   /* "": none */
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

/* The operator's jobs are one bearer's, and those with the same claims. */
static bool same_bearer(const struct job *a, const struct job *b)
{
    if (!a->token || !b->token)
        return a->token == b->token;
    return slice_eq(token_claims(a->token), token_claims(b->token));
}

/* No other job of its replica runs. */
static bool may_join(const struct write_pool *pool, const struct job *job)
{
    for (int i = 0; i < pool->nworkers; i++) {
        const struct worker *w = &pool->workers[i];

        for (size_t j = 0; j < w->njobs; j++) {
            if (w->jobs[j]->state == JOB_RUNNING && same_replica(w->jobs[j], job))
                return false;
        }
    }
    return true;
}

/* Nor do too many of its subject. */
static bool may_run(const struct write_pool *pool, const struct job *job)
{
    int share = (pool->nworkers + 1) / 2;

    for (int i = 0; i < pool->nworkers; i++) {
        const struct worker *w = &pool->workers[i];

        if (w->njobs > 0 && w->jobs[0] != job && same_subject(w->jobs[0], job) && --share == 0)
            return false;
    }
    return may_join(pool, job);
}

/* Whether its bearer's lanes are taken. */
static bool is_held_back(const struct write_pool *pool, const struct job *job)
{
    int64_t now = clock_us();
    int lanes = 0;

    for (int i = 0; i < pool->nworkers && !job->alone; i++) {
        const struct worker *w = &pool->workers[i];

        lanes += w->njobs > 0 && w->jobs[0] != job && !w->jobs[0]->alone &&
                 now - w->since < LANE_US && same_bearer(w->jobs[0], job);
    }
    return lanes >= LANES;
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

static bool is_due(const struct write_pool *pool, const struct job *job)
{
    if (!waits(job) || pool->stop)
        return waits(job);
    return !is_held_back(pool, job) && (job->state == JOB_NEW || may_run(pool, job));
}

static struct job *next_job(const struct write_pool *pool)
{
    struct job *j = pool->first;

    while (j && !is_due(pool, j))
        j = j->next;
    return j;
}

/* One that may share the commit of the worker's jobs. */
static struct job *next_companion(const struct write_pool *pool, const struct job *first)
{
    for (struct job *j = pool->first; j; j = j->next) {
        if (waits(j) && !j->alone && same_bearer(j, first) &&
            (j->state == JOB_NEW || may_join(pool, j)))
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

/* Somebody takes it, if there is something to be taken; or watches what is held back. */
static void wake_one(struct write_pool *pool)
{
    if (next_job(pool) || (pool->waiting > 0 && !pool->watched))
        pthread_cond_signal(&pool->work);
}

static void drop(struct worker *w, const struct job *job)
{
    size_t i = 0;

    while (i < w->njobs && w->jobs[i] != job)
        i++;
    if (i < w->njobs)
        w->jobs[i] = w->jobs[--w->njobs];
}

/* The job is done: others of its replica may go on. */
static void finish(struct worker *w, struct job *job, struct write_reply *reply)
{
    struct write_pool *pool = w->pool;

    atomic_fetch_add(&pool->stats.requests, 1);
    atomic_fetch_add(&pool->stats.us, (uint64_t)(clock_us() - job->since));
    pthread_mutex_lock(&pool->mutex);
    drop(w, job);
    unlink_job(pool, job);
    wake_one(pool);
    pthread_mutex_unlock(&pool->mutex);
    answer(job, reply);
}

/* It did not go through with others: its turn comes, by itself. */
static void put_back(struct worker *w, struct job *job)
{
    struct write_pool *pool = w->pool;

    pthread_mutex_lock(&pool->mutex);
    drop(w, job);
    job->alone = true;
    set_state(pool, job, JOB_PARKED);
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
    set_state(w->pool, job, job->state == JOB_NEW ? JOB_PARSING : JOB_RUNNING);
}

/* NULL when the pool stops and nothing is left. */
static struct job *take_job(struct worker *w)
{
    struct write_pool *pool = w->pool;
    struct job *job;

    pthread_mutex_lock(&pool->mutex);
    while (!(job = next_job(pool)) && !pool->stop)
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
    bool runs =
        w->jobs[0] != job ? may_join(pool, job) : may_run(pool, job) && !is_held_back(pool, job);
    if (runs) {
        set_state(pool, job, JOB_RUNNING);
    } else if (parked_beside(pool, job) < MAX_PARKED) {
        drop(w, job);
        set_state(pool, job, JOB_PARKED);
    }
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

static void note_time(struct write_pool *pool, const struct write_took *took)
{
    if (took->mutations == 0)
        return;
    pthread_mutex_lock(&pool->mutex);
    pool->mutation_us = (3 * pool->mutation_us + took->us / (int64_t)took->mutations) / 4;
    pthread_mutex_unlock(&pool->mutex);
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
    note_time(pool, &outcome.took);
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

static bool get_rules(struct worker *w, struct job *job, struct write_rules *rules, void **held,
                      struct err *err)
{
    const struct write_pool_config *config = &w->pool->config;

    *held = NULL;
    return config->rules(config->owner, job->token, &job->arena, rules, held, err);
}

static void release(struct worker *w, void *held)
{
    if (held)
        w->pool->config.release(held);
}

static void serve(struct worker *w, struct job *job)
{
    struct write_reply reply;
    struct write_rules rules;
    struct err err = {0};
    void *held;

    if (get_rules(w, job, &rules, &held, &err))
        run(w, job, &rules, &reply);
    else
        answer_failure(&err, &reply);
    release(w, held);
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

/* Parses a job that is new, and takes it where its turn is now. */
static void begin(struct worker *w, struct job *job)
{
    struct write_reply reply;

    if (!parse(w->pool, job, &reply))
        finish(w, job, &reply);
    else if (place(w, job) == JOB_PARSING)
        refuse(w, job, ERR_BUSY, "this replica has too many requests under way");
}

/* ---- several at once ------------------------------------------------------------------------- */

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

static bool take_companion(struct worker *w)
{
    struct write_pool *pool = w->pool;

    pthread_mutex_lock(&pool->mutex);
    struct job *job = pool->stop ? NULL : next_companion(pool, w->jobs[0]);
    bool is_new = job && job->state == JOB_NEW;
    if (job)
        take(w, job);
    pthread_mutex_unlock(&pool->mutex);
    if (is_new)
        begin(w, job);
    return job != NULL;
}

/* Takes what waits of the same bearer to the job at hand. */
static void gather(struct worker *w)
{
    size_t most = most_mutations(w->pool);

    if (w->jobs[0]->alone || w->jobs[0]->request.decided)
        return;
    while (w->njobs < TOGETHER_MOST && count_all(w) < most && take_companion(w))
        ;
}

struct shared {
    struct write_share share;
    struct write_rules rules;
    struct write_outcome outcome;
    void *held;
    struct job *job;
};

/* False: it is not one for the others' commit. */
static bool join(struct worker *w, struct job *job, struct shared *s, const struct shared *first)
{
    struct err err;

    *s = (struct shared){.job = job};
    if (job->request.decided || !get_rules(w, job, &s->rules, &s->held, &err) ||
        (s != first && !write_may_share(&s->rules, &first->rules))) {
        release(w, s->held);
        return false;
    }
    write_outcome_init(&s->outcome, &job->request, &job->arena);
    s->share = (struct write_share){
        .rules = &s->rules, .request = &job->request, .arena = &job->arena, .outcome = &s->outcome};
    return true;
}

static void apply_shared(struct worker *w, struct write_share *shares, size_t n)
{
    struct write_took took = {0};
    struct err err;

    if (!ensure_connected(w, &err) ||
        !write_together(w->conn, shares, n, &w->pool->config.limits, &took, &err)) {
        pg_close(w->conn);
        w->conn = NULL;
    }
    note_time(w->pool, &took);
}

/* What is not decided by this is put back, and says by itself why. */
static void end_shared(struct worker *w, struct shared *s, const struct write_share *share)
{
    struct write_reply reply;
    struct err err = {0};

    release(w, s->held);
    if (share->from == 0 || share->from < share->request->ntxns) {
        put_back(w, s->job);
        return;
    }
    count(&w->pool->stats, &s->job->request, &s->outcome);
    answer_outcome(&s->job->request, &s->outcome, &err, &reply);
    note_trouble(w->pool, NULL);
    finish(w, s->job, &reply);
}

static void serve_together(struct worker *w)
{
    struct shared all[TOGETHER_MOST];
    struct write_share shares[TOGETHER_MOST];
    struct job *jobs[TOGETHER_MOST];
    size_t n = 0, njobs = w->njobs;

    memcpy(jobs, w->jobs, njobs * sizeof(*jobs));
    for (size_t i = 0; i < njobs; i++) {
        if (join(w, jobs[i], &all[n], &all[0])) {
            shares[n] = all[n].share;
            n++;
        } else {
            put_back(w, jobs[i]);
        }
    }
    if (n > 0)
        apply_shared(w, shares, n);
    for (size_t i = 0; i < n; i++)
        end_shared(w, &all[i], &shares[i]);
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
            serve(w, w->jobs[0]);
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
        if (!pool->watched || is_due(pool, job))
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
