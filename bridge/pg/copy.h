/*
 * The rows of a query, by COPY (query) TO STDOUT in text format. Somebody waits for them who may go
 * away: then the query is cancelled, so that it does not go on for nobody.
 */
#ifndef PG_COPY_H
#define PG_COPY_H

#include "pg/pg.h"

#include <stdatomic.h>

/* When to give up. Looked at ten times a second; a query that is given up is cancelled, and the
 * connection can be used on. */
struct pg_watch {
    int64_t first_ms;               /* ERR_TIMEOUT when nothing comes for so long */
    const atomic_bool *stop, *gone; /* ERR_STOPPED when one is true */
};

bool pg_copy_begin(struct pg_conn *conn, const char *query, const struct pg_watch *watch,
                   struct err *err) MUST_CHECK;
/* The next line without its newline; line->ptr is NULL at the end. Begin with a zeroed slice; each
 * call gives the line before back. */
bool pg_copy_line(struct pg_conn *conn, const struct pg_watch *watch, struct slice *line,
                  struct err *err) MUST_CHECK;
/* Wherever the reading has ended, or whether it has begun: gives the last line back. Rows that are
 * left are not waited for: the query is cancelled. */
void pg_copy_end(struct pg_conn *conn, struct slice *line);

#endif
