/*
 * Bodies are entries of a list, the latest used first: waiting to be made (with those who wait for
 * it), or there. One thread makes the oldest that waits. One mutex guards it all but the making.
 */
#include "http/encoder.h"

#include "base/arena.h"
#include "base/hash.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct encoder_entry {
    struct encoder_entry *prev, *next;
    struct encoder_key key;
    struct encoded *encoded; /* NULL: still to be made */
    struct encoder_job *job; /* until it is */
    bool begun;
    struct encoder_waiter *waiters;
};

struct encoder {
    pthread_mutex_t mutex;
    pthread_cond_t work;
    pthread_t thread;
    struct encoder_entry list; /* its head */
    struct strmap by_key;
    size_t memory, used;
    unsigned njobs; /* entries that are to be made */
    bool running, stop;
};

/* ---- bodies ---------------------------------------------------------------------------------- */

static struct encoded *encoded_new(struct buf *bytes)
{
    struct encoded *e = xcalloc(1, sizeof(*e));

    atomic_init(&e->refs, 1);
    e->bytes = buf_slice(bytes);
    return e;
}

static struct encoded *encoded_nothing(void)
{
    struct buf none;

    buf_init(&none, 0);
    return encoded_new(&none);
}

static struct encoded *encoded_ref(struct encoded *encoded)
{
    atomic_fetch_add_explicit(&encoded->refs, 1, memory_order_relaxed);
    return encoded;
}

void encoded_unref(struct encoded *encoded)
{
    if (atomic_fetch_sub_explicit(&encoded->refs, 1, memory_order_acq_rel) > 1)
        return;
    free((char *)(uintptr_t)encoded->bytes.ptr);
    free(encoded);
}

/* ---- the list: holding the mutex ------------------------------------------------------------- */

static void link_first(struct encoder *encoder, struct encoder_entry *e)
{
    e->prev = &encoder->list;
    e->next = encoder->list.next;
    e->prev->next = e->next->prev = e;
}

static void unlink_entry(struct encoder_entry *e)
{
    e->prev->next = e->next;
    e->next->prev = e->prev;
}

static struct slice key_bytes(const struct encoder_key *key)
{
    return (struct slice){(const char *)key, sizeof(*key)};
}

static void drop(struct encoder *encoder, struct encoder_entry *e)
{
    unlink_entry(e);
    strmap_remove(&encoder->by_key, key_bytes(&e->key));
    if (e->encoded) {
        encoder->used -= sizeof(*e) + e->encoded->bytes.len;
        encoded_unref(e->encoded);
    } else {
        encoder->njobs--;
    }
    free(e);
}

/* Those that are still to be made stay. */
static void drop_old(struct encoder *encoder)
{
    struct encoder_entry *prev;

    for (struct encoder_entry *e = encoder->list.prev;
         e != &encoder->list && encoder->used > encoder->memory; e = prev) {
        prev = e->prev;
        if (e->encoded)
            drop(encoder, e);
    }
}

/* ---- those who wait -------------------------------------------------------------------------- */

static void on_loop(void *arg)
{
    struct encoder_waiter *w = arg;

    w->done(w, w->encoded);
}

static void tell(struct encoder_waiter *w, struct encoded *encoded)
{
    w->encoded = encoded_ref(encoded);
    http_loop_post(w->loop, on_loop, w);
}

/* Holding the mutex. */
static void link_waiter(struct encoder_entry *e, struct encoder_waiter *w)
{
    w->entry = e;
    w->link = &e->waiters;
    w->next = e->waiters;
    if (w->next)
        w->next->link = &w->next;
    e->waiters = w;
}

/* Holding the mutex. */
static void unlink_waiter(struct encoder_waiter *w)
{
    *w->link = w->next;
    if (w->next)
        w->next->link = w->link;
    w->entry = NULL;
}

/* The entry has its body: tells, and keeps it, or that it is too large. Takes the reference. */
static void settle(struct encoder *encoder, struct encoder_entry *e, struct encoded *encoded)
{
    bool keeps = encoded->bytes.len <= encoder->memory / 4;

    pthread_mutex_lock(&encoder->mutex);
    for (struct encoder_waiter *w; (w = e->waiters);) {
        unlink_waiter(w);
        tell(w, encoded);
    }
    encoder->njobs--;
    e->job = NULL;
    e->encoded = keeps ? encoded_ref(encoded) : encoded_nothing();
    encoder->used += sizeof(*e) + e->encoded->bytes.len;
    if (encoder->stop)
        drop(encoder, e);
    else
        drop_old(encoder);
    pthread_mutex_unlock(&encoder->mutex);
    encoded_unref(encoded);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static struct encoded *make(struct encoder_job *job)
{
    struct buf body, out;

    buf_init(&body, ENCODER_BODY_MAX);
    buf_init(&out, BUF_NO_LIMIT);
    if (job->read(job, &body) && !body.failed)
        http_encode(job->encoding, HTTP_EFFORT_KEPT, buf_slice(&body), &out);
    buf_release(&body);
    if (out.len == 0)
        buf_release(&out);
    else
        out.ptr = xrealloc(out.ptr, out.len); /* it had room for the whole body */
    return encoded_new(&out);
}

/* The oldest that is to be made; NULL at the end. */
static struct encoder_entry *next_work(struct encoder *encoder)
{
    struct encoder_entry *found = NULL;

    pthread_mutex_lock(&encoder->mutex);
    while (!found) {
        for (struct encoder_entry *e = encoder->list.prev; !found && e != &encoder->list;
             e = e->prev)
            found = e->job ? e : NULL;
        if (!found && encoder->stop)
            break;
        if (!found)
            pthread_cond_wait(&encoder->work, &encoder->mutex);
    }
    if (found)
        found->begun = true;
    pthread_mutex_unlock(&encoder->mutex);
    return found;
}

static bool stopping(struct encoder *encoder)
{
    pthread_mutex_lock(&encoder->mutex);
    bool stop = encoder->stop;

    pthread_mutex_unlock(&encoder->mutex);
    return stop;
}

static void *work(void *arg)
{
    struct encoder *encoder = arg;

    for (struct encoder_entry *e; (e = next_work(encoder));) {
        struct encoder_job *job = e->job;
        struct encoded *encoded = stopping(encoder) ? encoded_nothing() : make(job);

        settle(encoder, e, encoded);
        job->release(job);
    }
    return NULL;
}

/* ---- from outside ---------------------------------------------------------------------------- */

struct encoder *encoder_new(size_t memory, struct err *err)
{
    struct encoder *encoder = xcalloc(1, sizeof(*encoder));

    encoder->memory = memory;
    encoder->list.prev = encoder->list.next = &encoder->list;
    pthread_mutex_init(&encoder->mutex, NULL);
    pthread_cond_init(&encoder->work, NULL);
    errno = pthread_create(&encoder->thread, NULL, work, encoder);
    encoder->running = errno == 0;
    if (encoder->running)
        return encoder;
    err_errno(err, ERR_IO, "could not start a thread");
    encoder_free(encoder);
    return NULL;
}

void encoder_stop(struct encoder *encoder)
{
    if (!encoder || !encoder->running)
        return;
    pthread_mutex_lock(&encoder->mutex);
    encoder->stop = true;
    pthread_cond_signal(&encoder->work);
    pthread_mutex_unlock(&encoder->mutex);
    pthread_join(encoder->thread, NULL);
    encoder->running = false;
}

void encoder_free(struct encoder *encoder)
{
    if (!encoder)
        return;
    encoder_stop(encoder);
    while (encoder->list.next != &encoder->list)
        drop(encoder, encoder->list.next);
    strmap_release(&encoder->by_key);
    pthread_mutex_destroy(&encoder->mutex);
    pthread_cond_destroy(&encoder->work);
    free(encoder);
}

struct encoded *encoder_find(struct encoder *encoder, const struct encoder_key *key)
{
    pthread_mutex_lock(&encoder->mutex);
    struct encoder_entry *e = strmap_get(&encoder->by_key, key_bytes(key));
    struct encoded *encoded = e && e->encoded ? encoded_ref(e->encoded) : NULL;

    if (encoded) {
        unlink_entry(e);
        link_first(encoder, e);
    }
    pthread_mutex_unlock(&encoder->mutex);
    return encoded;
}

/* Holding the mutex. */
static struct encoder_entry *entry_new(struct encoder *encoder, struct encoder_job *job)
{
    struct encoder_entry *e = xcalloc(1, sizeof(*e));

    e->key = job->key;
    e->job = job;
    link_first(encoder, e);
    strmap_set(&encoder->by_key, key_bytes(&e->key), e);
    encoder->njobs++;
    pthread_cond_signal(&encoder->work);
    return e;
}

/* Holding the mutex. *taken: the job is needed. False when too many wait. */
static bool enter(struct encoder *encoder, struct encoder_job *job, struct encoder_waiter *w,
                  bool *taken)
{
    struct encoder_entry *e = strmap_get(&encoder->by_key, key_bytes(&job->key));

    *taken = !e && encoder->njobs < ENCODER_JOBS_MAX;
    if (*taken)
        e = entry_new(encoder, job);
    if (e && e->encoded)
        tell(w, e->encoded);
    else if (e)
        link_waiter(e, w);
    return e != NULL;
}

bool encoder_request(struct encoder *encoder, struct encoder_job *job, struct encoder_waiter *w)
{
    bool taken = false, told = true;

    w->entry = NULL;
    pthread_mutex_lock(&encoder->mutex);
    bool stopped = encoder->stop;

    if (!stopped)
        told = enter(encoder, job, w, &taken);
    pthread_mutex_unlock(&encoder->mutex);
    if (stopped) {
        struct encoded *nothing = encoded_nothing();

        tell(w, nothing);
        encoded_unref(nothing);
    }
    if (!taken)
        job->release(job);
    return told;
}

bool encoder_cancel(struct encoder *encoder, struct encoder_waiter *w)
{
    struct encoder_job *unneeded = NULL;

    pthread_mutex_lock(&encoder->mutex);
    struct encoder_entry *e = w->entry;

    if (e) {
        unlink_waiter(w);
        if (!e->waiters && !e->begun) {
            unneeded = e->job;
            drop(encoder, e);
        }
    }
    pthread_mutex_unlock(&encoder->mutex);
    if (unneeded)
        unneeded->release(unneeded);
    return e != NULL;
}
