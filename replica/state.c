#include "replica/state.h"

#include "base/clock.h"
#include "replica/capture.h"
#include "replica/pending.h"

#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#define FORMAT 1

static const char tables[] =
    "CREATE TABLE IF NOT EXISTS _tombolo_state("
    "id INTEGER PRIMARY KEY CHECK (id = 1), format INTEGER NOT NULL, replica TEXT NOT NULL,"
    " position INTEGER NOT NULL DEFAULT 0, consistent INTEGER NOT NULL DEFAULT 0, at INTEGER,"
    " applied_at INTEGER, lease_pid INTEGER, lease_host TEXT, lease_at INTEGER);"
    "CREATE TABLE IF NOT EXISTS _tombolo_shapes("
    "id INTEGER PRIMARY KEY, \"schema\" TEXT NOT NULL, \"table\" TEXT NOT NULL,"
    " local TEXT NOT NULL, \"where\" TEXT, params TEXT, columns TEXT, handle TEXT,"
    " \"offset\" INTEGER, status TEXT NOT NULL, reason TEXT, schema_json TEXT);"
    "CREATE TABLE IF NOT EXISTS _tombolo_columns("
    "\"table\" TEXT NOT NULL, \"column\" TEXT NOT NULL, place INTEGER NOT NULL,"
    " pgtype TEXT NOT NULL, base TEXT, dims INTEGER NOT NULL, pk_index INTEGER,"
    " not_null INTEGER NOT NULL, PRIMARY KEY (\"table\", \"column\"))";

static const char *const status_texts[] = {
    [LITE_FETCHING] = "fetching", [LITE_LIVE] = "live", [LITE_REFETCHING] = "refetching"};

const char *lite_status_text(enum lite_status status)
{
    return status_texts[status];
}

static bool run(struct lite_db *db, sqlite3_stmt *stmt, const char *what, struct err *err)
{
    bool ok = sqlite3_step(stmt) == SQLITE_DONE || lite_db_fail(db, err, what);

    sqlite3_finalize(stmt);
    return ok;
}

/* Runs a statement that is kept. */
static bool run_kept(struct lite_db *db, sqlite3_stmt *stmt, const char *what, struct err *err)
{
    bool ok = sqlite3_step(stmt) == SQLITE_DONE || lite_db_fail(db, err, what);

    sqlite3_reset(stmt);
    return ok;
}

bool lite_random_name(char out[40], struct err *err)
{
    unsigned char id[16];

    if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
        return err_errno(err, ERR_IO, "could not get random bytes");
    for (size_t i = 0; i < sizeof(id); i++)
        snprintf(out + 2 * i, 3, "%02x", id[i]);
    return true;
}

static bool make_row(struct lite_db *db, struct err *err)
{
    char name[40];

    return lite_random_name(name, err) &&
           lite_db_exec(db, err,
                        "INSERT INTO _tombolo_state(id, format, replica) VALUES (1, %d, %Q) "
                        "ON CONFLICT(id) DO NOTHING",
                        FORMAT, name);
}

/* What files of the first version lack. */
static bool add_columns(struct lite_db *db, struct err *err)
{
    static const char *const wanted[][3] = {
        {"_tombolo_state", "family", "TEXT"},
        {"_tombolo_state", "write_last", "INTEGER NOT NULL DEFAULT 0"},
        {"_tombolo_state", "write_acked", "INTEGER NOT NULL DEFAULT 0"},
        {"_tombolo_state", "write_nonce", "TEXT"},
        {"_tombolo_state", "contact", "INTEGER"},
        {"_tombolo_shapes", "name", "TEXT"},
        {"_tombolo_shapes", "stood_handle", "TEXT"},
        {"_tombolo_shapes", "stood_offset", "INTEGER"},
        {"_tombolo_shapes", "gap", "INTEGER"},
        {"_tombolo_shapes", "kept", "TEXT"},
        {"_tombolo_shapes", "lineage", "TEXT"},
    };

    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        int64_t there;

        if (!lite_db_int(db, 0, &there, err,
                         "SELECT count(*) FROM pragma_table_info(%Q) WHERE name = %Q", wanted[i][0],
                         wanted[i][1]) ||
            (!there && !lite_db_exec(db, err, "ALTER TABLE %s ADD COLUMN %s %s", wanted[i][0],
                                     wanted[i][1], wanted[i][2])))
            return false;
    }
    return true;
}

static void copy_text(char out[40], sqlite3_stmt *stmt, int column)
{
    const char *text = (const char *)sqlite3_column_text(stmt, column);

    snprintf(out, 40, "%s", text ? text : "");
}

bool lite_state_read(struct lite_db *db, struct lite_state *state, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    int format = 0;

    if (!lite_db_prepare(db,
                         "SELECT format, replica, position, consistent, at, applied_at, "
                         "ifnull(family, replica), write_last, write_acked, write_nonce, "
                         "ifnull(contact, applied_at) "
                         "FROM _tombolo_state WHERE id = 1",
                         &stmt, err))
        return false;
    *state = (struct lite_state){0};
    if (sqlite3_step(stmt) == SQLITE_ROW) {
        format = sqlite3_column_int(stmt, 0);
        copy_text(state->replica, stmt, 1);
        state->position = (uint64_t)sqlite3_column_int64(stmt, 2);
        state->consistent = sqlite3_column_int(stmt, 3) != 0;
        state->at = sqlite3_column_int64(stmt, 4);
        state->applied_at = sqlite3_column_int64(stmt, 5);
        copy_text(state->family, stmt, 6);
        state->write_last = sqlite3_column_int64(stmt, 7);
        state->write_acked = sqlite3_column_int64(stmt, 8);
        copy_text(state->write_nonce, stmt, 9);
        state->contact = sqlite3_column_int64(stmt, 10);
    }
    sqlite3_finalize(stmt);
    if (format == FORMAT)
        return true;
    return err_set(err, ERR_UNSUPPORTED, "the file's replica has format %d, and this is for %d",
                   format, FORMAT);
}

static bool take_lease(struct lite_db *db, struct err *err)
{
    char host[256] = "";

    gethostname(host, sizeof(host) - 1);
    return lite_db_exec(
        db, err, "UPDATE _tombolo_state SET lease_pid = %d, lease_host = %Q, lease_at = %lld",
        (int)getpid(), host, (long long)clock_unix_us());
}

bool lite_state_open(struct lite_db *db, struct lite_state *state, struct err *err)
{
    bool ok = lite_db_begin(db, err) && lite_db_exec(db, err, "%s", tables) &&
              lite_pending_open(db, err) && add_columns(db, err) && make_row(db, err) &&
              lite_state_read(db, state, err) && take_lease(db, err) &&
              lite_capture_find(db, err) && lite_db_commit(db, err);

    if (!ok)
        lite_db_rollback(db);
    return ok;
}

void lite_state_close(struct lite_db *db)
{
    struct err ignored;

    if (db->db && lite_db_exec(db, &ignored, "UPDATE _tombolo_state SET lease_pid = NULL"))
        return;
}

bool lite_state_save(struct lite_db *db, const struct lite_state *state, struct err *err)
{
    sqlite3_stmt *stmt;

    if (!lite_db_statement(db, LITE_SAVE_STATE,
                           "UPDATE _tombolo_state SET position = ?1, consistent = ?2, "
                           "at = nullif(?3, 0), applied_at = ?4",
                           &stmt, err))
        return false;
    sqlite3_bind_int64(stmt, 1, (int64_t)state->position);
    sqlite3_bind_int(stmt, 2, state->consistent);
    sqlite3_bind_int64(stmt, 3, state->at);
    sqlite3_bind_int64(stmt, 4, state->applied_at);
    return run_kept(db, stmt, "could not store the position", err);
}

bool lite_state_save_writes(struct lite_db *db, const struct lite_state *s, struct err *err)
{
    return lite_db_exec(db, err,
                        "UPDATE _tombolo_state SET replica = %Q, family = %Q, write_last = %lld,"
                        " write_acked = %lld, write_nonce = %Q, contact = nullif(%lld, 0)",
                        s->replica, s->family, (long long)s->write_last, (long long)s->write_acked,
                        s->write_nonce, (long long)s->contact);
}

bool lite_offset_save(struct lite_db *db, const struct lite_shape *shape, struct err *err)
{
    sqlite3_stmt *stmt;

    if (!lite_db_statement(db, LITE_SAVE_OFFSET,
                           "UPDATE _tombolo_shapes SET \"offset\" = ?1 WHERE id = ?2", &stmt, err))
        return false;
    sqlite3_bind_int64(stmt, 1, (int64_t)shape->offset);
    sqlite3_bind_int64(stmt, 2, shape->id);
    return run_kept(db, stmt, "could not store an offset", err);
}

static const char *text_at(sqlite3_stmt *stmt, int column, struct arena *arena)
{
    const char *text = (const char *)sqlite3_column_text(stmt, column);

    return text ? arena_strdup(arena, text) : NULL;
}

static enum lite_status status_of(const char *text)
{
    for (int i = LITE_FETCHING; i <= LITE_REFETCHING; i++) {
        if (text && strcmp(text, status_texts[i]) == 0)
            return (enum lite_status)i;
    }
    return LITE_FETCHING;
}

static void read_shape(sqlite3_stmt *stmt, struct arena *arena, struct lite_shape *s)
{
    *s = (struct lite_shape){.id = sqlite3_column_int64(stmt, 0)};
    s->schema = text_at(stmt, 1, arena);
    s->table = text_at(stmt, 2, arena);
    s->local = text_at(stmt, 3, arena);
    s->where = text_at(stmt, 4, arena);
    s->params = text_at(stmt, 5, arena);
    s->columns = text_at(stmt, 6, arena);
    s->handle = text_at(stmt, 7, arena);
    s->offset = (uint64_t)sqlite3_column_int64(stmt, 8);
    s->status = status_of((const char *)sqlite3_column_text(stmt, 9));
    s->reason = text_at(stmt, 10, arena);
    s->schema_json = text_at(stmt, 11, arena);
    s->name = text_at(stmt, 12, arena);
    s->stood_handle = text_at(stmt, 13, arena);
    s->stood_offset = (uint64_t)sqlite3_column_int64(stmt, 14);
    s->gap = sqlite3_column_int(stmt, 15) != 0;
    s->kept = text_at(stmt, 16, arena);
    s->lineage = text_at(stmt, 17, arena);
}

bool lite_shapes_load(struct lite_db *db, struct arena *arena, struct lite_shape **shapes,
                      size_t *n, struct err *err)
{
    static const char sql[] =
        "SELECT id, \"schema\", \"table\", local, \"where\", params, columns, handle, \"offset\","
        " status, reason, schema_json, name, stood_handle, stood_offset, gap, kept, lineage"
        " FROM _tombolo_shapes ORDER BY id";
    sqlite3_stmt *stmt = NULL;
    int64_t count;
    int rc = SQLITE_DONE;

    if (!lite_db_int(db, 0, &count, err, "SELECT count(*) FROM _tombolo_shapes") ||
        !lite_db_prepare(db, sql, &stmt, err))
        return false;
    *shapes = arena_calloc(arena, (size_t)count + 1, sizeof(**shapes));
    for (*n = 0; *n < (size_t)count && (rc = sqlite3_step(stmt)) == SQLITE_ROW;)
        read_shape(stmt, arena, &(*shapes)[(*n)++]);
    bool ok =
        rc == SQLITE_ROW || rc == SQLITE_DONE || lite_db_fail(db, err, "could not read the shapes");
    sqlite3_finalize(stmt);
    return ok;
}

bool lite_shape_save(struct lite_db *db, struct lite_shape *shape, struct err *err)
{
    static const char sql[] =
        "INSERT INTO _tombolo_shapes(id, \"schema\", \"table\", local, \"where\", params, columns,"
        " handle, \"offset\", status, reason, schema_json, name, stood_handle, stood_offset, gap,"
        " kept, lineage) VALUES (nullif(?1, 0), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, "
        "?13, ?14, ?15, ?16, ?17, ?18)"
        " ON CONFLICT(id) DO UPDATE SET \"schema\" = excluded.\"schema\","
        " \"table\" = excluded.\"table\", local = excluded.local, \"where\" = excluded.\"where\","
        " params = excluded.params, columns = excluded.columns, handle = excluded.handle,"
        " \"offset\" = excluded.\"offset\", status = excluded.status, reason = excluded.reason,"
        " schema_json = excluded.schema_json, name = excluded.name,"
        " stood_handle = excluded.stood_handle, stood_offset = excluded.stood_offset,"
        " gap = excluded.gap, kept = excluded.kept, lineage = excluded.lineage";
    const char *const texts[] = {
        [2] = shape->schema,  [3] = shape->table,
        [4] = shape->local,   [5] = shape->where,
        [6] = shape->params,  [7] = shape->columns,
        [8] = shape->handle,  [10] = status_texts[shape->status],
        [11] = shape->reason, [12] = shape->schema_json,
        [13] = shape->name,   [14] = shape->stood_handle,
    };
    sqlite3_stmt *stmt = NULL;

    if (!lite_db_prepare(db, sql, &stmt, err))
        return false;
    for (int i = 2; i <= 14; i++) {
        if (i != 9)
            sqlite3_bind_text(stmt, i, texts[i], -1, SQLITE_STATIC);
    }
    sqlite3_bind_int64(stmt, 1, shape->id);
    if (shape->handle)
        sqlite3_bind_int64(stmt, 9, (int64_t)shape->offset);
    if (shape->stood_handle)
        sqlite3_bind_int64(stmt, 15, (int64_t)shape->stood_offset);
    sqlite3_bind_int(stmt, 16, shape->gap);
    sqlite3_bind_text(stmt, 17, shape->kept, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 18, shape->lineage, -1, SQLITE_STATIC);
    if (!run(db, stmt, "could not store a shape", err))
        return false;
    if (shape->id == 0)
        shape->id = sqlite3_last_insert_rowid(db->db);
    return true;
}

bool lite_shape_drop(struct lite_db *db, const struct lite_shape *shape, struct err *err)
{
    return lite_capture_remove(db, shape->local, err) &&
           lite_db_exec(db, err, "DELETE FROM _tombolo_base WHERE \"table\" = %Q", shape->local) &&
           lite_db_exec(db, err, "DROP TABLE IF EXISTS \"%w%w\"", LITE_SIDE_PREFIX, shape->local) &&
           (!shape->schema_json || /* a table of the user's that was never taken over */
            lite_db_exec(db, err, "DROP TABLE IF EXISTS \"%w\"", shape->local)) &&
           lite_db_exec(db, err, "DELETE FROM _tombolo_columns WHERE \"table\" = %Q",
                        shape->local) &&
           lite_db_exec(db, err, "DELETE FROM _tombolo_shapes WHERE id = %lld",
                        (long long)shape->id);
}

bool lite_columns_save(struct lite_db *db, const char *local, const struct lite_schema *schema,
                       struct err *err)
{
    if (!lite_db_exec(db, err, "DELETE FROM _tombolo_columns WHERE \"table\" = %Q", local))
        return false;
    for (size_t i = 0; i < schema->ncolumns; i++) {
        const struct lite_column *c = &schema->columns[i];

        if (!lite_db_exec(db, err,
                          "INSERT INTO _tombolo_columns VALUES"
                          " (%Q, %Q, %d, %Q, nullif(%Q, ''), %d, nullif(%d, -1), %d)",
                          local, c->name.ptr, (int)i, c->type.ptr, c->base.len ? c->base.ptr : "",
                          c->dims, c->pk_index, c->not_null))
            return false;
    }
    return true;
}
