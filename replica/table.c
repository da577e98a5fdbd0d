#include "replica/table.h"

#include "replica/sql.h"

#include <stdlib.h>

void lite_table_init(struct lite_table *table, struct lite_db *db, const struct lite_schema *schema,
                     const char *name)
{
    *table = (struct lite_table){.db = db, .schema = schema};
    table->name = arena_strdup(&table->arena, name);
    table->cells = arena_calloc(&table->arena, schema->ncolumns, sizeof(*table->cells));
}

void lite_table_release(struct lite_table *table)
{
    sqlite3_finalize(table->insert);
    sqlite3_finalize(table->upsert);
    sqlite3_finalize(table->remove);
    sqlite3_finalize(table->get);
    for (size_t i = 0; i < LITE_UPDATES; i++)
        sqlite3_finalize(table->updates[i].stmt);
    arena_release(&table->arena);
    arena_release(&table->scratch);
    *table = (struct lite_table){0};
}

/* ---- the statements ---- */

static void put_list(struct sql *sql, const struct lite_schema *s, const char *fmt)
{
    for (size_t i = 0; i < s->ncolumns; i++) {
        if (i > 0)
            sql_put(sql, ",");
        sql_put(sql, fmt, s->columns[i].name.ptr);
    }
}

static const char *exactly(const struct lite_column *c)
{
    return lite_type_folds(c->lite) ? " COLLATE BINARY" : "";
}

static void put_changed_columns(struct sql *sql, const struct lite_schema *s)
{
    const char *comma = "";

    sql_put(sql, " WHERE (");
    for (size_t i = 0; i < s->ncolumns; i++, comma = ",")
        sql_put(sql, "%s\"%w\"%s", comma, s->columns[i].name.ptr, exactly(&s->columns[i]));
    sql_put(sql, ") IS NOT (");
    put_list(sql, s, "excluded.\"%w\"");
    sql_put(sql, ")");
}

/* A key that differs only in what its collation ignores is the same row with
 * another spelling: such a column is set too. */
static bool is_set_by_upsert(const struct lite_column *c)
{
    return c->pk_index < 0 || lite_type_folds(c->lite);
}

char *lite_table_upsert_sql(const struct lite_schema *s, const char *name, const char *source,
                            struct arena *arena)
{
    struct sql sql;
    bool any = false;

    sql_init(&sql);
    sql_put(&sql, "INSERT INTO \"%w\"(", name);
    put_list(&sql, s, "\"%w\"");
    sql_put(&sql, ") %s", source);
    if (s->nkey > 0) {
        sql_put(&sql, " ON CONFLICT(");
        for (size_t i = 0; i < s->nkey; i++)
            sql_put(&sql, i ? ",\"%w\"" : "\"%w\"", s->columns[s->key[i]].name.ptr);
        sql_put(&sql, ") DO ");
        for (size_t i = 0; i < s->ncolumns; i++) {
            const char *column = s->columns[i].name.ptr;

            if (!is_set_by_upsert(&s->columns[i]))
                continue;
            sql_put(&sql, any ? ",\"%w\"=excluded.\"%w\"" : "UPDATE SET \"%w\"=excluded.\"%w\"",
                    column, column);
            any = true;
        }
        if (any)
            put_changed_columns(&sql, s);
        else
            sql_put(&sql, "NOTHING");
    }
    return sql_take(&sql, arena);
}

static char *values_list(const struct lite_schema *s, struct arena *arena)
{
    struct sql sql;

    sql_init(&sql);
    for (size_t i = 0; i < s->ncolumns; i++)
        sql_put(&sql, i ? ",?%d" : "VALUES (?%d", (int)i + 1);
    sql_put(&sql, ")");
    return sql_take(&sql, arena);
}

static bool prepare_insert(struct lite_table *t, bool fresh, sqlite3_stmt **stmt, struct err *err)
{
    const char *values = values_list(t->schema, &t->scratch);
    struct sql sql;

    if (*stmt)
        return true;
    if (!fresh)
        return lite_db_prepare(
            t->db, lite_table_upsert_sql(t->schema, t->name, values, &t->scratch), stmt, err);
    sql_init(&sql);
    sql_put(&sql, "INSERT INTO \"%w\"(", t->name);
    put_list(&sql, t->schema, "\"%w\"");
    sql_put(&sql, ") %s", values);
    return lite_db_prepare(t->db, sql_take(&sql, &t->scratch), stmt, err);
}

static void put_key_condition(struct sql *sql, const struct lite_schema *s)
{
    for (size_t i = 0; i < s->nkey; i++)
        sql_put(sql, "%s\"%w\"=?%d", i ? " AND " : " WHERE ", s->columns[s->key[i]].name.ptr,
                (int)s->key[i] + 1);
}

static bool prepare_remove(struct lite_table *t, struct err *err)
{
    const char *rowid = lite_schema_rowid(t->schema);
    struct sql sql;

    if (t->remove)
        return true;
    sql_init(&sql);
    sql_put(&sql, "DELETE FROM \"%w\"", t->name);
    put_key_condition(&sql, t->schema);
    if (t->schema->nkey == 0) {
        sql_put(&sql, " WHERE %s = (SELECT %s FROM \"%w\"", rowid, rowid, t->name);
        for (size_t i = 0; i < t->schema->ncolumns; i++)
            sql_put(&sql, "%s\"%w\"%s IS ?%d", i ? " AND " : " WHERE ",
                    t->schema->columns[i].name.ptr, exactly(&t->schema->columns[i]), (int)i + 1);
        sql_put(&sql, " LIMIT 1)");
    }
    return lite_db_prepare(t->db, sql_take(&sql, &t->scratch), &t->remove, err);
}

static char *update_sql(struct lite_table *t)
{
    const struct lite_schema *s = t->schema;
    struct sql sql;
    bool any = false;

    sql_init(&sql);
    sql_put(&sql, "UPDATE \"%w\"", t->name);
    for (size_t i = 0; i < s->ncolumns; i++) {
        if (!t->cells[i].present || !is_set_by_upsert(&s->columns[i]))
            continue;
        sql_put(&sql, any ? ",\"%w\"=?%d" : " SET \"%w\"=?%d", s->columns[i].name.ptr, (int)i + 1);
        any = true;
    }
    if (!any) /* the key alone came: only ask whether the row is there */
        sql_put(&sql, " SET \"%w\"=\"%w\"", s->columns[s->key[0]].name.ptr,
                s->columns[s->key[0]].name.ptr);
    put_key_condition(&sql, s);
    return sql_take(&sql, &t->scratch);
}

/* One statement a set of columns; the sets that a program updates are few. */
static bool prepare_update(struct lite_table *t, sqlite3_stmt **stmt, struct err *err)
{
    size_t n = t->schema->ncolumns;
    unsigned char *mask = arena_alloc(&t->scratch, n);

    for (size_t i = 0; i < n; i++)
        mask[i] = t->cells[i].present;
    for (size_t i = 0; i < LITE_UPDATES; i++) {
        if (t->updates[i].stmt && memcmp(t->updates[i].mask, mask, n) == 0) {
            *stmt = t->updates[i].stmt;
            return true;
        }
    }
    struct lite_update *place = &t->updates[t->next_update++ % LITE_UPDATES];
    sqlite3_finalize(place->stmt);
    place->stmt = NULL;
    if (!place->mask)
        place->mask = arena_alloc(&t->arena, n);
    memcpy(place->mask, mask, n);
    bool ok = lite_db_prepare(t->db, update_sql(t), &place->stmt, err);
    *stmt = place->stmt;
    return ok;
}

/* ---- running them ---- */

static int bind(sqlite3_stmt *stmt, int at, const struct lite_value *v)
{
    switch (v->storage) {
    case LITE_INTEGER:
        return sqlite3_bind_int64(stmt, at, v->integer);
    case LITE_REAL:
        return sqlite3_bind_double(stmt, at, v->real);
    case LITE_TEXT:
        return sqlite3_bind_text64(stmt, at, v->bytes.ptr, v->bytes.len, SQLITE_STATIC,
                                   SQLITE_UTF8);
    case LITE_BLOB: /* a NULL pointer would be a NULL: an empty blob has one that is not */
        return sqlite3_bind_blob64(stmt, at, v->bytes.len ? v->bytes.ptr : "", v->bytes.len,
                                   SQLITE_STATIC);
    default:
        return sqlite3_bind_null(stmt, at);
    }
}

bool lite_value_bind(sqlite3_stmt *stmt, int at, const struct lite_value *v)
{
    return bind(stmt, at, v) == SQLITE_OK;
}

/* Binds the cells that are there to the parameters of their numbers. */
static bool bind_cells(struct lite_table *t, sqlite3_stmt *stmt, bool key_only, struct err *err)
{
    for (size_t i = 0; i < t->schema->ncolumns; i++) {
        const struct lite_column *c = &t->schema->columns[i];
        const struct lite_cell *cell = &t->cells[i];
        struct lite_value v = {.storage = LITE_NULL};

        if (!cell->present || (key_only && c->pk_index < 0))
            continue;
        if (cell->text.ptr && !lite_from_pg(c->lite, cell->text, &t->scratch, &v, err))
            return err_wrap(err, "table \"%s\", column \"%s\"", t->name, c->name.ptr);
        if (!lite_value_bind(stmt, (int)i + 1, &v))
            return lite_db_fail(t->db, err, "could not bind a value");
    }
    return true;
}

/* One step; a user's unique index that refuses is relaxed, and the step made again. */
static int step(struct lite_table *t, sqlite3_stmt *stmt, struct err *err)
{
    int rc = sqlite3_step(stmt);

    if (rc == SQLITE_DONE) {
        sqlite3_reset(stmt);
        return rc;
    }
    char what[200];
    sqlite3_snprintf(sizeof(what), what, "table \"%s\"", t->name);
    lite_db_fail(t->db, err, what);
    sqlite3_reset(stmt);
    struct err ignored;
    if (rc == SQLITE_CONSTRAINT_UNIQUE && !t->db->strict &&
        lite_unique_relax(t->db, t->name, &ignored)) {
        rc = sqlite3_step(stmt);
        if (rc != SQLITE_DONE)
            lite_db_fail(t->db, err, what);
        sqlite3_reset(stmt);
    }
    return rc;
}

bool lite_table_fits(struct lite_table *t)
{
    struct err ignored;

    arena_reset(&t->scratch);
    return prepare_insert(t, false, &t->upsert, &ignored);
}

bool lite_table_insert(struct lite_table *t, struct err *err)
{
    arena_reset(&t->scratch);
    return (t->upsert || prepare_insert(t, false, &t->upsert, err)) &&
           bind_cells(t, t->upsert, false, err) && step(t, t->upsert, err) == SQLITE_DONE;
}

static bool bind_values(struct lite_table *t, sqlite3_stmt *stmt, const struct lite_value *values,
                        struct err *err)
{
    for (size_t i = 0; i < t->schema->ncolumns; i++) {
        if (!lite_value_bind(stmt, (int)i + 1, &values[i]))
            return lite_db_fail(t->db, err, "could not bind a value");
    }
    return true;
}

bool lite_table_insert_new(struct lite_table *t, const struct lite_value *values, struct err *err)
{
    arena_reset(&t->scratch);
    if ((!t->insert && !prepare_insert(t, true, &t->insert, err)) ||
        !bind_values(t, t->insert, values, err))
        return false;
    int rc = sqlite3_step(t->insert);
    sqlite3_reset(t->insert);
    if (rc == SQLITE_DONE)
        return true;
    if ((rc & 0xff) != SQLITE_CONSTRAINT) /* the transaction may be gone: nothing more into it */
        return lite_db_fail(t->db, err, "could not insert");
    /* It was there after all, or a unique index refuses: the careful way finds out. */
    return (t->upsert || prepare_insert(t, false, &t->upsert, err)) &&
           bind_values(t, t->upsert, values, err) && step(t, t->upsert, err) == SQLITE_DONE;
}

bool lite_table_update(struct lite_table *t, bool *found, struct err *err)
{
    sqlite3_stmt *stmt;

    arena_reset(&t->scratch);
    if (!prepare_update(t, &stmt, err) || !bind_cells(t, stmt, false, err) ||
        step(t, stmt, err) != SQLITE_DONE)
        return false;
    *found = sqlite3_changes(t->db->db) > 0;
    return true;
}

bool lite_table_remove(struct lite_table *t, bool *found, struct err *err)
{
    arena_reset(&t->scratch);
    if (!prepare_remove(t, err) || !bind_cells(t, t->remove, t->schema->nkey > 0, err) ||
        step(t, t->remove, err) != SQLITE_DONE)
        return false;
    *found = sqlite3_changes(t->db->db) > 0;
    return true;
}

/* ---- reading ---- */

void lite_value_read(sqlite3_stmt *stmt, int column, struct arena *arena, struct lite_value *v)
{
    *v = (struct lite_value){.storage = LITE_NULL};
    switch (sqlite3_column_type(stmt, column)) {
    case SQLITE_INTEGER:
        v->storage = LITE_INTEGER;
        v->integer = sqlite3_column_int64(stmt, column);
        return;
    case SQLITE_FLOAT:
        v->storage = LITE_REAL;
        v->real = sqlite3_column_double(stmt, column);
        return;
    case SQLITE_TEXT:
        v->storage = LITE_TEXT;
        v->bytes.ptr = (const char *)sqlite3_column_text(stmt, column);
        break;
    case SQLITE_BLOB:
        v->storage = LITE_BLOB;
        v->bytes.ptr = sqlite3_column_blob(stmt, column);
        break;
    default:
        return;
    }
    v->bytes.len = (size_t)sqlite3_column_bytes(stmt, column);
    v->bytes = arena_copy(arena, v->bytes);
}

static bool prepare_get(struct lite_table *t, struct err *err)
{
    struct sql sql;

    if (t->get)
        return true;
    sql_init(&sql);
    sql_put(&sql, "SELECT ");
    put_list(&sql, t->schema, "\"%w\"");
    sql_put(&sql, " FROM \"%w\"", t->name);
    put_key_condition(&sql, t->schema);
    return lite_db_prepare(t->db, sql_take(&sql, &t->scratch), &t->get, err);
}

bool lite_table_get(struct lite_table *t, bool *found, struct err *err)
{
    arena_reset(&t->scratch);
    if (!prepare_get(t, err) || !bind_cells(t, t->get, true, err))
        return false;
    int rc = sqlite3_step(t->get);
    *found = rc == SQLITE_ROW;
    for (size_t i = 0; *found && i < t->schema->ncolumns; i++) {
        struct lite_value v;

        lite_value_read(t->get, (int)i, &t->scratch, &v);
        lite_to_pg(t->schema->columns[i].lite, &v, &t->scratch, &t->cells[i].text);
        t->cells[i].present = true;
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        lite_db_fail(t->db, err, "could not read a row");
    sqlite3_reset(t->get);
    return rc == SQLITE_ROW || rc == SQLITE_DONE;
}
