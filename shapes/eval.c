/*
 * Evaluates an expression for one row. Recursion is as deep as the tree,
 * which clause.c has bounded; what has to be allocated lies in the scratch
 * arena until the row is done.
 *
 * AND, OR, COALESCE and ANY stop where Postgres stops, from left to right, so
 * that they raise an error where Postgres raises one.
 */
#include "shapes/expr.h"
#include "shapes/overload.h"
#include "shapes/raise.h"

#define MAX_SCRATCH ((size_t)256 * 1024 * 1024)
#define MAX_ARGS_ON_STACK 4

static bool eval(struct eval *ev, const struct expr *expr, struct datum *out);

static bool eval_column(struct eval *ev, const struct expr *expr, struct datum *out)
{
    const struct value *v = &ev->row->values[expr->column];
    struct slice name = ev->table->cols[expr->column].name;

    *out = (struct datum){.null = v->kind == VALUE_NULL};
    if (out->null)
        return true;
    if (v->kind != VALUE_TEXT)
        return err_set(ev->err, ERR_INPUT, "the value of column \"%.*s\" was not sent",
                       SLICE_ARG(name));
    return datum_in(expr->type, v->text, ev->arena, out, ev->err) ||
           err_wrap(ev->err, "column \"%.*s\"", SLICE_ARG(name));
}

static bool eval_call(struct eval *ev, const struct expr *expr, struct datum *out)
{
    struct datum few[MAX_ARGS_ON_STACK], *args = few;
    struct call call = {expr, ev->arena, ev->err};
    bool null = false;

    if (expr->nargs > MAX_ARGS_ON_STACK)
        args = arena_calloc(ev->arena, expr->nargs, sizeof(*args));
    for (uint32_t i = 0; i < expr->nargs; i++) {
        if (!eval(ev, expr->args[i], &args[i]))
            return false;
        null |= args[i].null;
    }
    if (null && !expr->takes_nulls) {
        out->null = true;
        return true;
    }
    if (ev->arena->size > MAX_SCRATCH)
        return raise_sql(ev->err, "54000", "the clause takes too much memory for this row");
    return expr->fn(&call, args, out);
}

static bool holds(enum cmp_op op, int c)
{
    switch (op) {
    case CMP_EQ:
        return c == 0;
    case CMP_NE:
        return c != 0;
    case CMP_LT:
        return c < 0;
    case CMP_LE:
        return c <= 0;
    case CMP_GT:
        return c > 0;
    default:
        return c >= 0;
    }
}

static bool eval_compare(struct eval *ev, const struct expr *expr, struct datum *out)
{
    struct datum a, b;

    if (!eval(ev, expr->args[0], &a) || !eval(ev, expr->args[1], &b))
        return false;
    out->null = a.null || b.null;
    if (!out->null)
        out->b = holds((enum cmp_op)expr->op, expr->cmp(&a, &b));
    return true;
}

static bool eval_and_or(struct eval *ev, const struct expr *expr, struct datum *out)
{
    bool decides = expr->kind == EXPR_OR;

    out->b = !decides;
    for (uint32_t i = 0; i < expr->nargs; i++) {
        struct datum d;

        if (!eval(ev, expr->args[i], &d))
            return false;
        if (!d.null && d.b == decides) {
            *out = d;
            return true;
        }
        out->null |= d.null;
    }
    return true;
}

static bool eval_bool_test(struct eval *ev, const struct expr *expr, struct datum *out)
{
    struct datum d;

    if (!eval(ev, expr->args[0], &d))
        return false;
    int is = d.null ? 2 : d.b; /* as enum tri */
    out->b = (is == expr->column) != expr->negated;
    return true;
}

static bool eval_null_test(struct eval *ev, const struct expr *expr, struct datum *out)
{
    struct datum d;

    /* A column's value need not be read to see whether it is there. */
    if (expr->args[0]->kind == EXPR_COLUMN)
        d.null = ev->row->values[expr->args[0]->column].kind == VALUE_NULL;
    else if (!eval(ev, expr->args[0], &d))
        return false;
    out->b = d.null != expr->negated;
    return true;
}

/* Puts values in the place of a comparison's arguments. */
static bool apply(struct eval *ev, const struct expr *each, const struct datum *a,
                  const struct datum *b, struct datum *out)
{
    struct call call = {each, ev->arena, ev->err};

    *out = (struct datum){.null = a->null || b->null};
    if (out->null)
        return true;
    if (each->kind == EXPR_COMPARE) {
        out->b = holds((enum cmp_op)each->op, each->cmp(a, b));
        return true;
    }
    const struct datum args[] = {*a, *b};
    return each->fn(&call, args, out);
}

static bool eval_distinct(struct eval *ev, const struct expr *expr, struct datum *out)
{
    const struct expr *eq = expr->args[0];
    struct datum a, b, same;

    if (!eval(ev, eq->args[0], &a) || !eval(ev, eq->args[1], &b) || !apply(ev, eq, &a, &b, &same))
        return false;
    bool distinct = a.null || b.null ? a.null != b.null : !same.b;
    out->b = distinct != expr->negated;
    return true;
}

static bool eval_coalesce(struct eval *ev, const struct expr *expr, struct datum *out)
{
    for (uint32_t i = 0; i < expr->nargs; i++) {
        if (!eval(ev, expr->args[i], out))
            return false;
        if (!out->null)
            return true;
    }
    return true;
}

static bool eval_greatest(struct eval *ev, const struct expr *expr, struct datum *out)
{
    out->null = true;
    for (uint32_t i = 0; i < expr->nargs; i++) {
        struct datum d;

        if (!eval(ev, expr->args[i], &d))
            return false;
        if (d.null)
            continue;
        if (out->null || holds((enum cmp_op)expr->op, expr->cmp(&d, out)))
            *out = d;
    }
    return true;
}

static bool set_has(const struct const_set *set, datum_cmp *cmp, const struct datum *d)
{
    size_t low = 0, high = set->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = cmp(d, &set->sorted[mid]);

        if (c == 0)
            return true;
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return false;
}

/* `=` ANY and `<>` ALL over constants. */
static bool eval_any_set(struct eval *ev, const struct expr *expr, struct datum *out)
{
    const struct const_set *set = ev->constants[expr->place - 1].set;
    struct datum d;

    if (!eval(ev, expr->args[0], &d))
        return false;
    bool found = !d.null && set_has(set, expr->each->cmp, &d);
    bool empty = set->n == 0 && !set->has_null;

    out->null = !empty && (d.null || (!found && set->has_null));
    out->b = found != expr->all;
    return true;
}

static bool eval_any(struct eval *ev, const struct expr *expr, struct datum *out)
{
    struct datum scalar, arr;

    if (expr->place)
        return eval_any_set(ev, expr, out);
    if (!eval(ev, expr->args[0], &scalar) || !eval(ev, expr->args[1], &arr))
        return false;
    out->null = arr.null;
    out->b = expr->all;
    for (size_t i = 0; !arr.null && i < arr.arr->n; i++) {
        struct datum d;

        if (!apply(ev, expr->each, &scalar, &arr.arr->elems[i], &d))
            return false;
        if (!d.null && d.b != expr->all) {
            *out = d;
            return true;
        }
        out->null |= d.null;
    }
    return true;
}

static bool eval_array(struct eval *ev, const struct expr *expr, struct datum *out)
{
    struct datum *elems = arena_calloc(ev->arena, expr->nargs, sizeof(*elems));

    for (uint32_t i = 0; i < expr->nargs; i++) {
        if (!eval(ev, expr->args[i], &elems[i]))
            return false;
    }
    if (expr->nargs && pgtype_is_array(expr->args[0]->type))
        return array_nest(elems, expr->nargs, ev->arena, &out->arr, ev->err);
    out->arr = array_of(elems, expr->nargs, ev->arena);
    return true;
}

static bool eval_index(struct eval *ev, const struct expr *expr, struct datum *out)
{
    struct datum arr, d;
    int32_t index[ARRAY_MAX_DIM];
    bool null = false;

    if (!eval(ev, expr->args[0], &arr))
        return false;
    if (arr.null) {
        out->null = true;
        return true;
    }
    for (uint32_t i = 1; i < expr->nargs; i++) {
        if (!eval(ev, expr->args[i], &d))
            return false;
        null |= d.null;
        index[i - 1] = (int32_t)d.i;
    }
    const struct datum *found = null ? NULL : array_get(arr.arr, index, (int)expr->nargs - 1);
    if (found)
        *out = *found;
    else
        out->null = true;
    return true;
}

/* A bound that is left out leaves *has false. */
static bool eval_bound(struct eval *ev, const struct expr *expr, bool *has, int32_t *bound,
                       bool *null)
{
    struct datum d;

    *has = expr != NULL;
    if (!expr)
        return true;
    if (!eval(ev, expr, &d))
        return false;
    *null |= d.null;
    *bound = (int32_t)d.i;
    return true;
}

static bool eval_slice(struct eval *ev, const struct expr *expr, struct datum *out)
{
    struct array_index index[ARRAY_MAX_DIM];
    int n = (int)(expr->nargs / 2);
    struct datum arr;
    bool null = false;

    if (!eval(ev, expr->args[0], &arr))
        return false;
    out->null = arr.null;
    if (arr.null)
        return true;
    for (int i = 0; i < n; i++) {
        struct expr *const *bounds = expr->args + 1 + (size_t)i * 2;

        if (!eval_bound(ev, bounds[0], &index[i].has_lower, &index[i].lower, &null) ||
            !eval_bound(ev, bounds[1], &index[i].has_upper, &index[i].upper, &null))
            return false;
    }
    out->null = null;
    if (!null)
        out->arr = array_slice(arr.arr, index, n, ev->arena);
    return true;
}

static bool eval_not(struct eval *ev, const struct expr *expr, struct datum *out)
{
    if (!eval(ev, expr->args[0], out))
        return false;
    out->b = !out->b;
    return true;
}

static bool eval(struct eval *ev, const struct expr *expr, struct datum *out)
{
    *out = (struct datum){0};
    switch (expr->kind) {
    case EXPR_CONST:
        *out = expr->value;
        return true;
    case EXPR_PLACE:
        *out = ev->constants[expr->place];
        return true;
    case EXPR_COLUMN:
        return eval_column(ev, expr, out);
    case EXPR_CALL:
        return eval_call(ev, expr, out);
    case EXPR_COMPARE:
        return eval_compare(ev, expr, out);
    case EXPR_COLLATE:
        return eval(ev, expr->args[0], out);
    case EXPR_AND:
    case EXPR_OR:
        return eval_and_or(ev, expr, out);
    case EXPR_NOT:
        return eval_not(ev, expr, out);
    case EXPR_BOOL_TEST:
        return eval_bool_test(ev, expr, out);
    case EXPR_NULL_TEST:
        return eval_null_test(ev, expr, out);
    case EXPR_DISTINCT:
        return eval_distinct(ev, expr, out);
    case EXPR_COALESCE:
        return eval_coalesce(ev, expr, out);
    case EXPR_GREATEST:
        return eval_greatest(ev, expr, out);
    case EXPR_ANY:
        return eval_any(ev, expr, out);
    case EXPR_ARRAY:
        return eval_array(ev, expr, out);
    case EXPR_INDEX:
        return eval_index(ev, expr, out);
    case EXPR_SLICE:
        return eval_slice(ev, expr, out);
    }
    return false;
}

bool expr_eval(struct eval *ev, const struct expr *expr, struct datum *out)
{
    return eval(ev, expr, out);
}
