/* The way out when a copy of the file writes under the same name: writes.h tells it. */
#include "replica/writes.h"

#include "base/clock.h"
#include "base/logging.h"
#include "replica/pending.h"
#include "replica/rebase.h"

#include <inttypes.h>
#include <stdlib.h>
#include <yyjson.h>

/* Nonces of a request. */
#define MOST_ASKED 5000

bool lite_fork_request(struct replica *r, struct buf *body, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    size_t n = 0;
    int rc;

    if (!lite_db_prepare(&r->db,
                         "SELECT seq, nonce FROM _tombolo_pending WHERE seq > ?1 AND due IS NULL"
                         " ORDER BY seq LIMIT ?2",
                         &stmt, err))
        return false;
    sqlite3_bind_int64(stmt, 1, r->fork_through);
    sqlite3_bind_int(stmt, 2, MOST_ASKED);
    buf_printf(body, "{\"replica\":\"%s\",\"family\":\"%s\",\"decided\":[", r->state.replica,
               r->state.family);
    r->fork_asked = r->fork_through;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        buf_printf(body, "%s\"%" PRId64 "\"", n++ ? "," : "",
                   (int64_t)sqlite3_column_int64(stmt, 1));
        r->fork_asked = sqlite3_column_int64(stmt, 0);
    }
    buf_put_cstr(body, "]}");
    r->fork_last = n < MOST_ASKED;
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE || lite_db_fail(&r->db, err, "could not read local writes");
}

/* The nonces of the answer, as a table of our connection. */
static bool store_decided(struct replica *r, yyjson_val *decided, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    yyjson_val *v;
    size_t i, n;

    bool ok =
        lite_db_exec(&r->db, err,
                     "CREATE TEMP TABLE IF NOT EXISTS tombolo_decided("
                     "nonce INTEGER PRIMARY KEY); DELETE FROM tombolo_decided") &&
        lite_db_prepare(&r->db, "INSERT OR IGNORE INTO tombolo_decided VALUES (?1)", &stmt, err);
    yyjson_arr_foreach(decided, i, n, v)
    {
        if (!ok || !yyjson_is_str(v))
            continue;
        sqlite3_bind_int64(stmt, 1, strtoll(yyjson_get_str(v), NULL, 10));
        ok = sqlite3_step(stmt) == SQLITE_DONE ||
             lite_db_fail(&r->db, err, "could not store which writes were decided");
        sqlite3_reset(stmt);
    }
    sqlite3_finalize(stmt);
    return ok;
}

/* Those that were decided are over once their tables are at `lsn`, and shown until then; where
 * nobody knows any more, the others are for a person. */
static bool sort_out(struct replica *r, int64_t since, int64_t lsn, struct err *err)
{
    static const struct lite_refusal unknown = {
        "unknown", NULL,
        "the file was restored or copied, or has not been in touch for longer than the bridge "
        "remembers which of its writes it had: see whether Postgres has this one, and discard it "
        "or "
        "try it again"};
    struct arena arena = {0};
    const char *rest =
        lite_pending_where(&arena, "p.due IS NULL AND p.seq > %lld AND p.seq <= %lld",
                           (long long)r->fork_through, (long long)r->fork_asked);

    r->held = true;
    bool ok = lite_db_exec(&r->db, err,
                           "UPDATE _tombolo_pending SET due = %lld"
                           " WHERE due IS NULL AND nonce IN (SELECT nonce FROM tombolo_decided)",
                           (long long)lsn) &&
              (r->state.contact >= since || (lite_pending_reject(&r->db, rest, &unknown, err) &&
                                             lite_pending_end(&r->db, rest, err)));
    arena_release(&arena);
    return ok;
}

/* `now` is by the bridge's clock, or 0. */
static bool take_new_name(struct replica *r, int64_t now, struct err *err)
{
    struct lite_state *s = &r->state;

    s->write_last = s->write_acked = 0;
    s->contact = now ? now : clock_unix_us();
    s->write_nonce[0] = '\0';
    return lite_random_name(s->replica, err) &&
           lite_db_exec(&r->db, err,
                        "UPDATE _tombolo_pending SET id = NULL, mutation = NULL;"
                        "DELETE FROM _tombolo_writes") &&
           lite_state_save_writes(&r->db, s, err);
}

static bool answer(struct replica *r, yyjson_val *root, struct err *err)
{
    yyjson_val *since = yyjson_obj_get(root, "since"), *decided = yyjson_obj_get(root, "decided");
    const char *lsn = yyjson_get_str(yyjson_obj_get(root, "lsn"));
    const char *at = yyjson_get_str(yyjson_obj_get(root, "at"));

    if (!yyjson_is_arr(decided) || !yyjson_is_str(since) || !lsn)
        return err_set(err, ERR_PROTOCOL, "the answer does not say which writes were decided");
    return lite_apply_begin(r, err) && store_decided(r, decided, err) &&
           sort_out(r, strtoll(yyjson_get_str(since), NULL, 10), strtoll(lsn, NULL, 10), err) &&
           (!r->fork_last || take_new_name(r, at ? strtoll(at, NULL, 10) : 0, err)) &&
           lite_rebase_settle(r, err) && lite_db_commit(&r->db, err);
}

bool lite_fork_answer(struct replica *r, struct slice body, bool *done, struct err *err)
{
    yyjson_doc *doc = yyjson_read(body.ptr, body.len, 0);

    *done = false;
    if (r->changes) { /* amid a transaction of Postgres's: asked again behind it */
        yyjson_doc_free(doc);
        return true;
    }
    bool ok = answer(r, yyjson_doc_get_root(doc), err);
    yyjson_doc_free(doc);
    if (!ok) {
        lite_writes_undo(r);
        return false;
    }
    r->fork_through = r->fork_asked;
    if (!r->fork_last)
        return true;
    log_info("the replica has a new name", LOG_STR("replica", r->state.replica));
    r->forked = false;
    r->stale = r->renumber = *done = true;
    r->sent = r->fork_through = 0;
    return true;
}
