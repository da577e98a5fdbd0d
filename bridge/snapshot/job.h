/*
 * Requests and logs on one connection: the work of a pool's worker.
 */
#ifndef SNAPSHOT_JOB_H
#define SNAPSHOT_JOB_H

#include "change/tables.h"
#include "pg/pg.h"
#include "snapshot/finisher.h"
#include "snapshot/pool.h"
#include "snapshot/trust.h"

struct job_context {
    const struct snapshot_config *config;
    struct worker *worker;   /* for waiting (snapshot/waiting.h), and its logs (snapshot/turns.h) */
    struct request *request; /* may be parked */
    struct pg_conn *conn;
    struct trust *trust;
    struct tables *tables;
    struct table **looked; /* what was looked up for requests taken together; *looked may be NULL */
    struct finisher *finisher;
    struct snapshot_stats *stats;
    const atomic_bool *stop;
};

enum job_outcome {
    JOB_REFUSED, /* the answer's err is set, and its field when the request is to blame */
    JOB_PARKED,  /* the pool has the request back */
    JOB_FOUND,   /* the answer has the log */
    JOB_MADE,    /* likewise: it is to be filled */
    JOB_ABSENT,  /* job_look(): there is none */
};

/* Looks the shape up, or makes its log once the table has joined the stream: it is published, has
 * the identity that the shape needs, and its writers from before have ended. */
enum job_outcome job_resolve(const struct job_context *ctx, const struct shape_request *request,
                             struct shape_answer *answer) MUST_CHECK;
/* Looks it up, and waits for nobody: whether there is a log that fits the table. */
enum job_outcome job_look(const struct job_context *ctx, const struct shape_request *request,
                          struct shape_answer *answer) MUST_CHECK;
/* Looks it up and makes none: ERR_NOT_FOUND without a field when there is none. */
enum job_outcome job_find(const struct job_context *ctx, const struct shape_request *request,
                          struct shape_answer *answer) MUST_CHECK;
/* There is a connection, and the end has not come. */
bool job_may_begin(struct job_context *ctx, struct err *err) MUST_CHECK;
/* Fills the worker's logs: registration, snapshot, rows. Ends those with which that fails. */
void job_fill(struct job_context *ctx);

#endif
