/*
 * A transaction that reads a table's rows in one snapshot, of which it is known where it stands in
 * the stream.
 *
 *     reading_begin(conn, table, ...)        the table's definition stays as it is from here on
 *     reading_snapshot(conn, ...)            taken now, behind whoever held the table
 *     ... COPY ...
 *     ROLLBACK
 */
#ifndef PG_READING_H
#define PG_READING_H

#include "change/lsn.h"
#include "change/table.h"
#include "pg/pg.h"

/* After a failure no transaction is open. ERR_BUSY when the lock is not to be had: the text says
 * which process holds it. */
bool reading_begin(struct pg_conn *conn, const struct table *table, int lock_timeout_ms,
                   struct err *err) MUST_CHECK;
/* The snapshot, in the arena; from `limit` on it sees nothing. One round trip. */
bool reading_snapshot(struct pg_conn *conn, struct arena *arena, struct snapshot *snapshot,
                      lsn_t *limit, struct err *err) MUST_CHECK;

#endif
