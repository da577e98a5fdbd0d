/*
 * Copies of expressions and clauses that take no more memory than they need: a
 * bridge holds a hundred thousand shapes. Inside the room.
 */
#ifndef SHAPES_PACK_H
#define SHAPES_PACK_H

#include "shapes/expr.h"
#include "shapes/where.h"

/* Bytes put one behind the other; with `to` NULL they are only counted. */
struct pack {
    char *to;
    size_t used;
};

/* The copy, or NULL while counting. */
void *pack_put(struct pack *pack, const void *bytes, size_t size);
struct slice pack_text(struct pack *pack, struct slice text);
struct expr *pack_expr(struct pack *pack, const struct expr *expr);

/* A copy of the clause in where_packed_size() bytes at `to`, which are aligned for pointers. */
struct where *where_pack(const struct where *where, void *to);
size_t where_packed_size(const struct where *where);

#endif
