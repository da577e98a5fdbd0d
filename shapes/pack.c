#include "shapes/pack.h"

#include <stddef.h>

#define ALIGN ((size_t)8) /* of whatever is packed */

void *pack_put(struct pack *pack, const void *bytes, size_t size)
{
    void *copy = pack->to ? pack->to + pack->used : NULL;

    pack->used += (size + ALIGN - 1) / ALIGN * ALIGN;
    return copy && size ? memcpy(copy, bytes, size) : copy;
}

struct slice pack_text(struct pack *pack, struct slice text)
{
    return (struct slice){pack_put(pack, text.ptr, text.len), text.len};
}

static void pack_datum(struct pack *pack, int type, const struct datum *from, struct datum *to);

static void pack_datums(struct pack *pack, int type, const struct datum *from, size_t n,
                        struct datum *to)
{
    for (size_t i = 0; i < n; i++) {
        struct datum d = from[i];

        pack_datum(pack, type, &from[i], &d);
        if (to)
            to[i] = d;
    }
}

static const struct array *pack_array(struct pack *pack, int elem_type, const struct array *from)
{
    struct array *arr = pack_put(pack, from, sizeof(*from));
    struct datum *elems = pack_put(pack, from->elems, from->n * sizeof(*elems));

    pack_datums(pack, elem_type, from->elems, from->n, elems);
    if (arr)
        arr->elems = elems;
    return arr;
}

static const struct numeric *pack_numeric(struct pack *pack, const struct numeric *from)
{
    struct numeric *num = pack_put(pack, from, sizeof(*from));
    uint32_t *limbs = pack_put(pack, from->limbs, from->n * sizeof(*limbs));

    if (num)
        num->limbs = limbs;
    return num;
}

/* *to is a copy of *from already; what it points to is packed. */
static void pack_datum(struct pack *pack, int type, const struct datum *from, struct datum *to)
{
    if (from->null)
        return;
    if (pgtype_is_array(type))
        to->arr = pack_array(pack, pgtype_elem(type), from->arr);
    else if (type == PG_NUMERIC)
        to->num = pack_numeric(pack, from->num);
    else if (pgtype_is_text(type) || type == PG_BYTEA || type == PG_UUID)
        to->s = pack_text(pack, from->s);
}

static const struct const_set *pack_set(struct pack *pack, int type, const struct const_set *from)
{
    struct const_set *set = pack_put(pack, from, sizeof(*from));
    struct datum *sorted = pack_put(pack, from->sorted, from->n * sizeof(*sorted));

    pack_datums(pack, type, from->sorted, from->n, sorted);
    if (set)
        set->sorted = sorted;
    return set;
}

/* The operator of an ANY shares its left side with the node itself. */
static void pack_each(struct pack *pack, const struct expr *from, struct expr *to)
{
    const struct expr *each = from->each;
    struct expr *copy = pack_put(pack, each, sizeof(*each));
    struct expr **args = pack_put(pack, each->args, each->nargs * sizeof(struct expr *));
    struct expr *right = pack_expr(pack, each->args[1]);

    if (!to)
        return;
    args[0] = to->args[0];
    args[1] = right;
    copy->args = args;
    copy->name = to->name;
    to->each = copy;
}

struct expr *pack_expr(struct pack *pack, const struct expr *expr)
{
    /* They have nothing of what is behind: no constant but a null is left in the tree. */
    if (expr->kind == EXPR_COLUMN || expr->kind == EXPR_PLACE)
        return pack_put(pack, expr, offsetof(struct expr, value));
    if (expr->kind == EXPR_CONST)
        return pack_put(pack, expr, sizeof(*expr));
    struct expr *copy = pack_put(pack, expr, sizeof(*expr));
    struct expr **args = pack_put(pack, expr->args, expr->nargs * sizeof(struct expr *));

    for (uint32_t i = 0; i < expr->nargs; i++) {
        struct expr *arg = expr->args[i] ? pack_expr(pack, expr->args[i]) : NULL;

        if (args)
            args[i] = arg;
    }
    /* An operator's name may lie in the arena that it was typed in. */
    char *name = expr->name ? pack_put(pack, expr->name, strlen(expr->name) + 1) : NULL;
    if (copy) {
        copy->args = args;
        copy->name = name;
    }
    if (expr->kind == EXPR_ANY)
        pack_each(pack, expr, copy);
    return copy;
}

static void pack_constant(struct pack *pack, const struct expr *expr, const struct datum *from,
                          struct datum *to)
{
    bool is_set = expr->kind == EXPR_ANY;
    uint32_t place = is_set ? expr->place - 1 : expr->place;
    struct datum copy = from[place];

    if (is_set)
        copy.set = pack_set(pack, pgtype_elem(expr->args[1]->type), copy.set);
    else
        pack_datum(pack, expr->type, &from[place], &copy);
    if (to)
        to[place] = copy;
}

void pack_constants(struct pack *pack, const struct expr *expr, const struct datum *from,
                    struct datum *to)
{
    if (expr->kind == EXPR_PLACE || (expr->kind == EXPR_ANY && expr->place))
        pack_constant(pack, expr, from, to);
    for (uint32_t i = 0; i < expr->nargs; i++) {
        if (expr->args[i])
            pack_constants(pack, expr->args[i], from, to);
    }
}
