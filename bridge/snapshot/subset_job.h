/*
 * A subset's query, run on one connection, and the response written from it.
 *
 * The rows are those of one snapshot, which sees every transaction that the
 * log had when the subset was asked for: a client that has followed the log up
 * to there is not set back. What comes after the snapshot is in the log,
 * which has followed the table since before.
 */
#ifndef SNAPSHOT_SUBSET_JOB_H
#define SNAPSHOT_SUBSET_JOB_H

#include "pg/pg.h"
#include "shapelog/answer.h"
#include "shapes/subset.h"
#include "snapshot/pool.h"

struct subset_job {
    const struct snapshot_config *config;
    struct pg_conn *conn;
    struct log *log;
    const struct subset_request *request;
    struct slice queryable; /* as in struct shape_request */
    const atomic_bool *stop, *gone;
};

/* Fills in the body, or field and err; the answer's log is the caller's. The transaction that
 * this took has been ended, unless the connection is lost. */
void subset_job_run(const struct subset_job *job, struct subset_answer *answer);

#endif
