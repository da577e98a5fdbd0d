#include "write/memory.h"

#include <inttypes.h>

/* "{-123,456}" */
static void put_nonce(struct buf *b, int64_t nonce)
{
    buf_put_cstr(b, b->len > 1 ? "," : "");
    buf_put_cstr(b, nonce < 0 ? "-" : "");
    buf_put_dec(b, nonce < 0 ? 0 - (uint64_t)nonce : (uint64_t)nonce);
}

static void put_nonces(struct buf *b, const struct write_txn *txn)
{
    for (size_t m = 0; m < txn->nmutations; m++) {
        if (txn->mutations[m].has_nonce)
            put_nonce(b, txn->mutations[m].nonce);
    }
}

void memory_nonces(const struct write_request *request, size_t from, size_t to, struct buf *b)
{
    buf_put_u8(b, '{');
    for (size_t i = from; i < to; i++)
        put_nonces(b, &request->txns[i]);
    buf_put_u8(b, '}');
}

/* Behind everything that the replica has under way, whose requests lock its row as well. */
static bool lock_owner(struct pg_conn *conn, const struct write_request *request,
                       struct slice subject, enum write_answer *answer, struct err *err)
{
    const char *params[] = {request->replica.ptr};
    struct pg_result *res = pg_query_prepared(
        conn, "SELECT subject FROM tombolo.replicas WHERE replica = $1 FOR UPDATE", params, 1, err);

    if (!res)
        return false;
    *answer =
        pg_rows(res) == 0 || slice_eq(pg_value(res, 0, 0), subject) ? WRITE_DONE : WRITE_FORBIDDEN;
    pg_result_free(res);
    return true;
}

static bool look_up(struct pg_conn *conn, const struct write_request *request, struct slice subject,
                    struct arena *arena, struct write_known *known, struct err *err)
{
    struct buf b;

    buf_init(&b, BUF_NO_LIMIT);
    buf_put_u8(&b, '{');
    for (size_t i = 0; i < request->ndecided; i++)
        put_nonce(&b, request->decided[i]);
    buf_put_u8(&b, '}');
    const char *params[] = {request->family.ptr, arena_copy(arena, subject).ptr, buf_cstr(&b)};
    /* One statement, so that nothing is forgotten between its halves. */
    struct pg_result *res = pg_query_prepared(
        conn,
        "SELECT (SELECT (extract(epoch FROM since) * 1000000)::bigint FROM tombolo.memory),"
        " (extract(epoch FROM now()) * 1000000)::bigint,"
        " coalesce(json_agg(DISTINCT n::text), '[]'),"
        " (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"
        " FROM tombolo.decided d, unnest(d.nonces) n"
        " WHERE d.family = $1 AND d.subject = $2 AND n = ANY ($3::bigint[])",
        params, 3, err);
    buf_release(&b);
    if (!res)
        return false;
    known->since = arena_copy(arena, pg_value(res, 0, 0));
    known->at = arena_copy(arena, pg_value(res, 0, 1));
    known->decided = arena_copy(arena, pg_value(res, 0, 2));
    known->lsn = arena_copy(arena, pg_value(res, 0, 3));
    pg_result_free(res);
    return known->since.len || err_set(err, ERR_PG, "the row of tombolo.memory is gone");
}

bool memory_ask(struct pg_conn *conn, const struct write_request *request, struct slice subject,
                struct arena *arena, struct write_known *known, struct err *err)
{
    *known = (struct write_known){.answer = WRITE_DONE, .decided = SLICE("[]")};
    bool ok = pg_run(conn, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", err) &&
              lock_owner(conn, request, subject, &known->answer, err) &&
              (known->answer != WRITE_DONE || look_up(conn, request, subject, arena, known, err)) &&
              pg_run(conn, "COMMIT", err);

    return ok || err_wrap(err, "could not look up what was decided");
}

/* A transaction is not committed yet when it was `at`, an acknowledgement takes its time, and
 * clocks are not all alike: a tenth of the time lies between what is forgotten and what is said to
 * be. */
static bool forget_replicas(struct pg_conn *conn, int64_t ms, struct err *err)
{
    return pg_runf(
        conn, err,
        "WITH gone AS (DELETE FROM tombolo.replicas"
        "   WHERE contact AND seen_at < now() - interval '%" PRId64 " ms'"
        "   RETURNING replica),"
        " rejections AS (DELETE FROM tombolo.rejections r USING gone"
        "   WHERE r.replica = gone.replica)"
        " UPDATE tombolo.memory SET forgotten = greatest(forgotten, now() - interval '%" PRId64
        " ms')"
        " WHERE EXISTS (SELECT FROM gone)",
        ms, ms - ms / 10);
}

/* The statements of one query are one transaction. */
bool memory_prune(struct pg_conn *conn, int64_t ms, int64_t replica_ms, struct err *err)
{
    bool ok = pg_runf(conn, err,
                      "UPDATE tombolo.memory SET since = now() - interval '%" PRId64 " ms'"
                      " WHERE since < now() - interval '%" PRId64 " ms';"
                      "DELETE FROM tombolo.decided"
                      " WHERE at < (SELECT since FROM tombolo.memory) - interval '%" PRId64 " ms'",
                      ms, ms, ms / 10) &&
              (replica_ms == 0 || forget_replicas(conn, replica_ms, err));

    return ok || err_wrap(err, "could not forget old writes");
}
