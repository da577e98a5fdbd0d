#include "replica/capture_table.h"

#include "replica/capture_index.h"

#include <strings.h>

/* A trigger's outbox row holds both images beside its own columns; SQLite allows 2000 in all. */
#define MOST_COLUMNS 990

static const char *text_at(sqlite3_stmt *stmt, int column, struct arena *arena)
{
    const char *text = (const char *)sqlite3_column_text(stmt, column);

    return text ? arena_strdup(arena, text) : NULL;
}

/* Ends the reading of rows: whether the last step was their end. */
static bool finish(struct lite_db *db, sqlite3_stmt *stmt, int rc, struct err *err)
{
    bool ok = rc == SQLITE_DONE || lite_db_fail(db, err, "could not read the schema");

    sqlite3_finalize(stmt);
    return ok;
}

static bool refuse(struct err *err, const char *name, const char *why, const char *hint)
{
    err_set(err, ERR_INPUT, "local writes to \"%s\" cannot be captured: %s", name, why);
    return hint ? err_hint(err, "%s", hint) : false;
}

/* ---- the table ---- */

static bool is_reserved(const char *name)
{
    return strcasecmp(name, "old") == 0 || strcasecmp(name, "new") == 0;
}

static bool check_kind(const char *name, const char *kind, struct err *err)
{
    if (strcmp(kind, "view") == 0)
        return refuse(err, name, "it is a view", "capture the tables that it reads");
    if (strcmp(kind, "virtual") == 0 || strcmp(kind, "shadow") == 0)
        return refuse(err, name, "it is a virtual table, on which SQLite has no triggers",
                      "keep it in step by triggers on an ordinary table, and capture that");
    if (strncasecmp(name, "sqlite_", 7) == 0 || strncasecmp(name, "_tombolo_", 9) == 0)
        return refuse(err, name, "it is not a table of the user's", NULL);
    if (is_reserved(name))
        return refuse(err, name, "a trigger's old and new rows have that name", "rename it");
    return true;
}

static bool read_name(struct lite_db *db, const char *name, struct arena *arena,
                      struct capture_table *table, struct err *err)
{
    static const char sql[] = "SELECT name, type FROM pragma_table_list "
                              "WHERE schema = 'main' AND name = ?1 COLLATE NOCASE";
    sqlite3_stmt *stmt = NULL;
    const char *kind = NULL;

    if (!lite_db_prepare(db, sql, &stmt, err))
        return false;
    sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        table->name = text_at(stmt, 0, arena);
        kind = text_at(stmt, 1, arena);
        rc = SQLITE_DONE;
    }
    if (!finish(db, stmt, rc, err))
        return false;
    return kind ? check_kind(table->name, kind, err) : refuse(err, name, "there is none", NULL);
}

/* ---- its columns ---- */

static bool count_columns(struct lite_db *db, const char *name, size_t *n, struct err *err)
{
    int64_t count;

    if (!lite_db_int(db, 0, &count, err, "SELECT count(*) FROM pragma_table_xinfo(%Q)", name))
        return false;
    *n = (size_t)count;
    return true;
}

static bool collect_key(struct capture_table *t, struct arena *arena, struct err *err)
{
    t->key = arena_calloc(arena, t->ncolumns, sizeof(*t->key));
    for (size_t i = 0; i < t->ncolumns; i++)
        t->nkey += t->columns[i].key >= 0;
    for (size_t i = 0; i < t->ncolumns; i++) {
        if (t->columns[i].key >= (int)t->nkey)
            return refuse(err, t->name, "a generated column is in its primary key", NULL);
        if (t->columns[i].key >= 0)
            t->key[t->columns[i].key] = i;
    }
    if (t->nkey == 0)
        return refuse(err, t->name,
                      "it has no primary key, so that nothing says which row is meant",
                      "give it the primary key that it has in Postgres");
    if (t->ncolumns > MOST_COLUMNS)
        return refuse(err, t->name, "it has more than 990 columns", NULL);
    return true;
}

static bool read_columns(struct lite_db *db, struct arena *arena, struct capture_table *t,
                         struct err *err)
{
    static const char sql[] = "SELECT name, \"notnull\", pk FROM pragma_table_xinfo(?1) "
                              "WHERE hidden = 0 ORDER BY cid";
    sqlite3_stmt *stmt = NULL;
    size_t most;
    int rc = SQLITE_DONE;

    if (!count_columns(db, t->name, &most, err) || !lite_db_prepare(db, sql, &stmt, err))
        return false;
    t->columns = arena_calloc(arena, most, sizeof(*t->columns));
    sqlite3_bind_text(stmt, 1, t->name, -1, SQLITE_STATIC);
    while (t->ncolumns < most && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct capture_column *c = &t->columns[t->ncolumns++];

        c->name = text_at(stmt, 0, arena);
        c->not_null = sqlite3_column_int(stmt, 1) != 0;
        c->key = sqlite3_column_int(stmt, 2) - 1;
    }
    if (!finish(db, stmt, rc == SQLITE_ROW ? SQLITE_DONE : rc, err))
        return false;
    return collect_key(t, arena, err);
}

size_t capture_table_find(const struct capture_table *table, const char *column)
{
    size_t i = 0;

    while (i < table->ncolumns && strcasecmp(table->columns[i].name, column) != 0)
        i++;
    return i;
}

/* ---- what is unique in it ---- */

static void read_part(const struct capture_table *t, sqlite3_stmt *stmt, const char *made_by,
                      struct arena *arena, struct capture_index *index)
{
    struct capture_part *part = &index->parts[index->nparts];

    part->column = text_at(stmt, 0, arena);
    part->collation = text_at(stmt, 1, arena);
    if (!part->column && made_by)
        part->expression = capture_index_part(made_by, index->nparts, arena);
    if (!part->column || capture_table_find(t, part->column) == t->ncolumns)
        index->simple = false; /* what it depends on is not to be seen here */
    index->nparts++;
}

static bool read_parts(struct lite_db *db, const struct capture_table *t, const char *made_by,
                       struct arena *arena, struct capture_index *index, struct err *err)
{
    static const char sql[] =
        "SELECT name, coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno";
    sqlite3_stmt *stmt = NULL;
    int64_t count;
    int rc = SQLITE_DONE;

    if (!lite_db_int(db, 0, &count, err, "SELECT count(*) FROM pragma_index_xinfo(%Q)",
                     index->name) ||
        !lite_db_prepare(db, sql, &stmt, err))
        return false;
    index->parts = arena_calloc(arena, (size_t)count, sizeof(*index->parts));
    sqlite3_bind_text(stmt, 1, index->name, -1, SQLITE_STATIC);
    while (index->nparts < (size_t)count && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
        read_part(t, stmt, made_by, arena, index);
    if (!finish(db, stmt, rc == SQLITE_ROW ? SQLITE_DONE : rc, err))
        return false;
    for (size_t i = 0; i < index->nparts; i++) {
        if (!index->parts[i].column && !index->parts[i].expression)
            return refuse(err, t->name, "the statement of one of its unique indexes is unreadable",
                          NULL);
    }
    return true;
}

static void add_rowid(struct capture_table *t, struct arena *arena)
{
    struct capture_index *index = &t->indexes[t->nindexes++];

    t->rowid = true;
    *index = (struct capture_index){.name = "", .nparts = 1, .key = true, .simple = true};
    index->parts = arena_calloc(arena, 1, sizeof(*index->parts));
    index->parts[0].column = t->columns[t->key[0]].name;
    index->parts[0].collation = "BINARY";
}

static bool read_indexes(struct lite_db *db, struct arena *arena, struct capture_table *t,
                         struct err *err)
{
    static const char sql[] =
        "SELECT l.name, l.origin = 'pk', l.partial, s.sql FROM pragma_index_list(?1) l"
        " LEFT JOIN sqlite_schema s ON s.type = 'index' AND s.name = l.name"
        " WHERE l.\"unique\" ORDER BY l.origin <> 'pk', l.name";
    sqlite3_stmt *stmt = NULL;
    int64_t count;
    int rc = SQLITE_DONE;
    bool ok = true;

    if (!lite_db_int(db, 0, &count, err, "SELECT count(*) FROM pragma_index_list(%Q)", t->name) ||
        !lite_db_prepare(db, sql, &stmt, err))
        return false;
    t->indexes = arena_calloc(arena, (size_t)count + 1, sizeof(*t->indexes));
    sqlite3_bind_text(stmt, 1, t->name, -1, SQLITE_STATIC);
    while (ok && t->nindexes <= (size_t)count && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *made_by = text_at(stmt, 3, arena);

        if (t->nindexes == 0 && !sqlite3_column_int(stmt, 1))
            add_rowid(t, arena);
        struct capture_index *index = &t->indexes[t->nindexes++];
        index->name = text_at(stmt, 0, arena);
        index->key = sqlite3_column_int(stmt, 1) != 0;
        index->where =
            sqlite3_column_int(stmt, 2) ? capture_index_where(made_by ? made_by : "", arena) : NULL;
        index->simple = sqlite3_column_int(stmt, 2) == 0;
        ok = read_parts(db, t, made_by, arena, index, err);
    }
    if (!finish(db, stmt, rc == SQLITE_ROW ? SQLITE_DONE : rc, err) || !ok)
        return false;
    if (t->nindexes == 0)
        add_rowid(t, arena);
    return true;
}

bool capture_table_read(struct lite_db *db, const char *name, struct arena *arena,
                        struct capture_table *table, struct err *err)
{
    *table = (struct capture_table){0};
    return read_name(db, name, arena, table, err) && read_columns(db, arena, table, err) &&
           read_indexes(db, arena, table, err);
}
