/*
 * Pending local writes on top of the server's rows. While a row has pending mutations, what
 * Postgres says of it goes to its base (pending.h), and the table shows the base with the
 * mutations on it, in their order:
 *
 *     I    the row as it was written
 *     U    the columns that it changed; nothing where the row is gone
 *     D    no row
 *
 * Rows between which a mutation moved (a changed key) are one component, worked out together. Only
 * components that were touched are: what it costs does not grow with the number of pending writes.
 * A mutation that SQLite refuses on top of the server's row (a constraint of the user's), and
 * those on the same row behind it, step aside to _tombolo_rejected.
 *
 * A row changes at a commit line alone, together with everything else of it. So a write stays to
 * be seen until its own acknowledgement, and then Postgres's row is.
 */
#ifndef REPLICA_REBASE_H
#define REPLICA_REBASE_H

#include "replica/core.h"

enum lite_server_op { LITE_SERVER_INSERT, LITE_SERVER_UPDATE, LITE_SERVER_DELETE };

/* A change of the stream, in the cells of the feed's table: when its row has pending mutations
 * it goes to the base, and `*taken` is set. `*found` false: an update of a row that is not there.
 */
bool lite_rebase_take(struct replica *r, struct lite_feed *feed, enum lite_server_op op,
                      bool *taken, bool *found, struct err *err) MUST_CHECK;

/* The feed's table holds the server's rows, after it was fetched: they are the base. */
bool lite_rebase_fetched(struct replica *r, struct lite_feed *feed, struct err *err) MUST_CHECK;

/* Makes the tables show what they are to; relaxed indexes (table.h) stay so. */
bool lite_rebase_show(struct replica *r, struct err *err) MUST_CHECK;

/* Before a transaction commits: shows, and then makes relaxed indexes unique again. Where they
 * cannot be, pending mutations that are in the way of the server's rows step aside. */
bool lite_rebase_settle(struct replica *r, struct err *err) MUST_CHECK;

#endif
