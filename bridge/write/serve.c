#include "write/serve.h"

#include "base/clock.h"

#include <string.h>

static bool ensure_connected(struct worker *w, struct err *err)
{
    if (pg_alive(w->conn))
        return true;
    pg_close(w->conn);
    w->conn = pg_connect(w->pool->config.conninfo, "tombolo write", false, err);
    if (!w->conn)
        err->code = ERR_CONN;
    /* For what does not set its own: the question of what was decided. */
    return w->conn &&
           pg_runf(w->conn, err, "SET lock_timeout = %d", w->pool->config.limits.lock_timeout_ms);
}

static void note_time(struct write_pool *pool, const struct write_took *took)
{
    if (took->mutations == 0)
        return;
    pthread_mutex_lock(&pool->mutex);
    pool->mutation_us = (3 * pool->mutation_us + took->us / (int64_t)took->mutations) / 4;
    pthread_mutex_unlock(&pool->mutex);
}

static void count(struct write_stats *stats, const struct write_request *request,
                  const struct write_outcome *outcome)
{
    atomic_uint_fast64_t *const counters[] = {
        [WRITE_AGAIN] = &stats->again,
        [WRITE_APPLIED] = &stats->applied,
        [WRITE_PARTLY] = &stats->partly,
        [WRITE_REJECTED] = &stats->rejected,
    };

    for (size_t i = 0; outcome->answer == WRITE_DONE && i < request->ntxns; i++) {
        const struct write_result *result = &outcome->results[i];

        atomic_fetch_add(result->repeated ? &stats->repeated : counters[result->status], 1);
    }
}

static bool apply(struct worker *w, struct job *job, const struct write_rules *rules,
                  struct write_reply *reply, struct err *err)
{
    struct write_pool *pool = w->pool;
    struct write_outcome outcome;
    bool ok = write_apply(w->conn, rules, &job->request, &pool->config.limits, &job->arena,
                          &outcome, err);

    count(&pool->stats, &job->request, &outcome);
    note_time(pool, &outcome.took);
    if (outcome.schema_changed)
        pool->config.schema_changed(pool->config.owner);
    answer_outcome(&job->request, &outcome, err, reply);
    return ok;
}

static bool ask(struct worker *w, struct job *job, const struct write_rules *rules,
                struct write_reply *reply, struct err *err)
{
    struct write_known known;
    bool ok = memory_ask(w->conn, &job->request, rules->subject, &job->arena, &known, err);

    if (ok)
        answer_known(&known, reply);
    else
        answer_failure(err, reply);
    return ok;
}

/* Once: what was decided stays so, and a repeat finds it. */
static bool run_once(struct worker *w, struct job *job, const struct write_rules *rules,
                     struct write_reply *reply, struct err *err)
{
    bool ok = false;

    if (!ensure_connected(w, err))
        answer_failure(err, reply);
    else if (job->request.decided)
        ok = ask(w, job, rules, reply, err);
    else
        ok = apply(w, job, rules, reply, err);
    if (!ok) {
        pg_close(w->conn);
        w->conn = NULL;
    }
    return ok;
}

/* A connection that turned out dead: once more with a new one. */
static void run(struct worker *w, struct job *job, const struct write_rules *rules,
                struct write_reply *reply)
{
    bool had = w->conn;
    struct err err = {0};
    bool ok = run_once(w, job, rules, reply, &err);

    if (!ok && had && err.code == ERR_CONN) {
        buf_release(&reply->body);
        ok = run_once(w, job, rules, reply, &err);
    }
    pool_note_trouble(w->pool, ok ? NULL : &err);
}

static bool get_rules(struct worker *w, struct job *job, struct write_rules *rules, void **held,
                      struct err *err)
{
    const struct write_pool_config *config = &w->pool->config;

    *held = NULL;
    return config->rules(config->owner, job->token, &job->arena, rules, held, err);
}

static void release(struct worker *w, void *held)
{
    if (held)
        w->pool->config.release(held);
}

void serve_alone(struct worker *w, struct job *job)
{
    struct write_reply reply;
    struct write_rules rules;
    struct err err = {0};
    void *held;

    if (get_rules(w, job, &rules, &held, &err))
        run(w, job, &rules, &reply);
    else
        answer_failure(&err, &reply);
    release(w, held);
    pool_finish(w, job, &reply);
}

/* ---- several at once ------------------------------------------------------------------------- */

struct shared {
    struct write_share share;
    struct write_rules rules;
    struct write_outcome outcome;
    void *held;
    struct job *job;
};

/* False: it is not one for the others' commit. */
static bool join(struct worker *w, struct job *job, struct shared *s, const struct shared *first)
{
    struct err err;

    *s = (struct shared){.job = job};
    if (job->request.decided || !get_rules(w, job, &s->rules, &s->held, &err) ||
        (s != first && !write_may_share(&s->rules, &first->rules))) {
        release(w, s->held);
        return false;
    }
    write_outcome_init(&s->outcome, &job->request, &job->arena);
    s->share = (struct write_share){
        .rules = &s->rules, .request = &job->request, .arena = &job->arena, .outcome = &s->outcome};
    return true;
}

static void apply_shared(struct worker *w, struct write_share *shares, size_t n)
{
    struct write_took took = {0};
    struct err err;

    if (!ensure_connected(w, &err) ||
        !write_together(w->conn, shares, n, &w->pool->config.limits, &took, &err)) {
        pg_close(w->conn);
        w->conn = NULL;
    }
    note_time(w->pool, &took);
}

/* What is not decided by this is put back, and says by itself why. */
static void end_shared(struct worker *w, struct shared *s, const struct write_share *share)
{
    struct write_reply reply;
    struct err err = {0};

    release(w, s->held);
    if (share->from == 0 || share->from < share->request->ntxns) {
        pool_put_back(w, s->job);
        return;
    }
    count(&w->pool->stats, &s->job->request, &s->outcome);
    answer_outcome(&s->job->request, &s->outcome, &err, &reply);
    pool_note_trouble(w->pool, NULL);
    pool_finish(w, s->job, &reply);
}

void serve_together(struct worker *w)
{
    struct shared all[TOGETHER_MOST];
    struct write_share shares[TOGETHER_MOST];
    struct job *jobs[TOGETHER_MOST];
    size_t n = 0, njobs = w->njobs;

    memcpy(jobs, w->jobs, njobs * sizeof(*jobs));
    for (size_t i = 0; i < njobs; i++) {
        if (join(w, jobs[i], &all[n], &all[0])) {
            shares[n] = all[n].share;
            n++;
        } else {
            pool_put_back(w, jobs[i]);
        }
    }
    if (n > 0)
        apply_shared(w, shares, n);
    for (size_t i = 0; i < n; i++)
        end_shared(w, &all[i], &shares[i]);
}
