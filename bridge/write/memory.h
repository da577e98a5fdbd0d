/*
 * Which mutations were decided, applied or refused: what the bridge remembers of them by their
 * nonces (tombolo.decided), for a replica that has to take another id. It no longer knows which of
 * its pending writes got through under the old one, asks, and sends only the others again.
 *
 * Only so much is remembered (memory of [writes]). The answer says since when: what is older may
 * have been decided all the same, and the replica must neither send it again nor drop it.
 *
 * What a replica decided last (tombolo.replicas) is kept for longer (replica_memory), but not for
 * ever, or each that was once made up would stay. When its row is gone, nobody can tell any more
 * whether what comes under its id was decided: that may be its next write, or one of a restored
 * copy of its file. Its `contact` settles it: a replica that knows all that was decided before some
 * time is let go on when no row was forgotten that was written to since; any other is a fork, asks
 * as above, and goes on under another id. So rows of replicas that do not say `contact` are kept.
 */
#ifndef WRITE_MEMORY_H
#define WRITE_MEMORY_H

#include "base/buf.h"
#include "write/apply.h"

/* The nonces of the request's transactions [from, to) as Postgres reads an array, into an empty
 * buffer. */
void memory_nonces(const struct write_request *request, size_t from, size_t to, struct buf *b);

struct write_known {
    enum write_answer answer; /* WRITE_DONE or WRITE_FORBIDDEN */
    struct slice decided;     /* those of request->decided that were, as JSON: ["-123",..] */
    struct slice since, at;   /* microseconds since 1970, in digits; `at`: now */
    struct slice lsn;         /* they were committed at or before it; in digits */
};

/* Answers request->decided for this subject; waits for what the replica has under way. Blocks. The
 * texts lie in the arena. After a failure the caller closes the connection. */
bool memory_ask(struct pg_conn *conn, const struct write_request *request, struct slice subject,
                struct arena *arena, struct write_known *known, struct err *err) MUST_CHECK;

/* Forgets what was decided more than `ms` ago, and the replicas that have not written for
 * `replica_ms`, which is not less; 0: none. Blocks. */
bool memory_prune(struct pg_conn *conn, int64_t ms, int64_t replica_ms, struct err *err) MUST_CHECK;

#endif
