/*
 * From libpg_query's tree to a typed one. typing.c walks the tree's nodes;
 * coerce.c holds the rules it goes by: literals that take their type from
 * where they stand, casts, common types, overloads, collations.
 *
 * Inside the room only. Functions that return an expression return NULL when
 * they have set the error.
 */
#ifndef SHAPES_TYPING_H
#define SHAPES_TYPING_H

#include "shapes/clause.h"
#include "shapes/expr.h"
#include "shapes/where.h"

/* A literal of that many bytes counts as a node more. */
#define TYPING_TEXT_PER_NODE 64

struct typing {
    const struct clause *clause;
    const struct where_params *params;
    bool any_params; /* whatever they are: each is null */
    const struct table *table;
    const bool *hidden; /* by column: not to be named; NULL: none */
    bool at_server; /* only Postgres will evaluate it: what depends on a collation, and enums, may
                       be compared */
    struct arena *arena;  /* of the result */
    struct arena scratch; /* of texts for errors */
    int *param_types;     /* by number - 1; PG_UNKNOWN until the first context decides */
    size_t nodes;         /* made so far, each as often as it will be evaluated and written */
    struct err *err;
};

/* The clause's expression, of any type. */
struct expr *typing_clause(struct typing *t);

/* One node, by its kind. */
struct expr *typing_node(struct typing *t, yyjson_val *node);
/* A list's nodes, in the arena; false when one fails. */
bool typing_list(struct typing *t, yyjson_val *list, struct expr ***out, uint32_t *n);
/* EXPR_AND, EXPR_OR or EXPR_NOT of them, folded. */
struct expr *typing_bool(struct typing *t, enum expr_kind kind, struct expr **args, uint32_t nargs,
                         int location);
struct expr *typing_null_test(struct typing *t, struct expr *arg, bool negated, int location);
/* The bare name of an operator or function; NULL when it is of another schema than pg_catalog. */
const char *typing_name(yyjson_val *names);

/* ---- typing_op.c ---- */

struct expr *typing_a_expr(struct typing *t, yyjson_val *fields);

/* ---- coerce.c ---- */

/* Says what is wrong at a location; always NULL. */
struct expr *typing_error(struct typing *t, int location, const char *fmt, ...) PRINTF(3, 4);

struct expr *expr_new(struct typing *t, enum expr_kind kind, int type, int location,
                      uint32_t nargs);
struct expr *expr_const(struct typing *t, int type, struct datum value, int location);

/* Whether it looks at a column, or did so before it was folded. */
bool expr_has_column(const struct expr *expr);

/* A node whose arguments are all constant becomes one, as do a few others that Postgres's planner
 * sees through. */
struct expr *expr_fold(struct typing *t, struct expr *expr);

/* What Postgres does unasked; a literal takes the type. */
struct expr *coerce_implicit(struct typing *t, struct expr *expr, int type);
/* What a cast does. */
struct expr *coerce_explicit(struct typing *t, struct expr *expr, int type, int location);
/* To boolean; `what` names who wants it: "argument of AND". */
struct expr *coerce_bool(struct typing *t, struct expr *expr, const char *what);
/* A literal beside an enum: Postgres will say whether there is such a label. */
struct expr *enum_literal(struct typing *t, struct expr *expr);
/* A literal that nothing has decided on is text. */
struct expr *coerce_unknown(struct typing *t, struct expr *expr);

/* The type that all can be cast to (Postgres's rules for UNION, CASE and the like); -1: none. */
int common_type(struct expr *const *exprs, size_t n);

/* The collation of an operation on its arguments. */
void merge_collations(struct expr *expr);
void take_collation(struct expr *expr, const struct expr *from);
/* Whether text may be compared so here; sets the error. */
bool collation_allows_equality(struct typing *t, struct expr *expr);
bool collation_allows_order(struct typing *t, struct expr *expr, const char *what);

/* The operator on its arguments; `left` NULL: a prefix operator. Not folded. */
struct expr *operator_node(struct typing *t, const char *name, struct expr *left,
                           struct expr *right, int location);
/* The same, folded. */
struct expr *operator_expr(struct typing *t, const char *name, struct expr *left,
                           struct expr *right, int location);
/* left op ANY or ALL (right). */
struct expr *any_expr(struct typing *t, const char *name, struct expr *left, struct expr *right,
                      bool all, int location);
/* The function by name; handles concat and the functions of arrays too. */
struct expr *function_expr(struct typing *t, struct slice name, struct expr **args, uint32_t nargs,
                           int location);

#endif
