#include "kafka/publisher.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/logging.h"
#include "kafka/admin.h"
#include "kafka/frames.h"
#include "kafka/tail.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define FIRST_WAIT_MS 1000   /* for the brokers, when the first connection starts */
#define HEARTBEAT_MS 50      /* without any other record */
#define IDLE_MS 5000         /* and so often where nothing moves: retention must leave one record */
#define RECORD_OVERHEAD 1024 /* headers, and what Kafka puts around a record */
#define RETRY_FIRST_MS 1000  /* after a failure that is ours, ... */
#define RETRY_MOST_MS 60000  /* ... at most */
#define TOPIC_TIMEOUT_MS 5000
#define TOPIC_NAME_MAX 249

struct publisher {
    struct wal_sink sink; /* first */
    struct publisher_config config;
    struct outlet *outlet;
    struct topics *topics; /* NULL: none */
    char stream_topic[TOPIC_NAME_MAX + 1];
    char transactional_id[200];
    /* What says how far the topics are: the stream's topic, or one for this alone; "": none does.
     */
    char place_topic[TOPIC_NAME_MAX + 1];

    pthread_mutex_t mutex;
    /* with the mutex: */
    struct stream_tail tail; /* where the topic stood when the producer was made */
    uint64_t producers;      /* how many were made */
    char system_id[32];      /* of the server whose stream is published */
    struct err failure;      /* why nothing is published until it is tried again */

    /* the stream's thread: */
    struct frames_writer writer;
    char history[FRAMES_HISTORY_SIZE];
    bool was_connected, reset;
    lsn_t stream_from, topics_from; /* what ends before is in the topics already */
    bool in_txn, skips, skips_rows; /* so is the transaction at hand */
    lsn_t position;                 /* marked last, ... */
    uint64_t producer;              /* ... with this producer */
    int64_t position_ms;
    int64_t retry_ms;             /* 0: no failure */
    atomic_int_fast64_t retry_at; /* 0: nothing is waited for; read by the publishing thread */
    atomic_bool taking;
};

static struct publisher *publisher_of(struct wal_sink *sink)
{
    return (struct publisher *)sink;
}

static bool takes(struct publisher *p)
{
    if (p->taking && !outlet_is_open(p->outlet))
        p->taking = false;
    return p->taking;
}

/* ---- failures of ours ------------------------------------------------------------------------ */

/* Nothing more is published; it is tried again after a while, as settings or topics may be others
 * by then. */
static void fail(struct publisher *p, const struct err *err)
{
    log_error("publishing stops, the slot is held", LOG_ERR(err));
    pthread_mutex_lock(&p->mutex);
    p->failure = *err;
    pthread_mutex_unlock(&p->mutex);
    p->taking = false;
    p->retry_ms = p->retry_ms ? p->retry_ms * 2 : RETRY_FIRST_MS;
    if (p->retry_ms > RETRY_MOST_MS)
        p->retry_ms = RETRY_MOST_MS;
    p->retry_at = clock_ms() + p->retry_ms;
    outlet_close(p->outlet);
}

static void clear_failure(struct publisher *p)
{
    if (p->retry_ms == 0)
        return;
    p->retry_ms = 0;
    p->retry_at = 0;
    pthread_mutex_lock(&p->mutex);
    p->failure = (struct err){0};
    pthread_mutex_unlock(&p->mutex);
}

static void retry_if_due(struct publisher *p)
{
    if (p->retry_at && !p->taking && clock_ms() >= p->retry_at) {
        p->retry_at = 0;
        p->config.reconnect(p->config.owner);
    }
}

/* A call of the frames' writer has failed: the outlet took it not, or it was too large. */
static void check_failure(struct publisher *p, const struct err *err)
{
    if (takes(p))
        fail(p, err);
}

/* ---- records of the stream ------------------------------------------------------------------- */

static void make_record(const struct publisher *p, const struct frames_record *frame,
                        const char *history, struct buf *texts,
                        struct outlet_header headers[FRAMES_NHEADERS + 1], struct outlet_record *r)
{
    struct frames_header plain[FRAMES_NHEADERS];

    frames_put_headers(frame, texts, plain);
    for (size_t i = 0; i < FRAMES_NHEADERS; i++)
        headers[i] = (struct outlet_header){plain[i].name, plain[i].value};
    headers[FRAMES_NHEADERS] = (struct outlet_header){SLICE(FRAMES_HISTORY), slice_of(history)};
    *r = (struct outlet_record){.topic = slice_of(p->stream_topic),
                                .partition = 0,
                                .has_value = frame->value.len > 0,
                                .value = frame->value,
                                .headers = headers,
                                .nheaders = FRAMES_NHEADERS + 1};
}

/* The writer's emit. */
static bool put_frame(void *owner, const struct frames_record *frame, struct err *err)
{
    struct publisher *p = owner;
    struct outlet_header headers[FRAMES_NHEADERS + 1];
    struct outlet_record record;
    struct buf texts;

    buf_init(&texts, BUF_NO_LIMIT);
    make_record(p, frame, p->history, &texts, headers, &record);
    bool ok = outlet_put(p->outlet, &record);

    buf_release(&texts);
    return ok || err_set(err, ERR_BUSY, "publishing is behind");
}

/* Everything before `lsn` has been put. */
static void mark(struct publisher *p, lsn_t lsn)
{
    outlet_mark(p->outlet, lsn);
    if (!takes(p))
        return;
    p->position = lsn;
    p->position_ms = clock_ms();
}

static void put_heartbeat(struct publisher *p, lsn_t lsn)
{
    struct err err;

    if (p->config.stream && lsn >= p->stream_from &&
        !frames_writer_heartbeat(&p->writer, lsn, &err))
        check_failure(p, &err);
    if (takes(p))
        mark(p, lsn);
}

/* ---- where to go on -------------------------------------------------------------------------- */

static bool is_of_system(const char *history, const struct wal_place *place)
{
    size_t id = strlen(place->system_id);

    return strncmp(history, place->system_id, id) == 0 && history[id] == '-';
}

/* Why the topic's history cannot go on, or NULL. */
static const char *history_ends(const struct publisher *p, const struct stream_tail *tail,
                                const struct wal_place *place)
{
    if (!tail->found)
        return "the topic is empty";
    if (!is_of_system(tail->history, place))
        return "this is another database system";
    if (p->reset)
        return "the slot or the server's history is another";
    if (place->confirmed > tail->position)
        return "the slot is beyond the topic";
    if (place->server_lsn < tail->position)
        return "the server's WAL is behind the topic";
    return NULL;
}

static void new_history(struct publisher *p, const struct wal_place *place)
{
    uint8_t random[5] = {0};

    if (getrandom(random, sizeof(random), 0) < 0)
        memcpy(random, &(int64_t){clock_unix_us()}, sizeof(random));
    snprintf(p->history, sizeof(p->history), "%s-%02x%02x%02x%02x%02x", place->system_id, random[0],
             random[1], random[2], random[3], random[4]);
}

/* Where the topic stands: as it was found, or as far as the same producer has brought it, since all
 * is delivered. */
static bool find_tail(struct publisher *p, const struct wal_place *place, struct stream_tail *tail)
{
    pthread_mutex_lock(&p->mutex);
    bool same = p->producer == p->producers;

    p->producer = p->producers;
    *tail = p->tail;
    snprintf(p->system_id, sizeof(p->system_id), "%s", place->system_id);
    pthread_mutex_unlock(&p->mutex);
    if (!same)
        return false;
    tail->found = true;
    tail->position = p->position > p->stream_from ? p->position : p->stream_from;
    snprintf(tail->history, sizeof(tail->history), "%s", p->history);
    return true;
}

/* The tables' topics do not say where they stand; with Kafka transactions the place's topic does.
 * Without them they may lack what the stream's topic has: they go on where everything is known to
 * be delivered. */
static void place_topics(struct publisher *p, const struct stream_tail *tail,
                         const struct wal_place *place, bool whole)
{
    lsn_t acked = outlet_acked(p->outlet);

    p->topics_from = place->confirmed;
    if (!p->reset && acked != LSN_NONE && acked > p->topics_from)
        p->topics_from = acked;
    if (!p->reset && whole && is_of_system(tail->history, place) &&
        place->server_lsn >= tail->position && tail->position > p->topics_from)
        p->topics_from = tail->position;
}

/* The outlet has opened. */
static void begin_taking(struct publisher *p, const struct wal_place *place)
{
    struct stream_tail tail;

    bool whole = find_tail(p, place, &tail) || p->config.outlet.transactional_id;
    const char *ends = p->config.stream ? history_ends(p, &tail, place) : NULL;

    p->taking = true;
    p->writer.epoch = tail.epoch;
    p->stream_from = p->config.stream && !ends ? tail.position : LSN_NONE;
    place_topics(p, &tail, place, tail.found && whole);
    if (p->config.stream && ends) {
        new_history(p, place);
        log_warn("the stream's topic begins a new history", LOG_STR("topic", p->stream_topic),
                 LOG_STR("reason", ends), LOG_STR("history", p->history));
        put_heartbeat(p, place->confirmed);
    } else {
        if (p->config.stream)
            snprintf(p->history, sizeof(p->history), "%s", tail.history);
        else
            snprintf(p->history, sizeof(p->history), "%s-", place->system_id);
        mark(p, p->topics ? p->topics_from : tail.position);
    }
    if (!takes(p))
        return;
    p->reset = false;
    log_info("publishing to Kafka", LOG_LSN("position", p->position));
}

/* Whether the new connection goes on where the last one ended. */
static bool goes_on(struct publisher *p, const struct wal_place *place)
{
    return takes(p) && !p->reset && place->confirmed <= p->position &&
           place->server_lsn >= p->position && is_of_system(p->history, place);
}

/* ---- the sink -------------------------------------------------------------------------------- */

static void connected(struct wal_sink *sink, const struct wal_place *place)
{
    struct publisher *p = publisher_of(sink);
    int wait_ms = p->was_connected ? 0 : FIRST_WAIT_MS;

    p->was_connected = true;
    p->in_txn = false;
    frames_writer_connected(&p->writer);
    if (p->topics)
        topics_connected(p->topics);
    if (goes_on(p, place))
        return;
    p->taking = false;
    outlet_close(p->outlet);
    if (outlet_open(p->outlet, wait_ms))
        begin_taking(p, place);
}

static bool takes_rows(struct publisher *p)
{
    return takes(p) && !p->skips_rows;
}

static bool begin(struct wal_sink *sink, const struct txn *txn, struct err *err)
{
    struct publisher *p = publisher_of(sink);

    p->in_txn = true;
    p->skips = txn->commit_lsn < p->position || txn->commit_lsn < p->stream_from;
    p->skips_rows = !p->topics || txn->commit_lsn < p->position || txn->commit_lsn < p->topics_from;
    if (takes(p) && !p->skips && p->config.stream &&
        !frames_writer_begin(&p->writer, txn, sink->message, err))
        check_failure(p, err);
    if (takes_rows(p) && !topics_begin(p->topics, txn, err))
        check_failure(p, err);
    return true;
}

static bool relation(struct wal_sink *sink, const struct relation *relation, struct err *err)
{
    struct publisher *p = publisher_of(sink);

    if (p->config.stream)
        frames_writer_relation(&p->writer, relation->relid, sink->message);
    return !p->topics || topics_relation(p->topics, relation, err);
}

static void add(struct publisher *p, const uint32_t *relids, size_t n, struct err *err)
{
    if (takes(p) && !p->skips && p->config.stream &&
        !frames_writer_add(&p->writer, relids, n, p->sink.message, err))
        check_failure(p, err);
}

static void name_row(const struct relation *relation, struct err *err)
{
    err_wrap(err, "a row of table \"%.*s.%.*s\"", SLICE_ARG(relation->nspname),
             SLICE_ARG(relation->relname));
    err_hint(err, "raise [kafka] message_max, and the topic's max.message.bytes with it");
}

static bool change(struct wal_sink *sink, const struct relation *relation,
                   const struct change *change, uint64_t op, struct err *err)
{
    struct publisher *p = publisher_of(sink);

    (void)op;
    bool ok = !takes(p) || p->skips || !p->config.stream ||
              frames_writer_add(&p->writer, &relation->relid, 1, sink->message, err);

    if (!ok)
        name_row(relation, err);
    if (!ok || (takes_rows(p) && !topics_change(p->topics, relation, change, err)))
        check_failure(p, err);
    return true;
}

static bool truncate_(struct wal_sink *sink, const uint32_t *relids, uint32_t n, struct err *err)
{
    struct publisher *p = publisher_of(sink);

    add(p, relids, n, err);
    if (takes_rows(p) && !topics_truncate(p->topics, relids, n, err))
        check_failure(p, err);
    return true;
}

static bool message(struct wal_sink *sink, struct slice prefix, struct slice content,
                    struct err *err)
{
    struct publisher *p = publisher_of(sink);

    add(p, NULL, 0, err);
    if (takes_rows(p) && !topics_message(p->topics, prefix, content, err))
        check_failure(p, err);
    return true;
}

static bool commit(struct wal_sink *sink, const struct txn *txn, struct err *err)
{
    struct publisher *p = publisher_of(sink);

    p->in_txn = false;
    if (!takes(p) || (p->skips && p->skips_rows))
        return true;
    if (!p->skips && p->config.stream && !frames_writer_commit(&p->writer, txn, sink->message, err))
        check_failure(p, err);
    if (takes_rows(p) && !topics_commit(p->topics, txn, err))
        check_failure(p, err);
    if (!takes(p))
        return true;
    mark(p, txn->end_lsn);
    clear_failure(p);
    return true;
}

/* What was put of the transaction stays in the topic, and is void: it comes again from its
 * beginning. A Kafka transaction must not have it. */
static void rollback(struct wal_sink *sink)
{
    struct publisher *p = publisher_of(sink);

    p->in_txn = false;
    if (takes_rows(p))
        topics_rollback(p->topics);
    if (!p->config.outlet.transactional_id || !takes(p) || (p->skips && p->skips_rows))
        return;
    p->taking = false;
    outlet_close(p->outlet);
}

static void beat(struct publisher *p, lsn_t end_lsn)
{
    int64_t silent = clock_ms() - p->position_ms;

    if (end_lsn > p->position && silent >= HEARTBEAT_MS)
        put_heartbeat(p, end_lsn);
    else if (end_lsn <= p->position && silent >= IDLE_MS)
        put_heartbeat(p, p->position);
}

static bool settle(struct wal_sink *sink, lsn_t position, lsn_t end_lsn, struct err *err)
{
    struct publisher *p = publisher_of(sink);

    (void)position;
    retry_if_due(p);
    if (takes(p))
        beat(p, end_lsn);
    if (p->topics && takes(p) && end_lsn >= p->topics_from &&
        !topics_settle(p->topics, end_lsn, err))
        check_failure(p, err);
    return true;
}

static lsn_t confirmable(struct wal_sink *sink)
{
    const struct publisher *p = publisher_of(sink);

    return p->reset ? LSN_NONE : outlet_acked(p->outlet);
}

static const struct wal_sink_ops ops = {
    .connected = connected,
    .begin = begin,
    .relation = relation,
    .change = change,
    .truncate = truncate_,
    .message = message,
    .commit = commit,
    .rollback = rollback,
    .settle = settle,
    .confirmable = confirmable,
};

/* ---- the outlet's calls, on the publishing thread -------------------------------------------- */

static bool may_start(void *owner)
{
    struct publisher *p = owner;

    return p->config.is_connected(p->config.owner);
}

static bool is_stopping(void *owner)
{
    return outlet_is_stopping(((struct publisher *)owner)->outlet);
}

/* One that is read back: of one partition. */
static bool make_place_topic(struct publisher *p, struct err *err)
{
    rd_kafka_t *rk = outlet_producer(p->outlet);
    const struct admin_topic topic = {
        .name = p->place_topic,
        .partitions = 1,
        .replication_factor = p->config.outlet.replication_factor,
        .cleanup_policy = p->config.stream ? "delete" : "compact",
    };
    int32_t n;

    if (!admin_make_topic(rk, &topic, TOPIC_TIMEOUT_MS, err) ||
        !admin_partitions(rk, topic.name, TOPIC_TIMEOUT_MS, &n, err))
        return false;
    if (n == 1)
        return true;
    err_set(err, ERR_CONFIG, "topic \"%s\" has %d partitions, where it must have one", topic.name,
            (int)n);
    return err_hint(err, "delete it, or choose another [kafka] prefix");
}

/* A record that says how far all is; the offsets' topic is compacted, so there it has a key, and
 * a value for people. */
static bool produce_place(struct publisher *p, const struct stream_tail *tail, struct err *err)
{
    struct frames_record frame = {.epoch = tail->epoch,
                                  .commit_lsn = tail->position,
                                  .end_lsn = tail->position,
                                  .last = true};
    struct outlet_header headers[FRAMES_NHEADERS + 1];
    struct outlet_record record;
    struct buf texts;
    char lsn[LSN_TEXT_SIZE], value[64];

    buf_init(&texts, BUF_NO_LIMIT);
    make_record(p, &frame, tail->history, &texts, headers, &record);
    record.topic = slice_of(p->place_topic);
    if (!p->config.stream) {
        snprintf(value, sizeof(value), "{\"lsn\":\"%s\"}", lsn_format(tail->position, lsn));
        record.has_key = record.has_value = true;
        record.key = slice_of(p->config.slot);
        record.value = slice_of(value);
    }
    bool ok = outlet_produce(p->outlet, &record, err);

    buf_release(&texts);
    return ok;
}

/* Higher than those that the end of the topic does not show: it may have been empty meanwhile, or
 * be full of what a publisher had still under way when it was replaced. */
static uint64_t next_epoch(const struct stream_tail *tail)
{
    uint64_t now = (uint64_t)clock_unix_us() / 1000000;

    return tail->epoch < now ? now : tail->epoch + 1;
}

static bool read_place(struct publisher *p, struct stream_tail *tail, struct err *err)
{
    const struct tail_source source = {
        .client = &p->config.outlet.client,
        .topic = p->place_topic,
        .key = p->config.stream ? NULL : p->config.slot,
        .epoch = p->config.stream ? p->tail.epoch : 0,
        .stop = is_stopping,
        .owner = p,
    };

    if (!make_place_topic(p, err) || !tail_read(&source, tail, err))
        return false;
    tail->epoch = next_epoch(tail);
    return true;
}

/* A producer is there. With the first record that it writes to the stream's topic nothing of an
 * earlier one counts, whatever is still under way to the broker. */
static bool started(void *owner, struct err *err)
{
    struct publisher *p = owner;
    struct stream_tail tail = {.found = outlet_acked(p->outlet) != LSN_NONE,
                               .position = outlet_acked(p->outlet)};

    if (p->place_topic[0] && !read_place(p, &tail, err))
        return false;
    if (p->config.stream) {
        outlet_expect(p->outlet, tail.end);
        if (tail.found && !(produce_place(p, &tail, err) && outlet_flush(p->outlet, err)))
            return false;
    }
    pthread_mutex_lock(&p->mutex);
    p->tail = tail;
    p->producers++;
    pthread_mutex_unlock(&p->mutex);
    return true;
}

/* The stream's records say it themselves. */
static bool committing(void *owner, lsn_t lsn, struct err *err)
{
    struct publisher *p = owner;
    struct stream_tail tail = {.position = lsn};

    if (p->config.stream)
        return true;
    pthread_mutex_lock(&p->mutex);
    tail.epoch = p->tail.epoch;
    snprintf(tail.history, sizeof(tail.history), "%.20s-", p->system_id);
    pthread_mutex_unlock(&p->mutex);
    return produce_place(p, &tail, err);
}

/* After a failure of ours the pause's end connects anew. Once it has, and found the brokers away,
 * that is for us again. */
static void ready(void *owner)
{
    struct publisher *p = owner;

    if (!p->retry_at)
        p->config.reconnect(p->config.owner);
}

/* ---- from beginning to end ------------------------------------------------------------------- */

static void free_publisher(struct publisher *p)
{
    topics_free(p->topics);
    frames_writer_release(&p->writer);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}

struct publisher *publisher_new(const struct publisher_config *config, struct err *err)
{
    struct publisher *p = xcalloc(1, sizeof(*p));
    struct outlet_config *outlet = &p->config.outlet;

    p->config = *config;
    p->sink.ops = &ops;
    snprintf(p->stream_topic, sizeof(p->stream_topic), "%s.stream", config->prefix);
    snprintf(p->transactional_id, sizeof(p->transactional_id), "%s-%s", config->prefix,
             config->slot);
    if (outlet->transactional_id)
        outlet->transactional_id = p->transactional_id;
    if (config->stream || outlet->transactional_id)
        snprintf(p->place_topic, sizeof(p->place_topic), "%s.%s", config->prefix,
                 config->stream ? "stream" : "offsets");
    outlet->ordered_topic = config->stream ? p->stream_topic : NULL;
    outlet->owner = p;
    outlet->may_start = may_start;
    outlet->started = started;
    outlet->committing = committing;
    outlet->ready = ready;
    pthread_mutex_init(&p->mutex, NULL);
    frames_writer_init(&p->writer, 0, outlet->message_max - RECORD_OVERHEAD, put_frame, p);
    p->topics = config->topics ? topics_new(config->topics, err) : NULL;
    p->outlet = p->topics || !config->topics ? outlet_new(outlet, err) : NULL;
    if (p->outlet && p->topics)
        topics_set_outlet(p->topics, p->outlet);
    if (p->outlet)
        return p;
    free_publisher(p);
    return NULL;
}

void publisher_stop(struct publisher *p)
{
    if (p->topics)
        topics_stop(p->topics);
    outlet_stop(p->outlet);
}

void publisher_free(struct publisher *p)
{
    if (!p)
        return;
    outlet_free(p->outlet);
    free_publisher(p);
}

struct wal_sink *publisher_sink(struct publisher *p)
{
    return &p->sink;
}

void publisher_reset(struct publisher *p)
{
    p->reset = true;
    if (p->topics)
        topics_reset(p->topics);
    p->taking = false;
    outlet_close(p->outlet);
}

static enum publisher_state state_of(const struct publisher *p, const struct outlet_stats *o,
                                     bool failed)
{
    if (failed || o->state == OUTLET_FAILED)
        return PUBLISHER_FAILED;
    if (o->state != OUTLET_OPEN)
        return PUBLISHER_CONNECTING;
    return p->taking && !o->stalled ? PUBLISHER_PUBLISHING : PUBLISHER_BEHIND;
}

void publisher_get_stats(struct publisher *p, struct publisher_stats *stats)
{
    struct outlet_stats o;

    outlet_get_stats(p->outlet, &o);
    pthread_mutex_lock(&p->mutex);
    bool failed = p->failure.code != ERR_NONE;

    *stats = (struct publisher_stats){
        .state = state_of(p, &o, failed),
        .records = o.records,
        .bytes = o.bytes,
        .errors = o.errors,
        .queued_bytes = o.queued_bytes,
        .spooled_bytes = o.spooled_bytes,
        .acked = o.acked,
    };
    snprintf(stats->error, sizeof(stats->error), "%s", failed ? p->failure.msg : o.error);
    pthread_mutex_unlock(&p->mutex);
}
