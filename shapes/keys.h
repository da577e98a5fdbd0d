/*
 * The values of a column that a clause can only be true for, where it says so
 * by `=` or IN. Inside the room; where.h has the rest.
 */
#ifndef SHAPES_KEYS_H
#define SHAPES_KEYS_H

#include "shapes/expr.h"
#include "shapes/where.h"

/* keys->column is -1 when the clause gives none. */
void keys_find(const struct expr *expr, const struct table *table, const struct datum *constants,
               struct arena *arena, struct where_keys *keys);

#endif
