#include "snapshot/finisher.h"
#include "base/clock.h"
#include "base/logging.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

#define MOST 128u   /* wait at a time: each may have a file open */
#define MANY 64u    /* snapshots in a row, after which memory is given back ... */
#define LULL_MS 100 /* ... once no other came for so long */

struct batch {
    struct snapshot_end ends[MOST];
    struct log *logs[MOST];
    size_t n;
};

struct finisher {
    struct snapshot_stats *stats;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake, taken;
    struct batch *waiting, *at_work; /* change places */
    bool stop;
    size_t in_a_row; /* snapshots finished without a lull; the thread's own */
};

static void tell(struct finisher *f, const struct snapshot_end *end, struct log *log)
{
    if (end->ok) {
        atomic_fetch_add_explicit(&f->stats->snapshots, 1, memory_order_relaxed);
        log_debug("snapshot complete", LOG_UINT("log", log_id(log)));
    } else {
        atomic_fetch_add_explicit(&f->stats->failures, 1, memory_order_relaxed);
        log_warn("could not make a shape's snapshot", LOG_UINT("log", log_id(log)),
                 LOG_ERR(&end->err));
    }
    log_unref(log);
}

/* Making many shapes needs memory in passing (requests, parsed clauses, results), and what stays of
 * each shape lies in between: malloc would keep all of it. Holding the mutex, which it gives up. */
static void give_back(struct finisher *f)
{
    pthread_mutex_unlock(&f->mutex);
    malloc_trim(0);
    pthread_mutex_lock(&f->mutex);
}

/* For the next, or for a lull behind some. Holding the mutex. */
static void wait_for_more(struct finisher *f)
{
    if (f->in_a_row == 0) {
        pthread_cond_wait(&f->wake, &f->mutex);
        return;
    }
    int64_t until = clock_us() + LULL_MS * 1000;
    const struct timespec lull = {until / 1000000, until % 1000000 * 1000};

    if (pthread_cond_timedwait(&f->wake, &f->mutex, &lull) != ETIMEDOUT)
        return;
    if (f->in_a_row >= MANY)
        give_back(f);
    f->in_a_row = 0;
}

/* False: the end, and nothing waits. */
static bool take_waiting(struct finisher *f)
{
    pthread_mutex_lock(&f->mutex);
    while (f->waiting->n == 0 && !f->stop)
        wait_for_more(f);
    struct batch *taken = f->waiting;
    f->waiting = f->at_work;
    f->at_work = taken;
    pthread_cond_broadcast(&f->taken);
    pthread_mutex_unlock(&f->mutex);
    return taken->n > 0;
}

static void *work(void *arg)
{
    struct finisher *f = arg;

    while (take_waiting(f)) {
        struct batch *b = f->at_work;

        snapshot_writers_finish(b->ends, b->n);
        f->in_a_row += b->n;
        for (size_t i = 0; i < b->n; i++)
            tell(f, &b->ends[i], b->logs[i]);
        b->n = 0;
    }
    return NULL;
}

static void release(struct finisher *f)
{
    pthread_cond_destroy(&f->wake);
    pthread_cond_destroy(&f->taken);
    pthread_mutex_destroy(&f->mutex);
    free(f->waiting);
    free(f->at_work);
    free(f);
}

struct finisher *finisher_new(struct snapshot_stats *stats)
{
    struct finisher *f = xcalloc(1, sizeof(*f));
    pthread_condattr_t attr;

    f->stats = stats;
    f->waiting = xcalloc(1, sizeof(*f->waiting));
    f->at_work = xcalloc(1, sizeof(*f->at_work));
    pthread_mutex_init(&f->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&f->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_cond_init(&f->taken, NULL);
    if (pthread_create(&f->thread, NULL, work, f) == 0)
        return f;
    release(f);
    return NULL;
}

void finisher_free(struct finisher *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&f->mutex);
    f->stop = true;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->mutex);
    pthread_join(f->thread, NULL);
    release(f);
}

void finisher_put(struct finisher *f, struct snapshot_writer *writer, struct log *log)
{
    pthread_mutex_lock(&f->mutex);
    while (f->waiting->n == MOST)
        pthread_cond_wait(&f->taken, &f->mutex);
    struct batch *b = f->waiting;
    b->ends[b->n] = (struct snapshot_end){.writer = writer};
    b->logs[b->n++] = log;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->mutex);
}
