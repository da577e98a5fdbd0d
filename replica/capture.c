#include "replica/capture.h"

#include "replica/capture_core.h"
#include "replica/capture_sql.h"
#include "replica/sql.h"

#include <stdlib.h>

static const char tables[] =
    "CREATE TABLE IF NOT EXISTS _tombolo_layouts("
    "id INTEGER PRIMARY KEY AUTOINCREMENT, \"table\" TEXT NOT NULL, live INTEGER NOT NULL,"
    " triggers TEXT);"
    "CREATE TABLE IF NOT EXISTS _tombolo_places("
    "layout INTEGER NOT NULL, place INTEGER NOT NULL, name TEXT NOT NULL, \"key\" INTEGER,"
    " PRIMARY KEY (layout, place)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS _tombolo_tx(id INTEGER PRIMARY KEY AUTOINCREMENT);"
    "CREATE TABLE IF NOT EXISTS _tombolo_outbox("
    "seq INTEGER PRIMARY KEY, layout, op, tx, nonce);"
    "CREATE TABLE IF NOT EXISTS _tombolo_victims(layout)";

/* ---- the flag ---- */

bool lite_capture_find(struct lite_db *db, struct err *err)
{
    int64_t found;

    if (!lite_db_int(db, 0, &found, err,
                     "SELECT count(*) FROM sqlite_schema WHERE name = '_tombolo_outbox'"))
        return false;
    db->captured = found > 0;
    return true;
}

static bool run(struct lite_db *db, enum lite_statement which, const char *sql, struct err *err)
{
    sqlite3_stmt *stmt;

    if (!lite_db_statement(db, which, sql, &stmt, err))
        return false;
    bool ok = sqlite3_step(stmt) == SQLITE_DONE || lite_db_fail(db, err, "could not hold capture");
    sqlite3_reset(stmt);
    return ok;
}

bool lite_capture_applying(struct lite_db *db, bool applying, struct err *err)
{
    if (!db->captured)
        return true;
    if (!applying)
        return run(db, LITE_CAPTURE_ON, "UPDATE _tombolo_state SET applying = 0", err);
    /* What was noted may be deleted now without being told: it must not seem evicted later. */
    return run(db, LITE_CAPTURE_OFF, "UPDATE _tombolo_state SET applying = 1", err) &&
           run(db, LITE_CAPTURE_FORGET, "DELETE FROM _tombolo_victims", err);
}

/* ---- a change of several statements ---- */

bool capture_begin(struct lite_db *db, struct capture_change *change, struct err *err)
{
    change->alone = !db->in_txn;
    return lite_db_begin(db, err) && lite_db_exec(db, err, "SAVEPOINT tombolo_capture");
}

bool capture_end(struct lite_db *db, const struct capture_change *change, bool ok, struct err *err)
{
    struct err ignored;

    if (ok)
        ok = lite_db_exec(db, err, "RELEASE tombolo_capture");
    else if (lite_db_exec(db, &ignored, "ROLLBACK TO tombolo_capture"))
        ok = !lite_db_exec(db, &ignored, "RELEASE tombolo_capture") && ok;
    if (change->alone && ok)
        ok = lite_db_commit(db, err);
    if (change->alone && !ok)
        lite_db_rollback(db);
    return ok;
}

/* ---- installing ---- */

static bool add_state_columns(struct lite_db *db, struct err *err)
{
    int64_t there;

    if (!lite_db_int(db, 0, &there, err,
                     "SELECT count(*) FROM pragma_table_info('_tombolo_state') "
                     "WHERE name = 'applying'"))
        return false;
    return there || lite_db_exec(db, err,
                                 "ALTER TABLE _tombolo_state ADD COLUMN"
                                 " applying INTEGER NOT NULL DEFAULT 0;"
                                 "ALTER TABLE _tombolo_state ADD COLUMN captured_schema INTEGER");
}

/* Adds columns v0, v1, .. until there are `wanted`. */
static bool widen(struct lite_db *db, const char *table, size_t wanted, struct err *err)
{
    int64_t have;

    if (!lite_db_int(db, 0, &have, err,
                     "SELECT count(*) FROM pragma_table_info(%Q) WHERE name GLOB 'v[0-9]*'", table))
        return false;
    for (size_t i = (size_t)have; i < wanted; i++) {
        if (!lite_db_exec(db, err, "ALTER TABLE \"%w\" ADD COLUMN v%d", table, (int)i))
            return false;
    }
    return true;
}

static bool make_tables(struct lite_db *db, const struct capture_table *t, struct err *err)
{
    return add_state_columns(db, err) && lite_db_exec(db, err, "%s", tables) &&
           widen(db, "_tombolo_outbox", 2 * t->ncolumns, err) &&
           widen(db, "_tombolo_victims", t->ncolumns, err);
}

static bool check_keys(struct lite_db *db, const struct capture_table *t, struct err *err)
{
    for (size_t i = 0; i < t->nkey && !t->rowid; i++) {
        const struct capture_column *c = &t->columns[t->key[i]];
        int64_t found;

        if (!lite_db_int(db, 0, &found, err, "SELECT 1 FROM \"%w\" WHERE \"%w\" IS NULL LIMIT 1",
                         t->name, c->name))
            return false;
        if (!found)
            continue;
        err_set(err, ERR_INPUT,
                "local writes to \"%s\" cannot be captured: it has rows without a value in their "
                "key \"%s\"",
                t->name, c->name);
        return err_hint(err, "give them one, or delete them");
    }
    return true;
}

static bool save_layout(struct lite_db *db, const struct capture_table *t, int64_t *layout,
                        struct err *err)
{
    if (!lite_db_exec(db, err, "INSERT INTO _tombolo_layouts(\"table\", live) VALUES (%Q, 1)",
                      t->name))
        return false;
    *layout = sqlite3_last_insert_rowid(db->db);
    for (size_t i = 0; i < t->ncolumns; i++) {
        if (!lite_db_exec(db, err,
                          "INSERT INTO _tombolo_places VALUES (%lld, %d, %Q, nullif(%d, -1))",
                          (long long)*layout, (int)i, t->columns[i].name, t->columns[i].key))
            return false;
    }
    return true;
}

/* Whether a program with an untrusted schema could write: a trigger is resolved only by
 * statements that fire it. */
static bool check_triggers(struct lite_db *db, const struct capture_table *t, struct arena *arena,
                           struct err *err)
{
    static const char *const forms[] = {"INSERT OR REPLACE INTO \"%w\" DEFAULT VALUES",
                                        "UPDATE \"%w\" SET \"%w\" = \"%w\"", "DELETE FROM \"%w\""};
    const char *first = t->columns[0].name;
    bool ok = true;
    int trusted = 0;

    sqlite3_db_config(db->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, -1, &trusted);
    sqlite3_db_config(db->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    for (size_t i = 0; ok && i < sizeof(forms) / sizeof(forms[0]); i++) {
        sqlite3_stmt *stmt = NULL;
        struct sql sql;

        sql_init(&sql);
        sql_put(&sql, forms[i], t->name, first, first);
        ok = lite_db_prepare(db, sql_take(&sql, arena), &stmt, err);
        sqlite3_finalize(stmt);
    }
    sqlite3_db_config(db->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, trusted, NULL);
    if (ok)
        return true;
    err->code = ERR_INPUT;
    err_wrap(err, "local writes to \"%s\" cannot be captured", t->name);
    return err_hint(err, "a unique index over an expression may call only what SQLite allows in "
                         "the triggers of an untrusted schema");
}

static bool make_triggers(struct lite_db *db, const struct capture_table *t, int64_t layout,
                          struct arena *arena, struct err *err)
{
    for (int i = 0; i < CAPTURE_TRIGGERS; i++) {
        char *sql = capture_trigger_sql(t, layout, (enum capture_trigger)i, arena);

        if (!lite_db_exec(db, err, "%s", sql))
            return err_wrap(err, "local writes to \"%s\" cannot be captured", t->name);
    }
    /* Made last, so that triggers which are made anew cannot come to stand where they stood. */
    return lite_db_exec(db, err,
                        "DROP INDEX IF EXISTS _tombolo_layouts_end;"
                        "CREATE INDEX _tombolo_layouts_end ON _tombolo_layouts(live)") &&
           lite_db_exec(db, err,
                        "UPDATE _tombolo_layouts SET triggers = %Q || (" CAPTURE_STAMP
                        ") WHERE id = %lld",
                        capture_triggers_sql(t, layout, arena), t->name, (long long)layout,
                        (long long)layout);
}

static bool drop_triggers(struct lite_db *db, int64_t layout, struct arena *arena, struct err *err)
{
    for (int i = 0; i < CAPTURE_TRIGGERS; i++) {
        if (!lite_db_exec(db, err, "DROP TRIGGER IF EXISTS \"%w\"",
                          capture_trigger_name(layout, (enum capture_trigger)i, arena)))
            return false;
    }
    return lite_db_exec(db, err, "DELETE FROM _tombolo_victims WHERE layout = %lld",
                        (long long)layout) &&
           lite_db_exec(db, err, "UPDATE _tombolo_layouts SET live = 0 WHERE id = %lld",
                        (long long)layout);
}

bool capture_layout(struct lite_db *db, const char *table, int64_t *layout, struct err *err)
{
    *layout = 0;
    return !db->captured ||
           lite_db_int(db, 0, layout, err,
                       "SELECT id FROM _tombolo_layouts WHERE live AND \"table\" = %Q "
                       "COLLATE NOCASE ORDER BY id DESC LIMIT 1",
                       table);
}

static bool install(struct lite_db *db, const struct capture_table *t, struct arena *arena,
                    struct err *err)
{
    int64_t old, layout;

    return make_tables(db, t, err) && check_keys(db, t, err) &&
           capture_layout(db, t->name, &old, err) && (!old || drop_triggers(db, old, arena, err)) &&
           save_layout(db, t, &layout, err) && make_triggers(db, t, layout, arena, err) &&
           check_triggers(db, t, arena, err);
}

bool lite_capture_install(struct lite_db *db, const char *table, struct err *err)
{
    struct arena arena = {0};
    struct capture_table t;
    struct capture_change change;
    bool ok = capture_begin(db, &change, err);

    if (ok) {
        ok = capture_table_read(db, table, &arena, &t, err) && install(db, &t, &arena, err);
        ok = capture_end(db, &change, ok, err);
    }
    arena_release(&arena);
    if (!ok)
        return false;
    if (!db->captured && !change.alone) { /* the rest of the transaction is not to be captured */
        db->captured = true;
        return lite_capture_applying(db, true, err);
    }
    db->captured = true;
    return true;
}

bool lite_capture_remove(struct lite_db *db, const char *table, struct err *err)
{
    struct arena arena = {0};
    struct capture_change change;
    int64_t layout;

    if (!capture_layout(db, table, &layout, err))
        return false;
    if (!layout)
        return true;
    bool ok = capture_begin(db, &change, err);
    if (ok)
        ok = capture_end(db, &change, drop_triggers(db, layout, &arena, err), err);
    arena_release(&arena);
    return ok;
}
