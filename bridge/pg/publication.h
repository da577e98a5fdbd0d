/*
 * The publication: which tables the stream carries, and the care that goes
 * into adding one.
 *
 * ALTER PUBLICATION .. ADD TABLE does not wait for transactions that are
 * writing to the table: what they wrote before it is never sent, though they commit after it. So
 * whoever adds a table waits until every transaction that held a write lock on it at that time has
 * ended (publication_wait_writers()), and only then takes a snapshot. New writers are not held up.
 */
#ifndef PG_PUBLICATION_H
#define PG_PUBLICATION_H

#include "change/table.h"
#include "pg/pg.h"

#include <stdatomic.h>

/* How long to wait for others, who may be writing to the table for hours. */
struct patience {
    int lock_timeout_ms;     /* for each lock, and for the writers of a table */
    const atomic_bool *stop; /* ERR_STOPPED soon after it is set; NULL: nobody stops us */
};

/* Creates the publication where it is missing; *created says so. Checks that it publishes inserts,
 * updates, deletes and truncates, by leaf partition. */
bool publication_ensure(struct pg_conn *conn, const char *name, bool *created,
                        struct err *err) MUST_CHECK;

bool publication_exists(struct pg_conn *conn, const char *name, bool *exists,
                        struct err *err) MUST_CHECK;

/* Whether the table is in the publication, itself or by FOR ALL TABLES or its schema; and whether
 * it is there with a row filter or a column list, with which it cannot be followed. */
bool publication_has(struct pg_conn *conn, const char *name, const struct table *table, bool *has,
                     bool *filtered, struct err *err) MUST_CHECK;

/* Adds the table. No error when somebody else did so meanwhile; ERR_BUSY when its lock is not to be
 * had. */
bool publication_add(struct pg_conn *conn, const char *name, const struct table *table,
                     const struct patience *patience, struct err *err) MUST_CHECK;

/* Sets REPLICA IDENTITY FULL on those of the table and its leaves that have it not; never touches
 * one that has. Waits for each lock a few times: ERR_BUSY when it is not to be had. */
bool publication_set_full(struct pg_conn *conn, const struct table *table,
                          const struct patience *patience, struct err *err) MUST_CHECK;

/* Waits until the transactions that now hold write locks on the table or its leaves have ended:
 * ERR_BUSY, with the process id to wait for in the text, when they take too long. */
bool publication_wait_writers(struct pg_conn *conn, const struct table *table,
                              const struct patience *patience, struct err *err) MUST_CHECK;

/* After a statement that waited for a lock on the table failed, outside of any transaction: where a
 * lock timeout was the cause (SQLSTATE 55P03), err becomes ERR_BUSY and says which process holds
 * the table. Returns false. */
bool publication_lock_failed(struct pg_conn *conn, const struct table *table, struct err *err);

#endif
