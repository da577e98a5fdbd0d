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
    int64_t until;           /* clock_ms(): for every lock, and for the writers of a table */
    const atomic_bool *stop; /* ERR_STOPPED soon after it is set; NULL: nobody stops us */
};

/* Creates the publication where it is missing; *created says so. Then checks it. */
bool publication_ensure(struct pg_conn *conn, const char *name, bool *created,
                        struct err *err) MUST_CHECK;
/* That it is there, and publishes inserts, updates, deletes and truncates, by leaf partition. */
bool publication_check(struct pg_conn *conn, const char *name, struct err *err) MUST_CHECK;

bool publication_exists(struct pg_conn *conn, const char *name, bool *exists,
                        struct err *err) MUST_CHECK;

/* Whether there is a way for the table to be followed, with REPLICA IDENTITY FULL if `full`.
 * `manual`: what it lacks may not be altered. ERR_CONFIG with what to do about it. */
bool publication_may_join(struct pg_conn *conn, const char *name, const struct table *table,
                          bool full, bool manual, struct err *err) MUST_CHECK;
/* Alters what the table lacks for it. No error when somebody else did so meanwhile; ERR_BUSY when
 * its lock is not to be had, ERR_CONFIG when we may not. The publication itself is locked only once
 * the table is: others who wait to add theirs are not held up by a table that somebody holds. */
bool publication_join(struct pg_conn *conn, const char *name, const struct table *table, bool full,
                      const struct patience *patience, struct err *err) MUST_CHECK;

/* Sets REPLICA IDENTITY FULL on those of the table and its leaves that have it not; never touches
 * one that has. Tries for each lock a few times, so that those who queue behind us get through in
 * between: ERR_BUSY when it is not to be had, ERR_CONFIG when we may not. */
bool publication_set_full(struct pg_conn *conn, const struct table *table,
                          const struct patience *patience, struct err *err) MUST_CHECK;
/* Waits until the transactions that now hold write locks on the table or its leaves have ended:
 * ERR_BUSY, with the process id to wait for in the text, when they take too long. What is committed
 * after this call is sent as the table is published now. */
bool publication_wait_writers(struct pg_conn *conn, const struct table *table,
                              const struct patience *patience, struct err *err) MUST_CHECK;

/* After a statement that waited for a lock on the table failed, outside of any transaction: where a
 * lock timeout was the cause (SQLSTATE 55P03), err becomes ERR_BUSY and says which process holds
 * the table. Returns false. */
bool publication_lock_failed(struct pg_conn *conn, const struct table *table, struct err *err);

#endif
