/*
 * The words that statements are made of: parameters, names, comparisons.
 */
#include "write/conflict_private.h"

void making_begin(struct making *m, struct statement *statement, const char *sql)
{
    size_t most = 4u * m->table->ncols + 1; /* parameters */

    m->sql = &statement->sql;
    m->values = arena_calloc(m->arena, most, sizeof(*m->values));
    m->types = arena_calloc(m->arena, most, sizeof(*m->types));
    m->nparams = 0;
    buf_put_cstr(m->sql, sql);
}

void making_end(struct making *m, struct statement *statement)
{
    statement->values = m->values;
    statement->types = m->types;
    statement->nparams = m->nparams;
}

void making_bind(struct making *m, uint16_t column, struct slice value)
{
    m->values[m->nparams] = value.ptr;
    m->types[m->nparams++] = m->table->cols[column].typid;
}

const char *making_param(struct making *m, uint16_t column, struct slice value)
{
    making_bind(m, column, value);
    return arena_printf(m->arena, "$%d", m->nparams);
}

const char *making_quoted(struct making *m, struct slice text, void put(struct buf *, struct slice))
{
    struct buf b;

    buf_init(&b, BUF_NO_LIMIT);
    put(&b, text);
    const char *sql = arena_copy(m->arena, buf_slice(&b)).ptr;
    buf_release(&b);
    return sql;
}

const char *making_ident(struct making *m, uint16_t column)
{
    return making_quoted(m, m->table->cols[column].name, sql_put_ident);
}

const char *making_current(struct making *m, uint16_t column)
{
    return arena_printf(m->arena, ROW ".%s", making_ident(m, column));
}

const char *making_equals(struct making *m, uint16_t column, struct slice value)
{
    const char *op = m->columns[column].equals, *now = making_current(m, column);

    if (!value.ptr)
        return arena_printf(m->arena, "(%s IS NULL)", now);
    if (op)
        return arena_printf(m->arena, "coalesce(%s %s %s, false)", now, op,
                            making_param(m, column, value));
    return arena_printf(m->arena,
                        "coalesce(%s::pg_catalog.text OPERATOR(pg_catalog.=)"
                        " %s::pg_catalog.text, false)",
                        now, making_param(m, column, value));
}

const char *making_table_name(struct making *m)
{
    return arena_printf(m->arena, "%s.%s", making_quoted(m, m->table->nspname, sql_put_ident),
                        making_quoted(m, m->table->relname, sql_put_ident));
}

const char *making_rows(struct making *m)
{
    return arena_printf(m->arena, "%s%s", m->table->relkind == 'p' ? "" : "ONLY ",
                        making_table_name(m));
}

const char *making_called(struct making *m, const struct write_function *function, const char *now,
                          const char *base, const char *value)
{
    return arena_printf(m->arena, "%s.%s(%s, %s, %s)",
                        making_quoted(m, function->nspname, sql_put_ident),
                        making_quoted(m, function->name, sql_put_ident), now, base, value);
}
