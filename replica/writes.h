/*
 * Local writes as requests: pending mutations (pending.h) get the id of a write and a place in it
 * before they are first sent, so that a repeat is the same whatever was killed. Ids have no gaps.
 *
 * Mutations in a row with the same mark of the program's are one write; those without are cut at
 * MUTATIONS_A_WRITE. What the bridge cannot read (400 with the place) is rejected here, and the
 * rest of its write sent again.
 *
 *     replica_write_request()   {"replica","family","acknowledged","after","transactions":[..]}
 *     replica_write_answer()    the bridge has decided up to "last": r->sent. The acknowledgement
 *                               itself comes in the stream (acks.h)
 *
 * A fork: a file that was restored or copied writes under an id that is somebody else's too. The
 * bridge says so (409), or an ack does. Then the request asks which of the pending mutations were
 * decided already, by their nonces; those are over. The file takes another id and numbers the rest
 * anew, unless it has been away for longer than the bridge remembers: then nobody can tell, and
 * they are rejected as "unknown", for a person to decide.
 */
#ifndef REPLICA_WRITES_H
#define REPLICA_WRITES_H

#include "replica/core.h"

/* At a commit line: captures the tables that the bridge said may be written, and lets go of those
 * that may no more and have nothing pending. */
bool lite_writes_capture(struct replica *r, struct err *err) MUST_CHECK;

/* Looks whether captures are as we made them, repairs them, and has what may have slipped by looked
 * for (gap.h). At the beginning of a transaction, with the outbox empty. */
bool lite_writes_verify(struct replica *r, struct err *err) MUST_CHECK;

/* Takes back a transaction that failed, and what it had set in r->state. */
void lite_writes_undo(struct replica *r);

/* fork.c. */
bool lite_fork_request(struct replica *r, struct buf *body, struct err *err) MUST_CHECK;
bool lite_fork_answer(struct replica *r, struct slice body, bool *done, struct err *err) MUST_CHECK;

#endif
