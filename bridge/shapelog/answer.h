/*
 * What becomes of a request for a shape: said by whoever makes logs
 * (snapshot/) to whoever serves them (http/).
 */
#ifndef SHAPELOG_ANSWER_H
#define SHAPELOG_ANSWER_H

#include "shapelog/shapelog.h"

#include <stdatomic.h>

struct shape_answer {
    struct log *log;   /* a reference for the receiver, or NULL with err */
    const char *field; /* where the request is wrong ("table", "where", "columns", "params"), or
                          NULL when it is not the request's fault */
    struct err err;
};

/* Called exactly once a request, on any thread, as soon as the log is there: its rows may still be
 * coming. */
typedef void shape_answered(void *arg, struct shape_answer *answer);

/* What bodies of subsets take that clients have not read yet, all together. Zero the count, and let
 * it outlive the bodies. */
struct subset_budget {
    uint64_t limit;
    atomic_uint_fast64_t taken;
};

/* A body in an unlinked file, which whoever has it closes. Any thread. */
struct subset_body {
    int fd; /* -1: there is none */
    uint64_t size;
    struct subset_budget *budget; /* borrowed; `size` bytes of it are the body's */
};

/* Before so many bytes are written. False: the limit does not allow it, and err says so. */
bool subset_body_grow(struct subset_body *body, uint64_t n, struct err *err) MUST_CHECK;
/* Gives the bytes back; there is no body then. */
void subset_body_close(struct subset_body *body);

/* What becomes of a request for a subset of a shape. */
struct subset_answer {
    struct log *log; /* a reference for the receiver; NULL when there is no such shape. Also with
                        an err, when the subset's part of the request is wrong or failed */
    struct subset_body body; /* none: err, or the log has another handle than was asked for */
    lsn_t after;       /* the rows hold all that had been published up to there; what was published
                          later may be in them or not */
    const char *field; /* "table", ..., "subset.where", "subset.order_by", or NULL */
    struct err err;
};

/* Called exactly once a request, on any thread. */
typedef void subset_answered(void *arg, struct subset_answer *answer);

#endif
