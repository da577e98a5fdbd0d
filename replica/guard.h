/*
 * What keeps the file safe from others and others from us: the lock, the look
 * at the file system, checkpoints under the write lock, the warning about SQLite's version.
 * db.h tells why; only db.c calls these.
 */
#ifndef REPLICA_GUARD_H
#define REPLICA_GUARD_H

#include "replica/db.h"

/* Resolves the path, checks its file system and takes the syncer's lock. */
bool lite_guard_take(struct lite_db *db, const char *path, struct err *err) MUST_CHECK;
void lite_guard_drop(struct lite_db *db);
void lite_guard_checkpoint(struct lite_db *db);
/* Once, when this SQLite has the bug and another process has the file open. */
void lite_guard_warn(struct lite_db *db);

#endif
