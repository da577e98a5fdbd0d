/*
 * begin -> lock the replica's row -> where are we? -> role, claims -> a savepoint for each -> the
 * bridge's own role again -> rejections, last id -> commit; and from the start until the request
 * is used up.
 */
#include "write/apply.h"
#include "base/clock.h"
#include "base/logging.h"
#include "write/mutation.h"
#include "write/record.h"
#include "write/together.h"

#include <libpq-fe.h>
#include <string.h>

struct work {
    struct pg_conn *conn;
    const struct write_rules *rules;
    struct write_rules no_grants; /* the rules of one whose role is refused */
    bool role_refused;
    const struct write_request *request;
    const struct write_limits *limits;
    struct arena *arena;
    struct arena scratch; /* of one mutation */
    struct write_outcome *outcome;
    struct err *err;
    int attempts;
    bool slowly;    /* the next group is not tried the short way */
    size_t singly;  /* transactions before this one are not grouped: a group of them failed */
    ptrdiff_t lost; /* the one whose commit failed for good, or -1 */
    struct write_refusal lost_why;
};

enum step {
    STEP_ON,    /* the next group */
    STEP_END,   /* the request is used up, or is not to be applied */
    STEP_AGAIN, /* the same once more */
    STEP_FAILED,
};

/* ---- errors ------------------------------------------------------------ */

/* Ends the transaction, if there is one. */
static void roll_back(struct work *w)
{
    struct err ignored;

    if (PQtransactionStatus(w->conn) == PQTRANS_IDLE || !pg_alive(w->conn))
        return;
    if (!pg_run(w->conn, "ROLLBACK", &ignored))
        log_warn("could not roll back a write", LOG_ERR(&ignored));
}

/* The role that the token names is none, or not ours to give. */
static enum step without_grants(struct work *w)
{
    w->no_grants = (struct write_rules){.subject = w->rules->subject, .claims = w->rules->claims};
    w->rules = &w->no_grants;
    w->role_refused = false;
    return STEP_AGAIN;
}

/* After w->err, whose transaction is lost. */
static enum step failed(struct work *w)
{
    enum write_class class = write_class_of(w->err);

    roll_back(w);
    if (w->role_refused)
        return without_grants(w);
    if (class == WRITE_LATER)
        return STEP_END;
    if (class != WRITE_RETRY)
        return STEP_FAILED;
    if (++w->attempts >= w->limits->attempts)
        return STEP_END;
    /* Whoever was in our way gets through. */
    clock_sleep_ms(20L << (w->attempts < 5 ? w->attempts : 5));
    return STEP_AGAIN;
}

static bool run(struct work *w, const char *sql)
{
    return pg_run(w->conn, sql, w->err);
}

/* ---- one transaction --------------------------------------------------- */

static void reject(struct work *w, size_t i, int mutation, const struct write_refusal *why)
{
    struct write_result *result = &w->outcome->results[i];
    size_t most = w->request->txns[i].nmutations + 1;

    if (!result->rejections)
        result->rejections = arena_calloc(w->arena, most, sizeof(*result->rejections));
    result->rejections[result->nrejections++] = (struct write_rejection){
        .mutation = mutation,
        .code = slice_of(write_code_name(why->code)),
        .sqlstate = arena_copy(w->arena, slice_of(why->err.sqlstate)),
        .message = arena_copy(w->arena, slice_of(why->err.msg)),
    };
    w->outcome->schema_changed = w->outcome->schema_changed || write_is_schema_change(&why->err);
}

static enum write_ran run_mutation(struct work *w, const struct write_mutation *mutation,
                                   struct write_refusal *why)
{
    enum write_ran ran = mutation_run(w->conn, w->rules, mutation, &w->scratch, why, w->err);

    arena_reset(&w->scratch);
    return ran;
}

/* What the constraints that were deferred say of the transaction so far. The next one's are
 * deferred again, in a savepoint of its own. */
static enum write_ran settle(struct work *w, struct write_refusal *why)
{
    if (run(w, "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED;"
               "RELEASE SAVEPOINT tombolo_write; SAVEPOINT tombolo_write"))
        return WRITE_RAN;
    return mutation_failed(w->err, why);
}

/* To where the savepoint was set, which stays for the next. */
static bool take_back(struct work *w)
{
    return run(w, "ROLLBACK TO SAVEPOINT tombolo_write");
}

/* The mutations [from, to) of a transaction: all of them or none. *at is the one that was refused.
 */
static enum write_ran run_together(struct work *w, const struct write_txn *txn, size_t from,
                                   size_t to, int *at, struct write_refusal *why)
{
    enum write_ran ran = WRITE_RAN;

    for (size_t m = from; m < to && ran == WRITE_RAN; m++) {
        *at = (int)m;
        ran = run_mutation(w, &txn->mutations[m], why);
    }
    if (ran == WRITE_RAN) {
        *at = to - from == 1 ? (int)from : WRITE_WHOLE;
        ran = settle(w, why);
    }
    if (ran == WRITE_UNRUN && !take_back(w))
        return WRITE_BROKEN;
    return ran;
}

/* The mutations [from, to), of which some are refused: halves, until those are alone. */
static bool apply_halves(struct work *w, size_t i, size_t from, size_t to)
{
    struct write_refusal why;
    int at;

    switch (run_together(w, &w->request->txns[i], from, to, &at, &why)) {
    case WRITE_RAN:
        return true;
    case WRITE_BROKEN:
        return false;
    case WRITE_UNRUN:
        break;
    }
    if (to - from > 1)
        return apply_halves(w, i, from, from + (to - from) / 2) &&
               apply_halves(w, i, from + (to - from) / 2, to);
    reject(w, i, at, &why);
    return true;
}

/* All but those that are refused. A savepoint a row would be slow: what comes before a refused one
 * is done again together. */
static bool apply_rows(struct work *w, size_t i)
{
    const struct write_txn *txn = &w->request->txns[i];
    const struct write_result *result = &w->outcome->results[i];
    struct write_refusal why;
    int at;

    for (size_t from = 0; from < txn->nmutations;) {
        enum write_ran ran = run_together(w, txn, from, txn->nmutations, &at, &why);
        size_t before = result->nrejections;

        if (ran != WRITE_UNRUN)
            return ran == WRITE_RAN;
        if (at == WRITE_WHOLE) /* found by what was deferred: nobody knows whose fault it is */
            return apply_halves(w, i, from, txn->nmutations);
        if ((size_t)at > from && !apply_halves(w, i, from, (size_t)at))
            return false;
        from = (size_t)at;
        if (result->nrejections == before) { /* or it may go, without those */
            reject(w, i, at, &why);
            from++;
        }
    }
    return true;
}

/* False when the whole group is lost, with w->err. */
static bool apply_txn(struct work *w, size_t i)
{
    const struct write_txn *txn = &w->request->txns[i];
    struct write_refusal why;
    int at = WRITE_WHOLE;

    if (w->lost == (ptrdiff_t)i) {
        reject(w, i, WRITE_WHOLE, &w->lost_why);
        return true;
    }
    if (!txn->marked && txn->nmutations > 1)
        return apply_rows(w, i);
    enum write_ran ran = run_together(w, txn, 0, txn->nmutations, &at, &why);
    if (ran == WRITE_UNRUN)
        reject(w, i, at, &why);
    return ran != WRITE_BROKEN;
}

/* ---- a group ----------------------------------------------------------- */

static bool set_up(struct work *w)
{
    return pg_runf(w->conn, w->err,
                   "SET LOCAL lock_timeout = %d; SET LOCAL statement_timeout = %d;"
                   "SET LOCAL synchronous_commit = on", /* it is going to be acknowledged */
                   w->limits->lock_timeout_ms, w->limits->statement_timeout_ms);
}

/* From here on as whoever wrote it, under the rules of row security. */
static bool become_writer(struct work *w)
{
    const struct write_rules *rules = w->rules;
    const char *params[] = {rules->role.len ? rules->role.ptr : "none",
                            rules->claims.len ? rules->claims.ptr : ""};
    struct pg_result *res;

    if (!run(w, "SET LOCAL row_security = on; SET CONSTRAINTS ALL DEFERRED"))
        return false;
    res = pg_query_params(w->conn,
                          "SELECT set_config('request.jwt.claims', $2, true),"
                          "       set_config('role', $1, true)",
                          params, 2, w->err);
    pg_result_free(res);
    w->role_refused = !res && rules->role_of_token && write_class_of(w->err) == WRITE_PERMANENT;
    return res && run(w, "SET LOCAL search_path TO DEFAULT; SAVEPOINT tombolo_write");
}

static bool become_bridge(struct work *w)
{
    return run(w, "RELEASE SAVEPOINT tombolo_write; SET LOCAL ROLE NONE;"
                  "SET LOCAL search_path = pg_catalog");
}

static size_t group_end(const struct work *w, size_t from)
{
    size_t to = from, rows = 0;

    while (to < w->request->ntxns && to - from < w->limits->group) {
        rows += w->request->txns[to].nmutations;
        if (to > from && (rows > w->limits->group_rows || from < w->singly))
            break;
        to++;
    }
    return to;
}

static enum write_status status_of(const struct write_txn *txn, const struct write_result *result)
{
    if (result->nrejections == 0)
        return WRITE_APPLIED;
    return txn->marked || result->nrejections >= txn->nmutations ||
                   result->rejections[0].mutation == WRITE_WHOLE
               ? WRITE_REJECTED
               : WRITE_PARTLY;
}

/* The group is to be done again: what was said of it is void. */
static void forget(struct work *w, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        w->outcome->results[i] = (struct write_result){.status = WRITE_AGAIN};
}

static bool apply_effects(struct work *w, size_t from, size_t to)
{
    if (!become_writer(w))
        return false;
    for (size_t i = from; i < to; i++) {
        if (!apply_txn(w, i))
            return false;
    }
    return become_bridge(w);
}

/* The commit was refused. Alone, the transaction is; together, each gets its own. */
static enum step commit_failed(struct work *w, size_t from, size_t to)
{
    forget(w, from, to);
    if (write_class_of(w->err) != WRITE_PERMANENT || w->lost == (ptrdiff_t)from)
        return failed(w);
    roll_back(w);
    w->singly = to;
    if (to - from == 1) {
        w->lost = (ptrdiff_t)from;
        w->lost_why = (struct write_refusal){WRITE_REFUSED, *w->err};
    }
    return STEP_AGAIN;
}

static enum step commit(struct work *w, size_t from, size_t to, uint32_t xid)
{
    lsn_t lsn;

    if (!record_commit(w->conn, &lsn, w->err))
        return commit_failed(w, from, to);
    for (size_t i = from; i < to; i++) {
        struct write_result *result = &w->outcome->results[i];

        result->status = status_of(&w->request->txns[i], result);
        result->xid = xid;
        result->lsn = lsn;
    }
    if (to > from)
        w->outcome->last_id = w->request->txns[to - 1].id;
    w->attempts = 0;
    w->lost = -1;
    w->slowly = false;
    return to < w->request->ntxns ? STEP_ON : STEP_END;
}

static enum step apply_group(struct work *w, size_t from)
{
    size_t to = group_end(w, from);
    const struct record_group group = {w->request, from, to};
    uint32_t xid = 0;

    if (from == w->request->ntxns)
        return commit(w, from, to, 0);
    if (!apply_effects(w, from, to) ||
        !record_group(w->conn, &group, w->outcome->results, w->rules->subject, &xid, w->err)) {
        forget(w, from, to);
        w->singly = to; /* alone, each holds fewer locks for less long */
        return failed(w);
    }
    return commit(w, from, to, xid);
}

/* What earlier requests decided of this one. */
static bool take_known(struct work *w, size_t from)
{
    const struct write_request *request = w->request;

    for (size_t i = 0; i < from; i++) {
        if (w->outcome->results[i].status != WRITE_AGAIN)
            continue; /* by us, just now */
        if (!record_known(w->conn, request, i, &w->outcome->results[i], w->arena, w->err))
            return false;
        w->outcome->results[i].status = status_of(&request->txns[i], &w->outcome->results[i]);
        w->outcome->results[i].repeated = true;
    }
    return true;
}

static enum step next_group(struct work *w)
{
    struct replica_row row;
    size_t from;

    if (!run(w, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE") || !set_up(w) ||
        !record_lock(w->conn, w->request, w->rules->subject, w->limits->replicas, w->arena, &row,
                     &w->outcome->answer, w->err))
        return failed(w);
    w->outcome->last_id = row.last_id;
    if (w->outcome->answer == WRITE_DONE && !record_position(&row, w->request, &from))
        w->outcome->answer = WRITE_FORK;
    if (w->outcome->answer != WRITE_DONE) {
        roll_back(w);
        return STEP_END;
    }
    if (!record_acknowledged(w->conn, w->request, w->err) || !take_known(w, from))
        return failed(w);
    return apply_group(w, from);
}

/* What is plain, in few round trips; the group that is not is done by itself. */
static enum step short_way(struct work *w)
{
    struct write_share share = {
        .rules = w->rules, .request = w->request, .arena = w->arena, .outcome = w->outcome};

    while (share.from < w->request->ntxns && w->outcome->results[share.from].status != WRITE_AGAIN)
        share.from++;
    size_t from = share.from;
    if (!write_together(w->conn, &share, 1, w->limits, &w->outcome->took, w->err))
        return failed(w);
    w->slowly = share.from == from;
    return w->slowly || share.from < w->request->ntxns ? STEP_ON : STEP_END;
}

void write_outcome_init(struct write_outcome *outcome, const struct write_request *request,
                        struct arena *arena)
{
    *outcome = (struct write_outcome){
        .results = arena_calloc(arena, request->ntxns, sizeof(*outcome->results))};
}

bool write_apply(struct pg_conn *conn, const struct write_rules *rules,
                 const struct write_request *request, const struct write_limits *limits,
                 struct arena *arena, struct write_outcome *outcome, struct err *err)
{
    struct work w = {.conn = conn,
                     .rules = rules,
                     .request = request,
                     .limits = limits,
                     .arena = arena,
                     .outcome = outcome,
                     .err = err,
                     .lost = -1};
    enum step step;

    write_outcome_init(outcome, request, arena);
    do
        step = w.slowly ? next_group(&w) : short_way(&w);
    while (step == STEP_ON || step == STEP_AGAIN);
    arena_release(&w.scratch);
    return step == STEP_END;
}
