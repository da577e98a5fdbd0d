/*
 * What a request to /v1/shape asks for: the parameters of its query string,
 * overridden by those of a JSON body, read and checked in the order that the
 * contract gives (docs/ELECTRIC.md).
 *
 * What needs the table (its name, columns, clauses, a subset's clause and
 * order) is checked by the snapshot pool, whose answer names the field; so
 * is the order of the two kept: nothing is looked up for a request that is
 * wrong by itself.
 */
#ifndef HTTP_SHAPE_PARAMS_H
#define HTTP_SHAPE_PARAMS_H

#include "http/request.h"
#include "shapelog/range.h"
#include "shapes/shape.h"
#include "shapes/subset.h"

/* The longest body of a POST; a route of that limit answers a longer one itself, with 413. */
#define SHAPE_BODY_LIMIT ((size_t)1024 * 1024)

enum shape_offset_at {
    SHAPE_OFFSET_START, /* -1 */
    SHAPE_OFFSET_NOW,
    SHAPE_OFFSET_AT, /* `offset` */
};

struct shape_params {
    struct slice name; /* of a shape that the rules have: then `shape` is to be filled from it;
                          len 0: not given */
    struct shape_request shape; /* with its queryable columns; a DELETE: table.len 0: not given */
    struct slice handle;        /* len 0: none, also where the offset is -1 or now */
    enum shape_offset_at at;
    struct log_offset offset; /* SHAPE_OFFSET_AT */
    bool live, sse;
    uint64_t cursor;
    bool compaction;
    bool is_subset;
    struct subset_request subset;
};

/* The answer to a request that is wrong. */
struct shape_invalid {
    int status;        /* 400 or 413 */
    struct slice body; /* JSON, in the arena */
};

/* GET and POST. Everything lies in the arena or is borrowed from the request (and from its query's
 * arena): copy what is to live longer than the handler's call; both kinds of requests are copied by
 * the pool. */
bool shape_params_read(const struct http_request *request, struct arena *arena,
                       struct shape_params *out, struct shape_invalid *invalid) MUST_CHECK;
/* DELETE: a definition, a handle, or both. */
bool shape_params_read_delete(const struct http_request *request, struct arena *arena,
                              struct shape_params *out, struct shape_invalid *invalid) MUST_CHECK;

/* Appends `{"message":"Invalid request","errors":{"<field>":["<text>"]}}` for an answer of the
 * pool's; "subset.where" nests. What only Postgres could find wrong while it ran a subset's query
 * (ERR_PG) is a string instead of a list. */
void shape_invalid_put(struct buf *out, const char *field, const struct err *err);

#endif
