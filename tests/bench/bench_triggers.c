/*
 * What capturing costs a program that writes to its SQLite file: the same statements on a table
 * with our triggers, and on the same table without.
 *
 *     bench_triggers FOLDER CAPTURED ROWS ROWS_A_TRANSACTION
 *
 * CAPTURED is 0 or 1. WAL, synchronous = NORMAL, a text key that grows, seven columns, some 250
 * bytes a row. The outbox is emptied between the two, as a syncer would. Prints
 *
 *     insert 0.123456 0.123456 update 0.123456 0.123456        seconds, and CPU seconds
 */
#include "base/clock.h"
#include "replica/capture.h"
#include "replica/outbox.h"
#include "replica/state.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char table[] =
    "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, n INTEGER, title TEXT, status TEXT, amount TEXT,"
    " at TEXT, body TEXT);";
static const char insert[] =
    "INSERT INTO t VALUES (printf('0190-%012d', ?1), ?1, 'a title of some forty characters, no "
    "more',"
    " 'open', '12345.67', '2026-11-21 12:00:00.000000+00:00', printf('%.*c', 160, 'x'))";
static const char update[] =
    "UPDATE t SET n = n + 1, status = 'done' WHERE id = printf('0190-%012d', ?1)";

struct taken {
    double seconds, cpu;
};

static void die(const char *what)
{
    fprintf(stderr, "bench_triggers: %s\n", what);
    exit(1);
}

static void check(bool ok, const struct err *err)
{
    if (!ok)
        die(err->msg);
}

static void run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        die(sqlite3_errmsg(db));
}

/* The file as a replica has it. */
static void make(const char *path, bool captured, struct lite_db *lite)
{
    struct lite_state state;
    struct err err;

    check(lite_db_open(lite, path, &err) && lite_state_open(lite, &state, &err), &err);
    run(lite->db, table);
    if (captured)
        check(lite_capture_install(lite, "t", &err), &err);
}

static struct taken write_rows(sqlite3 *db, const char *sql, int rows, int group)
{
    sqlite3_stmt *stmt;
    int64_t began = clock_us(), used = clock_us_of(CLOCK_PROCESS_CPUTIME_ID);

    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        die(sqlite3_errmsg(db));
    for (int i = 0; i < rows; i++) {
        if (i % group == 0)
            run(db, "BEGIN IMMEDIATE");
        sqlite3_bind_int(stmt, 1, i);
        if (sqlite3_step(stmt) != SQLITE_DONE)
            die(sqlite3_errmsg(db));
        sqlite3_reset(stmt);
        if ((i + 1) % group == 0 || i + 1 == rows)
            run(db, "COMMIT");
    }
    sqlite3_finalize(stmt);
    return (struct taken){(double)(clock_us() - began) / 1e6,
                          (double)(clock_us_of(CLOCK_PROCESS_CPUTIME_ID) - used) / 1e6};
}

int main(int argc, char **argv)
{
    struct lite_db lite = {0};
    struct err err;
    char path[512];
    sqlite3 *db;

    if (argc != 5)
        die("FOLDER CAPTURED ROWS ROWS_A_TRANSACTION");
    snprintf(path, sizeof(path), "%s/triggers.db", argv[1]);
    make(path, atoi(argv[2]) != 0, &lite);
    if (sqlite3_open(path, &db) != SQLITE_OK)
        die(path);
    run(db, "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536");
    struct taken inserts = write_rows(db, insert, atoi(argv[3]), atoi(argv[4]));
    check(lite_db_begin(&lite, &err) && lite_outbox_forget(&lite, INT64_MAX, &err) &&
              lite_db_commit(&lite, &err),
          &err);
    struct taken updates = write_rows(db, update, atoi(argv[3]), atoi(argv[4]));
    printf("insert %.6f %.6f update %.6f %.6f\n", inserts.seconds, inserts.cpu, updates.seconds,
           updates.cpu);
    sqlite3_close(db);
    lite_db_close(&lite);
    return 0;
}
