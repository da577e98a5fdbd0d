/*
 * From nothing to a streaming connection: the checks, the lock, the
 * publication, the slot, the server's history, START_REPLICATION.
 */
#ifndef WAL_SESSION_H
#define WAL_SESSION_H

#include "pg/pg.h"
#include "wal/timelines.h"
#include "wal/walsender.h"

struct session {
    struct pg_conn *conn; /* in COPY mode */
    struct wal_place place;
    struct timelines timelines; /* `place` has them */
    struct arena arena;         /* of those */
    bool stuck; /* the last one broke at a row that was written while there was no publication: the
                   slot cannot get past it, and is made anew by the next session_open() */
};

/* Opens the session; `stop` is looked at during waits. ERR_BUSY when another bridge holds the lock
 * or the slot: *waiting then. */
bool session_open(const struct walsender_config *config, const atomic_bool *stop,
                  struct session *session, bool *waiting, struct err *err) MUST_CHECK;
void session_close(struct session *session);

#endif
