#include "pg/publication.h"
#include "base/clock.h"
#include "pg/catalog.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PG18 180000
#define LOCK_TRIES 3

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static bool check_publication(const struct pg_result *res, const char *name, struct err *err)
{
    if (!pg_bool(res, 0, 0)) {
        err_set(err, ERR_CONFIG,
                "publication \"%s\" does not publish all of insert, update, delete and truncate",
                name);
        return err_hint(
            err, "ALTER PUBLICATION %s SET (publish = 'insert, update, delete, truncate')", name);
    }
    if (pg_bool(res, 0, 1)) {
        err_set(err, ERR_CONFIG, "publication \"%s\" publishes partitions by way of their root",
                name);
        return err_hint(err, "ALTER PUBLICATION %s SET (publish_via_partition_root = false)", name);
    }
    return true;
}

bool publication_ensure(struct pg_conn *conn, const char *name, bool *created, struct err *err)
{
    const char *params[] = {name};
    struct pg_result *res =
        pg_query_params(conn,
                        "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot"
                        "  FROM pg_publication WHERE pubname = $1",
                        params, 1, err);

    *created = false;
    if (!res)
        return false;
    bool exists = pg_rows(res) == 1;
    bool ok = !exists || check_publication(res, name, err);
    pg_result_free(res);
    if (exists || !ok)
        return ok;
    *created = true;
    if (!pg_runf(conn, err, "CREATE PUBLICATION \"%s\"%s", name,
                 pg_server_version(conn) >= PG18 ? " WITH (publish_generated_columns = stored)"
                                                 : "")) {
        err_wrap(err, "could not create publication \"%s\"", name);
        return err->hint[0]
                   ? false
                   : err_hint(err, "the user needs CREATE on the database: GRANT CREATE ON "
                                   "DATABASE ... TO ...");
    }
    return true;
}

bool publication_exists(struct pg_conn *conn, const char *name, bool *exists, struct err *err)
{
    const char *params[] = {name};
    struct pg_result *res = pg_query_params(
        conn, "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)", params, 1, err);

    if (!res)
        return false;
    *exists = pg_bool(res, 0, 0);
    pg_result_free(res);
    return true;
}

/* The publication's entries for the table or a table above it. */
#define ENTRIES_SQL                                                                                \
    "FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid IN"                           \
    "  (SELECT $2::oid UNION ALL SELECT relid FROM pg_partition_ancestors($2::oid::regclass))"
#define IN_SCHEMA_SQL                                                                              \
    "OR EXISTS (SELECT FROM pg_publication_namespace n"                                            \
    "             JOIN pg_class c ON c.relnamespace = n.pnnspid"                                   \
    "            WHERE n.pnpubid = p.oid AND c.oid = $2::oid)"
#define PUBLISHED_SQL(in_schema, filtered)                                                         \
    "SELECT p.puballtables OR EXISTS (SELECT " ENTRIES_SQL ") " in_schema ", " filtered            \
    "  FROM pg_publication p WHERE p.pubname = $1"

bool publication_has(struct pg_conn *conn, const char *name, const struct table *table, bool *has,
                     bool *filtered, struct err *err)
{
    /* Schemas, row filters and column lists came with Postgres 15. */
    const char *sql =
        pg_server_version(conn) >= 150000
            ? PUBLISHED_SQL(IN_SCHEMA_SQL, "EXISTS (SELECT " ENTRIES_SQL
                                           " AND (r.prqual IS NOT NULL OR r.prattrs IS NOT NULL))")
            : PUBLISHED_SQL("", "false");
    char relid[16];
    const char *params[] = {name, relid};

    snprintf(relid, sizeof(relid), "%u", table->relid);
    struct pg_result *res = pg_query_params(conn, sql, params, 2, err);
    if (!res)
        return false;
    *has = pg_rows(res) > 0 && pg_bool(res, 0, 0);
    *filtered = pg_rows(res) > 0 && pg_bool(res, 0, 1);
    pg_result_free(res);
    return true;
}

static char *quoted(const struct table *table)
{
    struct buf b;

    buf_init(&b, BUF_NO_LIMIT);
    table_put_quoted(table, &b);
    buf_cstr(&b);
    return b.ptr;
}

/* Who holds the table, or stands in the queue for it before us. */
#define HOLDER_SQL                                                                                 \
    "SELECT pid FROM pg_locks WHERE locktype = 'relation' AND relation = $1::oid"                  \
    "   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"           \
    "   AND pid <> pg_backend_pid()"                                                               \
    " ORDER BY granted DESC, mode = 'AccessExclusiveLock' DESC LIMIT 1"

bool publication_lock_failed(struct pg_conn *conn, const struct table *table, struct err *err)
{
    char relid[16];
    const char *params[] = {relid};
    struct err ignored;

    if (strcmp(err->sqlstate, "55P03") != 0)
        return false;
    err->code = ERR_BUSY;
    snprintf(relid, sizeof(relid), "%u", table->relid);
    struct pg_result *res = pg_query_params(conn, HOLDER_SQL, params, 1, &ignored);
    if (res && pg_rows(res) == 1) {
        err_set(err, ERR_BUSY,
                "table \"%.*s\".\"%.*s\" is locked by another transaction (process %d)",
                SLICE_ARG(table->nspname), SLICE_ARG(table->relname), (int)pg_int(res, 0, 0));
        err_hint(err, "it must end before the table can be followed; see pg_stat_activity");
    }
    if (res)
        pg_result_free(res);
    return false;
}

/* `before table after`, which wants a lock on the table, in a transaction of its own. */
static bool run_locking(struct pg_conn *conn, const struct table *table,
                        const struct patience *patience, const char *before, const char *after,
                        struct err *err)
{
    char *tablename = quoted(table);
    bool ok = pg_runf(conn, err, "BEGIN; SET LOCAL lock_timeout = %d; %s %s%s; COMMIT",
                      patience->lock_timeout_ms, before, tablename, after);
    struct err ignored;

    free(tablename);
    return ok || (pg_run(conn, "ROLLBACK", &ignored) && publication_lock_failed(conn, table, err));
}

static bool is_stopping(const struct patience *patience)
{
    return patience->stop && atomic_load(patience->stop);
}

bool publication_add(struct pg_conn *conn, const char *name, const struct table *table,
                     const struct patience *patience, struct err *err)
{
    char *tablename = quoted(table);
    char before[128];

    snprintf(before, sizeof(before), "ALTER PUBLICATION \"%s\" ADD TABLE", name);
    bool ok = run_locking(conn, table, patience, before, "", err);

    /* duplicate_object: a second bridge or an operator was faster. */
    if (!ok && strcmp(err->sqlstate, "42710") == 0)
        ok = true;
    if (!ok) {
        err_wrap(err, "could not add table %s to publication \"%s\"", tablename, name);
        if (strcmp(err->sqlstate, "42501") == 0)
            err_hint(err, "let the table's owner run: ALTER PUBLICATION %s ADD TABLE %s", name,
                     tablename);
    }
    free(tablename);
    return ok;
}

static bool set_full(struct pg_conn *conn, const struct table *table,
                     const struct patience *patience, struct err *err)
{
    char *tablename = quoted(table);
    bool ok = false;

    for (int tries = 0; tries < LOCK_TRIES; tries++) {
        ok = run_locking(conn, table, patience, "ALTER TABLE", " REPLICA IDENTITY FULL", err);
        if (ok || err->code != ERR_BUSY || is_stopping(patience))
            break;
        sleep_ms(100L << tries);
    }
    if (!ok) {
        err_wrap(err, "could not set REPLICA IDENTITY FULL on table %s", tablename);
        if (strcmp(err->sqlstate, "42501") == 0)
            err_hint(err, "let the table's owner run: ALTER TABLE %s REPLICA IDENTITY FULL",
                     tablename);
    }
    free(tablename);
    return ok;
}

bool publication_set_full(struct pg_conn *conn, const struct table *table,
                          const struct patience *patience, struct err *err)
{
    struct arena arena = {0};
    uint32_t *leaves;
    size_t n = 0;
    bool ok = catalog_leaves(conn, table->relid, &arena, &leaves, &n, err);

    for (size_t i = 0; ok && i < n; i++) {
        struct table *leaf = catalog_table_by_oid(conn, leaves[i], err);

        ok = leaf && (leaf->replident == REPLIDENT_FULL || set_full(conn, leaf, patience, err));
        table_unref(leaf);
    }
    /* The root too: partitions made later take nothing from it, but it says what is wanted. */
    if (ok && table->relkind == 'p' && table->replident != REPLIDENT_FULL)
        ok = set_full(conn, table, patience, err);
    arena_release(&arena);
    return ok;
}

/* Who holds a lock that a writer takes, on the table or a partition of it. */
#define WRITERS_SQL                                                                                \
    "SELECT string_agg(DISTINCT virtualtransaction, ',') FROM pg_locks"                            \
    " WHERE locktype = 'relation' AND granted AND pid IS DISTINCT FROM pg_backend_pid()"           \
    "   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"           \
    "   AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock',"                \
    "                'AccessExclusiveLock')"                                                       \
    "   AND relation IN " CATALOG_PARTITION_TREE("$1")

/* Of these, who is still there (a transaction holds its own virtualxid, a prepared one has
 * "-1/xid"). */
#define STILL_SQL                                                                                  \
    "SELECT DISTINCT coalesce(pid, 0), virtualtransaction FROM pg_locks"                           \
    " WHERE virtualtransaction = ANY (string_to_array($1, ',')) LIMIT 1"

static bool one_writer(struct pg_conn *conn, const char *writers, bool *any, int *pid,
                       struct err *err)
{
    const char *params[] = {writers};
    struct pg_result *res = pg_query_params(conn, STILL_SQL, params, 1, err);

    if (!res)
        return false;
    *any = pg_rows(res) > 0;
    *pid = *any ? (int)pg_int(res, 0, 0) : 0;
    pg_result_free(res);
    return true;
}

bool publication_wait_writers(struct pg_conn *conn, const struct table *table,
                              const struct patience *patience, struct err *err)
{
    char relid[16];
    const char *params[] = {relid};
    int64_t deadline = clock_ms() + patience->lock_timeout_ms;
    bool ok, any = false;
    int pid;

    snprintf(relid, sizeof(relid), "%u", table->relid);
    struct pg_result *res = pg_query_params(conn, WRITERS_SQL, params, 1, err);
    if (!res)
        return false;
    struct slice writers = pg_value(res, 0, 0);
    for (long pause = 2; (ok = !writers.ptr || one_writer(conn, writers.ptr, &any, &pid, err)) &&
                         writers.ptr && any;
         pause = pause < 100 ? pause * 2 : 100) {
        if (is_stopping(patience)) {
            ok = err_set(err, ERR_STOPPED, "the bridge is stopping");
            break;
        }
        if (clock_ms() > deadline) {
            ok = err_set(err, ERR_BUSY,
                         "table \"%.*s\".\"%.*s\" is being written by an open transaction (%s %d)",
                         SLICE_ARG(table->nspname), SLICE_ARG(table->relname),
                         pid ? "process" : "prepared, process", pid);
            err_hint(err, "it must end before the table can be followed; see pg_stat_activity");
            break;
        }
        sleep_ms(pause);
    }
    pg_result_free(res);
    return ok;
}
