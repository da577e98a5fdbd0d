#include "replica/writes.h"

#include "base/logging.h"
#include "replica/answer.h"
#include "replica/json.h"
#include "replica/pending.h"
#include "replica/rebase.h"

#include <inttypes.h>
#include <stdio.h>
#include <yyjson.h>

#define MUTATIONS_A_WRITE 500
/* Of a transaction of ours, for other programs wait for it. */
#define MUTATIONS_AT_A_TIME 2000
#define BYTES_A_WRITE ((int64_t)512 << 10)
/* Of a request; it has one write at least. */
#define MOST_BYTES ((size_t)2 << 20)
#define MOST_MUTATIONS 5000
#define MOST_WRITES 500

/* ---- numbers ------------------------------------------------------------ */

struct unnumbered {
    int64_t seq, mark, bytes;
};

/* The next ones, in the arena; *more: there are others. A marked transaction is there as a whole.
 */
static bool read_unnumbered(struct replica *r, struct arena *arena, struct unnumbered **list,
                            size_t *n, bool *more, struct err *err)
{
    static const char sql[] =
        "SELECT seq, mark, ifnull(length(before), 0) + ifnull(length(after), 0)"
        " FROM _tombolo_pending WHERE id IS NULL AND mutation IS NULL"
        " AND due IS NULL AND NOT aside ORDER BY seq";
    size_t cap = MUTATIONS_AT_A_TIME;
    sqlite3_stmt *stmt = NULL;
    int rc;

    *list = arena_alloc(arena, cap * sizeof(**list));
    *more = false;
    if (!lite_db_prepare(&r->db, sql, &stmt, err))
        return false;
    for (*n = 0; (rc = sqlite3_step(stmt)) == SQLITE_ROW;) {
        const struct unnumbered next = {.seq = sqlite3_column_int64(stmt, 0),
                                        .mark = sqlite3_column_int64(stmt, 1),
                                        .bytes = sqlite3_column_int64(stmt, 2)};

        *more = *n >= MUTATIONS_AT_A_TIME && (next.mark == 0 || next.mark != (*list)[*n - 1].mark);
        if (*more)
            break;
        if (*n == cap) {
            struct unnumbered *grown = arena_alloc(arena, 2 * cap * sizeof(*grown));

            memcpy(grown, *list, cap * sizeof(*grown));
            *list = grown;
            cap *= 2;
        }
        (*list)[(*n)++] = next;
    }
    bool ok = rc == SQLITE_ROW || rc == SQLITE_DONE ||
              lite_db_fail(&r->db, err, "could not read local writes");
    sqlite3_finalize(stmt);
    return ok;
}

struct numbering {
    struct replica *r;
    sqlite3_stmt *set;
    int64_t mark, bytes; /* of the present write */
    int mutation;        /* the next one's place; -1: a write must begin */
};

static bool begin_write(struct numbering *n, int64_t mark, struct err *err)
{
    char nonce[40];

    n->mark = mark;
    n->bytes = n->mutation = 0;
    return lite_random_name(nonce, err) &&
           lite_db_exec(&n->r->db, err, "INSERT INTO _tombolo_writes VALUES (%lld, %Q, %d)",
                        (long long)++n->r->state.write_last, nonce, mark != 0);
}

static bool number_one(struct numbering *n, const struct unnumbered *u, struct err *err)
{
    bool full = u->mark == 0 && (n->mutation == MUTATIONS_A_WRITE || n->bytes > BYTES_A_WRITE);

    if ((n->mutation < 0 || full || u->mark != n->mark) && !begin_write(n, u->mark, err))
        return false;
    n->bytes += u->bytes;
    sqlite3_bind_int64(n->set, 1, u->seq);
    sqlite3_bind_int64(n->set, 2, n->r->state.write_last);
    sqlite3_bind_int(n->set, 3, n->mutation++);
    bool ok = sqlite3_step(n->set) == SQLITE_DONE ||
              lite_db_fail(&n->r->db, err, "could not number a local write");
    sqlite3_reset(n->set);
    return ok;
}

/* As many as a transaction may; *numbered grows by them. r->renumber: there are more. */
static bool number_some(struct replica *r, size_t *numbered, struct err *err)
{
    struct numbering n = {.r = r, .mutation = -1};
    struct unnumbered *list;
    struct arena arena = {0};
    size_t count;
    bool more;

    bool ok =
        read_unnumbered(r, &arena, &list, &count, &more, err) &&
        lite_db_prepare(&r->db, "UPDATE _tombolo_pending SET id = ?2, mutation = ?3 WHERE seq = ?1",
                        &n.set, err);
    for (size_t i = 0; ok && i < count; i++)
        ok = number_one(&n, &list[i], err);
    sqlite3_finalize(n.set);
    arena_release(&arena);
    r->renumber = more;
    *numbered += ok ? count : 0;
    return ok && (n.mutation < 0 || lite_state_save_writes(&r->db, &r->state, err));
}

/* Rows are shown once all is drained: what is left in the outbox may be of the same ones, and
 * newer.
 */
static bool drain_piece(struct replica *r, bool *more, struct err *err)
{
    return lite_db_begin(&r->db, err) &&
           lite_pending_drain_some(r, MUTATIONS_AT_A_TIME, more, err) &&
           (*more || lite_rebase_settle(r, err)) && lite_db_commit(&r->db, err);
}

/* What was drained with a part of its marked transaction that came later goes too. What stepped
 * aside is not numbered. */
static bool forget_aside(struct replica *r, struct err *err)
{
    return lite_pending_torn(&r->db, err) &&
           lite_db_exec(&r->db, err,
                        "DELETE FROM _tombolo_pending WHERE id IS NULL AND due IS NULL AND aside");
}

void lite_writes_undo(struct replica *r)
{
    struct err ignored;

    lite_db_rollback(&r->db);
    if (!lite_state_read(&r->db, &r->state, &ignored))
        log_debug("could not read the state", LOG_ERR(&ignored));
}

static bool number_piece(struct replica *r, size_t *numbered, struct err *err)
{
    return lite_apply_begin(r, err) &&
           (r->forked || (forget_aside(r, err) && number_some(r, numbered, err))) &&
           lite_rebase_settle(r, err) && lite_db_commit(&r->db, err);
}

/* What is there is drained, in short transactions, and then numbered, as much as a request takes: a
 * marked transaction must be there as a whole. */
static bool number(struct replica *r, struct err *err)
{
    bool more = true, ok = true;
    size_t numbered = 0;

    while (ok && more)
        ok = drain_piece(r, &more, err);
    do
        ok = ok && number_piece(r, &numbered, err);
    while (ok && r->renumber && !r->forked && numbered < MOST_MUTATIONS);
    if (!ok)
        lite_writes_undo(r);
    return ok;
}

/* ---- the request -------------------------------------------------------- */

static void put_member(struct buf *body, const char *name, sqlite3_stmt *stmt, int column)
{
    const char *json = (const char *)sqlite3_column_text(stmt, column);

    if (json)
        buf_printf(body, ",\"%s\":", name), buf_put_cstr(body, json);
}

/* NULL of an insert is what the program did not give: Postgres's default is to stand there. */
static void put_values(struct buf *body, const char *json)
{
    yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
    yyjson_obj_iter iter = yyjson_obj_iter_with(yyjson_doc_get_root(doc));
    yyjson_val *name;
    const char *comma = "";

    buf_put_cstr(body, ",\"values\":{");
    while ((name = yyjson_obj_iter_next(&iter))) {
        yyjson_val *v = yyjson_obj_iter_get_val(name);

        if (!yyjson_is_str(v))
            continue;
        buf_put_cstr(body, comma);
        lite_json_string(body, (struct slice){yyjson_get_str(name), yyjson_get_len(name)});
        buf_put_u8(body, ':');
        lite_json_string(body, (struct slice){yyjson_get_str(v), yyjson_get_len(v)});
        comma = ",";
    }
    buf_put_u8(body, '}');
    yyjson_doc_free(doc);
}

static void put_mutation(struct buf *body, sqlite3_stmt *stmt)
{
    const char *op = (const char *)sqlite3_column_text(stmt, 1);
    bool insert = *op == 'I';

    buf_put_cstr(body, "{\"table\":");
    lite_json_string(body, slice_of((const char *)sqlite3_column_text(stmt, 0)));
    buf_printf(body, ",\"op\":\"%s\"", insert ? "insert" : *op == 'U' ? "update" : "delete");
    put_member(body, "key", stmt, 2);
    if (insert)
        put_values(body, (const char *)sqlite3_column_text(stmt, 4));
    else
        put_member(body, "values", stmt, 4);
    put_member(body, "base", stmt, 3);
    buf_printf(body, ",\"nonce\":\"%" PRId64 "\"}", (int64_t)sqlite3_column_int64(stmt, 5));
}

static bool put_write(struct replica *r, struct buf *body, int64_t id, const char *nonce,
                      bool marked, size_t *mutations, struct err *err)
{
    sqlite3_stmt *stmt;
    size_t n = 0;
    int rc;

    if (!lite_db_statement(&r->db, LITE_PENDING_OF_WRITE,
                           "SELECT target, op, \"key\", before, after, nonce FROM _tombolo_pending"
                           " WHERE id = ?1 ORDER BY mutation",
                           &stmt, err))
        return false;
    buf_printf(body, "{\"id\":%" PRId64 ",\"nonce\":\"%s\",\"marked\":%s,\"mutations\":[", id,
               nonce, marked ? "true" : "false");
    sqlite3_bind_int64(stmt, 1, id);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (n++ > 0)
            buf_put_u8(body, ',');
        put_mutation(body, stmt);
    }
    buf_put_cstr(body, "]}");
    *mutations += n;
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE || lite_db_fail(&r->db, err, "could not read local writes");
}

/* What the bridge has to find out of itself: who, from where on. */
static bool put_head(struct replica *r, struct buf *body, struct err *err)
{
    const struct lite_state *s = &r->state;
    char nonce[40] = "";
    sqlite3_stmt *stmt = NULL;

    if (!lite_db_prepare(&r->db, "SELECT nonce FROM _tombolo_writes WHERE id = ?1", &stmt, err))
        return false;
    sqlite3_bind_int64(stmt, 1, r->sent);
    const char *text =
        sqlite3_step(stmt) == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    if (text || r->sent == s->write_acked)
        snprintf(nonce, sizeof(nonce), "%s", text ? text : s->write_nonce);
    sqlite3_finalize(stmt);
    buf_printf(body, "{\"replica\":\"%s\",\"family\":\"%s\",\"acknowledged\":%" PRId64, s->replica,
               s->family, s->write_acked);
    if (nonce[0])
        buf_printf(body, ",\"after\":\"%s\"", nonce);
    if (s->contact > 0)
        buf_printf(body, ",\"contact\":\"%" PRId64 "\"", s->contact);
    buf_put_cstr(body, ",\"transactions\":[");
    return true;
}

/* The first write to a table that the bridge does not have now. It waits for the table, and what
 * came behind it with it, as writes go up in order. */
static bool find_held(struct replica *r, int64_t *first, struct err *err)
{
    return lite_db_int(&r->db, INT64_MAX, first, err,
                       "SELECT p.id FROM _tombolo_pending p JOIN _tombolo_shapes s"
                       "  ON p.\"table\" = s.local COLLATE NOCASE"
                       " WHERE p.id > %lld AND s.reason GLOB %Q || '*' ORDER BY p.id LIMIT 1",
                       (long long)r->sent, LITE_GONE);
}

static bool put_writes(struct replica *r, struct buf *body, struct err *err)
{
    size_t mutations = 0, most = r->one_by_one ? 1 : MOST_WRITES;
    sqlite3_stmt *stmt = NULL;
    int rc = SQLITE_DONE;
    int64_t held;
    bool ok = true;

    r->asked = 0;
    if (!put_head(r, body, err) || !find_held(r, &held, err) ||
        !lite_db_prepare(&r->db,
                         "SELECT id, nonce, marked FROM _tombolo_writes WHERE id > ?1 AND id < ?2 "
                         "ORDER BY id",
                         &stmt, err))
        return false;
    sqlite3_bind_int64(stmt, 1, r->sent);
    sqlite3_bind_int64(stmt, 2, held);
    while (ok && r->asked < most && mutations < MOST_MUTATIONS && body->len < MOST_BYTES &&
           (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (r->asked++ > 0)
            buf_put_u8(body, ',');
        ok = put_write(r, body, sqlite3_column_int64(stmt, 0),
                       (const char *)sqlite3_column_text(stmt, 1), sqlite3_column_int(stmt, 2) != 0,
                       &mutations, err);
    }
    if (ok && rc != SQLITE_ROW && rc != SQLITE_DONE)
        ok = lite_db_fail(&r->db, err, "could not read local writes");
    sqlite3_finalize(stmt);
    buf_put_cstr(body, "]}");
    return ok;
}

/* Whether the file may hold writes that are not numbered: some other connection has committed. */
static bool somebody_wrote(struct replica *r, bool *wrote, struct err *err)
{
    sqlite3_stmt *stmt;

    if (!lite_db_statement(&r->db, LITE_DATA_VERSION, "PRAGMA data_version", &stmt, err))
        return false;
    if (sqlite3_step(stmt) != SQLITE_ROW) {
        sqlite3_reset(stmt);
        return lite_db_fail(&r->db, err, "could not look for local writes");
    }
    int64_t version = sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    *wrote = version != r->data_version;
    r->data_version = version;
    return true;
}

/* Ends the open transaction where no change of Postgres's waits in it for its commit line. */
static bool make_room(struct replica *r, struct err *err)
{
    if (!r->db.in_txn)
        return true;
    return r->commit_due ? lite_apply_flush(r, err) : lite_db_commit(&r->db, err);
}

bool replica_write_request(struct replica *r, struct buf *body, bool *any, struct err *err)
{
    bool wrote = false;

    *any = false;
    if (!lite_lane_is_due(r))
        return true;
    if (!lite_stream_settle(r, err))
        return false;
    if (r->changes || !r->db.captured)
        return true;
    if (!somebody_wrote(r, &wrote, err) || !make_room(r, err))
        return false;
    bool due = wrote || r->renumber;
    r->renumber = due; /* until it is done */
    if (due && !number(r, err))
        return false;
    if (!r->forked && r->state.write_last <= r->sent)
        return true;
    buf_clear(body);
    r->asked_decided = r->forked;
    r->asked_after = r->sent;
    if (!(r->forked ? lite_fork_request(r, body, err) : put_writes(r, body, err)))
        return false;
    if (body->failed)
        return err_set(err, ERR_LIMIT, "the request is too long");
    *any = r->forked || r->asked > 0;
    return !*any || lite_db_sync(&r->db, err);
}

/* ---- the answer --------------------------------------------------------- */

static bool take_last(struct replica *r, yyjson_val *root, enum replica_write_verdict *verdict,
                      struct err *err)
{
    yyjson_val *last = yyjson_obj_get(root, "last");

    if (!yyjson_is_uint(last) || (int64_t)yyjson_get_uint(last) > r->state.write_last)
        return err_set(err, ERR_PROTOCOL, "the answer to a write does not say which was the last");
    bool more = (int64_t)yyjson_get_uint(last) > r->asked_after;
    if ((int64_t)yyjson_get_uint(last) > r->sent)
        r->sent = (int64_t)yyjson_get_uint(last);
    r->one_by_one = false;
    *verdict = more ? REPLICA_WRITE_SENT : REPLICA_WRITE_AGAIN;
    if (!more)
        err_set(err, ERR_CONN, "the bridge could not decide on a write yet");
    return true;
}

/* The mutation that cannot be read is not sent again; all of a write that is marked, or too large.
 * *any: there was one. */
static bool reject_here(struct replica *r, int64_t id, int64_t mutation, const char *message,
                        bool *any, struct err *err)
{
    const struct lite_refusal why = {"invalid", NULL, message};
    struct arena arena = {0};
    const char *where =
        lite_pending_where(&arena,
                           "p.id = %lld AND (%lld < 0 OR p.mutation = %lld OR EXISTS"
                           " (SELECT 1 FROM _tombolo_writes w WHERE w.id = p.id AND w.marked))",
                           (long long)id, (long long)mutation, (long long)mutation);

    log_warn("the bridge cannot take a local write", LOG_INT("write", id),
             LOG_STR("message", message));
    int64_t n = 0;
    bool ok = make_room(r, err) && lite_apply_begin(r, err) &&
              lite_db_int(&r->db, 0, &n, err, "SELECT count(*) FROM _tombolo_pending p WHERE %s",
                          where) &&
              lite_pending_reject(&r->db, where, &why, err) &&
              lite_pending_end(&r->db, where, err) &&
              (mutation < 0 || lite_db_exec(&r->db, err,
                                            "UPDATE _tombolo_pending SET mutation = mutation - 1"
                                            " WHERE id = %lld AND mutation > %lld",
                                            (long long)id, (long long)mutation)) &&
              lite_rebase_settle(r, err) && lite_db_commit(&r->db, err);
    if (!ok)
        lite_db_rollback(&r->db);
    arena_release(&arena);
    *any = n > 0;
    return ok;
}

/* "transactions[3].mutations[1].values.qty" */
static bool read_place(const char *place, long long *txn, long long *mutation)
{
    return place && sscanf(place, "transactions[%lld].mutations[%lld]", txn, mutation) >= 1;
}

/* What of the last request is at fault: *id 0 when that is not known. */
static void find_fault(const struct replica *r, long status, yyjson_val *root, int64_t *id,
                       long long *mutation)
{
    const char *place = yyjson_get_str(yyjson_obj_get(root, "place"));
    long long txn = 0;

    *id = 0;
    *mutation = -1;
    if (r->asked_decided)
        return;
    if (status == 400 && read_place(place, &txn, mutation) && txn >= 0 && (size_t)txn < r->asked)
        *id = r->asked_after + 1 + txn;
    else if (status == 413 && r->asked == 1)
        *id = r->asked_after + 1;
}

static bool refused(struct replica *r, long status, struct slice body, yyjson_val *root,
                    enum replica_write_verdict *verdict, struct err *err)
{
    const char *message = yyjson_get_str(yyjson_obj_get(root, "message"));
    bool any = false;
    int64_t id;
    long long mutation;

    lite_answer_refused(r, status, body, err);
    *verdict = err_retriable(err->code) ? REPLICA_WRITE_AGAIN : REPLICA_WRITE_STOP;
    if (*verdict == REPLICA_WRITE_AGAIN)
        return true;
    find_fault(r, status, root, &id, &mutation);
    if (id && r->changes) { /* amid a transaction of Postgres's: said again behind it */
        *verdict = REPLICA_WRITE_AGAIN;
        return true;
    }
    if (id && !reject_here(r, id, mutation, message ? message : "the bridge refused it", &any, err))
        return false;
    if (!id && !r->asked_decided && r->asked > 1 && status == 413)
        r->one_by_one = any = true; /* together they are too much */
    if (any)
        *verdict = REPLICA_WRITE_SENT;
    return true;
}

static bool take_answer(struct replica *r, long status, struct slice body,
                        enum replica_write_verdict *verdict, struct err *err)
{
    bool done, ok = true;

    *verdict = REPLICA_WRITE_SENT;
    yyjson_doc *doc = body.len ? yyjson_read(body.ptr, body.len, 0) : NULL;
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (status == 200 && r->asked_decided) {
        ok = lite_fork_answer(r, body, &done, err);
        *verdict = ok && done ? REPLICA_WRITE_RENAMED : REPLICA_WRITE_SENT;
    } else if (status == 200) {
        ok = take_last(r, root, verdict, err);
    } else if (status == 409 && !r->asked_decided &&
               yyjson_get_bool(yyjson_obj_get(root, "fork"))) {
        if (!r->forked)
            log_warn("another copy of this file has written under its name");
        r->forked = true;
    } else {
        ok = refused(r, status, body, root, verdict, err);
    }
    yyjson_doc_free(doc);
    return ok;
}

bool replica_write_answer(struct replica *r, long status, struct slice body,
                          enum replica_write_verdict *verdict, struct err *err)
{
    if (!lite_stream_settle(r, err))
        return false;
    if (take_answer(r, status, body, verdict, err))
        return true;
    *verdict = REPLICA_WRITE_AGAIN; /* where it was not the bridge that answered, it may be */
    return err->code == ERR_PROTOCOL;
}

bool replica_pending(struct replica *r, uint64_t *mutations, struct err *err)
{
    return lite_stream_settle(r, err) && lite_pending_count(&r->db, mutations, err);
}
