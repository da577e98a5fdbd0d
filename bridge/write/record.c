#include "write/record.h"
#include "write/records.h"

#include <libpq-fe.h>
#include <stdio.h>

static bool run_params(struct pg_conn *conn, const char *sql, const char *const *params, int n,
                       struct err *err)
{
    struct pg_result *res = pg_query_prepared(conn, sql, params, n, err);

    pg_result_free(res);
    return res != NULL;
}

/* A replica's id may come again after its row was removed by hand: what is left of it goes too. */
static const char insert_sql[] =
    "WITH made AS ("
    "  INSERT INTO tombolo.replicas"
    "  (replica, subject, last_id, nonce, incarnation, seen_at, contact)"
    "  VALUES ($1, $2, 0, '', $3, now(), $4) ON CONFLICT (replica) DO NOTHING RETURNING replica)"
    " DELETE FROM tombolo.rejections r USING made WHERE r.replica = made.replica";
static const char lock_sql[] =
    "SELECT subject, nonce, last_id FROM tombolo.replicas WHERE replica = $1 FOR UPDATE";

/* *there: whether there is such a row. */
static bool read_row(struct pg_conn *conn, const struct write_request *request, struct arena *arena,
                     struct replica_row *row, bool *there, struct err *err)
{
    const char *params[] = {request->replica.ptr};
    struct pg_result *res = pg_query_prepared(conn, lock_sql, params, 1, err);

    if (!res)
        return false;
    *there = pg_rows(res) == 1;
    if (*there)
        *row = (struct replica_row){.subject = arena_copy(arena, pg_value(res, 0, 0)),
                                    .nonce = arena_copy(arena, pg_value(res, 0, 1)),
                                    .last_id = pg_int(res, 0, 2)};
    pg_result_free(res);
    return true;
}

/* Of a replica that has no row. */
static bool may_begin(struct pg_conn *conn, const struct write_request *request,
                      const char *subject, int most, enum write_answer *answer, struct err *err)
{
    char contact[24], limit[16];
    const char *params[] = {request->contact ? contact : NULL, subject, limit};

    snprintf(contact, sizeof(contact), "%lld", (long long)request->contact);
    snprintf(limit, sizeof(limit), "%d", most);
    struct pg_result *res = pg_query_prepared(
        conn,
        "SELECT coalesce((extract(epoch FROM forgotten) * 1000000)::bigint > $1::bigint, false),"
        " (SELECT count(*) FROM (SELECT FROM tombolo.replicas WHERE subject = $2"
        "   LIMIT $3::int) s) FROM tombolo.memory",
        params, 3, err);
    if (!res)
        return false;
    bool there = pg_rows(res) == 1;
    if (there && pg_bool(res, 0, 0))
        *answer = WRITE_FORK;
    else if (there && *subject && most > 0 && pg_int(res, 0, 1) >= most)
        *answer = WRITE_CROWDED;
    pg_result_free(res);
    return there || err_set(err, ERR_PG, "the row of tombolo.memory is gone");
}

/* There is something to write, and no row. */
static bool make_row(struct pg_conn *conn, const struct write_request *request, const char *subject,
                     int most, struct arena *arena, struct replica_row *row,
                     enum write_answer *answer, struct err *err)
{
    const char *params[] = {request->replica.ptr, subject, request->incarnation.ptr,
                            request->contact ? "t" : "f"};
    bool there;

    if (!may_begin(conn, request, subject, most, answer, err))
        return false;
    if (*answer != WRITE_DONE)
        return true;
    return run_params(conn, insert_sql, params, 4, err) &&
           read_row(conn, request, arena, row, &there, err) &&
           (there || err_set(err, ERR_PG, "the row of a replica vanished"));
}

bool record_lock(struct pg_conn *conn, const struct write_request *request, struct slice subject,
                 int most, struct arena *arena, struct replica_row *row, enum write_answer *answer,
                 struct err *err)
{
    bool there;
    bool ok = read_row(conn, request, arena, row, &there, err);

    *answer = WRITE_DONE;
    if (ok && !there) {
        *row = (struct replica_row){.subject = arena_copy(arena, subject)};
        ok = request->ntxns == 0 ||
             make_row(conn, request, row->subject.ptr, most, arena, row, answer, err);
    }
    if (!ok)
        return err_wrap(err, "could not read tombolo.replicas");
    if (!slice_eq(row->subject, subject)) {
        *answer = WRITE_FORBIDDEN;
        row->last_id = 0; /* which is not his to know */
    }
    return true;
}

bool record_position(const struct replica_row *row, const struct write_request *request,
                     size_t *from)
{
    const struct write_txn *txns = request->txns;
    size_t n = request->ntxns;

    *from = 0;
    if (n == 0 || row->last_id == 0)
        return true;
    if (txns[0].id - 1 == row->last_id)
        return !request->after.ptr || slice_eq(request->after, row->nonce);
    if (txns[0].id > row->last_id || txns[n - 1].id < row->last_id)
        return false;
    *from = (size_t)(row->last_id - txns[0].id) + 1;
    return slice_eq(txns[*from - 1].nonce, row->nonce);
}

bool record_acknowledged(struct pg_conn *conn, const struct write_request *request, struct err *err)
{
    char id[24];
    const char *params[] = {request->replica.ptr, id};

    if (request->acknowledged == 0)
        return true;
    snprintf(id, sizeof(id), "%lld", (long long)request->acknowledged);
    return run_params(conn, "DELETE FROM tombolo.rejections WHERE replica = $1 AND id <= $2",
                      params, 2, err);
}

bool record_known(struct pg_conn *conn, const struct write_request *request, size_t i,
                  struct write_result *result, struct arena *arena, struct err *err)
{
    char id[24];
    const char *params[] = {request->replica.ptr, id};

    snprintf(id, sizeof(id), "%lld", (long long)request->txns[i].id);
    struct pg_result *res =
        pg_query_prepared(conn,
                          "SELECT mutation, code, sqlstate, message FROM tombolo.rejections"
                          " WHERE replica = $1 AND id = $2 ORDER BY mutation",
                          params, 2, err);
    if (!res)
        return false;
    result->nrejections = (size_t)pg_rows(res);
    result->rejections = arena_calloc(arena, result->nrejections, sizeof(*result->rejections));
    for (int r = 0; r < pg_rows(res); r++)
        result->rejections[r] =
            (struct write_rejection){.mutation = (int)pg_int(res, r, 0),
                                     .code = arena_copy(arena, pg_value(res, r, 1)),
                                     .sqlstate = arena_copy(arena, pg_value(res, r, 2)),
                                     .message = arena_copy(arena, pg_value(res, r, 3))};
    pg_result_free(res);
    return true;
}

static bool record_rejection(struct pg_conn *conn, const struct write_request *request, size_t i,
                             const struct write_rejection *rejection, struct err *err)
{
    char id[24], mutation[16];
    const char *params[] = {
        request->replica.ptr,  id, mutation, rejection->code.ptr, rejection->sqlstate.ptr,
        rejection->message.ptr};

    snprintf(id, sizeof(id), "%lld", (long long)request->txns[i].id);
    snprintf(mutation, sizeof(mutation), "%d", rejection->mutation);
    return run_params(conn,
                      "INSERT INTO tombolo.rejections"
                      " (replica, id, mutation, subject, code, sqlstate, message)"
                      " SELECT replica, $2::bigint, $3::int, subject, $4, $5, $6"
                      " FROM tombolo.replicas WHERE replica = $1"
                      " ON CONFLICT (replica, id, mutation) DO UPDATE SET"
                      "   subject = excluded.subject, code = excluded.code,"
                      "   sqlstate = excluded.sqlstate, message = excluded.message",
                      params, 6, err);
}

bool record_group(struct pg_conn *conn, const struct record_group *group,
                  const struct write_result *results, struct slice subject, uint32_t *xid,
                  struct err *err)
{
    for (size_t i = group->from; i < group->to; i++) {
        for (size_t r = 0; r < results[i].nrejections; r++) {
            if (!record_rejection(conn, group->request, i, &results[i].rejections[r], err))
                return err_wrap(err, "could not write tombolo.rejections");
        }
    }
    return records_put(conn, group, subject, xid, err);
}

bool record_commit(struct pg_conn *conn, lsn_t *lsn, struct err *err)
{
    /* A transaction that is aborted would "commit" as well: by rolling back, without an error. */
    if (PQtransactionStatus(conn) != PQTRANS_INTRANS) {
        err_set(err, ERR_PG, "the transaction of a write is not open any more");
        snprintf(err->sqlstate, sizeof(err->sqlstate), "25000"); /* not the write's fault: stop */
        return false;
    }
    struct pg_result *res =
        pg_query(conn, "COMMIT; SELECT pg_catalog.pg_current_wal_insert_lsn()", err);
    if (!res)
        return false;
    bool ok = lsn_parse(pg_value(res, 0, 0), lsn);
    pg_result_free(res);
    return ok || err_set(err, ERR_PG, "Postgres gave no position behind a commit");
}
