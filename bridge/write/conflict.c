#include "write/conflict.h"

#include <stdio.h>

#define ROW "tombolo_row" /* the table's alias; nobody calls a column so */

/* pg_type oids */
enum { FLOAT4 = 700, FLOAT8 = 701, JSONB = 3802 };

/* A plan being made: what the mutation gives, by the table's column. */
struct making {
    struct plan *plan;
    const struct table *table;
    const struct write_column *columns;
    const struct slice *set; /* NULL: none */
    const struct write_pair **key, **value, **base;
    struct arena *arena;
    struct write_refusal *why;
    /* of the statement at hand */
    struct buf *sql;
    const char **values;
    uint32_t *types;
    int nparams;
};

const char *write_code_name(enum write_code code)
{
    static const char *const names[] = {
#define X(symbol, name) name,
        WRITE_CODE_MAP(X)
#undef X
    };

    return names[code];
}

/* ---- what is allowed --------------------------------------------------- */

static bool refuse(struct making *m, enum write_code code, struct slice column, const char *text)
{
    m->why->code = code;
    return err_set(&m->why->err, ERR_INPUT, "column \"%.*s\" of table \"%.*s\" %s",
                   SLICE_ARG(column), SLICE_ARG(m->table->relname), text);
}

static bool resolve(struct making *m, const struct write_pairs *pairs,
                    const struct write_pair **out)
{
    for (size_t i = 0; i < pairs->n; i++) {
        int column = table_column_index(m->table, pairs->list[i].column);

        if (column < 0)
            return refuse(m, WRITE_INVALID, pairs->list[i].column, "does not exist");
        out[column] = &pairs->list[i];
    }
    return true;
}

static bool is_key(const struct making *m, uint16_t column)
{
    return m->table->cols[column].pk_index >= 0;
}

static bool check_key(struct making *m)
{
    for (uint16_t i = 0; i < m->table->ncols; i++) {
        if (is_key(m, i) != (m->key[i] != NULL))
            return refuse(m, WRITE_INVALID, m->table->cols[i].name,
                          m->key[i] ? "is not part of the primary key"
                                    : "is part of the primary key: it must be in \"key\"");
    }
    return true;
}

static bool same_value(struct slice a, struct slice b)
{
    return (a.ptr != NULL) == (b.ptr != NULL) && slice_eq(a, b);
}

/* A set column may be given as what it is set to, or not at all. */
static bool check_set(struct making *m, uint16_t i, const struct write_pair *given)
{
    if (!given || !given->value.ptr || same_value(given->value, m->set[i]))
        return true;
    return refuse(m, WRITE_NOT_ALLOWED, given->column, "is set by the rules to another value");
}

/* What of the values is to be written; what is not is taken out. A replica's new row has all its
 * columns: those that it may not write are null in it, and get their default here. */
static bool check_value(struct making *m, uint16_t i)
{
    const struct write_pair *given = m->value[i];
    bool insert = m->plan->mutation->op == WRITE_INSERT;

    if (m->set && m->set[i].ptr) {
        if (!check_set(m, i, given) || !check_set(m, i, m->key[i]))
            return false;
        m->value[i] = NULL;
        return true;
    }
    if (insert && m->key[i] && given && !same_value(given->value, m->key[i]->value))
        return refuse(m, WRITE_INVALID, given->column, "differs between \"key\" and \"values\"");
    if (insert && m->key[i]) {
        m->value[i] = m->key[i];
        return true;
    }
    if (!given || m->columns[i].writable)
        return true;
    if (insert && !given->value.ptr) {
        m->value[i] = NULL;
        return true;
    }
    return refuse(m, WRITE_NOT_ALLOWED, given->column,
                  m->columns[i].generated ? "is generated: it cannot be written"
                                          : "may not be written");
}

static bool check_allowed(struct making *m)
{
    const struct write_mutation *mutation = m->plan->mutation;

    if (!m->plan->grant->rule->ops[mutation->op]) {
        m->why->code = WRITE_NOT_ALLOWED;
        return err_set(&m->why->err, ERR_INPUT, "table \"%.*s\" does not take %ss",
                       SLICE_ARG(m->table->relname), write_op_name(mutation->op));
    }
    if (!resolve(m, &mutation->key, m->key) || !resolve(m, &mutation->values, m->value) ||
        !resolve(m, &mutation->base, m->base) || !check_key(m))
        return false;
    for (uint16_t i = 0; i < m->table->ncols; i++) {
        if (!check_value(m, i))
            return false;
    }
    return true;
}

/* ---- pieces of SQL ----------------------------------------------------- */

/* Begins a statement with so many parameters at most. */
static void begin(struct making *m, struct statement *statement, const char *sql)
{
    size_t most = 4u * m->table->ncols + 1;

    m->sql = &statement->sql;
    m->values = arena_calloc(m->arena, most, sizeof(*m->values));
    m->types = arena_calloc(m->arena, most, sizeof(*m->types));
    m->nparams = 0;
    buf_put_cstr(m->sql, sql);
}

static void end(struct making *m, struct statement *statement)
{
    statement->values = m->values;
    statement->types = m->types;
    statement->nparams = m->nparams;
}

static const char *add_param(struct making *m, uint32_t type, struct slice value)
{
    m->values[m->nparams] = value.ptr;
    m->types[m->nparams++] = type;
    return arena_printf(m->arena, "$%d", m->nparams);
}

/* "$3", a parameter of the column's type. */
static const char *param(struct making *m, uint16_t column, struct slice value)
{
    return add_param(m, m->table->cols[column].typid, value);
}

static const char *ident(struct making *m, uint16_t column)
{
    struct buf b;

    buf_init(&b, BUF_NO_LIMIT);
    sql_put_ident(&b, m->table->cols[column].name);
    const char *text = arena_copy(m->arena, buf_slice(&b)).ptr;
    buf_release(&b);
    return text;
}

static const char *quoted(struct making *m, struct slice text, void put(struct buf *, struct slice))
{
    struct buf b;

    buf_init(&b, BUF_NO_LIMIT);
    put(&b, text);
    const char *sql = arena_copy(m->arena, buf_slice(&b)).ptr;
    buf_release(&b);
    return sql;
}

/* The row's own value. */
static const char *current(struct making *m, uint16_t column)
{
    return arena_printf(m->arena, ROW ".%s", ident(m, column));
}

/* Whether the row's value is this one; never null. */
static const char *equals(struct making *m, uint16_t column, struct slice value)
{
    const char *op = m->columns[column].equals, *now = current(m, column);

    if (!value.ptr)
        return arena_printf(m->arena, "(%s IS NULL)", now);
    if (op)
        return arena_printf(m->arena, "coalesce(%s %s %s, false)", now, op,
                            param(m, column, value));
    return arena_printf(m->arena,
                        "coalesce(%s::pg_catalog.text OPERATOR(pg_catalog.=)"
                        " %s::pg_catalog.text, false)",
                        now, param(m, column, value));
}

static void put_where_key(struct making *m)
{
    for (uint16_t i = 0; i < m->table->npk; i++) {
        uint16_t column = m->table->pk[i];
        const char *op = m->columns[column].equals;
        const char *value = param(m, column, m->key[column]->value);

        buf_put_cstr(m->sql, i ? " AND " : " WHERE ");
        if (op)
            buf_printf(m->sql, "%s %s %s", current(m, column), op, value);
        else
            buf_printf(m->sql, "%s::pg_catalog.text OPERATOR(pg_catalog.=) %s::pg_catalog.text",
                       current(m, column), value);
    }
}

/* The columns that the check uses; "1" when there is none, so that the row is given all the same.
 */
static void put_shown(struct making *m)
{
    if (m->plan->nshown == 0)
        buf_put_cstr(m->sql, "1");
    for (size_t i = 0; i < m->plan->nshown; i++)
        buf_printf(m->sql, "%s%s", i ? ", " : "", current(m, m->plan->shown[i]));
}

/* Of a column that must not have changed: it is as the replica knew it, or as it wants it. */
static void put_same(struct making *m)
{
    for (size_t i = 0; i < m->plan->nsame; i++) {
        uint16_t column = m->plan->same[i];

        buf_printf(m->sql, ", %s", equals(m, column, m->base[column]->value));
        if (m->value[column])
            buf_printf(m->sql, " OR %s", equals(m, column, m->value[column]->value));
    }
}

/* ---- the kinds of conflict --------------------------------------------- */

/* Integers by way of numeric: the difference of two of them need not fit. */
static const char *counted(struct making *m, uint16_t i, const char *value, const char *base)
{
    uint32_t type = m->table->cols[i].basetypid;
    const char *by = type == FLOAT4 || type == FLOAT8 ? "pg_catalog.float8" : "pg_catalog.numeric";

    return arena_printf(m->arena,
                        "coalesce(%s::%s, 0) OPERATOR(pg_catalog.+) (%s::%s OPERATOR(pg_catalog.-)"
                        " coalesce(%s::%s, 0))",
                        current(m, i), by, value, by, base, by);
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

static const char *called(struct making *m, const struct write_function *function, const char *now,
                          const char *base, const char *value)
{
    return arena_printf(m->arena, "%s.%s(%s, %s, %s)", quoted(m, function->nspname, sql_put_ident),
                        quoted(m, function->name, sql_put_ident), now, base, value);
}

static const char *as_json(struct making *m, const char *sql)
{
    return arena_printf(m->arena, "coalesce(pg_catalog.to_jsonb(%s), 'null'::pg_catalog.jsonb)",
                        sql);
}

static const char *table_name(struct making *m)
{
    return arena_printf(m->arena, "%s.%s", quoted(m, m->table->nspname, sql_put_ident),
                        quoted(m, m->table->relname, sql_put_ident));
}

/* OFFSET 0 keeps the function from being called twice. */
static const char *computed(struct making *m, uint16_t i, const char *value, const char *base)
{
    const char *now = current(m, i);

    return arena_printf(
        m->arena,
        "(SELECT CASE WHEN f.v IS NULL THEN %s ELSE (pg_catalog.jsonb_populate_record("
        "NULL::%s, pg_catalog.jsonb_build_object(%s, f.v))).%s END FROM (SELECT %s AS v OFFSET 0)"
        " AS f)",
        now, table_name(m), quoted(m, m->table->cols[i].name, sql_put_literal), ident(m, i),
        called(m, &m->columns[i].function, as_json(m, now), as_json(m, base), as_json(m, value)));
}

/* What the column becomes; NULL when it stays as it is. */
static const char *new_value(struct making *m, uint16_t i)
{
    const char *now = current(m, i);
    enum write_conflict kind = m->columns[i].conflict;

    if (kind == CONFLICT_KEEP)
        return NULL;
    const char *value = param(m, i, m->value[i]->value);
    if (kind == CONFLICT_MERGE || kind == CONFLICT_REJECT)
        return value;
    if (kind == CONFLICT_MIN || kind == CONFLICT_MAX)
        return arena_printf(m->arena, "%s(%s, %s)", kind == CONFLICT_MIN ? "least" : "greatest",
                            now, value);
    const char *base = param(m, i, m->base[i]->value);
    if (kind == CONFLICT_COUNTER)
        return counted(m, i, value, base);
    if (kind == CONFLICT_FUNCTION)
        return computed(m, i, value, base);
    return m->table->cols[i].basetypid == JSONB ? united_json(m, now, value, base)
                                                : united_array(m, now, value, base);
}

static bool needs_base(enum write_conflict kind)
{
    return kind == CONFLICT_REJECT || kind == CONFLICT_COUNTER || kind == CONFLICT_UNION ||
           kind == CONFLICT_FUNCTION;
}

/* ---- statements -------------------------------------------------------- */

/* Which columns have to be seen: those of the check, and those that must not have changed. The
 * latter only where they may be written: a guess about another is not to be confirmed. */
static bool note_columns(struct making *m)
{
    struct plan *plan = m->plan;
    enum write_op op = plan->mutation->op;
    bool whole = plan->grant->rule->function.name.ptr != NULL;

    plan->shown = arena_calloc(m->arena, m->table->ncols, sizeof(*plan->shown));
    plan->same = arena_calloc(m->arena, m->table->ncols, sizeof(*plan->same));
    for (uint16_t i = 0; i < m->table->ncols; i++) {
        enum write_conflict kind = m->columns[i].conflict;
        bool changed = op == WRITE_UPDATE && m->value[i] && !whole;
        bool removed =
            op == WRITE_DELETE && kind == CONFLICT_REJECT && m->columns[i].writable && !whole;

        if (plan->grant->check && where_uses(plan->grant->check, i))
            plan->shown[plan->nshown++] = i;
        if ((changed && needs_base(kind) && !m->base[i]) || (removed && !m->base[i] && !m->key[i]))
            return refuse(m, WRITE_INVALID, m->table->cols[i].name, "must be in \"base\"");
        if (changed && kind == CONFLICT_COUNTER && !m->value[i]->value.ptr)
            return refuse(m, WRITE_INVALID, m->table->cols[i].name,
                          "is a counter: it cannot become null");
        if (m->base[i] && kind == CONFLICT_REJECT && (changed || removed))
            plan->same[plan->nsame++] = i;
    }
    return true;
}

static void put_insert(struct making *m, struct statement *statement)
{
    bool first = true;

    begin(m, statement, "INSERT INTO ");
    buf_printf(m->sql, "%s AS " ROW " (", table_name(m));
    for (uint16_t i = 0; i < m->table->ncols; i++) {
        struct slice value = m->set && m->set[i].ptr ? m->set[i]
                             : m->value[i]           ? m->value[i]->value
                                                     : (struct slice){NULL, 0};

        if (!value.ptr && !m->value[i])
            continue;
        buf_printf(m->sql, "%s%s", first ? "" : ", ", ident(m, i));
        param(m, i, value);
        first = false;
    }
    buf_put_cstr(m->sql, ") VALUES (");
    for (int i = 1; i <= m->nparams; i++)
        buf_printf(m->sql, "%s$%d", i > 1 ? ", " : "", i);
    buf_put_cstr(m->sql, ") RETURNING ");
    put_shown(m);
    end(m, statement);
}

static void put_set(struct making *m, bool *first, uint16_t column, const char *value)
{
    buf_printf(m->sql, "%s%s = %s", *first ? "" : ", ", ident(m, column), value);
    *first = false;
}

/* {"qty": .., ..} of what changed, for a function of whole rows. */
static const char *object_of(struct making *m, const struct write_pair **pairs)
{
    struct buf b;
    bool first = true;

    buf_init(&b, BUF_NO_LIMIT);
    buf_put_cstr(&b, "pg_catalog.jsonb_build_object(");
    for (uint16_t i = 0; i < m->table->ncols; i++) {
        if (!pairs[i] || !m->value[i])
            continue;
        buf_printf(&b, "%s%s, pg_catalog.to_jsonb(%s)", first ? "" : ", ",
                   quoted(m, m->table->cols[i].name, sql_put_literal),
                   param(m, i, pairs[i]->value));
        first = false;
    }
    buf_put_u8(&b, ')');
    const char *sql = arena_copy(m->arena, buf_slice(&b)).ptr;
    buf_release(&b);
    return sql;
}

/* Whether the function of whole rows decides about the column. */
static bool is_computed(const struct making *m, uint16_t i)
{
    return m->columns[i].writable && !is_key(m, i) && !(m->set && m->set[i].ptr);
}

static void put_whole_row(struct making *m, bool *first)
{
    const struct write_function *function = &m->plan->grant->rule->function;
    const char *base = object_of(m, m->base), *value = object_of(m, m->value);

    for (int pass = 0; pass < 2; pass++) {
        bool begun = false;

        buf_put_cstr(m->sql, pass ? ") = (SELECT " : "(");
        for (uint16_t i = 0; i < m->table->ncols; i++) {
            if (is_computed(m, i)) {
                buf_printf(m->sql, "%s%s%s", begun ? ", " : "", pass ? "r." : "", ident(m, i));
                begun = true;
            }
        }
    }
    buf_printf(m->sql, " FROM pg_catalog.jsonb_populate_record(" ROW ".*, %s) AS r)",
               called(m, function, "pg_catalog.to_jsonb(" ROW ".*)", base, value));
    *first = false;
}

/* False when nothing is written: every column that changed is kept. */
static bool put_sets(struct making *m)
{
    bool first = true, whole = m->plan->grant->rule->function.name.ptr != NULL, computes = false;

    for (uint16_t i = 0; i < m->table->ncols; i++) {
        const char *value = NULL;

        if (m->set && m->set[i].ptr)
            value = param(m, i, m->set[i]);
        else if (m->value[i] && !(whole && is_computed(m, i)))
            value = new_value(m, i);
        if (value)
            put_set(m, &first, i, value);
        computes = computes || (whole && m->value[i] && is_computed(m, i));
    }
    if (computes) {
        if (!first)
            buf_put_cstr(m->sql, ", ");
        put_whole_row(m, &first);
    }
    return !first;
}

static void put_look(struct making *m, struct statement *statement, const char *lock)
{
    begin(m, statement, "SELECT ");
    put_shown(m);
    put_same(m);
    buf_printf(m->sql, " FROM %s AS " ROW, table_name(m));
    put_where_key(m);
    buf_put_cstr(m->sql, lock);
    end(m, statement);
}

static void put_update(struct making *m, struct plan *plan)
{
    begin(m, &plan->write, "UPDATE ");
    buf_printf(m->sql, "%s AS " ROW " SET ", table_name(m));
    if (put_sets(m)) {
        put_where_key(m);
        buf_put_cstr(m->sql, " RETURNING ");
        put_shown(m);
        end(m, &plan->write);
    } else {
        buf_clear(&plan->write.sql);
    }
    if (plan->grant->check || plan->nsame || !plan->write.sql.len)
        put_look(m, &plan->look, " FOR UPDATE");
}

/* Looked at first, where there is a check: an error of the delete's own (another row refers to
 * it) would tell of rows that are none of the replica's business. Not locked: that takes the right
 * to update; so what the delete itself gives is judged once more. */
static void put_delete(struct making *m, struct plan *plan)
{
    if (plan->grant->check)
        put_look(m, &plan->look, "");
    begin(m, &plan->write, "DELETE FROM ");
    buf_printf(m->sql, "%s AS " ROW, table_name(m));
    put_where_key(m);
    buf_put_cstr(m->sql, " RETURNING ");
    put_shown(m);
    put_same(m);
    end(m, &plan->write);
}

bool plan_make(const struct write_grant *grant, const struct write_mutation *mutation,
               struct arena *arena, struct plan *plan, struct write_refusal *why)
{
    const size_t ncols = grant->rule->table->ncols;
    struct making m = {.plan = plan,
                       .table = grant->rule->table,
                       .columns = grant->rule->columns,
                       .set = grant->set,
                       .key = arena_calloc(arena, ncols, sizeof(*m.key)),
                       .value = arena_calloc(arena, ncols, sizeof(*m.value)),
                       .base = arena_calloc(arena, ncols, sizeof(*m.base)),
                       .arena = arena,
                       .why = why};

    *plan = (struct plan){.grant = grant, .mutation = mutation};
    buf_init(&plan->look.sql, BUF_NO_LIMIT);
    buf_init(&plan->write.sql, BUF_NO_LIMIT);
    if (!check_allowed(&m) || !note_columns(&m))
        return false;
    if (mutation->op == WRITE_INSERT)
        put_insert(&m, &plan->write);
    else if (mutation->op == WRITE_UPDATE)
        put_update(&m, plan);
    else
        put_delete(&m, plan);
    return true;
}

void plan_release(struct plan *plan)
{
    buf_release(&plan->look.sql);
    buf_release(&plan->write.sql);
}
