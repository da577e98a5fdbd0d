#include "write/mutation.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

/* The statement's rows; NULL with the error. */
static struct pg_result *run(struct pg_conn *conn, struct statement *statement, struct err *err)
{
    return pg_checked(conn,
                      PQexecParams(conn, buf_cstr(&statement->sql), statement->nparams,
                                   statement->types, statement->values, NULL, NULL, 0),
                      err);
}

/* How many rows it gave, or changed. */
static bool any_row(struct pg_result *res)
{
    return strcmp(PQcmdTuples(res), "0") != 0;
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

static enum write_ran refuse_missing(const struct plan *plan, struct write_refusal *why)
{
    return refuse(plan, WRITE_MISSING,
                  plan->grant->check ? "there is no such row, or none that may be changed"
                                     : "there is no such row",
                  why);
}

/* Where there is a check, a row outside of it is as good as none: whether there is one is not the
 * replica's business. */
static enum write_ran missing(const struct plan *plan, struct write_refusal *why)
{
    enum write_op op = plan->mutation->op;

    if (op == WRITE_INSERT)
        return refuse(plan, WRITE_REFUSED, "the row was left out by a trigger or rule", why);
    return plan->grant->rule->skip_missing[op] ? WRITE_RAN : refuse_missing(plan, why);
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

enum judged {
    JUDGED_GOOD,
    JUDGED_HIDDEN, /* an old row that is outside of the check */
    JUDGED_REFUSED,
};

static enum judged judge_same(const struct plan *plan, const struct pg_result *row,
                              struct write_refusal *why)
{
    const struct table *table = plan->grant->rule->table;
    size_t at = plan->nshown ? plan->nshown : 1, i = 0;

    while (i < plan->nsame && pg_bool(row, 0, (int)(at + i)))
        i++;
    if (i == plan->nsame)
        return JUDGED_GOOD;
    why->code = WRITE_CONFLICTS;
    err_set(&why->err, ERR_INPUT, "column \"%.*s\" of table \"%.*s\" has changed meanwhile",
            SLICE_ARG(table->cols[plan->same[i]].name), SLICE_ARG(table->relname));
    return JUDGED_REFUSED;
}

/* An old row, or a new one. */
static enum judged judge(const struct plan *plan, const struct pg_result *row, bool old,
                         struct arena *arena, struct write_refusal *why)
{
    bool holds = true;

    if (plan->grant->check && !check_holds(plan, row, arena, &holds, &why->err)) {
        /* Of a row that may be hidden the error would tell. */
        why->code = WRITE_CHECK;
        return old ? JUDGED_HIDDEN : JUDGED_REFUSED;
    }
    if (!holds && old)
        return JUDGED_HIDDEN;
    if (holds)
        return old ? judge_same(plan, row, why) : JUDGED_GOOD;
    refuse(plan, WRITE_CHECK, "the row is outside of what may be written", why);
    return JUDGED_REFUSED;
}

/* What a statement gave. */
struct given {
    bool row;    /* there was one */
    bool stands; /* and it is one that the replica may see; false with WRITE_RAN: passed over */
};

static enum write_ran step(struct pg_conn *conn, const struct plan *plan,
                           struct statement *statement, bool old, struct arena *arena,
                           struct given *given, struct write_refusal *why, struct err *err)
{
    struct pg_result *row = run(conn, statement, err);
    enum judged judged = JUDGED_HIDDEN;

    if (!row)
        return mutation_failed(err, why);
    given->row = any_row(row);
    if (given->row)
        judged = judge(plan, row, old, arena, why);
    pg_result_free(row);
    given->stands = judged == JUDGED_GOOD;
    if (judged == JUDGED_HIDDEN)
        return missing(plan, why);
    return judged == JUDGED_GOOD ? WRITE_RAN : WRITE_UNRUN;
}

static enum write_ran run_plan(struct pg_conn *conn, struct plan *plan, struct arena *arena,
                               struct write_refusal *why, struct err *err)
{
    struct given given = {.stands = true};
    enum write_ran ran = WRITE_RAN;

    if (plan->look.sql.len)
        ran = step(conn, plan, &plan->look, true, arena, &given, why, err);
    if (ran != WRITE_RAN || !given.stands || !plan->write.sql.len)
        return ran;
    ran =
        step(conn, plan, &plan->write, plan->mutation->op == WRITE_DELETE, arena, &given, why, err);
    /* A row that came to be hidden since we looked is deleted by now: that is to be taken back. */
    return ran == WRITE_RAN && given.row && !given.stands ? refuse_missing(plan, why) : ran;
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

/* ---- without waiting --------------------------------------------------- */

bool mutation_plan(const struct write_rules *rules, const struct write_mutation *mutation,
                   struct arena *arena, struct plan *plan)
{
    const struct write_grant *grant = write_rules_find(rules, mutation->nspname, mutation->relname);
    struct write_refusal why;

    *plan = (struct plan){.grant = grant};
    return grant && plan_make(grant, mutation, arena, plan, &why);
}

static void send(struct pg_pipe *pipe, struct statement *statement)
{
    if (statement->sql.len)
        pg_pipe_put(pipe, buf_cstr(&statement->sql), statement->types, statement->values,
                    statement->nparams);
}

void mutation_send(struct pg_pipe *pipe, struct plan *plan)
{
    send(pipe, &plan->look);
    send(pipe, &plan->write);
}

static bool take(struct pg_pipe *pipe, const struct plan *plan, const struct statement *statement,
                 bool old, struct arena *arena, struct err *err)
{
    struct write_refusal why;

    if (!statement->sql.len)
        return true;
    struct pg_result *row = pg_pipe_next(pipe, err);
    bool stands = row && any_row(row) && judge(plan, row, old, arena, &why) == JUDGED_GOOD;

    pg_result_free(row);
    return stands;
}

bool mutation_take(struct pg_pipe *pipe, const struct plan *plan, struct arena *arena,
                   struct err *err)
{
    bool looked = take(pipe, plan, &plan->look, true, arena, err);
    bool written = take(pipe, plan, &plan->write, plan->mutation->op == WRITE_DELETE, arena, err);

    return looked && written;
}

/* ---- rows in one statement --------------------------------------------- */

/* Rows and parameters of a statement, which Postgres keeps. */
#define MOST_ROWS 64
#define MOST_PARAMS 512

/* Of rows in one statement nothing is looked at but their number. */
static bool is_looked_at(const struct plan *plan)
{
    return plan->grant->check || plan->nshown > 0;
}

bool mutation_may_follow(const struct plan *plan, const struct plan *first, size_t n)
{
    return n < MOST_ROWS && (n + 1) * (size_t)first->write.nparams <= MOST_PARAMS &&
           first->grant->rule->rows_are_alone && first->mutation->op == WRITE_INSERT &&
           !is_looked_at(first) && !is_looked_at(plan) &&
           slice_eq(buf_slice(&plan->write.sql), buf_slice(&first->write.sql));
}

/* So many of `n` go in the next statement: there are few that differ, as each is prepared. */
static size_t next_rows(size_t n)
{
    size_t rows = 1;

    while (2 * rows <= n)
        rows *= 2;
    return rows;
}

static void send_rows(struct pg_pipe *pipe, struct plan *const *plans, size_t n)
{
    const struct statement *one = &plans[0]->write;
    size_t nparams = (size_t)one->nparams;
    const char **values = xmalloc(n * nparams * sizeof(*values));
    uint32_t *types = xmalloc(n * nparams * sizeof(*types));
    struct buf sql;

    buf_init(&sql, BUF_NO_LIMIT);
    buf_put_slice(&sql, buf_slice(&one->sql));
    for (size_t i = 0; i < n; i++) {
        memcpy(&values[i * nparams], plans[i]->write.values, nparams * sizeof(*values));
        memcpy(&types[i * nparams], one->types, nparams * sizeof(*types));
        if (i == 0)
            continue;
        buf_put_cstr(&sql, ", ");
        conflict_put_row(&sql, i * nparams + 1, nparams);
    }
    pg_pipe_put(pipe, buf_cstr(&sql), types, values, (int)(n * nparams));
    buf_release(&sql);
    free(types);
    free(values);
}

void mutation_send_rows(struct pg_pipe *pipe, struct plan *const *plans, size_t n)
{
    for (size_t rows; n > 0; n -= rows, plans += rows) {
        rows = next_rows(n);
        send_rows(pipe, plans, rows);
    }
}

bool mutation_take_rows(struct pg_pipe *pipe, size_t n, struct err *err)
{
    bool ok = true;

    for (size_t rows; n > 0; n -= rows) {
        rows = next_rows(n);
        struct pg_result *res = pg_pipe_next(pipe, err);
        ok = res && strtoull(PQcmdTuples(res), NULL, 10) == rows && ok;
        pg_result_free(res);
    }
    return ok;
}
