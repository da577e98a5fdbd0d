/*
 * The bridge's own tables in the source, in schema `tombolo`: what each replica has written.
 *
 *     tombolo.replicas    replica (key), subject, last_id, nonce, incarnation, seen_at, contact
 *     tombolo.rejections  replica, id, mutation (key), subject, code, sqlstate, message
 *     tombolo.decided     family, replica, id (key), subject, nonces, at
 *     tombolo.memory      since, forgotten: one row
 *
 * They are written in the transaction of the effects. The first two are published, so that a
 * replica's acknowledgement arrives in its stream, in order with the data; they have replica
 * identity FULL, as only a subject's own rows are for it. last_id and nonce are of the last
 * transaction that was decided, applied or rejected. A rejection stays until its replica
 * acknowledges it; `mutation` counts from 0, or is -1 when the transaction was refused as a whole.
 * `decided` has the nonces of the mutations that were decided, a row for each commit, `id` being
 * its last transaction; write/memory.h says what for. What is older than `since` was forgotten; so
 * were replicas that had not written since before `forgotten`, those with `contact` alone.
 *
 * `DROP SCHEMA tombolo CASCADE` takes them away, and with them the knowledge of what was written
 * already: drop them only once no replica has writes under way.
 */
#ifndef WRITE_TABLES_H
#define WRITE_TABLES_H

#include "pg/pg.h"

/* Creates what is missing. Two bridges may do so at once. The error's hint says what to do where we
 * may not. */
bool write_tables_ensure(struct pg_conn *conn, struct err *err) MUST_CHECK;

#endif
