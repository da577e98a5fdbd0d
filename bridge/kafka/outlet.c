#include "kafka/outlet.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/logging.h"
#include "kafka/admin.h"
#include "kafka/client.h"
#include "kafka/spool.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BACKOFF_FIRST_MS 200
#define BACKOFF_MOST_MS 10000
#define LOOK_EVERY_MS 100 /* at what may not wake us */
#define STALLED_AFTER_MS 5000
#define TOPIC_TIMEOUT_MS 10000
#define POLL_EVERY 64        /* entries */
#define TXN_MS 100           /* a Kafka transaction: so long, ... */
#define TXN_RECORDS 5000     /* ... or so large */
#define TXN_TIMEOUT_MS 10000 /* of one attempt at a call that may be repeated */
#define LAST_MS 3000         /* to end a transaction as we stop */

/* What was put between two marks. */
struct batch {
    struct batch *next;
    lsn_t lsn;
    size_t total, undelivered;
};

struct topic {
    rd_kafka_topic_t *rkt;
    char name[];
};

struct call {
    struct call *next;
    outlet_fn *fn;
    void *arg;
};

struct outlet {
    struct outlet_config config;
    pthread_t thread;
    int wake_fd;
    atomic_bool stop;
    _Atomic lsn_t acked;

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    /* with the mutex: */
    struct spool *spool;
    struct call *calls, **last_call; /* in the order of their entries */
    enum outlet_state state;
    bool wanted;      /* has been opened, or tried to */
    atomic_bool open; /* outlet_put() takes records; read without it too */
    bool asked;       /* `ready` is to be called */
    bool idle;        /* all that was put is delivered */
    bool restart;     /* begin anew: what is in the queue must not go out */
    bool sleeping;    /* the publishing thread is, or is about to be */
    bool unmarked;    /* records have been put since the last mark */
    uint64_t records, bytes, errors;
    struct err error;

    /* the publishing thread's: */
    rd_kafka_t *rk;
    struct strmap topics;
    struct batch *batches, **last_batch, *batch; /* closed ones in order; the one at hand */
    atomic_size_t inflight;
    atomic_int_fast64_t progress_ms; /* when something was delivered, or nothing in flight */
    lsn_t marked, delivered;
    int64_t next_offset; /* of the ordered topic; -1: not known */
    bool failed;
    struct err failure;
    bool in_txn, in_commit, in_call;
    size_t txn_records;
    int64_t txn_until;
};

/* ---- states ---------------------------------------------------------------------------------- */

static void wake(struct outlet *o)
{
    if (eventfd_write(o->wake_fd, 1) < 0) {
        /* it is full: awake already */
    }
}

static void set_state(struct outlet *o, enum outlet_state state)
{
    pthread_mutex_lock(&o->mutex);
    o->state = state;
    if (state == OUTLET_OPEN)
        o->error = (struct err){0};
    pthread_cond_broadcast(&o->changed);
    pthread_mutex_unlock(&o->mutex);
}

static void note_error(struct outlet *o, const struct err *err)
{
    pthread_mutex_lock(&o->mutex);
    o->error = *err;
    o->errors++;
    pthread_mutex_unlock(&o->mutex);
}

static void fail(struct outlet *o, const struct err *err)
{
    if (!o->failed)
        o->failure = *err;
    o->failed = true;
}

bool outlet_is_stopping(const struct outlet *o)
{
    return atomic_load(&o->stop);
}

lsn_t outlet_acked(const struct outlet *o)
{
    return atomic_load(&o->acked);
}

struct rd_kafka_s *outlet_producer(const struct outlet *o)
{
    return o->rk;
}

void outlet_expect(struct outlet *o, int64_t offset)
{
    o->next_offset = offset;
}

void outlet_get_stats(struct outlet *o, struct outlet_stats *stats)
{
    bool waits = atomic_load(&o->inflight) > 0;

    pthread_mutex_lock(&o->mutex);
    *stats = (struct outlet_stats){
        .state = o->state,
        .stalled = waits && clock_ms() - atomic_load(&o->progress_ms) > STALLED_AFTER_MS,
        .records = o->records,
        .bytes = o->bytes,
        .errors = o->errors,
        .queued_bytes = spool_bytes(o->spool),
        .spooled_bytes = spool_file_bytes(o->spool),
        .acked = outlet_acked(o),
    };
    snprintf(stats->error, sizeof(stats->error), "%s", o->error.msg);
    pthread_mutex_unlock(&o->mutex);
}

/* ---- the queue's entries --------------------------------------------------------------------- */

enum entry_kind { ENTRY_RECORD, ENTRY_MARK, ENTRY_CALL };

struct entry {
    enum entry_kind kind;
    lsn_t lsn; /* of a mark; of a record this and what follows: */
    int32_t partition;
    bool has_key, has_value;
    uint32_t topic, key, value, nheaders; /* sizes; the bytes follow in this order ... */
    struct {
        uint32_t name, value;
    } headers[OUTLET_MAX_HEADERS]; /* ... and the headers' */
};

static bool put_record(struct outlet *o, const struct outlet_record *r, struct err *err)
{
    struct entry e = {.kind = ENTRY_RECORD,
                      .partition = r->partition,
                      .has_key = r->has_key,
                      .has_value = r->has_value,
                      .topic = (uint32_t)r->topic.len,
                      .key = r->has_key ? (uint32_t)r->key.len : 0,
                      .value = r->has_value ? (uint32_t)r->value.len : 0,
                      .nheaders = (uint32_t)r->nheaders};
    struct slice parts[4 + 2 * OUTLET_MAX_HEADERS] = {
        {(const char *)&e, sizeof(e)}, r->topic, {r->key.ptr, e.key}, {r->value.ptr, e.value}};
    size_t n = 4;

    for (size_t i = 0; i < r->nheaders; i++) {
        e.headers[i].name = (uint32_t)r->headers[i].name.len;
        e.headers[i].value = (uint32_t)r->headers[i].value.len;
        parts[n++] = r->headers[i].name;
        parts[n++] = r->headers[i].value;
    }
    return spool_put(o->spool, parts, n, err);
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

/* ---- the stream's thread --------------------------------------------------------------------- */

bool outlet_open(struct outlet *o, int wait_ms)
{
    int64_t until_us = clock_us() + (int64_t)wait_ms * 1000;
    struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};

    pthread_mutex_lock(&o->mutex);
    o->wanted = true;
    wake(o);
    for (int rc = 0; rc == 0 && !(o->state == OUTLET_OPEN && o->idle) && o->state != OUTLET_FAILED;)
        rc = pthread_cond_timedwait(&o->changed, &o->mutex, &until);
    o->open = o->state == OUTLET_OPEN && o->idle && !o->restart;
    o->asked = !o->open;
    o->unmarked = false;
    bool open = o->open;
    pthread_mutex_unlock(&o->mutex);
    return open;
}

bool outlet_is_open(const struct outlet *o)
{
    return atomic_load(&o->open);
}

void outlet_close(struct outlet *o)
{
    pthread_mutex_lock(&o->mutex);
    o->restart |= o->open && o->unmarked && o->config.transactional_id;
    o->open = false;
    pthread_mutex_unlock(&o->mutex);
    wake(o);
}

/* With the mutex: takes nothing more, until it is opened again. */
static void fall_behind(struct outlet *o, const struct err *why)
{
    o->open = false;
    o->asked = true;
    o->restart |= o->unmarked && o->config.transactional_id;
    log_warn("publishing falls behind: the slot keeps what follows", LOG_ERR(why));
}

/* A record, or an entry without bytes. */
static bool put_entry(struct outlet *o, const struct outlet_record *record,
                      const struct entry *entry, struct call *call)
{
    const struct slice bytes = {(const char *)entry, sizeof(*entry)};
    struct err err;

    pthread_mutex_lock(&o->mutex);
    bool open = o->open;
    bool ok = open && (record ? put_record(o, record, &err) : spool_put(o->spool, &bytes, 1, &err));
    if (ok) {
        o->unmarked = record || (o->unmarked && entry->kind != ENTRY_MARK);
        o->idle = false;
        if (call) {
            *o->last_call = call;
            o->last_call = &call->next;
        }
    } else if (open) {
        fall_behind(o, &err);
    }
    bool asleep = o->sleeping;
    pthread_mutex_unlock(&o->mutex);
    if (asleep)
        wake(o);
    return ok;
}

bool outlet_put(struct outlet *o, const struct outlet_record *record)
{
    return put_entry(o, record, NULL, NULL);
}

void outlet_mark(struct outlet *o, lsn_t lsn)
{
    bool ok = put_entry(o, NULL, &(struct entry){.kind = ENTRY_MARK, .lsn = lsn}, NULL);

    (void)ok; /* it has closed, as the next record will tell */
}

bool outlet_call(struct outlet *o, outlet_fn *fn, void *arg)
{
    struct call *call = xcalloc(1, sizeof(*call));
    struct err err = {0};

    *call = (struct call){.fn = fn, .arg = arg};
    if (put_entry(o, NULL, &(struct entry){.kind = ENTRY_CALL}, call))
        return true;
    free(call);
    fn(arg, false, &err);
    return false;
}

/* ---- delivery -------------------------------------------------------------------------------- */

static void pop_delivered(struct outlet *o)
{
    while (o->batches && o->batches->undelivered == 0) {
        struct batch *b = o->batches;

        o->delivered = b->lsn;
        o->batches = b->next;
        if (!o->batches)
            o->last_batch = &o->batches;
        free(b);
    }
    /* In a Kafka transaction nothing counts before the commit. */
    if (!o->in_txn)
        atomic_store(&o->acked, o->delivered);
}

/* In the ordered topic our records follow each other. */
static bool check_offset(struct outlet *o, const rd_kafka_message_t *msg, struct err *err)
{
    int64_t expected = o->next_offset;

    if (o->config.transactional_id || !o->config.ordered_topic || msg->offset < 0 ||
        strcmp(rd_kafka_topic_name(msg->rkt), o->config.ordered_topic) != 0)
        return true;
    o->next_offset = msg->offset + 1;
    return expected < 0 || msg->offset == expected ||
           err_set(err, ERR_CHANGED,
                   "topic \"%s\" has somebody else's records, or was made anew: offset %lld "
                   "instead of %lld",
                   o->config.ordered_topic, (long long)msg->offset, (long long)expected);
}

static void on_delivered(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
    struct outlet *o = opaque;
    struct batch *batch = msg->_private;
    struct err err;
    char what[300];

    (void)rk;
    atomic_fetch_sub(&o->inflight, 1);
    atomic_store(&o->progress_ms, clock_ms());
    if (msg->err) {
        snprintf(what, sizeof(what), "topic \"%.249s\": not delivered",
                 rd_kafka_topic_name(msg->rkt));
        admin_err(&err, msg->err, what);
        fail(o, &err);
        return;
    }
    if (!check_offset(o, msg, &err)) {
        fail(o, &err);
        return;
    }
    if (o->failed)
        return;
    pthread_mutex_lock(&o->mutex);
    o->records++;
    o->bytes += msg->len + msg->key_len;
    pthread_mutex_unlock(&o->mutex);
    batch->undelivered--;
    pop_delivered(o);
}

/* Of the connections; only a fatal one ends anything. */
static void on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    struct outlet *o = opaque;
    struct err err;
    char text[384];

    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(rk, text, sizeof(text));

        err_set(&err, ERR_IO, "the producer stopped: %s: %s", rd_kafka_err2str(fatal), text);
        fail(o, &err);
        return;
    }
    err_set(&err, ERR_CONN, "%s", reason);
    note_error(o, &err);
    log_debug("trouble with the brokers", LOG_ERR(&err));
}

/* What has come of the producer's doings. */
static bool serve(struct outlet *o, int timeout_ms, struct err *err)
{
    rd_kafka_poll(o->rk, timeout_ms);
    if (o->failed)
        *err = o->failure;
    else if (outlet_is_stopping(o))
        return err_set(err, ERR_STOPPED, "stopping");
    return !o->failed;
}

/* ---- Kafka transactions ---------------------------------------------------------------------- */

static bool begin_txn(struct outlet *o, struct err *err)
{
    rd_kafka_error_t *error;

    if (o->in_txn || !o->config.transactional_id)
        return true;
    error = rd_kafka_begin_transaction(o->rk);
    if (error)
        return admin_error(err, error, "could not begin a Kafka transaction");
    o->in_txn = true;
    o->txn_records = 0;
    o->txn_until = clock_ms() + TXN_MS;
    return true;
}

/* A call that may be repeated as it is, until it is done. */
static bool insist(struct outlet *o, rd_kafka_error_t *(*fn)(rd_kafka_t *, int), const char *what,
                   struct err *err)
{
    for (;;) {
        rd_kafka_error_t *error = fn(o->rk, TXN_TIMEOUT_MS);

        if (!error)
            return serve(o, 0, err);
        if (!rd_kafka_error_is_retriable(error) || outlet_is_stopping(o))
            return admin_error(err, error, what);
        struct err again;

        admin_error(&again, error, what);
        note_error(o, &again);
        if (!serve(o, LOOK_EVERY_MS, err))
            return false;
    }
}

static bool drain(struct outlet *o, struct err *err)
{
    while (atomic_load(&o->inflight) > 0) {
        if (!serve(o, LOOK_EVERY_MS, err))
            return false;
    }
    return true;
}

static bool commit_txn(struct outlet *o, struct err *err)
{
    if (!o->in_txn)
        return true;
    o->in_commit = true;
    bool ok = !o->config.committing || o->marked == LSN_NONE ||
              o->config.committing(o->config.owner, o->marked, err);
    o->in_commit = false;
    if (!ok || !drain(o, err) ||
        !insist(o, rd_kafka_commit_transaction, "could not commit a Kafka transaction", err))
        return false;
    o->in_txn = false;
    atomic_store(&o->acked, o->delivered);
    return true;
}

bool outlet_flush(struct outlet *o, struct err *err)
{
    return drain(o, err) && commit_txn(o, err);
}

/* ---- producing ------------------------------------------------------------------------------- */

static struct topic *topic_of(struct outlet *o, struct slice name, struct err *err)
{
    struct topic *t = strmap_get(&o->topics, name);

    if (t)
        return t;
    t = xcalloc(1, sizeof(*t) + name.len + 1);
    memcpy(t->name, name.ptr, name.len);
    const struct admin_topic wanted = {.name = t->name,
                                       .partitions = o->config.partitions,
                                       .replication_factor = o->config.replication_factor};

    if (!admin_make_topic(o->rk, &wanted, TOPIC_TIMEOUT_MS, err)) {
        free(t);
        return NULL;
    }
    t->rkt = rd_kafka_topic_new(o->rk, t->name, NULL);
    if (!t->rkt) {
        admin_err(err, rd_kafka_last_error(), "no such topic can be");
        free(t);
        return NULL;
    }
    strmap_set(&o->topics, slice_of(t->name), t);
    return t;
}

static void release_topics(struct outlet *o)
{
    struct strmap_slot *slot;

    for (size_t at = 0; (slot = strmap_next(&o->topics, &at));) {
        struct topic *t = slot->value;

        rd_kafka_topic_destroy(t->rkt);
        free(t);
    }
    strmap_release(&o->topics);
}

static bool refuse(const struct outlet_record *r, rd_kafka_resp_err_t code, struct err *err)
{
    size_t key = r->has_key ? r->key.len : 0;

    admin_err(err, code, "not produced");
    if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        err_wrap(err, "key %.*s, %zu bytes", key < 100 ? (int)key : 100,
                 r->has_key ? r->key.ptr : "", key + (r->has_value ? r->value.len : 0));
    return err_wrap(err, "topic \"%.*s\"", SLICE_ARG(r->topic));
}

static rd_kafka_resp_err_t give(struct outlet *o, const struct topic *t,
                                const struct outlet_record *r)
{
    rd_kafka_headers_t *headers = r->nheaders ? rd_kafka_headers_new(r->nheaders) : NULL;
    rd_kafka_vu_t vu[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = t->rkt},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = r->partition},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = o->batch},
        {.vtype = RD_KAFKA_VTYPE_VALUE,
         .u.mem = {r->has_value ? (char *)r->value.ptr : NULL, r->has_value ? r->value.len : 0}},
        {.vtype = RD_KAFKA_VTYPE_KEY,
         .u.mem = {r->has_key ? (char *)r->key.ptr : NULL, r->has_key ? r->key.len : 0}},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
    };

    for (size_t i = 0; i < r->nheaders; i++)
        rd_kafka_header_add(headers, r->headers[i].name.ptr, (ssize_t)r->headers[i].name.len,
                            r->headers[i].value.ptr, (ssize_t)r->headers[i].value.len);
    rd_kafka_error_t *error =
        rd_kafka_produceva(o->rk, vu, sizeof(vu) / sizeof(vu[0]) - (headers ? 0 : 1));
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);

    if (error && headers)
        rd_kafka_headers_destroy(headers);
    if (error)
        rd_kafka_error_destroy(error);
    return code;
}

bool outlet_produce(struct outlet *o, const struct outlet_record *r, struct err *err)
{
    const struct topic *t = topic_of(o, r->topic, err);
    rd_kafka_resp_err_t code;

    /* First rows may be many, and need not be in one. */
    bool full = o->in_call && !o->in_commit && o->txn_records >= TXN_RECORDS;

    if (!t || (full && !commit_txn(o, err)) || !begin_txn(o, err))
        return false;
    while ((code = give(o, t, r)) == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        if (!serve(o, LOOK_EVERY_MS, err))
            return false;
    }
    if (code == RD_KAFKA_RESP_ERR__FATAL && !serve(o, 0, err)) /* it has a better text */
        return false;
    if (code)
        return refuse(r, code, err);
    if (atomic_fetch_add(&o->inflight, 1) == 0)
        atomic_store(&o->progress_ms, clock_ms());
    o->batch->total++;
    o->batch->undelivered++;
    o->txn_records++;
    return true;
}

/* ---- the queue's other end ------------------------------------------------------------------- */

/* Closes the batch at hand. One without records is the one before it, which goes further. */
static void take_mark(struct outlet *o, lsn_t lsn)
{
    o->marked = lsn;
    if (o->batch->total) {
        o->batch->lsn = lsn;
        *o->last_batch = o->batch;
        o->last_batch = &o->batch->next;
        o->batch = xcalloc(1, sizeof(*o->batch));
    } else if (o->batches) {
        struct batch *last = o->batches;

        while (last->next)
            last = last->next;
        last->lsn = lsn;
    } else {
        o->delivered = lsn;
    }
    pop_delivered(o);
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
    return o->in_txn && (o->txn_records >= TXN_RECORDS || clock_ms() >= o->txn_until);
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
        return !txn_is_due(o) || commit_txn(o, err);
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
        return commit_txn(o, err);
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

    if (poll(&pfd, 1, LOOK_EVERY_MS) > 0 && eventfd_read(o->wake_fd, &count) < 0) {
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

        if ((n % POLL_EVERY == 0 && !serve(o, 0, err)) || !next_entry(o, &entry, err))
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

static bool make_producer(struct outlet *o, struct err *err)
{
    char message_max[24];
    snprintf(message_max, sizeof(message_max), "%zu", o->config.message_max);
    const struct client_property ours[] = {
        {"enable.idempotence", "true"},
        {"enable.gapless.guarantee", "true"},
        {"message.timeout.ms", "0"},
        {"message.max.bytes", message_max},
        {"linger.ms", "1"},
        {"partitioner", "murmur2_random"},
        {"queue.buffering.max.messages", "200000"},
        {"queue.buffering.max.kbytes", "65536"},
        {"reconnect.backoff.max.ms", "1000"},
        {"topic.metadata.propagation.max.ms", "5000"},
        {"socket.nagle.disable", "true"},
        {"transaction.timeout.ms", "300000"},
        {"transactional.id", o->config.transactional_id},
    };
    size_t nours = sizeof(ours) / sizeof(ours[0]) - (o->config.transactional_id ? 0 : 2);
    rd_kafka_conf_t *conf = client_conf(&o->config.client, ours, nours, err);

    if (!conf)
        return false;
    rd_kafka_conf_set_opaque(conf, o);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivered);
    rd_kafka_conf_set_error_cb(conf, on_error);
    o->rk = admin_new(RD_KAFKA_PRODUCER, conf, err);
    if (!o->rk)
        return false;
    rd_kafka_queue_t *queue = rd_kafka_queue_get_main(o->rk);
    static const uint64_t one = 1;

    rd_kafka_queue_io_event_enable(queue, o->wake_fd, &one, sizeof(one));
    rd_kafka_queue_destroy(queue);
    return true;
}

static bool begin_session(struct outlet *o, struct err *err)
{
    if (o->config.transactional_id &&
        !insist(o, rd_kafka_init_transactions, "could not prepare Kafka transactions", err))
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
    o->batches = NULL;
    o->last_batch = &o->batches;
    o->batch = NULL;
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
        release_topics(o);
        rd_kafka_destroy(o->rk);
    }
    o->rk = NULL;
    free_batches(o);
    drop_queue(o);
    atomic_store(&o->inflight, 0);
}

/* From a producer's making to its end. */
static void run_session(struct outlet *o, struct err *err)
{
    o->failed = o->in_txn = o->in_commit = o->in_call = false;
    o->next_offset = -1;
    o->marked = o->delivered = LSN_NONE;
    o->delivered = outlet_acked(o);
    o->batch = xcalloc(1, sizeof(*o->batch));
    o->txn_records = 0;
    set_state(o, OUTLET_CONNECTING);
    if (make_producer(o, err) && begin_session(o, err)) {
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

static void *run(void *arg)
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
        note_error(o, &err);
        log_warn("publishing to Kafka failed, trying again", LOG_ERR(&err));
        set_state(o, OUTLET_FAILED);
        if (clock_ms() - began > BACKOFF_MOST_MS)
            backoff = BACKOFF_FIRST_MS;
        pause_ms(o, backoff);
        backoff = backoff * 2 < BACKOFF_MOST_MS ? backoff * 2 : BACKOFF_MOST_MS;
    }
    return NULL;
}

/* ---- from beginning to end ------------------------------------------------------------------- */

static void release(struct outlet *o)
{
    spool_free(o->spool);
    if (o->wake_fd >= 0)
        close(o->wake_fd);
    pthread_cond_destroy(&o->changed);
    pthread_mutex_destroy(&o->mutex);
    free(o);
}

struct outlet *outlet_new(const struct outlet_config *config, struct err *err)
{
    struct outlet *o = xcalloc(1, sizeof(*o));
    pthread_condattr_t attr;

    o->config = *config;
    o->spool = spool_new(config->spool_dir, config->spool_limit);
    o->last_call = &o->calls;
    o->last_batch = &o->batches;
    o->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&o->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&o->changed, &attr);
    pthread_condattr_destroy(&attr);
    if (o->wake_fd >= 0 && pthread_create(&o->thread, NULL, run, o) == 0)
        return o;
    err_set(err, ERR_IO, "could not start the publishing thread");
    release(o);
    return NULL;
}

void outlet_stop(struct outlet *o)
{
    atomic_store(&o->stop, true);
    wake(o);
}

void outlet_free(struct outlet *o)
{
    if (!o)
        return;
    outlet_stop(o);
    pthread_join(o->thread, NULL);
    release(o);
}
