/*
 * Which mutations were decided, applied or refused: what the bridge remembers of them by their
 * nonces (tombolo.decided), for a replica that has to take another id. It no longer knows which of
 * its pending writes got through under the old one, asks, and sends only the others again.
 *
 * Only so much is remembered (setting write_memory). The answer says since when: what is older may
 * have been decided all the same, and the replica must neither send it again nor drop it.
 */
#ifndef WRITE_MEMORY_H
#define WRITE_MEMORY_H

#include "write/apply.h"

/* In the transaction of a group: the nonces of [from, to). Where none has one, nothing. */
bool memory_put(struct pg_conn *conn, const struct write_request *request, size_t from, size_t to,
                struct err *err) MUST_CHECK;

struct write_known {
    enum write_answer answer; /* WRITE_DONE or WRITE_FORBIDDEN */
    struct slice decided;     /* those of request->decided that were, as JSON: ["-123",..] */
    struct slice since;       /* microseconds since 1970, in digits */
    struct slice lsn;         /* they were committed at or before it; in digits */
};

/* Answers request->decided for this subject; waits for what the replica has under way. Blocks. The
 * texts lie in the arena. After a failure the caller closes the connection. */
bool memory_ask(struct pg_conn *conn, const struct write_request *request, struct slice subject,
                struct arena *arena, struct write_known *known, struct err *err) MUST_CHECK;

/* Forgets what was decided more than `ms` ago. Blocks. */
bool memory_prune(struct pg_conn *conn, int64_t ms, struct err *err) MUST_CHECK;

#endif
