/*
 * The SQLite file as the replica uses it: one connection that writes, with WAL,
 * synchronous=NORMAL, foreign keys off (Postgres has checked them, and a
 * shape may legally hold orphans), every transaction BEGIN IMMEDIATE.
 *
 * Checkpoints. SQLite before 3.51.3 (but for 3.50.7 and 3.44.6) can corrupt a
 * WAL when one connection checkpoints while another writes. Ours never gives it the
 * chance: automatic checkpoints are off, and a checkpoint runs only while a second
 * connection of ours, the guard, holds the write lock. RESTART and TRUNCATE take that
 * lock too, but fall back to running without it when they cannot get it; so it is a
 * PASSIVE one under the guard. It waits for no reader: what a reader still needs
 * stays for the next time, and the WAL grows meanwhile. Where Litestream's tables
 * are, checkpoints are Litestream's business, until the WAL is very large.
 *
 * One writer of rows a file. An flock on "<file>-tombolo" says that a syncer is
 * alive: the kernel lets go of it however the process ends. The lease columns of
 * _tombolo_state say who it is.
 */
#ifndef REPLICA_DB_H
#define REPLICA_DB_H

#include "base/arena.h"
#include "base/err.h"

#include "replica/sqlite.h"
#include <stdbool.h>
#include <stdint.h>

/* Statements that every transaction runs. */
enum lite_statement {
    LITE_SAVE_STATE,
    LITE_SAVE_OFFSET,
    LITE_CAPTURE_OFF,
    LITE_CAPTURE_ON,
    LITE_CAPTURE_FORGET,
    LITE_OUTBOX_ANY,
    LITE_PENDING_ADD,
    LITE_PENDING_OF_ROW,
    LITE_PENDING_TO_ROW,
    LITE_PENDING_OF_WRITE,
    LITE_DATA_VERSION,
    LITE_BASE_ANY,
    LITE_BASE_ADD,
    LITE_BASE_GET,
    LITE_BASE_SET,
    LITE_BASE_DIRTY,
    LITE_BASE_DROP,
    LITE_BASE_DROP_IDLE,
    LITE_BASE_CLEAN,
    LITE_STATEMENTS,
};

struct lite_db {
    sqlite3 *db;
    sqlite3 *guard;    /* NULL until the first checkpoint */
    char *path;        /* absolute; ":memory:" for a database that is tried and thrown away */
    int lock_fd;       /* -1: none */
    int wal_fd;        /* likewise: the WAL, for lite_db_begin_sync() */
    int wal_frames;    /* in the WAL after the last commit */
    int checkpoint_at; /* frames at which the next one is tried */
    bool in_txn;
    bool litestream; /* its tables are there */
    bool relaxed;    /* a unique index waits for lite_unique_restore() */
    bool strict;     /* ... and none is relaxed now: what it refuses is refused */
    bool torn;       /* a local write, perhaps a part of more, cannot go up (pending.h) */
    bool captured;   /* local writes are captured, and ours must not be (capture.h) */
    bool warned;
    sqlite3_stmt *statements[LITE_STATEMENTS];
};

/* Opens or creates the file; refuses network file systems, a file that is not
 * a database, and one that another syncer has open (ERR_BUSY). */
bool lite_db_open(struct lite_db *db, const char *path, struct err *err) MUST_CHECK;
/* Rolls back what is open. Fine on a zeroed struct and on one whose opening failed. */
void lite_db_close(struct lite_db *db);

/* Records what SQLite says of the last call, with a code that tells whether it may be tried again.
 */
bool lite_db_fail(struct lite_db *db, struct err *err, const char *what);

/* Runs SQL made by SQLite's printf ("%w" for names). */
bool lite_db_exec(struct lite_db *db, struct err *err, const char *fmt, ...) MUST_CHECK;
/* As lite_db_exec(), for what may fail: undone by a savepoint, the reason left in `err`. */
bool lite_db_try(struct lite_db *db, struct err *err, const char *sql) MUST_CHECK;
bool lite_db_prepare(struct lite_db *db, const char *sql, sqlite3_stmt **stmt,
                     struct err *err) MUST_CHECK;
/* The statement of that name, prepared the first time; the caller resets it. */
bool lite_db_statement(struct lite_db *db, enum lite_statement which, const char *sql,
                       sqlite3_stmt **stmt, struct err *err) MUST_CHECK;
/* The first column of the first row as an integer, or `otherwise` when there is no row. */
bool lite_db_int(struct lite_db *db, int64_t otherwise, int64_t *out, struct err *err,
                 const char *fmt, ...) MUST_CHECK;

/* BEGIN IMMEDIATE; nothing when a transaction is open. Waits for another writer up to a minute.
 * What the transaction writes is not captured. */
bool lite_db_begin(struct lite_db *db, struct err *err) MUST_CHECK;
bool lite_db_commit(struct lite_db *db, struct err *err) MUST_CHECK;
void lite_db_rollback(struct lite_db *db);
/* Makes what is committed outlive the machine's failing too: synchronous=NORMAL alone does not. */
bool lite_db_sync(struct lite_db *db, struct err *err) MUST_CHECK;
/* What is committed begins to go to disk, which nobody waits for: a checkpoint that comes soon, and
 * has to, finds it done. */
void lite_db_begin_sync(struct lite_db *db);
/* Checkpoints when the WAL is long; what fails is tried again later. Outside of a transaction. */
void lite_db_tidy(struct lite_db *db);

/* Whether this version of SQLite has the WAL-reset bug. */
bool lite_version_at_risk(int version);

#endif
