/*
 * SQLite as the catalogue's files use it; private to them. Functions take the catalogue whose lock
 * the caller holds.
 */
#ifndef SHAPELOG_CATALOG_SQL_H
#define SHAPELOG_CATALOG_SQL_H

#include "shapelog/catalog.h"

#include <pthread.h>
#include <sqlite3.h>

struct catalog {
    pthread_mutex_t lock;
    sqlite3 *db;
};

/* Fills err from the last error; false. */
bool sql_fail(struct catalog *catalog, struct err *err);
bool sql_run(struct catalog *catalog, const char *sql, struct err *err) MUST_CHECK;
/* NULL with the error. */
sqlite3_stmt *sql_prepare(struct catalog *catalog, const char *sql, struct err *err) MUST_CHECK;
/* Runs a statement that gives no rows, and makes it ready to run again. */
bool sql_step(struct catalog *catalog, sqlite3_stmt *stmt, struct err *err) MUST_CHECK;
/* Commits what was begun, or takes it back when not `ok`. */
bool sql_end(struct catalog *catalog, bool ok, struct err *err) MUST_CHECK;

/* Text and bytes are borrowed; a NULL ptr binds NULL. */
void sql_bind_u64(sqlite3_stmt *stmt, int i, uint64_t v);
void sql_bind_text(sqlite3_stmt *stmt, int i, struct slice text);
void sql_bind_blob(sqlite3_stmt *stmt, int i, struct slice bytes);
uint64_t sql_u64(sqlite3_stmt *stmt, int i);
/* Lives until the next step; NULL as {NULL, 0}. */
struct slice sql_bytes(sqlite3_stmt *stmt, int i);

/* The stream's row. */
bool catalog_read_stream(struct catalog *catalog, struct catalog_stream *stream,
                         struct err *err) MUST_CHECK;
bool catalog_put_stream(struct catalog *catalog, const struct catalog_stream *stream,
                        struct err *err) MUST_CHECK;

#endif
