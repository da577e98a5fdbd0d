#include "serve/keeper.h"
#include "base/clock.h"
#include "base/logging.h"
#include "metrics/metrics.h"
#include "pg/catalog.h"
#include "pg/ddl_events.h"
#include "pg/publication.h"
#include "pg/server.h"
#include "serve/catalog_check.h"
#include "serve/writes.h"

#include <pthread.h>
#include <stdlib.h>

#define UNSEEN_EVERY_MS 50 /* while there are transactions that a snapshot may miss */
#define LOOK_EVERY_MS 250  /* whether there are any */
#define RETRY_MS 500       /* after a failure */
#define SLOT_EVERY_MS 2000 /* how far the server is, while the stream moves */
#define LOOK_AGAIN_MS 500  /* a change may be in the stream before the catalogue shows it */

struct fence_request {
    keeper_fenced *fenced;
    void *arg;
    struct fence_request *next;
};

struct keeper {
    struct keeper_config config;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stop;
    struct fence_request *fences;
    struct pg_conn *conn; /* the thread's; written under the mutex, so that it can be cancelled */
    bool has_events;      /* event triggers tell of schema changes */
    int64_t next_check, next_slot;
    uint64_t received; /* when the slot was looked at last */
    atomic_bool check_soon, ready;
};

static void set_conn(struct keeper *k, struct pg_conn *conn)
{
    pthread_mutex_lock(&k->mutex);
    struct pg_conn *before = k->conn;
    k->conn = conn;
    pthread_mutex_unlock(&k->mutex);
    pg_close(before);
}

static bool ensure_connected(struct keeper *k, struct err *err)
{
    if (pg_alive(k->conn))
        return true;
    set_conn(k, NULL);
    struct pg_conn *conn = pg_connect(k->config.conninfo, "tombolo keeper", false, err);
    if (!conn)
        return false;
    set_conn(k, conn);
    return k->config.node ? ddl_events_active(conn, &k->has_events, err)
                          : ddl_events_ensure(conn, &k->has_events, err);
}

static bool prune_unseen(struct keeper *k, struct err *err)
{
    struct arena arena = {0};
    struct snapshot snapshot;
    bool ok = catalog_snapshot(k->conn, &arena, &snapshot, err);

    if (ok)
        unseen_prune(k->config.unseen, &snapshot);
    arena_release(&arena);
    return ok;
}

static bool look_at_slot(struct keeper *k, struct err *err)
{
    struct slot_status status;

    if (!server_slot_status(k->conn, k->config.slot, &status, err))
        return false;
    metric_slot_wal_status(status.exists ? status.wal_status : NULL);
    metric_set(METRIC_SLOT_RETAINED_BYTES, status.retained_bytes);
    if (status.exists && status.restart_lsn != LSN_NONE)
        receiver_note_server_lsn(k->config.receiver, status.restart_lsn + status.retained_bytes);
    k->next_slot = clock_ms() + SLOT_EVERY_MS;
    k->received = atomic_load(&receiver_get_stats(k->config.receiver)->received_lsn);
    if (strcmp(status.wal_status, "unreserved") == 0)
        log_warn("the slot is about to lose WAL that it needs", LOG_STR("slot", k->config.slot),
                 LOG_UINT("retained_bytes", status.retained_bytes),
                 LOG_STR("hint", "raise max_slot_wal_keep_size, or find what holds the bridge up"));
    return true;
}

/* The stream makes it anew when it connects, with the slot, for which a gap is fatal. While no row
 * is written the server would not tell it. */
static bool look_at_publication(struct keeper *k, struct err *err)
{
    const struct keeper_config *config = &k->config;
    bool exists;

    if (config->node)
        return true;
    if (!publication_exists(k->conn, config->publication, &exists, err))
        return false;
    if (!exists &&
        atomic_load(&receiver_get_stats(config->receiver)->state) == RECEIVER_STREAMING) {
        log_warn("the publication is gone", LOG_STR("publication", config->publication));
        receiver_disconnect(config->receiver);
    }
    return true;
}

/* Whether the connection is still good: wrong rules are told, and are no failure of ours. Those
 * that were never right are looked at again and again, and told once. */
static bool look_at_rules(struct keeper *k, struct err *err)
{
    char before[256] = "", now[256] = "";

    rules_site_trouble(k->config.rules, before);
    if (rules_site_look(k->config.rules, k->conn, err))
        return true;
    if (err->code != ERR_CONFIG)
        return err_wrap(err, "could not hold the rules against the catalogue");
    if (!rules_site_trouble(k->config.rules, now))
        log_error("the rules stay as they were", LOG_ERR(err));
    else if (strcmp(before, now) != 0)
        log_error("nothing can be written: the rules are wrong", LOG_ERR(err));
    return true;
}

static bool rules_are_due(const struct keeper *k)
{
    return rules_site_is_due(k->config.rules);
}

/* Files: whatever becomes of Postgres. */
static void look_at_keys(const struct keeper *k)
{
    struct err err;

    if (k->config.tokens && !token_keys_refresh(k->config.tokens, clock_ms(), &err))
        log_error("the keys for tokens stay as they were", LOG_ERR(&err));
}

static bool check_all(struct keeper *k, struct err *err)
{
    bool soon = atomic_exchange(&k->check_soon, false);
    char wrong[256];

    /* A table was altered, or without event triggers it may have been; or one that is made now may
     * be what the rules lacked. */
    if (soon || !k->has_events || rules_site_trouble(k->config.rules, wrong))
        rules_site_doubt(k->config.rules);

    if (!look_at_slot(k, err) || !look_at_publication(k, err) ||
        !ddl_events_active(k->conn, &k->has_events, err) ||
        !catalog_check(k->conn, &k->config, k->has_events, err))
        return false;
    k->next_check = clock_ms() + (soon ? LOOK_AGAIN_MS : k->config.catalog_interval_ms);
    atomic_store(&k->ready, true);
    return true;
}

static void answer_fences(struct fence_request *fences, bool ok, lsn_t lsn)
{
    for (struct fence_request *f = fences, *next; f; f = next) {
        next = f->next;
        f->fenced(f->arg, ok, lsn);
        free(f);
    }
}

static bool check_is_due(const struct keeper *k)
{
    return atomic_load(&k->check_soon) || clock_ms() >= k->next_check;
}

/* An idle database is left in peace. */
static bool slot_is_due(const struct keeper *k)
{
    return clock_ms() >= k->next_slot &&
           k->received != atomic_load(&receiver_get_stats(k->config.receiver)->received_lsn);
}

/* One round of work; the fences are answered whatever happens. The check is last, which says that
 * the bridge is ready. */
static bool work(struct keeper *k, struct fence_request *fences, struct err *err)
{
    lsn_t lsn = LSN_NONE;
    bool ok = ensure_connected(k, err);
    bool is_fenced = ok && fences && server_fence(k->conn, &lsn, err);

    answer_fences(fences, is_fenced, lsn);
    return ok && (is_fenced || !fences) &&
           (!unseen_len(k->config.unseen) || prune_unseen(k, err)) &&
           (!rules_are_due(k) || look_at_rules(k, err)) &&
           (!writes_are_due(k->config.writes) || writes_look(k->config.writes, k->conn, err)) &&
           (!slot_is_due(k) || look_at_slot(k, err)) && (!check_is_due(k) || check_all(k, err));
}

static bool server_is_going(const struct err *err)
{
    return strncmp(err->sqlstate, "57P0", 4) == 0;
}

/* Waits for something to do, at most `ms`; takes the fences asked for. After a failure what is
 * asked for waits too: it would only fail again, at once. False: stop. */
static bool wait_for_work(struct keeper *k, int64_t ms, bool failed, struct fence_request **fences)
{
    int64_t until_us = clock_us() + ms * 1000;
    struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};

    pthread_mutex_lock(&k->mutex);
    for (int rc = 0;
         rc == 0 && !k->stop && (failed || (!k->fences && !atomic_load(&k->check_soon)));)
        rc = pthread_cond_timedwait(&k->wake, &k->mutex, &until);
    *fences = k->fences;
    k->fences = NULL;
    bool go_on = !k->stop;
    pthread_mutex_unlock(&k->mutex);
    return go_on;
}

/* At the end its connection is cut: that is no failure to speak of. */
static bool is_stopping(struct keeper *k)
{
    pthread_mutex_lock(&k->mutex);
    bool stop = k->stop;
    pthread_mutex_unlock(&k->mutex);
    return stop;
}

static void *run(void *arg)
{
    struct keeper *k = arg;
    struct fence_request *fences;
    int64_t pause = 0;
    bool failed = false;

    while (wait_for_work(k, pause, failed, &fences)) {
        struct err err = {0};
        bool needed = fences || unseen_len(k->config.unseen) || slot_is_due(k) || check_is_due(k) ||
                      rules_are_due(k) || writes_are_due(k->config.writes);

        look_at_keys(k);
        pause = unseen_len(k->config.unseen) ? UNSEEN_EVERY_MS : LOOK_EVERY_MS;
        if (!needed || work(k, fences, &err)) {
            failed = failed && !needed;
            continue;
        }
        pause = RETRY_MS;
        if (!failed && !is_stopping(k))
            log_warn("could not look after the database", LOG_ERR(&err));
        failed = true;
        metric_error(&err);
        /* A server that shuts down waits for its walsenders to confirm all; that is not to be had
         * without it. */
        if (server_is_going(&err) && !k->config.node)
            receiver_disconnect(k->config.receiver);
    }
    answer_fences(fences, false, LSN_NONE);
    set_conn(k, NULL);
    return NULL;
}

struct keeper *keeper_new(const struct keeper_config *config, struct err *err)
{
    struct keeper *k = xcalloc(1, sizeof(*k));
    pthread_condattr_t attr;

    k->config = *config;
    pthread_mutex_init(&k->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&k->wake, &attr);
    pthread_condattr_destroy(&attr);
    if (pthread_create(&k->thread, NULL, run, k) != 0) {
        err_set(err, ERR_IO, "could not start the keeper's thread");
        free(k);
        return NULL;
    }
    return k;
}

void keeper_stop(struct keeper *k)
{
    pthread_mutex_lock(&k->mutex);
    k->stop = true;
    if (k->conn)
        pg_cancel(k->conn);
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->mutex);
}

void keeper_free(struct keeper *k)
{
    if (!k)
        return;
    keeper_stop(k);
    pthread_join(k->thread, NULL);
    answer_fences(k->fences, false, LSN_NONE);
    pthread_cond_destroy(&k->wake);
    pthread_mutex_destroy(&k->mutex);
    free(k);
}

void keeper_fence(struct keeper *k, keeper_fenced *fenced, void *arg)
{
    struct fence_request *f = xcalloc(1, sizeof(*f));

    *f = (struct fence_request){fenced, arg, NULL};
    pthread_mutex_lock(&k->mutex);
    f->next = k->fences;
    k->fences = f;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->mutex);
}

void keeper_check_soon(struct keeper *k)
{
    pthread_mutex_lock(&k->mutex);
    atomic_store(&k->check_soon, true);
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->mutex);
}

bool keeper_ready(const struct keeper *k)
{
    return atomic_load(&k->ready);
}
