/*
 * What record.h does for one group, for those of several requests in one statement each, without
 * waiting. For groups of which nothing was refused, of replicas that have a row, all of one
 * subject.
 */
#ifndef WRITE_RECORDS_H
#define WRITE_RECORDS_H

#include "pg/pipe.h"
#include "write/record.h"

/* What is decided by them, the last id and nonce, which locks the replicas' rows; the rejections
 * that the replicas know of are dropped. */
void records_send(struct pg_pipe *pipe, const struct record_group *groups, size_t n,
                  struct slice subject);
/* follows[i]: groups[i] is what follows by its replica's row, and was recorded there. If one is
 * not, nothing may be committed. *xid is the transaction's, if one is. */
bool records_take(struct pg_pipe *pipe, const struct record_group *groups, size_t n, bool *follows,
                  uint32_t *xid, struct err *err) MUST_CHECK;
/* The same for one group whose row is locked, waiting for it. */
bool records_put(struct pg_conn *conn, const struct record_group *group, struct slice subject,
                 uint32_t *xid, struct err *err) MUST_CHECK;

#endif
