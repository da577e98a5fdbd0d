/*
 * How a table that was fetched again takes the place of what readers see: in one
 * transaction, and so that the user's own indexes, triggers and views go on.
 *
 * Where old and new have the same columns, only the differences are written: rows that are
 * gone are deleted, others upserted, so a reader's view of unchanged rows does not
 * move, triggers see real changes, and the WAL holds little. Where the columns
 * differ the table is made anew and the user's indexes and triggers are made again;
 * one that no longer applies is dropped with a warning.
 */
#ifndef REPLICA_MERGE_H
#define REPLICA_MERGE_H

#include "replica/db.h"
#include "replica/schema.h"

/* Moves the rows of the side table of `local` into it and drops the side table. `same`: the table
 * that is there has the schema's columns. Inside a transaction. */
bool lite_merge(struct lite_db *db, const char *local, const struct lite_schema *schema, bool same,
                struct err *err) MUST_CHECK;

/* Whether a table of the user's can be taken over as it is: our columns with our
 * types and key, and nothing that would refuse rows. The reason goes to `err`. */
bool lite_merge_adoptable(struct lite_db *db, const char *local, const struct lite_schema *schema,
                          struct err *err) MUST_CHECK;

#endif
