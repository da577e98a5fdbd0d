/*
 * The ceiling of a first sync on SQLite's side: the rows of a table that a file has, inserted
 * into a new file with nothing in between.
 *
 *     bench_inserts SOURCE.db TABLE TARGET.db
 *
 * All rows are read into memory first, packed as below, in the order of the source. Then the clock
 * starts: the same CREATE TABLE, one prepared INSERT, transactions of 10,000 rows, WAL,
 * synchronous = NORMAL, and the closing of the file with its checkpoint. Prints
 *
 *     rows 1000000 seconds 1.234567 cpu 1.234567
 *
 * A packed value: its SQLite type in a byte, then 8 bytes of integer or double, or 4 bytes of
 * length and as many bytes of text or blob; nothing for NULL.
 */
#include "base/buf.h"
#include "base/clock.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_A_TRANSACTION 10000

struct rows {
    struct buf packed;
    int ncols;
    uint64_t n;
};

static void die(sqlite3 *db, const char *what)
{
    fprintf(stderr, "bench_inserts: %s: %s\n", what, sqlite3_errmsg(db));
    exit(1);
}

static sqlite3 *open_file(const char *path, int flags)
{
    sqlite3 *db;

    if (sqlite3_open_v2(path, &db, flags, NULL) != SQLITE_OK)
        die(db, path);
    return db;
}

static void run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        die(db, sql);
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt;

    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        die(db, sql);
    return stmt;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void pack(struct buf *out, sqlite3_value *value)
{
    int type = sqlite3_value_type(value);
    int64_t integer = sqlite3_value_int64(value);
    double real = sqlite3_value_double(value);
    uint32_t len;

    buf_put_u8(out, (uint8_t)type);
    if (type == SQLITE_INTEGER) {
        buf_put(out, &integer, sizeof(integer));
    } else if (type == SQLITE_FLOAT) {
        buf_put(out, &real, sizeof(real));
    } else if (type != SQLITE_NULL) {
        const void *bytes = sqlite3_value_blob(value);

        len = (uint32_t)sqlite3_value_bytes(value);
        buf_put(out, &len, sizeof(len));
        buf_put(out, bytes, len);
    }
}

/* The CREATE TABLE of the source; to be freed with sqlite3_free(). */
static char *definition(sqlite3 *db, const char *table)
{
    sqlite3_stmt *stmt = prepare(db, "SELECT sql FROM sqlite_schema WHERE name = ?");
    char *sql;

    sqlite3_bind_text(stmt, 1, table, -1, SQLITE_STATIC);
    if (sqlite3_step(stmt) != SQLITE_ROW)
        die(db, "no such table");
    sql = sqlite3_mprintf("%s", sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    return sql;
}

static void read_rows(sqlite3 *db, const char *table, struct rows *rows)
{
    char *sql = sqlite3_mprintf("SELECT * FROM \"%w\"", table);
    sqlite3_stmt *stmt = prepare(db, sql);
    int rc;

    buf_init(&rows->packed, BUF_NO_LIMIT);
    rows->ncols = sqlite3_column_count(stmt);
    for (rows->n = 0; (rc = sqlite3_step(stmt)) == SQLITE_ROW; rows->n++)
        for (int i = 0; i < rows->ncols; i++)
            pack(&rows->packed, sqlite3_column_value(stmt, i));
    if (rc != SQLITE_DONE)
        die(db, "could not read");
    sqlite3_finalize(stmt);
    sqlite3_free(sql);
}

/* ---- inserting ------------------------------------------------------------------------------- */

/* Binds the packed value at `p`; returns what is behind it. */
static const char *bind(sqlite3_stmt *stmt, int i, const char *p)
{
    int type = *p++;
    int64_t integer;
    double real;
    uint32_t len;

    switch (type) {
    case SQLITE_INTEGER:
        memcpy(&integer, p, sizeof(integer));
        sqlite3_bind_int64(stmt, i, integer);
        return p + sizeof(integer);
    case SQLITE_FLOAT:
        memcpy(&real, p, sizeof(real));
        sqlite3_bind_double(stmt, i, real);
        return p + sizeof(real);
    case SQLITE_NULL:
        sqlite3_bind_null(stmt, i);
        return p;
    default:
        memcpy(&len, p, sizeof(len));
        p += sizeof(len);
        if (type == SQLITE_TEXT)
            sqlite3_bind_text(stmt, i, p, (int)len, SQLITE_STATIC);
        else
            sqlite3_bind_blob(stmt, i, p, (int)len, SQLITE_STATIC);
        return p + len;
    }
}

static sqlite3_stmt *prepare_insert(sqlite3 *db, const char *table, int ncols)
{
    char *head = sqlite3_mprintf("INSERT INTO \"%w\" VALUES (?", table);
    struct buf sql;
    sqlite3_stmt *stmt;

    buf_init(&sql, BUF_NO_LIMIT);
    buf_put_cstr(&sql, head);
    for (int i = 1; i < ncols; i++)
        buf_put_cstr(&sql, ",?");
    buf_put_cstr(&sql, ")");
    stmt = prepare(db, buf_cstr(&sql));
    buf_release(&sql);
    sqlite3_free(head);
    return stmt;
}

static void insert_rows(sqlite3 *db, const char *table, const struct rows *rows)
{
    sqlite3_stmt *stmt = prepare_insert(db, table, rows->ncols);
    const char *p = rows->packed.ptr;

    for (uint64_t n = 0; n < rows->n; n++) {
        if (n % ROWS_A_TRANSACTION == 0)
            run(db, n ? "COMMIT; BEGIN IMMEDIATE" : "BEGIN IMMEDIATE");
        for (int i = 1; i <= rows->ncols; i++)
            p = bind(stmt, i, p);
        if (sqlite3_step(stmt) != SQLITE_DONE)
            die(db, "could not insert");
        sqlite3_reset(stmt);
    }
    if (rows->n)
        run(db, "COMMIT");
    sqlite3_finalize(stmt);
}

int main(int argc, char **argv)
{
    struct rows rows;

    if (argc != 4) {
        fprintf(stderr, "usage: bench_inserts SOURCE.db TABLE TARGET.db\n");
        return 2;
    }
    sqlite3 *source = open_file(argv[1], SQLITE_OPEN_READONLY);
    char *create = definition(source, argv[2]);
    read_rows(source, argv[2], &rows);
    sqlite3_close(source);

    int64_t started = clock_us(), cpu = clock_us_of(CLOCK_PROCESS_CPUTIME_ID);
    sqlite3 *db = open_file(argv[3], SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    run(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536;"
            "PRAGMA wal_autocheckpoint = 20000");
    run(db, create);
    insert_rows(db, argv[2], &rows);
    sqlite3_close(db);
    printf("rows %llu seconds %.6f cpu %.6f\n", (unsigned long long)rows.n,
           (double)(clock_us() - started) / 1e6,
           (double)(clock_us_of(CLOCK_PROCESS_CPUTIME_ID) - cpu) / 1e6);
    sqlite3_free(create);
    buf_release(&rows.packed);
    return 0;
}
