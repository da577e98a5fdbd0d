/*
 * Any bytes as the body of POST /v1/shape, and the subset that is asked for in them compiled into
 * its query: which holds nothing of the request but quoted names, literals and numbers.
 */
#include "http/shape_params.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct table *make_table(void)
{
    static const struct {
        const char *name;
        uint32_t typid;
        enum type_class class;
    } columns[] = {{"id", 20, TYPE_BASE},
                   {"name", 25, TYPE_BASE},
                   {"mood", 90001, TYPE_ENUM},
                   {"at", 1114, TYPE_BASE}};
    struct table *table = table_new();

    table->nspname = SLICE("public");
    table->relname = SLICE("t");
    table->relkind = 'r';
    table->ncols = 4;
    table->cols = arena_calloc(&table->arena, 4, sizeof(*table->cols));
    for (size_t i = 0; i < 4; i++)
        table->cols[i] = (struct table_column){.name = slice_of(columns[i].name),
                                               .typid = columns[i].typid,
                                               .basetypid = columns[i].typid,
                                               .class = columns[i].class,
                                               .typname = SLICE("type"),
                                               .pk_index = -1,
                                               .collation_deterministic = true};
    return table;
}

/* Brackets are balanced and no quote is left open: so nothing gets out of where it stands. */
static void check_sql(const char *p)
{
    long depth = 0;

    for (; *p; p++) {
        if (*p == '\'' || *p == '"') {
            p = strchr(p + 1, *p);
            if (!p)
                abort();
        }
        depth += (*p == '(') - (*p == ')');
        if (depth < 0 || *p == ';' || strncmp(p, "--", 2) == 0 || strncmp(p, "/*", 2) == 0)
            abort();
    }
    if (depth)
        abort();
}

static void compile(const struct shape_params *params, struct arena *arena)
{
    const struct shape_request all = {.table = SLICE("t"), .queryable = params->shape.queryable};
    struct table *table = make_table();
    struct subset *subset;
    const char *field;
    struct err err;
    struct buf sql;
    struct shape *shape = shape_new(&all, table, &field, &err);

    if (shape && subset_compile(&params->subset, shape, table, all.queryable, arena, &subset,
                                &field, &err)) {
        buf_init(&sql, BUF_NO_LIMIT);
        subset_put_select(subset, &sql);
        check_sql(buf_cstr(&sql));
        buf_release(&sql);
    }
    shape_unref(shape);
    table_unref(table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct http_request request = {.body = {(const char *)data, size}, .arena = &arena};
    struct shape_params params;
    struct shape_invalid invalid;
    struct err err;

    if (!http_query_parse(&request.query, SLICE("table=t&offset=now&params[1]=7"), &arena, &err))
        abort();
    if (shape_params_read(&request, &arena, &params, &invalid)) {
        if (!slice_is(params.shape.table, "t") || params.shape.params.n != 1 ||
            !slice_is(params.shape.params.values[0], "7"))
            abort();
        compile(&params, &arena);
    } else if (invalid.body.len < 2 || invalid.body.ptr[0] != '{') {
        abort();
    }
    arena_release(&arena);
    return 0;
}
