#include "shapes/subset.h"
#include "shapes/ident.h"
#include "shapes/order_by.h"

struct subset {
    const struct shape *shape;
    const struct table *table;
    struct where *where; /* NULL: none */
    struct order_by order;
    uint64_t limit, offset;
};

/* The columns that are not in the list, or NULL when all are queryable. */
static bool find_hidden(struct slice queryable, const struct table *table, struct arena *arena,
                        bool **hidden, struct err *err)
{
    struct slice *names;
    size_t n;

    *hidden = NULL;
    if (!queryable.ptr)
        return true;
    if (!ident_split(queryable, ',', arena, &names, &n, err))
        return false;
    *hidden = arena_alloc(arena, table->ncols * sizeof(**hidden));
    memset(*hidden, true, table->ncols * sizeof(**hidden));
    for (size_t i = 0; i < n; i++) {
        int column = table_column_index(table, names[i]);

        if (column >= 0)
            (*hidden)[column] = false;
    }
    return true;
}

bool subset_compile(const struct subset_request *request, const struct shape *shape,
                    const struct table *table, struct slice queryable, struct arena *arena,
                    struct subset **out, const char **field, struct err *err)
{
    struct subset *subset = arena_calloc(arena, 1, sizeof(*subset));
    bool *hidden;

    subset->shape = shape;
    subset->table = table;
    subset->limit = request->limit;
    subset->offset = request->offset;
    *field = "queryable_columns";
    if (!find_hidden(queryable, table, arena, &hidden, err))
        return false;
    *field = "subset.where";
    if (request->where.len && !where_compile_for_server(request->where, &request->params, table,
                                                        hidden, arena, &subset->where, err))
        return false;
    *field = "subset.order_by";
    if (request->order_by.len &&
        !order_by_parse(request->order_by, table, hidden, arena, &subset->order, err))
        return false;
    *field = NULL;
    *out = subset;
    return true;
}

static void put_where(const struct where *where, const char *before, struct buf *out)
{
    buf_put_cstr(out, before);
    buf_put_u8(out, '(');
    where_put_sql(where, out);
    buf_put_u8(out, ')');
}

/* Postgres takes the terms of an AND in any order. A clause that raises errors would tell by them
 * of rows that are not in the shape; CASE keeps it from those, though indexes from being used for
 * it. */
static void put_subset_where(const struct subset *subset, struct buf *out)
{
    const struct where *shape = subset->shape->where, *where = subset->where;

    if (!where)
        return;
    if (!shape || !where_may_raise(where)) {
        put_where(where, shape ? " AND " : " WHERE ", out);
        return;
    }
    put_where(shape, " AND CASE WHEN ", out);
    put_where(where, " THEN ", out);
    buf_put_cstr(out, " ELSE false END");
}

void subset_put_select(const struct subset *subset, struct buf *out)
{
    const struct shape *shape = subset->shape;

    shape_put_from(shape, out);
    if (shape->where)
        put_where(shape->where, " WHERE ", out);
    put_subset_where(subset, out);
    order_by_put_sql(&subset->order, subset->table, out);
    if (subset->limit)
        buf_printf(out, " LIMIT %llu", (unsigned long long)subset->limit);
    if (subset->offset)
        buf_printf(out, " OFFSET %llu", (unsigned long long)subset->offset);
}

void subset_request_copy(const struct subset_request *from, struct arena *arena,
                         struct subset_request *to)
{
    struct slice *values = arena_calloc(arena, from->params.n, sizeof(*values));

    for (size_t i = 0; i < from->params.n; i++) {
        struct slice value = from->params.values[i];

        values[i] = value.ptr ? arena_copy(arena, value) : value;
    }
    *to = *from;
    to->where = arena_copy(arena, from->where);
    to->order_by = arena_copy(arena, from->order_by);
    if (from->subject.ptr)
        to->subject = arena_copy(arena, from->subject);
    to->params = (struct where_params){values, from->params.n};
}
