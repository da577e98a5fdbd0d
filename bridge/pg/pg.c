#include "pg/pg.h"
#include "base/buf.h"
#include "base/logging.h"
#include "pg/stop.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

static const char session_settings[] = "SET bytea_output = hex;"
                                       "SET DateStyle = 'ISO, DMY';"
                                       "SET TimeZone = 'UTC';"
                                       "SET extra_float_digits = 1;"
                                       "SET IntervalStyle = iso_8601;"
                                       "SET standard_conforming_strings = on;"
                                       "SET search_path = pg_catalog;"
                                       "SET row_security = off;"
                                       "SET client_min_messages = warning;"
                                       "SET statement_timeout = 0;"
                                       /* Of what we commit nothing can be lost that is not found
                                          and done again. */
                                       "SET synchronous_commit = local;"
                                       "SET idle_in_transaction_session_timeout = 0";

/* libpq's texts end with newlines and may have several lines. */
static void copy_message(char *dst, size_t size, const char *text)
{
    size_t n = 0;

    for (; *text && n + 1 < size; text++)
        dst[n++] = *text == '\n' || *text == '\t' ? ' ' : *text;
    while (n && dst[n - 1] == ' ')
        n--;
    dst[n] = '\0';
}

/* Classes 08 (connection) and 57P0x (server going away) end the connection. */
static bool is_connection_state(const char *sqlstate)
{
    return strncmp(sqlstate, "08", 2) == 0 || strncmp(sqlstate, "57P0", 4) == 0;
}

/* What a constraint says in detail is a row, with columns that whoever is told of it may not see,
 * or another one that is in its way. */
static bool quotes_rows(const char *sqlstate)
{
    return strncmp(sqlstate, "23", 2) == 0 || strncmp(sqlstate, "44", 2) == 0;
}

bool pg_error(const struct pg_conn *conn, const struct pg_result *result, struct err *err)
{
    const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    const char *primary = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    const char *detail = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL) : NULL;
    const char *hint = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_HINT) : NULL;
    char text[sizeof(err->msg)];

    if (state && quotes_rows(state))
        detail = NULL;
    copy_message(text, sizeof(text), primary ? primary : PQerrorMessage(conn));
    err_set(err, ERR_PG, "%s%s%.200s", text[0] ? text : "connection lost", detail ? ": " : "",
            detail ? detail : "");
    if (state)
        snprintf(err->sqlstate, sizeof(err->sqlstate), "%s", state);
    if (hint)
        err_hint(err, "%s", hint);
    if (PQstatus(conn) != CONNECTION_OK || is_connection_state(err->sqlstate))
        err->code = ERR_CONN;
    return false;
}

/* The server looks now and then whether we are still there: a cancel request that comes before the
 * query does is lost, and a bridge that was killed sends none. Not every server can. */
static void end_with_client(struct pg_conn *conn)
{
    struct err ignored;

    if (!pg_run(conn, "SET client_connection_check_interval = '1s'", &ignored))
        log_debug("queries may outlive the bridge", LOG_ERR(&ignored));
}

struct pg_conn *pg_connect(const char *conninfo, const char *application, bool replication,
                           struct err *err)
{
    /* A key that comes later wins: the user's conninfo over what stands before it. */
    const char *keys[] = {"fallback_application_name", "keepalives_idle", "keepalives_interval",
                          "tcp_user_timeout",          "connect_timeout", "dbname",
                          "client_encoding",           "replication",     NULL};
    const char *values[] = {application, "30",     "10",   "60000",
                            "10",        conninfo, "UTF8", replication ? "database" : NULL,
                            NULL};
    struct pg_conn *conn = stop_connect(keys, values, err);

    if (!conn)
        return NULL;
    if (PQstatus(conn) != CONNECTION_OK) {
        char text[sizeof(err->msg)];

        copy_message(text, sizeof(text), PQerrorMessage(conn));
        err_set(err, ERR_CONN, "could not connect to Postgres: %s", text);
        stop_finish(conn);
        return NULL;
    }
    if (!pg_run(conn, session_settings, err)) {
        err_wrap(err, "could not set up the connection");
        stop_finish(conn);
        return NULL;
    }
    if (!replication)
        end_with_client(conn);
    return conn;
}

void pg_close(struct pg_conn *conn)
{
    if (conn)
        stop_finish(conn);
}

bool pg_alive(const struct pg_conn *conn)
{
    return conn && PQstatus(conn) == CONNECTION_OK;
}

int pg_backend_pid(const struct pg_conn *conn)
{
    return PQbackendPID(conn);
}

int pg_server_version(const struct pg_conn *conn)
{
    return PQserverVersion(conn);
}

const char *pg_where(const struct pg_conn *conn, struct arena *arena)
{
    const char *host = PQhost(conn), *port = PQport(conn), *db = PQdb(conn);

    return arena_printf(arena, "%s:%s/%s", host ? host : "", port ? port : "", db ? db : "");
}

struct pg_result *pg_checked(struct pg_conn *conn, struct pg_result *result, struct err *err)
{
    switch (PQresultStatus(result)) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
        return result;
    default:
        pg_error(conn, result, err);
        PQclear(result);
        return NULL;
    }
}

struct pg_result *pg_query(struct pg_conn *conn, const char *sql, struct err *err)
{
    return pg_checked(conn, PQexec(conn, sql), err);
}

struct pg_result *pg_query_params(struct pg_conn *conn, const char *sql, const char *const *params,
                                  int nparams, struct err *err)
{
    return pg_checked(conn, PQexecParams(conn, sql, nparams, NULL, params, NULL, NULL, 0), err);
}

bool pg_run(struct pg_conn *conn, const char *sql, struct err *err)
{
    struct pg_result *result = pg_query(conn, sql, err);

    if (!result)
        return false;
    PQclear(result);
    return true;
}

bool pg_runf(struct pg_conn *conn, struct err *err, const char *fmt, ...)
{
    char *sql = NULL;
    va_list ap;

    va_start(ap, fmt);
    int n = vasprintf(&sql, fmt, ap);
    va_end(ap);
    if (n < 0)
        abort();
    bool ok = pg_run(conn, sql, err);
    free(sql);
    return ok;
}

int pg_rows(const struct pg_result *result)
{
    return PQntuples(result);
}

struct slice pg_value(const struct pg_result *result, int row, int column)
{
    if (PQgetisnull(result, row, column))
        return (struct slice){NULL, 0};
    return (struct slice){PQgetvalue(result, row, column),
                          (size_t)PQgetlength(result, row, column)};
}

int64_t pg_int(const struct pg_result *result, int row, int column)
{
    return strtoll(PQgetvalue(result, row, column), NULL, 10);
}

uint32_t pg_oid(const struct pg_result *result, int row, int column)
{
    return (uint32_t)strtoul(PQgetvalue(result, row, column), NULL, 10);
}

bool pg_bool(const struct pg_result *result, int row, int column)
{
    return PQgetvalue(result, row, column)[0] == 't';
}

void pg_result_free(struct pg_result *result)
{
    PQclear(result);
}
