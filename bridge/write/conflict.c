/*
 * Whether the rules allow a mutation, and its statements. What a column becomes by its kind of
 * conflict is in conflict_kinds.c.
 */
#include "write/conflict.h"
#include "write/conflict_private.h"

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

/* ---- statements -------------------------------------------------------- */

static void put_where_key(struct making *m)
{
    for (uint16_t i = 0; i < m->table->npk; i++) {
        uint16_t column = m->table->pk[i];
        const char *op = m->columns[column].equals;
        const char *value = making_param(m, column, m->key[column]->value);

        buf_put_cstr(m->sql, i ? " AND " : " WHERE ");
        if (op)
            buf_printf(m->sql, "%s %s %s", making_current(m, column), op, value);
        else
            buf_printf(m->sql, "%s::pg_catalog.text OPERATOR(pg_catalog.=) %s::pg_catalog.text",
                       making_current(m, column), value);
    }
}

/* The columns that the check uses; "1" when there is none, so that the row is given all the same.
 */
static void put_shown(struct making *m)
{
    if (m->plan->nshown == 0)
        buf_put_cstr(m->sql, "1");
    for (size_t i = 0; i < m->plan->nshown; i++)
        buf_printf(m->sql, "%s%s", i ? ", " : "", making_current(m, m->plan->shown[i]));
}

/* Of the new row. Nothing where it is not looked at: how many there are is said anyway, but for
 * tables with rules. */
static void put_returning(struct making *m)
{
    if (m->plan->nshown == 0 && m->plan->grant->rule->plain)
        return;
    buf_put_cstr(m->sql, " RETURNING ");
    put_shown(m);
}

/* Of a column that must not have changed: it is as the replica knew it, or as it wants it. */
static void put_same(struct making *m)
{
    for (size_t i = 0; i < m->plan->nsame; i++) {
        uint16_t column = m->plan->same[i];

        buf_printf(m->sql, ", %s", making_equals(m, column, m->base[column]->value));
        if (m->value[column])
            buf_printf(m->sql, " OR %s", making_equals(m, column, m->value[column]->value));
    }
}

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
        if ((changed && kind_needs_base(kind) && !m->base[i]) ||
            (removed && !m->base[i] && !m->key[i]))
            return refuse(m, WRITE_INVALID, m->table->cols[i].name, "must be in \"base\"");
        if (changed && kind == CONFLICT_COUNTER && !m->value[i]->value.ptr)
            return refuse(m, WRITE_INVALID, m->table->cols[i].name,
                          "is a counter: it cannot become null");
        if (m->base[i] && kind == CONFLICT_REJECT && (changed || removed))
            plan->same[plan->nsame++] = i;
    }
    return true;
}

void conflict_put_row(struct buf *sql, size_t first, size_t n)
{
    buf_put_u8(sql, '(');
    for (size_t i = 0; i < n; i++) {
        buf_put_cstr(sql, i ? ", $" : "$");
        buf_put_dec(sql, first + i);
    }
    buf_put_u8(sql, ')');
}

static void put_insert(struct making *m, struct statement *statement)
{
    making_begin(m, statement, "INSERT INTO ");
    sql_put_ident(m->sql, m->table->nspname);
    buf_put_u8(m->sql, '.');
    sql_put_ident(m->sql, m->table->relname);
    buf_put_cstr(m->sql, " AS " ROW " (");
    for (uint16_t i = 0; i < m->table->ncols; i++) {
        struct slice value = m->set && m->set[i].ptr ? m->set[i]
                             : m->value[i]           ? m->value[i]->value
                                                     : (struct slice){NULL, 0};

        if (!value.ptr && !m->value[i])
            continue;
        buf_put_cstr(m->sql, m->nparams ? ", " : "");
        sql_put_ident(m->sql, m->table->cols[i].name);
        making_bind(m, i, value);
    }
    buf_put_cstr(m->sql, ") VALUES ");
    conflict_put_row(m->sql, 1, (size_t)m->nparams);
    put_returning(m);
    making_end(m, statement);
}

static void put_set(struct making *m, bool *first, uint16_t column, const char *value)
{
    buf_printf(m->sql, "%s%s = %s", *first ? "" : ", ", making_ident(m, column), value);
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
                   making_quoted(m, m->table->cols[i].name, sql_put_literal),
                   making_param(m, i, pairs[i]->value));
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
                buf_printf(m->sql, "%s%s%s", begun ? ", " : "", pass ? "r." : "",
                           making_ident(m, i));
                begun = true;
            }
        }
    }
    buf_printf(m->sql, " FROM pg_catalog.jsonb_populate_record(" ROW ".*, %s) AS r)",
               making_called(m, function, "pg_catalog.to_jsonb(" ROW ".*)", base, value));
    *first = false;
}

/* False when nothing is written: every column that changed is kept. */
static bool put_sets(struct making *m)
{
    bool first = true, whole = m->plan->grant->rule->function.name.ptr != NULL, computes = false;

    for (uint16_t i = 0; i < m->table->ncols; i++) {
        const char *value = NULL;

        if (m->set && m->set[i].ptr)
            value = making_param(m, i, m->set[i]);
        else if (m->value[i] && !(whole && is_computed(m, i)))
            value = kind_new_value(m, i);
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
    making_begin(m, statement, "SELECT ");
    put_shown(m);
    put_same(m);
    buf_printf(m->sql, " FROM %s AS " ROW, making_rows(m));
    put_where_key(m);
    buf_put_cstr(m->sql, lock);
    making_end(m, statement);
}

static void put_update(struct making *m, struct plan *plan)
{
    making_begin(m, &plan->write, "UPDATE ");
    buf_printf(m->sql, "%s AS " ROW " SET ", making_rows(m));
    if (put_sets(m)) {
        put_where_key(m);
        put_returning(m);
        making_end(m, &plan->write);
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
    making_begin(m, &plan->write, "DELETE FROM ");
    buf_printf(m->sql, "%s AS " ROW, making_rows(m));
    put_where_key(m);
    buf_put_cstr(m->sql, " RETURNING ");
    put_shown(m);
    put_same(m);
    making_end(m, &plan->write);
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
