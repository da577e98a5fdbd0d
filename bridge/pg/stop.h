/*
 * The bridge's end, for connections whose calls block: private to pg/ (pg.h has what others call).
 */
#ifndef PG_STOP_H
#define PG_STOP_H

#include "base/err.h"

#include <libpq-fe.h>

/* As PQconnectdbParams(), but comes back with ERR_STOPPED at pg_stop(). The connection may have
 * failed: the caller asks PQstatus(). */
PGconn *stop_connect(const char *const *keys, const char *const *values, struct err *err);
/* PQfinish(), for a connection of stop_connect(). */
void stop_finish(PGconn *conn);

#endif
