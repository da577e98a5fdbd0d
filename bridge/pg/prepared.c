/*
 * Queries that a connection runs again and again. Planning one over the system catalogue takes
 * Postgres ten times as long as running it; so each is prepared once a connection, which notes what
 * it has in libpq's instance data.
 */
#include "pg/pg.h"

#include <libpq-events.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

#define PREPARED_MAX 32

struct prepared {
    const char *sql[PREPARED_MAX]; /* by the number in their names */
    int n;
};

static int on_event(PGEventId id, void *info, void *unused)
{
    (void)unused;
    if (id == PGEVT_CONNDESTROY)
        free(PQinstanceData(((PGEventConnDestroy *)info)->conn, on_event));
    return 1;
}

/* What the connection has; made when it has none yet. */
static struct prepared *prepared_of(struct pg_conn *conn)
{
    struct prepared *prepared = PQinstanceData(conn, on_event);

    if (prepared)
        return prepared;
    prepared = xcalloc(1, sizeof(*prepared));
    if (!PQregisterEventProc(conn, on_event, "prepared", NULL) ||
        !PQsetInstanceData(conn, on_event, prepared))
        abort(); /* out of memory */
    return prepared;
}

static int find(const struct prepared *prepared, const char *sql)
{
    int i = 0;

    while (i < prepared->n && prepared->sql[i] != sql)
        i++;
    return i;
}

struct pg_result *pg_query_prepared(struct pg_conn *conn, const char *sql,
                                    const char *const *params, int nparams, struct err *err)
{
    struct prepared *prepared = prepared_of(conn);
    const int i = find(prepared, sql);
    char name[24];

    if (i == PREPARED_MAX)
        return pg_query_params(conn, sql, params, nparams, err);
    snprintf(name, sizeof(name), "tombolo_%d", i);
    if (i == prepared->n) {
        struct pg_result *made = pg_checked(conn, PQprepare(conn, name, sql, 0, NULL), err);

        if (!made)
            return NULL;
        PQclear(made);
        prepared->sql[prepared->n++] = sql;
    }
    return pg_checked(conn, PQexecPrepared(conn, name, nparams, params, NULL, NULL, 0), err);
}
