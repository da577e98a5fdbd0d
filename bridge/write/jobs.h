/*
 * The requests that a pool has, in the order they came, and whose turn it is: private to pool.c and
 * serve.c. All is called holding the pool's mutex.
 *
 * A worker takes the first one that nobody works on and whose turn it is; which replica it is for
 * is known once it has been parsed:
 *
 *     JOB_NEW -> JOB_PARSING -> JOB_RUNNING -> answered
 *                    |            |  ^
 *                    |            v  |
 *                    +-> JOB_PARKED -+   its replica has another one under way, its subject has
 *                                        half of the workers, or it did not go through together
 *                                        with others
 *
 * The requests of one bearer share commits (together.h): while two workers are at his, the lanes,
 * or one and little else waits, what comes is held back, and the first of them that is done takes
 * it all. A worker that has been at it for longer than LANE_US does not count: whatever it waits
 * for, others need not.
 */
#ifndef WRITE_JOBS_H
#define WRITE_JOBS_H

#include "write/pool.h"
#include "write/together.h"

#include <pthread.h>

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

/* Whether it waits in the queue is counted by its state. */
void jobs_set_state(struct write_pool *pool, struct job *job, enum job_state state);
void jobs_add(struct write_pool *pool, struct job *job);
void jobs_remove(struct write_pool *pool, struct job *job);
/* The worker has it no more. */
void jobs_drop(struct worker *w, const struct job *job);

/* Of a job that has been parsed. No other job of its replica runs. */
bool jobs_may_join(const struct write_pool *pool, const struct job *job);
/* Nor do too many of its subject. */
bool jobs_may_run(const struct write_pool *pool, const struct job *job);
/* Whether its bearer's lanes are taken. */
bool jobs_is_held_back(const struct write_pool *pool, const struct job *job);
/* How many of its replica are parked. */
size_t jobs_parked_beside(const struct write_pool *pool, const struct job *job);
/* Whether its subject has its part of the queue. */
bool jobs_have_their_share(const struct write_pool *pool, const struct job *job);

bool jobs_is_due(const struct write_pool *pool, const struct job *job);
/* The first that is due, or NULL. */
struct job *jobs_next(const struct write_pool *pool);
/* One that may share the commit of `first`, which runs; or NULL. */
struct job *jobs_next_companion(const struct write_pool *pool, const struct job *first);

#endif
