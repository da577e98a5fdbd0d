/*
 * What a replica's file holds, read by a connection of its own: no lock is taken, and a
 * syncer is not disturbed. All is read in one transaction, so it is true together.
 */
#include "replica/replica.h"

#include "base/arena.h"
#include "replica/capture.h"
#include "replica/look.h"
#include "replica/pending.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int64_t file_size(const char *path, const char *suffix)
{
    char name[PATH_MAX + 8];
    struct stat st;

    snprintf(name, sizeof(name), "%s%s", path, suffix);
    return stat(name, &st) == 0 ? (int64_t)st.st_size : 0;
}

/* The lease tells who; whether the process lives, the lock beside the file tells. */
static bool syncer_lives(const char *path)
{
    char name[PATH_MAX + 16];

    snprintf(name, sizeof(name), "%s-tombolo", path);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool taken = flock(fd, LOCK_SH | LOCK_NB) != 0;
    close(fd);
    return taken;
}

static char *copy_text(sqlite3_stmt *stmt, int column)
{
    const char *text = (const char *)sqlite3_column_text(stmt, column);

    return text ? xstrdup(text) : NULL;
}

static bool read_state(struct lite_db *db, struct replica_status *out, struct err *err)
{
    sqlite3_stmt *stmt = NULL;

    if (!lite_db_prepare(db,
                         "SELECT replica, position, consistent, at, applied_at, lease_pid, "
                         "lease_host FROM _tombolo_state WHERE id = 1",
                         &stmt, err))
        return false;
    bool found = sqlite3_step(stmt) == SQLITE_ROW;
    if (found) {
        const char *host = (const char *)sqlite3_column_text(stmt, 6);

        snprintf(out->id, sizeof(out->id), "%s", (const char *)sqlite3_column_text(stmt, 0));
        out->position = (uint64_t)sqlite3_column_int64(stmt, 1);
        out->consistent = sqlite3_column_int(stmt, 2) != 0;
        out->at = sqlite3_column_int64(stmt, 3);
        out->heard_at = sqlite3_column_int64(stmt, 4);
        out->syncer_pid = sqlite3_column_int64(stmt, 5);
        snprintf(out->syncer_host, sizeof(out->syncer_host), "%s", host ? host : "");
    }
    sqlite3_finalize(stmt);
    return found || err_set(err, ERR_NOT_FOUND, "there is no replica in it");
}

/* A table that is not there yet has no rows. */
static int64_t count_rows(struct lite_db *db, const char *table)
{
    struct err none;
    int64_t n;

    return lite_db_int(db, 0, &n, &none, "SELECT count(*) FROM \"%w\"", table) ? n : 0;
}

static bool is_captured(struct lite_db *db, const char *table)
{
    struct err none;
    int64_t n;

    return lite_db_int(db, 0, &n, &none,
                       "SELECT count(*) FROM _tombolo_layouts WHERE live AND \"table\" = %Q",
                       table) &&
           n > 0;
}

/* Of tables that a file of an older version has not. */
static uint64_t count(struct lite_db *db, const char *what)
{
    struct err none;
    int64_t n;

    return lite_db_int(db, 0, &n, &none, "SELECT count(*) FROM %s", what) ? (uint64_t)n : 0;
}

static void read_writes(struct lite_db *db, struct replica_status *out)
{
    struct err none;

    if (!lite_capture_find(db, &none) || !lite_pending_count(db, &out->pending, &none))
        out->pending = 0;
    out->rejected = count(db, "_tombolo_rejected");
}

/* A column that a file of an older version lacks is NULL. */
static const char *column(struct lite_db *db, const char *name)
{
    struct err none;
    int64_t n;

    return lite_db_int(db, 0, &n, &none,
                       "SELECT count(*) FROM pragma_table_info('_tombolo_shapes') WHERE name = %Q",
                       name) &&
                   n
               ? name
               : "NULL";
}

static bool read_shapes(struct lite_db *db, struct replica_status *out, struct err *err)
{
    static const char sql[] =
        "SELECT \"schema\", \"table\", local, \"where\", status, reason, %s, %s"
        " FROM _tombolo_shapes ORDER BY id";
    sqlite3_stmt *stmt = NULL;
    char text[sizeof(sql) + 8];

    sqlite3_snprintf(sizeof(text), text, sql, column(db, "name"), column(db, "kept"));
    if (!lite_db_prepare(db, text, &stmt, err))
        return false;
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        out->shapes = xrealloc(out->shapes, (out->nshapes + 1) * sizeof(*out->shapes));
        struct replica_shape_status *s = &out->shapes[out->nshapes++];

        s->schema = copy_text(stmt, 0);
        s->table = copy_text(stmt, 1);
        s->local = copy_text(stmt, 2);
        s->where = copy_text(stmt, 3);
        s->status = copy_text(stmt, 4);
        s->reason = copy_text(stmt, 5);
        s->name = copy_text(stmt, 6);
        s->kept = copy_text(stmt, 7);
        s->rows = count_rows(db, s->local);
        s->writes = is_captured(db, s->local);
    }
    sqlite3_finalize(stmt);
    return true;
}

static bool read_all(struct lite_db *db, struct replica_status *out, struct err *err)
{
    if (!lite_db_exec(db, err, "BEGIN"))
        return false;
    read_writes(db, out);
    return read_state(db, out, err) && read_shapes(db, out, err);
}

bool replica_status_read(const char *path, struct replica_status *out, struct err *err)
{
    struct lite_db db;

    *out = (struct replica_status){.sqlite_version = sqlite3_libversion()};
    if (!lite_look_open(&db, path, err))
        return false;
    bool ok = read_all(&db, out, err);
    lite_look_close(&db);
    out->file_bytes = file_size(path, "");
    out->wal_bytes = file_size(path, "-wal");
    out->sqlite_at_risk = lite_version_at_risk(sqlite3_libversion_number());
    if (!syncer_lives(path))
        out->syncer_pid = 0;
    if (ok)
        return true;
    replica_status_release(out);
    return err_wrap(err, "%s", path);
}

void replica_status_release(struct replica_status *status)
{
    for (size_t i = 0; i < status->nshapes; i++) {
        struct replica_shape_status *s = &status->shapes[i];

        free(s->name);
        free(s->schema);
        free(s->table);
        free(s->local);
        free(s->where);
        free(s->status);
        free(s->reason);
        free(s->kept);
    }
    free(status->shapes);
    status->shapes = NULL;
    status->nshapes = 0;
}
