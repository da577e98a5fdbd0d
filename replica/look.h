/*
 * A replica's file, opened without being its syncer: beside one, by any process. Private to this
 * room; what may be asked is in replica.h.
 */
#ifndef REPLICA_LOOK_H
#define REPLICA_LOOK_H

#include "replica/db.h"

/* ERR_NOT_FOUND where there is no file, or no replica in it. `db` is to be closed by
 * lite_look_close() on true. */
bool lite_look_open(struct lite_db *db, const char *path, struct err *err) MUST_CHECK;
/* Takes back what is not committed. */
void lite_look_close(struct lite_db *db);

#endif
