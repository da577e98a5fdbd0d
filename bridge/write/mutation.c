#include "write/mutation.h"

#include <libpq-fe.h>

/* The statement's rows; NULL with the error. */
static struct pg_result *run(struct pg_conn *conn, struct statement *statement, struct err *err)
{
    return pg_checked(conn,
                      PQexecParams(conn, buf_cstr(&statement->sql), statement->nparams,
                                   statement->types, statement->values, NULL, NULL, 0),
                      err);
}

enum write_ran mutation_failed(const struct err *err, struct write_refusal *why)
{
    if (write_class_of(err) != WRITE_PERMANENT)
        return WRITE_BROKEN;
    *why = (struct write_refusal){WRITE_REFUSED, *err};
    return WRITE_UNRUN;
}

static enum write_ran refuse(const struct plan *plan, enum write_code code, const char *text,
                             struct write_refusal *why)
{
    why->code = code;
    err_set(&why->err, ERR_INPUT, "%s of table \"%.*s\": %s", write_op_name(plan->mutation->op),
            SLICE_ARG(plan->grant->rule->table->relname), text);
    return WRITE_UNRUN;
}

/* Where there is a check, a row outside of it is as good as none: whether there is one is not the
 * replica's business. */
static enum write_ran missing(const struct plan *plan, struct write_refusal *why)
{
    enum write_op op = plan->mutation->op;

    if (op != WRITE_INSERT && plan->grant->rule->skip_missing[op])
        return WRITE_RAN;
    if (op == WRITE_INSERT)
        return refuse(plan, WRITE_REFUSED, "the row was left out by a trigger or rule", why);
    return refuse(plan, WRITE_MISSING,
                  plan->grant->check ? "there is no such row, or none that may be changed"
                                     : "there is no such row",
                  why);
}

static bool check_holds(const struct plan *plan, const struct pg_result *row, struct arena *arena,
                        bool *holds, struct err *err)
{
    const struct table *table = plan->grant->rule->table;
    struct value *values = arena_calloc(arena, table->ncols, sizeof(*values));
    struct tuple tuple = {table->ncols, values};
    enum tri tri;

    for (uint16_t i = 0; i < table->ncols; i++)
        values[i].kind = VALUE_NULL;
    for (size_t i = 0; i < plan->nshown; i++) {
        struct slice text = pg_value(row, 0, (int)i);

        if (text.ptr)
            values[plan->shown[i]] = (struct value){VALUE_TEXT, text};
    }
    if (!where_eval(plan->grant->check, &tuple, arena, &tri, err))
        return false;
    *holds = tri == TRI_TRUE;
    return true;
}

/* An old row, or a new one. */
static enum write_ran judge(const struct plan *plan, const struct pg_result *row, bool old,
                            struct arena *arena, struct write_refusal *why)
{
    size_t at = plan->nshown ? plan->nshown : 1;
    bool holds = true;

    if (plan->grant->check && !check_holds(plan, row, arena, &holds, &why->err)) {
        /* Of a row that may be hidden the error would tell. */
        if (old)
            return missing(plan, why);
        why->code = WRITE_CHECK;
        return WRITE_UNRUN;
    }
    if (!holds && old)
        return missing(plan, why);
    if (!holds)
        return refuse(plan, WRITE_CHECK, "the row is outside of what may be written", why);
    for (size_t i = 0; old && i < plan->nsame; i++) {
        if (!pg_bool(row, 0, (int)(at + i))) {
            const struct table *table = plan->grant->rule->table;

            why->code = WRITE_CONFLICTS;
            err_set(&why->err, ERR_INPUT, "column \"%.*s\" of table \"%.*s\" has changed meanwhile",
                    SLICE_ARG(table->cols[plan->same[i]].name), SLICE_ARG(table->relname));
            return WRITE_UNRUN;
        }
    }
    return WRITE_RAN;
}

/* *found: the row is there; false with WRITE_RAN: it is not, and need not be. */
static enum write_ran step(struct pg_conn *conn, const struct plan *plan,
                           struct statement *statement, bool old, struct arena *arena, bool *found,
                           struct write_refusal *why, struct err *err)
{
    struct pg_result *row = run(conn, statement, err);

    *found = row && pg_rows(row) > 0;
    if (!row)
        return mutation_failed(err, why);
    enum write_ran ran = *found ? judge(plan, row, old, arena, why) : missing(plan, why);
    pg_result_free(row);
    return ran;
}

static enum write_ran run_plan(struct pg_conn *conn, struct plan *plan, struct arena *arena,
                               struct write_refusal *why, struct err *err)
{
    enum write_ran ran = WRITE_RAN;
    bool found = true;

    if (plan->look.sql.len)
        ran = step(conn, plan, &plan->look, true, arena, &found, why, err);
    if (ran != WRITE_RAN || !found || !plan->write.sql.len)
        return ran;
    return step(conn, plan, &plan->write, plan->mutation->op == WRITE_DELETE, arena, &found, why,
                err);
}

enum write_ran mutation_run(struct pg_conn *conn, const struct write_rules *rules,
                            const struct write_mutation *mutation, struct arena *arena,
                            struct write_refusal *why, struct err *err)
{
    const struct write_grant *grant = write_rules_find(rules, mutation->nspname, mutation->relname);
    enum write_ran ran = WRITE_UNRUN;
    struct plan plan;

    if (!grant) {
        why->code = WRITE_NOT_ALLOWED;
        err_set(&why->err, ERR_INPUT, "table \"%.*s\".\"%.*s\" takes no writes",
                SLICE_ARG(mutation->nspname), SLICE_ARG(mutation->relname));
        return WRITE_UNRUN;
    }
    if (plan_make(grant, mutation, arena, &plan, why))
        ran = run_plan(conn, &plan, arena, why, err);
    plan_release(&plan);
    return ran;
}
