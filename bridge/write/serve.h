/*
 * What a worker does with the requests it has taken: private to the pool.
 */
#ifndef WRITE_SERVE_H
#define WRITE_SERVE_H

#include "write/jobs.h"

/* The worker's one job, or all of them in one commit. Each is answered, or put back to be done
 * alone. Blocks; not holding the mutex. */
void serve_alone(struct worker *w, struct job *job);
void serve_together(struct worker *w);

/* pool.c: the job is done, and freed. */
void pool_finish(struct worker *w, struct job *job, struct write_reply *reply);
/* It did not go through with others: its turn comes, by itself. */
void pool_put_back(struct worker *w, struct job *job);
/* NULL: it works again. */
void pool_note_trouble(struct write_pool *pool, const struct err *err);

#endif
