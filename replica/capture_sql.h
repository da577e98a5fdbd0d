/*
 * The triggers that capture local writes, as text. They use core operators, max(), random() and
 * RAISE() alone, so that every SQLite since 3.24 runs them, sqlite3's shell with its untrusted
 * schema too; capture.h tells what they write.
 *
 * What REPLACE evicts fires no trigger (unless recursive_triggers is on). So a BEFORE trigger
 * notes the rows in the new row's way in _tombolo_victims, found by one lookup an index, and the
 * AFTER trigger looks which of them are gone:
 *
 *     BEFORE INSERT   notes the rows that the new one conflicts with, unless they are noted
 *     AFTER INSERT    'D' for those that are gone; then 'I', or 'U' with the image of the row
 *                     with the same key that it replaced
 *     BEFORE UPDATE   where key or unique columns change: notes the rows in the way
 *     AFTER UPDATE    'D' for those that are gone, or whose key the row now has; then 'U'
 *     AFTER DELETE    'D'
 *
 * A noted row is a suspect, no more: whether it is gone is seen in the table. So too many are
 * harmless (partial indexes are taken by the old row's side alone), as are those that
 * OR IGNORE leaves behind: the next AFTER INSERT sees that they are there, and drops them. A BEFORE
 * UPDATE keeps only what is gone and not yet told: it may run amid another statement's row, where a
 * foreign key's action writes to the same table. A row that is noted and then written or deleted on
 * its own is followed, so nothing is told twice with recursive_triggers on.
 *
 * The new image is read from the table, not from NEW: a trigger of the user's that ran before
 * ours may have written to the row again, and its outbox row came first.
 */
#ifndef REPLICA_CAPTURE_SQL_H
#define REPLICA_CAPTURE_SQL_H

#include "replica/capture_table.h"

enum capture_trigger {
    CAPTURE_BEFORE_INSERT,
    CAPTURE_AFTER_INSERT,
    CAPTURE_BEFORE_UPDATE,
    CAPTURE_AFTER_UPDATE,
    CAPTURE_AFTER_DELETE,
    CAPTURE_TRIGGERS,
};

/* "_tombolo_capture_7_ai" of layout 7. */
char *capture_trigger_name(int64_t layout, enum capture_trigger which, struct arena *arena);
/* The statement, letter by letter as SQLite stores it. */
char *capture_trigger_sql(const struct capture_table *table, int64_t layout,
                          enum capture_trigger which, struct arena *arena);
/* All of them, one behind the other. */
char *capture_triggers_sql(const struct capture_table *table, int64_t layout, struct arena *arena);

#endif
