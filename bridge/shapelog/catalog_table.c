/*
 * A table's description as bytes, for the catalogue: what its shapes were typed against. All
 * integers big-endian, texts with their length (4 bytes) before them.
 *
 *     version 1, relid 4, nspname, relname, storage, published, relkind 1, replident 1, ncols 2,
 *     columns, npk 2, pk 2 each
 */
#include "shapelog/catalog.h"

#define TABLE_VERSION 3u

enum column_flag {
    COLUMN_NOT_NULL = 1,
    COLUMN_GENERATED = 2,
    COLUMN_IN_IDENTITY = 4,
    COLUMN_COLLATION_IS_C = 8,
    COLUMN_DETERMINISTIC = 16,
    COLUMN_CTYPE_IS_C = 32,
};

static void put_text(struct buf *out, struct slice text)
{
    buf_put_u32(out, (uint32_t)text.len);
    buf_put_slice(out, text);
}

static struct slice read_text(struct reader *r, struct arena *arena)
{
    return arena_copy(arena, reader_slice(r, reader_u32(r)));
}

static void put_column(const struct table_column *col, struct buf *out)
{
    put_text(out, col->name);
    buf_put_u16(out, (uint16_t)col->attnum);
    buf_put_u32(out, col->typid);
    buf_put_u32(out, (uint32_t)col->typmod);
    put_text(out, col->typname);
    buf_put_u8(out, (uint8_t)col->class);
    buf_put_u32(out, col->basetypid);
    buf_put_u32(out, (uint32_t)col->basetypmod);
    put_text(out, col->basetypname);
    buf_put_u32(out, col->elemtypid);
    put_text(out, col->elemtypname);
    buf_put_u16(out, (uint16_t)col->ndims);
    buf_put_u16(out, (uint16_t)col->pk_index);
    buf_put_u32(out, col->stamp);
    buf_put_u32(out, col->collation);
    buf_put_u8(out, (uint8_t)((col->not_null ? COLUMN_NOT_NULL : 0) |
                              (col->generated ? COLUMN_GENERATED : 0) |
                              (col->in_identity ? COLUMN_IN_IDENTITY : 0) |
                              (col->collation_is_c ? COLUMN_COLLATION_IS_C : 0) |
                              (col->ctype_is_c ? COLUMN_CTYPE_IS_C : 0) |
                              (col->collation_deterministic ? COLUMN_DETERMINISTIC : 0)));
}

static void read_column(struct reader *r, struct arena *arena, struct table_column *col)
{
    col->name = read_text(r, arena);
    col->attnum = (int16_t)reader_u16(r);
    col->typid = reader_u32(r);
    col->typmod = (int32_t)reader_u32(r);
    col->typname = read_text(r, arena);
    col->class = (enum type_class)reader_u8(r);
    col->basetypid = reader_u32(r);
    col->basetypmod = (int32_t)reader_u32(r);
    col->basetypname = read_text(r, arena);
    col->elemtypid = reader_u32(r);
    col->elemtypname = read_text(r, arena);
    col->ndims = (int16_t)reader_u16(r);
    col->pk_index = (int16_t)reader_u16(r);
    col->stamp = reader_u32(r);
    col->collation = reader_u32(r);

    uint8_t flags = reader_u8(r);
    col->not_null = flags & COLUMN_NOT_NULL;
    col->generated = flags & COLUMN_GENERATED;
    col->in_identity = flags & COLUMN_IN_IDENTITY;
    col->collation_is_c = flags & COLUMN_COLLATION_IS_C;
    col->ctype_is_c = flags & COLUMN_CTYPE_IS_C;
    col->collation_deterministic = flags & COLUMN_DETERMINISTIC;
}

void catalog_put_table(const struct table *table, struct buf *out)
{
    buf_put_u8(out, TABLE_VERSION);
    buf_put_u32(out, table->relid);
    put_text(out, table->nspname);
    put_text(out, table->relname);
    put_text(out, table->storage);
    put_text(out, table->published);
    buf_put_u8(out, (uint8_t)table->relkind);
    buf_put_u8(out, (uint8_t)table->replident);
    buf_put_u16(out, table->ncols);
    for (uint16_t i = 0; i < table->ncols; i++)
        put_column(&table->cols[i], out);
    buf_put_u16(out, table->npk);
    for (uint16_t i = 0; i < table->npk; i++)
        buf_put_u16(out, table->pk[i]);
}

static void read_columns(struct reader *r, struct table *table)
{
    table->ncols = reader_u16(r);
    table->cols = arena_calloc(&table->arena, table->ncols, sizeof(*table->cols));
    for (uint16_t i = 0; i < table->ncols && !r->failed; i++)
        read_column(r, &table->arena, &table->cols[i]);
    table->npk = reader_u16(r);
    table->pk = arena_calloc(&table->arena, table->npk, sizeof(*table->pk));
    for (uint16_t i = 0; i < table->npk && !r->failed; i++) {
        table->pk[i] = reader_u16(r);
        if (table->pk[i] >= table->ncols)
            r->failed = true;
    }
}

struct table *catalog_read_table(struct slice bytes, struct err *err)
{
    struct reader r = reader_of(bytes);
    uint8_t version = reader_u8(&r);

    if (version != TABLE_VERSION) {
        err_set(err, ERR_CORRUPT, "a table's description has version %u", version);
        return NULL;
    }
    struct table *table = table_new();

    table->relid = reader_u32(&r);
    table->nspname = read_text(&r, &table->arena);
    table->relname = read_text(&r, &table->arena);
    table->storage = read_text(&r, &table->arena);
    table->published = read_text(&r, &table->arena);
    table->relkind = (char)reader_u8(&r);
    table->replident = (enum replident)reader_u8(&r);
    read_columns(&r, table);
    if (!reader_done(&r)) {
        table_unref(table);
        err_set(err, ERR_CORRUPT, "a table's description is damaged");
        return NULL;
    }
    return table;
}
