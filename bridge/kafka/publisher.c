#include "kafka/publisher.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/logging.h"
#include "kafka/anew.h"
#include "kafka/frames.h"
#include "kafka/place.h"
#include "wal/timelines.h"

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

struct publisher {
    struct wal_sink sink; /* first */
    struct publisher_config config;
    struct outlet *outlet;
    struct topics *topics; /* NULL: none */
    char transactional_id[200];
    struct place place;

    pthread_mutex_t mutex;
    /* with the mutex: */
    struct stream_tail tail; /* where the topic stood when the producer was made */
    uint64_t producers;      /* how many were made */
    char system_id[32];      /* of the server whose stream is published, ... */
    uint32_t timeline;       /* ... and its timeline; the stream's thread sets them */
    struct err failure;      /* why nothing is published until it is tried again */

    /* the stream's thread: */
    struct frames_writer writer;
    char history[FRAMES_HISTORY_SIZE];
    bool was_connected;
    bool reset, noted; /* what the topics have is void; there is a note of it (kafka/anew.h) */
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

/* With Kafka transactions the tables' topics are never behind a record of the stream's. */
static bool says_tables(const struct publisher *p)
{
    return p->topics && p->config.outlet.transactional_id;
}

/* The writer's emit. */
static bool put_frame(void *owner, const struct frames_record *frame, struct err *err)
{
    struct publisher *p = owner;
    const struct place_labels labels = {p->history, p->timeline, says_tables(p)};
    struct place_record r;

    place_record_init(&r, &p->place, frame, &labels);
    bool ok = outlet_put(p->outlet, &r.record);

    place_record_release(&r);
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

static bool is_in_timeline(const struct wal_place *place, uint32_t timeline, lsn_t lsn)
{
    return !timeline || !place->timelines || timelines_have(place->timelines, timeline, lsn);
}

/* Why this server does not have what the topics have, or NULL. */
static const char *diverges(const struct publisher *p, const struct stream_tail *tail,
                            const struct wal_place *place)
{
    if (!is_of_system(tail->history, place))
        return "this is another database system";
    if (p->reset)
        return "the slot or the server's history is another";
    if (place->server_lsn < tail->position)
        return "the server's WAL is behind the topic";
    if (!is_in_timeline(place, tail->timeline, tail->position))
        return "the server's timeline does not contain all that the topic has";
    return NULL;
}

/* Why the stream's topic cannot go on in its history, or NULL. */
static const char *history_ends(const struct publisher *p, const struct stream_tail *tail,
                                const struct wal_place *place, const char *diverged)
{
    if (!p->config.stream)
        return NULL;
    if (!tail->found)
        return "the topic is empty";
    if (!diverged && place->confirmed > tail->position)
        return "the slot is beyond the topic";
    return diverged;
}

static void new_history(struct publisher *p, const struct wal_place *place)
{
    uint8_t random[5] = {0};

    if (getrandom(random, sizeof(random), 0) < 0)
        memcpy(random, &(int64_t){clock_unix_us()}, sizeof(random));
    snprintf(p->history, sizeof(p->history), "%.20s-%02x%02x%02x%02x%02x", place->system_id,
             random[0], random[1], random[2], random[3], random[4]);
}

/* Where the topic stands: as it was found, or as far as the same producer has brought it, since all
 * is delivered. */
static void find_tail(struct publisher *p, struct stream_tail *tail)
{
    pthread_mutex_lock(&p->mutex);
    bool same = p->producer == p->producers;

    p->producer = p->producers;
    *tail = p->tail;
    pthread_mutex_unlock(&p->mutex);
    if (!same)
        return;
    tail->found = true;
    tail->position = p->position > p->stream_from ? p->position : p->stream_from;
    tail->timeline = p->timeline;
    tail->tables = false; /* outlet_acked() says it */
    snprintf(tail->history, sizeof(tail->history), "%s", p->history);
}

/* The publishing thread says it too (`committing`). */
static void set_server(struct publisher *p, const struct wal_place *place)
{
    pthread_mutex_lock(&p->mutex);
    p->timeline = place->timeline;
    snprintf(p->system_id, sizeof(p->system_id), "%s", place->system_id);
    pthread_mutex_unlock(&p->mutex);
}

/* The tables' topics go on where everything is known to be delivered, or where the place's topic
 * says if it speaks for them. */
static void place_topics(struct publisher *p, const struct stream_tail *tail,
                         const struct wal_place *place, const char *diverged)
{
    lsn_t acked = outlet_acked(p->outlet);

    p->topics_from = place->confirmed;
    if (diverged)
        return;
    if (acked > p->topics_from)
        p->topics_from = acked;
    if (tail->found && tail->tables && tail->position > p->topics_from)
        p->topics_from = tail->position;
}

/* In the stream's topic, where it has a new history; or in the offsets', where it does not go on
 * either: what is there is not to be read again. */
static void put_beginning(struct publisher *p, const struct wal_place *place)
{
    struct stream_tail tail = {
        .epoch = p->writer.epoch, .position = place->confirmed, .timeline = p->timeline};
    struct place_record r;

    if (p->config.stream) {
        put_heartbeat(p, place->confirmed);
        return;
    }
    tail.tables = true;
    snprintf(tail.history, sizeof(tail.history), "%s", p->history);
    place_record_init_at(&r, &p->place, &tail);
    if (outlet_put(p->outlet, &r.record))
        mark(p, place->confirmed);
    place_record_release(&r);
}

static void begin_history(struct publisher *p, const struct wal_place *place, const char *why)
{
    if (p->config.stream)
        new_history(p, place);
    log_warn("the topic begins a new history", LOG_STR("topic", p->place.topic),
             LOG_STR("reason", why), LOG_STR("history", p->history));
    put_beginning(p, place);
}

/* The outlet has opened. */
static void begin_taking(struct publisher *p, const struct wal_place *place)
{
    struct stream_tail tail;

    find_tail(p, &tail);
    set_server(p, place);
    bool told = p->place.topic[0] && tail.found;
    const char *diverged = told ? diverges(p, &tail, place) : NULL;
    const char *ends = history_ends(p, &tail, place, diverged);

    p->taking = true;
    p->writer.epoch = tail.epoch;
    p->stream_from = p->config.stream && !ends ? tail.position : LSN_NONE;
    place_topics(p, &tail, place, diverged);
    if (p->config.stream)
        snprintf(p->history, sizeof(p->history), "%s", tail.history);
    else
        snprintf(p->history, sizeof(p->history), "%.20s-", place->system_id);
    if (diverged && p->topics && !p->reset)
        topics_reset(p->topics);
    if (ends || diverged)
        begin_history(p, place, ends ? ends : diverged);
    else
        mark(p, p->topics ? p->topics_from : tail.position);
    if (!takes(p))
        return;
    p->reset = false;
    log_info("publishing to Kafka", LOG_LSN("position", p->position));
}

/* Whether the new connection goes on where the last one ended. */
static bool goes_on(struct publisher *p, const struct wal_place *place)
{
    return takes(p) && !p->reset && place->confirmed <= p->position &&
           place->server_lsn >= p->position && is_of_system(p->history, place) &&
           is_in_timeline(place, p->timeline, p->position);
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
    if (goes_on(p, place)) {
        set_server(p, place);
        return;
    }
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

/* Once the topic says that it has begun anew. Before, outlet_acked() is LSN_NONE. */
static void forget_reset(struct publisher *p)
{
    if (!p->noted || !takes(p) || !p->place.topic[0] || outlet_acked(p->outlet) == LSN_NONE)
        return;
    anew_forget(p->config.data_dir);
    p->noted = false;
}

static bool settle(struct wal_sink *sink, lsn_t position, lsn_t end_lsn, struct err *err)
{
    struct publisher *p = publisher_of(sink);

    (void)position;
    retry_if_due(p);
    if (takes(p))
        beat(p, end_lsn);
    forget_reset(p);
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

/* A producer is there. With the first record that it writes to the stream's topic nothing of an
 * earlier one counts, whatever is still under way to the broker. */
static bool started(void *owner, struct err *err)
{
    struct publisher *p = owner;
    struct stream_tail tail = {.found = outlet_acked(p->outlet) != LSN_NONE,
                               .position = outlet_acked(p->outlet)};

    if (p->place.topic[0] && !place_read(&p->place, p->outlet, p->tail.epoch, &tail, err))
        return false;
    if (p->config.stream) {
        outlet_expect(p->outlet, tail.end);
        if (tail.found &&
            !(place_produce(&p->place, p->outlet, &tail, err) && outlet_flush(p->outlet, err)))
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
    struct stream_tail tail = {.position = lsn, .tables = true};

    if (p->config.stream)
        return true;
    pthread_mutex_lock(&p->mutex);
    tail.epoch = p->tail.epoch;
    tail.timeline = p->timeline;
    snprintf(tail.history, sizeof(tail.history), "%.20s-", p->system_id);
    pthread_mutex_unlock(&p->mutex);
    return place_produce(&p->place, p->outlet, &tail, err);
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
    snprintf(p->transactional_id, sizeof(p->transactional_id), "%s-%s", config->prefix,
             config->slot);
    if (outlet->transactional_id)
        outlet->transactional_id = p->transactional_id;
    p->place.client = &outlet->client;
    p->place.key = config->stream ? NULL : config->slot;
    p->place.replication_factor = outlet->replication_factor;
    if (config->stream || outlet->transactional_id)
        snprintf(p->place.topic, sizeof(p->place.topic), "%s.%s", config->prefix,
                 config->stream ? "stream" : "offsets");
    p->reset = p->noted = anew_is_noted(config->data_dir);
    outlet->ordered_topic = config->stream ? p->place.topic : NULL;
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

bool publisher_reset(struct publisher *p, struct err *err)
{
    if (!anew_note(p->config.data_dir, err))
        return false;
    p->reset = p->noted = true;
    if (p->topics)
        topics_reset(p->topics);
    p->taking = false;
    outlet_reset(p->outlet);
    return true;
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
