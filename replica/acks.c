#include "replica/acks.h"

#include "base/clock.h"
#include "base/logging.h"
#include "replica/pending.h"

#include <stdlib.h>
#include <yyjson.h>

bool lite_acks_take(struct replica *r, yyjson_val *ack, struct err *err)
{
    size_t n;
    char *json = yyjson_val_write(ack, 0, &n);

    if (!json || !yyjson_is_uint(yyjson_obj_get(ack, "last"))) {
        free(json);
        return err_set(err, ERR_PROTOCOL, "an acknowledgement without a last id");
    }
    buf_clear(&r->ack);
    if (!r->stale)
        buf_put(&r->ack, json, n);
    free(json);
    return true;
}

static bool find_held(struct replica *r, struct err *err)
{
    int64_t n;

    if (!lite_db_int(&r->db, 0, &n, err,
                     "SELECT EXISTS (SELECT 1 FROM _tombolo_pending WHERE due IS NOT NULL)"))
        return false;
    r->held = n > 0;
    return true;
}

bool lite_acks_begin(struct replica *r, struct err *err)
{
    buf_clear(&r->ack);
    r->stale = false;
    r->sent = r->state.write_acked;
    return find_held(r, err);
}

/* ---- whose it is -------------------------------------------------------- */

static bool same_nonce(struct replica *r, int64_t last, const char *nonce, bool *same,
                       struct err *err)
{
    int64_t n;

    *same = true;
    if (!nonce)
        return true;
    if (last == r->state.write_acked) {
        *same = last == 0 || strcmp(nonce, r->state.write_nonce) == 0;
        return true;
    }
    if (!lite_db_int(&r->db, 0, &n, err,
                     "SELECT count(*) FROM _tombolo_writes WHERE id = %lld AND nonce = %Q",
                     (long long)last, nonce))
        return false;
    *same = n > 0;
    return true;
}

static bool is_fork(struct replica *r, int64_t last, const char *nonce, bool *fork, struct err *err)
{
    bool same = true;

    *fork = last > r->state.write_last;
    if (!*fork && last >= r->state.write_acked && !same_nonce(r, last, nonce, &same, err))
        return false;
    *fork = *fork || !same;
    return true;
}

/* ---- what it says ------------------------------------------------------- */

/* A marked write is refused as a whole, on account of the one mutation. */
static bool reject_together(struct replica *r, int64_t id, const struct lite_refusal *why,
                            struct arena *arena, struct err *err)
{
    struct lite_refusal all = *why;
    int64_t marked;

    if (!lite_db_int(&r->db, 0, &marked, err, "SELECT marked FROM _tombolo_writes WHERE id = %lld",
                     (long long)id))
        return false;
    all.message = arena_printf(arena, "its transaction was refused: %s",
                               why->message ? why->message : why->code);
    return !marked ||
           lite_pending_reject(&r->db, lite_pending_where(arena, "p.id = %lld", (long long)id),
                               &all, err);
}

static bool end_rejected(struct replica *r, int64_t id, const char *where, struct arena *arena,
                         struct err *err)
{
    const char *all = lite_pending_where(
        arena,
        "(%s) OR (p.id = %lld AND EXISTS (SELECT 1 FROM _tombolo_writes w WHERE w.id = p.id"
        " AND w.marked))",
        where, (long long)id);

    return lite_pending_end(&r->db, all, err);
}

static bool reject(struct replica *r, yyjson_val *v, int64_t last, struct err *err)
{
    int64_t id = yyjson_get_sint(yyjson_obj_get(v, "id"));
    int64_t mutation = yyjson_get_sint(yyjson_obj_get(v, "mutation"));
    const struct lite_refusal why = {.code = yyjson_get_str(yyjson_obj_get(v, "code")),
                                     .sqlstate = yyjson_get_str(yyjson_obj_get(v, "sqlstate")),
                                     .message = yyjson_get_str(yyjson_obj_get(v, "message"))};
    struct arena arena = {0};

    if (id <= r->state.write_acked || id > last)
        return true; /* we know of it */
    if (!why.code)
        return err_set(err, ERR_PROTOCOL, "a rejection without a code");
    const char *where =
        lite_pending_where(&arena, "p.id = %lld AND (%lld < 0 OR p.mutation = %lld)", (long long)id,
                           (long long)mutation, (long long)mutation);
    log_warn("Postgres refused a local write", LOG_INT("write", id), LOG_STR("code", why.code),
             LOG_STR("message", why.message));
    bool ok = reject_together(r, id, &why, &arena, err) &&
              lite_pending_reject(&r->db, where, &why, err) &&
              end_rejected(r, id, where, &arena, err);
    arena_release(&arena);
    return ok;
}

/* What Postgres accepted though it stepped aside here is not rejected after all. */
static bool accept(struct replica *r, int64_t last, uint64_t lsn, struct err *err)
{
    r->held = true;
    return lite_db_exec(&r->db, err,
                        "DELETE FROM _tombolo_rejected WHERE seq IN (SELECT seq FROM"
                        " _tombolo_pending WHERE id <= %lld AND due IS NULL AND aside)",
                        (long long)last) &&
           lite_db_exec(&r->db, err,
                        "UPDATE _tombolo_pending SET due = %lld WHERE id <= %lld AND due IS NULL",
                        (long long)lsn, (long long)last);
}

static bool remember(struct replica *r, int64_t last, struct err *err)
{
    sqlite3_stmt *stmt = NULL;

    if (!lite_db_prepare(&r->db, "SELECT nonce FROM _tombolo_writes WHERE id = ?1", &stmt, err))
        return false;
    sqlite3_bind_int64(stmt, 1, last);
    const char *nonce =
        sqlite3_step(stmt) == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    snprintf(r->state.write_nonce, sizeof(r->state.write_nonce), "%s", nonce ? nonce : "");
    sqlite3_finalize(stmt);
    r->state.write_acked = last;
    if (r->sent < last)
        r->sent = last;
    return lite_db_exec(&r->db, err, "DELETE FROM _tombolo_writes WHERE id <= %lld",
                        (long long)last) &&
           lite_state_save_writes(&r->db, &r->state, err);
}

/* By a clock that may be wrong. Where the bridge knows of no write it has heard of none, or has
 * forgotten what it decided: then what is pending may have been, and the time stands. Nor does it
 * go back then, for the bridge's own clock may have been at it when the name was taken (fork.c). */
static bool note_contact(struct replica *r, int64_t last, struct err *err)
{
    int64_t now = clock_unix_us(), pending = 0;

    if (last == 0 && !lite_db_int(&r->db, 0, &pending, err,
                                  "SELECT EXISTS (SELECT 1 FROM _tombolo_pending"
                                  " WHERE due IS NULL)"))
        return false;
    if (last > 0 || (!pending && now > r->state.contact))
        r->state.contact = now;
    return lite_state_save_writes(&r->db, &r->state, err);
}

static bool apply_ack(struct replica *r, yyjson_val *ack, uint64_t lsn, struct err *err)
{
    int64_t last = (int64_t)yyjson_get_uint(yyjson_obj_get(ack, "last"));
    yyjson_val *rejected = yyjson_obj_get(ack, "rejected"), *v;
    bool fork;
    size_t i, n;

    if (!is_fork(r, last, yyjson_get_str(yyjson_obj_get(ack, "nonce")), &fork, err))
        return false;
    if (fork && !r->forked)
        log_warn("another copy of this file has written under its name", LOG_INT("write", last));
    r->forked = r->forked || fork;
    if (r->forked)
        return true;
    if (!note_contact(r, last, err))
        return false;
    if (last <= r->state.write_acked)
        return true;
    yyjson_arr_foreach(rejected, i, n, v)
    {
        if (!reject(r, v, last, err))
            return false;
    }
    return accept(r, last, lsn, err) && remember(r, last, err);
}

/* ---- the commit line ---------------------------------------------------- */

/* Mutations that are in their table now, or whose table is not synced any more. They are found by
 * `due`, not among all of the table: hence the plus. */
static bool settle(struct replica *r, struct err *err)
{
    struct arena arena = {0};
    bool ok = lite_pending_end(&r->db,
                               "p.due IS NOT NULL AND p.\"table\" NOT IN"
                               " (SELECT local FROM _tombolo_shapes)",
                               err);

    for (size_t i = 0; ok && i < r->nfeeds; i++) {
        const struct lite_feed *feed = &r->feeds[i];

        if (feed->phase == LITE_STREAMING)
            ok = lite_pending_end(&r->db,
                                  lite_pending_where(&arena, "p.due <= %lld AND +p.\"table\" = %Q",
                                                     (long long)feed->shape->offset,
                                                     feed->shape->local),
                                  err);
    }
    arena_release(&arena);
    return ok && find_held(r, err);
}

bool lite_acks_commit(struct replica *r, uint64_t lsn, struct err *err)
{
    if (r->ack.len == 0 && !r->held)
        return true;
    if (!lite_apply_begin(r, err))
        return false;
    yyjson_doc *doc = r->ack.len ? yyjson_read(r->ack.ptr, r->ack.len, 0) : NULL;
    bool ok = !doc || apply_ack(r, yyjson_doc_get_root(doc), lsn, err);
    yyjson_doc_free(doc);
    buf_clear(&r->ack);
    return ok && (!r->held || settle(r, err));
}
