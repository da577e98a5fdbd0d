#include "write/records.h"

#include "write/memory.h"

#include <inttypes.h>

/* In one order, so that two bridges do not wait for each other. */
static const char lock_sql[] = "SELECT replica, subject, nonce, last_id FROM tombolo.replicas"
                               " WHERE replica = ANY ($1::text[]) ORDER BY replica FOR UPDATE";
/* A replica's id may come again after its row was removed by hand: then `decided` has it. */
static const char record_sql[] =
    "WITH v AS ("
    "  SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[],"
    "                       $6::text[], $7::bigint[])"
    "    AS v(replica, id, nonce, incarnation, family, nonces, acknowledged)),"
    " known AS ("
    "  DELETE FROM tombolo.rejections r USING v"
    "   WHERE r.replica = v.replica AND r.id <= v.acknowledged),"
    " decided AS ("
    "  INSERT INTO tombolo.decided AS d (family, replica, id, subject, nonces, at)"
    "  SELECT family, replica, id, $8, nonces::bigint[], now() FROM v WHERE nonces <> '{}'"
    "  ON CONFLICT (family, replica, id) DO UPDATE SET"
    "    nonces = d.nonces || excluded.nonces, at = excluded.at)"
    " UPDATE tombolo.replicas r"
    "    SET last_id = v.id, nonce = v.nonce, incarnation = v.incarnation, seen_at = now()"
    "   FROM v WHERE r.replica = v.replica RETURNING pg_current_xact_id()::xid";

/* ---- arrays ------------------------------------------------------------ */

enum column { REPLICA, ID, NONCE, INCARNATION, FAMILY, NONCES, ACKNOWLEDGED, COLUMNS };

static void put_comma(struct buf *b)
{
    buf_put_u8(b, b->len ? ',' : '{');
}

static void put_text(struct buf *b, struct slice text)
{
    put_comma(b);
    buf_put_u8(b, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '"' || text.ptr[i] == '\\')
            buf_put_u8(b, '\\');
        buf_put_u8(b, (uint8_t)text.ptr[i]);
    }
    buf_put_u8(b, '"');
}

static void put_number(struct buf *b, int64_t number)
{
    put_comma(b);
    buf_printf(b, "%" PRId64, number);
}

static void put_nonces(struct buf *b, const struct record_group *group)
{
    struct buf nonces;

    buf_init(&nonces, BUF_NO_LIMIT);
    memory_nonces(group->request, group->from, group->to, &nonces);
    put_text(b, buf_slice(&nonces));
    buf_release(&nonces);
}

static void put_group(struct buf columns[COLUMNS], const struct record_group *group)
{
    const struct write_request *request = group->request;
    const struct write_txn *last = &request->txns[group->to - 1];

    put_text(&columns[REPLICA], request->replica);
    put_number(&columns[ID], last->id);
    put_text(&columns[NONCE], last->nonce);
    put_text(&columns[INCARNATION], request->incarnation);
    put_text(&columns[FAMILY], request->family);
    put_nonces(&columns[NONCES], group);
    put_number(&columns[ACKNOWLEDGED], group->acknowledged);
}

/* ---- the rows ---------------------------------------------------------- */

void records_send_lock(struct pg_pipe *pipe, const struct record_group *groups, size_t n)
{
    struct buf b;

    buf_init(&b, BUF_NO_LIMIT);
    for (size_t i = 0; i < n; i++)
        put_text(&b, groups[i].request->replica);
    buf_put_u8(&b, '}');
    const char *params[] = {buf_cstr(&b)};
    pg_pipe_put(pipe, lock_sql, NULL, params, 1);
    buf_release(&b);
}

static size_t find(const struct record_group *groups, size_t n, struct slice replica)
{
    size_t i = 0;

    while (i < n && !slice_eq(groups[i].request->replica, replica))
        i++;
    return i;
}

bool records_take_lock(struct pg_pipe *pipe, const struct record_group *groups, size_t n,
                       struct arena *arena, struct replica_row *rows, bool *there, struct err *err)
{
    struct pg_result *res = pg_pipe_next(pipe, err);

    for (int r = 0; res && r < pg_rows(res); r++) {
        size_t i = find(groups, n, pg_value(res, r, 0));

        if (i == n)
            continue;
        rows[i] = (struct replica_row){.subject = arena_copy(arena, pg_value(res, r, 1)),
                                       .nonce = arena_copy(arena, pg_value(res, r, 2)),
                                       .last_id = pg_int(res, r, 3)};
        there[i] = true;
    }
    pg_result_free(res);
    return res != NULL;
}

struct params {
    struct buf columns[COLUMNS], subject;
    const char *texts[COLUMNS + 1];
};

static void params_init(struct params *p, const struct record_group *groups, size_t n,
                        struct slice subject)
{
    for (int c = 0; c < COLUMNS; c++)
        buf_init(&p->columns[c], BUF_NO_LIMIT);
    for (size_t i = 0; i < n; i++)
        put_group(p->columns, &groups[i]);
    for (int c = 0; c < COLUMNS; c++) {
        buf_put_u8(&p->columns[c], '}');
        p->texts[c] = buf_cstr(&p->columns[c]);
    }
    buf_init(&p->subject, BUF_NO_LIMIT);
    buf_put_slice(&p->subject, subject);
    p->texts[COLUMNS] = buf_cstr(&p->subject);
}

static void params_release(struct params *p)
{
    for (int c = 0; c < COLUMNS; c++)
        buf_release(&p->columns[c]);
    buf_release(&p->subject);
}

/* Takes the result, or NULL with the error. */
static bool take_xid(struct pg_result *res, size_t n, uint32_t *xid, struct err *err)
{
    if (!res)
        return false;
    bool found = (size_t)pg_rows(res) == n;
    if (found)
        *xid = pg_oid(res, 0, 0);
    pg_result_free(res);
    return found || err_set(err, ERR_PG, "the row of a replica in tombolo.replicas vanished");
}

void records_send(struct pg_pipe *pipe, const struct record_group *groups, size_t n,
                  struct slice subject)
{
    struct params p;

    params_init(&p, groups, n, subject);
    pg_pipe_put(pipe, record_sql, NULL, p.texts, COLUMNS + 1);
    params_release(&p);
}

bool records_take(struct pg_pipe *pipe, size_t n, uint32_t *xid, struct err *err)
{
    return take_xid(pg_pipe_next(pipe, err), n, xid, err);
}

bool records_put(struct pg_conn *conn, const struct record_group *group, struct slice subject,
                 uint32_t *xid, struct err *err)
{
    struct params p;

    params_init(&p, group, 1, subject);
    struct pg_result *res = pg_query_prepared(conn, record_sql, p.texts, COLUMNS + 1, err);
    params_release(&p);
    return take_xid(res, 1, xid, err) || err_wrap(err, "could not write tombolo.replicas");
}
