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

/* The layout that captures the table, 0 when none does. */
bool capture_layout(struct lite_db *db, const char *table, int64_t *layout,
                    struct err *err) MUST_CHECK;

#endif
