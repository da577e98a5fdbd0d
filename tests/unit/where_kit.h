/*
 * A table with a column of every type, rows of it by name, and clauses on
 * them: what the where clause's tests share.
 */
#ifndef TESTS_UNIT_WHERE_KIT_H
#define TESTS_UNIT_WHERE_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shapes/pack.h"
#include "shapes/where.h"

struct kit_column {
    const char *name;
    uint32_t typid;
    const char *typname, *text; /* text: the row's value */
    enum type_class class;
    bool is_c, loose;
    uint32_t collation; /* 0: the database's own, or none */
};

static const struct kit_column kit_columns[] = {
    {"b", 16, "bool", "t", TYPE_BASE, false, false, 0},
    {"i2", 21, "int2", "7", TYPE_BASE, false, false, 0},
    {"i4", 23, "int4", "42", TYPE_BASE, false, false, 0},
    {"i8", 20, "int8", "9223372036854775807", TYPE_BASE, false, false, 0},
    {"f4", 700, "float4", "0.1", TYPE_BASE, false, false, 0},
    {"f8", 701, "float8", "1.5", TYPE_BASE, false, false, 0},
    {"num", 1700, "numeric", "1.50", TYPE_BASE, false, false, 0},
    {"s", 25, "text", "abc", TYPE_BASE, true, false, 0},
    {"locale", 25, "text", "abc", TYPE_BASE, false, false, 0},
    {"loose", 25, "text", "abc", TYPE_BASE, false, true, 0},
    {"v", 1043, "varchar", "abc", TYPE_BASE, true, false, 0},
    {"pad", 1042, "bpchar", "ab   ", TYPE_BASE, true, false, 0},
    {"bytes", 17, "bytea", "\\x00ff", TYPE_BASE, false, false, 0},
    {"day", 1082, "date", "2024-02-29", TYPE_BASE, false, false, 0},
    {"clock", 1083, "time", "12:34:56.5", TYPE_BASE, false, false, 0},
    {"ts", 1114, "timestamp", "2024-01-31 12:00:00", TYPE_BASE, false, false, 0},
    {"tz", 1184, "timestamptz", "2024-01-31 12:00:00+00", TYPE_BASE, false, false, 0},
    {"iv", 1186, "interval", "P1M", TYPE_BASE, false, false, 0},
    {"id", 2950, "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", TYPE_BASE, false, false, 0},
    {"ints", 1007, "_int4", "{1,2,NULL}", TYPE_BASE, false, false, 0},
    {"texts", 1009, "_text", "{a,b}", TYPE_BASE, true, false, 0},
    {"doc", 114, "json", "{\"a\":1}", TYPE_BASE, false, false, 0},
    {"mood", 90001, "mood", "ok", TYPE_ENUM, false, false, 0},
    {"row", 90002, "pair", "(1,2)", TYPE_COMPOSITE, false, false, 0},
    {"net", 869, "inet", "127.0.0.1", TYPE_BASE, false, false, 0},
    {"bytewise", 25, "text", "abc", TYPE_BASE, true, false, 950},
    {"french", 25, "text", "abc", TYPE_BASE, false, false, 12345},
    {"german", 25, "text", "abc", TYPE_BASE, false, false, 12346},
    {"none", 23, "int4", NULL, TYPE_BASE, false, false, 0},
};

#define KIT_NCOLUMNS (sizeof(kit_columns) / sizeof(kit_columns[0]))

static inline struct table *kit_table(void)
{
    struct table *table = table_new();

    table->relid = 4711;
    table->nspname = SLICE("public");
    table->relname = SLICE("t");
    table->relkind = 'r';
    table->ncols = (uint16_t)KIT_NCOLUMNS;
    table->cols = arena_calloc(&table->arena, KIT_NCOLUMNS, sizeof(*table->cols));
    for (size_t i = 0; i < KIT_NCOLUMNS; i++) {
        const struct kit_column *k = &kit_columns[i];

        table->cols[i] = (struct table_column){
            .name = slice_of(k->name),
            .attnum = (int16_t)(i + 1),
            .typid = k->typid,
            .typmod = -1,
            .typname = slice_of(k->typname),
            .class = k->class,
            .basetypid = k->typid,
            .basetypmod = -1,
            .basetypname = slice_of(k->typname),
            .pk_index = -1,
            .collation_is_c = k->is_c,
            .collation = k->collation,
            .collation_deterministic = !k->loose,
        };
    }
    return table;
}

static inline struct tuple kit_row(struct value *values)
{
    for (size_t i = 0; i < KIT_NCOLUMNS; i++) {
        const char *text = kit_columns[i].text;

        values[i] = (struct value){.kind = text ? VALUE_TEXT : VALUE_NULL};
        if (text)
            values[i].text = slice_of(text);
    }
    return (struct tuple){(uint16_t)KIT_NCOLUMNS, values};
}

/* "true", "false", "null", the error that evaluation raised with its SQLSTATE in front, or
 * "refused: " and why. Valid until the next call. */
static inline const char *kit_eval(const char *clause, const struct where_params *params)
{
    static char text[700];
    struct table *table = kit_table();
    struct value values[KIT_NCOLUMNS];
    struct tuple row = kit_row(values);
    struct arena work = {0}, arena = {0};
    struct where *where;
    struct err err;
    enum tri tri;

    /* As a shape does it: typed in one arena, packed into another. */
    bool ok = where_compile(slice_of(clause), params, table, &work, &where, &err);
    if (ok) {
        void *to = arena_alloc(&arena, where_tree_size(where));
        const struct where_tree *tree = where_tree_pack(where, table, to);

        where = where_pack(where, tree, arena_alloc(&arena, where_packed_size(where)));
    }
    arena_release(&work);
    if (!ok)
        snprintf(text, sizeof(text), "refused: %s", err.msg);
    else if (!where_eval(where, &row, &arena, &tri, &err))
        snprintf(text, sizeof(text), "%s %s", err.sqlstate, err.msg);
    else
        snprintf(text, sizeof(text), "%s",
                 tri == TRI_NULL   ? "null"
                 : tri == TRI_TRUE ? "true"
                                   : "false");
    arena_release(&arena);
    table_unref(table);
    return text;
}

struct kit_case {
    const char *clause, *expected;
};

/* Checks them all and says which failed. */
static inline void kit_check(const struct kit_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *got = kit_eval(cases[i].clause, NULL);

        if (strcmp(got, cases[i].expected) != 0)
            fail_msg("%s\n  gives    %s\n  expected %s", cases[i].clause, got, cases[i].expected);
    }
}

#define KIT_CHECK(cases) kit_check(cases, sizeof(cases) / sizeof((cases)[0]))

#endif
