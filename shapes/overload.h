/*
 * Which function an operator means for arguments of given types: Postgres's
 * rules (documentation, "Type Conversion: Operators"), on the operators of its
 * catalogue. Rivals that cannot be evaluated here take part in the choice; when
 * one of them wins, the clause is refused.
 *
 * Arrays and || are not here: typing.c has the rules for polymorphic ones.
 */
#ifndef SHAPES_OVERLOAD_H
#define SHAPES_OVERLOAD_H

#include "shapes/expr.h"

struct signature {
    uint8_t args[2]; /* PG_NONE on the left for a prefix operator */
};

/* Whether there is an operator of that name at all. */
bool operator_exists(const char *name, bool prefix);
/* Chooses among the operators of that name; false when there is none or no best one. */
bool operator_choose(const char *name, const int types[2], struct signature *out);
/* The same choice among candidates of any kind; prefix operators have PG_NONE first. */
bool overload_choose(const struct signature *candidates, size_t n, const int types[2],
                     struct signature *out);

/* Comparison operators: which of the six. */
bool operator_is_compare(const char *name, enum cmp_op *op);

/* How one that is not a comparison is computed; NULL when it cannot be exactly. */
func_cb *operator_function(const char *name, struct signature sig, int *result);

/* How a cast is computed; NULL when there is none that can be exact. Arrays cast by element. */
func_cb *cast_function(int from, int to);

#endif
