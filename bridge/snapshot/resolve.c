/*
 * From a request to a log: the table is looked up, the shape typed, its log found; or, when there
 * is none, the table is brought into the stream and a log made.
 */
#include "snapshot/job.h"
#include "base/clock.h"
#include "change/standing.h"
#include "pg/catalog.h"
#include "pg/publication.h"
#include "snapshot/waiting.h"

#define JOIN_TRIES 5

/* ---- what was asked for ---------------------------------------------------------------------- */

static bool refuse(struct shape_answer *answer, const char *field)
{
    answer->field = field;
    return false;
}

/* Once for all that were taken together. */
static struct table *look_up(const struct job_context *ctx, const struct shape_request *request,
                             struct shape_answer *answer)
{
    struct arena arena = {0};
    struct slice nspname, relname;
    struct table *table = *ctx->looked;

    if (table)
        return table_ref(table);
    if (!shape_table_name(request->table, &arena, &nspname, &relname, &answer->err)) {
        refuse(answer, "table");
    } else {
        table = tables_share(ctx->tables, catalog_followed(ctx->conn, ctx->config->publication,
                                                           nspname, relname, &answer->err));
        if (!table && answer->err.code == ERR_NOT_FOUND)
            refuse(answer, "table");
    }
    arena_release(&arena);
    if (table)
        *ctx->looked = table_ref(table);
    return table;
}

static void forget_look(const struct job_context *ctx)
{
    table_unref(*ctx->looked);
    *ctx->looked = NULL;
}

static bool has_room(const struct job_context *ctx, struct shape *shape, struct err *err)
{
    if (!ctx->config->max_logs)
        return true;
    struct log *there = shapelog_find_shape(ctx->config->store, shape);
    if (there) {
        log_unref(there);
        return true;
    }
    size_t n = shapelog_count(ctx->config->store);
    if (n < ctx->config->max_logs)
        return true;
    err_set(err, ERR_LIMIT, "there are %zu shapes already", n);
    return err_hint(err, "raise TOMBOLO_MAX_SHAPES");
}

/* The log of this shape, made if need be. One whose shape does not fit the table any more ends. */
static struct log *find_or_make(const struct job_context *ctx, struct shape *shape, bool *made,
                                struct err *err)
{
    while (has_room(ctx, shape, err)) {
        struct log *log = shapelog_create(ctx->config->store, shape, made, err);
        struct shape *there = log ? log_shape(log) : NULL;

        if (!log || *made || (there && !shape_misfit(there, shape->table)))
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

/* ---- the table joins the stream -------------------------------------------------------------- */

enum join { JOINED, JOIN_AGAIN, JOIN_PARKED, JOIN_REFUSED };

/* One step towards the table being followed. AGAIN: it was altered, and is to be looked up once
 * more. How it stands must be known before its writers are waited for: if it is so in the snapshot
 * as well, nobody has written past the stream since. */
static enum join join_stream(const struct job_context *ctx, const struct table *table, bool full,
                             bool *altered, struct err *err)
{
    const struct snapshot_config *config = ctx->config;

    if (!*altered && trust_has(ctx->trust, table, full))
        return JOINED;
    if (!publication_may_join(ctx->conn, config->publication, table, full,
                              config->manual_publishing, err))
        return JOIN_REFUSED;
    switch (pool_wait_begin(ctx->worker, table->relid, ctx->request, err)) {
    case WAITING:
        break;
    case WAITING_PARKED:
        return JOIN_PARKED;
    case WAITING_REFUSED:
        return JOIN_REFUSED;
    }
    const struct patience patience = {clock_ms() + config->lock_timeout_ms, ctx->stop};
    bool is_lacking =
        table_publication(table) != TABLE_PUBLISHED || (full && !table_is_full(table));
    /* Its writers are waited for also where it was published before: somebody may just have done
     * that. */
    bool ok = is_lacking
                  ? publication_join(ctx->conn, config->publication, table, full, &patience, err)
                  : publication_wait_writers(ctx->conn, table, &patience, err);

    if (ok && !is_lacking)
        trust_set(ctx->trust, table, full);
    pool_wait_end(ctx->worker, table->relid, ok ? NULL : err);
    *altered |= is_lacking;
    return !ok ? JOIN_REFUSED : is_lacking ? JOIN_AGAIN : JOINED;
}

/* The shape's log, referenced, if there is one that fits the table. */
static struct log *fitting_log(const struct job_context *ctx, const struct shape *shape)
{
    struct log *log = shapelog_find_shape(ctx->config->store, shape);
    struct shape *there = log ? log_shape(log) : NULL;

    if (there && !shape_misfit(there, shape->table))
        return log;
    if (log)
        log_unref(log);
    return NULL;
}

/* A log that is there already waits for nobody. */
static bool is_there(const struct job_context *ctx, const struct shape *shape)
{
    struct log *log = fitting_log(ctx, shape);

    if (log)
        log_unref(log);
    return log != NULL;
}

/* The shape, typed against its table, which has joined the stream; NULL otherwise. */
static struct shape *joined_shape(const struct job_context *ctx,
                                  const struct shape_request *request, struct shape_answer *answer,
                                  enum join *join)
{
    bool altered = false;

    *join = JOIN_REFUSED;
    for (int tries = 0; tries < JOIN_TRIES; tries++) {
        struct shape *shape = type_shape(ctx, request, answer);

        if (!shape)
            return NULL;
        bool full = shape->needs_full || table_wants_full(shape->table);

        *join = is_there(ctx, shape) ? JOINED
                                     : join_stream(ctx, shape->table, full, &altered, &answer->err);
        if (*join == JOINED)
            return shape;
        shape_unref(shape);
        if (*join != JOIN_AGAIN)
            return NULL;
        forget_look(ctx);
    }
    err_set(&answer->err, ERR_BUSY, "somebody keeps changing how the table is published");
    return NULL;
}

/* ---- what is answered ------------------------------------------------------------------------ */

enum job_outcome job_resolve(const struct job_context *ctx, const struct shape_request *request,
                             struct shape_answer *answer)
{
    bool made = false;
    enum join join;
    struct shape *shape = joined_shape(ctx, request, answer, &join);

    if (!shape)
        return join == JOIN_PARKED ? JOB_PARKED : JOB_REFUSED;
    answer->log = find_or_make(ctx, shape, &made, &answer->err);
    shape_unref(shape);
    return !answer->log ? JOB_REFUSED : made ? JOB_MADE : JOB_FOUND;
}

enum job_outcome job_look(const struct job_context *ctx, const struct shape_request *request,
                          struct shape_answer *answer)
{
    struct shape *shape = type_shape(ctx, request, answer);

    if (!shape)
        return JOB_REFUSED;
    answer->log = fitting_log(ctx, shape);
    shape_unref(shape);
    return answer->log ? JOB_FOUND : JOB_ABSENT;
}

enum job_outcome job_find(const struct job_context *ctx, const struct shape_request *request,
                          struct shape_answer *answer)
{
    struct shape *shape = type_shape(ctx, request, answer);

    if (!shape)
        return JOB_REFUSED;
    answer->log = shapelog_find_shape(ctx->config->store, shape);
    shape_unref(shape);
    if (answer->log)
        return JOB_FOUND;
    err_set(&answer->err, ERR_NOT_FOUND, "there is no such shape");
    return JOB_REFUSED;
}
