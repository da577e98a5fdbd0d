/*
 * One request on one connection: the work of a pool's worker.
 */
#ifndef SNAPSHOT_JOB_H
#define SNAPSHOT_JOB_H

#include "change/tables.h"
#include "pg/pg.h"
#include "snapshot/pool.h"
#include "snapshot/trust.h"

struct job_context {
    const struct snapshot_config *config;
    struct pg_conn *conn;
    struct trust *trust;
    struct tables *tables;
    struct snapshot_stats *stats;
    const atomic_bool *stop;
};

/* Looks the shape up or makes its log (*made). False with the answer's field and err filled in. */
bool job_resolve(const struct job_context *ctx, const struct shape_request *request,
                 struct shape_answer *answer, bool *made) MUST_CHECK;
/* Looks it up and makes none: ERR_NOT_FOUND without a field when there is none. */
bool job_find(const struct job_context *ctx, const struct shape_request *request,
              struct shape_answer *answer) MUST_CHECK;
/* Fills a log that was made: publication, registration, snapshot, rows. Ends it when that fails. */
void job_fill(const struct job_context *ctx, struct log *log);

#endif
