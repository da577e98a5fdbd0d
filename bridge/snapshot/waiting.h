/*
 * Waiting for others' locks, which may take as long as the settings allow: a
 * worker that does so does not count, another one takes its place. And one
 * worker waits for a table at a time; requests for it that would have to wait
 * as well are parked until it is done, and share its failure. Those that the
 * worker has taken together with the one that waits wait for a turn again.
 *
 * Private to this room: implemented by the pool, called by its jobs.
 */
#ifndef SNAPSHOT_WAITING_H
#define SNAPSHOT_WAITING_H

#include "base/err.h"

#include <stdint.h>

struct worker;
struct request;

enum waiting {
    WAITING,         /* go on, and call pool_wait_end() */
    WAITING_PARKED,  /* somebody waits for the table, or nobody for the request any more: the pool
                        has taken it back */
    WAITING_REFUSED, /* for too many tables: err is set */
};

/* `request` may be parked; NULL: the job is past the point where it can be. */
enum waiting pool_wait_begin(struct worker *w, uint32_t relid, struct request *request,
                             struct err *err);
/* `failed`: what the parked requests are answered with; NULL: they are served. */
void pool_wait_end(struct worker *w, uint32_t relid, const struct err *failed);

#endif
