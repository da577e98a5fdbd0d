/*
 * Operators and functions applied to typed arguments: which one is meant, what
 * its arguments are cast to, and whether it can be computed exactly.
 */
#include "shapes/typing.h"
#include "shapes/func.h"

#include <stdlib.h>
#include <strings.h>

static struct expr *no_operator(struct typing *t, int location)
{
    return typing_error(t, location, "Could not select an operator overload");
}

static struct expr *call_node(struct typing *t, func_cb *fn, const char *name,
                              enum call_style style, int type, struct expr *const *args,
                              uint32_t nargs, int location)
{
    struct expr *expr = expr_new(t, EXPR_CALL, type, location, nargs);

    if (!expr)
        return NULL;
    expr->fn = fn;
    expr->name = name;
    expr->style = (uint8_t)style;
    if (nargs)
        memcpy(expr->args, args, nargs * sizeof(*args));
    merge_collations(expr);
    return expr;
}

/* ---- arrays ------------------------------------------------------------ */

/* The element type that arrays and elements have in common, as anycompatible has it; -1: none. */
static int common_elem(struct expr *const *args, const bool *is_elem, uint32_t n)
{
    struct expr copies[2];
    struct expr *list[2] = {&copies[0], &copies[1]};

    for (uint32_t i = 0; i < n; i++) {
        copies[i] = *args[i];
        if (!is_elem[i] && pgtype_is_array(args[i]->type))
            copies[i].type = (uint8_t)pgtype_elem(args[i]->type);
    }
    return common_type(list, n);
}

/* array || array, array || element, element || array: a literal beside an array is an array. */
static struct expr *array_join(struct typing *t, struct expr **args, const bool *is_elem,
                               const char *name, enum call_style style, int location)
{
    int elem = common_elem(args, is_elem, 2);
    func_cb *fn = is_elem[0] ? func_array_prepend : is_elem[1] ? func_array_append : func_array_cat;

    if (elem < 0 || !pgtype_is_known(elem) || pgtype_is_array(elem))
        return style == CALL_BINARY ? no_operator(t, location) : NULL;
    for (int i = 0; i < 2; i++) {
        args[i] = coerce_implicit(t, args[i], is_elem[i] ? elem : elem | PG_ARRAY);
        if (!args[i])
            return NULL;
    }
    struct expr *expr = call_node(t, fn, name, style, elem | PG_ARRAY, args, 2, location);
    if (expr)
        expr->takes_nulls = true;
    return expr;
}

static struct expr *array_operator(struct typing *t, const char *name, struct expr **args,
                                   int location)
{
    static const struct {
        const char *name;
        func_cb *fn;
    } rows[] = {{"=", func_array_eq},
                {"<>", func_array_ne},
                {"@>", func_array_contains},
                {"<@", func_array_contained},
                {"&&", func_array_overlaps}};
    int type = pgtype_is_array(args[0]->type) ? args[0]->type : args[1]->type;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(rows[i].name, name) != 0)
            continue;
        for (int a = 0; a < 2; a++) {
            if (args[a]->type != type && args[a]->type != PG_UNKNOWN)
                return no_operator(t, location);
            args[a] = coerce_implicit(t, args[a], type);
            if (!args[a])
                return NULL;
        }
        struct expr *expr = call_node(t, rows[i].fn, name, CALL_BINARY, PG_BOOL, args, 2, location);
        if (!expr || !collation_allows_equality(t, expr))
            return NULL;
        expr->collation = COLLATION_NONE;
        return expr;
    }
    return no_operator(t, location);
}

/* ---- || ---------------------------------------------------------------- */

static bool is_textual(const struct expr *expr)
{
    return expr->type == PG_UNKNOWN || (pgtype_is_text(expr->type));
}

static struct expr *concat_operator(struct typing *t, struct expr **args, int location)
{
    bool arrays[] = {pgtype_is_array(args[0]->type), pgtype_is_array(args[1]->type)};
    bool bytea = args[0]->type == PG_BYTEA || args[1]->type == PG_BYTEA;

    if (arrays[0] || arrays[1]) {
        const bool is_elem[] = {!arrays[0] && args[0]->type != PG_UNKNOWN,
                                !arrays[1] && args[1]->type != PG_UNKNOWN};

        return array_join(t, args, is_elem, "||", CALL_BINARY, location);
    }
    if (bytea && (args[0]->type == args[1]->type || args[0]->type == PG_UNKNOWN ||
                  args[1]->type == PG_UNKNOWN)) {
        args[0] = coerce_implicit(t, args[0], PG_BYTEA);
        args[1] = args[0] ? coerce_implicit(t, args[1], PG_BYTEA) : NULL;
        return args[1]
                   ? call_node(t, func_bytea_cat, "||", CALL_BINARY, PG_BYTEA, args, 2, location)
                   : NULL;
    }
    /* A literal beside jsonb or a bit string is one too, and these have a || of their own. */
    bool literal_and_other = (args[0]->type == PG_OTHER && args[1]->type == PG_UNKNOWN) ||
                             (args[0]->type == PG_UNKNOWN && args[1]->type == PG_OTHER);
    if ((!is_textual(args[0]) && !is_textual(args[1])) || literal_and_other)
        return no_operator(t, location);
    for (int i = 0; i < 2; i++) {
        args[i] = coerce_explicit(t, args[i], PG_TEXT, location);
        if (!args[i])
            return NULL;
    }
    return call_node(t, func_text_cat, "||", CALL_BINARY, PG_TEXT, args, 2, location);
}

/* ---- plain operators --------------------------------------------------- */

static struct expr *compare_node(struct typing *t, enum cmp_op op, struct signature sig,
                                 struct expr *const *args, int location)
{
    datum_cmp *cmp = datum_cmp_between(sig.args[0], sig.args[1]);
    struct expr *expr = cmp ? expr_new(t, EXPR_COMPARE, PG_BOOL, location, 2) : NULL;

    if (!cmp)
        return no_operator(t, location);
    if (!expr)
        return NULL;
    expr->cmp = cmp;
    expr->op = (uint8_t)op;
    expr->args[0] = args[0];
    expr->args[1] = args[1];
    merge_collations(expr);
    if (!collation_allows_equality(t, expr) ||
        (op > CMP_NE && !collation_allows_order(t, expr, "the order of text")))
        return NULL;
    expr->collation = COLLATION_NONE;
    return expr;
}

static struct expr *other_operator(struct typing *t, const char *name, struct signature sig,
                                   struct expr *const *args, int location)
{
    bool prefix = sig.args[0] == PG_NONE;
    int result = PG_NONE;
    func_cb *fn = operator_function(name, sig, &result);

    if (!fn) {
        typing_error(t, location, "operator \"%s\" is not supported for type %s", name,
                     pgtype_name(sig.args[1]));
        err_hint(t->err, "what cannot be computed exactly as Postgres does is refused");
        return NULL;
    }
    struct expr *expr = call_node(t, fn, name, prefix ? CALL_PREFIX : CALL_BINARY, result,
                                  args + prefix, prefix ? 1 : 2, location);
    if (!expr || !collation_allows_equality(t, expr))
        return NULL;
    if (strchr(name, '~') && strchr(name, '*') && !collation_allows_order(t, expr, "ILIKE"))
        return NULL;
    if (!pgtype_has_collation(result))
        expr->collation = COLLATION_NONE;
    return expr;
}

/* ---- enums, where Postgres evaluates ------------------------------------- */

static bool is_enum(const struct typing *t, const struct expr *expr)
{
    return t->at_server && expr && expr->kind == EXPR_COLUMN &&
           t->table->cols[expr->column].class == TYPE_ENUM;
}

static bool is_same_enum(const struct typing *t, const struct expr *a, const struct expr *b)
{
    return is_enum(t, a) && is_enum(t, b) &&
           t->table->cols[a->column].typid == t->table->cols[b->column].typid;
}

static bool no_value_here(struct call *call, const struct datum *args, struct datum *out)
{
    (void)args;
    (void)out;
    return err_set(call->err, ERR_UNSUPPORTED, "only Postgres compares enums");
}

/* An enum with a literal, or with another of its type. */
static bool is_enum_comparison(const struct typing *t, const char *name, struct expr *const *args)
{
    enum cmp_op op;
    bool literal = (is_enum(t, args[0]) && args[1]->type == PG_UNKNOWN) ||
                   (is_enum(t, args[1]) && args[0] && args[0]->type == PG_UNKNOWN);

    return operator_is_compare(name, &op) && (literal || is_same_enum(t, args[0], args[1]));
}

static struct expr *enum_comparison(struct typing *t, const char *name, struct expr **args,
                                    int location)
{
    for (int i = 0; i < 2; i++) {
        if (args[i]->type == PG_UNKNOWN)
            args[i] = enum_literal(t, args[i]);
        if (!args[i])
            return NULL;
    }
    struct expr *expr = call_node(t, no_value_here, name, CALL_BINARY, PG_BOOL, args, 2, location);
    if (expr)
        expr->by_server = true;
    return expr;
}

/* ---- all operators ------------------------------------------------------- */

struct expr *operator_node(struct typing *t, const char *name, struct expr *left,
                           struct expr *right, int location)
{
    struct expr *args[2] = {left, right};
    int types[2] = {left ? left->type : PG_NONE, right->type};
    bool concat = strcmp(name, "||") == 0;
    bool array_only = strcmp(name, "@>") == 0 || strcmp(name, "<@") == 0 || strcmp(name, "&&") == 0;
    struct signature sig;
    enum cmp_op op;

    if (left && concat)
        return concat_operator(t, args, location);
    if (left && (pgtype_is_array(types[0]) || pgtype_is_array(types[1])))
        return array_operator(t, name, args, location);
    if (!array_only && !operator_exists(name, !left))
        return typing_error(t, location, "unknown %s operator \"%s\"", left ? "binary" : "unary",
                            name);
    if (is_enum_comparison(t, name, args))
        return enum_comparison(t, name, args, location);
    if (types[0] == PG_OTHER || types[1] == PG_OTHER) {
        no_operator(t, location);
        err_hint(t->err, "columns of this type can only be asked IS NULL or be cast to text");
        return NULL;
    }
    if (pgtype_is_array(types[1]) || !operator_choose(name, types, &sig))
        return no_operator(t, location);
    for (int i = left ? 0 : 1; i < 2; i++) {
        args[i] = coerce_implicit(t, args[i], sig.args[i]);
        if (!args[i])
            return NULL;
    }
    if (operator_is_compare(name, &op))
        return compare_node(t, op, sig, args, location);
    return other_operator(t, name, sig, args, location);
}

struct expr *operator_expr(struct typing *t, const char *name, struct expr *left,
                           struct expr *right, int location)
{
    if (!right)
        return NULL;
    return expr_fold(t, operator_node(t, name, left, right, location));
}

/* ---- ANY and ALL ------------------------------------------------------- */

struct expr *any_expr(struct typing *t, const char *name, struct expr *left, struct expr *right,
                      bool all, int location)
{
    int elem = right->type == PG_UNKNOWN ? PG_UNKNOWN : pgtype_elem(right->type);

    if (right->type != PG_UNKNOWN && !pgtype_is_array(right->type))
        return typing_error(t, location, "argument of %s must be an array", all ? "ALL" : "ANY");
    /* By their labels: Postgres would not take the literal for an array of the enum. */
    if (is_enum(t, left) && (strcmp(name, "=") == 0 || strcmp(name, "<>") == 0))
        left = coerce_explicit(t, left, PG_TEXT, location);
    /* A stand-in for one element, through which the operator is chosen. */
    struct expr *one = left ? expr_new(t, EXPR_CONST, elem, right->location, 0) : NULL;
    if (!one)
        return NULL;
    one->value.null = true;
    take_collation(one, right);
    struct expr *each = operator_node(t, name, left, one, location);
    if (!each)
        return NULL;
    if (each->type != PG_BOOL)
        return typing_error(t, location, "ANY/ALL requires operator that returns bool");
    if (pgtype_is_array(each->args[1]->type))
        return no_operator(t, location);
    right = coerce_implicit(t, right, each->args[1]->type | PG_ARRAY);
    struct expr *expr = right ? expr_new(t, EXPR_ANY, PG_BOOL, location, 2) : NULL;
    if (!expr)
        return NULL;
    expr->args[0] = each->args[0];
    expr->args[1] = right;
    expr->name = name;
    expr->all = all;
    expr->by_server = each->by_server;
    expr->each = each;
    return expr_fold(t, expr);
}

/* ---- functions --------------------------------------------------------- */

static struct expr *no_function(struct typing *t, struct slice name, struct expr *const *args,
                                uint32_t nargs, int location)
{
    struct buf buf;

    buf_init(&buf, 300);
    for (uint32_t i = 0; i < nargs; i++)
        buf_printf(&buf, "%s%s", i ? ", " : "", pgtype_name(args[i]->type));
    typing_error(t, location, "Could not select a function overload for %.*s(%s)", SLICE_ARG(name),
                 buf_cstr(&buf));
    buf_release(&buf);
    return NULL;
}

/* concat(anything, ...) */
static struct expr *concat_function(struct typing *t, struct expr **args, uint32_t nargs,
                                    int location)
{
    for (uint32_t i = 0; i < nargs; i++) {
        args[i] = coerce_unknown(t, args[i]);
        if (args[i] && args[i]->type == PG_OTHER)
            args[i] = coerce_explicit(t, args[i], PG_TEXT, location);
        if (!args[i])
            return NULL;
    }
    struct expr *expr =
        call_node(t, func_concat, "concat", CALL_FUNCTION, PG_TEXT, args, nargs, location);
    if (expr)
        expr->takes_nulls = true;
    return expr;
}

static struct expr *array_function(struct typing *t, struct slice name, struct expr **args,
                                   int location)
{
    bool append = slice_is(name, "array_append"), prepend = slice_is(name, "array_prepend");
    const bool is_elem[] = {prepend, append};
    const char *sql = append ? "array_append" : prepend ? "array_prepend" : "array_cat";
    const struct expr *array = args[prepend ? 1 : 0];
    bool cat = !append && !prepend;

    if (!pgtype_is_array(array->type) && !(cat && pgtype_is_array(args[1]->type)))
        return no_function(t, name, args, 2, location);
    if ((cat && ((args[0]->type != PG_UNKNOWN && !pgtype_is_array(args[0]->type)) ||
                 (args[1]->type != PG_UNKNOWN && !pgtype_is_array(args[1]->type)))) ||
        (!cat && pgtype_is_array(args[append ? 1 : 0]->type)) || common_elem(args, is_elem, 2) < 0)
        return no_function(t, name, args, 2, location);
    return array_join(t, args, is_elem, sql, CALL_FUNCTION, location);
}

static struct expr *array_ndims(struct typing *t, struct slice name, struct expr **args,
                                int location)
{
    if (!pgtype_is_array(args[0]->type))
        return no_function(t, name, args, 1, location);
    return call_node(t, func_array_ndims, "array_ndims", CALL_FUNCTION, PG_INT4, args, 1, location);
}

/* Only UTC has neither a history nor a table of its own. */
static bool zone_is_utc(const struct expr *zone)
{
    static const char *const names[] = {"UTC", "GMT", "Z", "Etc/UTC", "Etc/GMT", "Zulu"};

    if (zone->kind != EXPR_CONST || zone->type != PG_TEXT)
        return zone->kind == EXPR_CONST;
    for (size_t i = 0; !zone->value.null && i < sizeof(names) / sizeof(names[0]); i++) {
        if (zone->value.s.len == strlen(names[i]) &&
            strncasecmp(zone->value.s.ptr, names[i], zone->value.s.len) == 0)
            return true;
    }
    return zone->value.null;
}

static bool check_zone(struct typing *t, const struct func *func, const struct expr *zone)
{
    if (strcmp(func->name, "timezone") != 0 || func->sig.args[0] == PG_INTERVAL ||
        zone_is_utc(zone))
        return true;
    typing_error(t, zone->location, "only the time zone UTC can be named here");
    err_hint(t->err, "other zones have rules that change; a fixed offset can be given as an "
                     "interval: AT TIME ZONE INTERVAL '-05:00'");
    return false;
}

static const struct func *choose_function(struct slice name, const int types[2])
{
    struct signature sigs[16], sig;
    const struct func *func;
    size_t n = 0;

    while (n < 16 && (func = func_overload(name, n))) {
        if (func->sig.args[0] == types[0] && func->sig.args[1] == types[1])
            return func;
        sigs[n++] = func->sig;
    }
    if (!overload_choose(sigs, n, types, &sig))
        return NULL;
    for (size_t i = 0; (func = func_overload(name, i)); i++) {
        if (memcmp(&func->sig, &sig, sizeof(sig)) == 0)
            return func;
    }
    return NULL;
}

static struct expr *plain_function(struct typing *t, struct slice name, struct expr **args,
                                   uint32_t nargs, int location)
{
    int types[2] = {nargs == 2 ? args[0]->type : PG_NONE, args[nargs - 1]->type};
    bool usable = types[0] != PG_OTHER && types[1] != PG_OTHER && !pgtype_is_array(types[0]) &&
                  !pgtype_is_array(types[1]);
    const struct func *func = usable ? choose_function(name, types) : NULL;

    if (!func || !func->fn)
        return no_function(t, name, args, nargs, location);
    for (uint32_t i = 0; i < nargs; i++) {
        args[i] = coerce_implicit(t, args[i], func->sig.args[2 - nargs + i]);
        if (!args[i])
            return NULL;
    }
    if (!check_zone(t, func, args[0]))
        return NULL;
    struct expr *expr =
        call_node(t, func->fn, func->name, CALL_FUNCTION, func->result, args, nargs, location);
    if (!expr || !collation_allows_equality(t, expr) ||
        (func->needs_c && !collation_allows_order(t, expr, func->name)))
        return NULL;
    if (!pgtype_has_collation(func->result))
        expr->collation = COLLATION_NONE;
    return expr;
}

struct expr *function_expr(struct typing *t, struct slice name, struct expr **args, uint32_t nargs,
                           int location)
{
    bool joins = slice_is(name, "array_cat") || slice_is(name, "array_append") ||
                 slice_is(name, "array_prepend");
    const struct func *func = func_overload(name, 0);
    struct expr *expr;

    if (slice_is(name, "concat") && nargs > 0)
        expr = concat_function(t, args, nargs, location);
    else if (joins && nargs == 2)
        expr = array_function(t, name, args, location);
    else if (slice_is(name, "array_ndims") && nargs == 1)
        expr = array_ndims(t, name, args, location);
    else if (func && nargs == (func->sig.args[0] == PG_NONE ? 1 : 2))
        expr = plain_function(t, name, args, nargs, location);
    else
        expr = typing_error(t, location, "unknown or unsupported function %.*s/%u", SLICE_ARG(name),
                            nargs);
    return expr_fold(t, expr);
}
