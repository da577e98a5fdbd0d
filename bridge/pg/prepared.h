/*
 * What a connection has prepared, in libpq's instance data; private to pg/. Planning a query takes
 * Postgres several times as long as running it, so what is run again and again is prepared once a
 * connection.
 */
#ifndef PG_PREPARED_H
#define PG_PREPARED_H

#include "pg/pg.h"

#define PREPARED_NONE (-1) /* it has no place: to be run unprepared */

/* Writes the name of the statement. */
void prepared_name(int number, char name[24]);

/* The statement's number, by its text, its parameters' types (NULL: all unknown) and the role that
 * it is prepared as (NULL: the connection's own): Postgres looks only then whether that one may use
 * the schemas, and which functions it may have put in place. *known: it is prepared; otherwise the
 * caller prepares it, or says prepared_lost(). Too long ones, and those behind the last place, have
 * none. */
int prepared_find(struct pg_conn *conn, const char *role, const char *sql, const uint32_t *types,
                  int nparams, bool *known);
/* It could not be prepared. */
void prepared_lost(struct pg_conn *conn, int number);
/* Few places are left: pg_forget_prepared() is due. */
bool prepared_is_full(struct pg_conn *conn);

#endif
