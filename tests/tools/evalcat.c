/*
 * Evaluates where clauses for the oracle test: reads lines of JSON
 *
 *     {"columns": [{"name", "typid", "typname", "class", "basetypid", "elemtypid",
 *                   "collation_is_c", "collation_deterministic", "collation"}...],
 *      "where": "...", "params": ["..."], "rows": [["text", null]...]}
 *
 * and answers each with one of
 *
 *     {"error": "At location ..."}                        refused
 *     {"sql": "...", "results": ["t", "f", "n", "e..."]}  e: raised, with the text
 */
#include "change/json.h"
#include "shapes/pack.h"
#include "shapes/where.h"

#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

static struct slice text_of(yyjson_val *v)
{
    const char *s = yyjson_get_str(v);

    return s ? (struct slice){s, yyjson_get_len(v)} : (struct slice){NULL, 0};
}

static uint32_t u32_of(yyjson_val *object, const char *name)
{
    return (uint32_t)yyjson_get_uint(yyjson_obj_get(object, name));
}

static struct table *read_table(yyjson_val *columns)
{
    struct table *table = table_new();
    size_t i, max;
    yyjson_val *c;

    table->ncols = (uint16_t)yyjson_arr_size(columns);
    table->cols = arena_calloc(&table->arena, table->ncols, sizeof(*table->cols));
    yyjson_arr_foreach(columns, i, max, c)
    {
        struct table_column *col = &table->cols[i];

        col->name = arena_copy(&table->arena, text_of(yyjson_obj_get(c, "name")));
        col->typid = u32_of(c, "typid");
        col->typmod = col->basetypmod = -1;
        col->typname = col->basetypname =
            arena_copy(&table->arena, text_of(yyjson_obj_get(c, "typname")));
        col->class = (enum type_class)yyjson_get_str(yyjson_obj_get(c, "class"))[0];
        col->basetypid = u32_of(c, "basetypid");
        col->elemtypid = u32_of(c, "elemtypid");
        col->pk_index = -1;
        col->collation = u32_of(c, "collation");
        col->collation_is_c = yyjson_get_bool(yyjson_obj_get(c, "collation_is_c"));
        col->collation_deterministic =
            yyjson_get_bool(yyjson_obj_get(c, "collation_deterministic"));
    }
    return table;
}

static void put_result(const struct where *where, yyjson_val *row, struct buf *out)
{
    struct arena arena = {0};
    struct value *values = arena_calloc(&arena, yyjson_arr_size(row) + 1, sizeof(*values));
    struct tuple tuple = {(uint16_t)yyjson_arr_size(row), values};
    struct err err;
    enum tri tri;
    size_t i, max;
    yyjson_val *v;

    yyjson_arr_foreach(row, i, max, v)
    {
        values[i].kind = yyjson_is_null(v) ? VALUE_NULL : VALUE_TEXT;
        values[i].text = text_of(v);
    }
    if (where_eval(where, &tuple, &arena, &tri, &err)) {
        buf_put_cstr(out, tri == TRI_NULL ? "\"n\"" : tri == TRI_TRUE ? "\"t\"" : "\"f\"");
    } else {
        buf_put_cstr(out, "\"e");
        json_put_escaped(out, slice_of(err.msg));
        buf_put_u8(out, '"');
    }
    arena_release(&arena);
}

static void answer(const struct where *where, yyjson_val *rows, struct buf *out)
{
    struct buf sql;
    size_t i, max;
    yyjson_val *row;

    buf_init(&sql, BUF_NO_LIMIT);
    where_put_sql(where, &sql);
    buf_put_cstr(out, "{\"sql\":");
    json_put_string(out, buf_slice(&sql));
    buf_put_cstr(out, ",\"results\":[");
    yyjson_arr_foreach(rows, i, max, row)
    {
        if (i)
            buf_put_u8(out, ',');
        put_result(where, row, out);
    }
    buf_put_cstr(out, "]}");
    buf_release(&sql);
}

static void run(yyjson_val *request, struct buf *out)
{
    struct table *table = read_table(yyjson_obj_get(request, "columns"));
    yyjson_val *params = yyjson_obj_get(request, "params"), *v;
    struct arena arena = {0}, work = {0};
    struct slice *values = arena_calloc(&arena, yyjson_arr_size(params) + 1, sizeof(*values));
    struct where_params where_params = {values, yyjson_arr_size(params)};
    struct where *where;
    struct err err;
    size_t i, max;

    yyjson_arr_foreach(params, i, max, v)
    {
        values[i] = text_of(v);
    }
    /* As a shape does it: typed in one arena, packed into another. */
    bool ok = where_compile(text_of(yyjson_obj_get(request, "where")), &where_params, table, &work,
                            &where, &err);
    if (ok) {
        void *to = arena_alloc(&arena, where_tree_size(where));
        const struct where_tree *tree = where_tree_pack(where, table, to);

        where = where_pack(where, tree, arena_alloc(&arena, where_packed_size(where)));
    }
    arena_release(&work);
    if (ok) {
        answer(where, yyjson_obj_get(request, "rows"), out);
    } else {
        buf_put_cstr(out, "{\"error\":");
        json_put_string(out, slice_of(err.msg));
        buf_put_u8(out, '}');
    }
    arena_release(&arena);
    table_unref(table);
}

int main(void)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    struct buf out;

    buf_init(&out, BUF_NO_LIMIT);
    while ((len = getline(&line, &cap, stdin)) > 0) {
        yyjson_doc *doc = yyjson_read(line, (size_t)len, 0);

        buf_clear(&out);
        if (doc)
            run(yyjson_doc_get_root(doc), &out);
        else
            buf_put_cstr(&out, "{\"error\":\"not JSON\"}");
        yyjson_doc_free(doc);
        buf_put_u8(&out, '\n');
        fwrite(out.ptr, 1, out.len, stdout);
        fflush(stdout);
    }
    buf_release(&out);
    free(line);
    return 0;
}
