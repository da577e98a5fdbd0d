#include "change/standing.h"

#include <stdlib.h>

/* The next piece up to `end`, without it. */
static bool next_piece(struct slice *rest, char end, struct slice *piece)
{
    if (rest->len == 0)
        return false;
    const char *at = memchr(rest->ptr, end, rest->len);
    size_t len = at ? (size_t)(at - rest->ptr) : rest->len;

    *piece = (struct slice){rest->ptr, len};
    len += at != NULL;
    *rest = (struct slice){rest->ptr + len, rest->len - len};
    return true;
}

static uint32_t number(struct slice digits)
{
    uint32_t n = 0;

    for (size_t i = 0; i < digits.len; i++)
        n = n * 10 + (uint32_t)(digits.ptr[i] - '0');
    return n;
}

bool storage_next(struct slice *rest, struct table_leaf *leaf)
{
    struct slice piece, relid = {"", 0}, identity = {"", 0};

    *leaf = (struct table_leaf){.filenode = {"", 0}, .links = {"", 0}};
    if (!next_piece(rest, ';', &piece))
        return false;
    if (next_piece(&piece, ':', &relid) && next_piece(&piece, ':', &leaf->filenode) &&
        next_piece(&piece, ':', &identity))
        leaf->links = piece;
    leaf->relid = number(relid);
    leaf->replident = identity.len ? (enum replident)identity.ptr[0] : REPLIDENT_DEFAULT;
    return true;
}

bool storage_find(struct slice storage, uint32_t relid, struct table_leaf *leaf)
{
    while (storage_next(&storage, leaf)) {
        if (leaf->relid == relid)
            return true;
    }
    return false;
}

bool storage_same(struct slice then, struct slice now)
{
    struct table_leaf a, b;
    bool more = storage_next(&then, &a), same = more == storage_next(&now, &b);

    while (more && same) {
        same = a.relid == b.relid && slice_eq(a.filenode, b.filenode) && slice_eq(a.links, b.links);
        more = storage_next(&then, &a);
        same = more == storage_next(&now, &b) && same;
    }
    return same;
}

bool table_is_full(const struct table *table)
{
    struct slice rest = table->storage;
    struct table_leaf leaf;
    bool full = table->replident == REPLIDENT_FULL;

    while (full && storage_next(&rest, &leaf))
        full = leaf.replident == REPLIDENT_FULL;
    return full;
}

bool table_wants_full(const struct table *table)
{
    return table->relkind == 'p' && table->replident == REPLIDENT_FULL;
}

enum table_publication table_publication(const struct table *table)
{
    struct slice rest = table->published, piece;
    enum table_publication found = TABLE_UNPUBLISHED;

    if (!next_piece(&rest, ';', &piece))
        return TABLE_UNPUBLISHED;
    while (next_piece(&rest, ';', &piece)) {
        if (piece.len && piece.ptr[0] == 'f')
            return TABLE_FILTERED;
        found = TABLE_PUBLISHED;
    }
    return found;
}

static bool has_piece(struct slice text, struct slice wanted)
{
    struct slice piece;

    while (next_piece(&text, ';', &piece)) {
        if (slice_eq(piece, wanted))
            return true;
    }
    return false;
}

bool published_since(struct slice then, struct slice now)
{
    struct slice before, after, entry;

    if (!next_piece(&then, ';', &before) || !next_piece(&now, ';', &after) ||
        !slice_eq(before, after))
        return false;
    while (next_piece(&then, ';', &entry)) {
        if (has_piece(now, entry))
            return true;
    }
    return false;
}
