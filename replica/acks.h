/*
 * Acknowledgements: what the stream says of the replica's own writes. An ack line comes before the
 * commit line of what it speaks of, and says all there is to say each time:
 *
 *     {"ack":{"last":17,"nonce":"..","rejected":[{"id":16,"mutation":-1,"code":..}]}}
 *
 * With that commit the writes up to `last` are over, and their rows are shown without them: as
 * Postgres has them, if they were applied; as they were, if not. A refused mutation moves to
 * _tombolo_rejected in the same transaction. One that was applied waits for its table where that is
 * being fetched again, for the rows that are there do not have it yet.
 *
 * An id that was never given out here, or another nonce, means that a copy of the file writes
 * under the same name: r->forked (writes.h).
 */
#ifndef REPLICA_ACKS_H
#define REPLICA_ACKS_H

#include "replica/core.h"

/* An ack line's object: kept until the commit line. */
bool lite_acks_take(struct replica *r, struct yyjson_val *ack, struct err *err) MUST_CHECK;
/* At a commit line, after the feeds' offsets have moved. */
bool lite_acks_commit(struct replica *r, uint64_t lsn, struct err *err) MUST_CHECK;
/* A stream begins: what waited for the last one's commit line is void. */
bool lite_acks_begin(struct replica *r, struct err *err) MUST_CHECK;

#endif
