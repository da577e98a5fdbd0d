/*
 * Holds every log's table against the catalogue.
 */
#ifndef SERVE_CATALOG_CHECK_H
#define SERVE_CATALOG_CHECK_H

#include "serve/keeper.h"

struct pg_conn;

/* Ends the logs whose table is not what it was, or was not published all the time; the others know
 * it as it is from now on. A rewritten table ends the shapes that use a column that was altered;
 * without event triggers, by which the stream tells of rewritten tables itself, one that was
 * rewritten for no reason to be seen ends all. False only when the connection or the log's
 * catalogue failed. */
bool catalog_check(struct pg_conn *conn, const struct keeper_config *config, bool has_events,
                   struct err *err) MUST_CHECK;

#endif
