/*
 * Copies of expressions and clauses that take no more memory than they need: a
 * bridge holds a hundred thousand shapes. A clause is two things: its tree, which
 * shapes share (form.h), and its constants. Inside the room.
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
/* What the constants point to. `to`, by place, is filled in unless it is NULL. */
void pack_constants(struct pack *pack, const struct expr *expr, const struct datum *from,
                    struct datum *to);

/* A clause's tree in as many bytes at `to`, which are aligned for pointers; borrows `table`. */
size_t where_tree_size(const struct where *where);
const struct where_tree *where_tree_pack(const struct where *where, const struct table *table,
                                         void *to);
/* The clause with its constants likewise, for a tree that is equal to its own. */
size_t where_packed_size(const struct where *where);
struct where *where_pack(const struct where *where, const struct where_tree *tree, void *to);

#endif
