#include "write/jobs.h"

#include "base/clock.h"
#include "token/token.h"

#define QUEUE_SHARE 4 /* a subject's part of the queue is one of so many */
#define LANES 2       /* one commits while the other fills */
/* Bytes that wait and are worth a second lane: a few small writes cost less all together, in the
 * next commit of the first. */
#define LANE_FULL 4096

static bool waits(const struct job *job)
{
    return job->state == JOB_NEW || job->state == JOB_PARKED;
}

void jobs_set_state(struct write_pool *pool, struct job *job, enum job_state state)
{
    bool before = waits(job);

    job->state = state;
    if (waits(job) == before)
        return;
    pool->waiting += before ? (size_t)-1 : 1;
    pool->waiting_bytes += before ? 0 - job->size : job->size;
    atomic_store(&pool->stats.waiting, pool->waiting);
}

void jobs_add(struct write_pool *pool, struct job *job)
{
    job->prev = pool->last;
    *(pool->last ? &pool->last->next : &pool->first) = job;
    pool->last = job;
    job->state = JOB_RUNNING; /* which does not count */
    jobs_set_state(pool, job, JOB_NEW);
}

void jobs_remove(struct write_pool *pool, struct job *job)
{
    jobs_set_state(pool, job, JOB_RUNNING);
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
bool jobs_may_join(const struct write_pool *pool, const struct job *job)
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
bool jobs_may_run(const struct write_pool *pool, const struct job *job)
{
    int share = (pool->nworkers + 1) / 2;

    for (int i = 0; i < pool->nworkers; i++) {
        const struct worker *w = &pool->workers[i];

        if (w->njobs > 0 && w->jobs[0] != job && same_subject(w->jobs[0], job) && --share == 0)
            return false;
    }
    return jobs_may_join(pool, job);
}

/* Whether its bearer's lanes are taken. */
bool jobs_is_held_back(const struct write_pool *pool, const struct job *job)
{
    size_t to_be_done = pool->waiting_bytes + (waits(job) ? 0 : job->size);
    int64_t now = clock_us();
    int lanes = 0;

    for (int i = 0; i < pool->nworkers && !job->alone; i++) {
        const struct worker *w = &pool->workers[i];

        lanes += w->njobs > 0 && w->jobs[0] != job && !w->jobs[0]->alone &&
                 now - w->since < LANE_US && same_bearer(w->jobs[0], job);
    }
    return lanes >= (to_be_done < LANE_FULL ? 1 : LANES);
}

/* Whether its subject has its part of the queue. */
bool jobs_have_their_share(const struct write_pool *pool, const struct job *job)
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

size_t jobs_parked_beside(const struct write_pool *pool, const struct job *job)
{
    size_t n = 0;

    for (const struct job *j = pool->first; j; j = j->next)
        n += j->state == JOB_PARKED && same_replica(j, job);
    return n;
}

bool jobs_is_due(const struct write_pool *pool, const struct job *job)
{
    if (!waits(job) || pool->stop)
        return waits(job);
    return !jobs_is_held_back(pool, job) && (job->state == JOB_NEW || jobs_may_run(pool, job));
}

struct job *jobs_next(const struct write_pool *pool)
{
    struct job *j = pool->first;

    while (j && !jobs_is_due(pool, j))
        j = j->next;
    return j;
}

/* One that may share the commit of the worker's jobs. */
struct job *jobs_next_companion(const struct write_pool *pool, const struct job *first)
{
    for (struct job *j = pool->first; j; j = j->next) {
        if (waits(j) && !j->alone && same_bearer(j, first) &&
            (j->state == JOB_NEW || jobs_may_join(pool, j)))
            return j;
    }
    return NULL;
}

void jobs_drop(struct worker *w, const struct job *job)
{
    size_t i = 0;

    while (i < w->njobs && w->jobs[i] != job)
        i++;
    if (i < w->njobs)
        w->jobs[i] = w->jobs[--w->njobs];
}
