#include "pg/copy.h"
#include "base/buf.h"
#include "base/clock.h"

#include <libpq-fe.h>
#include <poll.h>

#define LOOK_MS 100

static bool give_up(struct pg_conn *conn, enum err_code code, const char *text, struct err *err)
{
    pg_cancel(conn);
    pg_drain(conn);
    pg_await_cancels();
    return err_set(err, code, "%s", text);
}

/* Waits for input once, a little; false when it is time to give up, which is then done. */
static bool wait_input(struct pg_conn *conn, const struct pg_watch *watch, struct err *err)
{
    struct pollfd pfd = {.fd = PQsocket(conn), .events = POLLIN};

    if (atomic_load(watch->stop))
        return give_up(conn, ERR_STOPPED, "the bridge is stopping", err);
    if (atomic_load(watch->gone))
        return give_up(conn, ERR_STOPPED, "nobody waits for it any more", err);
    poll(&pfd, 1, LOOK_MS);
    return PQconsumeInput(conn) || pg_error(conn, NULL, err);
}

static bool wait_begin(struct pg_conn *conn, const struct pg_watch *watch, struct err *err)
{
    int64_t deadline = clock_ms() + watch->first_ms;
    char text[256];

    while (PQisBusy(conn)) {
        if (!wait_input(conn, watch, err))
            return false;
        if (clock_ms() < deadline || !PQisBusy(conn))
            continue;
        snprintf(text, sizeof(text),
                 "Snapshot query took too long to return data (cancelled after %lldms). Please "
                 "ensure snapshot queries are using an index to avoid taking up all database "
                 "connections.",
                 (long long)watch->first_ms);
        return give_up(conn, ERR_TIMEOUT, text, err);
    }
    return true;
}

bool pg_copy_begin(struct pg_conn *conn, const char *query, const struct pg_watch *watch,
                   struct err *err)
{
    struct buf sql;

    buf_init(&sql, BUF_NO_LIMIT);
    buf_printf(&sql, "COPY (%s\n) TO STDOUT", query);
    bool sent = PQsendQuery(conn, buf_cstr(&sql));
    buf_release(&sql);
    if (!sent)
        return pg_error(conn, NULL, err);
    if (!wait_begin(conn, watch, err))
        return false;
    PGresult *result = PQgetResult(conn);
    bool ok = PQresultStatus(result) == PGRES_COPY_OUT || pg_error(conn, result, err);
    PQclear(result);
    if (!ok)
        pg_drain(conn);
    return ok;
}

/* After the last line the command's own result says whether it went well. */
static bool finish(struct pg_conn *conn, struct err *err)
{
    bool ok = true;

    for (PGresult *result; (result = PQgetResult(conn));) {
        if (PQresultStatus(result) != PGRES_COMMAND_OK && ok)
            ok = pg_error(conn, result, err);
        PQclear(result);
    }
    return ok;
}

static void free_line(struct slice *line)
{
    if (line->ptr)
        PQfreemem((void *)(uintptr_t)line->ptr);
    *line = (struct slice){NULL, 0};
}

void pg_copy_end(struct pg_conn *conn, struct slice *line)
{
    free_line(line);
    if (PQtransactionStatus(conn) != PQTRANS_ACTIVE)
        return;
    pg_cancel(conn);
    pg_drain(conn);
    pg_await_cancels();
}

bool pg_copy_line(struct pg_conn *conn, const struct pg_watch *watch, struct slice *line,
                  struct err *err)
{
    char *text = NULL;
    int n;

    free_line(line);
    while ((n = PQgetCopyData(conn, &text, 1)) == 0) {
        if (!wait_input(conn, watch, err))
            return false;
    }
    if (n == -1)
        return finish(conn, err);
    if (n < 0)
        return pg_error(conn, NULL, err);
    *line = (struct slice){text, (size_t)n};
    if (line->len && text[line->len - 1] == '\n')
        line->len--;
    return true;
}
