/*
 * Statements sent one behind another without waiting for what each gives: a round trip for many.
 *
 *     struct pg_pipe pipe;
 *     if (!pg_pipe_open(&pipe, conn, &err)) ...
 *     pg_pipe_put(&pipe, sql, types, values, n);
 *     pg_pipe_put(&pipe, other, NULL, NULL, 0);
 *     pg_pipe_mark(&pipe);
 *     res = pg_pipe_next(&pipe, &err);            the first one's
 *     ...
 *     if (!pg_pipe_close(&pipe, &err)) ...
 *
 * After an error everything up to the next mark is skipped: it gives the same error. What cannot be
 * sent loses the connection (ERR_CONN). A text is one statement.
 */
#ifndef PG_PIPE_H
#define PG_PIPE_H

#include "pg/pg.h"

struct pipe_item;

struct pg_pipe {
    struct pg_conn *conn;
    const char *role;        /* that runs what is put next, borrowed; NULL: the connection's own */
    struct pipe_item *items; /* that were sent; those before `at` have been taken */
    size_t n, at, cap;
    struct err why; /* what the statements up to the next mark are skipped for */
    bool failed, broken;
};

/* The connection is idle, or in a transaction, and the pipe's until it is closed. */
bool pg_pipe_open(struct pg_pipe *pipe, struct pg_conn *conn, struct err *err) MUST_CHECK;
/* Prepared once a connection and role. The parameters are copied. `types` NULL: Postgres infers
 * them. */
void pg_pipe_put(struct pg_pipe *pipe, const char *sql, const uint32_t *types,
                 const char *const *params, int nparams);
/* For what will hardly come again: not prepared, without parameters. */
void pg_pipe_put_once(struct pg_pipe *pipe, const char *sql);
/* Postgres begins with what was put, if it has not; an error does not reach beyond. */
void pg_pipe_mark(struct pg_pipe *pipe);
/* The result of the next statement that was put, to be freed; NULL with the error. Blocks. A mark
 * must have been put behind it. */
struct pg_result *pg_pipe_next(struct pg_pipe *pipe, struct err *err) MUST_CHECK;
/* Takes what is left, and gives the connection back; always to be called. False when it is lost. */
bool pg_pipe_close(struct pg_pipe *pipe, struct err *err) MUST_CHECK;

#endif
