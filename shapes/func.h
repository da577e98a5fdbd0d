/*
 * The functions that a where clause may call by name, and what `||` and the
 * operators of arrays come down to.
 */
#ifndef SHAPES_FUNC_H
#define SHAPES_FUNC_H

#include "shapes/overload.h"

struct func {
    const char *name;
    struct signature sig; /* PG_NONE first: one argument */
    uint8_t result;
    bool needs_c; /* its result hangs on the collation unless that is C */
    func_cb *fn;
};

/* The i-th overload of the name, or NULL past the last one. */
const struct func *func_overload(struct slice name, size_t i);

func_cb func_text_cat, func_bytea_cat, func_concat;
func_cb func_array_cat, func_array_append, func_array_prepend, func_array_ndims;
func_cb func_array_eq, func_array_ne, func_array_contains, func_array_contained,
    func_array_overlaps;

#endif
