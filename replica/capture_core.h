/* What capture.c and capture_verify.c share. */
#ifndef REPLICA_CAPTURE_CORE_H
#define REPLICA_CAPTURE_CORE_H

#include "replica/db.h"

/* A change of several statements: all or none, in a transaction of its own where none is open. */
struct capture_change {
    bool alone; /* the transaction is ours */
};

bool capture_begin(struct lite_db *db, struct capture_change *change, struct err *err) MUST_CHECK;
/* Takes the change back unless `ok`; true when it is made. */
bool capture_end(struct lite_db *db, const struct capture_change *change, bool ok,
                 struct err *err) MUST_CHECK;

/* By SQLite's printf, of a table and its layout: where they and their triggers stand in the schema.
 * It is another when they were dropped and made again, to the same letter; after a VACUUM too. */
#define CAPTURE_STAMP                                                                              \
    "SELECT group_concat(rowid) FROM (SELECT rowid FROM sqlite_schema WHERE type = 'table'"        \
    " AND name = %Q COLLATE NOCASE OR type = 'trigger' AND name GLOB '_tombolo_capture_%lld_*'"    \
    " ORDER BY type, name)"

/* The layout that captures the table, 0 when none does. */
bool capture_layout(struct lite_db *db, const char *table, int64_t *layout,
                    struct err *err) MUST_CHECK;

#endif
