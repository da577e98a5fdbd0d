/*
 * A_Expr, the node of operators and of what is written like them: ANY, ALL, IN,
 * BETWEEN, IS DISTINCT FROM.
 */
#include "shapes/typing.h"

struct operation {
    const char *name;
    yyjson_val *left, *right; /* left: NULL for a prefix operator */
    int location;
};

static struct expr *type_op(struct typing *t, const struct operation *op)
{
    struct expr *left = op->left ? typing_node(t, op->left) : NULL;

    if (op->left && !left)
        return NULL;
    return operator_expr(t, op->name, left, typing_node(t, op->right), op->location);
}

static struct expr *type_any(struct typing *t, const struct operation *op, bool all)
{
    struct expr *left = typing_node(t, op->left);
    struct expr *right = left ? typing_node(t, op->right) : NULL;

    return right ? any_expr(t, op->name, left, right, all, op->location) : NULL;
}

static bool is_null_literal(const struct expr *expr)
{
    return expr->kind == EXPR_CONST && expr->type == PG_UNKNOWN && expr->value.null;
}

static struct expr *type_distinct(struct typing *t, const struct operation *op, bool negated)
{
    struct expr *left = typing_node(t, op->left);
    struct expr *right = left ? typing_node(t, op->right) : NULL;

    if (!right)
        return NULL;
    if (is_null_literal(right) || is_null_literal(left))
        return typing_null_test(t, is_null_literal(right) ? left : right, !negated, op->location);
    struct expr *eq = operator_node(t, "=", left, right, op->location);
    struct expr *expr = eq ? expr_new(t, EXPR_DISTINCT, PG_BOOL, op->location, 1) : NULL;
    if (!expr)
        return NULL;
    expr->args[0] = eq;
    expr->negated = negated;
    expr->by_server = eq->by_server;
    return expr_fold(t, expr);
}

/* The type that the left side and the items have in common, if there are arrays of it; -1: none. */
static int in_type(struct expr *const *all, uint32_t n)
{
    int type = n > 2 ? common_type(all, n) : -1;

    return type >= 0 && pgtype_is_known(type) && !pgtype_is_array(type) ? type : -1;
}

/* The items as one array, all[0] being the left side. */
static struct expr *in_array(struct typing *t, struct expr *const *all, uint32_t n, int type,
                             int location)
{
    struct expr *arr = expr_new(t, EXPR_ARRAY, type | PG_ARRAY, location, n);
    for (uint32_t i = 0; arr && i < n; i++) {
        arr->args[i] = coerce_implicit(t, all[i + 1], type);
        if (!arr->args[i])
            return NULL;
    }
    if (arr)
        merge_collations(arr);
    return expr_fold(t, arr);
}

/* What the expression adds each time that it is used again. */
static size_t weight(const struct expr *expr)
{
    bool text = expr->kind == EXPR_CONST && !expr->value.null && pgtype_is_text(expr->type);
    size_t sum = 1 + (text ? expr->value.s.len / TYPING_TEXT_PER_NODE : 0);

    for (uint32_t i = 0; i < expr->nargs; i++)
        sum += expr->args[i] ? weight(expr->args[i]) : 0;
    return sum;
}

/* As Postgres does: two or more items without columns are an array, the others are compared one by
 * one. */
static struct expr *type_in(struct typing *t, const struct operation *op)
{
    bool negated = strcmp(op->name, "<>") == 0;
    struct expr *left = typing_node(t, op->left), **items, **terms, **plain;
    uint32_t n, nterms = 0, nplain = 0;

    if (!left || !typing_list(t, yyjson_obj_get(node_fields(op->right), "items"), &items, &n))
        return NULL;
    terms = arena_calloc(t->arena, (size_t)n + 1, sizeof(*terms));
    plain = arena_calloc(t->arena, (size_t)n + 1, sizeof(*plain));
    plain[0] = left;
    for (uint32_t i = 0; i < n; i++) {
        if (!expr_has_column(items[i]))
            plain[++nplain] = items[i];
    }
    int type = in_type(plain, nplain + 1);
    t->nodes += weight(left) * (n - (type >= 0 ? nplain : 0));
    if (type >= 0) {
        struct expr *arr = in_array(t, plain, nplain, type, op->location);

        terms[nterms] = arr ? any_expr(t, op->name, left, arr, negated, op->location) : NULL;
        if (!terms[nterms++])
            return NULL;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (type >= 0 && !expr_has_column(items[i]))
            continue;
        terms[nterms] = operator_expr(t, op->name, left, items[i], op->location);
        if (!terms[nterms++])
            return NULL;
    }
    if (nterms == 1)
        return terms[0];
    return typing_bool(t, negated ? EXPR_AND : EXPR_OR, terms, nterms, op->location);
}

static struct expr *bool_pair(struct typing *t, enum expr_kind kind, struct expr *a, struct expr *b,
                              int location)
{
    struct expr *args[] = {a, b};

    return a && b ? typing_bool(t, kind, args, 2, location) : NULL;
}

/* x >= low AND x <= high, or its opposite. */
static struct expr *range(struct typing *t, const struct operation *op, yyjson_val *low,
                          yyjson_val *high, bool negated)
{
    struct operation above = {negated ? "<" : ">=", op->left, low, op->location};
    struct operation below = {negated ? ">" : "<=", op->left, high, op->location};
    struct expr *a = type_op(t, &above);

    return a ? bool_pair(t, negated ? EXPR_OR : EXPR_AND, a, type_op(t, &below), op->location)
             : NULL;
}

static struct expr *type_between(struct typing *t, const struct operation *op)
{
    bool negated = strncmp(op->name, "NOT", 3) == 0;
    bool symmetric = strstr(op->name, "SYMMETRIC") != NULL;
    yyjson_val *bounds = yyjson_obj_get(node_fields(op->right), "items");
    yyjson_val *low = yyjson_arr_get(bounds, 0), *high = yyjson_arr_get(bounds, 1);
    struct expr *a = range(t, op, low, high, negated);

    if (!a || !symmetric)
        return a;
    return bool_pair(t, negated ? EXPR_AND : EXPR_OR, a, range(t, op, high, low, negated),
                     op->location);
}

const char *typing_name(yyjson_val *names)
{
    size_t n = yyjson_arr_size(names);
    const char *schema = n == 2 ? node_string(yyjson_arr_get_first(names)) : "pg_catalog";

    if (n > 2 || !schema || strcmp(schema, "pg_catalog") != 0)
        return NULL;
    return node_string(yyjson_arr_get_last(names));
}

struct expr *typing_a_expr(struct typing *t, yyjson_val *fields)
{
    const char *kind = node_field_str(fields, "kind"),
               *name = typing_name(yyjson_obj_get(fields, "name"));
    struct operation op = {.left = yyjson_obj_get(fields, "lexpr"),
                           .right = yyjson_obj_get(fields, "rexpr"),
                           .location = node_location(fields)};

    if (!name || !op.right)
        return typing_error(t, op.location, "this operator is not supported in this context");
    op.name = arena_strdup(t->arena, name);
    if (strcmp(kind, "AEXPR_OP") == 0 || strcmp(kind, "AEXPR_LIKE") == 0 ||
        strcmp(kind, "AEXPR_ILIKE") == 0)
        return type_op(t, &op);
    if (strcmp(kind, "AEXPR_OP_ANY") == 0 || strcmp(kind, "AEXPR_OP_ALL") == 0)
        return type_any(t, &op, strcmp(kind, "AEXPR_OP_ALL") == 0);
    if (strcmp(kind, "AEXPR_DISTINCT") == 0 || strcmp(kind, "AEXPR_NOT_DISTINCT") == 0)
        return type_distinct(t, &op, strcmp(kind, "AEXPR_NOT_DISTINCT") == 0);
    if (strcmp(kind, "AEXPR_IN") == 0)
        return type_in(t, &op);
    if (strstr(kind, "BETWEEN"))
        return type_between(t, &op);
    return typing_error(t, op.location, "expression %s of %s is not currently supported", kind,
                        name);
}
