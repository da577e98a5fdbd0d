/*
 * One table's rows with pending mutations: the server's row (the base, pending.h) and what the
 * mutations make of it, written to the table. rebase.h tells the rules, and is who calls.
 *
 * Inside a transaction; `name` is the table's.
 */
#ifndef REPLICA_OVERLAY_H
#define REPLICA_OVERLAY_H

#include "replica/table.h"

/* *there: the row has a base; *image: its JSON in the arena, NULL where the server has no row. */
bool lite_base_get(struct lite_db *db, const char *table, const char *row, struct arena *arena,
                   bool *there, const char **image, struct err *err) MUST_CHECK;
/* The server's row is another now; its mutations are to be shown on it. */
bool lite_base_set(struct lite_db *db, const char *table, const char *row, const char *image,
                   struct err *err) MUST_CHECK;
/* All rows of a table that have a base, in the arena, NULL behind the last. */
bool lite_base_rows(struct lite_db *db, const char *table, struct arena *arena, char ***rows,
                    struct err *err) MUST_CHECK;

/* Shows the row and all that mutations moved to or from it. What SQLite refuses steps aside; false
 * when it refuses the server's own row. */
bool lite_overlay_show(struct lite_db *db, struct lite_table *table, const char *name,
                       const char *row, struct err *err) MUST_CHECK;
/* The row as it would be shown: its cells, in the arena, or that it is not there. */
bool lite_overlay_row(struct lite_db *db, struct lite_table *table, const char *name,
                      const char *row, struct lite_cell *cells, bool *present, struct arena *arena,
                      struct err *err) MUST_CHECK;
/* Shows all rows that have a base as the server has them; `row` is not looked at. */
bool lite_overlay_bare(struct lite_db *db, struct lite_table *table, const char *name,
                       const char *row, struct err *err) MUST_CHECK;
/* Whether it was SQLite or a value's type that refused a row, and nothing worse. */
bool lite_overlay_refuses(const struct err *err);

#endif
