#include "replica/db.h"

#include "base/clock.h"
#include "base/logging.h"
#include "replica/capture.h"
#include "replica/guard.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUSY_TIMEOUT_MS 5000
#define BUSY_PATIENCE_MS 60000

bool lite_db_fail(struct lite_db *db, struct err *err, const char *what)
{
    enum err_code code = ERR_SQLITE;

    switch (sqlite3_errcode(db->db) & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        code = ERR_BUSY;
        break;
    case SQLITE_FULL:
        code = ERR_DISK_FULL;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        code = ERR_CORRUPT;
        break;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
        code = ERR_IO;
        break;
    default:
        break;
    }
    return err_set(err, code, "%s: %s", what, sqlite3_errmsg(db->db));
}

static bool exec(struct lite_db *db, const char *sql, struct err *err)
{
    if (sqlite3_exec(db->db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return true;
    char what[80];
    size_t n = strcspn(sql, "(\n");

    n = n < sizeof(what) - 1 ? n : sizeof(what) - 1;
    memcpy(what, sql, n);
    what[n] = '\0';
    return lite_db_fail(db, err, what);
}

bool lite_db_exec(struct lite_db *db, struct err *err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *sql = sqlite3_vmprintf(fmt, ap);
    va_end(ap);
    if (!sql)
        abort();
    bool ok = exec(db, sql, err);
    sqlite3_free(sql);
    return ok;
}

bool lite_db_try(struct lite_db *db, struct err *err, const char *sql)
{
    struct err ignored;

    if (!exec(db, "SAVEPOINT tombolo_try", err))
        return false;
    if (exec(db, sql, err))
        return exec(db, "RELEASE tombolo_try", err);
    if (exec(db, "ROLLBACK TO tombolo_try", &ignored))
        (void)exec(db, "RELEASE tombolo_try", &ignored);
    return false;
}

bool lite_db_prepare(struct lite_db *db, const char *sql, sqlite3_stmt **stmt, struct err *err)
{
    if (sqlite3_prepare_v3(db->db, sql, -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL) == SQLITE_OK)
        return true;
    return lite_db_fail(db, err, "could not prepare a statement");
}

bool lite_db_statement(struct lite_db *db, enum lite_statement which, const char *sql,
                       sqlite3_stmt **stmt, struct err *err)
{
    bool ok = db->statements[which] || lite_db_prepare(db, sql, &db->statements[which], err);

    *stmt = db->statements[which];
    return ok;
}

bool lite_db_int(struct lite_db *db, int64_t otherwise, int64_t *out, struct err *err,
                 const char *fmt, ...)
{
    sqlite3_stmt *stmt = NULL;
    va_list ap;

    va_start(ap, fmt);
    char *sql = sqlite3_vmprintf(fmt, ap);
    va_end(ap);
    if (!sql)
        abort();
    bool ok = lite_db_prepare(db, sql, &stmt, err);
    sqlite3_free(sql);
    if (!ok)
        return false;
    int rc = sqlite3_step(stmt);
    *out = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : otherwise;
    ok = rc == SQLITE_ROW || rc == SQLITE_DONE;
    if (!ok)
        lite_db_fail(db, err, "could not read");
    sqlite3_finalize(stmt);
    return ok;
}

/* Counts the WAL's frames; setting it also puts SQLite's own automatic checkpoint out of work. */
static int on_wal(void *arg, sqlite3 *handle, const char *schema, int frames)
{
    struct lite_db *db = arg;

    (void)handle;
    (void)schema;
    db->wal_frames = frames;
    return SQLITE_OK;
}

static bool set_up(struct lite_db *db, struct err *err)
{
    static const char pragmas[] =
        "PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=OFF; PRAGMA wal_autocheckpoint=0;"
        "PRAGMA mmap_size=0; PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY";
    sqlite3_stmt *stmt = NULL;
    int64_t litestream;

    sqlite3_extended_result_codes(db->db, 1);
    sqlite3_busy_timeout(db->db, BUSY_TIMEOUT_MS);
    if (!lite_db_prepare(db, "PRAGMA journal_mode=WAL", &stmt, err))
        return false;
    int rc = sqlite3_step(stmt);
    const char *mode = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : "none";
    bool wal = strcmp(mode, "wal") == 0 || strcmp(mode, "memory") == 0;
    if (rc != SQLITE_ROW)
        lite_db_fail(db, err, "could not turn WAL on");
    else if (!wal)
        err_set(err, ERR_IO, "could not turn WAL on: journal_mode stays \"%s\"", mode);
    sqlite3_finalize(stmt);
    if (!wal || !exec(db, pragmas, err))
        return false;
    sqlite3_wal_hook(db->db, on_wal, db);
    if (!lite_db_int(db, 0, &litestream, err,
                     "SELECT count(*) FROM sqlite_schema WHERE name LIKE '\\_litestream\\_%%' "
                     "ESCAPE '\\'"))
        return false;
    db->litestream = litestream > 0;
    /* Litestream tells a last checkpoint from a lost WAL by nobody else making one. */
    if (db->litestream)
        sqlite3_db_config(db->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return true;
}

bool lite_db_open(struct lite_db *db, const char *path, struct err *err)
{
    *db = (struct lite_db){.lock_fd = -1, .wal_fd = -1};
    if (!lite_guard_take(db, path, err))
        return false;
    /* One thread at a time, as replica.h says: SQLite's own mutexes would cost 4 % of a sync. */
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int rc = sqlite3_open_v2(db->path, &db->db, flags, NULL);
    bool ok = rc == SQLITE_OK ? set_up(db, err) : lite_db_fail(db, err, "could not open");
    if (!ok) {
        err_wrap(err, "%s", path);
        lite_db_close(db);
        return false;
    }
    lite_guard_warn(db);
    return true;
}

void lite_db_close(struct lite_db *db)
{
    if (db->db) {
        lite_db_rollback(db);
        for (size_t i = 0; i < LITE_STATEMENTS; i++)
            sqlite3_finalize(db->statements[i]);
        sqlite3_close(db->guard);
        sqlite3_close_v2(db->db);
    }
    if (db->wal_fd >= 0)
        close(db->wal_fd);
    lite_guard_drop(db);
    *db = (struct lite_db){.lock_fd = -1, .wal_fd = -1};
}

/* SQLite's own busy handler has waited 5 s each time round. */
bool lite_db_begin(struct lite_db *db, struct err *err)
{
    int64_t deadline = clock_ms() + BUSY_PATIENCE_MS;
    int pause = 10;

    if (db->in_txn)
        return true;
    while (!exec(db, "BEGIN IMMEDIATE", err)) {
        if (err->code != ERR_BUSY || clock_ms() > deadline) {
            if (err->code == ERR_BUSY)
                err_hint(err, "another program holds the file's write lock: end its transaction");
            return false;
        }
        poll(NULL, 0, pause + rand() % pause);
        pause = pause < 1000 ? pause * 2 : pause;
    }
    db->in_txn = true;
    if (lite_capture_applying(db, true, err))
        return true;
    lite_db_rollback(db);
    return false;
}

bool lite_db_commit(struct lite_db *db, struct err *err)
{
    if (!db->in_txn)
        return true;
    if (!lite_capture_applying(db, false, err) || !exec(db, "COMMIT", err))
        return false;
    db->in_txn = false;
    return true;
}

void lite_db_rollback(struct lite_db *db)
{
    struct err ignored;

    if (db->db && !sqlite3_get_autocommit(db->db)) {
        sqlite3_exec(db->db, "ROLLBACK", NULL, NULL, NULL);
        if (!lite_capture_find(db, &ignored)) /* its installing may have been undone */
            log_debug("could not look for captures", LOG_ERR(&ignored));
    }
    db->in_txn = false;
}

/* A descriptor of the WAL; -1: there is none. (SQLite holds no locks on this file, which closing it
 * would drop.) */
static int open_wal(const struct lite_db *db)
{
    char *name = sqlite3_mprintf("%s-wal", db->path);
    int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;

    sqlite3_free(name);
    return fd;
}

bool lite_db_sync(struct lite_db *db, struct err *err)
{
    int fd = open_wal(db);
    bool ok = fd < 0 || fdatasync(fd) == 0; /* no WAL: all of it is in the file */

    if (!ok)
        err_errno(err, ERR_IO, "could not sync %s-wal", db->path);
    if (fd >= 0)
        close(fd);
    return ok;
}

void lite_db_begin_sync(struct lite_db *db)
{
    if (db->wal_fd < 0)
        db->wal_fd = open_wal(db);
    if (db->wal_fd >= 0)
        sync_file_range(db->wal_fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

void lite_db_tidy(struct lite_db *db)
{
    if (db->wal_frames >= db->checkpoint_at)
        lite_guard_checkpoint(db);
}
