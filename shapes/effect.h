/*
 * What a change of the table is to one shape.
 */
#ifndef SHAPES_EFFECT_H
#define SHAPES_EFFECT_H

#include "change/change.h"
#include "shapes/shape.h"

enum effect_kind {
    EFFECT_NONE,
    EFFECT_INSERT,     /* the row came, or moved in */
    EFFECT_UPDATE,     /* it stays, with other values */
    EFFECT_DELETE,     /* it went, or moved out */
    EFFECT_KEY_CHANGE, /* it stays under another key: a delete, then an insert */
    EFFECT_MOVE, /* it left under one key and came under another, or has no key: delete and insert,
                    unmarked */
};

/*
 * `change` has its tuples in the table's column order; unchanged TOAST values of `new` are already
 * filled in from `old` where that has them. *kind is what the shape's clients are told. Without an
 * old row, or with its key alone, the row counts as having been in the shape (which
 * needs_full makes true). Updates that alter no selected column are EFFECT_NONE. False when
 * the clause cannot be evaluated for this row: the shape ends.
 */
bool shape_effect(const struct shape *shape, const struct change *change, struct arena *scratch,
                  enum effect_kind *kind, struct err *err) MUST_CHECK;

#endif
