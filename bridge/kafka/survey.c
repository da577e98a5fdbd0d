#include "kafka/survey.h"

#include "base/clock.h"
#include "base/logging.h"
#include "change/standing.h"
#include "kafka/selection.h"
#include "pg/catalog.h"
#include "pg/publication.h"
#include "pg/reading.h"
#include "pg/server.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define TAKE_MS 5000 /* so long a table stays locked for a stream that does not come by */
#define AGAIN_FIRST_MS 1
#define AGAIN_MOST_MS 200
#define AGAIN_GIVE_UP_MS 60000
#define JOIN_TRIES 5
#define UNTIL_ASKED_MS ((int64_t)1 << 40) /* a first time */

enum offer_state { OFFER_NONE, OFFER_OPEN, OFFER_TAKEN, OFFER_ANSWERED };

struct survey {
    struct survey_config config;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    atomic_bool stop;
    bool look_soon;
    struct pg_conn *conn;
    struct u64map told; /* relids of tables of which trouble was told already */
    bool failed;
    _Atomic int offered; /* enum offer_state; written under the mutex */
    struct survey_offer offer;
    enum survey_answer answer;
};

static bool is_stopping(const struct survey *s)
{
    return atomic_load(&s->stop);
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* Until it is signalled or `ms` have passed; under the mutex. */
static bool wait_ms(struct survey *s, int64_t until_us)
{
    struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};

    return pthread_cond_timedwait(&s->changed, &s->mutex, &until) == 0;
}

static void pause_ms(struct survey *s, int64_t ms, bool may_be_woken)
{
    int64_t until = clock_us() + ms * 1000;

    pthread_mutex_lock(&s->mutex);
    while (!is_stopping(s) && !(may_be_woken && s->look_soon) && wait_ms(s, until))
        ;
    if (may_be_woken)
        s->look_soon = false;
    pthread_mutex_unlock(&s->mutex);
}

/* ---- offers ---------------------------------------------------------------------------------- */

bool survey_take(struct survey *s, struct survey_offer *offer)
{
    if (atomic_load_explicit(&s->offered, memory_order_relaxed) != OFFER_OPEN)
        return false;
    pthread_mutex_lock(&s->mutex);
    bool is_open = atomic_load(&s->offered) == OFFER_OPEN;
    if (is_open) {
        atomic_store(&s->offered, OFFER_TAKEN);
        *offer = s->offer;
    }
    pthread_mutex_unlock(&s->mutex);
    return is_open;
}

void survey_answer(struct survey *s, enum survey_answer answer)
{
    pthread_mutex_lock(&s->mutex);
    s->answer = answer;
    atomic_store(&s->offered, OFFER_ANSWERED);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

/* One that is taken is waited for: its connection is in use. */
static enum survey_answer make_offer(struct survey *s, const struct table *table)
{
    int64_t until = clock_us() + TAKE_MS * 1000;

    pthread_mutex_lock(&s->mutex);
    s->offer = (struct survey_offer){s->conn, table};
    s->answer = SURVEY_LATER;
    atomic_store(&s->offered, OFFER_OPEN);
    pthread_mutex_unlock(&s->mutex);
    s->config.wake(s->config.owner);

    pthread_mutex_lock(&s->mutex);
    while (atomic_load(&s->offered) == OFFER_OPEN && !is_stopping(s) && wait_ms(s, until))
        ;
    while (atomic_load(&s->offered) == OFFER_TAKEN)
        pthread_cond_wait(&s->changed, &s->mutex);
    atomic_store(&s->offered, OFFER_NONE);
    enum survey_answer answer = s->answer;
    pthread_mutex_unlock(&s->mutex);
    return answer;
}

/* A transaction for each try, since its snapshot is its first query's. */
static bool publish_first_rows(struct survey *s, const struct table *table, struct err *err)
{
    int64_t give_up = clock_ms() + AGAIN_GIVE_UP_MS;
    lsn_t fence;

    for (int64_t pause = AGAIN_FIRST_MS; !is_stopping(s);
         pause = pause < AGAIN_MOST_MS ? pause * 2 : pause) {
        if (!reading_begin(s->conn, table, s->config.lock_timeout_ms, err))
            return false;
        enum survey_answer answer = make_offer(s, table);
        if (!pg_run(s->conn, "ROLLBACK", err))
            return false;
        /* The stream moves past them on an idle server too. */
        if (answer == SURVEY_DONE)
            return server_fence(s->conn, &fence, err);
        if (answer == SURVEY_LATER || clock_ms() > give_up)
            return true;
        pause_ms(s, pause, false);
    }
    return true;
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* Without a key or an identity Postgres would refuse updates and deletes once it is published; and
 * a partitioned table's partitions are as their root says. */
static bool wants_full(const struct table *table)
{
    return (table->npk == 0 && table->replident != REPLIDENT_INDEX) || table_wants_full(table);
}

/* *altered: look it up once more. How it stands must be known before its writers are waited for. */
static bool join(struct survey *s, const struct table *table, bool *altered, struct err *err)
{
    const struct survey_config *config = &s->config;
    const struct patience patience = {clock_ms() + config->lock_timeout_ms, &s->stop};
    bool full = wants_full(table);

    *altered = false;
    if (!publication_may_join(s->conn, config->publication, table, full, config->manual_publishing,
                              err))
        return false;
    if (table_publication(table) == TABLE_PUBLISHED && (!full || table_is_full(table)))
        return publication_wait_writers(s->conn, table, &patience, err);
    *altered = true;
    return publication_join(s->conn, config->publication, table, full, &patience, err);
}

/* Whether there is nothing to do for it. */
static bool is_settled(const struct survey *s, const struct table *table)
{
    return table_publication(table) == TABLE_PUBLISHED &&
           (!wants_full(table) || table_is_full(table)) &&
           (!s->config.first_rows || !progress_wants(s->config.progress, table));
}

static bool look_at(struct survey *s, uint32_t relid, struct err *err)
{
    for (int tries = 0; tries < JOIN_TRIES && !is_stopping(s); tries++) {
        bool altered;
        struct table *table = catalog_followed_by_oid(s->conn, s->config.publication, relid, err);

        if (!table)
            return err->code == ERR_NOT_FOUND;
        bool ok = is_settled(s, table);
        bool done = ok;
        if (!ok) {
            ok = join(s, table, &altered, err);
            done = !ok || !altered;
            if (ok && done && s->config.first_rows)
                ok = publish_first_rows(s, table, err);
        }
        table_unref(table);
        if (done)
            return ok;
    }
    return true;
}

/* A table that cannot be followed keeps nobody else's from it. */
static bool note_trouble(struct survey *s, uint32_t relid, const struct err *err)
{
    struct err told = *err;

    if (is_stopping(s))
        return true;
    if (err->code == ERR_CONN || !pg_alive(s->conn))
        return false;
    if (!u64map_get(&s->told, relid))
        log_warn("a table is not published to Kafka yet", LOG_UINT("relid", relid), LOG_ERR(&told));
    u64map_set(&s->told, relid, s);
    return true;
}

#define TABLES_SQL                                                                                 \
    "SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = "           \
    "c.relnamespace WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition"                        \
    "   AND c.relpersistence = 'p' ORDER BY n.nspname, c.relname"

static bool look_at_all(struct survey *s, const struct pg_result *res, struct err *err)
{
    struct u64map chosen = {0};
    bool ok = true;

    for (int i = 0; i < pg_rows(res); i++)
        if (selection_has(s->config.tables, pg_value(res, i, 1), pg_value(res, i, 2)))
            u64map_set(&chosen, pg_oid(res, i, 0), s);
    /* What is missed of a table that is not chosen cannot be made good but by its rows. */
    ok = progress_keep(s->config.progress, &chosen, err);
    for (int i = 0; ok && i < pg_rows(res) && !is_stopping(s); i++) {
        uint32_t relid = pg_oid(res, i, 0);

        if (u64map_get(&chosen, relid) && !look_at(s, relid, err))
            ok = note_trouble(s, relid, err);
        else if (u64map_get(&chosen, relid))
            u64map_remove(&s->told, relid);
    }
    u64map_release(&chosen);
    return ok;
}

static bool look(struct survey *s, struct err *err)
{
    bool exists;

    if (!pg_alive(s->conn)) {
        pg_close(s->conn);
        s->conn = pg_connect(s->config.conninfo, "tombolo kafka", false, err);
        if (!s->conn)
            return false;
    }
    /* The stream makes it. */
    if (!publication_exists(s->conn, s->config.publication, &exists, err))
        return false;
    if (!exists)
        return true;
    struct pg_result *res = pg_query(s->conn, TABLES_SQL, err);
    if (!res)
        return false;
    bool ok = look_at_all(s, res, err);
    pg_result_free(res);
    return ok;
}

static void *run(void *arg)
{
    struct survey *s = arg;

    for (pause_ms(s, UNTIL_ASKED_MS, true); !is_stopping(s);) {
        struct err err = {0};
        bool ok = look(s, &err);

        if (!ok && !s->failed && !is_stopping(s))
            log_warn("could not look for tables to publish to Kafka", LOG_ERR(&err));
        s->failed = !ok;
        pause_ms(s, s->config.look_every_ms, true);
    }
    return NULL;
}

/* ---- begin and end --------------------------------------------------------------------------- */

struct survey *survey_new(const struct survey_config *config, struct err *err)
{
    struct survey *s = xcalloc(1, sizeof(*s));
    pthread_condattr_t attr;

    s->config = *config;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_condattr_destroy(&attr);
    if (pthread_create(&s->thread, NULL, run, s) != 0) {
        err_set(err, ERR_IO, "could not start the thread that looks for tables");
        free(s);
        return NULL;
    }
    return s;
}

void survey_stop(struct survey *s)
{
    pthread_mutex_lock(&s->mutex);
    atomic_store(&s->stop, true);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

const atomic_bool *survey_stopping(const struct survey *s)
{
    return &s->stop;
}

void survey_look_soon(struct survey *s)
{
    pthread_mutex_lock(&s->mutex);
    s->look_soon = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

void survey_free(struct survey *s)
{
    if (!s)
        return;
    survey_stop(s);
    pthread_join(s->thread, NULL);
    pg_close(s->conn);
    u64map_release(&s->told);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}
