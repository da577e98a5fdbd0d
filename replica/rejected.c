/*
 * Local writes that were refused, read and looked after by a connection of its own. Trying one
 * again is an ordinary local write: the triggers capture it, and it goes up as any other.
 */
#include "replica/replica.h"

#include "base/arena.h"
#include "replica/image.h"
#include "replica/look.h"
#include "replica/sql.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- reading ------------------------------------------------------------- */

static char *copy_text(sqlite3_stmt *stmt, int column)
{
    const char *text = (const char *)sqlite3_column_text(stmt, column);

    return text ? xstrdup(text) : NULL;
}

static void read_one(sqlite3_stmt *stmt, struct replica_rejected *r)
{
    *r = (struct replica_rejected){.id = sqlite3_column_int64(stmt, 0),
                                   .at = sqlite3_column_int64(stmt, 1),
                                   .write = sqlite3_column_int64(stmt, 2),
                                   .table = copy_text(stmt, 3),
                                   .op = copy_text(stmt, 4),
                                   .key = copy_text(stmt, 5),
                                   .before = copy_text(stmt, 6),
                                   .after = copy_text(stmt, 7),
                                   .code = copy_text(stmt, 8),
                                   .sqlstate = copy_text(stmt, 9),
                                   .message = copy_text(stmt, 10)};
}

static const char columns[] = "SELECT id, at, txn, \"table\", op, \"key\", before, after, code,"
                              " sqlstate, message FROM _tombolo_rejected";

static bool read_list(struct lite_db *db, const char *where, struct replica_rejected **list,
                      size_t *n, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    char *sql = sqlite3_mprintf("%s WHERE %s ORDER BY id", columns, where);
    int rc = SQLITE_DONE;

    bool ok = lite_db_prepare(db, sql, &stmt, err);
    sqlite3_free(sql);
    while (ok && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        *list = xrealloc(*list, (*n + 1) * sizeof(**list));
        read_one(stmt, &(*list)[(*n)++]);
    }
    if (ok && rc != SQLITE_DONE)
        ok = lite_db_fail(db, err, "could not read");
    sqlite3_finalize(stmt);
    return ok;
}

bool replica_rejected_read(const char *path, struct replica_rejected **list, size_t *n,
                           struct err *err)
{
    struct lite_db db;
    int64_t there = 0;

    *list = NULL;
    *n = 0;
    if (!lite_look_open(&db, path, err))
        return false;
    bool ok = lite_db_int(&db, 0, &there, err,
                          "SELECT count(*) FROM sqlite_schema WHERE name = '_tombolo_rejected'") &&
              (!there || read_list(&db, "true", list, n, err));
    lite_look_close(&db);
    return ok || err_wrap(err, "%s", path);
}

void replica_rejected_release(struct replica_rejected *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *const texts[] = {list[i].table, list[i].op,   list[i].key,      list[i].before,
                               list[i].after, list[i].code, list[i].sqlstate, list[i].message};

        for (size_t t = 0; t < sizeof(texts) / sizeof(texts[0]); t++)
            free(texts[t]);
    }
    free(list);
}

/* ---- once more ----------------------------------------------------------- */

static bool read_schema(struct lite_db *db, const char *table, struct arena *arena,
                        struct lite_schema *schema, struct err *err)
{
    sqlite3_stmt *stmt = NULL;

    if (!lite_db_prepare(db, "SELECT schema_json FROM _tombolo_shapes WHERE local = ?1", &stmt,
                         err))
        return false;
    sqlite3_bind_text(stmt, 1, table, -1, SQLITE_STATIC);
    const char *json =
        sqlite3_step(stmt) == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    bool ok = json ? lite_schema_read(slice_of(json), arena, schema, err)
                   : err_set(err, ERR_NOT_FOUND, "table \"%s\" is not synced any more", table);
    sqlite3_finalize(stmt);
    return ok;
}

/* UPDATE with the key as it was and the columns that change, the key's too. */
static bool prepare_update(struct lite_db *db, const struct lite_schema *s, const char *table,
                           const struct lite_cell *key, const struct lite_cell *after,
                           struct arena *arena, sqlite3_stmt **stmt, struct err *err)
{
    const char *before = " SET ";
    struct sql sql;

    sql_init(&sql);
    sql_put(&sql, "UPDATE \"%w\"", table);
    for (size_t i = 0; i < s->ncolumns; i++) {
        if (!after[i].present)
            continue;
        sql_put(&sql, "%s\"%w\" = ?%d", before, s->columns[i].name.ptr, (int)i + 1);
        before = ", ";
    }
    before = " WHERE ";
    for (size_t i = 0; i < s->ncolumns; i++) {
        if (!key[i].present)
            continue;
        sql_put(&sql, "%s\"%w\" = ?%d", before, s->columns[i].name.ptr, (int)(s->ncolumns + i) + 1);
        before = " AND ";
    }
    return lite_db_prepare(db, sql_take(&sql, arena), stmt, err);
}

static bool bind_all(struct lite_db *db, const struct lite_schema *s, const struct lite_cell *cells,
                     int first, struct arena *arena, sqlite3_stmt *stmt, struct err *err)
{
    for (size_t i = 0; i < s->ncolumns; i++) {
        struct lite_value v = {.storage = LITE_NULL};

        if (!cells[i].present)
            continue;
        if (cells[i].text.ptr && !lite_from_pg(s->columns[i].lite, cells[i].text, arena, &v, err))
            return false;
        if (!lite_value_bind(stmt, first + (int)i, &v))
            return lite_db_fail(db, err, "could not bind a value");
    }
    return true;
}

static bool retry_update(struct lite_db *db, const struct lite_schema *s,
                         const struct replica_rejected *r, const struct lite_cell *key,
                         const struct lite_cell *after, struct arena *arena, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    bool ok = prepare_update(db, s, r->table, key, after, arena, &stmt, err) &&
              bind_all(db, s, after, 1, arena, stmt, err) &&
              bind_all(db, s, key, (int)s->ncolumns + 1, arena, stmt, err) &&
              (sqlite3_step(stmt) == SQLITE_DONE || lite_db_fail(db, err, "SQLite refuses it"));

    if (ok && sqlite3_changes(db->db) == 0)
        ok = err_set(err, ERR_NOT_FOUND, "its row %s is not there any more: discard it", r->key);
    sqlite3_finalize(stmt);
    return ok;
}

static bool retry(struct lite_db *db, const struct replica_rejected *r, struct arena *arena,
                  struct err *err)
{
    struct lite_schema s;
    struct lite_table t;
    bool found;

    if (!read_schema(db, r->table, arena, &s, err))
        return false;
    struct lite_cell *key = arena_calloc(arena, s.ncolumns, sizeof(*key));
    struct lite_cell *after = arena_calloc(arena, s.ncolumns, sizeof(*after));
    for (size_t i = 0; i < s.ncolumns && *r->op == 'I'; i++)
        after[i].present = true;
    if (!lite_image_read(r->key, &s, key, arena, err) ||
        (r->after && !lite_image_read(r->after, &s, after, arena, err)))
        return false;
    if (*r->op == 'U')
        return retry_update(db, &s, r, key, after, arena, err);
    lite_table_init(&t, db, &s, r->table);
    memcpy(t.cells, *r->op == 'I' ? after : key, s.ncolumns * sizeof(*key));
    bool ok = *r->op == 'I' ? lite_table_insert(&t, err) : lite_table_remove(&t, &found, err);
    lite_table_release(&t);
    return ok;
}

/* ---- looking after ------------------------------------------------------- */

static bool look_after(struct lite_db *db, int64_t id, bool again, struct err *err)
{
    struct replica_rejected *list = NULL;
    struct arena arena = {0};
    size_t n = 0;
    char where[48];

    snprintf(where, sizeof(where), "id = %lld", (long long)id);
    bool ok = lite_db_exec(db, err, "BEGIN IMMEDIATE") && read_list(db, where, &list, &n, err);
    if (ok && n == 0)
        ok = err_set(err, ERR_NOT_FOUND, "there is no refused write %lld", (long long)id);
    ok = ok && (!again || retry(db, &list[0], &arena, err)) &&
         lite_db_exec(db, err, "DELETE FROM _tombolo_rejected WHERE id = %lld; COMMIT",
                      (long long)id);
    replica_rejected_release(list, n);
    arena_release(&arena);
    return ok;
}

static bool with_file(const char *path, int64_t id, bool again, struct err *err)
{
    struct lite_db db;

    if (!lite_look_open(&db, path, err))
        return false;
    bool ok = look_after(&db, id, again, err); /* closing takes back what is not committed */
    lite_look_close(&db);
    return ok || err_wrap(err, "%s", path);
}

bool replica_rejected_discard(const char *path, int64_t id, struct err *err)
{
    return with_file(path, id, false, err);
}

bool replica_rejected_retry(const char *path, int64_t id, struct err *err)
{
    return with_file(path, id, true, err);
}
