/*
 * Whether the triggers still say what the tables are. They are made again as text and compared
 * with the schema's, letter by letter; why they differ is found by what else has changed.
 */
#include "replica/capture.h"

#include "base/logging.h"
#include "replica/capture_core.h"
#include "replica/capture_sql.h"
#include "replica/sql.h"

bool lite_capture_moved(struct lite_db *db, bool *moved, struct err *err)
{
    int64_t then, now;

    *moved = false;
    if (!db->captured)
        return true;
    if (!lite_db_int(db, 0, &now, err, "PRAGMA schema_version") ||
        !lite_db_int(db, -1, &then, err, "SELECT captured_schema FROM _tombolo_state"))
        return false;
    *moved = now != then;
    return true;
}

/* Where our schema is as it was when all was intact. */
static bool remember_schema(struct lite_db *db, struct err *err)
{
    int64_t version;

    return lite_db_int(db, 0, &version, err, "PRAGMA schema_version") &&
           lite_db_exec(db, err, "UPDATE _tombolo_state SET captured_schema = %lld",
                        (long long)version);
}

static bool read_text(struct lite_db *db, struct arena *arena, const char **text, struct err *err,
                      const char *sql, const char *argument, int64_t number)
{
    sqlite3_stmt *stmt = NULL;

    *text = NULL;
    if (!lite_db_prepare(db, sql, &stmt, err))
        return false;
    sqlite3_bind_text(stmt, 1, argument, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 2, number);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW && sqlite3_column_type(stmt, 0) != SQLITE_NULL)
        *text = arena_strdup(arena, (const char *)sqlite3_column_text(stmt, 0));
    bool ok = rc == SQLITE_ROW || rc == SQLITE_DONE || lite_db_fail(db, err, "could not read");
    sqlite3_finalize(stmt);
    return ok;
}

static void found(struct lite_capture *c, enum lite_capture_state state, bool gap, const char *what)
{
    c->state = state;
    c->what = what;
    c->gap = gap;
}

/* The table under its name is not there: was it renamed? */
static bool look_for_table(struct lite_db *db, struct arena *arena, struct lite_capture *c,
                           struct err *err)
{
    static const char sql[] = "SELECT tbl_name FROM sqlite_schema WHERE type = 'trigger' "
                              "AND name = ?1";
    const char *now;

    if (!read_text(db, arena, &now, err, sql,
                   capture_trigger_name(c->layout, CAPTURE_AFTER_INSERT, arena), 0))
        return false;
    if (now)
        found(c, LITE_CAPTURE_RENAMED, true, arena_printf(arena, "its name is now \"%s\"", now));
    else
        found(c, LITE_CAPTURE_GONE, true, "there is no such table");
    return true;
}

/* Names the columns that one side has and the other has not, behind `what`. */
static bool compare_columns(struct lite_db *db, const struct capture_table *t, struct arena *arena,
                            struct lite_capture *c, struct err *err)
{
    static const char dropped[] = "SELECT group_concat(name, ', ') FROM _tombolo_places "
                                  "WHERE layout = ?2 AND name NOT IN "
                                  "(SELECT name FROM pragma_table_info(?1))";
    static const char added[] = "SELECT group_concat(name, ', ') FROM pragma_table_info(?1) "
                                "WHERE name NOT IN "
                                "(SELECT name FROM _tombolo_places WHERE layout = ?2)";
    static const char same[] = "SELECT group_concat(name || ':' || ifnull(\"key\", -1)) FROM "
                               "(SELECT name, \"key\" FROM _tombolo_places WHERE layout = ?2 "
                               "ORDER BY place)";
    const char *gone, *come, *then;
    struct sql now;

    if (!read_text(db, arena, &gone, err, dropped, t->name, c->layout) ||
        !read_text(db, arena, &come, err, added, t->name, c->layout) ||
        !read_text(db, arena, &then, err, same, t->name, c->layout))
        return false;
    sql_init(&now);
    for (size_t i = 0; i < t->ncolumns; i++)
        sql_put(&now, "%s%s:%d", i ? "," : "", t->columns[i].name, t->columns[i].key);
    const char *text = sql_take(&now, arena);
    if (then && strcmp(then, text) == 0)
        return true;
    if (!gone && !come)
        found(c, LITE_CAPTURE_COLUMNS, false, "its columns or key have another order");
    else
        found(c, LITE_CAPTURE_COLUMNS, false,
              arena_printf(arena, "new columns: %s; columns gone: %s", come ? come : "none",
                           gone ? gone : "none"));
    return true;
}

/* The triggers as they are in the schema, like _tombolo_layouts has them. */
static bool stored_triggers(struct lite_db *db, int64_t layout, struct arena *arena, char **all,
                            size_t *n, const char **missing, struct err *err)
{
    static const char sql[] = "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ?1";
    bool ok = true;

    *all = arena_strdup(arena, "");
    *n = 0;
    *missing = NULL;
    for (int i = 0; ok && i < CAPTURE_TRIGGERS; i++) {
        const char *name = capture_trigger_name(layout, (enum capture_trigger)i, arena);
        const char *one;

        ok = read_text(db, arena, &one, err, sql, name, 0);
        if (ok && one)
            *all = arena_printf(arena, "%s%s;\n", *all, one);
        *n += ok && one;
        if (ok && !one)
            *missing = name;
    }
    return ok;
}

static bool compare_triggers(struct lite_db *db, const struct capture_table *t, struct arena *arena,
                             struct lite_capture *c, struct err *err)
{
    static const char made_sql[] = "SELECT triggers FROM _tombolo_layouts WHERE id = ?2";
    const char *made, *missing, *stamp;
    struct sql stamp_sql;
    char *stored;
    size_t n;

    sql_init(&stamp_sql);
    sql_put(&stamp_sql, CAPTURE_STAMP, t->name, (long long)c->layout);
    if (!stored_triggers(db, c->layout, arena, &stored, &n, &missing, err) ||
        !read_text(db, arena, &made, err, made_sql, t->name, c->layout) ||
        !read_text(db, arena, &stamp, err, sql_take(&stamp_sql, arena), t->name, 0))
        return false;
    const char *now = arena_printf(arena, "%s%s", stored, stamp ? stamp : "");
    bool same = made && strcmp(now, made) == 0;
    const char *wanted = capture_triggers_sql(t, c->layout, arena);
    if (n == 0)
        found(c, LITE_CAPTURE_REBUILT, true, "the table was made anew, without our triggers");
    else if (missing)
        found(c, LITE_CAPTURE_TRIGGERS, true,
              arena_printf(arena, "trigger %s is missing", missing));
    else if (c->state == LITE_CAPTURE_INTACT && !same)
        found(c, LITE_CAPTURE_TRIGGERS, true,
              "the triggers are not as they were made, or were made anew");
    else if (c->state == LITE_CAPTURE_INTACT && strcmp(stored, wanted) != 0)
        found(c, LITE_CAPTURE_INDEXES, true, "what is unique in it has changed");
    c->gap = c->gap || !same;
    return true;
}

static bool check_order(struct lite_db *db, const struct capture_table *t, struct arena *arena,
                        struct lite_capture *c, struct err *err)
{
    static const char sql[] =
        "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE"
        " AND name NOT GLOB '_tombolo_capture_*' AND rowid > (SELECT min(rowid) FROM sqlite_schema"
        " WHERE type = 'trigger' AND name GLOB '_tombolo_capture_' || ?2 || '_*') LIMIT 1";
    const char *name;

    if (!read_text(db, arena, &name, err, sql, t->name, c->layout))
        return false;
    if (name && c->state == LITE_CAPTURE_INTACT)
        found(c, LITE_CAPTURE_ORDER, false,
              arena_printf(arena, "trigger \"%s\" was made later", name));
    return true;
}

static bool verify_one(struct lite_db *db, struct arena *arena, struct lite_capture *c,
                       struct err *err)
{
    struct capture_table t;
    int64_t there;
    struct err why;

    found(c, LITE_CAPTURE_INTACT, false, "");
    if (!lite_db_int(db, 0, &there, err,
                     "SELECT count(*) FROM sqlite_schema WHERE name = %Q COLLATE NOCASE "
                     "AND type IN ('table', 'view')",
                     c->table))
        return false;
    if (!there)
        return look_for_table(db, arena, c, err);
    if (!capture_table_read(db, c->table, arena, &t, &why)) {
        found(c, LITE_CAPTURE_REFUSED, true, arena_strdup(arena, why.msg));
        return why.code == ERR_INPUT || (*err = why, false);
    }
    return compare_columns(db, &t, arena, c, err) && compare_triggers(db, &t, arena, c, err) &&
           check_order(db, &t, arena, c, err);
}

static bool read_live(struct lite_db *db, struct arena *arena, struct lite_capture **captures,
                      size_t *n, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    int64_t most;
    int rc = SQLITE_DONE;

    *n = 0;
    if (!lite_db_int(db, 0, &most, err, "SELECT count(*) FROM _tombolo_layouts WHERE live") ||
        !lite_db_prepare(db, "SELECT id, \"table\" FROM _tombolo_layouts WHERE live ORDER BY id",
                         &stmt, err))
        return false;
    *captures = arena_calloc(arena, (size_t)most, sizeof(**captures));
    while (*n < (size_t)most && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct lite_capture *c = &(*captures)[(*n)++];

        c->layout = sqlite3_column_int64(stmt, 0);
        c->table = arena_strdup(arena, (const char *)sqlite3_column_text(stmt, 1));
    }
    bool ok = rc == SQLITE_ROW || rc == SQLITE_DONE || lite_db_fail(db, err, "could not read");
    sqlite3_finalize(stmt);
    return ok;
}

bool lite_capture_verify(struct lite_db *db, struct arena *arena, struct lite_capture **captures,
                         size_t *n, struct err *err)
{
    struct capture_change change;
    bool intact = true;

    *captures = NULL;
    *n = 0;
    if (!db->captured)
        return true;
    if (!capture_begin(db, &change, err))
        return false;
    bool ok = read_live(db, arena, captures, n, err);
    for (size_t i = 0; ok && i < *n; i++) {
        ok = verify_one(db, arena, &(*captures)[i], err);
        intact = intact && (*captures)[i].state == LITE_CAPTURE_INTACT;
    }
    if (ok && intact)
        ok = remember_schema(db, err);
    return capture_end(db, &change, ok, err);
}

static bool is_lost(enum lite_capture_state state)
{
    return state == LITE_CAPTURE_GONE || state == LITE_CAPTURE_RENAMED ||
           state == LITE_CAPTURE_REFUSED;
}

bool lite_capture_repair(struct lite_db *db, const struct lite_capture *capture, struct err *err)
{
    if (capture->state == LITE_CAPTURE_INTACT)
        return true;
    return is_lost(capture->state) ? lite_capture_remove(db, capture->table, err)
                                   : lite_capture_install(db, capture->table, err);
}

bool lite_capture_heal(struct lite_db *db, const char *table, struct err *err)
{
    struct arena arena = {0};
    struct lite_capture c = {.table = table};
    struct err why;

    if (!capture_layout(db, table, &c.layout, err))
        return false;
    bool ok = !c.layout || verify_one(db, &arena, &c, err);
    if (ok && c.layout && !lite_capture_repair(db, &c, &why)) {
        log_warn("local writes are no longer captured", LOG_STR("table", table), LOG_ERR(&why));
        ok = lite_capture_remove(db, table, err);
    }
    arena_release(&arena);
    return ok;
}
