#include "serve/catalog_check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/logging.h"
#include "change/standing.h"
#include "pg/catalog.h"
#include "pg/publication.h"

#include <stdio.h>
#include <stdlib.h>

#define SMALL_LOG ((uint64_t)64 * 1024 * 1024) /* never too large */
#define SMALL_FEED ((uint64_t)1024 * 1024) /* of the bridge's own tables: each stream reads it */

struct logs {
    struct log **items;
    size_t len, cap;
};

/* One table as the catalogue has it now. */
struct current {
    struct table *table; /* NULL: dropped */
    bool full_known, full;
    struct u64map born;  /* partition -> whether it was one from its creation on */
    struct logs renewed; /* live logs, borrowed, that knew an older version, and fit this one */
};

struct check {
    struct pg_conn *conn;
    const struct keeper_config *config;
    bool has_events;
    struct logs logs;     /* referenced */
    struct u64map tables; /* relid -> struct current */
};

static void logs_push(struct logs *logs, struct log *log)
{
    if (logs->len == logs->cap) {
        logs->cap = logs->cap ? logs->cap * 2 : 64;
        logs->items = xrealloc(logs->items, logs->cap * sizeof(*logs->items));
    }
    logs->items[logs->len++] = log;
}

static void current_free(struct current *now)
{
    table_unref(now->table);
    u64map_release(&now->born);
    free(now->renewed.items);
    free(now);
}

static struct current *look_up(struct check *c, uint32_t relid, struct err *err)
{
    struct current *now = u64map_get(&c->tables, relid);
    struct table *table;

    if (now)
        return now;
    table = catalog_followed_by_oid(c->conn, c->config->publication, relid, err);
    if (!table && err->code != ERR_NOT_FOUND)
        return NULL;
    now = xcalloc(1, sizeof(*now));
    now->table = snapshot_pool_share(c->config->pool, table);
    u64map_set(&c->tables, relid, now);
    return now;
}

/* ---- partitions and rewrites ----------------------------------------------------------------- */

/* Rows that lay there lie there no more. Where other columns were altered, those that the shape
 * uses have their values still; a rewrite for another reason may have been anything, unless the
 * stream would have told of it. */
static const char *lost_storage(const struct check *c, const struct shape *shape,
                                const struct table *then, const struct table *now)
{
    struct slice rest = then->storage;
    struct table_leaf before, after;
    bool rewritten = false;

    while (storage_next(&rest, &before)) {
        if (!storage_find(now->storage, before.relid, &after))
            return "a partition was detached or dropped";
        if (!slice_eq(before.links, after.links))
            return "a partition was detached for a while";
        rewritten |= !slice_eq(before.filenode, after.filenode);
    }
    if (!rewritten)
        return NULL;
    if (shape_column_altered(shape, then, now))
        return "the table was rewritten";
    return c->has_events || table_columns_altered(then, now) ? NULL : "the table was rewritten";
}

/* Whether a partition was one from its creation on: then all its rows came through the stream. It
 * is as old as the rows of its system columns in the catalogue, which nothing alters, its place in
 * the tree as old as its attachment. CREATE TABLE .. PARTITION OF makes the second two or three
 * commands after the first; a table that the same transaction has filled before it attached it is
 * some more behind. */
static bool born_attached(struct pg_conn *conn, uint32_t relid, bool *born, struct err *err)
{
    char text[16];
    const char *params[] = {text};

    snprintf(text, sizeof(text), "%u", relid);
    struct pg_result *res = pg_query_params(
        conn,
        "SELECT coalesce(bool_and(i.xmin = a.xmin AND i.cmin::text::bigint - a.cmin::text::bigint "
        "<= 3), false)"
        "  FROM pg_attribute a JOIN pg_inherits i ON i.inhrelid = a.attrelid"
        " WHERE a.attrelid = $1::oid AND a.attnum = -1",
        params, 1, err);
    if (!res)
        return false;
    *born = pg_bool(res, 0, 0);
    pg_result_free(res);
    return true;
}

/* As above, asked once a check. */
static bool is_born(struct check *c, struct current *now, uint32_t relid, bool *born,
                    struct err *err)
{
    static char yes, no;
    const char *known = u64map_get(&now->born, relid);

    *born = known == &yes;
    if (known)
        return true;
    if (!born_attached(c->conn, relid, born, err))
        return false;
    u64map_set(&now->born, relid, *born ? &yes : &no);
    return true;
}

/* Partitions that are there now and were not: attached ones brought rows along. */
static bool check_new_partitions(struct check *c, const struct table *then, struct current *now,
                                 const char **reason, struct err *err)
{
    struct slice rest = now->table->storage;
    struct table_leaf leaf, known;

    while (!*reason && storage_next(&rest, &leaf)) {
        bool born;

        if (storage_find(then->storage, leaf.relid, &known))
            continue;
        if (!is_born(c, now, leaf.relid, &born, err))
            return false;
        if (!born)
            *reason = "a partition was attached";
    }
    return true;
}

/* ---- publication and identity ---------------------------------------------------------------- */

static const char *unpublished(const struct table *then, const struct table *now)
{
    switch (table_publication(now)) {
    case TABLE_UNPUBLISHED:
    case TABLE_FILTERED:
        return "the table is not wholly in the publication any more";
    case TABLE_PUBLISHED:
        break;
    }
    return published_since(then->published, now->published)
               ? NULL
               : "the publication was altered, or was without the table for a while";
}

/* Partitions made since have the default identity: give them the full one, unless somebody else
 * does so. Once a check, whatever comes of it. */
static bool ensure_full(struct check *c, struct current *now, bool *full, struct err *err)
{
    const struct patience patience = {.until = clock_ms() + c->config->lock_timeout_ms};

    if (!now->full_known)
        now->full = table_is_full(now->table);
    if (!now->full_known && !now->full && !c->config->manual_publishing &&
        now->table->replident == REPLIDENT_FULL) {
        now->full = publication_set_full(c->conn, now->table, &patience, err);
        if (!now->full && err->code == ERR_CONN)
            return false;
        if (!now->full)
            log_warn("could not set a new partition's replica identity", LOG_ERR(err));
    }
    now->full_known = true;
    *full = now->full;
    return true;
}

/* What the shape needs old values of, and took to be part of the replica identity, is so no more.
 */
static bool identity_shrunk(const struct shape *shape, const struct table *now)
{
    const struct table *then = shape->table;

    for (uint16_t i = 0; i < then->ncols; i++) {
        bool relied = then->cols[i].in_identity && shape_needs_old(shape, i);
        int at = relied ? table_attnum_index(now, then->cols[i].attnum) : -1;

        if (at >= 0 && !now->cols[at].in_identity)
            return true;
    }
    return false;
}

/* ---- logs ------------------------------------------------------------------------------------ */

/* A new client would be sent the snapshot and all that followed. When that has become many times
 * what a new snapshot would be, to begin anew costs each client less than it was spared before. */
static const char *overgrown(const struct keeper_config *config, struct log *log)
{
    bool is_feed = slice_is(log_shape(log)->table->nspname, "tombolo");
    uint64_t snapshot, changes;

    log_get_size(log, &snapshot, &changes);
    if (!config->log_growth || changes < (is_feed ? SMALL_FEED : SMALL_LOG) ||
        changes / config->log_growth < snapshot)
        return NULL;
    return "the log had outgrown its snapshot";
}

/* Against a table that is not what the log knew. */
static bool judge_change(struct check *c, const struct shape *shape, const struct table *then,
                         struct current *now, const char **reason, struct err *err)
{
    *reason = shape_misfit(shape, now->table);
    if (!*reason)
        *reason = unpublished(then, now->table);
    if (!*reason && identity_shrunk(shape, now->table))
        *reason = "the table's replica identity does not send what the shape needs";
    if (!*reason)
        *reason = lost_storage(c, shape, then, now->table);
    return *reason || check_new_partitions(c, then, now, reason, err);
}

static bool judge(struct check *c, const struct shape *shape, const struct table *then,
                  struct current *now, const char **reason, struct err *err)
{
    bool full = true;

    *reason = NULL;
    if (!now->table) {
        *reason = "the table was dropped";
        return true;
    }
    if (then != now->table && !judge_change(c, shape, then, now, reason, err))
        return false;
    bool wanted = shape->needs_full || table_wants_full(shape->table);
    if (!*reason && wanted && !ensure_full(c, now, &full, err))
        return false;
    if (!full)
        *reason = "the table's replica identity is not FULL any more";
    return true;
}

static void end_log(struct check *c, struct log *log, const char *reason)
{
    log_info("a shape must be fetched again", LOG_UINT("log", log_id(log)),
             LOG_STR("reason", reason));
    /* First: who asks again shall not find partitions where they were. */
    fanout_forget_partitions(c->config->fanout);
    shapelog_end_log(c->config->store, log, reason);
}

static bool check_log(struct check *c, struct log *log, struct err *err)
{
    /* While it is being made its worker looks after it. */
    if (log_state(log) != LOG_LIVE)
        return true;
    const struct shape *shape = log_shape(log);
    struct current *now = look_up(c, shape->table->relid, err);
    const char *reason;

    if (!now)
        return false;
    struct table *then = log_table(log);
    bool ok = judge(c, shape, then, now, &reason, err), renewed = then != now->table;

    table_unref(then);
    if (!ok)
        return false;
    if (reason)
        snapshot_pool_distrust(c->config->pool, shape->table->relid);
    else
        reason = overgrown(c->config, log);
    if (reason)
        end_log(c, log, reason);
    else if (renewed)
        logs_push(&now->renewed, log);
    return true;
}

/* All that were there before the first look: what is found is younger than what any of them knew.
 */
static void collect_logs(struct check *c)
{
    struct log *log;

    for (uint64_t at = 0; (log = shapelog_next(c->config->store, &at));)
        logs_push(&c->logs, log);
}

/* They have been compared with the new versions: from those on the next check goes. */
static bool renew_logs(struct check *c, struct err *err)
{
    struct u64map_slot *slot;
    bool ok = true;

    for (size_t at = 0; ok && (slot = u64map_next(&c->tables, &at));) {
        struct current *now = slot->value;

        ok = now->renewed.len == 0 || shapelog_set_table(c->config->store, now->renewed.items,
                                                         now->renewed.len, now->table, err);
    }
    return ok;
}

static void release(struct check *c)
{
    struct u64map_slot *slot;

    for (size_t at = 0; (slot = u64map_next(&c->tables, &at));)
        current_free(slot->value);
    u64map_release(&c->tables);
    for (size_t i = 0; i < c->logs.len; i++)
        log_unref(c->logs.items[i]);
    free(c->logs.items);
}

bool catalog_check(struct pg_conn *conn, const struct keeper_config *config, bool has_events,
                   struct err *err)
{
    struct check c = {.conn = conn, .config = config, .has_events = has_events};
    bool ok = true;

    collect_logs(&c);
    for (size_t i = 0; ok && i < c.logs.len; i++)
        ok = check_log(&c, c.logs.items[i], err);
    ok = renew_logs(&c, err) && ok;
    if (ok)
        snapshot_pool_trust_only(config->pool, &c.tables);
    release(&c);
    return ok;
}
