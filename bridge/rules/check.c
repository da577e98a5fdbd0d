/*
 * The rules against the catalogue: the tables are there, the clauses fit them,
 * columns, kinds, functions and roles exist. Claims have no values yet.
 */
#include "base/logging.h"
#include "pg/catalog.h"
#include "rules/rules_private.h"

#include <stdlib.h>

/* What is wrong with a rule, as against Postgres not being there to ask. */
static bool is_verdict(const struct err *err)
{
    return err->code == ERR_NOT_FOUND || err->code == ERR_INPUT || err->code == ERR_UNSUPPORTED ||
           err->code == ERR_CONFIG;
}

/* ---- [shape NAME] ---------------------------------------------------------------------------- */

/* Everything but the clause, whose parameters are not known. */
static bool check_selection(const struct named_shape *shape, struct table *table, struct err *err)
{
    const struct shape_request request = {.table = shape->table, .columns = shape->columns};
    const char *field;
    struct shape *typed = shape_new(&request, table, &field, err);

    if (!typed)
        return err_wrap(err, "[shape %.100s] %s", shape->name.ptr, field);
    shape_unref(typed);
    return true;
}

static bool check_clause(const struct named_shape *shape, const struct table *table,
                         struct err *err)
{
    return !shape->clause.text.len ||
           where_check(shape->clause.text, shape->clause.n, table, err) ||
           err_wrap(err, "[shape %.100s] where", shape->name.ptr);
}

static struct table *table_of(struct pg_conn *conn, const struct named_shape *shape,
                              struct err *err)
{
    struct arena arena = {0};
    struct slice nspname, relname;
    struct table *table = NULL;

    if (shape_table_name(shape->table, &arena, &nspname, &relname, err))
        table = catalog_table(conn, nspname, relname, err);
    arena_release(&arena);
    if (!table)
        err_wrap(err, "[shape %.100s] table", shape->name.ptr);
    return table;
}

/* *line becomes that of what is wrong. */
static bool check_shape(struct pg_conn *conn, const struct named_shape *shape, int *line,
                        struct err *err)
{
    struct table *table = table_of(conn, shape, err);

    *line = shape->line;
    if (!table)
        return false;
    bool ok = check_selection(shape, table, err);

    if (!ok && shape->columns_line)
        *line = shape->columns_line;
    if (ok && !check_clause(shape, table, err)) {
        *line = shape->where_line;
        ok = false;
    }
    table_unref(table);
    return ok;
}

static bool check_shapes(struct rules *rules, struct pg_conn *conn, struct err *err)
{
    int line;

    for (const struct named_shape *s = rules->first_shape; s; s = s->next) {
        if (!check_shape(conn, s, &line, err))
            return is_verdict(err) ? rules_wrong(rules->path, line, err) : false;
    }
    return true;
}

/* ---- [write TABLE] --------------------------------------------------------------------------- */

struct checking {
    struct rules *rules;
    struct pg_conn *conn;
    struct named_write *write;
    int line; /* of the entry at hand */
    struct err *err;
};

static bool wrong(struct checking *c, const char *entry)
{
    return err_wrap(c->err, "[%s]%s", c->write->section, entry);
}

/* The column's index, or -1 with the error. */
static int find_column(struct checking *c, struct slice name, int line)
{
    int i = table_column_index(c->write->rule.table, name);

    c->line = line;
    if (i < 0)
        err_set(c->err, ERR_CONFIG, "[%s] the table has no column \"%.*s\"", c->write->section,
                SLICE_ARG(name));
    return i;
}

static void take_conflict(const struct column_entry *from, struct write_column *to)
{
    to->conflict = from->conflict;
    to->function = from->function;
}

/* A kind for the whole table is one for each column but the key's, which cannot have one; a
 * function takes rows. */
static void take_table_conflict(struct named_write *write)
{
    const struct column_entry *all = &write->conflict;
    struct write_table *rule = &write->rule;

    if (all->conflict == CONFLICT_FUNCTION)
        rule->function = all->function;
    for (uint16_t i = 0; all->conflict != CONFLICT_FUNCTION && i < rule->table->ncols; i++) {
        if (rule->table->cols[i].pk_index < 0 || all->conflict == CONFLICT_REJECT)
            take_conflict(all, &rule->columns[i]);
    }
}

static bool take_columns(struct checking *c)
{
    struct write_table *rule = &c->write->rule;
    int i;

    for (size_t n = 0; n < c->write->ncolumns; n++) {
        if ((i = find_column(c, c->write->columns[n], c->write->columns_line)) < 0)
            return false;
        rule->columns[i].writable = true;
    }
    take_table_conflict(c->write);
    for (const struct column_entry *e = c->write->conflicts; e; e = e->next) {
        if ((i = find_column(c, e->column, e->line)) < 0)
            return false;
        if (rule->function.name.ptr)
            return err_set(c->err, ERR_CONFIG,
                           "[%s] conflict is a function of whole rows: columns have no kinds of "
                           "their own",
                           c->write->section);
        take_conflict(e, &rule->columns[i]);
    }
    for (const struct column_entry *e = c->write->set; e; e = e->next) {
        if (find_column(c, e->column, e->line) < 0)
            return false;
    }
    return true;
}

/* Without a list: all that can be written. */
static void open_columns(struct write_table *rule)
{
    for (uint16_t i = 0; i < rule->table->ncols; i++)
        rule->columns[i].writable = !rule->columns[i].generated;
}

static bool take_check(struct checking *c)
{
    struct named_write *w = c->write;
    const struct table *table = w->rule.table;
    struct where *fixed = NULL;
    const struct where_params none = {0};

    c->line = w->check_line;
    if (!w->check_line)
        return true;
    if (w->check.n)
        return where_check(w->check.text, w->check.n, table, c->err) || wrong(c, " check");
    if (!where_compile(w->check.text, &none, table, &c->rules->arena, &fixed, c->err))
        return wrong(c, " check");
    w->fixed = fixed;
    return true;
}

static bool check_role(struct checking *c)
{
    const char *role = c->write->role.ptr;

    c->line = c->write->line;
    if (!role)
        return true;
    struct pg_result *res = pg_query_params(
        c->conn, "SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = $1", &role, 1,
        c->err);
    if (!res)
        return false;
    bool there = pg_rows(res) == 1, ours = there && pg_bool(res, 0, 0);

    pg_result_free(res);
    if (!there)
        return err_set(c->err, ERR_CONFIG, "[%s] there is no role \"%s\"", c->write->section, role);
    if (ours)
        return true;
    err_set(c->err, ERR_CONFIG, "[%s] the bridge's user is no member of role \"%s\"",
            c->write->section, role);
    return err_hint(c->err, "GRANT it to the user of [database] url");
}

static bool check_write(struct checking *c)
{
    struct named_write *w = c->write;
    struct write_table *rule = &w->rule;

    c->line = w->line;
    rule->table = catalog_table(c->conn, w->nspname, w->relname, c->err);
    if (!rule->table)
        return wrong(c, "");
    rule->columns = arena_calloc(&c->rules->arena, rule->table->ncols, sizeof(*rule->columns));
    memcpy(rule->ops, w->ops, sizeof(rule->ops));
    memcpy(rule->skip_missing, w->skip, sizeof(rule->skip_missing));
    if (!take_columns(c))
        return false;
    c->line = w->line;
    if (!write_table_check(c->conn, rule, &c->rules->arena, c->err))
        return wrong(c, "");
    if (!w->columns_line)
        open_columns(rule);
    return take_check(c) && check_role(c);
}

/* Says what has changed, once. */
static void tell(const struct named_write *now, const struct rules *before, const struct err *err)
{
    const struct named_write *was = strmap_get(&before->writes, slice_of(now->section));

    if (was && was->works == now->works)
        return;
    if (now->works)
        log_info("a table takes writes again", LOG_STR("section", now->section));
    else
        log_error("a table takes no writes: its section does not fit it any more",
                  LOG_STR("section", now->section), LOG_ERR(err));
}

static bool check_writes(struct rules *rules, struct pg_conn *conn, const struct rules *before,
                         struct err *err)
{
    for (struct named_write *w = rules->first_write; w; w = w->next) {
        struct checking c = {rules, conn, w, w->line, err};

        w->works = check_write(&c);
        if (!w->works && !is_verdict(err))
            return false;
        if (!w->works)
            rules_wrong(rules->path, c.line, err);
        if (!w->works && !before)
            return false;
        if (before)
            tell(w, before, err);
    }
    return true;
}

bool rules_check(struct rules *rules, struct pg_conn *conn, const struct rules *before,
                 struct err *err)
{
    rules->checked =
        (before || check_shapes(rules, conn, err)) && check_writes(rules, conn, before, err);
    return rules->checked;
}
