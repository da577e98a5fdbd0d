/*
 * Ordinary connections to Postgres. `struct pg_conn` is libpq's PGconn under
 * its struct name, so that rooms which only pass a connection on do not see
 * libpq.
 *
 * Every connection is set up the same way: values print as the shape API
 * promises (DateStyle ISO, TimeZone UTC, IntervalStyle iso_8601,
 * extra_float_digits 1, bytea_output hex), names resolve in pg_catalog alone, and row security that
 * would filter silently is an error (row_security = off).
 *
 * A connection belongs to one thread at a time. Calls block.
 */
#ifndef PG_PG_H
#define PG_PG_H

#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"
#include "change/lsn.h"

#include <stdint.h>

struct pg_conn;
struct pg_result;

/* Connects; `application` shows in pg_stat_activity. `replication`: a walsender bound to the
 * database. */
struct pg_conn *pg_connect(const char *conninfo, const char *application, bool replication,
                           struct err *err) MUST_CHECK;
void pg_close(struct pg_conn *conn); /* NULL is allowed */
/* False when the server is known to be gone. */
bool pg_alive(const struct pg_conn *conn);
int pg_server_version(const struct pg_conn *conn); /* 150004 */
int pg_backend_pid(const struct pg_conn *conn);    /* of the server's process */
/* Sends a cancel request for what the connection is running; any thread. Does not wait for it to
 * arrive. */
void pg_cancel(struct pg_conn *conn);
/* Until the cancel requests that were sent have been taken; a second at most. Before the connection
 * is used again: one that comes late hits the next query. */
void pg_await_cancels(void);

/* The bridge's end: every call that waits for a server, on whichever thread, fails now, and so does
 * every later one. Cancel requests that are under way have a second to arrive first. */
void pg_stop(void);
/* Whether pg_stop() is to leave the connection alone, since who uses it waits with poll() and looks
 * at a flag of his own. */
void pg_leave_alone(struct pg_conn *conn, bool alone);

/* "host:port/database", without user or password, for messages; in the arena. */
const char *pg_where(const struct pg_conn *conn, struct arena *arena);

/* Runs SQL (several statements at most when nparams is 0); the last result, to be freed by
 * pg_result_free(). The error has SQLSTATE and Postgres's text; ERR_CONN when the connection is
 * lost. */
struct pg_result *pg_query(struct pg_conn *conn, const char *sql, struct err *err) MUST_CHECK;
struct pg_result *pg_query_params(struct pg_conn *conn, const char *sql, const char *const *params,
                                  int nparams, struct err *err) MUST_CHECK;
/* The same, prepared once a connection: for what is asked often. */
struct pg_result *pg_query_prepared(struct pg_conn *conn, const char *sql,
                                    const char *const *params, int nparams,
                                    struct err *err) MUST_CHECK;
/* All that was prepared is forgotten: it may have been made for tables that have changed since. Not
 * in a transaction that has failed. */
bool pg_forget_prepared(struct pg_conn *conn, struct err *err) MUST_CHECK;
/* As pg_query(), for what gives no rows. */
bool pg_run(struct pg_conn *conn, const char *sql, struct err *err) MUST_CHECK;
/* The same with printf formatting. */
bool pg_runf(struct pg_conn *conn, struct err *err, const char *fmt, ...) PRINTF(3, 4) MUST_CHECK;

int pg_rows(const struct pg_result *result);
/* Borrowed from the result; NULL as {NULL, 0}. */
struct slice pg_value(const struct pg_result *result, int row, int column);
/* Numbers and booleans of a value; 0 and false for NULL. */
int64_t pg_int(const struct pg_result *result, int row, int column);
uint32_t pg_oid(const struct pg_result *result, int row, int column);
bool pg_bool(const struct pg_result *result, int row, int column);
void pg_result_free(struct pg_result *result);

/* Fills err from the connection's last error, or from the result's. Always false. */
bool pg_error(const struct pg_conn *conn, const struct pg_result *result, struct err *err);
/* The result when it is good; frees it otherwise, and returns NULL with the error. */
struct pg_result *pg_checked(struct pg_conn *conn, struct pg_result *result,
                             struct err *err) MUST_CHECK;

#endif
