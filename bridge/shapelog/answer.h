/*
 * What becomes of a request for a shape: said by whoever makes logs
 * (snapshot/) to whoever serves them (http/).
 */
#ifndef SHAPELOG_ANSWER_H
#define SHAPELOG_ANSWER_H

#include "shapelog/shapelog.h"

struct shape_answer {
    struct log *log;   /* a reference for the receiver, or NULL with err */
    const char *field; /* where the request is wrong ("table", "where", "columns", "params"), or
                          NULL when it is not the request's fault */
    struct err err;
};

/* Called exactly once a request, on any thread, as soon as the log is there: its rows may still be
 * coming. */
typedef void shape_answered(void *arg, struct shape_answer *answer);

/* What becomes of a request for a subset of a shape. */
struct subset_answer {
    struct log *log; /* a reference for the receiver; NULL when there is no such shape. Also with
                        an err, when the subset's part of the request is wrong or failed */
    int fd;          /* the response's body in an unlinked file, for the receiver to close; -1: err,
                        or the log has another handle than was asked for */
    uint64_t size;   /* of the body */
    lsn_t after;     /* the rows hold all that had been published up to there; what was published
                        later may be in them or not */
    const char *field; /* "table", ..., "subset.where", "subset.order_by", or NULL */
    struct err err;
};

/* Called exactly once a request, on any thread. */
typedef void subset_answered(void *arg, struct subset_answer *answer);

#endif
