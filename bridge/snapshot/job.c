#include "snapshot/job.h"
#include "base/clock.h"
#include "base/logging.h"
#include "change/message.h"
#include "pg/catalog.h"
#include "pg/copytext.h"
#include "pg/publication.h"
#include "pg/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SNAPSHOT_RETRY_FIRST_MS 2
#define SNAPSHOT_RETRY_MOST_MS 200
#define SNAPSHOT_GIVE_UP_MS 60000

/* ---- what was asked for ---------------------------------------------------------------------- */

static bool refuse(struct shape_answer *answer, const char *field)
{
    answer->field = field;
    return false;
}

static struct table *look_up(const struct job_context *ctx, const struct shape_request *request,
                             struct shape_answer *answer)
{
    struct arena arena = {0};
    struct slice nspname, relname;
    struct table *table = NULL;

    if (!shape_table_name(request->table, &arena, &nspname, &relname, &answer->err)) {
        refuse(answer, "table");
    } else {
        table = tables_share(ctx->tables, catalog_table(ctx->conn, nspname, relname, &answer->err));
        if (!table && answer->err.code == ERR_NOT_FOUND)
            refuse(answer, "table");
    }
    arena_release(&arena);
    return table;
}

static bool has_room(const struct job_context *ctx, struct shape *shape, struct err *err)
{
    struct shapelog_stats stats;

    if (!ctx->config->max_logs)
        return true;
    struct log *there = shapelog_find_identity(ctx->config->store, shape->identity);
    if (there) {
        log_unref(there);
        return true;
    }
    shapelog_get_stats(ctx->config->store, &stats);
    if (stats.logs < ctx->config->max_logs)
        return true;
    err_set(err, ERR_LIMIT, "there are %llu shapes already", (unsigned long long)stats.logs);
    return err_hint(err, "raise TOMBOLO_MAX_SHAPES");
}

/* The log of this shape, made if need be. One that follows another version of the table ends. */
static struct log *find_or_make(const struct job_context *ctx, struct shape *shape, bool *made,
                                struct err *err)
{
    while (has_room(ctx, shape, err)) {
        struct log *log = shapelog_create(ctx->config->store, shape, made, err);
        struct shape *there = log ? log_shape(log) : NULL;

        if (!log || *made || (there && table_same(there->table, shape->table)))
            return log;
        if (!there) {
            log_unref(log);
            err_set(err, ERR_BUSY, "the bridge is starting");
            return NULL;
        }
        shapelog_end_log(ctx->config->store, log, "the table's definition has changed");
        log_unref(log);
    }
    return NULL;
}

static struct shape *type_shape(const struct job_context *ctx, const struct shape_request *request,
                                struct shape_answer *answer)
{
    struct table *table = look_up(ctx, request, answer);

    if (!table)
        return NULL;
    struct shape *shape = shape_new(request, table, &answer->field, &answer->err);
    table_unref(table);
    if (shape)
        answer->field = NULL;
    return shape;
}

bool job_resolve(const struct job_context *ctx, const struct shape_request *request,
                 struct shape_answer *answer, bool *made)
{
    struct shape *shape = type_shape(ctx, request, answer);

    *made = false;
    if (!shape)
        return false;
    answer->log = find_or_make(ctx, shape, made, &answer->err);
    shape_unref(shape);
    return answer->log != NULL;
}

bool job_find(const struct job_context *ctx, const struct shape_request *request,
              struct shape_answer *answer)
{
    struct shape *shape = type_shape(ctx, request, answer);

    if (!shape)
        return false;
    answer->log = shapelog_find_identity(ctx->config->store, shape->identity);
    shape_unref(shape);
    return answer->log || err_set(&answer->err, ERR_NOT_FOUND, "there is no such shape");
}

/* ---- the table joins the stream -------------------------------------------------------------- */

static bool refuse_filtered(const struct job_context *ctx, const struct table *table,
                            struct err *err)
{
    err_set(err, ERR_CONFIG,
            "publication \"%s\" has a row filter or a column list for table \"%.*s\".\"%.*s\"",
            ctx->config->publication, SLICE_ARG(table->nspname), SLICE_ARG(table->relname));
    return err_hint(err, "take the table out of the publication: the bridge adds it whole");
}

static bool ensure_published(const struct job_context *ctx, const struct table *table, bool full,
                             struct err *err)
{
    const struct snapshot_config *config = ctx->config;
    const struct patience patience = {config->lock_timeout_ms, ctx->stop};
    enum trust_level wanted = full ? TRUST_FULL : TRUST_PUBLISHED;
    bool has, filtered;

    if (trust_get(ctx->trust, table->relid) >= wanted)
        return true;
    if (!publication_has(ctx->conn, config->publication, table, &has, &filtered, err))
        return false;
    if (filtered)
        return refuse_filtered(ctx, table, err);
    /* The identity first: Postgres refuses updates and deletes of a published table that has none,
     * and the lock for setting it may be long in coming. */
    if (full && !publication_set_full(ctx->conn, table, &patience, err))
        return false;
    if (!has && !publication_add(ctx->conn, config->publication, table, &patience, err))
        return false;
    /* Also where the table was published before: somebody may just have done that. */
    if (!publication_wait_writers(ctx->conn, table, &patience, err))
        return false;
    if (!has)
        log_info("table joined the publication", LOG_STR("publication", config->publication),
                 LOG_UINT("relid", table->relid), LOG_STR("full", full ? "yes" : "no"));
    trust_set(ctx->trust, table->relid, wanted);
    return true;
}

/* ---- the snapshot ---------------------------------------------------------------------------- */

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static bool rollback(const struct job_context *ctx, struct err *err)
{
    return pg_run(ctx->conn, "ROLLBACK", err);
}

/* Locks the table against changes of its definition before the snapshot is taken, then takes it. */
static bool begin_snapshot(const struct job_context *ctx, const struct table *table,
                           struct arena *arena, struct snapshot *snapshot, lsn_t *limit,
                           struct err *err)
{
    struct buf name;

    buf_init(&name, BUF_NO_LIMIT);
    table_put_quoted(table, &name);
    bool ok = pg_runf(ctx->conn, err,
                      "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;"
                      "SET LOCAL lock_timeout = %d; LOCK TABLE %s IN ACCESS SHARE MODE",
                      ctx->config->lock_timeout_ms, buf_cstr(&name));
    buf_release(&name);
    if (!ok) {
        struct err ignored;

        return rollback(ctx, &ignored) && publication_lock_failed(ctx->conn, table, err);
    }
    /* The first query takes the snapshot; the position is read after it. */
    struct pg_result *res =
        pg_query(ctx->conn, "SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()", err);
    if (!res)
        return false;
    ok = snapshot_parse(pg_value(res, 0, 0), arena, snapshot, err) &&
         (lsn_parse(pg_value(res, 0, 1), limit) ||
          err_set(err, ERR_PROTOCOL, "malformed WAL position"));
    pg_result_free(res);
    return ok;
}

/* Until no transaction that the stream gave before `registered` is missing in it. */
static bool take_snapshot(const struct job_context *ctx, const struct table *table,
                          lsn_t registered, struct arena *arena, struct snapshot *snapshot,
                          lsn_t *limit, struct err *err)
{
    int64_t give_up = clock_ms() + SNAPSHOT_GIVE_UP_MS;

    for (long pause = SNAPSHOT_RETRY_FIRST_MS;;
         pause = pause < SNAPSHOT_RETRY_MOST_MS ? pause * 2 : pause) {
        if (!begin_snapshot(ctx, table, arena, snapshot, limit, err))
            return false;
        if (!unseen_misses(ctx->config->unseen, snapshot, registered))
            return true;
        if (!rollback(ctx, err))
            return false;
        if (atomic_load(ctx->stop))
            return err_set(err, ERR_STOPPED, "the bridge is stopping");
        if (clock_ms() > give_up)
            return err_set(
                err, ERR_TIMEOUT,
                "a committed transaction stays invisible; is a synchronous standby away?");
        sleep_ms(pause);
    }
}

static bool same_table(const struct job_context *ctx, const struct table *table, struct err *err)
{
    struct table *now = catalog_table_by_oid(ctx->conn, table->relid, err);

    if (!now)
        return false;
    bool same = table_same(now, table) && slice_eq(now->storage, table->storage);
    table_unref(now);
    return same || err_set(err, ERR_CHANGED, "the table's definition has changed");
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
    struct buf sql;
    struct slice line = {NULL, 0};

    buf_init(&sql, BUF_NO_LIMIT);
    shape_put_select(c->shape, &sql);
    bool ok = pg_copy_begin(ctx->conn, buf_cstr(&sql), ctx->config->first_row_ms, err);
    buf_release(&sql);
    while (ok && (ok = pg_copy_line(ctx->conn, &line, err)) && line.ptr) {
        ok = copy_line(c, line, err);
        if (ok && atomic_load_explicit(ctx->stop, memory_order_relaxed))
            ok = err_set(err, ERR_STOPPED, "the bridge is stopping");
    }
    pg_copy_drop(&line);
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

/* In the snapshot's transaction: all of the rows into the log's file. */
static bool write_rows(const struct job_context *ctx, struct log *log, const struct shape *shape,
                       struct err *err)
{
    struct snapshot_writer *writer = snapshot_writer_new(ctx->config->store, log, err);

    if (!writer)
        return false;
    if (!same_table(ctx, shape->table, err) || !copy_rows(ctx, writer, shape, err) ||
        !pg_run(ctx->conn, "COMMIT", err)) {
        snapshot_writer_abandon(writer, err->msg);
        return false;
    }
    return snapshot_writer_finish(writer, err);
}

static bool fill(const struct job_context *ctx, struct log *log, struct arena *arena,
                 struct err *err)
{
    struct shape *shape = log_shape(log);
    const struct snapshot_config *config = ctx->config;
    struct snapshot snapshot;
    lsn_t registered, limit, fence;

    return ensure_published(ctx, shape->table, shape_needs_full(shape), err) &&
           config->stream.register_log(config->stream.owner, log, config->register_timeout_ms,
                                       &registered, err) &&
           take_snapshot(ctx, shape->table, registered, arena, &snapshot, &limit, err) &&
           (log_set_snapshot(log, &snapshot, limit), true) && write_rows(ctx, log, shape, err) &&
           server_fence(ctx->conn, &fence, err);
}

void job_fill(const struct job_context *ctx, struct log *log)
{
    struct arena arena = {0};
    struct err err;

    if (fill(ctx, log, &arena, &err)) {
        atomic_fetch_add_explicit(&ctx->stats->snapshots, 1, memory_order_relaxed);
        log_debug("snapshot complete", LOG_UINT("log", log_id(log)));
    } else {
        struct err ignored;

        atomic_fetch_add_explicit(&ctx->stats->failures, 1, memory_order_relaxed);
        log_warn("could not make a shape's snapshot", LOG_UINT("log", log_id(log)), LOG_ERR(&err));
        if (err.code == ERR_CHANGED || err.code == ERR_PG)
            trust_set(ctx->trust, log_shape(log)->table->relid, TRUST_NONE);
        shapelog_end_log(ctx->config->store, log, err.msg);
        if (!rollback(ctx, &ignored))
            log_debug("no rollback", LOG_ERR(&ignored));
    }
    arena_release(&arena);
}
