#include "shapelog/extents.h"
#include "base/arena.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct extent) == 32, "an extent is 32 bytes");

#define FIRST_CAP 2u

static void grow(struct extents *extents)
{
    if (extents->cap < EXTENTS_CHUNK) {
        extents->cap = extents->cap ? extents->cap * 2 : FIRST_CAP;
        extents->first = xrealloc(extents->first, extents->cap * sizeof(*extents->first));
        return;
    }
    uint32_t chunks = extents->cap / EXTENTS_CHUNK - 1; /* in `more` */

    /* `more` has room for a power of two. */
    if ((chunks & (chunks - 1)) == 0)
        extents->more = xrealloc(extents->more, (chunks ? chunks * 2 : 1) * sizeof(*extents->more));
    extents->more[chunks] = xmalloc(EXTENTS_CHUNK * sizeof(struct extent));
    extents->cap += EXTENTS_CHUNK;
}

void extents_push(struct extents *extents, const struct extent *extent)
{
    if (extents->len == extents->cap)
        grow(extents);
    *extents_at(extents, extents->len++) = *extent;
}

static int order(const struct extent *a, const struct extent *b)
{
    if (a->commit_lsn != b->commit_lsn)
        return a->commit_lsn < b->commit_lsn ? -1 : 1;
    return (a->first_op > b->first_op) - (a->first_op < b->first_op);
}

void extents_add(struct extents *extents, const struct extent *extent)
{
    extents_push(extents, extent);

    uint32_t i = extents->len - 1;
    for (; i > 0 && order(extents_at(extents, i - 1), extent) > 0; i--)
        *extents_at(extents, i) = *extents_at(extents, i - 1);
    *extents_at(extents, i) = *extent;
}

static int compare(const void *a, const void *b)
{
    return order(a, b);
}

void extents_sort(struct extents *extents)
{
    uint32_t sorted = 1;

    while (sorted < extents->len &&
           order(extents_at(extents, sorted - 1), extents_at(extents, sorted)) < 0)
        sorted++;
    if (sorted >= extents->len)
        return;
    struct extent *flat = xmalloc(extents->len * sizeof(*flat));

    for (uint32_t i = 0; i < extents->len; i++)
        flat[i] = *extents_at(extents, i);
    qsort(flat, extents->len, sizeof(*flat), compare);
    for (uint32_t i = 0; i < extents->len; i++)
        *extents_at(extents, i) = flat[i];
    free(flat);
}

uint32_t extents_after(const struct extents *extents, lsn_t lsn)
{
    uint32_t lo = 0, hi = extents->len;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (extents_at(extents, mid)->commit_lsn > lsn)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

void extents_pop(struct extents *extents)
{
    assert(extents->len > 0);
    extents->len--;
}

void extents_release(struct extents *extents)
{
    for (uint32_t i = 1; i < extents->cap / EXTENTS_CHUNK; i++)
        free(extents->more[i - 1]);
    free(extents->more);
    free(extents->first);
    *extents = (struct extents){0};
}

size_t extents_memory(const struct extents *extents)
{
    return extents->cap * sizeof(struct extent) +
           extents->cap / EXTENTS_CHUNK * sizeof(struct extent *);
}
