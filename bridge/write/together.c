/*
 * Two round trips where everything stands:
 *
 *     begin, limits, what is decided by this, role, claims, mutations
 *     commit, position
 *
 * What is recorded goes first: that locks the replicas' rows, and says of which this is not what
 * follows. As a savepoint costs Postgres half of what a row does, there are none. What does not
 * stand takes the others with it: it is left out, and the others are sent once more.
 *
 * Rows of one table that come one behind another are one statement where nothing can tell, which
 * costs Postgres half (mutation_may_follow()). When that one is refused, each is sent by itself, to
 * say which it was.
 *
 * Constraints are deferred until a transaction's end; not where it ends with its only mutation, and
 * nothing waits for that: two statements less.
 */
#include "write/together.h"

#include "base/clock.h"
#include "write/mutation.h"
#include "write/records.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

/* So often they are sent; what is left then is left out as well. */
#define MOST_TRIES 5

/* A share that can be sent. */
struct part {
    struct write_share *share;
    size_t to;          /* its transactions [share->from, to) */
    struct plan *plans; /* of their mutations */
    size_t nplans;
    bool stands; /* it is what follows, and nothing of it was refused */
};

/* What is sent at a time: a statement of ours, a mutation, or rows that go together. */
struct step {
    const char *sql;           /* NULL: mutations */
    struct plan *const *plans; /* of the parts from `part` on */
    size_t nplans;
    struct part *part;
};

struct together {
    struct pg_conn *conn;
    struct pg_pipe pipe;
    const struct write_limits *limits;
    struct part *parts;
    struct record_group *groups; /* the same as the bridge's rows have them */
    size_t n;
    struct step *steps; /* of all parts */
    struct plan **plans;
    size_t nsteps, nplans;
    struct arena arena;   /* parts, plans, steps */
    struct arena scratch; /* of one mutation */
    int tries;            /* how often they were sent */
    bool begun;           /* it was recorded, as far as it follows */
    bool singly;          /* a row that goes with others is refused: each by itself tells which */
    uint32_t xid;         /* of this transaction */
    bool stale;           /* what was prepared may be for tables that have changed */
    struct write_took *took;
    struct err *err; /* the last one */
};

/* ---- what is to be sent ------------------------------------------------ */

static size_t count_mutations(const struct part *part)
{
    size_t n = 0;

    for (size_t i = part->share->from; i < part->to; i++)
        n += part->share->request->txns[i].nmutations;
    return n;
}

static size_t end_of(const struct write_share *share, const struct write_limits *limits)
{
    const struct write_request *request = share->request;
    size_t to = share->from, rows = 0;

    for (; to < request->ntxns; to++) {
        rows += request->txns[to].nmutations;
        if (to > share->from && rows > limits->group_rows)
            break;
    }
    return to;
}

/* False when one of the mutations is refused by the rules. */
static bool make_plans(struct together *t, struct part *part)
{
    const struct write_share *share = part->share;

    part->plans = arena_calloc(&t->arena, count_mutations(part), sizeof(*part->plans));
    for (size_t i = share->from; i < part->to; i++) {
        const struct write_txn *txn = &share->request->txns[i];

        for (size_t m = 0; m < txn->nmutations; m++) {
            if (!mutation_plan(share->rules, &txn->mutations[m], &t->arena,
                               &part->plans[part->nplans++]))
                return false;
        }
    }
    return true;
}

static void release_plans(struct part *part)
{
    for (size_t i = 0; i < part->nplans; i++)
        plan_release(&part->plans[i]);
    part->nplans = 0;
}

static void add_part(struct together *t, struct write_share *share)
{
    struct part *part = &t->parts[t->n];

    *part = (struct part){.share = share, .to = end_of(share, t->limits)};
    if (part->to > share->from && make_plans(t, part))
        t->groups[t->n++] = (struct record_group){share->request, share->from, part->to};
    else
        release_plans(part);
}

/* ---- in which steps ---------------------------------------------------- */

static const char immediate_sql[] = "SET CONSTRAINTS ALL IMMEDIATE";
static const char deferred_sql[] = "SET CONSTRAINTS ALL DEFERRED";

static struct step *add_step(struct together *t, struct part *part)
{
    struct step *step = &t->steps[t->nsteps++];

    *step = (struct step){.plans = &t->plans[t->nplans], .part = part};
    return step;
}

static void add_sql(struct together *t, struct part *part, const char *sql)
{
    add_step(t, part)->sql = sql;
}

static void add_plan(struct together *t, struct part *part, struct plan *plan)
{
    struct step *last = t->nsteps ? &t->steps[t->nsteps - 1] : NULL;

    if (!last || last->sql || t->singly || !mutation_may_follow(plan, last->plans[0], last->nplans))
        last = add_step(t, part);
    t->plans[t->nplans++] = plan;
    last->nplans++;
}

/* Whether constraints are deferred until the transaction's end. */
static bool is_deferred(const struct write_txn *txn, const struct plan *plans)
{
    return txn->nmutations > 1 || (txn->nmutations == 1 && !plans->grant->rule->plain);
}

static void add_steps(struct together *t, struct part *part)
{
    struct plan *plan = part->plans;

    for (size_t i = part->share->from; i < part->to; i++) {
        const struct write_txn *txn = &part->share->request->txns[i];
        bool deferred = is_deferred(txn, plan);

        if (deferred)
            add_sql(t, part, deferred_sql);
        for (size_t m = 0; m < txn->nmutations; m++)
            add_plan(t, part, plan++);
        if (deferred)
            add_sql(t, part, immediate_sql);
    }
}

static void make_steps(struct together *t)
{
    size_t nplans = 0, ntxns = 0;

    for (size_t i = 0; i < t->n; i++) {
        nplans += t->parts[i].nplans;
        ntxns += t->parts[i].to - t->parts[i].share->from;
    }
    t->plans = arena_calloc(&t->arena, nplans, sizeof(struct plan *));
    t->steps = arena_calloc(&t->arena, nplans + 2 * ntxns, sizeof(*t->steps));
    t->nplans = t->nsteps = 0;
    for (size_t i = 0; i < t->n; i++)
        add_steps(t, &t->parts[i]);
}

/* ---- sending ----------------------------------------------------------- */

static void put(struct together *t, const char *sql)
{
    pg_pipe_put(&t->pipe, sql, NULL, NULL, 0);
}

/* Takes the result of a statement that gives nothing. */
static bool pass(struct together *t)
{
    struct pg_result *res = pg_pipe_next(&t->pipe, t->err);

    pg_result_free(res);
    return res != NULL;
}

static bool pass_all(struct together *t, size_t n)
{
    bool ok = true;

    for (; n > 0; n--)
        ok = pass(t) && ok;
    return ok;
}

static const char begin_sql[] = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
/* The commit is going to be acknowledged. The plan for the bridge's own rows is kept, and may have
 * been made when there were hardly any. */
static const char limits_sql[] =
    "SELECT pg_catalog.set_config('lock_timeout', $1, true),"
    " pg_catalog.set_config('statement_timeout', $2, true),"
    " pg_catalog.set_config('synchronous_commit', 'on', true),"
    " pg_catalog.set_config('tombolo.enable_seqscan',"
    "   pg_catalog.current_setting('enable_seqscan'), true),"
    " pg_catalog.set_config('tombolo.plan_cache_mode',"
    "   pg_catalog.current_setting('plan_cache_mode'), true),"
    " pg_catalog.set_config('enable_seqscan', 'off', true),"
    " pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true)";
/* A plan that is kept has in it what a function gave that says it is immutable, and reads the
 * claims all the same: under a role, whose policies may call one, each is made anew. */
static const char writer_sql[] =
    "SELECT pg_catalog.set_config('row_security', 'on', true),"
    " pg_catalog.set_config('request.jwt.claims', $2, true),"
    " pg_catalog.set_config('enable_seqscan',"
    "   pg_catalog.current_setting('tombolo.enable_seqscan'), true),"
    " pg_catalog.set_config('plan_cache_mode',"
    "   coalesce($3, pg_catalog.current_setting('tombolo.plan_cache_mode')), true),"
    " pg_catalog.set_config('role', $1, true)";
static const char path_sql[] = "SET LOCAL search_path TO DEFAULT";

static void send_begin(struct together *t)
{
    const struct write_limits *limits = t->limits;
    int lock_ms = limits->lock_timeout_ms;
    char lock[16], statement[16];
    const char *params[] = {lock, statement};

    if (lock_ms == 0 || lock_ms > TOGETHER_LOCK_MS)
        lock_ms = TOGETHER_LOCK_MS;
    snprintf(lock, sizeof(lock), "%d", lock_ms);
    snprintf(statement, sizeof(statement), "%d", limits->statement_timeout_ms);
    put(t, begin_sql);
    pg_pipe_put(&t->pipe, limits_sql, NULL, params, 2);
    records_send(&t->pipe, t->groups, t->n, t->parts[0].share->rules->subject);
}

static void send_writer(struct together *t)
{
    const struct write_rules *rules = t->parts[0].share->rules;
    const char *params[] = {rules->role.len ? rules->role.ptr : "none",
                            rules->claims.len ? rules->claims.ptr : "",
                            rules->role.len ? "force_custom_plan" : NULL};

    pg_pipe_put(&t->pipe, writer_sql, NULL, params, 3);
    put(t, path_sql);
}

static void send_step(struct together *t, const struct step *step)
{
    if (step->sql)
        put(t, step->sql);
    else if (step->nplans == 1)
        mutation_send(&t->pipe, step->plans[0]);
    else
        mutation_send_rows(&t->pipe, step->plans, step->nplans);
}

static void send_steps(struct together *t)
{
    t->pipe.role = t->parts[0].share->rules->role.ptr;
    for (size_t i = 0; i < t->nsteps; i++)
        send_step(t, &t->steps[i]);
    t->pipe.role = NULL;
}

/* ---- what came of it --------------------------------------------------- */

/* *all: each of them is what follows. */
static bool take_begin(struct together *t, bool *all)
{
    bool *follows = arena_calloc(&t->arena, t->n, sizeof(*follows));

    t->begun = pass_all(t, 2) &&
               records_take(&t->pipe, t->groups, t->n, follows, &t->xid, t->err) && pass_all(t, 2);
    *all = true;
    for (size_t i = 0; i < t->n; i++) {
        t->parts[i].stands = follows[i];
        *all = *all && follows[i];
    }
    return t->begun;
}

static void note_error(struct together *t)
{
    static const char *const states[] = {"0A000", "26000"}; /* another result; no such statement */

    for (size_t i = 0; i < sizeof(states) / sizeof(*states); i++)
        t->stale = t->stale || strcmp(t->err->sqlstate, states[i]) == 0;
}

static bool take_step(struct together *t, const struct step *step)
{
    bool ok;

    *t->err = (struct err){0};
    if (step->sql)
        return pass(t);
    if (step->nplans > 1)
        return mutation_take_rows(&t->pipe, step->nplans, t->err);
    ok = mutation_take(&t->pipe, step->plans[0], &t->scratch, t->err);
    arena_reset(&t->scratch);
    return ok;
}

/* Whether all of them stand. Behind an error nothing has run, which is nobody's fault. */
static bool take_steps(struct together *t)
{
    bool all = true, failed = false;

    for (size_t i = 0; i < t->nsteps; i++) {
        const struct step *step = &t->steps[i];

        if (take_step(t, step) || failed)
            continue;
        all = false;
        failed = t->err->code != ERR_NONE;
        note_error(t);
        if (step->nplans > 1)
            t->singly = true;
        else
            step->part->stands = false;
    }
    return all;
}

/* Whether all can be committed. */
static bool run_parts(struct together *t)
{
    bool all;

    make_steps(t);
    send_begin(t);
    send_writer(t);
    send_steps(t);
    pg_pipe_mark(&t->pipe);
    if (take_begin(t, &all))
        return take_steps(t) && all;
    note_error(t);
    return false;
}

/* Before the others are sent once more. */
static void leave_out(struct together *t)
{
    size_t n = 0;

    for (size_t i = 0; i < t->n; i++) {
        if (!t->parts[i].stands) {
            release_plans(&t->parts[i]);
            continue;
        }
        t->parts[n] = t->parts[i];
        t->groups[n++] = t->groups[i];
    }
    t->n = n;
}

static bool run_others(struct together *t)
{
    leave_out(t);
    put(t, "ROLLBACK");
    pg_pipe_mark(&t->pipe);
    return pass(t) && t->n > 0 && run_parts(t);
}

/* Whether what is left of them can be committed. */
static bool run_tries(struct together *t)
{
    bool ok = run_parts(t);

    for (t->tries = 1; !ok && t->begun && t->n > 1 && t->tries < MOST_TRIES; t->tries++)
        ok = run_others(t);
    return ok;
}

/* ---- the commit -------------------------------------------------------- */

static bool take_commit(struct together *t, lsn_t *lsn)
{
    /* A transaction that is aborted would "commit" as well: by rolling back, without an error. */
    struct pg_result *res = pg_pipe_next(&t->pipe, t->err);
    bool ok = res && strcmp(PQcmdStatus(res), "COMMIT") == 0;

    pg_result_free(res);
    res = ok ? pg_pipe_next(&t->pipe, t->err) : NULL;
    ok = res && lsn_parse(pg_value(res, 0, 0), lsn);
    pg_result_free(res);
    return ok;
}

static void note_decided(struct part *part, uint32_t xid, lsn_t lsn)
{
    struct write_share *share = part->share;

    for (; share->from < part->to; share->from++)
        share->outcome->results[share->from] =
            (struct write_result){.status = WRITE_APPLIED, .xid = xid, .lsn = lsn};
    share->outcome->last_id = share->request->txns[part->to - 1].id;
}

static void commit(struct together *t)
{
    lsn_t lsn;

    put(t, "COMMIT");
    put(t, "SELECT pg_catalog.pg_current_wal_insert_lsn()");
    pg_pipe_mark(&t->pipe);
    if (!take_commit(t, &lsn))
        return;
    for (size_t i = 0; i < t->n; i++)
        note_decided(&t->parts[i], t->xid, lsn);
}

/* ---- all of it --------------------------------------------------------- */

/* The connection is to be as it was. */
static bool end(struct together *t)
{
    if (!pg_pipe_close(&t->pipe, t->err))
        return false;
    if (PQtransactionStatus(t->conn) != PQTRANS_IDLE && !pg_run(t->conn, "ROLLBACK", t->err))
        return false;
    return !t->stale || pg_forget_prepared(t->conn, t->err);
}

static void note_time(struct together *t, int64_t us)
{
    for (size_t i = 0; i < t->n; i++)
        t->took->mutations += t->parts[i].nplans;
    t->took->us = us;
}

static bool run(struct together *t)
{
    int64_t began = clock_us();

    if (!pg_pipe_open(&t->pipe, t->conn, t->err))
        return false;
    bool ok = run_tries(t);
    if (ok && t->tries == 1)
        note_time(t, clock_us() - began);
    if (ok)
        commit(t);
    if (end(t))
        return true;
    t->err->code = ERR_CONN;
    return false;
}

bool write_may_share(const struct write_rules *a, const struct write_rules *b)
{
    return slice_eq(a->subject, b->subject) && slice_eq(a->role, b->role) &&
           slice_eq(a->claims, b->claims);
}

bool write_together(struct pg_conn *conn, struct write_share *shares, size_t n,
                    const struct write_limits *limits, struct write_took *took, struct err *err)
{
    struct together t = {.conn = conn, .limits = limits, .took = took, .err = err};
    bool ok = true;

    *took = (struct write_took){0};
    t.parts = arena_calloc(&t.arena, n, sizeof(*t.parts));
    t.groups = arena_calloc(&t.arena, n, sizeof(*t.groups));
    for (size_t i = 0; i < n; i++)
        add_part(&t, &shares[i]);
    if (t.n > 0)
        ok = run(&t);
    for (size_t i = 0; i < t.n; i++)
        release_plans(&t.parts[i]);
    arena_release(&t.arena);
    arena_release(&t.scratch);
    return ok;
}
