#include "change/relation.h"

struct relation *relation_copy(const struct relation *relation, struct arena *arena)
{
    struct relation *copy = arena_alloc(arena, sizeof(*copy));

    *copy = *relation;
    copy->nspname = arena_copy(arena, relation->nspname);
    copy->relname = arena_copy(arena, relation->relname);
    copy->cols = arena_calloc(arena, relation->ncols, sizeof(*copy->cols));
    for (uint16_t i = 0; i < relation->ncols; i++) {
        copy->cols[i] = relation->cols[i];
        copy->cols[i].name = arena_copy(arena, relation->cols[i].name);
    }
    return copy;
}

static bool column_same(const struct relation_column *a, const struct relation_column *b)
{
    return slice_eq(a->name, b->name) && a->typid == b->typid && a->typmod == b->typmod &&
           a->in_identity == b->in_identity;
}

bool relation_same(const struct relation *a, const struct relation *b)
{
    if (a->relid != b->relid || a->ncols != b->ncols || a->replident != b->replident ||
        !slice_eq(a->nspname, b->nspname) || !slice_eq(a->relname, b->relname))
        return false;
    for (uint16_t i = 0; i < a->ncols; i++) {
        if (!column_same(&a->cols[i], &b->cols[i]))
            return false;
    }
    return true;
}
