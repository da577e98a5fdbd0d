/*
 * The body of POST /v1/write, read and checked:
 *
 *     {"replica":"r1","family":"r0","incarnation":"..","acknowledged":12,"after":"..",
 *      "contact":"1764144000123456","transactions":[{"id":17,"nonce":"..","marked":false,
 *        "mutations":[{"table":"public.orders","op":"update","nonce":"-123",
 *                      "key":{"id":"1"},"values":{"qty":"3"},"base":{"qty":"2"}}]}]}
 *
 * or, instead of transactions, the question of a replica that has to take another id:
 *
 *     {"replica":"r1","family":"r0","decided":["-123","456"]}
 *
 * Values are Postgres's text form or null. The ids of a request follow one another without a gap.
 * `marked`: the application put these mutations together itself, so they are never split.
 * `acknowledged`: rejections up to this id are known to the replica. `after`: the nonce of the
 * transaction before the first, as far as the replica knows it; it finds a clone whose next id
 * happens to fit. `contact`: microseconds since 1970; the replica knows what became of all its
 * writes that were decided before then. `family`: the first id that the replica's file had; copies
 * of the file and the ids that it took later share it. A mutation's `nonce` is a number of 64 bits
 * that the file made up for it and keeps: by family and nonce it is known again. Fields that are
 * not known are errors: one that were passed over could be the one that says what the writer meant.
 */
#ifndef WRITE_REQUEST_H
#define WRITE_REQUEST_H

#include "base/arena.h"
#include "base/err.h"

#include <stdint.h>

enum write_op { WRITE_INSERT, WRITE_UPDATE, WRITE_DELETE };

/* "insert" and so on. */
const char *write_op_name(enum write_op op);

struct write_pair {
    struct slice column;
    struct slice value; /* NUL-terminated; {NULL, 0} is null */
};

struct write_pairs {
    struct write_pair *list; /* no column twice */
    size_t n;
};

struct write_mutation {
    struct slice nspname, relname;
    enum write_op op;
    bool has_nonce;
    int64_t nonce;
    struct write_pairs key;    /* the row's, before this mutation; no nulls */
    struct write_pairs values; /* insert: all; update: what changed, the key's columns too */
    struct write_pairs base;   /* what was there before, as the replica saw it */
};

struct write_txn {
    int64_t id; /* 1 and more */
    struct slice nonce;
    bool marked;
    struct write_mutation *mutations;
    size_t nmutations;
};

struct write_request {
    struct slice replica, incarnation; /* incarnation: empty when not given */
    struct slice family;               /* the replica's own id when not given */
    struct slice after;                /* {NULL, 0}: not given */
    int64_t acknowledged;              /* 0: none */
    int64_t contact;                   /* 0: it does not say */
    struct write_txn *txns;
    size_t ntxns;
    int64_t *decided; /* the question: nonces of mutations. NULL: none is asked */
    size_t ndecided;
};

struct write_request_limits {
    size_t bytes;        /* of the body */
    size_t transactions; /* of the request */
    size_t mutations;    /* of all its transactions together; likewise nonces asked for */
};

/* What is wrong, and where: "transactions[3].mutations[1].values.qty". */
struct write_invalid {
    char place[160];
    struct err err; /* ERR_INPUT; ERR_LIMIT for what is too large */
};

/* Everything lies in the arena; `body` is not needed afterwards. */
bool write_request_parse(struct slice body, const struct write_request_limits *limits,
                         struct arena *arena, struct write_request *request,
                         struct write_invalid *invalid) MUST_CHECK;

#endif
