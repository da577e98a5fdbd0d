/*
 * The rules of types: literals, casts, common types, collations.
 */
#include "shapes/typing.h"
#include "shapes/overload.h"

#include <stdio.h>

/* BETWEEN doubles what stands inside it, so that nesting it could grow without end. */
#define MAX_NODES ((size_t)200000)
#define MAX_MEMORY ((size_t)64 * 1024 * 1024)

struct expr *typing_error(struct typing *t, int location, const char *fmt, ...)
{
    char msg[sizeof(t->err->msg)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    clause_error(t->err, location, "%s", msg);
    return NULL;
}

/* ---- nodes ------------------------------------------------------------- */

struct expr *expr_new(struct typing *t, enum expr_kind kind, int type, int location, uint32_t nargs)
{
    if (++t->nodes > MAX_NODES)
        return typing_error(t, location, "the expression is too complex");

    struct expr *expr = arena_calloc(t->arena, 1, sizeof(*expr));
    expr->kind = kind;
    expr->type = (uint8_t)type;
    expr->location = location;
    expr->nargs = nargs;
    expr->args = nargs ? arena_calloc(t->arena, nargs, sizeof(struct expr *)) : NULL;
    return expr;
}

struct expr *expr_const(struct typing *t, int type, struct datum value, int location)
{
    struct expr *expr = expr_new(t, EXPR_CONST, type, location, 0);

    if (!expr)
        return NULL;
    expr->value = value;
    if (pgtype_has_collation(type))
        expr->collation = COLLATION_DEFAULT;
    return expr;
}

bool expr_has_column(const struct expr *expr)
{
    if (expr->kind == EXPR_COLUMN || expr->had_column)
        return true;
    for (uint32_t i = 0; i < expr->nargs; i++) {
        if (expr->args[i] && expr_has_column(expr->args[i]))
            return true;
    }
    return false;
}

static bool all_const(const struct expr *expr)
{
    for (uint32_t i = 0; i < expr->nargs; i++) {
        if (expr->args[i] && expr->args[i]->kind != EXPR_CONST &&
            !(expr->kind == EXPR_DISTINCT && all_const(expr->args[i])))
            return false;
    }
    return true;
}

/* A strict operation on a null is null whatever its other arguments are: Postgres does not look at
 * them, so that they cannot raise. */
static bool is_null_call(const struct expr *expr)
{
    bool strict = (expr->kind == EXPR_CALL && !expr->takes_nulls) || expr->kind == EXPR_COMPARE;

    for (uint32_t i = 0; strict && i < expr->nargs; i++) {
        if (expr->args[i]->kind == EXPR_CONST && expr->args[i]->value.null)
            return true;
    }
    return false;
}

/* An AND with a false in it is false, an OR with a true in it true, likewise. */
static const struct expr *deciding_arg(const struct expr *expr)
{
    bool decides = expr->kind == EXPR_OR;

    for (uint32_t i = 0; (expr->kind == EXPR_AND || decides) && i < expr->nargs; i++) {
        const struct expr *arg = expr->args[i];

        if (arg->kind == EXPR_CONST && !arg->value.null && arg->value.b == decides)
            return arg;
    }
    return NULL;
}

/* The constant that the expression comes to; its own value where it can be evaluated. */
static struct expr *folded(struct typing *t, const struct expr *expr, const struct datum *value)
{
    struct expr *constant = expr_const(t, expr->type, *value, expr->location);

    if (constant) {
        take_collation(constant, expr);
        constant->had_column = expr_has_column(expr);
    }
    return constant;
}

struct expr *expr_fold(struct typing *t, struct expr *expr)
{
    struct datum value = {.null = true};
    struct err cause;

    if (!expr || expr->kind == EXPR_COLUMN || expr->kind == EXPR_CONST)
        return expr;
    if (deciding_arg(expr))
        return folded(t, expr, &deciding_arg(expr)->value);
    if (is_null_call(expr))
        return folded(t, expr, &value);
    if (!all_const(expr) || expr->by_server)
        return expr;
    if (t->arena->size > MAX_MEMORY)
        return typing_error(t, expr->location, "the expression is too complex");
    struct eval ev = {.table = t->table, .arena = t->arena, .err = &cause};
    if (!expr_eval(&ev, expr, &value)) {
        typing_error(t, expr->location, "Failed to apply function to constant arguments");
        err_hint(t->err, "%s", cause.msg);
        return NULL;
    }
    return folded(t, expr, &value);
}

/* ---- literals ---------------------------------------------------------- */

static bool note_param(struct typing *t, const struct expr *expr, int type)
{
    if (expr->param == 0)
        return true;
    int *noted = &t->param_types[expr->param - 1];
    if (*noted != PG_UNKNOWN && *noted != type) {
        typing_error(t, expr->location, "type conflict for $%u: %s and %s", expr->param,
                     pgtype_name(*noted), pgtype_name(type));
        return false;
    }
    *noted = type;
    return true;
}

/* What Postgres's input would take but must not be read here: 'now' and the like are refused by
 * the types' own readers; of arrays, whatever their elements refuse. */
static struct expr *literal_as(struct typing *t, struct expr *expr, int type)
{
    struct datum value = {.null = true};
    struct err cause = {0};

    if (!pgtype_is_known(type))
        return typing_error(t, expr->location, "unsupported type %s", pgtype_name(type));
    if (!note_param(t, expr, type))
        return NULL;
    if (!expr->value.null &&
        !datum_in(type, arena_copy(t->arena, expr->value.s), t->arena, &value, &cause)) {
        typing_error(t, expr->location, "invalid syntax for type %s: %.300s", pgtype_name(type),
                     (char *)arena_copy(&t->scratch, expr->value.s).ptr);
        err_hint(t->err, "%s", cause.hint[0] ? cause.hint : cause.msg);
        return NULL;
    }
    struct expr *constant = expr_const(t, type, value, expr->location);
    if (constant && expr->collation == COLLATION_EXPLICIT && pgtype_has_collation(type))
        constant->collation = COLLATION_EXPLICIT;
    return constant;
}

struct expr *enum_literal(struct typing *t, struct expr *expr)
{
    if (!note_param(t, expr, PG_OTHER))
        return NULL;
    return expr_const(t, PG_OTHER, expr->value, expr->location);
}

struct expr *coerce_unknown(struct typing *t, struct expr *expr)
{
    return expr && expr->type == PG_UNKNOWN ? literal_as(t, expr, PG_TEXT) : expr;
}

/* ---- casts ------------------------------------------------------------- */

static struct expr *cast_node(struct typing *t, struct expr *arg, int type, int location)
{
    func_cb *fn = cast_function(arg->type, type);
    struct expr *expr;

    if (!fn)
        return typing_error(t, location, "could not cast value of type %s to %s",
                            pgtype_name(arg->type), pgtype_name(type));
    expr = expr_new(t, EXPR_CALL, type, location, 1);
    if (!expr)
        return NULL;
    expr->args[0] = arg;
    expr->fn = fn;
    expr->style = CALL_CAST;
    expr->name = "cast";
    if (pgtype_has_collation(type))
        take_collation(expr, arg);
    if (pgtype_has_collation(type) && expr->collation == COLLATION_NONE)
        expr->collation = COLLATION_DEFAULT;
    return expr_fold(t, expr);
}

struct expr *coerce_implicit(struct typing *t, struct expr *expr, int type)
{
    if (expr->type == type)
        return expr;
    if (expr->type == PG_UNKNOWN)
        return literal_as(t, expr, type);
    return cast_node(t, expr, type, expr->location);
}

static bool is_date_or_time(int type)
{
    return type == PG_DATE || type == PG_TIME || type == PG_TIMESTAMP || type == PG_TIMESTAMPTZ ||
           type == PG_INTERVAL;
}

static bool other_to_text(struct typing *t, const struct expr *expr, int location)
{
    const struct table_column *col = &t->table->cols[expr->column];

    if (pgtype_other_has_text(col))
        return true;
    typing_error(t, location, "could not cast value of type %.*s to text", SLICE_ARG(col->typname));
    return false;
}

struct expr *coerce_explicit(struct typing *t, struct expr *expr, int type, int location)
{
    if (expr->type == PG_OTHER && !other_to_text(t, expr, location))
        return NULL;
    if (expr->type == type || expr->type == PG_UNKNOWN)
        return coerce_implicit(t, expr, type);
    if (is_date_or_time(type) && pgtype_is_text(expr->type) && expr->kind != EXPR_CONST) {
        typing_error(t, location, "could not cast value of type %s to %s", pgtype_name(expr->type),
                     pgtype_name(type));
        err_hint(t->err, "Postgres reads dates in more forms than can be read here: only a "
                         "constant can be cast");
        return NULL;
    }
    return cast_node(t, expr, type, location);
}

struct expr *coerce_bool(struct typing *t, struct expr *expr, const char *what)
{
    if (!expr)
        return NULL;
    if (expr->type == PG_UNKNOWN)
        return literal_as(t, expr, PG_BOOL);
    if (expr->type != PG_BOOL)
        return typing_error(t, expr->location, "%s must be bool, not %s", what,
                            pgtype_name(expr->type));
    return expr;
}

int common_type(struct expr *const *exprs, size_t n)
{
    int type = PG_UNKNOWN;

    for (size_t i = 0; i < n; i++) {
        int next = exprs[i]->type;

        if (next == PG_UNKNOWN || next == type)
            continue;
        if (next == PG_OTHER)
            return -1;
        if (type == PG_UNKNOWN) {
            type = next;
            continue;
        }
        if (pgtype_category(next) != pgtype_category(type))
            return -1;
        if (!pgtype_is_preferred(type) && pgtype_coerces(type, next) && !pgtype_coerces(next, type))
            type = next;
    }
    if (type == PG_UNKNOWN)
        return PG_TEXT;
    for (size_t i = 0; i < n; i++) {
        if (!pgtype_coerces(exprs[i]->type, type))
            return -1;
    }
    return type;
}

/* ---- collations -------------------------------------------------------- */

void take_collation(struct expr *expr, const struct expr *from)
{
    expr->collation = from->collation;
    expr->collated_by = from->collated_by;
}

/* One more argument's: what is written wins, then a column's own, then the database's (Postgres's
 * documentation, "Collation Support"). */
static void merge_collation(struct expr *expr, const struct expr *arg)
{
    bool decided = expr->collation >= COLLATION_CONFLICT;

    if (arg->collation == COLLATION_NONE)
        return;
    if (arg->collation == COLLATION_EXPLICIT || expr->collation == COLLATION_NONE)
        take_collation(expr, arg);
    else if (decided || expr->collated_by == arg->collated_by)
        expr->collation = arg->collation > expr->collation ? arg->collation : expr->collation;
    else if (expr->collated_by == 0 || arg->collation == COLLATION_CONFLICT)
        take_collation(expr, arg);
    else if (arg->collated_by != 0)
        expr->collation = COLLATION_CONFLICT;
}

void merge_collations(struct expr *expr)
{
    expr->collation = COLLATION_NONE;
    expr->collated_by = 0;
    for (uint32_t i = 0; i < expr->nargs; i++) {
        if (expr->args[i])
            merge_collation(expr, expr->args[i]);
    }
    if (expr->collation == COLLATION_NONE && pgtype_has_collation(expr->type))
        expr->collation = COLLATION_DEFAULT;
}

/* Postgres knows the collation; here it must not be folded. */
static bool leave_to_server(const struct typing *t, struct expr *expr)
{
    expr->by_server = t->at_server;
    return expr->by_server;
}

bool collation_allows_equality(struct typing *t, struct expr *expr)
{
    if (expr->collation == COLLATION_CONFLICT) {
        typing_error(t, expr->location,
                     "could not determine which collation to use for string comparison");
        err_hint(t->err, "write COLLATE \"C\" behind one of the columns");
        return false;
    }
    if (expr->collation != COLLATION_LOOSE || leave_to_server(t, expr))
        return true;
    typing_error(t, expr->location,
                 "text with a nondeterministic collation cannot be compared here");
    err_hint(t->err, "compare by bytes: write COLLATE \"C\" behind the column");
    return false;
}

bool collation_allows_order(struct typing *t, struct expr *expr, const char *what)
{
    if (expr->collation == COLLATION_NONE || expr->collation == COLLATION_C ||
        expr->collation == COLLATION_EXPLICIT || leave_to_server(t, expr))
        return true;
    typing_error(t, expr->location, "%s depends on the collation, which has to be \"C\" here",
                 what);
    err_hint(t->err, "write COLLATE \"C\" behind the text");
    return false;
}
