/*
 * The producer: what becomes of records that are given to it, and Kafka's transactions.
 */
#include "kafka/outlet_private.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/logging.h"
#include "kafka/admin.h"
#include "kafka/start.h"

#include <stdio.h>
#include <stdlib.h>

#define TOPIC_TIMEOUT_MS 5000
#define TXN_MS 100          /* a Kafka transaction: so long, ... */
#define TXN_TIMEOUT_MS 1000 /* of one attempt at a call that may be repeated, ... */
#define TXN_TELL_MS 10000   /* ... of which it is said that it takes long */
/* First rows hold a snapshot from when they are queued until they are delivered, and VACUUM must
 * keep all that it sees. A broker that is restarted, or another one becoming the leader, is waited
 * for; but who is away for longer may be so for hours. */
#define LET_GO_MS 30000

struct topic {
    rd_kafka_topic_t *rkt;
    char name[];
};

void outlet_note_error(struct outlet *o, const struct err *err)
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

void outlet_expect(struct outlet *o, int64_t offset)
{
    o->next_offset = offset;
}

struct rd_kafka_s *outlet_producer(const struct outlet *o)
{
    return o->rk;
}

/* ---- delivery -------------------------------------------------------------------------------- */

void outlet_pop_delivered(struct outlet *o)
{
    while (o->batches && o->batches->undelivered == 0) {
        struct batch *b = o->batches;

        o->delivered = b->lsn;
        o->batches = b->next;
        if (!o->batches)
            o->last = NULL;
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
    o->trouble[0] = '\0';
    pthread_mutex_lock(&o->mutex);
    o->records++;
    o->bytes += msg->len + msg->key_len;
    pthread_mutex_unlock(&o->mutex);
    batch->undelivered--;
    outlet_pop_delivered(o);
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
    /* It comes behind what the brokers are down for. */
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && o->trouble[0])
        return;
    snprintf(o->trouble, sizeof(o->trouble), "%s", reason);
    err_set(&err, ERR_CONN, "%s", reason);
    outlet_note_error(o, &err);
    log_debug("trouble with the brokers", LOG_ERR(&err));
}

void outlet_explain(const struct outlet *o, struct err *err)
{
    struct err plain = *err;

    if (o->trouble[0] && (plain.code == ERR_CONN || plain.code == ERR_TIMEOUT))
        err_set(err, plain.code, "%s: %s", plain.msg, o->trouble);
}

static bool is_held_up(struct outlet *o)
{
    bool waits = o->ending || atomic_load(&o->inflight) > 0;

    if (!waits || clock_ms() - atomic_load(&o->progress_ms) < LET_GO_MS)
        return false;
    pthread_mutex_lock(&o->mutex);
    bool holds = o->in_call || o->calls;
    pthread_mutex_unlock(&o->mutex);
    return holds;
}

bool outlet_serve(struct outlet *o, int timeout_ms, struct err *err)
{
    rd_kafka_poll(o->rk, timeout_ms);
    if (o->failed)
        *err = o->failure;
    else if (outlet_is_stopping(o))
        return err_set(err, ERR_STOPPED, "stopping");
    else if (is_held_up(o))
        return err_set(err, ERR_TIMEOUT, "the brokers have taken nothing for %d s",
                       LET_GO_MS / 1000);
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
bool outlet_insist(struct outlet *o, rd_kafka_error_t *(*fn)(rd_kafka_t *, int), const char *what,
                   struct err *err)
{
    for (int64_t tell_at = clock_ms() + TXN_TELL_MS;;) {
        rd_kafka_error_t *error = fn(o->rk, TXN_TIMEOUT_MS);

        if (!error)
            return outlet_serve(o, 0, err);
        if (!rd_kafka_error_is_retriable(error) || outlet_is_stopping(o))
            return admin_error(err, error, what);
        struct err again;

        admin_error(&again, error, what);
        if (clock_ms() >= tell_at) {
            outlet_note_error(o, &again);
            tell_at = clock_ms() + TXN_TELL_MS;
        }
        if (!outlet_serve(o, OUTLET_LOOK_MS, err))
            return false;
    }
}

static bool drain(struct outlet *o, struct err *err)
{
    while (atomic_load(&o->inflight) > 0) {
        if (!outlet_serve(o, OUTLET_LOOK_MS, err))
            return false;
    }
    return true;
}

bool outlet_commit(struct outlet *o, struct err *err)
{
    if (!o->in_txn)
        return true;
    o->in_commit = true;
    bool ok = !o->config.committing || o->marked == LSN_NONE ||
              o->config.committing(o->config.owner, o->marked, err);
    o->in_commit = false;
    if (!ok || !drain(o, err))
        return false;
    o->ending = true;
    ok = outlet_insist(o, rd_kafka_commit_transaction, "could not commit a Kafka transaction", err);
    o->ending = false;
    if (!ok)
        return false;
    o->in_txn = false;
    atomic_store(&o->acked, o->delivered);
    return true;
}

bool outlet_flush(struct outlet *o, struct err *err)
{
    return drain(o, err) && outlet_commit(o, err);
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
    const struct admin_wait wait = {TOPIC_TIMEOUT_MS, &o->stop};

    if (!admin_make_topic(o->rk, &wanted, wait, err)) {
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

void outlet_release_topics(struct outlet *o)
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
    bool full = o->in_call && !o->in_commit && o->txn_records >= OUTLET_TXN_RECORDS;

    if (!t || (full && !outlet_commit(o, err)) || !begin_txn(o, err))
        return false;
    while ((code = give(o, t, r)) == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        if (!outlet_serve(o, OUTLET_LOOK_MS, err))
            return false;
    }
    if (code == RD_KAFKA_RESP_ERR__FATAL && !outlet_serve(o, 0, err)) /* it has a better text */
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

/* ---- its making ------------------------------------------------------------------------------ */

bool outlet_make_producer(struct outlet *o, struct err *err)
{
    char message_max[24], records_max[24], kb_max[24];
    snprintf(message_max, sizeof(message_max), "%zu", o->config.message_max);
    snprintf(records_max, sizeof(records_max), "%d", START_QUEUE_RECORDS);
    snprintf(kb_max, sizeof(kb_max), "%d", START_QUEUE_KB);
    const struct client_property ours[] = {
        {"enable.idempotence", "true"},
        {"enable.gapless.guarantee", "true"},
        {"message.timeout.ms", "0"},
        {"message.max.bytes", message_max},
        {"linger.ms", "1"},
        {"partitioner", "murmur2_random"},
        {"queue.buffering.max.messages", records_max},
        {"queue.buffering.max.kbytes", kb_max},
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
