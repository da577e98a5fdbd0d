#include "serve/writes.h"
#include "base/clock.h"
#include "base/logging.h"
#include "write/tables.h"

#include <stdio.h>

#define PRUNE_EVERY_MS (60 * 60 * 1000)
#define MAX_WAITING 1000
#define BODIES_WAITING 8 /* the largest ones */
/* A commit's: from 64 savepoints on Postgres gets slower. */
#define GROUP 50
#define GROUP_ROWS 1000
#define ATTEMPTS 5
/* A row that somebody holds keeps others' writes waiting for as long. Longer than Postgres waits
 * before it looks for a deadlock. */
#define LOCK_WAIT_MS 1500

static bool anyone_may_write(const struct writes *w)
{
    struct rules *rules = rules_site_get(w->rules);
    bool may = rules_have_writes(rules);

    rules_unref(rules);
    return may;
}

/* ---- for the workers ------------------------------------------------------------------------- */

static bool get_rules(void *owner, const struct token *token, struct arena *arena,
                      struct write_rules *out, void **held, struct err *err)
{
    struct writes *w = owner;
    struct rules *rules = rules_site_get(w->rules);

    char why[256];

    *held = rules;
    if (!rules_have_writes(rules))
        return err_set(err, ERR_INPUT, "nothing may be written here");
    if (!rules_write(rules, token, arena, out, err)) {
        if (err->code == ERR_BUSY && rules_site_trouble(w->rules, why))
            err_set(err, ERR_BUSY, "nothing can be written yet: %s", why);
        return false;
    }
    return atomic_load(&w->ready) ||
           err_set(err, ERR_BUSY, "the bridge's tables for writes are not there yet");
}

static void release_rules(void *held)
{
    rules_unref(held);
}

static void schema_changed(void *owner)
{
    rules_site_doubt(((struct writes *)owner)->rules);
}

bool writes_open(struct writes *w, const struct config *config, struct rules_site *rules,
                 struct err *err)
{
    const struct write_pool_config pool = {
        .conninfo = config->database_url,
        .workers = (int)config->write_connections,
        .max_waiting = MAX_WAITING,
        .max_waiting_bytes = BODIES_WAITING * (size_t)config->write_body,
        .body = {.bytes = (size_t)config->write_body,
                 .transactions = (size_t)config->write_transactions,
                 .mutations = (size_t)config->write_mutations},
        .limits = {.group = GROUP,
                   .group_rows = GROUP_ROWS,
                   .attempts = ATTEMPTS,
                   .lock_timeout_ms = config->lock_timeout_ms < LOCK_WAIT_MS
                                          ? (int)config->lock_timeout_ms
                                          : LOCK_WAIT_MS,
                   .statement_timeout_ms = (int)config->write_timeout_ms,
                   .replicas = (int)config->write_replicas},
        .owner = w,
        .rules = get_rules,
        .release = release_rules,
        .schema_changed = schema_changed,
    };

    w->config = config;
    w->rules = rules;
    pthread_mutex_init(&w->mutex, NULL);
    w->pool = write_pool_new(&pool, err);
    return w->pool != NULL;
}

void writes_stop(struct writes *w)
{
    if (w->pool)
        write_pool_stop(w->pool);
}

void writes_close(struct writes *w)
{
    write_pool_free(w->pool);
    w->pool = NULL;
}

/* ---- for the keeper -------------------------------------------------------------------------- */

/* NULL: there is none. */
static void set_trouble(struct writes *w, const struct err *err)
{
    pthread_mutex_lock(&w->mutex);
    snprintf(w->trouble, sizeof(w->trouble), "%.*s", (int)sizeof(w->trouble) - 1,
             err ? err->msg : "");
    pthread_mutex_unlock(&w->mutex);
    atomic_store(&w->ready, !err);
}

bool writes_are_due(const struct writes *w)
{
    return clock_ms() >= w->next_look && anyone_may_write(w);
}

/* Somebody may have dropped them. */
static bool look_at_tables(struct writes *w, struct pg_conn *conn, struct err *err)
{
    bool ok = write_tables_ensure(conn, err);

    if (!ok && !w->failed && err->code != ERR_CONN)
        log_error("no writes can be taken", LOG_ERR(err));
    w->failed = !ok;
    set_trouble(w, ok ? NULL : err);
    return ok || err->code != ERR_CONN;
}

bool writes_look(struct writes *w, struct pg_conn *conn, struct err *err)
{
    int64_t memory = w->config->write_memory_ms, replicas = w->config->write_replica_memory_ms;

    w->next_look = clock_ms() + w->config->catalog_interval_ms;
    if (!look_at_tables(w, conn, err))
        return false;
    if (!atomic_load(&w->ready) || clock_ms() < w->next_prune)
        return true;
    w->next_prune = clock_ms() + PRUNE_EVERY_MS;
    return memory_prune(conn, memory, replicas && replicas < memory ? memory : replicas, err);
}

bool writes_trouble(struct writes *w, char text[256])
{
    if (rules_site_trouble(w->rules, text))
        return true;
    pthread_mutex_lock(&w->mutex);
    memcpy(text, w->trouble, sizeof(w->trouble));
    pthread_mutex_unlock(&w->mutex);
    return text[0] || write_pool_trouble(w->pool, text);
}
