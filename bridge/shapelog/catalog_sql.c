#include "shapelog/catalog_sql.h"

bool sql_fail(struct catalog *catalog, struct err *err)
{
    int code = sqlite3_errcode(catalog->db) & 0xff;
    enum err_code as = code == SQLITE_FULL                               ? ERR_DISK_FULL
                       : code == SQLITE_CORRUPT || code == SQLITE_NOTADB ? ERR_CORRUPT
                       : code == SQLITE_BUSY                             ? ERR_BUSY
                                                                         : ERR_SQLITE;

    return err_set(err, as, "catalogue: %s", sqlite3_errmsg(catalog->db));
}

bool sql_run(struct catalog *catalog, const char *sql, struct err *err)
{
    return sqlite3_exec(catalog->db, sql, NULL, NULL, NULL) == SQLITE_OK || sql_fail(catalog, err);
}

sqlite3_stmt *sql_prepare(struct catalog *catalog, const char *sql, struct err *err)
{
    sqlite3_stmt *stmt = NULL;

    if (sqlite3_prepare_v2(catalog->db, sql, -1, &stmt, NULL) != SQLITE_OK)
        sql_fail(catalog, err);
    return stmt;
}

bool sql_step(struct catalog *catalog, sqlite3_stmt *stmt, struct err *err)
{
    bool ok = sqlite3_step(stmt) == SQLITE_DONE;

    if (!ok)
        sql_fail(catalog, err);
    sqlite3_reset(stmt);
    return ok;
}

void sql_bind_u64(sqlite3_stmt *stmt, int i, uint64_t v)
{
    sqlite3_bind_int64(stmt, i, (sqlite3_int64)v);
}

void sql_bind_text(sqlite3_stmt *stmt, int i, struct slice text)
{
    if (text.ptr)
        sqlite3_bind_text64(stmt, i, text.ptr, text.len, SQLITE_STATIC, SQLITE_UTF8);
    else
        sqlite3_bind_null(stmt, i);
}

void sql_bind_blob(sqlite3_stmt *stmt, int i, struct slice bytes)
{
    if (bytes.ptr)
        sqlite3_bind_blob64(stmt, i, bytes.ptr, bytes.len, SQLITE_STATIC);
    else
        sqlite3_bind_null(stmt, i);
}

uint64_t sql_u64(sqlite3_stmt *stmt, int i)
{
    return (uint64_t)sqlite3_column_int64(stmt, i);
}

struct slice sql_bytes(sqlite3_stmt *stmt, int i)
{
    if (sqlite3_column_type(stmt, i) == SQLITE_NULL)
        return (struct slice){0};
    const char *p = sqlite3_column_blob(stmt, i);

    return (struct slice){p ? p : "", (size_t)sqlite3_column_bytes(stmt, i)};
}

bool sql_end(struct catalog *catalog, bool ok, struct err *err)
{
    ok = ok && sql_run(catalog, "COMMIT", err);
    if (!ok)
        sqlite3_exec(catalog->db, "ROLLBACK", NULL, NULL, NULL);
    return ok;
}
