/*
 * What record.h does for one group, for those of several requests in one statement each, without
 * waiting: what is sent is taken in the same order. For groups of which nothing was refused, of
 * replicas that have a row, all of one subject.
 */
#ifndef WRITE_RECORDS_H
#define WRITE_RECORDS_H

#include "pg/pipe.h"
#include "write/record.h"

/* record_lock(), but where there is no row none is made. */
void records_send_lock(struct pg_pipe *pipe, const struct record_group *groups, size_t n);
/* rows[i] is of groups[i]; there[i]: whether there is one. The texts lie in the arena. */
bool records_take_lock(struct pg_pipe *pipe, const struct record_group *groups, size_t n,
                       struct arena *arena, struct replica_row *rows, bool *there,
                       struct err *err) MUST_CHECK;

/* What was decided, the last id and nonce; *xid is the transaction's. */
void records_send(struct pg_pipe *pipe, const struct record_group *groups, size_t n,
                  struct slice subject);
bool records_take(struct pg_pipe *pipe, size_t n, uint32_t *xid, struct err *err) MUST_CHECK;
/* The same for one group, waiting for it. */
bool records_put(struct pg_conn *conn, const struct record_group *group, struct slice subject,
                 uint32_t *xid, struct err *err) MUST_CHECK;

#endif
