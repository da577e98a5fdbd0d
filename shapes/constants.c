#include "shapes/constants.h"

#include <stdlib.h>

/* Compares by the function that qsort_r() is given. */
static int compare_datums(const void *a, const void *b, void *cmp)
{
    datum_cmp *const *fn = cmp;

    return (*fn)(a, b);
}

static bool is_symmetric(const struct expr *each)
{
    int left = each->args[0]->type, right = each->args[1]->type;

    return left == right || (left != PG_DATE && right != PG_DATE);
}

/* The sorted constants, where `x = ANY (constants)` or `x <> ALL (constants)` can be a search. */
static const struct const_set *set_of(const struct expr *expr, struct arena *arena)
{
    const struct expr *each = expr->each, *arr = expr->args[1];

    if (arr->kind != EXPR_CONST || arr->value.null || each->kind != EXPR_COMPARE ||
        each->op != (expr->all ? CMP_NE : CMP_EQ) || !is_symmetric(each))
        return NULL;
    struct const_set *set = arena_calloc(arena, 1, sizeof(*set));
    struct datum *sorted = arena_calloc(arena, arr->value.arr->n, sizeof(*sorted));
    for (size_t i = 0; i < arr->value.arr->n; i++) {
        if (arr->value.arr->elems[i].null)
            set->has_null = true;
        else
            sorted[set->n++] = arr->value.arr->elems[i];
    }
    datum_cmp *cmp = each->cmp;
    qsort_r(sorted, set->n, sizeof(*sorted), compare_datums, &cmp);
    set->sorted = sorted;
    return set;
}

static uint32_t count(const struct expr *expr)
{
    uint32_t n = expr->kind == EXPR_CONST || expr->kind == EXPR_ANY;

    for (uint32_t i = 0; i < expr->nargs; i++)
        n += expr->args[i] ? count(expr->args[i]) : 0;
    return n;
}

struct taking {
    struct arena *arena;
    struct datum *values;
    uint32_t n;
};

/* A node may stand in several places of the tree: it is taken from once. */
static void take(struct taking *t, struct expr *expr)
{
    if (expr->kind == EXPR_CONST) {
        t->values[t->n] = expr->value;
        expr->kind = EXPR_PLACE;
        expr->place = t->n++;
    } else if (expr->kind == EXPR_ANY && !expr->place) {
        const struct const_set *set = set_of(expr, t->arena);

        if (set) {
            t->values[t->n].set = set;
            expr->place = ++t->n;
        }
    }
    for (uint32_t i = 0; i < expr->nargs; i++) {
        if (expr->args[i])
            take(t, expr->args[i]);
    }
}

struct datum *constants_take(struct expr *expr, struct arena *arena, uint32_t *n)
{
    struct taking t = {arena, arena_calloc(arena, count(expr), sizeof(struct datum)), 0};

    take(&t, expr);
    *n = t.n;
    return t.values;
}
