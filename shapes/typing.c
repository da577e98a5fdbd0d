/*
 * Walks libpg_query's tree (typing_op.c has operators). Each kind of node has a function in a table
 * at the end; a kind that is not there is refused by its name, as the shape API does.
 */
#include "shapes/typing.h"

#include <stdio.h>

#define COLLATION_OF_DATABASE 100 /* pg_collation.oid of "default" */

static yyjson_val *get(yyjson_val *fields, const char *name)
{
    return yyjson_obj_get(fields, name);
}

static const char *get_str(yyjson_val *fields, const char *name)
{
    return node_field_str(fields, name);
}

static struct expr *not_supported(struct typing *t, const char *what, int location)
{
    return typing_error(t, location, "%s is not supported in this context", what);
}

/* The list's nodes, typed, in the arena; false when one fails. */
bool typing_list(struct typing *t, yyjson_val *list, struct expr ***out, uint32_t *n)
{
    size_t i, max;
    yyjson_val *item;

    *n = (uint32_t)yyjson_arr_size(list);
    *out = arena_calloc(t->arena, *n, sizeof(**out));
    yyjson_arr_foreach(list, i, max, item)
    {
        (*out)[i] = typing_node(t, item);
        if (!(*out)[i])
            return false;
    }
    return true;
}

/* ---- leaves ------------------------------------------------------------ */

static struct expr *unknown_literal(struct typing *t, struct slice text, bool null, int location)
{
    struct datum value = {.null = null};

    t->nodes += text.len / TYPING_TEXT_PER_NODE;
    if (!null)
        value.s = arena_copy(t->arena, text);
    return expr_const(t, PG_UNKNOWN, value, location);
}

/* A number with a point or too long for an int4: an int4 or int8 where it is one, else numeric. */
static struct expr *number_literal(struct typing *t, const char *text, int location)
{
    static const int types[] = {PG_INT4, PG_INT8, PG_NUMERIC};
    struct datum value;
    struct err err;

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (datum_in(types[i], slice_of(text), t->arena, &value, &err))
            return expr_const(t, types[i], value, location);
    }
    return typing_error(t, location, "invalid syntax for type numeric: %.100s", text);
}

static struct expr *type_const(struct typing *t, yyjson_val *fields)
{
    int location = node_location(fields);
    struct datum value = {0};

    if (get(fields, "isnull"))
        return unknown_literal(t, SLICE(""), true, location);
    if (get(fields, "ival")) {
        if (!clause_int_const(t->clause, fields, &value.i))
            return typing_error(t, location, "invalid syntax for type int4");
        return expr_const(t, PG_INT4, value, location);
    }
    if (get(fields, "fval"))
        return number_literal(t, get_str(get(fields, "fval"), "fval"), location);
    if (get(fields, "boolval")) {
        value.b = yyjson_get_bool(get(get(fields, "boolval"), "boolval"));
        return expr_const(t, PG_BOOL, value, location);
    }
    if (get(fields, "sval")) {
        yyjson_val *s = get(get(fields, "sval"), "sval");

        return unknown_literal(t, (struct slice){s ? yyjson_get_str(s) : "", yyjson_get_len(s)},
                               false, location);
    }
    return typing_error(t, location, "BitString values are not supported");
}

static struct expr *type_param(struct typing *t, yyjson_val *fields)
{
    int location = node_location(fields);
    int64_t number = yyjson_get_sint(get(fields, "number"));
    const struct where_params *params = t->params;

    bool known = number >= 1 && params && (size_t)number <= params->n;
    if (!known || (!params->values[number - 1].ptr && !t->any_params))
        return typing_error(t, location, "parameter $%lld was not provided", (long long)number);
    struct slice text = params->values[number - 1];
    if (text.len && memchr(text.ptr, '\0', text.len))
        return typing_error(t, location, "parameter $%lld has a null character", (long long)number);
    struct expr *expr = unknown_literal(t, text, !text.ptr, location);
    if (expr)
        expr->param = (uint32_t)number;
    return expr;
}

static uint8_t column_collation(int type, const struct table_column *col)
{
    if (!pgtype_has_collation(type))
        return COLLATION_NONE;
    if (!col->collation_deterministic)
        return COLLATION_LOOSE;
    return col->collation_is_c || pgtype_elem(type) == PG_NAME ? COLLATION_C : COLLATION_BYTES_EQ;
}

static uint32_t own_collation(const struct table_column *col)
{
    return col->collation == COLLATION_OF_DATABASE ? 0 : col->collation;
}

/* The name as it was written, dots between its parts. */
static void put_reference(yyjson_val *parts, struct buf *out)
{
    size_t i, max;
    yyjson_val *part;

    yyjson_arr_foreach(parts, i, max, part)
    {
        const char *name = node_string(part);

        buf_printf(out, "%s%s", i ? "." : "", name ? name : "*");
    }
}

static struct expr *type_column(struct typing *t, yyjson_val *fields)
{
    yyjson_val *parts = get(fields, "fields");
    const char *name = node_string(yyjson_arr_get_first(parts));
    int column =
        yyjson_arr_size(parts) == 1 && name ? table_column_index(t->table, slice_of(name)) : -1;
    struct buf buf;

    if (column < 0 || (t->hidden && t->hidden[column])) {
        buf_init(&buf, 300);
        put_reference(parts, &buf);
        typing_error(t, node_location(fields), "unknown reference %s", buf_cstr(&buf));
        buf_release(&buf);
        return NULL;
    }
    int type = pgtype_of_column(&t->table->cols[column]);
    struct expr *expr = expr_new(t, EXPR_COLUMN, type, node_location(fields), 0);
    if (!expr)
        return NULL;
    expr->column = (int16_t)column;
    expr->collation = column_collation(type, &t->table->cols[column]);
    expr->collated_by = own_collation(&t->table->cols[column]);
    return expr;
}

/* ---- AND, OR, NOT and tests --------------------------------------------- */

struct expr *typing_bool(struct typing *t, enum expr_kind kind, struct expr **args, uint32_t nargs,
                         int location)
{
    static const char *const whats[] = {"argument of AND", "argument of OR", "argument of NOT"};
    struct expr *expr = expr_new(t, kind, PG_BOOL, location, nargs);

    for (uint32_t i = 0; expr && i < nargs; i++) {
        expr->args[i] = coerce_bool(t, args[i], whats[kind - EXPR_AND]);
        if (!expr->args[i])
            return NULL;
    }
    return expr_fold(t, expr);
}

static struct expr *type_bool_expr(struct typing *t, yyjson_val *fields)
{
    const char *op = get_str(fields, "boolop");
    struct expr **args;
    uint32_t nargs;

    if (!typing_list(t, get(fields, "args"), &args, &nargs))
        return NULL;
    enum expr_kind kind = strcmp(op, "AND_EXPR") == 0  ? EXPR_AND
                          : strcmp(op, "OR_EXPR") == 0 ? EXPR_OR
                                                       : EXPR_NOT;
    return typing_bool(t, kind, args, nargs, node_location(fields));
}

static struct expr *type_bool_test(struct typing *t, yyjson_val *fields)
{
    static const struct {
        const char *name, *what;
        enum tri is;
        bool negated;
    } tests[] = {{"IS_TRUE", "argument of IS TRUE", TRI_TRUE, false},
                 {"IS_NOT_TRUE", "argument of IS NOT TRUE", TRI_TRUE, true},
                 {"IS_FALSE", "argument of IS FALSE", TRI_FALSE, false},
                 {"IS_NOT_FALSE", "argument of IS NOT FALSE", TRI_FALSE, true},
                 {"IS_UNKNOWN", "argument of IS UNKNOWN", TRI_NULL, false},
                 {"IS_NOT_UNKNOWN", "argument of IS NOT UNKNOWN", TRI_NULL, true}};
    size_t i = 0;

    while (i < 5 && strcmp(tests[i].name, get_str(fields, "booltesttype")) != 0)
        i++;
    struct expr *arg = coerce_bool(t, typing_node(t, get(fields, "arg")), tests[i].what);
    struct expr *expr = arg ? expr_new(t, EXPR_BOOL_TEST, PG_BOOL, node_location(fields), 1) : NULL;
    if (!expr)
        return NULL;
    expr->args[0] = arg;
    expr->column = (int16_t)tests[i].is;
    expr->negated = tests[i].negated;
    return expr_fold(t, expr);
}

struct expr *typing_null_test(struct typing *t, struct expr *arg, bool negated, int location)
{
    arg = coerce_unknown(t, arg);
    if (!arg)
        return NULL;
    if (arg->type == PG_OTHER && !pgtype_other_is_scalar(&t->table->cols[arg->column]))
        return typing_error(t, location, "IS NULL is not supported for columns of a row type");
    struct expr *expr = expr_new(t, EXPR_NULL_TEST, PG_BOOL, location, 1);
    if (!expr)
        return NULL;
    expr->args[0] = arg;
    expr->negated = negated;
    return expr_fold(t, expr);
}

static struct expr *type_null_test(struct typing *t, yyjson_val *fields)
{
    bool negated = strcmp(get_str(fields, "nulltesttype"), "IS_NOT_NULL") == 0;

    return typing_null_test(t, typing_node(t, get(fields, "arg")), negated, node_location(fields));
}

/* ---- casts and collations ---------------------------------------------- */

static struct expr *type_array_of(struct typing *t, yyjson_val *fields, int elem);

/* The type that a TypeName names; -1 with the error set. */
static int named_type(struct typing *t, yyjson_val *name, int location)
{
    yyjson_val *names = get(name, "names");
    size_t n = yyjson_arr_size(names);
    const char *schema = n == 2 ? node_string(yyjson_arr_get_first(names)) : "pg_catalog";
    const char *last = node_string(yyjson_arr_get_last(names));
    int type = n <= 2 && schema && last && strcmp(schema, "pg_catalog") == 0
                   ? pgtype_by_name(slice_of(last))
                   : -1;

    if (type < 0 || !pgtype_is_known(type) || type == PG_BPCHAR || type == PG_NAME ||
        get(name, "setof") || get(name, "pct_type")) {
        typing_error(t, location, "unsupported type %s", last ? last : "");
        return -1;
    }
    if (get(name, "typmods")) {
        typing_error(t, location, "casts to %s with a length or precision are not supported", last);
        return -1;
    }
    return yyjson_arr_size(get(name, "arrayBounds")) ? type | PG_ARRAY : type;
}

static struct expr *type_cast(struct typing *t, yyjson_val *fields)
{
    int location = node_location(fields);
    yyjson_val *arg = get(fields, "arg");
    int type = named_type(t, get(fields, "typeName"), location);

    if (type < 0)
        return NULL;
    if (pgtype_is_array(type) && strcmp(node_name(arg), "A_ArrayExpr") == 0)
        return type_array_of(t, node_fields(arg), pgtype_elem(type));
    struct expr *expr = typing_node(t, arg);
    return expr ? coerce_explicit(t, expr, type, location) : NULL;
}

static struct expr *type_collate(struct typing *t, yyjson_val *fields)
{
    int location = node_location(fields);
    yyjson_val *names = get(fields, "collname");
    const char *name = node_string(yyjson_arr_get_last(names));
    struct expr *arg = typing_node(t, get(fields, "arg"));

    if (!arg)
        return NULL;
    if (!name || strcmp(name, "C") != 0) {
        typing_error(t, location, "collation \"%s\" is not supported", name ? name : "");
        err_hint(t->err, "only COLLATE \"C\" is");
        return NULL;
    }
    if (arg->type == PG_UNKNOWN) {
        arg->collation = COLLATION_EXPLICIT; /* for when it has a type */
        return arg;
    }
    if (!pgtype_has_collation(arg->type))
        return typing_error(t, location, "collations are not supported by type %s",
                            pgtype_name(arg->type));
    struct expr *expr = expr_new(t, EXPR_COLLATE, arg->type, location, 1);
    if (!expr)
        return NULL;
    expr->args[0] = arg;
    expr->collation = COLLATION_EXPLICIT;
    return expr_fold(t, expr);
}

/* ---- arrays ------------------------------------------------------------ */

/* The items, nested ARRAY[] among them typed by the same element; elem 0: not known yet. */
static bool array_items(struct typing *t, yyjson_val *list, int elem, struct expr **out)
{
    size_t i, max;
    yyjson_val *item;

    yyjson_arr_foreach(list, i, max, item)
    {
        bool nested = strcmp(node_name(item), "A_ArrayExpr") == 0;

        out[i] = nested ? type_array_of(t, node_fields(item), elem) : typing_node(t, item);
        if (!out[i])
            return false;
    }
    return true;
}

static struct expr *type_array_of(struct typing *t, yyjson_val *fields, int elem)
{
    yyjson_val *list = get(fields, "elements");
    uint32_t n = (uint32_t)yyjson_arr_size(list);
    int location = node_location(fields);
    struct expr **items = arena_calloc(t->arena, n, sizeof(*items));
    bool nested = false;

    if (n == 0 && !elem)
        return typing_error(t, location, "cannot determine type of empty array");
    if (!array_items(t, list, elem, items))
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        nested |= pgtype_is_array(items[i]->type);
    int type = elem ? (nested ? elem | PG_ARRAY : elem) : common_type(items, n);
    if (type < 0 || !pgtype_is_known(type))
        return typing_error(t, location, "ARRAY elements have no type in common");
    struct expr *expr = expr_new(t, EXPR_ARRAY, type | PG_ARRAY, location, n);
    for (uint32_t i = 0; expr && i < n; i++) {
        expr->args[i] = elem ? coerce_explicit(t, items[i], type, location)
                             : coerce_implicit(t, items[i], type);
        if (!expr->args[i])
            return NULL;
    }
    if (expr)
        merge_collations(expr);
    return expr_fold(t, expr);
}

static struct expr *type_array(struct typing *t, yyjson_val *fields)
{
    return type_array_of(t, fields, 0);
}

static struct expr *subscript(struct typing *t, yyjson_val *node)
{
    struct expr *expr = typing_node(t, node);

    if (!expr)
        return NULL;
    if (expr->type != PG_INT4 && expr->type != PG_INT2 && expr->type != PG_UNKNOWN)
        return typing_error(t, expr->location, "array subscript must have type integer");
    return coerce_implicit(t, expr, PG_INT4);
}

/* A slice's two bounds; where any subscript is a slice, a single one counts from 1. */
static bool slice_args(struct typing *t, yyjson_val *indices, struct expr **args)
{
    yyjson_val *lower = get(indices, "lidx"), *upper = get(indices, "uidx");
    struct datum one = {.i = 1};

    if (!get(indices, "is_slice"))
        args[0] = expr_const(t, PG_INT4, one, CLAUSE_PREFIX_LEN);
    else if (lower)
        args[0] = subscript(t, lower);
    if ((!args[0] && (lower || !get(indices, "is_slice"))))
        return false;
    if (upper)
        args[1] = subscript(t, upper);
    return args[1] || !upper;
}

static bool subscripts(struct typing *t, yyjson_val *list, bool slice, struct expr **args)
{
    size_t i, max;
    yyjson_val *item;

    yyjson_arr_foreach(list, i, max, item)
    {
        yyjson_val *indices = get(item, "A_Indices");

        if (!indices) {
            not_supported(t, "A_Indirection", CLAUSE_PREFIX_LEN);
            return false;
        }
        if (slice ? !slice_args(t, indices, args + i * 2)
                  : !(args[i] = subscript(t, get(indices, "uidx"))))
            return false;
    }
    return true;
}

static struct expr *type_indirection(struct typing *t, yyjson_val *fields)
{
    yyjson_val *list = get(fields, "indirection"), *item;
    struct expr *arg = typing_node(t, get(fields, "arg"));
    bool slice = false;
    size_t i, max;

    if (!arg)
        return NULL;
    yyjson_arr_foreach(list, i, max, item)
    {
        slice |= get(get(item, "A_Indices"), "is_slice") != NULL;
    }
    if (!pgtype_is_array(arg->type))
        return typing_error(t, arg->location,
                            "cannot subscript type %s because it does not support subscripting",
                            pgtype_name(arg->type));
    if (max > ARRAY_MAX_DIM)
        return typing_error(t, arg->location,
                            "number of array dimensions exceeds the maximum allowed (%d)",
                            ARRAY_MAX_DIM);
    int type = slice ? arg->type : pgtype_elem(arg->type);
    struct expr *expr = expr_new(t, slice ? EXPR_SLICE : EXPR_INDEX, type, arg->location,
                                 (uint32_t)(slice ? max * 2 : max) + 1);
    if (!expr || !subscripts(t, list, slice, expr->args + 1))
        return NULL;
    expr->args[0] = arg;
    take_collation(expr, arg);
    return expr_fold(t, expr);
}

/* ---- functions --------------------------------------------------------- */

static struct expr *type_func(struct typing *t, yyjson_val *fields)
{
    static const char *const aggregate[] = {"agg_star",  "agg_distinct",     "agg_filter",
                                            "agg_order", "agg_within_group", "over"};
    int location = node_location(fields);
    const char *name = typing_name(get(fields, "funcname"));
    struct expr **args;
    uint32_t nargs;

    for (size_t i = 0; i < sizeof(aggregate) / sizeof(aggregate[0]); i++) {
        if (get(fields, aggregate[i]))
            return typing_error(t, location, "aggregation is not supported in this context");
    }
    if (get(fields, "func_variadic"))
        return typing_error(t, location,
                            "explicit VARIADIC function calls are not currently supported");
    if (!name || !typing_list(t, get(fields, "args"), &args, &nargs))
        return name ? NULL : not_supported(t, "a function of another schema", location);
    return function_expr(t, slice_of(name), args, nargs, location);
}

/* COALESCE, GREATEST, LEAST: all arguments of one type. */
static struct expr *same_type_node(struct typing *t, enum expr_kind kind, yyjson_val *fields)
{
    int location = node_location(fields);
    struct expr **args;
    uint32_t nargs;

    if (!typing_list(t, get(fields, "args"), &args, &nargs))
        return NULL;
    int type = common_type(args, nargs);
    if (type < 0 || !pgtype_is_known(type))
        return typing_error(t, location, "Could not select a function overload for %s",
                            kind == EXPR_COALESCE ? "coalesce" : "greatest or least");
    struct expr *expr = expr_new(t, kind, type, location, nargs);
    for (uint32_t i = 0; expr && i < nargs; i++) {
        expr->args[i] = coerce_implicit(t, args[i], type);
        if (!expr->args[i])
            return NULL;
    }
    if (expr)
        merge_collations(expr);
    return expr;
}

/* Nulls do not count, and what stands behind a constant is never reached: Postgres leaves both out
 * before it folds what stands around it. */
static struct expr *type_coalesce(struct typing *t, yyjson_val *fields)
{
    struct expr *expr = same_type_node(t, EXPR_COALESCE, fields);
    uint32_t kept = 0;

    if (expr)
        expr->had_column = expr_has_column(expr);
    for (uint32_t i = 0; expr && i < expr->nargs; i++) {
        struct expr *arg = expr->args[i];
        bool constant = arg->kind == EXPR_CONST;

        if (constant && arg->value.null && !(kept == 0 && i + 1 == expr->nargs))
            continue;
        expr->args[kept++] = arg;
        if (constant && !arg->value.null)
            break;
    }
    if (expr)
        expr->nargs = kept;
    return expr_fold(t, expr);
}

static struct expr *type_min_max(struct typing *t, yyjson_val *fields)
{
    struct expr *expr = same_type_node(t, EXPR_GREATEST, fields);

    if (!expr)
        return NULL;
    expr->op = strcmp(get_str(fields, "op"), "IS_LEAST") == 0 ? CMP_LT : CMP_GT;
    expr->cmp = datum_cmp_for(expr->type);
    if (!expr->cmp)
        return not_supported(t, "GREATEST or LEAST of arrays", expr->location);
    if (!collation_allows_order(t, expr, "GREATEST or LEAST of text"))
        return NULL;
    return expr_fold(t, expr);
}

/* ---- what has a text of its own ---------------------------------------- */

static struct expr *type_sublink(struct typing *t, yyjson_val *fields)
{
    if (t->at_server) {
        err_set(t->err, ERR_UNSUPPORTED, "Subqueries are not allowed in subsets");
        return NULL;
    }
    typing_error(t, node_location(fields), "subqueries are not supported by this server");
    err_hint(t->err, "make a shape of the other table, and join them in the client");
    return NULL;
}

/* ---- the table --------------------------------------------------------- */

static const struct {
    const char *name;
    struct expr *(*type)(struct typing *t, yyjson_val *fields);
} nodes[] = {
    {"A_Expr", typing_a_expr},           {"A_Const", type_const},
    {"ColumnRef", type_column},          {"ParamRef", type_param},
    {"BoolExpr", type_bool_expr},        {"BooleanTest", type_bool_test},
    {"NullTest", type_null_test},        {"TypeCast", type_cast},
    {"CollateClause", type_collate},     {"A_ArrayExpr", type_array},
    {"A_Indirection", type_indirection}, {"FuncCall", type_func},
    {"CoalesceExpr", type_coalesce},     {"MinMaxExpr", type_min_max},
    {"SubLink", type_sublink},
};

struct expr *typing_node(struct typing *t, yyjson_val *node)
{
    const char *name = node_name(node);
    yyjson_val *fields = node_fields(node);

    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
        if (strcmp(nodes[i].name, name) == 0)
            return nodes[i].type(t, fields);
    }
    return not_supported(t, name, node_location(fields));
}

struct expr *typing_clause(struct typing *t)
{
    return typing_node(t, t->clause->where);
}
