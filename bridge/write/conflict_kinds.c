/*
 * The kinds of conflict (write/rules.h): what a column becomes when the replica has changed it, as
 * an expression over the row as it is now, the value that the replica wants and the one that it
 * began from.
 */
#include "write/conflict_private.h"

/* pg_type oids */
enum { FLOAT4 = 700, FLOAT8 = 701, JSONB = 3802 };

/* Integers by way of numeric: the difference of two of them need not fit. */
static const char *counted(struct making *m, uint16_t i, const char *value, const char *base)
{
    uint32_t type = m->table->cols[i].basetypid;
    const char *by = type == FLOAT4 || type == FLOAT8 ? "pg_catalog.float8" : "pg_catalog.numeric";

    return arena_printf(m->arena,
                        "coalesce(%s::%s, 0) OPERATOR(pg_catalog.+) (%s::%s OPERATOR(pg_catalog.-)"
                        " coalesce(%s::%s, 0))",
                        making_current(m, i), by, value, by, base, by);
}

static const char *united_array(struct making *m, const char *now, const char *value,
                                const char *base)
{
    return arena_printf(
        m->arena,
        "pg_catalog.array_cat("
        "ARRAY(SELECT c.e FROM pg_catalog.unnest(%s) WITH ORDINALITY AS c(e, o)"
        " WHERE pg_catalog.array_position(%s, c.e) IS NULL"
        " OR pg_catalog.array_position(%s, c.e) IS NOT NULL ORDER BY c.o), "
        "ARRAY(SELECT n.e FROM pg_catalog.unnest(%s) WITH ORDINALITY AS n(e, o)"
        " WHERE pg_catalog.array_position(%s, n.e) IS NULL"
        " AND pg_catalog.array_position(%s, n.e) IS NULL"
        " AND pg_catalog.array_position(%s, n.e) OPERATOR(pg_catalog.=) n.o ORDER BY n.o))",
        now, base, value, value, base, now, value);
}

static const char *json_elements(struct making *m, const char *array, const char *alias)
{
    return arena_printf(m->arena,
                        "pg_catalog.jsonb_array_elements(coalesce(%s, '[]'::pg_catalog.jsonb))"
                        " WITH ORDINALITY AS %s(e, o)",
                        array, alias);
}

static const char *json_has(struct making *m, const char *array, const char *element)
{
    return arena_printf(m->arena, "EXISTS (SELECT FROM %s WHERE x.e OPERATOR(pg_catalog.=) %s)",
                        json_elements(m, array, "x"), element);
}

static const char *united_json(struct making *m, const char *now, const char *value,
                               const char *base)
{
    return arena_printf(
        m->arena,
        "(SELECT coalesce(pg_catalog.jsonb_agg(u.e ORDER BY u.part, u.o), '[]'::pg_catalog.jsonb)"
        " FROM (SELECT 1 AS part, c.e, c.o FROM %s WHERE NOT %s OR %s"
        " UNION ALL SELECT 2, n.e, pg_catalog.min(n.o) FROM %s WHERE NOT %s AND NOT %s"
        " GROUP BY n.e) AS u(part, e, o))",
        json_elements(m, now, "c"), json_has(m, base, "c.e"), json_has(m, value, "c.e"),
        json_elements(m, value, "n"), json_has(m, base, "n.e"), json_has(m, now, "n.e"));
}

static const char *as_json(struct making *m, const char *sql)
{
    return arena_printf(m->arena, "coalesce(pg_catalog.to_jsonb(%s), 'null'::pg_catalog.jsonb)",
                        sql);
}

/* OFFSET 0 keeps the function from being called twice. */
static const char *computed(struct making *m, uint16_t i, const char *value, const char *base)
{
    const char *now = making_current(m, i);

    return arena_printf(
        m->arena,
        "(SELECT CASE WHEN f.v IS NULL THEN %s ELSE (pg_catalog.jsonb_populate_record("
        "NULL::%s, pg_catalog.jsonb_build_object(%s, f.v))).%s END FROM (SELECT %s AS v OFFSET 0)"
        " AS f)",
        now, making_table_name(m), making_quoted(m, m->table->cols[i].name, sql_put_literal),
        making_ident(m, i),
        making_called(m, &m->columns[i].function, as_json(m, now), as_json(m, base),
                      as_json(m, value)));
}

const char *kind_new_value(struct making *m, uint16_t i)
{
    const char *now = making_current(m, i);
    enum write_conflict kind = m->columns[i].conflict;

    if (kind == CONFLICT_KEEP)
        return NULL;
    const char *value = making_param(m, i, m->value[i]->value);
    if (kind == CONFLICT_MERGE || kind == CONFLICT_REJECT)
        return value;
    if (kind == CONFLICT_MIN || kind == CONFLICT_MAX)
        return arena_printf(m->arena, "%s(%s, %s)", kind == CONFLICT_MIN ? "least" : "greatest",
                            now, value);
    const char *base = making_param(m, i, m->base[i]->value);
    if (kind == CONFLICT_COUNTER)
        return counted(m, i, value, base);
    if (kind == CONFLICT_FUNCTION)
        return computed(m, i, value, base);
    return m->table->cols[i].basetypid == JSONB ? united_json(m, now, value, base)
                                                : united_array(m, now, value, base);
}

bool kind_needs_base(enum write_conflict kind)
{
    return kind == CONFLICT_REJECT || kind == CONFLICT_COUNTER || kind == CONFLICT_UNION ||
           kind == CONFLICT_FUNCTION;
}
