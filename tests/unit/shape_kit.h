/*
 * A table (id int8 primary key, tenant int4, name text, total numeric), rows of
 * it, and shapes on it.
 */
#ifndef TESTS_UNIT_SHAPE_KIT_H
#define TESTS_UNIT_SHAPE_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shapes/shape.h"

enum { KIT_ID, KIT_TENANT, KIT_NAME, KIT_TOTAL, KIT_NCOLUMNS };

static inline void kit_column(struct table *table, int i, const char *name, uint32_t typid,
                              const char *typname)
{
    table->cols[i] = (struct table_column){.name = slice_of(name),
                                           .attnum = (int16_t)(i + 1),
                                           .typid = typid,
                                           .typmod = -1,
                                           .typname = slice_of(typname),
                                           .class = TYPE_BASE,
                                           .basetypid = typid,
                                           .basetypmod = -1,
                                           .basetypname = slice_of(typname),
                                           .pk_index = -1,
                                           .in_identity = true,
                                           .collation_deterministic = true};
}

/* With `keyed` false there is no primary key. Replica identity FULL. */
static inline struct table *kit_table(bool keyed)
{
    struct table *table = table_new();

    table->relid = 16400;
    table->nspname = SLICE("public");
    table->relname = SLICE("orders");
    table->relkind = 'r';
    table->replident = REPLIDENT_FULL;
    table->ncols = KIT_NCOLUMNS;
    table->cols = arena_calloc(&table->arena, KIT_NCOLUMNS, sizeof(*table->cols));
    kit_column(table, KIT_ID, "id", 20, "int8");
    kit_column(table, KIT_TENANT, "tenant", 23, "int4");
    kit_column(table, KIT_NAME, "name", 25, "text");
    kit_column(table, KIT_TOTAL, "total", 1700, "numeric");
    if (keyed) {
        table->cols[KIT_ID].pk_index = 0;
        table->cols[KIT_ID].not_null = true;
        table->npk = 1;
        table->pk = arena_calloc(&table->arena, 1, sizeof(*table->pk));
    }
    return table;
}

/* The primary key alone is the replica identity. */
static inline struct table *kit_table_default_identity(void)
{
    struct table *table = kit_table(true);

    table->replident = REPLIDENT_DEFAULT;
    for (int i = 1; i < KIT_NCOLUMNS; i++)
        table->cols[i].in_identity = false;
    return table;
}

/* NULL columns: all. Fails the test when it is refused. */
static inline struct shape *kit_shape(struct table *table, const char *where, const char *columns)
{
    struct shape_request request = {.where = slice_of(where ? where : "")};
    const char *field;
    struct err err;

    if (columns)
        request.columns = slice_of(columns);
    struct shape *shape = shape_new(&request, table, &field, &err);
    if (!shape)
        fail_msg("%s: %s", field, err.msg);
    return shape;
}

struct kit_row {
    struct value values[KIT_NCOLUMNS];
    struct tuple tuple;
};

/* "~" is a value that was not sent. */
static inline void kit_set(struct kit_row *row, const char *const texts[KIT_NCOLUMNS])
{
    for (int i = 0; i < KIT_NCOLUMNS; i++) {
        const char *text = texts[i];

        row->values[i] = (struct value){.kind = VALUE_NULL};
        if (text && strcmp(text, "~") == 0)
            row->values[i].kind = VALUE_UNCHANGED;
        else if (text)
            row->values[i] = (struct value){VALUE_TEXT, slice_of(text)};
    }
    row->tuple = (struct tuple){KIT_NCOLUMNS, row->values};
}

#endif
