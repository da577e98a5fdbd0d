#include "pg/copy.h"
#include "base/buf.h"
#include "base/clock.h"

#include <libpq-fe.h>
#include <poll.h>

#define LOOK_MS 100
#define CANCEL_AGAIN_MS 1000

/* Drops what has come of the command; false: there is more to come. While a COPY gives, its result
 * comes again and again: what it gives has to be taken first. */
static bool drop_rest(struct pg_conn *conn)
{
    char *line = NULL;
    int n;

    while (PQstatus(conn) == CONNECTION_OK) {
        while ((n = PQgetCopyData(conn, &line, 1)) > 0)
            PQfreemem(line);
        if (n == 0 || PQisBusy(conn))
            return false;
        PGresult *result = PQgetResult(conn);
        if (!result)
            return true;
        PQclear(result);
    }
    return true;
}

static bool ends_within(struct pg_conn *conn, int64_t ms)
{
    int64_t until = clock_ms() + ms;

    while (!drop_rest(conn)) {
        struct pollfd pfd = {.fd = PQsocket(conn), .events = POLLIN};

        if (clock_ms() > until)
            return false;
        poll(&pfd, 1, LOOK_MS);
        PQconsumeInput(conn); /* that it fails is seen by its status */
    }
    return true;
}

/* A cancel request that comes before its query is lost, so it is sent until the query has ended. */
static void abandon(struct pg_conn *conn)
{
    do
        pg_cancel(conn);
    while (!ends_within(conn, CANCEL_AGAIN_MS));
    pg_await_cancels();
}

static bool give_up(struct pg_conn *conn, enum err_code code, const char *text, struct err *err)
{
    abandon(conn);
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

bool pg_copy_begin(struct pg_conn *conn, const char *query, const struct pg_watch *watch,
                   struct err *err)
{
    struct err ignored;
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
    return ok || (finish(conn, &ignored), false);
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
    abandon(conn);
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
