/*
 * libpq's pipeline mode. What is to come is kept in a list: for a text that the connection sees
 * first two items, its preparation and its execution. libpq reads while it waits for room to send
 * in, so neither side can wait for the other for ever.
 */
#include "pg/pipe.h"

#include "pg/prepared.h"

#include <libpq-fe.h>
#include <stdlib.h>

enum pipe_kind { PIPE_PREPARE, PIPE_RUN, PIPE_MARK };

struct pipe_item {
    enum pipe_kind kind;
    int number; /* PIPE_PREPARE: of the statement */
};

bool pg_pipe_open(struct pg_pipe *pipe, struct pg_conn *conn, struct err *err)
{
    *pipe = (struct pg_pipe){.conn = conn};
    if (prepared_is_full(conn) && PQtransactionStatus(conn) == PQTRANS_IDLE &&
        !pg_forget_prepared(conn, err))
        return false;
    return PQenterPipelineMode(conn) == 1 || pg_error(conn, NULL, err);
}

/* Behind what was sent: 1 when it was. */
static void add(struct pg_pipe *pipe, int sent, enum pipe_kind kind, int number)
{
    if (sent != 1 || pipe->broken) {
        pipe->broken = true;
        return;
    }
    if (pipe->n == pipe->cap) {
        pipe->cap = pipe->cap ? 2 * pipe->cap : 64;
        pipe->items = xrealloc(pipe->items, pipe->cap * sizeof(*pipe->items));
    }
    pipe->items[pipe->n++] = (struct pipe_item){kind, number};
}

void pg_pipe_put(struct pg_pipe *pipe, const char *sql, const uint32_t *types,
                 const char *const *params, int nparams)
{
    struct pg_conn *conn = pipe->conn;
    char name[24];
    bool known;
    int number = prepared_find(conn, pipe->role, sql, types, nparams, &known);

    if (number == PREPARED_NONE) {
        add(pipe, PQsendQueryParams(conn, sql, nparams, types, params, NULL, NULL, 0), PIPE_RUN, 0);
        return;
    }
    prepared_name(number, name);
    if (!known)
        add(pipe, PQsendPrepare(conn, name, sql, nparams, types), PIPE_PREPARE, number);
    add(pipe, PQsendQueryPrepared(conn, name, nparams, params, NULL, NULL, 0), PIPE_RUN, 0);
}

void pg_pipe_put_once(struct pg_pipe *pipe, const char *sql)
{
    add(pipe, PQsendQueryParams(pipe->conn, sql, 0, NULL, NULL, NULL, NULL, 0), PIPE_RUN, 0);
}

void pg_pipe_mark(struct pg_pipe *pipe)
{
    add(pipe, PQpipelineSync(pipe->conn), PIPE_MARK, 0);
}

/* A statement's result, behind which libpq gives a NULL. */
static struct pg_result *take(struct pg_pipe *pipe)
{
    struct pg_result *res = PQgetResult(pipe->conn), *next;

    while (res && (next = PQgetResult(pipe->conn)))
        PQclear(next);
    return res;
}

/* NULL when it is no good, with the error noted if it is the first. */
static struct pg_result *checked(struct pg_pipe *pipe, struct pg_result *res)
{
    struct err err;

    if (PQresultStatus(res) != PGRES_PIPELINE_ABORTED) {
        res = pg_checked(pipe->conn, res, &err);
        if (res || pipe->failed)
            return res;
        pipe->why = err;
        pipe->failed = true;
        return NULL;
    }
    PQclear(res);
    return NULL;
}

static void pass_mark(struct pg_pipe *pipe)
{
    PQclear(PQgetResult(pipe->conn));
    pipe->failed = false;
}

/* False at an item that gives a result. */
static bool pass(struct pg_pipe *pipe, const struct pipe_item *item)
{
    struct pg_result *res;

    if (item->kind == PIPE_RUN)
        return false;
    if (item->kind == PIPE_MARK) {
        pass_mark(pipe);
        return true;
    }
    res = checked(pipe, take(pipe));
    if (!res)
        prepared_lost(pipe->conn, item->number);
    PQclear(res);
    return true;
}

static struct pg_result *lost(const struct pg_pipe *pipe, struct err *err)
{
    pg_error(pipe->conn, NULL, err);
    err->code = ERR_CONN;
    return NULL;
}

struct pg_result *pg_pipe_next(struct pg_pipe *pipe, struct err *err)
{
    if (pipe->broken)
        return lost(pipe, err);
    while (pipe->at < pipe->n && pass(pipe, &pipe->items[pipe->at]))
        pipe->at++;
    if (pipe->at == pipe->n)
        abort(); /* more is taken than was put */
    pipe->at++;
    struct pg_result *res = checked(pipe, take(pipe));
    if (!res)
        *err = pipe->why;
    return res;
}

bool pg_pipe_close(struct pg_pipe *pipe, struct err *err)
{
    for (; !pipe->broken && pipe->at < pipe->n && pg_alive(pipe->conn); pipe->at++) {
        if (!pass(pipe, &pipe->items[pipe->at]))
            PQclear(checked(pipe, take(pipe)));
    }
    free(pipe->items);
    pipe->items = NULL;
    return PQexitPipelineMode(pipe->conn) == 1 || lost(pipe, err);
}
