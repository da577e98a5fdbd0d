#include "replica/lane.h"

#include "base/clock.h"
#include "base/logging.h"
#include "replica/core.h"

#include <signal.h>
#include <stdlib.h>

#define DUE_MS 100

void lite_text_grow(struct lite_text *text, size_t size)
{
    if (text->cap >= size)
        return;
    free(text->ptr);
    text->ptr = xmalloc(size);
    text->cap = size;
}

void lite_text_swap(struct lite_text *a, struct lite_text *b)
{
    struct lite_text had = *a;

    *a = *b;
    *b = had;
}

static void release_block(struct lite_block *b)
{
    free(b->values);
    free(b->text.ptr);
    arena_release(&b->arena);
    *b = (struct lite_block){0};
}

static bool is_large(const struct lite_block *b)
{
    return b->text.cap > LITE_TEXT_KEPT;
}

/* ---- the thread ---- */

static struct lite_block *block_of(struct lite_lane *lane, size_t number)
{
    return &lane->blocks[number % LITE_BLOCKS];
}

/* With the mutex held, which is let go of meanwhile. */
static void write_next(struct replica *r)
{
    struct lite_lane *lane = &r->lane;
    struct err err;

    if (!lane->failed && !lane->drop) {
        pthread_mutex_unlock(&lane->mutex);
        bool ok = lite_rows_write(r, block_of(lane, lane->done), &err);
        pthread_mutex_lock(&lane->mutex);
        if (!ok) {
            lane->failed = true;
            lane->err = err;
        }
    }
    lane->done++;
    pthread_cond_signal(&lane->moved);
}

static void *run(void *arg)
{
    struct replica *r = arg;
    struct lite_lane *lane = &r->lane;

    pthread_mutex_lock(&lane->mutex);
    while (!lane->end) {
        if (lane->done == lane->put)
            pthread_cond_wait(&lane->moved, &lane->mutex);
        else
            write_next(r);
    }
    pthread_mutex_unlock(&lane->mutex);
    return NULL;
}

/* Signals are for the program's own threads. Without a thread all goes on as before. */
static void start(struct replica *r)
{
    struct lite_lane *lane = &r->lane;
    sigset_t all, old;

    pthread_mutex_init(&lane->mutex, NULL);
    pthread_cond_init(&lane->moved, NULL);
    lane->end = lane->drop = false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    lane->threaded = pthread_create(&lane->thread, NULL, run, r) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (lane->threaded)
        return;
    pthread_cond_destroy(&lane->moved);
    pthread_mutex_destroy(&lane->mutex);
    lane->wanted = false;
    log_warn("first rows are written without a thread of their own, as none could be made");
}

static void stop(struct lite_lane *lane)
{
    pthread_mutex_lock(&lane->mutex);
    lane->end = true;
    pthread_cond_signal(&lane->moved);
    pthread_mutex_unlock(&lane->mutex);
    pthread_join(lane->thread, NULL);
    pthread_cond_destroy(&lane->moved);
    pthread_mutex_destroy(&lane->mutex);
    lane->threaded = false;
}

/* ---- the caller ---- */

/* Waits until `most` blocks at most are not written; false when one could not be. */
static bool wait_for(struct lite_lane *lane, size_t most)
{
    pthread_mutex_lock(&lane->mutex);
    while (lane->put - lane->done > most)
        pthread_cond_wait(&lane->moved, &lane->mutex);
    bool ok = !lane->failed;
    pthread_mutex_unlock(&lane->mutex);
    return ok;
}

struct lite_block *lite_lane_block(struct replica *r, size_t nvalues)
{
    struct lite_lane *lane = &r->lane;

    if (lane->busy)
        wait_for(lane, LITE_BLOCKS - 1);
    struct lite_block *b = block_of(lane, lane->put);
    arena_reset(&b->arena);
    if (b->cap < nvalues) {
        free(b->values);
        b->values = xmalloc(nvalues * sizeof(*b->values));
        b->cap = nvalues;
    }
    return b;
}

static bool hand_over(struct replica *r, struct err *err)
{
    struct lite_lane *lane = &r->lane;

    if (!lane->busy)
        replica_progress(r, &lane->progress);
    lane->busy = true;
    pthread_mutex_lock(&lane->mutex);
    bool ok = !lane->failed;
    lane->put++;
    pthread_cond_signal(&lane->moved);
    pthread_mutex_unlock(&lane->mutex);
    return ok || lite_lane_drain(r, err);
}

bool lite_lane_put(struct replica *r, struct lite_block *block, struct err *err)
{
    struct lite_lane *lane = &r->lane;

    if (lane->wanted && lane->warm && !lane->threaded)
        start(r);
    lane->warm = true;
    bool ok = lane->threaded ? hand_over(r, err) : lite_rows_write(r, block, err);
    if (is_large(block)) {
        ok = ok && lite_lane_drain(r, err);
        release_block(block);
    }
    return ok;
}

bool lite_lane_drain(struct replica *r, struct err *err)
{
    struct lite_lane *lane = &r->lane;

    if (!lane->busy)
        return true;
    bool ok = wait_for(lane, 0);
    lane->busy = lane->failed = false;
    lane->drained_at = clock_ms();
    if (!ok)
        *err = lane->err;
    return ok;
}

void lite_lane_drop(struct replica *r)
{
    struct lite_lane *lane = &r->lane;
    struct err ignored;

    if (!lane->busy)
        return;
    pthread_mutex_lock(&lane->mutex);
    lane->drop = true;
    pthread_mutex_unlock(&lane->mutex);
    if (!lite_lane_drain(r, &ignored))
        r->stuck = NULL; /* it goes with its error: what is told instead is not of that table */
    lane->drop = false;
}

void lite_lane_rest(struct replica *r)
{
    struct lite_lane *lane = &r->lane;

    lite_lane_drop(r);
    if (lane->threaded)
        stop(lane);
    for (size_t i = 0; i < LITE_BLOCKS; i++)
        release_block(&lane->blocks[i]);
    lane->warm = false;
}

bool lite_lane_is_due(const struct replica *r)
{
    const struct lite_lane *lane = &r->lane;

    return !lane->busy || (lane->progress.writes && clock_ms() - lane->drained_at >= DUE_MS);
}
