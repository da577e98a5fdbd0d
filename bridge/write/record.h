/*
 * The bridge's own rows (write/tables.h) in the transaction of a group. All run as the bridge's
 * user with search_path = pg_catalog.
 */
#ifndef WRITE_RECORD_H
#define WRITE_RECORD_H

#include "write/apply.h"

struct replica_row {
    struct slice subject, nonce;
    int64_t last_id; /* 0: it has written nothing yet */
};

/* Locks the replica's row. Where there is none it is made, if there is something to write. *answer:
 * whether this subject may go on under this id, which is a fork when its row may have been
 * forgotten; `most` is how many replicas it may have. The texts lie in the arena. */
bool record_lock(struct pg_conn *conn, const struct write_request *request, struct slice subject,
                 int most, struct arena *arena, struct replica_row *row, enum write_answer *answer,
                 struct err *err) MUST_CHECK;

/* *from: the first transaction of the request that is not yet decided. False when the request
 * neither contains nor directly follows what was decided last: a fork. */
bool record_position(const struct replica_row *row, const struct write_request *request,
                     size_t *from) MUST_CHECK;

/* Drops the rejections that the replica knows of. */
bool record_acknowledged(struct pg_conn *conn, const struct write_request *request,
                         struct err *err) MUST_CHECK;

/* The rejections of transaction i, which was decided by an earlier request. */
bool record_known(struct pg_conn *conn, const struct write_request *request, size_t i,
                  struct write_result *result, struct arena *arena, struct err *err) MUST_CHECK;

/* What is recorded together. */
struct record_group {
    const struct write_request *request;
    size_t from, to; /* of its transactions */
};
/* The results of all of them lie at `results`: the rejections, what was decided, the last id and
 * nonce. *xid is the transaction's. */
bool record_group(struct pg_conn *conn, const struct record_group *group,
                  const struct write_result *results, struct slice subject, uint32_t *xid,
                  struct err *err) MUST_CHECK;

/* *lsn: a position at or behind the commit. */
bool record_commit(struct pg_conn *conn, lsn_t *lsn, struct err *err) MUST_CHECK;

#endif
