/*
 * The pool from inside: what pool.c (requests, threads), turns.c (who does what next) and waiting.c
 * (tables that are waited for) share.
 */
#ifndef SNAPSHOT_POOL_PRIVATE_H
#define SNAPSHOT_POOL_PRIVATE_H

#include "change/tables.h"
#include "snapshot/finisher.h"
#include "snapshot/pool.h"
#include "snapshot/queue.h"
#include "snapshot/trust.h"
#include "snapshot/turns.h"

#include <pthread.h>

/* Logs of one table to be filled, [first, end) of the array, each referenced. */
struct fills {
    struct log *logs[TOGETHER];
    size_t first, end;
    lsn_t registered; /* P of the last of them; LSN_NONE: they are not registered yet */
};

struct worker {
    struct snapshot_pool *pool;
    pthread_t thread;
    struct pg_conn *conn; /* written under the pool's mutex, so that it can be cancelled */

    /* Under the pool's mutex. */
    struct requests mates; /* taken together with the one it is at work with */
    struct fills fills;    /* logs it has not begun with; others may take some of them */
    bool stuck;            /* it waits for the lock of the table that they are of */
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
    struct finisher *finisher;
    atomic_bool stop;
    pthread_mutex_t mutex;
    pthread_cond_t work, look;
    struct queue queue;
    struct worker looker;
    bool looks;             /* it was started */
    struct worker *workers; /* room for all there may be */
    int nworkers;           /* started */
    int waiting;            /* of these, for a table: others take their place */
    int busy;               /* with a turn, and not waiting: at most config.workers begin one */
    struct u64map waits;    /* relid -> struct table_wait */
};

#define MAX_WAITS 64 /* tables that are waited for at a time, each by a worker */
#define STOPPING "the bridge is stopping"
#define GONE "whoever asked has gone"

/* ---- pool.c ---------------------------------------------------------------------------------- */

/* The request is out of all lists; it is freed. */
void pool_answer(struct snapshot_pool *pool, struct request *r, struct shape_answer *a);
void pool_refuse(struct snapshot_pool *pool, struct request *r, enum err_code code,
                 const char *text);
/* Holding the mutex. */
bool pool_start_worker(struct snapshot_pool *pool);

/* ---- turns.c --------------------------------------------------------------------------------- */

/* Somebody for what there is to do. Holding the mutex. */
void pool_wake(struct snapshot_pool *pool);
/* Waits for something to do: w->mates has requests, or w->fills logs. False: the pool stops, and
 * there are none. */
bool pool_next_turn(struct worker *w);
/* The looker's: while all others are at work. */
bool pool_next_look(struct worker *w);
/* Whether nothing waits to be done. */
bool pool_end_turn(struct worker *w);
/* The next of what was taken together, or NULL. */
struct request *pool_next_mate(struct worker *w);
/* A log that the worker has made is to be filled: by it, or by somebody who has nothing to do.
 * Takes the reference. */
void pool_put_fill(struct worker *w, struct log *log);

#endif
