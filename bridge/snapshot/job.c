/*
 * Logs are filled: registered with the stream, then given the rows of a snapshot, one after the
 * other. A snapshot is shared by logs of one table, as long as it is not old.
 */
#include "snapshot/job.h"
#include "base/clock.h"
#include "base/logging.h"
#include "change/message.h"
#include "change/standing.h"
#include "pg/catalog.h"
#include "pg/copy.h"
#include "pg/copytext.h"
#include "pg/reading.h"
#include "pg/server.h"
#include "snapshot/failure.h"
#include "snapshot/retry.h"
#include "snapshot/turns.h"
#include "snapshot/waiting.h"

#include <stdio.h>
#include <stdlib.h>

#define SHARED_MS 1000   /* then those that are left get another one: Postgres cannot vacuum */
#define LOCK_FIRST_MS 50 /* before somebody else takes our place */

/* ---- the snapshot ---------------------------------------------------------------------------- */

static bool may_go_on(const struct job_context *ctx, struct err *err)
{
    return !atomic_load(ctx->stop) || err_set(err, ERR_STOPPED, "the bridge is stopping");
}

static bool rollback(const struct job_context *ctx, struct err *err)
{
    return pg_run(ctx->conn, "ROLLBACK", err);
}

/* Mostly nobody holds it; when somebody does, another worker takes our place meanwhile. */
static bool lock_table(const struct job_context *ctx, const struct table *table, struct err *err)
{
    int timeout_ms = ctx->config->lock_timeout_ms;

    if (reading_begin(ctx->conn, table, timeout_ms < LOCK_FIRST_MS ? timeout_ms : LOCK_FIRST_MS,
                      err))
        return true;
    if (err->code != ERR_BUSY ||
        pool_wait_begin(ctx->worker, table->relid, NULL, err) == WAITING_REFUSED)
        return false;
    bool ok = reading_begin(ctx->conn, table, timeout_ms, err);
    if (!ok && err->code == ERR_BUSY)
        err_wrap(err, "Snapshot timed out while waiting for a table lock");
    pool_wait_end(ctx->worker, table->relid, ok ? NULL : err);
    return ok;
}

/* Until no transaction that the stream gave before `registered` is missing in it. */
static bool take_snapshot(const struct job_context *ctx, const struct table *table,
                          lsn_t registered, struct arena *arena, struct snapshot *snapshot,
                          lsn_t *limit, struct err *err)
{
    for (struct retry retry = retry_begin();;) {
        if (!lock_table(ctx, table, err) ||
            !reading_snapshot(ctx->conn, arena, snapshot, limit, err))
            return false;
        if (!unseen_misses(ctx->config->unseen, snapshot, registered))
            return true;
        if (!rollback(ctx, err) || !may_go_on(ctx, err) ||
            !retry_pause(&retry, RETRY_INVISIBLE, err))
            return false;
    }
}

/* The table within the snapshot. */
static struct table *look_within(const struct job_context *ctx, const struct table *then,
                                 struct err *err)
{
    struct table *now =
        catalog_followed_by_oid(ctx->conn, ctx->config->publication, then->relid, err);

    if (!now && err->code == ERR_NOT_FOUND)
        err_set(err, ERR_CHANGED, "Database table \"%.*s.%.*s\" has been dropped or renamed",
                SLICE_ARG(then->nspname), SLICE_ARG(then->relname));
    return now;
}

/* Whether the table is what the shape was typed against, lies where it lay, and has been published
 * all the time. */
static bool same_table(const struct shape *shape, const struct table *now, struct err *err)
{
    const struct table *then = shape->table;
    const char *why = shape_misfit(shape, now);

    if (!why && !storage_same(then->storage, now->storage))
        why = "the table's rows were moved";
    if (!why && !published_since(then->published, now->published))
        why = "the table was taken out of the publication";
    return !why || err_set(err, ERR_CHANGED, "%s while the shape was made", why);
}

/* ---- the rows -------------------------------------------------------------------------------- */

struct copy {
    struct snapshot_writer *writer;
    const struct shape *shape;
    struct message_format *format;
    struct tuple row; /* in the table's order; columns that are not selected stay null */
    struct arena arena, line_arena;
    struct buf message;
    uint64_t rows;
};

static bool copy_line(struct copy *c, struct slice line, struct err *err)
{
    arena_reset(&c->line_arena);
    if (!copytext_split(line, c->shape->columns, c->shape->ncolumns, &c->line_arena, c->row.values,
                        err))
        return false;
    buf_clear(&c->message);
    message_put_row(c->format, &c->row, &c->message);
    c->rows++;
    return snapshot_writer_put(c->writer, buf_slice(&c->message), err);
}

static bool copy_lines(const struct job_context *ctx, struct copy *c, struct err *err)
{
    const struct pg_watch watch = {ctx->config->first_row_ms, ctx->stop, ctx->stop};
    struct buf sql;
    struct slice line = {NULL, 0};

    buf_init(&sql, BUF_NO_LIMIT);
    shape_put_select(c->shape, &sql);
    bool ok = pg_copy_begin(ctx->conn, buf_cstr(&sql), &watch, err);
    buf_release(&sql);
    while (ok && (ok = pg_copy_line(ctx->conn, &watch, &line, err)) && line.ptr)
        ok = copy_line(c, line, err) && may_go_on(ctx, err);
    pg_copy_end(ctx->conn, &line);
    return ok;
}

static bool copy_rows(const struct job_context *ctx, struct snapshot_writer *writer,
                      const struct shape *shape, struct err *err)
{
    const struct table *table = shape->table;
    struct copy c = {.writer = writer, .shape = shape};

    buf_init(&c.message, BUF_NO_LIMIT);
    c.format = message_format_new(table, shape->columns, shape->ncolumns,
                                  shape->replica == SHAPE_REPLICA_FULL, &c.arena);
    c.row =
        (struct tuple){table->ncols, arena_calloc(&c.arena, table->ncols, sizeof(*c.row.values))};
    for (uint16_t i = 0; i < table->ncols; i++)
        c.row.values[i].kind = VALUE_NULL;
    bool ok = shape->changes_only || copy_lines(ctx, &c, err);
    atomic_fetch_add_explicit(&ctx->stats->rows, c.rows, memory_order_relaxed);
    buf_release(&c.message);
    arena_release(&c.line_arena);
    arena_release(&c.arena);
    return ok;
}

/* Noted before the log ends: whoever waits for it is told. */
static void note_failure(struct log *log, struct err *err)
{
    failure_name(err);
    log_set_failure(log, err);
}

/* ---- logs ------------------------------------------------------------------------------------ */

/* A transaction whose snapshot logs of one table share. */
struct session {
    const struct job_context *ctx;
    struct table *table; /* as it is in the snapshot */
    struct snapshot snapshot;
    lsn_t limit;
    struct arena arena;
    bool failed; /* the transaction cannot go on */
};

/* Takes the reference. */
static void fail_log(const struct job_context *ctx, struct log *log, const struct err *why)
{
    struct err err = *why;

    atomic_fetch_add_explicit(&ctx->stats->failures, 1, memory_order_relaxed);
    log_warn("could not make a shape's snapshot", LOG_UINT("log", log_id(log)), LOG_ERR(&err));
    if (err.code == ERR_CHANGED || err.code == ERR_PG)
        trust_forget(ctx->trust, log_shape(log)->table->relid);
    if (log_state(log) != LOG_ENDED)
        note_failure(log, &err);
    shapelog_end_log(ctx->config->store, log, err.msg);
    log_unref(log);
}

/* All of the rows into the log's file. */
static bool write_rows(struct session *s, struct log *log, struct snapshot_writer *writer,
                       struct err *err)
{
    const struct shape *shape = log_shape(log);

    if (!same_table(shape, s->table, err))
        return false;
    s->failed = !copy_rows(s->ctx, writer, shape, err);
    return !s->failed && snapshot_writer_show(writer, err);
}

/* Takes the reference. */
static void fill(struct session *s, struct log *log)
{
    struct err err;

    log_set_snapshot(log, &s->snapshot, s->limit);
    struct snapshot_writer *writer = snapshot_writer_new(s->ctx->config->store, log, &err);

    if (writer && write_rows(s, log, writer, &err)) {
        finisher_put(s->ctx->finisher, writer, log);
        return;
    }
    if (writer) {
        note_failure(log, &err);
        snapshot_writer_abandon(writer, err.msg);
    }
    fail_log(s->ctx, log, &err);
}

static bool session_begin(struct session *s, const struct table *table, lsn_t registered,
                          struct err *err)
{
    return take_snapshot(s->ctx, table, registered, &s->arena, &s->snapshot, &s->limit, err) &&
           (s->table = look_within(s->ctx, table, err));
}

/* The message into the WAL behind the snapshot's position: without it an idle server takes longer
 * to pass that, no more. */
static void session_end(struct session *s)
{
    const char *end = s->failed ? "ROLLBACK" : "COMMIT";
    struct err err;
    lsn_t fence;

    if (!pg_run(s->ctx->conn, end, &err) || !server_fence(s->ctx->conn, &fence, &err))
        log_debug("no message behind a snapshot", LOG_ERR(&err));
    table_unref(s->table);
    arena_release(&s->arena);
}

/* Fills as many of the worker's logs as may share a snapshot; begins with this one. Their table
 * is that of the first as long as the snapshot is not taken. */
static void fill_together(const struct job_context *ctx, struct log *log, lsn_t registered)
{
    struct session s = {.ctx = ctx};
    const struct shape *shape = log_shape(log);
    uint32_t relid = shape->table->relid;
    struct err err;
    bool ok = session_begin(&s, shape->table, registered, &err);
    int64_t until = clock_ms() + SHARED_MS;

    s.failed = !ok;
    for (; log; log = fills_take(ctx->worker, relid, &registered)) {
        if (ok)
            fill(&s, log);
        else
            fail_log(ctx, log, &err);
        /* What is wrong with the table is so for all; a connection can be made anew. */
        if (ok ? s.failed || clock_ms() > until : !pg_alive(ctx->conn))
            break;
    }
    session_end(&s);
}

static void fail_all(const struct job_context *ctx, struct log *log, const struct err *err)
{
    for (lsn_t registered; log; log = fills_take(ctx->worker, 0, &registered))
        fail_log(ctx, log, err);
}

/* Those that are not yet; between the same two transactions. */
static void register_new(const struct job_context *ctx)
{
    const struct snapshot_config *config = ctx->config;
    struct log *logs[TOGETHER];
    size_t n = fills_to_register(ctx->worker, logs);
    lsn_t registered;
    struct err err;

    if (n == 0)
        return;
    if (config->stream.register_logs(config->stream.owner, logs, n, config->register_timeout_ms,
                                     &registered, &err)) {
        fills_put_back(ctx->worker, logs, n, registered);
        return;
    }
    for (size_t i = 0; i < n; i++)
        fail_log(ctx, logs[i], &err);
}

bool job_may_begin(struct job_context *ctx, struct err *err)
{
    return may_go_on(ctx, err) && worker_connect(ctx->worker, &ctx->conn, err);
}

void job_fill(struct job_context *ctx)
{
    struct log *log;
    lsn_t registered;
    struct err err;

    register_new(ctx);
    while ((log = fills_take(ctx->worker, 0, &registered))) {
        if (job_may_begin(ctx, &err))
            fill_together(ctx, log, registered);
        else
            fail_all(ctx, log, &err);
    }
}
