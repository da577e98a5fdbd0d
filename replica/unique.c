/*
 * The user's unique indexes while rows are applied: table.h tells why. An
 * index that was relaxed is kept in the temporary table tombolo_relaxed of our connection
 * with the statement that made it. Both it and the dropping are part of the
 * transaction, so that a rollback undoes them together.
 */
#include "replica/table.h"

#include "base/logging.h"
#include "replica/sql.h"

#define UNIQUE_PREFIX "CREATE UNIQUE INDEX "

/* SQLite stores the statement's beginning in this very spelling. */
static const char find_sql[] =
    "INSERT INTO tombolo_relaxed(name, made_by) SELECT s.name, s.sql FROM sqlite_schema s"
    " WHERE s.type = 'index' AND s.tbl_name = %Q COLLATE NOCASE"
    " AND s.sql LIKE '" UNIQUE_PREFIX "%%'";

static bool relax_one(struct lite_db *db, const char *name, const char *made_by, struct err *err)
{
    return lite_db_exec(db, err, "DROP INDEX \"%w\"; CREATE INDEX %s", name,
                        made_by + sizeof(UNIQUE_PREFIX) - 1);
}

/* Calls `each` for the relaxed indexes from the one after `seq` on, with copies:
 * indexes are not changed while a statement reads the list. */
static bool each_relaxed(struct lite_db *db, int64_t seq,
                         bool (*each)(struct lite_db *, const char *, const char *, struct err *),
                         struct err *err)
{
    for (bool ok = true; ok;) {
        struct arena arena = {0};
        sqlite3_stmt *stmt = NULL;

        if (!lite_db_prepare(db,
                             "SELECT seq, name, made_by FROM tombolo_relaxed WHERE seq > ?1 "
                             "ORDER BY seq LIMIT 1",
                             &stmt, err))
            return false;
        sqlite3_bind_int64(stmt, 1, seq);
        if (sqlite3_step(stmt) != SQLITE_ROW) {
            sqlite3_finalize(stmt);
            return true;
        }
        seq = sqlite3_column_int64(stmt, 0);
        const char *name = arena_strdup(&arena, (const char *)sqlite3_column_text(stmt, 1));
        const char *sql = arena_strdup(&arena, (const char *)sqlite3_column_text(stmt, 2));
        sqlite3_finalize(stmt);
        ok = each(db, name, sql, err);
        arena_release(&arena);
    }
    return false;
}

bool lite_unique_relax(struct lite_db *db, const char *table, struct err *err)
{
    int64_t before;

    if (!lite_db_exec(db, err,
                      "CREATE TEMP TABLE IF NOT EXISTS tombolo_relaxed("
                      "seq INTEGER PRIMARY KEY, name TEXT, made_by TEXT)") ||
        !lite_db_int(db, 0, &before, err, "SELECT max(seq) FROM tombolo_relaxed") ||
        !lite_db_exec(db, err, find_sql, table))
        return false;
    if (sqlite3_changes(db->db) == 0)
        return err_set(err, ERR_SQLITE, "no unique index to relax on \"%s\"", table);
    db->relaxed = true;
    return each_relaxed(db, before, relax_one, err);
}

static bool forget_one(struct lite_db *db, const char *name, struct err *err)
{
    return lite_db_exec(db, err, "DELETE FROM tombolo_relaxed WHERE name = %Q", name);
}

static bool make_unique(struct lite_db *db, const char *name, const char *made_by, struct err *err)
{
    struct arena arena = {0};
    struct sql sql;

    sql_init(&sql);
    sql_put(&sql, "DROP INDEX IF EXISTS \"%w\"; %s", name, made_by);
    bool ok = lite_db_try(db, err, sql_take(&sql, &arena));
    arena_release(&arena);
    return ok;
}

static bool try_one(struct lite_db *db, const char *name, const char *made_by, struct err *err)
{
    struct err why;

    return !make_unique(db, name, made_by, &why) || forget_one(db, name, err);
}

static bool restore_one(struct lite_db *db, const char *name, const char *made_by, struct err *err)
{
    struct err why;

    if (!make_unique(db, name, made_by, &why))
        log_warn("index is no longer unique: Postgres's rows do not allow it",
                 LOG_STR("index", name), LOG_ERR(&why));
    return forget_one(db, name, err);
}

bool lite_unique_restore(struct lite_db *db, bool last, struct err *err)
{
    int64_t left;

    if (!db->relaxed)
        return true;
    if (!each_relaxed(db, 0, last ? restore_one : try_one, err) ||
        !lite_db_int(db, 0, &left, err, "SELECT count(*) FROM tombolo_relaxed"))
        return false;
    db->relaxed = left > 0;
    return true;
}

bool lite_unique_relaxed(struct lite_db *db, struct arena *arena, char ***tables, size_t *n,
                         struct err *err)
{
    static const char sql[] = "SELECT DISTINCT s.tbl_name FROM tombolo_relaxed r"
                              " JOIN sqlite_schema s ON s.type = 'index' AND s.name = r.name";
    sqlite3_stmt *stmt = NULL;
    int64_t most;

    if (!lite_db_int(db, 0, &most, err, "SELECT count(*) FROM tombolo_relaxed") ||
        !lite_db_prepare(db, sql, &stmt, err))
        return false;
    *tables = arena_calloc(arena, (size_t)most, sizeof(**tables));
    for (*n = 0; *n < (size_t)most && sqlite3_step(stmt) == SQLITE_ROW;)
        (*tables)[(*n)++] = arena_strdup(arena, (const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    return true;
}
