/*
 * Bytes as a clause, a parameter and a row: compiles it against a table with a
 * column of every type, evaluates it on the row, writes it as SQL, and compiles
 * that again: what was taken once must be taken in our own words, and mean the
 * same for the row.
 *
 *     clause \0 parameter \0 value of the row, for all columns (its text where it suits)
 */
#include "shapes/pack.h"
#include "shapes/where.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct {
    const char *name;
    uint32_t typid;
    const char *text;
} columns[] = {
    {"b", 16, "t"},           {"i2", 21, "7"},
    {"i4", 23, "42"},         {"i8", 20, "9223372036854775807"},
    {"f4", 700, "0.1"},       {"f8", 701, "1.5"},
    {"n", 1700, "1.50"},      {"s", 25, NULL},
    {"v", 1043, NULL},        {"p", 1042, NULL},
    {"x", 17, "\\x00ff"},     {"d", 1082, "2024-02-29"},
    {"t", 1083, "12:34:56"},  {"ts", 1114, "2024-01-31 12:00:00"},
    {"iv", 1186, "P1M"},      {"tz", 1184, "2024-01-31 12:00:00+00"},
    {"ia", 1007, "{1,NULL}"}, {"sa", 1009, "{a,b}"},
    {"j", 114, "{}"},         {"u", 2950, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
};

#define NCOLUMNS (sizeof(columns) / sizeof(columns[0]))

static struct table *make_table(void)
{
    struct table *table = table_new();

    table->ncols = (uint16_t)NCOLUMNS;
    table->cols = arena_calloc(&table->arena, NCOLUMNS, sizeof(*table->cols));
    for (size_t i = 0; i < NCOLUMNS; i++) {
        table->cols[i] = (struct table_column){.name = slice_of(columns[i].name),
                                               .typid = columns[i].typid,
                                               .class = TYPE_BASE,
                                               .basetypid = columns[i].typid,
                                               .typname = SLICE("type"),
                                               .collation_is_c = i % 2 == 1,
                                               .collation_deterministic = true};
    }
    return table;
}

static struct slice next_part(struct slice *rest)
{
    const char *end = rest->len ? memchr(rest->ptr, '\0', rest->len) : NULL;
    size_t len = end ? (size_t)(end - rest->ptr) : rest->len;
    struct slice part = {rest->ptr, len};

    rest->ptr += end ? len + 1 : len;
    rest->len -= end ? len + 1 : len;
    return part;
}

static struct tuple make_row(struct slice bytes, struct value *values)
{
    for (size_t i = 0; i < NCOLUMNS; i++) {
        bool fixed = columns[i].text && bytes.len % 3 != 0;

        values[i] = (struct value){.kind = bytes.len % 7 == 6 ? VALUE_NULL : VALUE_TEXT};
        if (values[i].kind == VALUE_TEXT)
            values[i].text = fixed ? slice_of(columns[i].text) : bytes;
    }
    return (struct tuple){(uint16_t)NCOLUMNS, values};
}

/* 0, 1, 2 as enum tri; 3: raised. */
static int eval(const struct where *where, const struct tuple *row)
{
    struct arena scratch = {0};
    struct err err;
    enum tri tri = TRI_NULL;
    int result = where_eval(where, row, &scratch, &tri, &err) ? (int)tri : 3;

    arena_release(&scratch);
    return result;
}

static void check_again(const struct where *where, const struct table *table,
                        const struct tuple *row, struct arena *arena)
{
    struct where *again;
    struct err err;
    struct buf sql;

    buf_init(&sql, BUF_NO_LIMIT);
    where_put_sql(where, &sql);
    struct slice text = buf_slice(&sql);
    /* Brackets and types make it longer and deeper than what it came from. */
    if (text.len < 3000 && memchr(text.ptr, '@', text.len) == NULL &&
        where_compile(text, NULL, table, arena, &again, &err)) {
        int a = eval(where, row), b = eval(again, row);

        if (a != b) {
            fprintf(stderr, "%.*s: %d, again %d\n", SLICE_ARG(text), a, b);
            abort();
        }
    }
    buf_release(&sql);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = {(const char *)data, size};
    struct slice clause = next_part(&rest), param = next_part(&rest);
    const struct where_params params = {&param, 1};
    struct table *table = make_table();
    struct value values[NCOLUMNS];
    struct tuple row = make_row(rest, values);
    struct arena arena = {0}, work = {0};
    struct where *where;
    struct err err;

    bool ok = where_compile(clause, &params, table, &work, &where, &err);
    if (ok) {
        void *to = arena_alloc(&arena, where_tree_size(where));
        const struct where_tree *tree = where_tree_pack(where, table, to);

        where = where_pack(where, tree, arena_alloc(&arena, where_packed_size(where)));
    }
    arena_release(&work);
    if (ok) {
        eval(where, &row);
        check_again(where, table, &row, &arena);
    }
    arena_release(&arena);
    table_unref(table);
    return 0;
}
