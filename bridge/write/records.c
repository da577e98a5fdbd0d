#include "write/records.h"

#include "write/memory.h"

#include <inttypes.h>

/* What is decided by groups of transactions; nothing of `replicas` for one that does not follow
 * what was decided last, which the groups that have locked their row before do not ask (id_before
 * null). Whose replica it is is given, not a condition: that would be looked for by its index. What
 * stands in `conflict` is for a replica's id that came again after its row was removed by hand:
 * then `decided` has it. To look for that at every write has its price. */
#define RECORD_SQL(conflict)                                                                       \
    "WITH v AS ("                                                                                  \
    "  SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[],"         \
    "                       $6::text[], $7::bigint[], $8::text[]) WITH ORDINALITY"                 \
    "    AS v(replica, id, nonce, incarnation, family, nonces, id_before, nonce_before, number))," \
    " decided AS ("                                                                                \
    "  INSERT INTO tombolo.decided AS d (family, replica, id, subject, nonces, at)"                \
    "  SELECT family, replica, id, $9, nonces::bigint[], now() FROM v"                             \
    "   WHERE nonces <> '{}'" conflict ")"                                                         \
    " UPDATE tombolo.replicas r"                                                                   \
    "    SET last_id = v.id, nonce = v.nonce, incarnation = v.incarnation, seen_at = now()"        \
    "   FROM v WHERE r.replica = v.replica"                                                        \
    "    AND (v.id_before IS NULL OR r.last_id = v.id_before)"                                     \
    "    AND (v.nonce_before IS NULL OR r.nonce = v.nonce_before)"                                 \
    " RETURNING pg_current_xact_id()::xid, v.number, r.subject = $9"

static const char first_sql[] = RECORD_SQL("");
static const char any_sql[] =
    RECORD_SQL("  ON CONFLICT (family, replica, id) DO UPDATE SET"
               "    nonces = d.nonces || excluded.nonces, at = excluded.at");
static const char known_sql[] = "DELETE FROM tombolo.rejections r"
                                " USING unnest($1::text[], $2::bigint[]) AS v(replica, id)"
                                " WHERE r.replica = v.replica AND r.id <= v.id";

/* ---- arrays ------------------------------------------------------------ */

enum column { REPLICA, ID, NONCE, INCARNATION, FAMILY, NONCES, ID_BEFORE, NONCE_BEFORE, COLUMNS };

static void put_comma(struct buf *b)
{
    buf_put_u8(b, b->len ? ',' : '{');
}

static void put_null(struct buf *b)
{
    put_comma(b);
    buf_put_cstr(b, "NULL");
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

/* Of the transaction before the first. */
static void put_before(struct buf columns[COLUMNS], const struct record_group *group)
{
    const struct write_txn *first = &group->request->txns[group->from];
    struct slice nonce = group->from > 0 ? first[-1].nonce : group->request->after;

    put_number(&columns[ID_BEFORE], first->id - 1);
    if (nonce.ptr)
        put_text(&columns[NONCE_BEFORE], nonce);
    else
        put_null(&columns[NONCE_BEFORE]);
}

static void put_group(struct buf columns[COLUMNS], const struct record_group *group, bool locked)
{
    const struct write_request *request = group->request;
    const struct write_txn *last = &request->txns[group->to - 1];

    put_text(&columns[REPLICA], request->replica);
    put_number(&columns[ID], last->id);
    put_text(&columns[NONCE], last->nonce);
    put_text(&columns[INCARNATION], request->incarnation);
    put_text(&columns[FAMILY], request->family);
    put_nonces(&columns[NONCES], group);
    if (locked) {
        put_null(&columns[ID_BEFORE]);
        put_null(&columns[NONCE_BEFORE]);
    } else {
        put_before(columns, group);
    }
}

/* ---- the rows ---------------------------------------------------------- */

struct params {
    struct buf columns[COLUMNS], subject;
    const char *texts[COLUMNS + 1];
};

/* `locked`: what was decided last is known. */
static void params_init(struct params *p, const struct record_group *groups, size_t n, bool locked,
                        struct slice subject)
{
    for (int c = 0; c < COLUMNS; c++)
        buf_init(&p->columns[c], BUF_NO_LIMIT);
    for (size_t i = 0; i < n; i++)
        put_group(p->columns, &groups[i], locked);
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

/* Whether a replica knows of rejections. */
static bool any_known(const struct record_group *groups, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (groups[i].request->acknowledged > 0)
            return true;
    }
    return false;
}

static void send_known(struct pg_pipe *pipe, const struct record_group *groups, size_t n)
{
    struct buf replicas, ids;

    buf_init(&replicas, BUF_NO_LIMIT);
    buf_init(&ids, BUF_NO_LIMIT);
    for (size_t i = 0; i < n; i++) {
        put_text(&replicas, groups[i].request->replica);
        put_number(&ids, groups[i].request->acknowledged);
    }
    buf_put_u8(&replicas, '}');
    buf_put_u8(&ids, '}');
    const char *params[] = {buf_cstr(&replicas), buf_cstr(&ids)};
    pg_pipe_put(pipe, known_sql, NULL, params, 2);
    buf_release(&replicas);
    buf_release(&ids);
}

static bool take_known(struct pg_pipe *pipe, struct err *err)
{
    struct pg_result *res = pg_pipe_next(pipe, err);

    pg_result_free(res);
    return res != NULL;
}

void records_send(struct pg_pipe *pipe, const struct record_group *groups, size_t n,
                  struct slice subject)
{
    struct params p;

    if (any_known(groups, n))
        send_known(pipe, groups, n);
    params_init(&p, groups, n, false, subject);
    pg_pipe_put(pipe, first_sql, NULL, p.texts, COLUMNS + 1);
    params_release(&p);
}

bool records_take(struct pg_pipe *pipe, const struct record_group *groups, size_t n, bool *follows,
                  uint32_t *xid, struct err *err)
{
    bool ok = !any_known(groups, n) || take_known(pipe, err);
    struct pg_result *res = ok ? pg_pipe_next(pipe, err) : NULL;

    for (size_t i = 0; i < n; i++)
        follows[i] = false;
    for (int r = 0; res && r < pg_rows(res); r++) {
        *xid = pg_oid(res, r, 0);
        follows[pg_int(res, r, 1) - 1] = pg_bool(res, r, 2);
    }
    pg_result_free(res);
    return res != NULL;
}

bool records_put(struct pg_conn *conn, const struct record_group *group, struct slice subject,
                 uint32_t *xid, struct err *err)
{
    struct params p;

    params_init(&p, group, 1, true, subject);
    struct pg_result *res = pg_query_prepared(conn, any_sql, p.texts, COLUMNS + 1, err);
    params_release(&p);
    bool found = res && pg_rows(res) == 1;
    if (found)
        *xid = pg_oid(res, 0, 0);
    pg_result_free(res);
    if (res && !found)
        err_set(err, ERR_PG, "the row of a replica vanished");
    return found || err_wrap(err, "could not write tombolo.replicas");
}
