/*
 * The database whose changes are published, as the stream's thread asks it: what it has to say of
 * relations, and its name, which is in each record.
 *
 * Nothing is asked before it is needed, so a bridge begins to publish without it.
 */
#ifndef KAFKA_ORIGIN_H
#define KAFKA_ORIGIN_H

#include "kafka/envelope.h"
#include "kafka/notices.h"
#include "pg/pg.h"

struct origin {
    const char *conninfo; /* borrowed */
    struct arena *arena;  /* as long as this; borrowed */
    struct envelope_settings settings;
    struct pg_conn *conn;    /* NULL or dead until it is asked */
    struct notices *notices; /* NULL until the name is known; then for good */
};

/* Afterwards there is a connection, the settings have the database's name, and there are notices.
 */
bool origin_ask(struct origin *origin, struct err *err) MUST_CHECK;
/* Closes the connection. */
void origin_release(struct origin *origin);

#endif
