/*
 * COPY of a query that somebody waits for who may go away: then the query is
 * cancelled, so that it does not go on for nobody.
 */
#ifndef PG_WATCH_H
#define PG_WATCH_H

#include "pg/pg.h"

#include <stdatomic.h>

/* When to give up. Looked at ten times a second; a query that is given up is cancelled, and the
 * connection can be used on. */
struct pg_watch {
    int64_t first_ms;               /* ERR_TIMEOUT when nothing comes for so long */
    const atomic_bool *stop, *gone; /* ERR_STOPPED when one is true */
};

/* As pg_copy_begin() and pg_copy_line(). */
bool pg_watched_copy_begin(struct pg_conn *conn, const char *query, const struct pg_watch *watch,
                           struct err *err) MUST_CHECK;
bool pg_watched_copy_line(struct pg_conn *conn, const struct pg_watch *watch, struct slice *line,
                          struct err *err) MUST_CHECK;

#endif
