#include "shapes/order_by.h"
#include "shapes/clause.h"

/* Places count from the start of the statement that the order was parsed in, as clients know it. */
static bool refuse(struct err *err, yyjson_val *fields, const char *fmt, ...) PRINTF(3, 4);
static bool refuse(struct err *err, yyjson_val *fields, const char *fmt, ...)
{
    char msg[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    return err_set(err, ERR_INPUT, "At location %lld: %s",
                   (long long)yyjson_get_sint(yyjson_obj_get(fields, "location")), msg);
}

/* The name as it was written, with dots; of "t.*", the star too. */
static bool unknown(struct err *err, yyjson_val *fields, yyjson_val *parts)
{
    char name[300] = "";
    size_t i, max;
    yyjson_val *part;

    yyjson_arr_foreach(parts, i, max, part)
    {
        const char *s = node_string(part);
        size_t len = strlen(name);

        snprintf(name + len, sizeof(name) - len, "%s%s", i ? "." : "", s ? s : "*");
    }
    return refuse(err, fields, "unknown reference %s", name);
}

static bool read_column(yyjson_val *fields, const struct table *table, const bool *hidden,
                        struct order_term *term, struct err *err)
{
    yyjson_val *parts = yyjson_obj_get(fields, "fields");
    const char *name = node_string(yyjson_arr_get_first(parts));
    int column =
        yyjson_arr_size(parts) == 1 && name ? table_column_index(table, slice_of(name)) : -1;

    if (column < 0 || (hidden && hidden[column]))
        return unknown(err, fields, parts);
    term->column = (uint16_t)column;
    return true;
}

static bool read_direction(yyjson_val *fields, struct order_term *term, struct err *err)
{
    const char *dir = node_field_str(fields, "sortby_dir");
    const char *nulls = node_field_str(fields, "sortby_nulls");

    if (strcmp(dir, "SORTBY_USING") == 0)
        return refuse(err, fields, "USING is not allowed in ORDER BY clauses");
    term->descending = strcmp(dir, "SORTBY_DESC") == 0;
    term->nulls = strcmp(nulls, "SORTBY_NULLS_FIRST") == 0  ? NULLS_FIRST
                  : strcmp(nulls, "SORTBY_NULLS_LAST") == 0 ? NULLS_LAST
                                                            : NULLS_DEFAULT;
    return true;
}

/* *counts: it orders something. */
static bool read_term(yyjson_val *sort_by, const struct table *table, const bool *hidden,
                      struct order_term *term, bool *counts, struct err *err)
{
    yyjson_val *node = yyjson_obj_get(sort_by, "node");
    const char *kind = node_name(node);
    yyjson_val *fields = node_fields(node);

    *counts = strcmp(kind, "ColumnRef") == 0;
    if (*counts)
        return read_column(fields, table, hidden, term, err) && read_direction(sort_by, term, err);
    if (strcmp(kind, "A_Const") == 0)
        return true;
    if (strcmp(kind, "ParamRef") == 0)
        return refuse(err, fields, "parameter $%lld is not supported in ORDER BY clauses",
                      (long long)yyjson_get_sint(yyjson_obj_get(fields, "number")));
    return refuse(err, fields, "%s expressions are not allowed in ORDER BY clauses", kind);
}

static bool read_list(yyjson_val *list, const struct table *table, const bool *hidden,
                      struct order_by *out, struct err *err)
{
    size_t i, max;
    yyjson_val *item;

    yyjson_arr_foreach(list, i, max, item)
    {
        struct order_term term = {0};
        bool counts;

        if (!read_term(yyjson_obj_get(item, "SortBy"), table, hidden, &term, &counts, err))
            return false;
        if (counts)
            out->terms[out->n++] = term;
    }
    return true;
}

bool order_by_parse(struct slice text, const struct table *table, const bool *hidden,
                    struct arena *arena, struct order_by *out, struct err *err)
{
    struct clause clause;

    *out = (struct order_by){0};
    if (!clause_parse_order(text, &clause, err))
        return false;
    out->terms = arena_calloc(arena, yyjson_arr_size(clause.order), sizeof(*out->terms));
    bool ok = read_list(clause.order, table, hidden, out, err);
    clause_release(&clause);
    return ok;
}

void order_by_put_sql(const struct order_by *order, const struct table *table, struct buf *out)
{
    static const char *const nulls[] = {"", " NULLS FIRST", " NULLS LAST"};

    for (size_t i = 0; i < order->n; i++) {
        const struct order_term *term = &order->terms[i];

        buf_put_cstr(out, i ? ", " : " ORDER BY ");
        sql_put_ident(out, table->cols[term->column].name);
        buf_put_cstr(out, term->descending ? " DESC" : "");
        buf_put_cstr(out, nulls[term->nulls]);
    }
}
