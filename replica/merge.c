#include "replica/merge.h"

#include "base/logging.h"
#include "replica/sql.h"
#include "replica/state.h"
#include "replica/table.h"

#include <strings.h>

static char *select_side(const char *local, const struct lite_schema *s, struct arena *arena)
{
    struct sql sql;

    sql_init(&sql);
    for (size_t i = 0; i < s->ncolumns; i++)
        sql_put(&sql, i ? ",\"%w\"" : "SELECT \"%w\"", s->columns[i].name.ptr);
    /* WHERE: without it ON CONFLICT would be read as the ON of a join */
    sql_put(&sql, " FROM \"%w%w\" WHERE true", LITE_SIDE_PREFIX, local);
    return sql_take(&sql, arena);
}

static char *delete_gone(const char *local, const struct lite_schema *s, struct arena *arena)
{
    struct sql sql;

    sql_init(&sql);
    sql_put(&sql, "DELETE FROM \"%w\"", local);
    if (s->nkey > 0) {
        sql_put(&sql, " WHERE NOT EXISTS (SELECT 1 FROM \"%w%w\" AS side", LITE_SIDE_PREFIX, local);
        for (size_t i = 0; i < s->nkey; i++) {
            const char *column = s->columns[s->key[i]].name.ptr;

            sql_put(&sql, "%s side.\"%w\" = \"%w\".\"%w\"", i ? " AND" : " WHERE", column, local,
                    column);
        }
        sql_put(&sql, ")");
    }
    return sql_take(&sql, arena);
}

static bool copy_rows(struct lite_db *db, const char *local, const struct lite_schema *s,
                      struct arena *arena, struct err *err)
{
    char *sql = lite_table_upsert_sql(s, local, select_side(local, s, arena), arena);
    struct err why;

    if (lite_db_exec(db, err, "%s", sql))
        return true;
    if (sqlite3_extended_errcode(db->db) != SQLITE_CONSTRAINT_UNIQUE)
        return false;
    return lite_unique_relax(db, local, &why) && lite_db_exec(db, err, "%s", sql);
}

/* ---- another set of columns ---- */

struct object {
    const char *type, *name, *sql;
};

static bool collect_objects(struct lite_db *db, const char *local, struct arena *arena,
                            struct object **objects, size_t *n, struct err *err)
{
    static const char sql[] =
        "SELECT type, name, sql FROM sqlite_schema WHERE tbl_name = ?1 COLLATE NOCASE "
        "AND sql IS NOT NULL AND type IN ('index', 'trigger') "
        "AND name NOT GLOB '_tombolo_capture_*'"; /* lite_capture_heal() makes those */
    sqlite3_stmt *stmt = NULL;
    int64_t most;

    if (!lite_db_int(db, 0, &most, err, "SELECT count(*) FROM sqlite_schema") ||
        !lite_db_prepare(db, sql, &stmt, err))
        return false;
    *objects = arena_calloc(arena, (size_t)most + 1, sizeof(**objects));
    sqlite3_bind_text(stmt, 1, local, -1, SQLITE_STATIC);
    for (*n = 0; *n < (size_t)most && sqlite3_step(stmt) == SQLITE_ROW; (*n)++) {
        struct object *o = &(*objects)[*n];

        o->type = arena_strdup(arena, (const char *)sqlite3_column_text(stmt, 0));
        o->name = arena_strdup(arena, (const char *)sqlite3_column_text(stmt, 1));
        o->sql = arena_strdup(arena, (const char *)sqlite3_column_text(stmt, 2));
    }
    sqlite3_finalize(stmt);
    return true;
}

static bool compiles(struct lite_db *db, const char *sql, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    bool ok = lite_db_prepare(db, sql, &stmt, err);

    sqlite3_finalize(stmt);
    return ok;
}

/* A trigger is resolved only by the statements that fire it: they are compiled to see. */
static bool works(struct lite_db *db, const char *local, const struct lite_schema *s,
                  struct arena *arena, struct err *err)
{
    struct sql sql;

    sql_init(&sql);
    sql_put(&sql, "DELETE FROM \"%w\"", local);
    return compiles(db, sql_take(&sql, arena), err) &&
           compiles(db, lite_table_upsert_sql(s, local, select_side(local, s, arena), arena), err);
}

static bool make_again(struct lite_db *db, const char *local, const struct lite_schema *s,
                       const struct object *o, struct arena *arena, struct err *err)
{
    struct err why;

    if (lite_db_try(db, &why, o->sql)) {
        if (works(db, local, s, arena, &why))
            return true;
        if (!lite_db_exec(db, err, "DROP %s \"%w\"", o->type, o->name))
            return false;
    }
    log_warn("dropped, for the table's columns have changed", LOG_STR("type", o->type),
             LOG_STR("name", o->name), LOG_STR("table", local), LOG_ERR(&why));
    return true;
}

static bool rebuild(struct lite_db *db, const char *local, const struct lite_schema *s,
                    struct arena *arena, struct err *err)
{
    struct object *objects;
    size_t n;

    /* Deleted first, so that triggers of the user's which keep something in step see the rows go.
     */
    if (!collect_objects(db, local, arena, &objects, &n, err) ||
        !lite_db_exec(db, err, "DELETE FROM \"%w\"; DROP TABLE \"%w\"", local, local) ||
        !lite_db_exec(db, err, "%s", lite_schema_ddl(s, local, arena)))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!make_again(db, local, s, &objects[i], arena, err))
            return false;
    }
    return copy_rows(db, local, s, arena, err);
}

bool lite_merge(struct lite_db *db, const char *local, const struct lite_schema *schema, bool same,
                struct err *err)
{
    struct arena arena = {0};
    bool ok;

    if (same)
        ok = lite_db_exec(db, err, "%s", delete_gone(local, schema, &arena)) &&
             copy_rows(db, local, schema, &arena, err);
    else
        ok = rebuild(db, local, schema, &arena, err);
    ok = ok && lite_db_exec(db, err, "DROP TABLE \"%w%w\"", LITE_SIDE_PREFIX, local);
    arena_release(&arena);
    return ok || err_wrap(err, "table \"%s\"", local);
}

/* ---- a table of the user's ---- */

static const struct lite_column *find_column(const struct lite_schema *s, const char *name)
{
    for (size_t i = 0; i < s->ncolumns; i++) {
        if (strcasecmp(s->columns[i].name.ptr, name) == 0)
            return &s->columns[i];
    }
    return NULL;
}

/* One column of the user's; counts those that are ours. */
static bool check_column(const struct lite_schema *s, const char *name, const char *type,
                         bool not_null, bool has_default, size_t *ours, struct err *err)
{
    const struct lite_column *c = find_column(s, name);
    const char *decl = c ? lite_type_decl(c->lite) : "";
    size_t n = strcspn(decl, " ");

    if (c && (strlen(type) != n || strncasecmp(type, decl, n) != 0))
        return err_set(err, ERR_INPUT, "column \"%s\" is declared \"%s\" and would have to be %.*s",
                       name, type, (int)n, decl);
    if (not_null && (c ? c->pk_index < 0 : !has_default))
        return err_set(err, ERR_INPUT, "column \"%s\" is NOT NULL, which could refuse rows", name);
    *ours += c != NULL;
    return true;
}

bool lite_merge_adoptable(struct lite_db *db, const char *local, const struct lite_schema *schema,
                          struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    struct lite_table table;
    size_t ours = 0;
    bool ok = true;

    if (!lite_db_prepare(db,
                         "SELECT name, type, \"notnull\", dflt_value FROM pragma_table_info(?1)",
                         &stmt, err))
        return false;
    sqlite3_bind_text(stmt, 1, local, -1, SQLITE_STATIC);
    while (ok && sqlite3_step(stmt) == SQLITE_ROW)
        ok = check_column(schema, (const char *)sqlite3_column_text(stmt, 0),
                          (const char *)sqlite3_column_text(stmt, 1), sqlite3_column_int(stmt, 2),
                          sqlite3_column_type(stmt, 3) != SQLITE_NULL, &ours, err);
    sqlite3_finalize(stmt);
    if (ok && ours < schema->ncolumns)
        ok = err_set(err, ERR_INPUT, "it lacks columns of the shape");
    if (ok) {
        lite_table_init(&table, db, schema, local);
        if (!lite_table_fits(&table))
            ok = err_set(err, ERR_INPUT, "its primary key is not the one in Postgres");
        lite_table_release(&table);
    }
    if (ok)
        return true;
    err_wrap(err, "table \"%s\" cannot be adopted", local);
    return err_hint(err, "rename or drop it, and sync into a table of Tombolo's");
}
