/*
 * The publisher as a sink of the stream: where to go on at each connection, and from there on each
 * transaction into the stream's topic and the tables'.
 *
 * In either, what it has already is passed over, and the two need not stand at the same position.
 * So each call has two halves: takes_frames() and takes_rows().
 */
#include "kafka/publisher_private.h"

#include "base/clock.h"
#include "base/logging.h"
#include "kafka/anew.h"
#include "kafka/history.h"

#include <stdio.h>

#define FIRST_WAIT_MS 1000 /* for the brokers, when the first connection starts */
#define HEARTBEAT_MS 50    /* without any other record */
#define IDLE_MS 5000       /* and so often where nothing moves: retention must leave one record */

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

static bool takes_frames(struct publisher *p)
{
    return p->config.stream && !p->skips && takes(p);
}

static bool takes_rows(struct publisher *p)
{
    return p->topics && !p->skips_rows && takes(p);
}

/* Nothing of the transaction at hand is wanted. */
static bool passes_over(const struct publisher *p)
{
    return p->skips && (!p->topics || p->skips_rows);
}

/* Something could not be put: the outlet took it not, or it cannot be made. */
static void check_failure(struct publisher *p, const struct err *err)
{
    if (!takes(p))
        return;
    log_error("publishing stops, the slot is held", LOG_ERR(err));
    setback_note(&p->setback, err);
    p->taking = false;
    outlet_close(p->outlet);
}

static void retry_if_due(struct publisher *p)
{
    if (!p->taking && setback_is_over(&p->setback))
        p->config.reconnect(p->config.owner);
}

/* ---- records of the stream ------------------------------------------------------------------- */

/* With Kafka transactions the tables' topics are never behind a record of the stream's. */
static bool says_tables(const struct publisher *p)
{
    return p->topics && p->config.outlet.transactional_id;
}

bool publisher_put_frame(void *owner, const struct frames_record *frame, struct err *err)
{
    struct publisher *p = owner;
    const struct place_labels labels = {p->history, p->standing.timeline, says_tables(p)};
    struct place_record r;

    place_record_init(&r, &p->standing.place, frame, &labels);
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

/* Where the topics stand by what was put, if all of it is delivered. Of the tables' topics
 * outlet_acked() says it. */
static struct stream_tail tail_of_ours(const struct publisher *p)
{
    struct stream_tail tail = {.found = true,
                               .epoch = p->writer.epoch,
                               .position = p->position,
                               .timeline = p->standing.timeline};

    snprintf(tail.history, sizeof(tail.history), "%s", p->history);
    return tail;
}

/* Where the topic stands: as it was found, or as far as the same producer has brought it, since all
 * is delivered. */
static struct stream_tail find_tail(struct publisher *p)
{
    struct stream_tail tail;
    uint64_t producer = standing_get(&p->standing, &tail);

    if (p->producer == producer) {
        tail = tail_of_ours(p);
        if (tail.position < p->stream_from)
            tail.position = p->stream_from;
    }
    p->producer = producer;
    return tail;
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
        .epoch = p->writer.epoch, .position = place->confirmed, .timeline = p->standing.timeline};
    struct place_record r;

    if (p->config.stream) {
        put_heartbeat(p, place->confirmed);
        return;
    }
    tail.tables = true;
    snprintf(tail.history, sizeof(tail.history), "%s", p->history);
    place_record_init_at(&r, &p->standing.place, &tail);
    if (outlet_put(p->outlet, &r.record))
        mark(p, place->confirmed);
    place_record_release(&r);
}

static void begin_history(struct publisher *p, const struct wal_place *place, const char *why)
{
    if (p->config.stream)
        history_name(place, p->history);
    log_warn("the topic begins a new history", LOG_STR("topic", p->standing.place.topic),
             LOG_STR("reason", why), LOG_STR("history", p->history));
    put_beginning(p, place);
}

/* The outlet has opened. */
static void begin_taking(struct publisher *p, const struct wal_place *place)
{
    struct stream_tail tail = find_tail(p);
    bool stream = p->config.stream, told = p->standing.place.topic[0] && tail.found;

    standing_set_server(&p->standing, place);
    const char *diverged = told ? history_diverges(&tail, place, p->reset) : NULL;
    const char *ends = stream ? history_ends(&tail, place, diverged) : diverged;

    p->taking = true;
    p->writer.epoch = tail.epoch;
    p->stream_from = stream && !ends ? tail.position : LSN_NONE;
    place_topics(p, &tail, place, diverged);
    if (stream)
        snprintf(p->history, sizeof(p->history), "%s", tail.history);
    else
        history_name_system(place->system_id, p->history);
    if (diverged && p->topics && !p->reset)
        topics_reset(p->topics);
    if (ends)
        begin_history(p, place, ends);
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
    const struct stream_tail tail = tail_of_ours(p);

    return takes(p) && place->confirmed <= p->position && !history_diverges(&tail, place, p->reset);
}

/* ---- the sink -------------------------------------------------------------------------------- */

static void connected(struct wal_sink *sink, const struct wal_place *place)
{
    struct publisher *p = publisher_of(sink);
    int wait_ms = p->was_connected ? 0 : FIRST_WAIT_MS;

    p->was_connected = true;
    frames_writer_connected(&p->writer);
    if (p->topics)
        topics_connected(p->topics);
    if (goes_on(p, place)) {
        standing_set_server(&p->standing, place);
        return;
    }
    p->taking = false;
    outlet_close(p->outlet);
    if (outlet_open(p->outlet, wait_ms))
        begin_taking(p, place);
}

static bool begin(struct wal_sink *sink, const struct txn *txn, struct err *err)
{
    struct publisher *p = publisher_of(sink);

    p->skips = txn->commit_lsn < p->position || txn->commit_lsn < p->stream_from;
    p->skips_rows = txn->commit_lsn < p->position || txn->commit_lsn < p->topics_from;
    if (takes_frames(p) && !frames_writer_begin(&p->writer, txn, sink->message, err))
        check_failure(p, err);
    if (takes_rows(p))
        topics_begin(p->topics, txn);
    return true;
}

static bool relation(struct wal_sink *sink, const struct relation *relation, struct err *err)
{
    struct publisher *p = publisher_of(sink);

    (void)err;
    if (p->config.stream)
        frames_writer_relation(&p->writer, relation->relid, sink->message);
    if (p->topics)
        topics_relation(p->topics, relation);
    return true;
}

static void add(struct publisher *p, const uint32_t *relids, size_t n, struct err *err)
{
    if (takes_frames(p) && !frames_writer_add(&p->writer, relids, n, p->sink.message, err))
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
    bool ok =
        !takes_frames(p) || frames_writer_add(&p->writer, &relation->relid, 1, sink->message, err);

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

    if (!takes(p) || passes_over(p))
        return true;
    if (takes_frames(p) && !frames_writer_commit(&p->writer, txn, sink->message, err))
        check_failure(p, err);
    if (takes_rows(p) && !topics_commit(p->topics, txn, err))
        check_failure(p, err);
    if (!takes(p))
        return true;
    mark(p, txn->end_lsn);
    setback_clear(&p->setback);
    return true;
}

/* What was put of the transaction stays in the topic, and is void: it comes again from its
 * beginning. A Kafka transaction must not have it. */
static void rollback(struct wal_sink *sink)
{
    struct publisher *p = publisher_of(sink);

    if (takes_rows(p))
        topics_rollback(p->topics);
    if (!p->config.outlet.transactional_id || !takes(p) || passes_over(p))
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
    if (!p->noted || !takes(p) || !p->standing.place.topic[0] ||
        outlet_acked(p->outlet) == LSN_NONE)
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

const struct wal_sink_ops publisher_sink_ops = {
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
