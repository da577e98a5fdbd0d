#include "change/table.h"

#include <stdlib.h>

struct table *table_new(void)
{
    struct table *table = xcalloc(1, sizeof(*table));

    atomic_init(&table->refs, 1);
    return table;
}

struct table *table_ref(struct table *table)
{
    atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
    return table;
}

void table_unref(struct table *table)
{
    if (!table || atomic_fetch_sub_explicit(&table->refs, 1, memory_order_acq_rel) != 1)
        return;
    arena_release(&table->arena);
    free(table);
}

int table_column_index(const struct table *table, struct slice name)
{
    for (int i = 0; i < table->ncols; i++) {
        if (slice_eq(table->cols[i].name, name))
            return i;
    }
    return -1;
}

int table_attnum_index(const struct table *table, int16_t attnum)
{
    for (int i = 0; i < table->ncols; i++) {
        if (table->cols[i].attnum == attnum)
            return i;
    }
    return -1;
}

static int16_t find_column(const struct table_column *col, const struct relation *relation)
{
    for (uint16_t j = 0; j < relation->ncols; j++) {
        const struct relation_column *theirs = &relation->cols[j];

        if (slice_eq(theirs->name, col->name))
            return theirs->typid == col->typid && theirs->typmod == col->typmod ? (int16_t)j : -1;
    }
    return -1;
}

static bool is_in_order(const int16_t *map, uint16_t n)
{
    int16_t last = -1;

    for (uint16_t i = 0; i < n; i++) {
        if (map[i] >= 0 && map[i] < last)
            return false;
        if (map[i] >= 0)
            last = map[i];
    }
    return true;
}

struct table_map table_map(const struct table *table, const struct relation *relation, int16_t *map,
                           bool *is_lost)
{
    bool own = table->relid == relation->relid;
    struct table_map found = {.renamed = own && (!slice_eq(table->nspname, relation->nspname) ||
                                                 !slice_eq(table->relname, relation->relname))};
    uint16_t n = 0;

    for (uint16_t i = 0; i < table->ncols; i++) {
        map[i] = find_column(&table->cols[i], relation);
        is_lost[i] = map[i] < 0 && !table->cols[i].generated;
        found.lost |= is_lost[i];
        n = (uint16_t)(n + (map[i] >= 0));
    }
    found.added = n < relation->ncols;
    for (uint16_t i = 0; own && !is_in_order(map, table->ncols) && i < table->ncols; i++)
        is_lost[i] = found.lost = true;
    return found;
}

bool table_columns_altered(const struct table *then, const struct table *now)
{
    bool altered = then->ncols != now->ncols;

    for (uint16_t i = 0; !altered && i < now->ncols; i++)
        altered = then->cols[i].attnum != now->cols[i].attnum ||
                  then->cols[i].stamp != now->cols[i].stamp;
    return altered;
}

bool table_column_same(const struct table_column *a, const struct table_column *b)
{
    return slice_eq(a->name, b->name) && a->attnum == b->attnum && a->typid == b->typid &&
           a->typmod == b->typmod && a->basetypid == b->basetypid && a->ndims == b->ndims &&
           a->pk_index == b->pk_index && a->generated == b->generated &&
           a->collation_is_c == b->collation_is_c && a->ctype_is_c == b->ctype_is_c &&
           a->collation_deterministic == b->collation_deterministic && a->collation == b->collation;
}

bool table_same(const struct table *a, const struct table *b)
{
    if (a->relid != b->relid || a->relkind != b->relkind || a->ncols != b->ncols ||
        a->npk != b->npk || !slice_eq(a->nspname, b->nspname) || !slice_eq(a->relname, b->relname))
        return false;
    for (uint16_t i = 0; i < a->ncols; i++) {
        if (!table_column_same(&a->cols[i], &b->cols[i]) ||
            a->cols[i].not_null != b->cols[i].not_null)
            return false;
    }
    return true;
}

static bool column_identical(const struct table_column *a, const struct table_column *b)
{
    return a->stamp == b->stamp && slice_eq(a->typname, b->typname) && a->class == b->class &&
           a->basetypmod == b->basetypmod && slice_eq(a->basetypname, b->basetypname) &&
           a->elemtypid == b->elemtypid && slice_eq(a->elemtypname, b->elemtypname) &&
           a->in_identity == b->in_identity;
}

bool table_identical(const struct table *a, const struct table *b)
{
    if (!table_same(a, b) || a->replident != b->replident || !slice_eq(a->storage, b->storage) ||
        !slice_eq(a->published, b->published))
        return false;
    for (uint16_t i = 0; i < a->ncols; i++) {
        if (!column_identical(&a->cols[i], &b->cols[i]))
            return false;
    }
    return true;
}

static void put_doubling(struct buf *out, struct slice text, char quote)
{
    buf_put_u8(out, (uint8_t)quote);
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == quote)
            buf_put_u8(out, (uint8_t)quote);
        buf_put_u8(out, (uint8_t)text.ptr[i]);
    }
    buf_put_u8(out, (uint8_t)quote);
}

void sql_put_ident(struct buf *out, struct slice ident)
{
    put_doubling(out, ident, '"');
}

void sql_put_literal(struct buf *out, struct slice text)
{
    put_doubling(out, text, '\'');
}

void table_put_quoted(const struct table *table, struct buf *out)
{
    sql_put_ident(out, table->nspname);
    buf_put_u8(out, '.');
    sql_put_ident(out, table->relname);
}
