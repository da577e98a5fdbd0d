/*
 * Joins the receiver, which knows no shapes, to the fan-out, which knows no
 * connection; and tells the shape log which server's history it holds.
 */
#include "base/logging.h"
#include "pg/catalog.h"
#include "pg/ddl_events.h"
#include "serve/bridge.h"
#include "wal/walsender.h"

#include <stdio.h>

#define UNSEEN_RELATION_MS 5000 /* then the stream breaks, and comes here again */

static struct fanout *fanout_of(struct wal_sink *sink)
{
    return ((struct stream_sink *)sink)->bridge->fanout;
}

static struct shapelog *store_of(struct wal_sink *sink)
{
    return ((struct stream_sink *)sink)->bridge->store;
}

/* ---- is it still the same history? ----------------------------------------------------------- */

static bool connect_sink(struct stream_sink *sink, struct err *err)
{
    if (pg_alive(sink->conn))
        return true;
    pg_close(sink->conn);
    sink->conn = pg_connect(sink->bridge->config.database_url, "tombolo stream", false, err);
    return sink->conn != NULL;
}

/* A server that was restored from a copy, and has written more WAL than it lost since, looks like
 * the one that we know. But what it sent behind the slot's position it does not send again. */
static void expect_last(struct stream_sink *sink, lsn_t confirmed)
{
    lsn_t last = shapelog_last_commit(sink->bridge->store);

    sink->again = confirmed != LSN_NONE && confirmed <= last ? last : LSN_NONE;
}

/* The stream has come to `position`, beyond which nothing at or below it follows. */
static bool is_same_history(struct stream_sink *sink, lsn_t position, struct err *err)
{
    if (sink->again == LSN_NONE || position < sink->again)
        return true;
    sink->other_history = position != sink->again;
    sink->again = LSN_NONE;
    return !sink->other_history ||
           err_set(err, ERR_CHANGED,
                   "the server does not have the last transaction that it sent: it was restored "
                   "from a copy");
}

/* ---- what the receiver calls ----------------------------------------------------------------- */

/* The fan-out is called first: what it refuses ends the connection, and comes again. The publisher,
 * where there is one, is told the same and refuses nothing. */

static struct wal_sink *publisher_of(struct wal_sink *sink)
{
    struct wal_sink *publisher = bridge_kafka_sink(((struct stream_sink *)sink)->bridge);

    if (publisher)
        publisher->message = sink->message;
    return publisher;
}

static void connected(struct wal_sink *sink, const struct wal_place *place)
{
    struct wal_sink *publisher = publisher_of(sink);

    expect_last((struct stream_sink *)sink, place->confirmed);
    fanout_connected(fanout_of(sink));
    if (publisher)
        publisher->ops->connected(publisher, place);
}

static bool begin(struct wal_sink *sink, const struct txn *txn, struct err *err)
{
    struct stream_sink *s = (struct stream_sink *)sink;
    struct wal_sink *publisher = publisher_of(sink);

    s->xid = txn->xid;
    return is_same_history(s, txn->commit_lsn, err) && fanout_begin(fanout_of(sink), txn, err) &&
           (!publisher || publisher->ops->begin(publisher, txn, err));
}

static bool relation(struct wal_sink *sink, const struct relation *relation, struct err *err)
{
    struct wal_sink *publisher = publisher_of(sink);

    return fanout_relation(fanout_of(sink), relation, err) &&
           (!publisher || publisher->ops->relation(publisher, relation, err));
}

static bool change(struct wal_sink *sink, const struct relation *relation,
                   const struct change *change, uint64_t op, struct err *err)
{
    struct wal_sink *publisher = publisher_of(sink);

    return fanout_change(fanout_of(sink), relation, change, op, err) &&
           (!publisher || publisher->ops->change(publisher, relation, change, op, err));
}

static bool truncate_(struct wal_sink *sink, const uint32_t *relids, uint32_t n, struct err *err)
{
    struct wal_sink *publisher = publisher_of(sink);

    return fanout_truncate(fanout_of(sink), relids, n, err) &&
           (!publisher || publisher->ops->truncate(publisher, relids, n, err));
}

static bool rewritten(struct wal_sink *sink, const struct ddl_event *event, struct err *err)
{
    const struct fanout_rewrite rewrite = {
        .reason = "the table was rewritten",
        .all = event->all,
        .columns = event->columns,
        .ncolumns = event->ncolumns,
    };

    return fanout_rewrite_table(fanout_of(sink), event->relid, &rewrite, err);
}

static bool message(struct wal_sink *sink, struct slice prefix, struct slice content,
                    struct err *err)
{
    struct wal_sink *publisher = publisher_of(sink);
    struct arena arena = {0};
    struct ddl_event event = ddl_event_read(prefix, content, &arena);
    bool ok = true;

    if (event.kind == DDL_OTHER)
        keeper_check_soon(((struct stream_sink *)sink)->bridge->keeper);
    else if (event.kind == DDL_REWRITE)
        ok = rewritten(sink, &event, err);
    arena_release(&arena);
    return ok && (!publisher || publisher->ops->message(publisher, prefix, content, err));
}

static bool commit(struct wal_sink *sink, const struct txn *txn, struct err *err)
{
    struct wal_sink *publisher = publisher_of(sink);

    return fanout_commit(fanout_of(sink), txn, err) &&
           (!publisher || publisher->ops->commit(publisher, txn, err));
}

static void rollback(struct wal_sink *sink)
{
    struct wal_sink *publisher = publisher_of(sink);

    fanout_rollback(fanout_of(sink));
    if (publisher)
        publisher->ops->rollback(publisher);
}

static bool settle(struct wal_sink *sink, lsn_t position, lsn_t end_lsn, struct err *err)
{
    struct wal_sink *publisher = publisher_of(sink);

    return is_same_history((struct stream_sink *)sink, position, err) &&
           fanout_settle(fanout_of(sink), position, end_lsn, err) &&
           (!publisher || publisher->ops->settle(publisher, position, end_lsn, err));
}

/* What is neither in the log nor in Kafka the slot has to keep. */
static lsn_t confirmable(struct wal_sink *sink)
{
    struct wal_sink *publisher = publisher_of(sink);
    lsn_t durable = shapelog_durable(store_of(sink));
    lsn_t published = publisher ? publisher->ops->confirmable(publisher) : durable;

    return published < durable ? published : durable;
}

static const struct wal_sink_ops sink_ops = {
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

/* On the stream thread, once a relation: a query on a connection of its own. A partition may be
 * new: the keeper looks whether it has the identity that its shapes need. */
static bool resolve_ancestors(void *owner, uint32_t relid, struct arena *arena,
                              uint32_t **ancestors, size_t *n, struct err *err)
{
    struct bridge *b = owner;
    struct stream_sink *sink = &b->sink;

    for (int tries = 0; tries < 2; tries++) {
        if (!connect_sink(sink, err))
            return false;
        if (catalog_await_relation(sink->conn, relid, sink->xid, UNSEEN_RELATION_MS, err) &&
            catalog_ancestors(sink->conn, relid, arena, ancestors, n, err)) {
            if (*n)
                keeper_check_soon(b->keeper);
            return true;
        }
        if (pg_alive(sink->conn))
            return false;
    }
    return false;
}

static void get_history(void *owner, struct feed_history *history)
{
    struct bridge *b = owner;
    struct shapelog_source source;

    shapelog_get_source(b->store, &source);
    *history = (struct feed_history){.timeline = source.timeline};
    snprintf(history->system_id, sizeof(history->system_id), "%s", source.system_id);
    snprintf(history->slot, sizeof(history->slot), "%s", source.slot);
    history->durable = shapelog_durable(b->store);
    history->lsn = shapelog_published(b->store);
    if (shapelog_last_commit(b->store) > history->lsn)
        history->lsn = shapelog_last_commit(b->store);
    if (history->durable > history->lsn)
        history->lsn = history->durable;
    if (b->sink.other_history)
        history->lsn = UINT64_MAX; /* no server's WAL is there */
}

static bool set_history(void *owner, const struct feed_history *history, const char *reset,
                        struct err *err)
{
    struct bridge *b = owner;
    struct shapelog_source source = {.timeline = history->timeline};

    snprintf(source.system_id, sizeof(source.system_id), "%s", history->system_id);
    snprintf(source.slot, sizeof(source.slot), "%s", history->slot);
    if (reset) {
        if (!bridge_reset_kafka(b, err))
            return false;
        b->sink.other_history = false;
        snapshot_pool_distrust_all(b->pool);
        if (!shapelog_reset(b->store, reset, err))
            return false;
    }
    return shapelog_set_source(b->store, &source, err);
}

static bool wait_for_room(void *owner, struct err *err)
{
    return receiver_wait_for_room(((struct bridge *)owner)->receiver, err);
}

static bool make_feed(struct bridge *b, struct err *err)
{
    const struct feed_keep keep = {b, get_history, set_history};
    const struct walsender_config walsender = {
        .conninfo = b->config.database_url,
        .slot = b->slot,
        .publication = b->publication,
        .unseen = b->unseen,
        .keep = keep,
    };

    if (b->config.source[0])
        b->node = node_new(&b->config, b->slot, b->publication, b->unseen, &keep, err);
    else
        b->walsender = walsender_new(&walsender);
    return b->node || b->walsender;
}

bool bridge_make_stream(struct bridge *b, struct err *err)
{
    b->sink.sink.ops = &sink_ops;
    b->sink.bridge = b;
    b->fanout = fanout_new(b->store, resolve_ancestors, b);
    fanout_set_no_room(b->fanout, wait_for_room, b);

    if (!make_feed(b, err))
        return false;

    const struct receiver_config config = {
        .feed = b->node ? node_feed(b->node) : b->walsender,
        .sink = &b->sink.sink,
        .unseen = b->unseen,
        .max_unseen = (size_t)b->config.max_unseen,
    };
    b->receiver = receiver_new(&config, err);
    return b->receiver != NULL;
}

void bridge_free_stream(struct bridge *b)
{
    receiver_free(b->receiver);
    walsender_free(b->walsender);
    node_free(b->node);
    fanout_free(b->fanout);
    unseen_free(b->unseen);
    pg_close(b->sink.conn);
}
