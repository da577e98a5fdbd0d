/*
 * The constants of a clause, which is all that the clauses of most shapes differ in: taken out of
 * the tree once it is complete, they stand in an array, each in its place. The set of an ANY, which
 * is made here, counts as one. Inside the room.
 */
#ifndef SHAPES_CONSTANTS_H
#define SHAPES_CONSTANTS_H

#include "shapes/expr.h"

/* Leaves places in the tree. The values are in the arena, and borrow what the tree's did. */
struct datum *constants_take(struct expr *expr, struct arena *arena, uint32_t *n);

#endif
