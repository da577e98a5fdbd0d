#include "shapes/array.h"
#include "shapes/raise.h"

#include <string.h>

/* ---- compare ----------------------------------------------------------- */

bool array_eq(const struct array *a, const struct array *b, datum_cmp *cmp)
{
    if (a->ndim != b->ndim)
        return false;
    for (int d = 0; d < a->ndim; d++) {
        if (a->dims[d] != b->dims[d] || a->lower[d] != b->lower[d])
            return false;
    }
    for (size_t i = 0; i < a->n; i++) {
        const struct datum *x = &a->elems[i], *y = &b->elems[i];

        if (x->null != y->null || (!x->null && cmp(x, y) != 0))
            return false;
    }
    return true;
}

static bool has_elem(const struct array *a, const struct datum *d, datum_cmp *cmp)
{
    for (size_t i = 0; !d->null && i < a->n; i++) {
        if (!a->elems[i].null && cmp(&a->elems[i], d) == 0)
            return true;
    }
    return false;
}

bool array_contains(const struct array *a, const struct array *b, datum_cmp *cmp)
{
    for (size_t i = 0; i < b->n; i++) {
        if (!has_elem(a, &b->elems[i], cmp))
            return false;
    }
    return true;
}

bool array_overlaps(const struct array *a, const struct array *b, datum_cmp *cmp)
{
    for (size_t i = 0; i < b->n; i++) {
        if (has_elem(a, &b->elems[i], cmp))
            return true;
    }
    return false;
}

/* ---- make -------------------------------------------------------------- */

const struct array *array_of(const struct datum *elems, size_t n, struct arena *arena)
{
    struct array *arr = arena_calloc(arena, 1, sizeof(*arr));
    struct datum *copy = arena_calloc(arena, n, sizeof(*copy));

    if (n)
        memcpy(copy, elems, n * sizeof(*copy));
    arr->ndim = n > 0;
    arr->dims[0] = (int32_t)n;
    arr->n = n;
    arr->elems = copy;
    for (int d = 0; d < ARRAY_MAX_DIM; d++)
        arr->lower[d] = 1;
    return arr;
}

/* The elements of a and then of b, in the shape of `like`; its first dimension is still to be set.
 */
static struct array *joined(const struct array *like, const struct array *a, const struct array *b,
                            struct arena *arena)
{
    struct array *arr = arena_calloc(arena, 1, sizeof(*arr));
    struct datum *elems = arena_calloc(arena, a->n + b->n, sizeof(*elems));

    *arr = *like;
    if (a->n)
        memcpy(elems, a->elems, a->n * sizeof(*elems));
    if (b->n)
        memcpy(elems + a->n, b->elems, b->n * sizeof(*elems));
    arr->n = a->n + b->n;
    arr->elems = elems;
    return arr;
}

static bool incompatible(struct err *err)
{
    return raise_sql(err, "2202E", "cannot concatenate incompatible arrays");
}

static bool same_inner(const struct array *a, const struct array *b, int a_from, int b_from)
{
    for (int d = a_from; d < a->ndim; d++) {
        if (a->dims[d] != b->dims[d - a_from + b_from] ||
            a->lower[d] != b->lower[d - a_from + b_from])
            return false;
    }
    return true;
}

bool array_cat(const struct array *a, const struct array *b, struct arena *arena,
               const struct array **out, struct err *err)
{
    int more = a->ndim - b->ndim;

    if (a->ndim == 0 || b->ndim == 0) {
        *out = a->ndim == 0 ? b : a;
        return true;
    }
    if (more < -1 || more > 1 || (more == 0 && !same_inner(a, b, 1, 1)) ||
        (more == 1 && !same_inner(a, b, 1, 0)) || (more == -1 && !same_inner(b, a, 1, 0)))
        return incompatible(err);
    struct array *arr = joined(more < 0 ? b : a, a, b, arena);
    arr->dims[0] = (more >= 0 ? a->dims[0] : 1) + (more <= 0 ? b->dims[0] : 1);
    *out = arr;
    return true;
}

bool array_append(const struct array *a, const struct datum *elem, bool in_front,
                  struct arena *arena, const struct array **out, struct err *err)
{
    const struct array *one = array_of(elem, 1, arena);

    if (a->ndim > 1)
        return raise_sql(err, "22000", "argument must be empty or one-dimensional array");
    if (a->ndim == 1 && a->lower[0] > INT32_MAX - a->dims[0] - 1)
        return raise_sql(err, "22003", "integer out of range");
    if (a->ndim == 0) {
        *out = one;
        return true;
    }
    struct array *arr = joined(a, in_front ? one : a, in_front ? a : one, arena);
    arr->dims[0]++;
    *out = arr;
    return true;
}

bool array_nest(const struct datum *rows, size_t n, struct arena *arena, const struct array **out,
                struct err *err)
{
    struct array *arr = arena_calloc(arena, 1, sizeof(*arr));
    const struct array *first = NULL;
    struct datum *elems = NULL;
    size_t empty = 0;

    for (size_t i = 0; i < n; i++) {
        const struct array *row = rows[i].null ? NULL : rows[i].arr;

        if (!row || row->ndim == 0) {
            empty++;
            continue;
        }
        if (!first) {
            first = row;
            elems = arena_calloc(arena, n * row->n, sizeof(*elems));
            *arr = *row;
        }
        if (row->ndim != first->ndim || row->n != first->n || !same_inner(row, first, 0, 0))
            return raise_sql(err, "2202E",
                             "multidimensional arrays must have array expressions "
                             "with matching dimensions");
        memcpy(elems + (i - empty) * row->n, row->elems, row->n * sizeof(*elems));
    }
    *out = arr;
    if (!first)
        return true;
    if (empty || first->ndim == ARRAY_MAX_DIM)
        return raise_sql(err, "2202E",
                         "multidimensional arrays must have array expressions with "
                         "matching dimensions");
    memmove(arr->dims + 1, first->dims, (size_t)first->ndim * sizeof(arr->dims[0]));
    memmove(arr->lower + 1, first->lower, (size_t)first->ndim * sizeof(arr->lower[0]));
    arr->ndim = first->ndim + 1;
    arr->dims[0] = (int32_t)n;
    arr->lower[0] = 1;
    arr->n = n * first->n;
    arr->elems = elems;
    return true;
}

/* ---- look into --------------------------------------------------------- */

const struct datum *array_get(const struct array *a, const int32_t *index, int n)
{
    size_t at = 0;

    if (n != a->ndim)
        return NULL;
    for (int d = 0; d < n; d++) {
        int64_t i = (int64_t)index[d] - a->lower[d];

        if (i < 0 || i >= a->dims[d])
            return NULL;
        at = at * (size_t)a->dims[d] + (size_t)i;
    }
    return n > 0 ? &a->elems[at] : NULL;
}

/* What the subscripts leave of each dimension: where it begins and how long it is. */
static bool slice_bounds(const struct array *a, const struct array_index *index, int n,
                         int32_t *from, struct array *arr)
{
    for (int d = 0; d < a->ndim; d++) {
        int64_t first = a->lower[d], last = first + a->dims[d] - 1;

        if (d < n && index[d].has_lower && index[d].lower > first)
            first = index[d].lower;
        if (d < n && index[d].has_upper && index[d].upper < last)
            last = index[d].upper;
        if (first > last)
            return false;
        from[d] = (int32_t)(first - a->lower[d]);
        arr->dims[d] = (int32_t)(last - first + 1);
        arr->lower[d] = 1;
    }
    return true;
}

const struct array *array_slice(const struct array *a, const struct array_index *index, int n,
                                struct arena *arena)
{
    struct array *arr = arena_calloc(arena, 1, sizeof(*arr));
    int32_t from[ARRAY_MAX_DIM];

    if (a->ndim < n || a->ndim == 0 || !slice_bounds(a, index, n, from, arr))
        return array_of(NULL, 0, arena);
    arr->ndim = a->ndim;
    arr->n = 1;
    for (int d = 0; d < arr->ndim; d++)
        arr->n *= (size_t)arr->dims[d];
    struct datum *elems = arena_calloc(arena, arr->n, sizeof(*elems));
    for (size_t i = 0; i < arr->n; i++) {
        size_t rest = i, at = 0, block = 1;

        for (int d = arr->ndim - 1; d >= 0; d--) {
            at += (rest % (size_t)arr->dims[d] + (size_t)from[d]) * block;
            rest /= (size_t)arr->dims[d];
            block *= (size_t)a->dims[d];
        }
        elems[i] = a->elems[at];
    }
    arr->elems = elems;
    return arr;
}
