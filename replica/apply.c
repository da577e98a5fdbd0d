/*
 * The stream's events, one function each, and where the transactions end.
 *
 * A transaction opens with the first row and commits at a commit line; when the
 * next commit line is already there it goes on, up to GROUP_ROWS or GROUP_US, so that
 * catching up does not pay for a transaction each. The position is written last in
 * it. Opening a shape and a snapshot's rows may commit by themselves as long as no
 * change waits for its commit line.
 */
#include "replica/core.h"

#include "base/clock.h"
#include "base/logging.h"
#include "replica/acks.h"
#include "replica/capture.h"
#include "replica/gap.h"
#include "replica/merge.h"
#include "replica/pending.h"
#include "replica/rebase.h"
#include "replica/trouble.h"
#include "replica/writes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <yyjson.h>

#define GROUP_ROWS 10000
#define GROUP_US 50000

bool lite_apply_begin(struct replica *r, struct err *err)
{
    if (r->db.in_txn)
        return true;
    r->txn_rows = 0;
    r->txn_started = clock_us();
    if (!lite_db_begin(&r->db, err) || !lite_pending_drain(r, err) || !lite_writes_verify(r, err))
        return false;
    /* What was rejected at once is not to be seen any more, whoever commits this. */
    return !r->db.torn || lite_rebase_settle(r, err);
}

struct lite_feed *lite_apply_feed(struct replica *r, yyjson_val *index, struct err *err)
{
    if (yyjson_is_uint(index) && yyjson_get_uint(index) < r->nfeeds)
        return &r->feeds[yyjson_get_uint(index)];
    err_set(err, ERR_PROTOCOL, "the stream speaks of a shape that was not asked for");
    return NULL;
}

static bool read_lsn(yyjson_val *object, uint64_t *lsn, struct err *err)
{
    const char *text = yyjson_get_str(yyjson_obj_get(object, "lsn"));
    char *end;

    if (text && *text >= '0' && *text <= '9') {
        *lsn = strtoull(text, &end, 10);
        if (!*end && *lsn <= INT64_MAX)
            return true;
    }
    return err_set(err, ERR_PROTOCOL, "the stream has a position that is not a number");
}

/* Commits unless changes wait for their commit line. */
static bool commit_alone(struct replica *r, struct err *err)
{
    return r->changes || r->commit_due || lite_db_commit(&r->db, err);
}

/* ---- refetch ---- */

static bool forget_handle(struct replica *r, struct lite_feed *feed, const char *reason,
                          struct err *err)
{
    struct lite_shape *s = feed->shape;

    lite_table_release(&feed->table);
    feed->phase = LITE_CLOSED;
    lite_gap_stands(s);
    s->handle = NULL;
    s->reason = arena_strdup(&r->session, reason);
    if (s->status == LITE_LIVE)
        s->status = LITE_REFETCHING;
    log_info("fetching a shape again", LOG_STR("table", s->local), LOG_STR("reason", reason));
    return lite_apply_begin(r, err) && lite_shape_save(&r->db, s, err);
}

bool lite_apply_forget(struct replica *r, struct lite_feed *feed, const char *reason,
                       struct err *err)
{
    feed->skip = true;
    r->reconnect = true;
    return forget_handle(r, feed, reason, err);
}

bool lite_apply_refetch(struct replica *r, struct lite_feed *feed, const char *reason,
                        struct err *err)
{
    if (!lite_apply_forget(r, feed, reason, err))
        return false;
    if (r->changes || r->commit_due)
        return true; /* the commit line will end the stream */
    const char *text =
        arena_printf(&r->session, "table \"%s\" is fetched again: %s", feed->shape->local, reason);
    return lite_db_commit(&r->db, err) && lite_trouble_err(r, text, err);
}

bool lite_apply_misfit(struct replica *r, struct lite_feed *feed, uint64_t lsn, const char *reason,
                       struct err *err)
{
    return lite_apply_refetch(r, feed, lite_trouble_misfit(r, feed, lsn, reason), err);
}

static bool on_refetch(struct replica *r, yyjson_val *event, struct err *err)
{
    struct lite_feed *feed = lite_apply_feed(r, yyjson_obj_get(event, "shape"), err);
    const char *reason = yyjson_get_str(yyjson_obj_get(event, "reason"));

    if (!feed)
        return false;
    return feed->skip || (forget_handle(r, feed, reason ? reason : "the bridge says so", err) &&
                          commit_alone(r, err));
}

/* ---- open ---- */

static bool read_open(struct replica *r, struct lite_feed *feed, yyjson_val *event, struct err *err)
{
    yyjson_val *schema = yyjson_obj_get(event, "schema");
    const char *handle = yyjson_get_str(yyjson_obj_get(event, "handle"));
    const char *lineage = yyjson_get_str(yyjson_obj_get(event, "lineage"));
    char *json = yyjson_val_write(schema, 0, NULL);

    feed->schema_json = json ? arena_strdup(&r->session, json) : NULL;
    free(json);
    if (!handle || !feed->schema_json)
        return err_set(err, ERR_PROTOCOL, "a shape was opened without handle or schema");
    feed->handle = arena_strdup(&r->session, handle);
    feed->lineage = lineage ? arena_strdup(&r->session, lineage) : NULL;
    feed->writable = yyjson_arr_size(yyjson_obj_get(event, "writes")) > 0;
    feed->looked = false;
    if (!lite_schema_parse(schema, &r->session, &feed->schema, err))
        return false;
    if (feed->schema.nkey == 0 && !lite_schema_rowid(&feed->schema))
        return err_set(err, ERR_UNSUPPORTED,
                       "it has no primary key, and columns rowid, _rowid_ and oid");
    return true;
}

/* What table of Postgres's a shape by name is of. */
static void read_table(struct replica *r, struct lite_feed *feed, yyjson_val *event)
{
    yyjson_val *names = yyjson_obj_get(event, "table");
    const char *schema = yyjson_get_str(yyjson_arr_get(names, 0));
    const char *table = yyjson_get_str(yyjson_arr_get(names, 1));

    if (!feed->shape->name || !schema || !table)
        return;
    feed->shape->schema = arena_strdup(&r->session, schema);
    feed->shape->table = arena_strdup(&r->session, table);
}

/* Whether the table that is there has the columns that the bridge now tells. */
static bool compare_schema(struct replica *r, struct lite_feed *feed, struct err *err)
{
    struct lite_schema stored;

    feed->same = false;
    if (!feed->shape->schema_json)
        return true;
    if (!lite_schema_read(slice_of(feed->shape->schema_json), &r->session, &stored, err))
        return false;
    feed->same = lite_schema_same(&stored, &feed->schema);
    return true;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Another node goes on with it under a handle of its own. */
static bool take_handle(struct replica *r, struct lite_feed *feed, struct err *err)
{
    struct lite_shape *s = feed->shape;

    if (same_text(s->handle, feed->handle) && same_text(s->lineage, feed->lineage))
        return true;
    s->handle = feed->handle;
    s->lineage = feed->lineage;
    return lite_apply_begin(r, err) && lite_shape_save(&r->db, s, err) && commit_alone(r, err);
}

static bool go_on(struct replica *r, struct lite_feed *feed, struct err *err)
{
    if (!feed->shape->handle || feed->shape->status != LITE_LIVE)
        return err_set(err, ERR_PROTOCOL, "the bridge goes on with a shape that is not here");
    if (!feed->same)
        return lite_apply_refetch(r, feed, "its columns have changed", err);
    if (!take_handle(r, feed, err))
        return false;
    lite_table_init(&feed->table, &r->db, &feed->schema, feed->shape->local);
    feed->phase = LITE_STREAMING;
    return true;
}

static bool make_side(struct replica *r, struct lite_feed *feed, const char *name, struct err *err)
{
    const struct lite_shape *s = feed->shape;

    if (!s->schema_json) {
        if (!lite_merge_adoptable(&r->db, s->local, &feed->schema, err))
            return false;
        feed->same = true;
    }
    return lite_db_exec(&r->db, err, "DROP TABLE IF EXISTS \"%w\"", name) &&
           lite_db_exec(&r->db, err, "%s", lite_schema_ddl(&feed->schema, name, &r->session));
}

/* Nobody relies on the table: it is made, or emptied of a fetch that did not end. */
static bool make_table(struct replica *r, struct lite_feed *feed, struct err *err)
{
    struct lite_shape *s = feed->shape;

    if (!lite_db_exec(&r->db, err, "DROP TABLE IF EXISTS \"%w%w\"", LITE_SIDE_PREFIX, s->local))
        return false;
    if (feed->same)
        return lite_db_exec(&r->db, err, "DELETE FROM \"%w\"", s->local);
    if (s->schema_json && !lite_db_exec(&r->db, err, "DROP TABLE IF EXISTS \"%w\"", s->local))
        return false;
    s->schema_json = feed->schema_json;
    return lite_db_exec(&r->db, err, "%s", lite_schema_ddl(&feed->schema, s->local, &r->session)) &&
           lite_columns_save(&r->db, s->local, &feed->schema, err);
}

static bool begin_snapshot(struct replica *r, struct lite_feed *feed, struct err *err)
{
    struct lite_shape *s = feed->shape;
    const char *name = s->local;

    feed->side = s->status != LITE_FETCHING;
    if (feed->side) {
        name = arena_printf(&r->session, "%s%s", LITE_SIDE_PREFIX, s->local);
        lite_gap_stands(s);
        s->status = LITE_REFETCHING;
    }
    s->handle = NULL; /* until all rows are there, a crash begins anew */
    if (!lite_apply_begin(r, err) ||
        !(feed->side ? make_side(r, feed, name, err) : make_table(r, feed, err)) ||
        !lite_shape_save(&r->db, s, err) || !commit_alone(r, err))
        return false;
    lite_table_init(&feed->table, &r->db, &feed->schema, name);
    feed->cells = arena_calloc(&r->session, feed->schema.ncolumns, sizeof(*feed->cells));
    lite_plain_init(&feed->plain, &feed->schema, &r->session);
    feed->phase = LITE_SNAPSHOT;
    feed->shuffled = false;
    return true;
}

static bool on_open(struct replica *r, yyjson_val *event, struct err *err)
{
    struct lite_feed *feed = lite_apply_feed(r, yyjson_obj_get(event, "shape"), err);

    if (!feed || !lite_gap_look(r, err))
        return false;
    if (feed->skip)
        return true;
    lite_table_release(&feed->table);
    feed->phase = LITE_CLOSED;
    bool snapshot = yyjson_get_bool(yyjson_obj_get(event, "snapshot"));
    read_table(r, feed, event);
    if (read_open(r, feed, event, err) && compare_schema(r, feed, err) &&
        (snapshot ? begin_snapshot(r, feed, err) : go_on(r, feed, err)))
        return true;
    return err_wrap(err, "shape of table \"%s\"", feed->shape->local);
}

static bool on_snapshot_end(struct replica *r, yyjson_val *event, struct err *err)
{
    struct lite_feed *feed = lite_apply_feed(r, yyjson_obj_get(event, "shape"), err);

    if (!feed)
        return false;
    if (feed->skip)
        return true;
    if (feed->phase != LITE_SNAPSHOT)
        return err_set(err, ERR_PROTOCOL, "table \"%s\": the end of a snapshot that did not begin",
                       feed->shape->local);
    feed->phase = LITE_COMPLETE;
    return true;
}

/* ---- commit ---- */

/* The shape's rows are complete: what is at the side becomes the table. */
static bool complete(struct replica *r, struct lite_feed *feed, struct err *err)
{
    struct lite_shape *s = feed->shape;

    if (!lite_gap_close(r, feed, err))
        return false;
    if (feed->side) {
        lite_table_release(&feed->table);
        if (!lite_merge(&r->db, s->local, &feed->schema, feed->same, err)) {
            r->stuck = err->code == ERR_SQLITE ? feed : NULL;
            return false;
        }
        lite_table_init(&feed->table, &r->db, &feed->schema, s->local);
    }
    s->status = LITE_LIVE;
    s->handle = feed->handle;
    s->lineage = feed->lineage;
    s->schema_json = feed->schema_json;
    s->reason = NULL;
    s->stood_handle = NULL;
    feed->phase = LITE_STREAMING;
    feed->side = false;
    feed->same = true;
    r->changes = true;
    return lite_rebase_fetched(r, feed, err) && lite_capture_heal(&r->db, s->local, err) &&
           lite_columns_save(&r->db, s->local, &feed->schema, err) &&
           lite_shape_save(&r->db, s, err);
}

bool lite_apply_flush(struct replica *r, struct err *err)
{
    r->state.applied_at = clock_unix_us();
    if (!lite_apply_begin(r, err) || !lite_state_save(&r->db, &r->state, err))
        return false;
    for (size_t i = 0; i < r->nfeeds; i++) {
        if (r->feeds[i].phase == LITE_STREAMING &&
            !lite_offset_save(&r->db, r->feeds[i].shape, err))
            return false;
    }
    if (!lite_rebase_settle(r, err) || !lite_db_commit(&r->db, err))
        return false;
    r->commit_due = false;
    r->progress.commits++;
    lite_db_tidy(&r->db);
    return true;
}

static bool read_position(struct replica *r, yyjson_val *event, struct err *err)
{
    uint64_t lsn = 0;

    if (!read_lsn(event, &lsn, err))
        return false;
    bool all = true;

    for (size_t i = 0; i < r->nfeeds; i++) {
        if (r->feeds[i].phase == LITE_STREAMING)
            r->feeds[i].shape->offset = lsn;
        else
            all = false;
    }
    r->state.position = lsn;
    r->state.consistent =
        all && r->nfeeds == r->nshapes && yyjson_get_bool(yyjson_obj_get(event, "consistent"));
    /* First rows that are on their way would begin anew. */
    if (all && r->retry_at && clock_ms() >= r->retry_at)
        r->reconnect = true;
    return lite_trouble_pass(r, lsn, err);
}

/* What is to be fetched again, or tried again, needs a new request. */
static bool go_on_or_reconnect(const struct replica *r, struct err *err)
{
    return !r->reconnect || lite_trouble_err(r, "a table is fetched again", err);
}

static bool group_is_full(const struct replica *r)
{
    return r->txn_rows >= GROUP_ROWS || clock_us() - r->txn_started >= GROUP_US;
}

static bool on_commit(struct replica *r, yyjson_val *event, struct err *err)
{
    const char *at = yyjson_get_str(yyjson_obj_get(event, "at"));

    for (size_t i = 0; i < r->nfeeds; i++) {
        if (r->feeds[i].phase == LITE_COMPLETE &&
            (!lite_apply_begin(r, err) || !complete(r, &r->feeds[i], err)))
            return false;
    }
    if (!read_position(r, event, err) || !lite_writes_capture(r, err) ||
        !lite_acks_commit(r, r->state.position, err))
        return false;
    if (at)
        r->state.at = strtoll(at, NULL, 10);
    r->changes = false;
    r->commit_due = true;
    if (!r->reconnect && r->db.in_txn && !group_is_full(r) && lite_stream_more_commits(r))
        return true;
    return lite_apply_flush(r, err) && go_on_or_reconnect(r, err);
}

/* Nothing but the position moves, and only where nothing waits for a commit line. */
static bool on_keepalive(struct replica *r, yyjson_val *event, struct err *err)
{
    if (!r->changes && !go_on_or_reconnect(r, err))
        return false;
    for (size_t i = 0; i < r->nfeeds; i++) {
        if (r->feeds[i].phase != LITE_STREAMING)
            return true;
    }
    if (r->changes)
        return true;
    return read_position(r, event, err) && lite_writes_capture(r, err) &&
           lite_acks_commit(r, r->state.position, err) && lite_apply_flush(r, err) &&
           go_on_or_reconnect(r, err);
}

static bool on_error(struct replica *r, yyjson_val *event, struct err *err)
{
    const char *message = yyjson_get_str(yyjson_obj_get(event, "message"));
    yyjson_val *shape = yyjson_obj_get(event, "shape");
    bool retry = yyjson_get_bool(yyjson_obj_get(event, "retry"));

    struct lite_feed *feed = yyjson_is_uint(shape) && yyjson_get_uint(shape) < r->nfeeds
                                 ? &r->feeds[yyjson_get_uint(shape)]
                                 : NULL;
    /* One that was served is for the answer to the next request to judge (answer.h). */
    enum err_code last = feed && lite_trouble_was_served(feed) ? ERR_CHANGED : ERR_PG;

    err_set(err, retry ? ERR_CONN : last, "%s", message ? message : "the bridge gave up");
    if (feed)
        err_wrap(err, "table \"%s\"", feed->shape->local);
    return err_wrap(err, "bridge");
}

static const struct {
    const char *name;
    bool (*apply)(struct replica *, yyjson_val *, struct err *);
} events[] = {
    {"ack", lite_acks_take}, {"commit", on_commit},   {"keepalive", on_keepalive},
    {"open", on_open},       {"refetch", on_refetch}, {"snapshot_end", on_snapshot_end},
    {"error", on_error},
};

bool lite_apply_line(struct replica *r, yyjson_val *line, struct err *err)
{
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        yyjson_val *event = yyjson_obj_get(line, events[i].name);

        if (event)
            return events[i].apply(r, event, err);
    }
    return true; /* a newer bridge may say more than we know */
}
