/*
 * The publishing thread: makes a producer, gives it what is queued, and begins anew when it fails.
 */
#include "kafka/outlet_private.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/logging.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#define BACKOFF_FIRST_MS 200
#define BACKOFF_MOST_MS 10000
#define POLL_EVERY 64 /* entries */
#define LAST_MS 1000  /* as we stop: to end a transaction, to deliver what is under way */

static void set_state(struct outlet *o, enum outlet_state state)
{
    pthread_mutex_lock(&o->mutex);
    o->state = state;
    if (state == OUTLET_OPEN)
        o->error = (struct err){0};
    pthread_cond_broadcast(&o->changed);
    pthread_mutex_unlock(&o->mutex);
}

/* ---- the queue's other end ------------------------------------------------------------------- */

/* Closes the batch at hand. One without records is the one before it, which goes further. */
static void take_mark(struct outlet *o, lsn_t lsn)
{
    o->marked = lsn;
    if (o->batch->total) {
        o->batch->lsn = lsn;
        *(o->last ? &o->last->next : &o->batches) = o->batch;
        o->last = o->batch;
        o->batch = xcalloc(1, sizeof(*o->batch));
    } else if (o->last) {
        o->last->lsn = lsn;
    } else {
        o->delivered = lsn;
    }
    outlet_pop_delivered(o);
}

static struct slice cut(const char **at, uint32_t size)
{
    struct slice s = {*at, size};

    *at += size;
    return s;
}

/* The record's bytes stay in the entry. */
static void read_record(const struct entry *e, const char *bytes,
                        struct outlet_header headers[OUTLET_MAX_HEADERS], struct outlet_record *r)
{
    const char *at = bytes + sizeof(*e);

    *r = (struct outlet_record){.partition = e->partition,
                                .has_key = e->has_key,
                                .has_value = e->has_value,
                                .headers = headers,
                                .nheaders = e->nheaders};
    r->topic = cut(&at, e->topic);
    r->key = cut(&at, e->key);
    r->value = cut(&at, e->value);
    for (uint32_t i = 0; i < e->nheaders; i++) {
        headers[i].name = cut(&at, e->headers[i].name);
        headers[i].value = cut(&at, e->headers[i].value);
    }
}

static struct call *take_call(struct outlet *o)
{
    pthread_mutex_lock(&o->mutex);
    struct call *call = o->calls;

    o->calls = call->next;
    if (!o->calls)
        o->last_call = &o->calls;
    pthread_mutex_unlock(&o->mutex);
    return call;
}

static bool run_call(struct outlet *o, struct err *err)
{
    struct call *call = take_call(o);

    o->in_call = true;
    bool flushed = outlet_flush(o, err);
    bool ok = call->fn(call->arg, flushed, err) && flushed && outlet_flush(o, err);
    o->in_call = false;
    free(call);
    return ok;
}

static bool take_record(struct outlet *o, const struct entry *e, const char *bytes, struct err *err)
{
    struct outlet_header headers[OUTLET_MAX_HEADERS];
    struct outlet_record record;

    read_record(e, bytes, headers, &record);
    return outlet_produce(o, &record, err);
}

/* At a mark. */
static bool txn_is_due(const struct outlet *o)
{
    return o->in_txn && (o->txn_records >= OUTLET_TXN_RECORDS || clock_ms() >= o->txn_until);
}

static bool take_entry(struct outlet *o, struct slice bytes, struct err *err)
{
    struct entry e;

    memcpy(&e, bytes.ptr, sizeof(e));
    switch (e.kind) {
    case ENTRY_RECORD:
        return take_record(o, &e, bytes.ptr, err);
    case ENTRY_CALL:
        return run_call(o, err);
    case ENTRY_MARK:
        take_mark(o, e.lsn);
        return !txn_is_due(o) || outlet_commit(o, err);
    }
    return true;
}

/* ---- the publishing thread ------------------------------------------------------------------- */

static bool is_at_mark(const struct outlet *o)
{
    return o->batch->total == 0;
}

/* Nothing is queued. True: there is more to do. */
static bool rest(struct outlet *o, bool *again, struct err *err)
{
    bool tell = false;

    *again = true;
    if (o->in_txn && is_at_mark(o) && clock_ms() >= o->txn_until)
        return outlet_commit(o, err);
    pthread_mutex_lock(&o->mutex);
    if (!spool_bytes(o->spool) && !o->in_txn && !atomic_load(&o->inflight) && !o->restart) {
        o->idle = true;
        tell = o->asked && !o->open;
        if (tell)
            o->asked = false;
        pthread_cond_broadcast(&o->changed);
    }
    *again = spool_bytes(o->spool) > 0 || o->restart;
    o->sleeping = !*again;
    pthread_mutex_unlock(&o->mutex);
    if (tell)
        o->config.ready(o->config.owner);
    return true;
}

static void sleep_until_woken(struct outlet *o)
{
    struct pollfd pfd = {.fd = o->wake_fd, .events = POLLIN};
    eventfd_t count;

    if (poll(&pfd, 1, OUTLET_LOOK_MS) > 0 && eventfd_read(o->wake_fd, &count) < 0) {
        /* somebody else read it */
    }
    pthread_mutex_lock(&o->mutex);
    o->sleeping = false;
    pthread_mutex_unlock(&o->mutex);
}

static bool next_entry(struct outlet *o, struct slice *entry, struct err *err)
{
    pthread_mutex_lock(&o->mutex);
    bool ok = !o->restart || err_set(err, ERR_STOPPED, "beginning anew");

    ok = ok && spool_take(o->spool, entry, err);
    pthread_mutex_unlock(&o->mutex);
    return ok;
}

static bool publish(struct outlet *o, struct err *err)
{
    for (unsigned n = 0;; n++) {
        struct slice entry;
        bool again;

        if ((n % POLL_EVERY == 0 && !outlet_serve(o, 0, err)) || !next_entry(o, &entry, err))
            return false;
        if (entry.len) {
            if (!take_entry(o, entry, err))
                return false;
            continue;
        }
        n = UINT_MAX; /* look at the producer next */
        if (!rest(o, &again, err))
            return false;
        if (!again)
            sleep_until_woken(o);
    }
}

/* ---- a producer's life ----------------------------------------------------------------------- */

static bool begin_session(struct outlet *o, struct err *err)
{
    if (o->config.transactional_id &&
        !outlet_insist(o, rd_kafka_init_transactions, "could not prepare Kafka transactions", err))
        return false;
    return o->config.started(o->config.owner, err) && outlet_flush(o, err);
}

/* As we stop: consumers that read_committed wait for the end of what is open. */
static void end_txn(struct outlet *o)
{
    rd_kafka_error_t *error = rd_kafka_abort_transaction(o->rk, LAST_MS);

    if (error)
        rd_kafka_error_destroy(error);
}

static void free_batches(struct outlet *o)
{
    for (struct batch *b = o->batches, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(o->batch);
    o->batches = o->last = o->batch = NULL;
}

/* What is queued is dropped; whoever put it begins anew. */
static void drop_queue(struct outlet *o)
{
    struct err err = {0};

    pthread_mutex_lock(&o->mutex);
    struct call *calls = o->calls;
    o->calls = NULL;
    o->last_call = &o->calls;
    spool_clear(o->spool);
    o->asked |= o->open;
    o->open = o->idle = o->restart = o->unmarked = false;
    pthread_mutex_unlock(&o->mutex);
    for (struct call *c = calls, *next; c; c = next) {
        next = c->next;
        c->fn(c->arg, false, &err);
        free(c);
    }
}

static void end_session(struct outlet *o)
{
    if (o->rk) {
        if (o->in_txn)
            end_txn(o);
        else if (outlet_is_stopping(o) && !o->failed)
            rd_kafka_flush(o->rk, LAST_MS); /* what is under way is not to come twice */
        rd_kafka_purge(o->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_poll(o->rk, 0);
        outlet_release_topics(o);
        rd_kafka_destroy(o->rk);
    }
    o->rk = NULL;
    free_batches(o);
    drop_queue(o);
    atomic_store(&o->inflight, 0);
}

/* Up to where all was delivered before this session. */
static lsn_t take_acked(struct outlet *o)
{
    pthread_mutex_lock(&o->mutex);
    if (o->forget)
        atomic_store(&o->acked, LSN_NONE);
    o->forget = false;
    pthread_mutex_unlock(&o->mutex);
    return outlet_acked(o);
}

/* From a producer's making to its end. */
static void run_session(struct outlet *o, struct err *err)
{
    o->failed = o->in_txn = o->in_commit = o->in_call = false;
    o->next_offset = -1;
    o->marked = LSN_NONE;
    o->delivered = take_acked(o);
    o->batch = xcalloc(1, sizeof(*o->batch));
    o->txn_records = 0;
    o->trouble[0] = '\0';
    set_state(o, OUTLET_CONNECTING);
    if (outlet_make_producer(o, err) && begin_session(o, err)) {
        set_state(o, OUTLET_OPEN);
        publish(o, err);
    }
    end_session(o);
}

static bool may_start(struct outlet *o)
{
    pthread_mutex_lock(&o->mutex);
    bool wanted = o->wanted;
    pthread_mutex_unlock(&o->mutex);
    return wanted && o->config.may_start(o->config.owner);
}

static void pause_ms(struct outlet *o, int64_t ms)
{
    for (int64_t until = clock_ms() + ms; !outlet_is_stopping(o) && clock_ms() < until;)
        sleep_until_woken(o);
}

void *outlet_run(void *arg)
{
    struct outlet *o = arg;
    int64_t backoff = BACKOFF_FIRST_MS;

    while (!outlet_is_stopping(o)) {
        struct err err = {0};
        int64_t began = clock_ms();

        if (!may_start(o)) {
            sleep_until_woken(o);
            continue;
        }
        run_session(o, &err);
        if (outlet_is_stopping(o) || err.code == ERR_STOPPED)
            continue;
        outlet_explain(o, &err);
        outlet_note_error(o, &err);
        log_warn("publishing to Kafka failed, trying again", LOG_ERR(&err));
        set_state(o, OUTLET_FAILED);
        if (clock_ms() - began > BACKOFF_MOST_MS)
            backoff = BACKOFF_FIRST_MS;
        pause_ms(o, backoff);
        backoff = backoff * 2 < BACKOFF_MOST_MS ? backoff * 2 : BACKOFF_MOST_MS;
    }
    return NULL;
}
