#include "serve/catalog_check.h"
#include "base/hash.h"
#include "base/logging.h"
#include "pg/catalog.h"
#include "pg/publication.h"

#include <stdio.h>
#include <stdlib.h>

#define SMALL_LOG ((uint64_t)64 * 1024 * 1024) /* never too large */

/* One table as the catalogue has it now. */
struct current {
    struct table *table; /* NULL: dropped */
    bool published;
};

struct check {
    struct pg_conn *conn;
    const struct keeper_config *config;
    bool has_events;
    struct u64map tables; /* relid -> struct current */
};

static struct current *look_up(struct check *c, const struct table *table, struct err *err)
{
    struct current *now = u64map_get(&c->tables, table->relid);

    if (now)
        return now;
    bool filtered = false;

    now = xcalloc(1, sizeof(*now));
    now->table = catalog_table_by_oid(c->conn, table->relid, err);
    if (now->table ? !publication_has(c->conn, c->config->publication, table, &now->published,
                                      &filtered, err)
                   : err->code != ERR_NOT_FOUND) {
        table_unref(now->table);
        free(now);
        return NULL;
    }
    now->published &= !filtered;
    u64map_set(&c->tables, table->relid, now);
    return now;
}

/* The next "relid:filenode" of a storage text. */
static bool next_piece(struct slice *rest, struct slice *piece)
{
    if (rest->len == 0)
        return false;
    const char *end = memchr(rest->ptr, ';', rest->len);
    size_t len = end ? (size_t)(end - rest->ptr) : rest->len;

    *piece = (struct slice){rest->ptr, len};
    len += end != NULL;
    *rest = (struct slice){rest->ptr + len, rest->len - len};
    return true;
}

static uint32_t piece_relid(struct slice piece)
{
    return (uint32_t)strtoul(piece.ptr, NULL, 10);
}

static bool find_piece(struct slice storage, uint32_t relid, struct slice *piece)
{
    while (next_piece(&storage, piece)) {
        if (piece_relid(*piece) == relid)
            return true;
    }
    return false;
}

/* Rows that lay there lie there no more. */
static const char *lost_storage(struct slice before, struct slice now, bool has_events)
{
    struct slice piece, current;

    while (next_piece(&before, &piece)) {
        if (!find_piece(now, piece_relid(piece), &current))
            return "a partition was detached or dropped";
        if (!has_events && !slice_eq(piece, current))
            return "the table was rewritten";
    }
    return NULL;
}

/* Whether a partition was one from its creation on: then all its rows came through the stream. Its
 * row type is as old as itself, its place in the tree as old as its attachment. */
static bool born_attached(struct pg_conn *conn, uint32_t relid, bool *born, struct err *err)
{
    char text[16];
    const char *params[] = {text};

    snprintf(text, sizeof(text), "%u", relid);
    struct pg_result *res =
        pg_query_params(conn,
                        "SELECT coalesce(bool_and(i.xmin = t.xmin), false) FROM pg_class c JOIN "
                        "pg_type t ON t.oid = c.reltype"
                        "  JOIN pg_inherits i ON i.inhrelid = c.oid WHERE c.oid = $1::oid",
                        params, 1, err);
    if (!res)
        return false;
    *born = pg_bool(res, 0, 0);
    pg_result_free(res);
    return true;
}

/* Partitions that are there now and were not: attached ones brought rows along. */
static bool check_new_partitions(struct check *c, const struct table *then, const struct table *now,
                                 const char **reason, struct err *err)
{
    struct slice rest = now->storage, piece, known;

    while (!*reason && next_piece(&rest, &piece)) {
        bool born;

        if (find_piece(then->storage, piece_relid(piece), &known))
            continue;
        if (!born_attached(c->conn, piece_relid(piece), &born, err))
            return false;
        if (!born)
            *reason = "a partition was attached";
    }
    return true;
}

/* A new client would be sent the snapshot and all that followed. When that has become many times
 * what a new snapshot would be, to begin anew costs each client less than it was spared before. */
static const char *overgrown(const struct keeper_config *config, struct log *log)
{
    uint64_t snapshot, changes;

    log_get_size(log, &snapshot, &changes);
    if (!config->log_growth || changes < SMALL_LOG || changes / config->log_growth < snapshot)
        return NULL;
    return "the log had outgrown its snapshot";
}

/* Partitions made since have the default identity: give them the full one. */
static bool ensure_full(struct check *c, const struct table *now, bool *full, struct err *err)
{
    *full = now->replident == REPLIDENT_FULL;
    if (!*full || now->relkind != 'p')
        return true;
    const struct patience patience = {.lock_timeout_ms = c->config->lock_timeout_ms};

    *full = publication_set_full(c->conn, now, &patience, err);
    return *full || err->code != ERR_CONN;
}

/* What the shape took to be part of the replica identity is so no more. */
static bool identity_shrunk(const struct table *then, const struct table *now)
{
    for (uint16_t i = 0; i < now->ncols; i++) {
        if (then->cols[i].in_identity && !now->cols[i].in_identity)
            return true;
    }
    return false;
}

static bool judge(struct check *c, const struct shape *shape, const char **reason, struct err *err)
{
    struct current *now = look_up(c, shape->table, err);
    bool full = true;

    *reason = NULL;
    if (!now)
        return false;
    if (!now->table)
        *reason = "the table was dropped";
    else if (!table_same(now->table, shape->table))
        *reason = "the table's definition has changed";
    else if (!now->published)
        *reason = "the table is not wholly in the publication any more";
    else if (identity_shrunk(shape->table, now->table))
        *reason = "the table's replica identity does not send what the shape needs";
    else
        *reason = lost_storage(shape->table->storage, now->table->storage, c->has_events);
    if (!*reason && !slice_eq(shape->table->storage, now->table->storage) &&
        !check_new_partitions(c, shape->table, now->table, reason, err))
        return false;
    if (!*reason && shape_needs_full(shape) && !ensure_full(c, now->table, &full, err))
        return false;
    if (!full)
        *reason = "the table's replica identity is not FULL any more";
    return true;
}

static void forget(struct check *c, uint32_t relid)
{
    struct current *now = u64map_get(&c->tables, relid);

    if (now) {
        table_unref(now->table);
        free(now);
        u64map_remove(&c->tables, relid);
    }
}

/* What was looked up for the log before may be older than this one: a reason is one only when it is
 * there on a second look. */
static bool judge_twice(struct check *c, const struct shape *shape, const char **reason,
                        struct err *err)
{
    if (!judge(c, shape, reason, err))
        return false;
    if (!*reason)
        return true;
    forget(c, shape->table->relid);
    return judge(c, shape, reason, err);
}

static bool check_log(struct check *c, struct log *log, struct err *err)
{
    struct shape *shape = log_shape(log);
    const char *reason;

    /* While it is being made its worker looks after it. */
    if (log_state(log) != LOG_LIVE)
        return true;
    if (!judge_twice(c, shape, &reason, err))
        return false;
    if (reason)
        snapshot_pool_distrust(c->config->pool, shape->table->relid);
    else
        reason = overgrown(c->config, log);
    if (reason) {
        log_info("a shape must be fetched again", LOG_UINT("log", log_id(log)),
                 LOG_STR("reason", reason));
        shapelog_end_log(c->config->store, log, reason);
        fanout_forget_partitions(c->config->fanout);
    }
    return true;
}

bool catalog_check(struct pg_conn *conn, const struct keeper_config *config, bool has_events,
                   struct err *err)
{
    struct check c = {.conn = conn, .config = config, .has_events = has_events};
    struct u64map_slot *slot;
    bool ok = true;

    for (uint64_t at = 0; ok;) {
        struct log *log = shapelog_next(config->store, &at);

        if (!log)
            break;
        ok = check_log(&c, log, err);
        log_unref(log);
    }
    for (size_t at = 0; (slot = u64map_next(&c.tables, &at));) {
        table_unref(((struct current *)slot->value)->table);
        free(slot->value);
    }
    u64map_release(&c.tables);
    return ok;
}
