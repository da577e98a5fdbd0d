/*
 * Postgres's arrays: up to six dimensions, each with its own lower bound,
 * elements in row-major order, any of them null. An array without elements has
 * no dimensions. Immutable.
 */
#ifndef SHAPES_ARRAY_H
#define SHAPES_ARRAY_H

#include "shapes/datum.h"

#define ARRAY_MAX_DIM 6

struct array {
    int ndim;
    int32_t dims[ARRAY_MAX_DIM], lower[ARRAY_MAX_DIM];
    size_t n;
    const struct datum *elems;
};

/* One subscript of `a[i]` or `a[lower:upper]`. */
struct array_index {
    bool has_lower, has_upper;
    int32_t lower, upper;
};

bool array_in(int elem_type, struct slice text, struct arena *arena, const struct array **out,
              struct err *err) MUST_CHECK;
void array_out(int elem_type, const struct array *arr, struct buf *out);

/* One dimension, lower bound 1. */
const struct array *array_of(const struct datum *elems, size_t n, struct arena *arena);
/* The arrays become the rows of one with a dimension more; ARRAY[[1,2],[3,4]]. */
bool array_nest(const struct datum *rows, size_t n, struct arena *arena, const struct array **out,
                struct err *err) MUST_CHECK;

/* Same bounds, same elements; null equals null. */
bool array_eq(const struct array *a, const struct array *b, datum_cmp *cmp);
/* Every element of b is equal to one of a; a null is equal to none. */
bool array_contains(const struct array *a, const struct array *b, datum_cmp *cmp);
bool array_overlaps(const struct array *a, const struct array *b, datum_cmp *cmp);

bool array_cat(const struct array *a, const struct array *b, struct arena *arena,
               const struct array **out, struct err *err) MUST_CHECK;
bool array_append(const struct array *a, const struct datum *elem, bool in_front,
                  struct arena *arena, const struct array **out, struct err *err) MUST_CHECK;

/* NULL where the subscripts are not as many as the dimensions, or outside. */
const struct datum *array_get(const struct array *a, const int32_t *index, int n);
const struct array *array_slice(const struct array *a, const struct array_index *index, int n,
                                struct arena *arena);

#endif
