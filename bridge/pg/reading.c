#include "pg/reading.h"
#include "pg/publication.h"

bool reading_begin(struct pg_conn *conn, const struct table *table, int lock_timeout_ms,
                   struct err *err)
{
    struct err ignored;
    struct buf name;

    buf_init(&name, BUF_NO_LIMIT);
    table_put_quoted(table, &name);
    bool ok = pg_runf(conn, err,
                      "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;"
                      "SET LOCAL lock_timeout = %d; LOCK TABLE %s IN ACCESS SHARE MODE",
                      lock_timeout_ms, buf_cstr(&name));
    buf_release(&name);
    return ok || (pg_run(conn, "ROLLBACK", &ignored) && publication_lock_failed(conn, table, err));
}

bool reading_snapshot(struct pg_conn *conn, struct arena *arena, struct snapshot *snapshot,
                      lsn_t *limit, struct err *err)
{
    /* The first query takes the snapshot; the position is read after it. */
    struct pg_result *res =
        pg_query(conn, "SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()", err);

    if (!res)
        return false;
    bool ok = snapshot_parse(pg_value(res, 0, 0), arena, snapshot, err) &&
              (lsn_parse(pg_value(res, 0, 1), limit) ||
               err_set(err, ERR_PROTOCOL, "malformed WAL position"));
    pg_result_free(res);
    return ok;
}
