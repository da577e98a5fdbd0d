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

bool table_matches(const struct table *table, const struct relation *relation, int16_t *map)
{
    uint16_t found = 0;

    if (table->relid == relation->relid && (!slice_eq(table->nspname, relation->nspname) ||
                                            !slice_eq(table->relname, relation->relname)))
        return false;
    for (uint16_t i = 0; i < table->ncols; i++) {
        const struct table_column *col = &table->cols[i];

        map[i] = -1;
        for (uint16_t j = 0; j < relation->ncols && map[i] < 0; j++) {
            if (slice_eq(relation->cols[j].name, col->name))
                map[i] = (int16_t)j;
        }
        if (map[i] < 0 && !col->generated)
            return false;
        if (map[i] >= 0 && (relation->cols[map[i]].typid != col->typid ||
                            relation->cols[map[i]].typmod != col->typmod))
            return false;
        found = (uint16_t)(found + (map[i] >= 0));
    }
    return found == relation->ncols;
}

static bool column_same(const struct table_column *a, const struct table_column *b)
{
    return slice_eq(a->name, b->name) && a->attnum == b->attnum && a->typid == b->typid &&
           a->typmod == b->typmod && a->basetypid == b->basetypid && a->ndims == b->ndims &&
           a->pk_index == b->pk_index && a->not_null == b->not_null &&
           a->generated == b->generated && a->collation_is_c == b->collation_is_c &&
           a->ctype_is_c == b->ctype_is_c &&
           a->collation_deterministic == b->collation_deterministic;
}

bool table_same(const struct table *a, const struct table *b)
{
    if (a->relid != b->relid || a->relkind != b->relkind || a->ncols != b->ncols ||
        a->npk != b->npk || !slice_eq(a->nspname, b->nspname) || !slice_eq(a->relname, b->relname))
        return false;
    for (uint16_t i = 0; i < a->ncols; i++) {
        if (!column_same(&a->cols[i], &b->cols[i]))
            return false;
    }
    return true;
}

static bool column_identical(const struct table_column *a, const struct table_column *b)
{
    return column_same(a, b) && slice_eq(a->typname, b->typname) && a->class == b->class &&
           a->basetypmod == b->basetypmod && slice_eq(a->basetypname, b->basetypname) &&
           a->elemtypid == b->elemtypid && slice_eq(a->elemtypname, b->elemtypname) &&
           a->in_identity == b->in_identity;
}

bool table_identical(const struct table *a, const struct table *b)
{
    if (!table_same(a, b) || a->replident != b->replident || !slice_eq(a->storage, b->storage))
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
