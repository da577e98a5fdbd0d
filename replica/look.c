#include "replica/look.h"

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

/* A question to the file, one integer; 0 where what it asks for has no row. */
static bool ask(const char *path, int64_t *out, const char *sql, int64_t arg, struct err *err)
{
    struct lite_db db;

    if (!lite_look_open(&db, path, err))
        return false;
    bool ok = lite_db_int(&db, 0, out, err, sql, (long long)arg, (long long)arg);
    lite_look_close(&db);
    return ok || err_wrap(err, "%s", path);
}

/* The outbox is there from the first capture on. */
static bool has_outbox(const char *path, bool *has, struct err *err)
{
    int64_t n = 0;
    bool ok =
        ask(path, &n, "SELECT count(*) FROM sqlite_schema WHERE name = '_tombolo_outbox'", 0, err);

    *has = n > 0;
    return ok;
}

bool replica_last_write(const char *path, int64_t *seq, struct err *err)
{
    bool has;

    *seq = 0;
    return has_outbox(path, &has, err) &&
           (!has || ask(path, seq,
                        "SELECT max(coalesce((SELECT max(seq) FROM _tombolo_outbox), 0),"
                        " coalesce((SELECT max(seq) FROM _tombolo_pending), 0))",
                        0, err));
}

bool replica_is_decided(const char *path, int64_t seq, bool *decided, struct err *err)
{
    int64_t left = 0;
    bool ok = seq == 0 || ask(path, &left,
                              "SELECT EXISTS (SELECT 1 FROM _tombolo_pending WHERE seq <= %lld)"
                              " OR EXISTS (SELECT 1 FROM _tombolo_outbox"
                              " WHERE op IS NOT NULL AND seq <= %lld)",
                              seq, err);

    *decided = ok && !left;
    return ok;
}

bool replica_is_at(const char *path, uint64_t position, bool *at, struct err *err)
{
    int64_t is = 0;
    bool ok =
        ask(path, &is, "SELECT consistent AND position >= %lld FROM _tombolo_state WHERE id = 1",
            (int64_t)position, err);

    *at = ok && is;
    return ok;
}
