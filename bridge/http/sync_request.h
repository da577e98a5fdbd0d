/*
 * The body of POST /v1/sync (docs/PROTOCOL.md), read and checked.
 */
#ifndef HTTP_SYNC_REQUEST_H
#define HTTP_SYNC_REQUEST_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "shapes/shape.h"

struct sync_shape_request {
    struct slice name;          /* of the rules' shape; empty: `shape` is what was given */
    struct shape_request shape; /* named: to be filled in */
    struct slice handle;        /* empty: none */
    struct slice lineage;       /* what came with that handle (shapes/lineage.h); empty: none */
    struct slice refused;       /* why the replica cannot use that handle; empty: it can */
    bool resumes;               /* a handle and an offset behind its snapshot were given */
    lsn_t after;                /* then: everything behind this position */
};

struct sync_request {
    struct sync_shape_request *shapes;
    size_t nshapes;
    bool live;
    bool writes; /* the replica wants to know what becomes of its own writes */
};

/* What is wrong, as the errors object wants it: {"<field>":["<text>"]}. */
struct sync_invalid {
    char field[64]; /* "shapes[3].offset" */
    size_t shape;   /* of what was found while resolving: that 3 */
    struct err err;
};

/* Everything lies in the arena, which has to be new; `body` is not needed afterwards. A request
 * lives as long as its stream, and there are many: the arena gets no more memory than that takes,
 * and `beside` bytes a shape that the caller is going to allocate, and something for what the
 * rules say of named ones and for the feeds of `writes`. */
bool sync_request_parse(struct slice body, size_t max_shapes, size_t beside, struct arena *arena,
                        struct sync_request *request, struct sync_invalid *invalid) MUST_CHECK;

/* `{"message":"Invalid request","errors":{"<field>":["<text>"]}}` */
void sync_invalid_put(const struct sync_invalid *invalid, struct buf *out);

#endif
