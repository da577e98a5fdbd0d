/*
 * Holds every log's table against the catalogue.
 */
#ifndef SERVE_CATALOG_CHECK_H
#define SERVE_CATALOG_CHECK_H

#include "serve/keeper.h"

struct pg_conn;

/* Ends the logs whose table is not what it was. With event triggers the stream tells of rewritten
 * tables itself; without them another filenode counts as one. False only when the connection
 * failed. */
bool catalog_check(struct pg_conn *conn, const struct keeper_config *config, bool has_events,
                   struct err *err) MUST_CHECK;

#endif
