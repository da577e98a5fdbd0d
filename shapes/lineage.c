#include "shapes/lineage.h"

#include "base/hash.h"
#include "change/standing.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DIGITS 32

/* With its length, so that no two lists of texts look the same. */
static void put_text(struct buf *b, struct slice text)
{
    buf_put_u64(b, text.len);
    buf_put_slice(b, text);
}

static void put_storage(struct buf *b, struct slice storage)
{
    struct table_leaf leaf;

    for (struct slice rest = storage; storage_next(&rest, &leaf);) {
        buf_put_u32(b, leaf.relid);
        put_text(b, leaf.filenode);
        put_text(b, leaf.links);
    }
}

static void put_columns(struct buf *b, const struct shape *shape, const struct table *now)
{
    for (uint16_t i = 0; i < shape->table->ncols; i++) {
        int at = shape_uses(shape, i) ? table_attnum_index(now, shape->table->cols[i].attnum) : -1;

        if (at < 0)
            continue;
        const struct table_column *c = &now->cols[at];

        put_text(b, c->name);
        buf_put_u32(b, (uint32_t)c->attnum);
        buf_put_u32(b, c->typid);
        buf_put_u32(b, (uint32_t)c->typmod);
        buf_put_u32(b, (uint32_t)c->pk_index);
        buf_put_u32(b, c->stamp);
    }
}

void lineage_put(const struct lineage *l, char out[LINEAGE_SIZE])
{
    uint64_t halves[2];
    struct buf b, identity;

    buf_init(&identity, BUF_NO_LIMIT);
    shape_put_identity(l->shape, &identity);
    buf_init(&b, BUF_NO_LIMIT);
    buf_put_u8(&b, 0); /* which half it is */
    buf_put_u64(&b, l->limit);
    put_text(&b, l->handle);
    put_text(&b, l->history);
    put_text(&b, buf_slice(&identity));
    put_storage(&b, l->table->storage);
    put_text(&b, l->table->published);
    put_columns(&b, l->shape, l->table);
    halves[0] = hash_bytes(buf_slice(&b));
    b.ptr[0] = 1;
    halves[1] = hash_bytes(buf_slice(&b));
    buf_release(&b);
    buf_release(&identity);
    snprintf(out, LINEAGE_SIZE, "%016" PRIx64 "%016" PRIx64 "-%" PRIu64, halves[0], halves[1],
             l->limit);
}

bool lineage_limit(struct slice text, lsn_t *limit)
{
    char digits[LINEAGE_SIZE], *end;

    if (text.len <= DIGITS + 1 || text.len >= LINEAGE_SIZE || text.ptr[DIGITS] != '-' ||
        !isdigit((unsigned char)text.ptr[DIGITS + 1]))
        return false;
    snprintf(digits, sizeof(digits), "%.*s", (int)(text.len - DIGITS - 1), text.ptr + DIGITS + 1);
    *limit = strtoull(digits, &end, 10);
    return !*end;
}
