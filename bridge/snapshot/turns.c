#include "snapshot/turns.h"
#include "shapes/shape.h"
#include "snapshot/pool_private.h"

#include <assert.h>

/* ---- logs that others have not begun with ---------------------------------------------------- */

static size_t fills_len(const struct fills *f)
{
    return f->end - f->first;
}

/* Who has most of them. One who waits for the lock of a table would be followed into the wait. */
static struct worker *most_loaded(struct snapshot_pool *pool)
{
    struct worker *found = NULL;

    for (int i = 0; i < pool->nworkers; i++) {
        struct worker *w = &pool->workers[i];

        if (!w->stuck && fills_len(&w->fills) > (found ? fills_len(&found->fills) : 0))
            found = w;
    }
    return found;
}

/* The later half; of one, that one. */
static void take_half(struct worker *to, struct worker *from)
{
    struct fills *f = &from->fills;
    size_t n = (fills_len(f) + 1) / 2;

    assert(fills_len(&to->fills) == 0);
    f->end -= n;
    memcpy(to->fills.logs, f->logs + f->end, n * sizeof(struct log *));
    to->fills.first = 0;
    to->fills.end = n;
    to->fills.registered = f->registered;
}

/* ---- whose turn it is ------------------------------------------------------------------------ */

static bool is_idle(struct snapshot_pool *pool)
{
    return !pool->queue.fresh.first && !pool->queue.absent.first && !most_loaded(pool);
}

void pool_wake(struct snapshot_pool *pool)
{
    if (pool->busy < pool->config.workers)
        pthread_cond_signal(&pool->work);
    else if (pool->queue.fresh.first)
        pthread_cond_signal(&pool->look);
}

/* So many that all who have nothing to do get their part. */
static void take_share(struct worker *w, struct requests *list)
{
    struct snapshot_pool *pool = w->pool;
    int idle = pool->config.workers - pool->busy;
    size_t hands = idle > 0 ? (size_t)idle : 1; /* at the end of the pool there may be none */
    size_t share = (list->n + hands - 1) / hands;

    queue_gather(&pool->queue, list, &w->mates, share < TOGETHER ? share : TOGETHER);
}

bool pool_next_turn(struct worker *w)
{
    struct snapshot_pool *pool = w->pool;
    struct queue *q = &pool->queue;

    pthread_mutex_lock(&pool->mutex);
    while ((is_idle(pool) || pool->busy >= pool->config.workers) && !atomic_load(&pool->stop))
        pthread_cond_wait(&pool->work, &pool->mutex);
    struct worker *other = most_loaded(pool);
    bool some = true;
    if (q->absent.first)
        take_share(w, &q->absent);
    else if (q->fresh.first)
        take_share(w, &q->fresh);
    else if (other)
        take_half(w, other);
    else
        some = false;
    if (some) {
        pool->busy++;
        if (!is_idle(pool))
            pool_wake(pool);
    }
    pthread_mutex_unlock(&pool->mutex);
    return some;
}

bool pool_next_look(struct worker *w)
{
    struct snapshot_pool *pool = w->pool;

    pthread_mutex_lock(&pool->mutex);
    while ((!pool->queue.fresh.first || pool->busy < pool->config.workers) &&
           !atomic_load(&pool->stop))
        pthread_cond_wait(&pool->look, &pool->mutex);
    bool some = pool->queue.fresh.first != NULL;
    if (some)
        queue_gather(&pool->queue, &pool->queue.fresh, &w->mates, TOGETHER);
    pthread_mutex_unlock(&pool->mutex);
    return some;
}

bool pool_end_turn(struct worker *w)
{
    struct snapshot_pool *pool = w->pool;

    pthread_mutex_lock(&pool->mutex);
    pool->busy--;
    bool idle = is_idle(pool);
    pthread_mutex_unlock(&pool->mutex);
    return idle;
}

struct request *pool_next_mate(struct worker *w)
{
    pthread_mutex_lock(&w->pool->mutex);
    struct request *r = queue_take(&w->pool->queue, &w->mates);
    pthread_mutex_unlock(&w->pool->mutex);
    return r;
}

/* ---- a worker's logs ------------------------------------------------------------------------- */

void pool_put_fill(struct worker *w, struct log *log)
{
    fills_put_back(w, &log, 1, LSN_NONE);
}

void fills_put_back(struct worker *w, struct log *const *logs, size_t n, lsn_t registered)
{
    struct fills *f = &w->fills;

    pthread_mutex_lock(&w->pool->mutex);
    if (fills_len(f) == 0)
        f->first = f->end = 0;
    assert(f->end + n <= TOGETHER && (f->end == 0 || f->registered == registered));
    memcpy(f->logs + f->end, logs, n * sizeof(struct log *));
    f->end += n;
    f->registered = registered;
    pool_wake(w->pool);
    pthread_mutex_unlock(&w->pool->mutex);
}

size_t fills_to_register(struct worker *w, struct log *logs[TOGETHER])
{
    struct fills *f = &w->fills;

    pthread_mutex_lock(&w->pool->mutex);
    size_t n = f->registered == LSN_NONE ? fills_len(f) : 0;
    memcpy(logs, f->logs + f->first, n * sizeof(struct log *));
    f->first += n;
    pthread_mutex_unlock(&w->pool->mutex);
    return n;
}

struct log *fills_take(struct worker *w, uint32_t relid, lsn_t *registered)
{
    struct fills *f = &w->fills;

    pthread_mutex_lock(&w->pool->mutex);
    struct log *log = fills_len(f) > 0 ? f->logs[f->first] : NULL;
    if (log && relid && log_shape(log)->table->relid != relid)
        log = NULL;
    if (log)
        f->first++;
    *registered = f->registered;
    pthread_mutex_unlock(&w->pool->mutex);
    return log;
}
