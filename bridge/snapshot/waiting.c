#include "snapshot/waiting.h"
#include "base/logging.h"
#include "snapshot/pool_private.h"

#include <stdlib.h>

/* What was taken together with the request that waits is others' work now. */
static void step_aside(struct worker *w, uint32_t relid, struct table_wait *wait)
{
    struct snapshot_pool *pool = w->pool;

    if (!wait) {
        wait = xcalloc(1, sizeof(*wait));
        u64map_set(&pool->waits, relid, wait);
    }
    wait->users++;
    pool->busy--;
    if (pool->nworkers - ++pool->waiting < pool->config.workers && !pool_start_worker(pool))
        log_warn("could not start a spare snapshot worker");
    queue_put_back(&pool->queue, &w->mates);
    pthread_cond_signal(&pool->work);
}

enum waiting pool_wait_begin(struct worker *w, uint32_t relid, struct request *request,
                             struct err *err)
{
    struct snapshot_pool *pool = w->pool;
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
    w->stuck = outcome == WAITING && !request;
    if (outcome == WAITING)
        step_aside(w, relid, wait);
    pthread_mutex_unlock(&pool->mutex);
    if (gone)
        pool_refuse(pool, request, ERR_STOPPED, GONE);
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
        pool_answer(pool, r, &a);
    }
}

void pool_wait_end(struct worker *w, uint32_t relid, const struct err *failed)
{
    struct snapshot_pool *pool = w->pool;
    struct request *parked = NULL;

    pthread_mutex_lock(&pool->mutex);
    struct table_wait *wait = u64map_get(&pool->waits, relid);
    w->stuck = false;
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
    pool_wake(pool);
    pthread_mutex_unlock(&pool->mutex);
    fail(pool, parked, failed);
}
