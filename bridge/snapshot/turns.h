/*
 * What is done together: requests for one table are taken at once, and the
 * logs made for them are filled from one snapshot. How many, is each worker's
 * share of what waits. And logs that a worker has not begun with can be taken
 * from it by another one that has nothing to do.
 *
 * A worker's logs are all registered, or none is:
 *
 *     made -> pool_put_fill() -> fills_to_register() -> fills_put_back() -> fills_take()
 *                             `-- others may take --'                    `-- likewise --
 *
 * Private to this room: implemented by the pool, called by its jobs. The logs that come out are
 * referenced.
 */
#ifndef SNAPSHOT_TURNS_H
#define SNAPSHOT_TURNS_H

#include "shapelog/shapelog.h"

#define TOGETHER 256u

struct pg_conn;
struct worker;

/* All of the worker's logs, when they are not registered yet: nobody can take them now. Their
 * number, 0 when there is nothing to register. */
size_t fills_to_register(struct worker *w, struct log *logs[TOGETHER]);
/* They are, at P. Takes the references. */
void fills_put_back(struct worker *w, struct log *const *logs, size_t n, lsn_t registered);
/* The worker's next, if it is on this table (0: whichever); `registered`: P of the last of all that
 * it has. NULL: there is none. */
struct log *fills_take(struct worker *w, uint32_t relid, lsn_t *registered);
/* It has a connection that is not known to be broken. False with ERR_CONN. */
bool worker_connect(struct worker *w, struct pg_conn **conn, struct err *err) MUST_CHECK;

#endif
