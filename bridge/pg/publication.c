#include "pg/publication.h"
#include "base/clock.h"
#include "base/logging.h"
#include "change/standing.h"
#include "pg/catalog.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define PG15 150000
#define PG18 180000
#define LOCK_TRIES 3 /* a third of the patience each */
#define LOCK_PAUSE_MS 50
#define CREATE_HINT "the user needs CREATE on the database: GRANT CREATE ON DATABASE ... TO ..."
#define LOCK_LEAST_MS 10

static bool check_options(const struct pg_result *res, const char *name, struct err *err)
{
    if (!pg_bool(res, 0, 0)) {
        err_set(err, ERR_CONFIG,
                "Publication \"%s\" does not publish all required operations: INSERT, UPDATE, "
                "DELETE, TRUNCATE",
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

static bool check_publication(struct pg_conn *conn, const char *name, bool *exists, struct err *err)
{
    const char *params[] = {name};
    struct pg_result *res =
        pg_query_params(conn,
                        "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot"
                        "  FROM pg_publication WHERE pubname = $1",
                        params, 1, err);

    *exists = !res || pg_rows(res) == 1;
    if (!res)
        return false;
    bool ok = !*exists || check_options(res, name, err);
    pg_result_free(res);
    return ok;
}

bool publication_check(struct pg_conn *conn, const char *name, struct err *err)
{
    bool exists;

    return check_publication(conn, name, &exists, err) &&
           (exists ||
            err_set(err, ERR_CONFIG, "Publication \"%s\" not found in the database", name));
}

bool publication_ensure(struct pg_conn *conn, const char *name, bool *created, struct err *err)
{
    bool exists;

    *created = false;
    if (!check_publication(conn, name, &exists, err))
        return false;
    if (exists)
        return true;
    *created = true;
    if (!pg_runf(conn, err, "CREATE PUBLICATION \"%s\"%s", name,
                 pg_server_version(conn) >= PG18 ? " WITH (publish_generated_columns = stored)"
                                                 : "")) {
        err_wrap(err, "could not create publication \"%s\"", name);
        return err->hint[0] ? false : err_hint(err, CREATE_HINT);
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
    "SELECT pid FROM pg_locks WHERE locktype = 'relation'"                                         \
    "   AND relation IN " CATALOG_PARTITION_TREE(                                                  \
        "$1") "   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())" \
              "   AND pid <> pg_backend_pid()"                                                     \
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

static int left_ms(const struct patience *patience)
{
    int64_t left = patience->until - clock_ms();

    return left < LOCK_LEAST_MS ? LOCK_LEAST_MS : left > INT_MAX ? INT_MAX : (int)left;
}

/* Runs statements that want locks on the table, each for so long, in a transaction of their own. */
static bool run_locking(struct pg_conn *conn, const struct table *table, int lock_timeout_ms,
                        const char *sql, struct err *err)
{
    struct err ignored;

    return pg_runf(conn, err, "BEGIN; SET LOCAL lock_timeout = %d; %s; COMMIT", lock_timeout_ms,
                   sql) ||
           (pg_run(conn, "ROLLBACK", &ignored) && publication_lock_failed(conn, table, err));
}

static bool is_stopping(const struct patience *patience)
{
    return patience->stop && atomic_load(patience->stop);
}

static bool is_refused(const struct err *err)
{
    return strcmp(err->sqlstate, "42501") == 0;
}

/* Why a table cannot be followed that `why` keeps from being added. */
static bool is_missing(const char *name, const struct table *table, const char *why,
                       struct err *err)
{
    char *tablename = quoted(table);

    err_set(err, ERR_CONFIG,
            "Database table \"%.*s.%.*s\" is missing from the publication \"%s\" and %s",
            SLICE_ARG(table->nspname), SLICE_ARG(table->relname), name, why);
    err_hint(err, "let the table's owner run: ALTER PUBLICATION %s ADD TABLE %s", name, tablename);
    free(tablename);
    return false;
}

static bool is_not_full(const struct table *table, struct err *err)
{
    char *tablename = quoted(table);

    err_set(err, ERR_CONFIG,
            "Database table \"%.*s.%.*s\" does not have its replica identity set to FULL",
            SLICE_ARG(table->nspname), SLICE_ARG(table->relname));
    err_hint(err, "let the table's owner run: ALTER TABLE %s REPLICA IDENTITY FULL", tablename);
    free(tablename);
    return false;
}

static bool is_filtered(const char *name, const struct table *table, struct err *err)
{
    err_set(err, ERR_CONFIG,
            "publication \"%s\" has a row filter or a column list for table \"%.*s\".\"%.*s\"",
            name, SLICE_ARG(table->nspname), SLICE_ARG(table->relname));
    return err_hint(err, "take the table out of the publication: the bridge adds it whole");
}

bool publication_may_join(struct pg_conn *conn, const char *name, const struct table *table,
                          bool full, bool manual, struct err *err)
{
    enum table_publication now = table_publication(table);

    if (now == TABLE_FILTERED)
        return is_filtered(name, table, err);
    if (!publication_check(conn, name, err))
        return false;
    if (!manual)
        return true;
    if (now == TABLE_UNPUBLISHED)
        return is_missing(name, table,
                          "the TOMBOLO_MANUAL_TABLE_PUBLISHING setting prevents Tombolo from "
                          "adding it",
                          err);
    return !full || table_is_full(table) || is_not_full(table, err);
}

static bool add_table(struct pg_conn *conn, const char *name, const struct table *table,
                      const struct patience *patience, struct err *err)
{
    char *tablename = quoted(table);
    struct buf sql;

    buf_init(&sql, BUF_NO_LIMIT);
    buf_printf(&sql,
               "LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE;"
               " ALTER PUBLICATION \"%s\" ADD TABLE %s",
               tablename, name, tablename);
    bool ok = run_locking(conn, table, left_ms(patience), buf_cstr(&sql), err);

    /* duplicate_object: a second bridge or an operator was faster. */
    if (!ok && strcmp(err->sqlstate, "42710") == 0)
        ok = true;
    if (!ok && is_refused(err))
        is_missing(name, table, "Tombolo lacks privileges to add it", err);
    else if (!ok)
        err_wrap(err, "could not add table %s to publication \"%s\"", tablename, name);
    buf_release(&sql);
    free(tablename);
    return ok;
}

static bool set_full(struct pg_conn *conn, const struct table *table,
                     const struct patience *patience, struct err *err)
{
    char *tablename = quoted(table);
    int each = left_ms(patience) / LOCK_TRIES;
    struct buf sql;
    bool ok;

    buf_init(&sql, BUF_NO_LIMIT);
    buf_printf(&sql, "ALTER TABLE ONLY %s REPLICA IDENTITY FULL", tablename);
    for (int left = each;; left = left_ms(patience)) {
        ok = run_locking(conn, table,
                         each < LOCK_LEAST_MS ? LOCK_LEAST_MS
                         : left < each        ? left
                                              : each,
                         buf_cstr(&sql), err);
        if (ok || err->code != ERR_BUSY || is_stopping(patience) ||
            clock_ms() + LOCK_PAUSE_MS >= patience->until)
            break;
        clock_sleep_ms(LOCK_PAUSE_MS);
    }
    if (!ok && is_refused(err))
        is_not_full(table, err);
    else if (!ok)
        err_wrap(err, "could not set REPLICA IDENTITY FULL on table %s", tablename);
    buf_release(&sql);
    free(tablename);
    return ok;
}

static bool set_leaf_full(struct pg_conn *conn, uint32_t relid, const struct patience *patience,
                          struct err *err)
{
    struct table *leaf = catalog_table_by_oid(conn, relid, err);
    bool ok = leaf && set_full(conn, leaf, patience, err);

    table_unref(leaf);
    return ok;
}

bool publication_set_full(struct pg_conn *conn, const struct table *table,
                          const struct patience *patience, struct err *err)
{
    struct slice rest = table->storage;
    struct table_leaf leaf;
    bool ok = true;

    while (ok && storage_next(&rest, &leaf)) {
        if (leaf.replident != REPLIDENT_FULL)
            ok = set_leaf_full(conn, leaf.relid, patience, err);
    }
    /* The root too: partitions made later take nothing from it, but it says what is wanted. */
    if (ok && table->relkind == 'p' && table->replident != REPLIDENT_FULL)
        ok = set_full(conn, table, patience, err);
    return ok;
}

bool publication_join(struct pg_conn *conn, const char *name, const struct table *table, bool full,
                      const struct patience *patience, struct err *err)
{
    /* The identity first: Postgres refuses updates and deletes of a published table that has none,
     * and the lock for setting it may be long in coming. */
    if (full && !publication_set_full(conn, table, patience, err))
        return false;
    if (table_publication(table) != TABLE_UNPUBLISHED)
        return true;
    if (!add_table(conn, name, table, patience, err))
        return false;
    log_info("table joined the publication", LOG_STR("publication", name),
             LOG_UINT("relid", table->relid), LOG_STR("full", full ? "yes" : "no"));
    return true;
}

/* ---- its writers ----------------------------------------------------------------------------- */

/* Before Postgres 15 a walsender that has come by rows of a table while it was not published goes
 * on leaving them out when it is attached to a table that is. What is committed after this call it
 * looks up anew; later versions need none of it. Any change of any publication does, also a
 * transaction's that leaves nothing behind; the name is this connection's own. */
static bool refresh(struct pg_conn *conn, struct err *err)
{
    const int pid = pg_backend_pid(conn);

    if (pg_server_version(conn) >= PG15 ||
        pg_runf(conn, err,
                "CREATE PUBLICATION tombolo_refresh_%d; DROP PUBLICATION tombolo_refresh_%d", pid,
                pid))
        return true;
    err_wrap(err, "could not have the server look up what is published");
    return err->hint[0] ? false : err_hint(err, CREATE_HINT);
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
    bool ok, any = false;
    int pid;

    if (table->relkind == 'p' && !refresh(conn, err))
        return false;
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
        if (clock_ms() > patience->until) {
            ok = err_set(err, ERR_BUSY,
                         "table \"%.*s\".\"%.*s\" is being written by an open transaction (%s %d)",
                         SLICE_ARG(table->nspname), SLICE_ARG(table->relname),
                         pid ? "process" : "prepared, process", pid);
            err_hint(err, "it must end before the table can be followed; see pg_stat_activity");
            break;
        }
        clock_sleep_ms(pause);
    }
    pg_result_free(res);
    return ok;
}
