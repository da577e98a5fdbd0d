#include "replica/look.h"

#include "replica/capture.h"
#include "replica/pending.h"
#include "replica/replica.h"

#include <unistd.h>

#define BUSY_MS 10000

static bool open_and_check(struct lite_db *db, const char *path, struct err *err)
{
    int64_t ours = 0;

    if (sqlite3_open_v2(path, &db->db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        return lite_db_fail(db, err, "could not open");
    sqlite3_extended_result_codes(db->db, 1);
    sqlite3_busy_timeout(db->db, BUSY_MS);
    sqlite3_db_config(db->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL); /* only looking */
    if (!lite_db_int(db, 0, &ours, err,
                     "SELECT count(*) FROM sqlite_schema WHERE name = '_tombolo_state'"))
        return false;
    return ours || err_set(err, ERR_NOT_FOUND, "there is no replica in it");
}

bool lite_look_open(struct lite_db *db, const char *path, struct err *err)
{
    *db = (struct lite_db){.lock_fd = -1, .strict = true};
    if (access(path, F_OK) != 0)
        return err_errno(err, ERR_NOT_FOUND, "%s", path);
    if (open_and_check(db, path, err))
        return true;
    lite_look_close(db);
    return err_wrap(err, "%s", path);
}

void lite_look_close(struct lite_db *db)
{
    sqlite3_close(db->db);
}

/* ---- where it stands ----------------------------------------------------- */

bool replica_last_write(const char *path, int64_t *seq, struct err *err)
{
    struct lite_db db;

    *seq = 0;
    if (!lite_look_open(&db, path, err))
        return false;
    bool ok = lite_capture_find(&db, err) && lite_pending_last(&db, seq, err);
    lite_look_close(&db);
    return ok || err_wrap(err, "%s", path);
}

/* A question to the file, yes or no. */
static bool ask(const char *path, bool *yes, const char *sql, int64_t arg, struct err *err)
{
    struct lite_db db;
    int64_t is = 0;

    *yes = false;
    if (!lite_look_open(&db, path, err))
        return false;
    bool ok = lite_db_int(&db, 0, &is, err, sql, (long long)arg, (long long)arg);
    lite_look_close(&db);
    *yes = ok && is;
    return ok || err_wrap(err, "%s", path);
}

bool replica_is_decided(const char *path, int64_t seq, bool *decided, struct err *err)
{
    *decided = true;
    return seq == 0 || ask(path, decided,
                           "SELECT NOT EXISTS (SELECT 1 FROM _tombolo_pending WHERE seq <= %lld)"
                           " AND NOT EXISTS (SELECT 1 FROM _tombolo_outbox"
                           " WHERE op IS NOT NULL AND seq <= %lld)",
                           seq, err);
}

bool replica_is_at(const char *path, uint64_t position, bool *at, struct err *err)
{
    return ask(path, at, "SELECT consistent AND position >= %lld FROM _tombolo_state WHERE id = 1",
               (int64_t)position, err);
}
