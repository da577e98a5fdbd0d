#include "kafka/topics.h"

#include "base/clock.h"
#include "base/logging.h"
#include "kafka/first_rows.h"
#include "kafka/layout.h"
#include "kafka/notices.h"
#include "kafka/posting.h"
#include "kafka/progress.h"
#include "kafka/selection.h"
#include "kafka/survey.h"
#include "pg/catalog.h"
#include "pg/reading.h"

#include <stdlib.h>

#define OUR_MESSAGES "tombolo" /* the bridge's own fences and event triggers */
#define QUEUE_FOR_FIRST_ROWS (1024 * 1024)

/* Of one table, in the transaction at hand. */
struct tally {
    struct slice nspname, relname;
    uint64_t events;
    struct tally *next; /* of the transaction; NULL-terminated */
};

/* A relation as it was announced. */
struct subject {
    const struct relation *relation;
    bool known; /* the rest is there */
    struct arena arena;
    struct layout layout;
    bool chosen; /* the rest is there too */
    struct envelope *envelope;
    struct slice topic;
    struct tally *tally;
};

struct topics {
    struct topics_config config;
    struct outlet *outlet;
    struct arena arena; /* as long as this */
    struct envelope_settings settings;
    struct notices *notices;
    struct slice transaction_topic, message_topic, heartbeat_topic;
    struct progress *progress;
    struct survey *survey;
    bool skips[256]; /* by an operation's letter */

    struct pg_conn *conn;   /* the stream thread's */
    struct u64map subjects; /* by relid */
    struct u64map tallies;  /* by the root's relid */
    struct tally messages;
    struct buf out;
    struct arena change_arena;

    struct txn txn;
    lsn_t last_commit;
    uint64_t events; /* of the transaction */
    struct tally *touched;
    int64_t next_heartbeat_ms;
};

/* ---- what is known of relations -------------------------------------------------------------- */

static bool ensure_connected(struct topics *t, struct err *err)
{
    if (pg_alive(t->conn))
        return true;
    pg_close(t->conn);
    t->conn = pg_connect(t->config.conninfo, "tombolo topics", false, err);
    return t->conn != NULL;
}

/* The name of the database is in each record. */
static bool ensure_settings(struct topics *t, struct err *err)
{
    if (t->notices)
        return true;
    struct pg_result *res = pg_query(t->conn, "SELECT current_database()", err);
    if (!res)
        return false;
    t->settings.database = arena_copy(&t->arena, pg_value(res, 0, 0));
    pg_result_free(res);
    t->notices = notices_new(&t->settings, &t->arena);
    return true;
}

static void free_subject(struct subject *s)
{
    if (!s)
        return;
    if (s->layout.table)
        layout_release(&s->layout);
    arena_release(&s->arena);
    free(s);
}

static void forget_subjects(struct topics *t)
{
    for (size_t at = 0;;) {
        const struct u64map_slot *slot = u64map_next(&t->subjects, &at);

        if (!slot)
            break;
        free_subject(slot->value);
    }
    u64map_release(&t->subjects);
}

static struct tally *tally_of(struct topics *t, const struct table *table)
{
    struct tally *tally = u64map_get(&t->tallies, table->relid);

    if (!tally) {
        tally = arena_calloc(&t->arena, 1, sizeof(*tally));
        u64map_set(&t->tallies, table->relid, tally);
    }
    if (!slice_eq(tally->nspname, table->nspname))
        tally->nspname = arena_copy(&t->arena, table->nspname);
    if (!slice_eq(tally->relname, table->relname))
        tally->relname = arena_copy(&t->arena, table->relname);
    return tally;
}

static void open_subject(struct topics *t, struct subject *s)
{
    const struct table *table = s->layout.table;
    struct buf topic;

    s->envelope = envelope_new(table, &t->settings, &s->arena);
    s->tally = tally_of(t, table);
    buf_init(&topic, BUF_NO_LIMIT);
    posting_put_topic(t->config.prefix, table->nspname, table->relname, &topic);
    s->topic = arena_copy(&s->arena, buf_slice(&topic));
    buf_release(&topic);
}

static bool look_up_subject(struct topics *t, struct subject *s, struct err *err)
{
    if (!ensure_connected(t, err) || !ensure_settings(t, err) ||
        !layout_make(t->conn, s->relation, t->txn.xid, &s->layout, err))
        return false;
    s->known = true;
    s->chosen = selection_has(t->config.tables, s->layout.table->nspname, s->layout.table->relname);
    if (s->chosen)
        open_subject(t, s);
    return true;
}

/* The relation was announced; what it is, is found out when it is needed. */
static void set_subject(struct topics *t, const struct relation *relation)
{
    struct subject *s = xcalloc(1, sizeof(*s));

    s->relation = relation;
    free_subject(u64map_set(&t->subjects, relation->relid, s));
}

/* NULL without an error: it was not announced. */
static bool subject_of(struct topics *t, uint32_t relid, struct subject **s, struct err *err)
{
    *s = u64map_get(&t->subjects, relid);
    return !*s || (*s)->known || look_up_subject(t, *s, err);
}

/* ---- transactions ---------------------------------------------------------------------------- */

void topics_connected(struct topics *t)
{
    forget_subjects(t);
    progress_connected(t->progress);
    survey_look_soon(t->survey);
}

static void clear_txn(struct topics *t)
{
    for (struct tally *tally = t->touched, *next; tally; tally = next) {
        next = tally->next;
        tally->events = 0;
        tally->next = NULL;
    }
    t->touched = NULL;
    t->events = 0;
}

bool topics_begin(struct topics *t, const struct txn *txn, struct err *err)
{
    (void)err;
    clear_txn(t);
    t->txn = *txn;
    return true;
}

static bool put_begin(struct topics *t, struct err *err)
{
    struct envelope_records records;

    if (!notices_put_begin(t->notices, &t->txn, &t->out, &records, err))
        return false;
    posting_put(t->outlet, t->transaction_topic, OUTLET_BY_KEY, &records);
    return true;
}

/* An event of this table is next. */
static bool next_event(struct topics *t, struct tally *tally, struct envelope_place *place,
                       struct err *err)
{
    if (t->config.transaction_metadata && !t->events && !put_begin(t, err))
        return false;
    if (!tally->events) {
        tally->next = t->touched;
        t->touched = tally;
    }
    *place = (struct envelope_place){.txn = &t->txn,
                                     .lsn = t->txn.commit_lsn,
                                     .last_commit = t->last_commit,
                                     .now_us = clock_unix_us(),
                                     .snapshot = "false"};
    if (t->config.transaction_metadata) {
        place->total_order = t->events + 1;
        place->table_order = tally->events + 1;
    }
    return true;
}

static void count_events(struct topics *t, struct tally *tally, unsigned n)
{
    t->events += n;
    tally->events += n;
}

static bool put_end(struct topics *t, struct err *err)
{
    struct envelope_records records;
    size_t n = 0, i = 0;

    for (const struct tally *tally = t->touched; tally; tally = tally->next)
        n++;
    struct notices_count *counts = arena_calloc(&t->change_arena, n, sizeof(*counts));
    for (const struct tally *tally = t->touched; tally; tally = tally->next)
        counts[i++] = (struct notices_count){tally->nspname, tally->relname, tally->events};
    if (!notices_put_end(t->notices, &t->txn, counts, n, &t->out, &records, err))
        return false;
    posting_put(t->outlet, t->transaction_topic, OUTLET_BY_KEY, &records);
    return true;
}

bool topics_commit(struct topics *t, const struct txn *txn, struct err *err)
{
    arena_reset(&t->change_arena);
    bool ok = !t->events || !t->config.transaction_metadata || put_end(t, err);
    t->last_commit = txn->commit_lsn;
    clear_txn(t);
    return ok;
}

void topics_rollback(struct topics *t)
{
    clear_txn(t);
}

/* ---- changes --------------------------------------------------------------------------------- */

bool topics_relation(struct topics *t, const struct relation *relation, struct err *err)
{
    (void)err;
    set_subject(t, relation);
    return true;
}

static bool is_published(const struct topics *t, const struct subject *s, char op)
{
    return s->chosen && !t->skips[(unsigned char)op] &&
           (!t->config.first_rows || progress_takes(t->progress, s->layout.table->relid, &t->txn));
}

static bool make_records(struct topics *t, const struct subject *s, const struct change *change,
                         struct envelope_place *place, struct envelope_records *records,
                         struct err *err)
{
    if (!envelope_put_change(s->envelope, change, place, &t->out, records, err))
        return false;
    if (posting_fits(s->topic, records, t->config.message_max, err))
        return true;
    if (!t->config.without_before || !change->old)
        return false;
    place->no_before = true;
    return envelope_put_change(s->envelope, change, place, &t->out, records, err) &&
           posting_fits(s->topic, records, t->config.message_max, err);
}

bool topics_change(struct topics *t, const struct relation *relation, const struct change *change,
                   struct err *err)
{
    static const char ops[] = {[CHANGE_INSERT] = 'c', [CHANGE_UPDATE] = 'u', [CHANGE_DELETE] = 'd'};
    struct envelope_records records;
    struct envelope_place place;
    struct change mapped = *change;
    struct subject *s;

    if (!subject_of(t, relation->relid, &s, err))
        return false;
    if (!s || !is_published(t, s, ops[change->op]))
        return true;
    arena_reset(&t->change_arena);
    mapped.old = layout_tuple(&s->layout, change->old, &t->change_arena);
    mapped.new = layout_tuple(&s->layout, change->new, &t->change_arena);
    if (!next_event(t, s->tally, &place, err) ||
        !make_records(t, s, &mapped, &place, &records, err))
        return false;
    count_events(t, s->tally, records.nevents);
    posting_put(t->outlet, s->topic, OUTLET_BY_KEY, &records);
    return true;
}

/* ---- truncate -------------------------------------------------------------------------------- */

/* Whether with these relations all of the table is truncated: of a partitioned one the partitions
 * are named. */
static bool is_whole(struct topics *t, const struct subject *s, const uint32_t *relids, uint32_t n,
                     bool *whole, struct err *err)
{
    struct arena arena = {0};
    uint32_t *leaves;
    size_t nleaves, found = 0;

    *whole = true;
    if (!s->layout.is_leaf)
        return true;
    bool ok = ensure_connected(t, err) &&
              catalog_leaves(t->conn, s->layout.table->relid, &arena, &leaves, &nleaves, err);
    for (size_t i = 0; ok && i < nleaves; i++)
        for (uint32_t k = 0; k < n; k++)
            found += leaves[i] == relids[k];
    *whole = ok && found == nleaves;
    arena_release(&arena);
    return ok;
}

/* Once for each topic, however many of its partitions are named. */
static bool truncate_one(struct topics *t, const struct subject *s, struct u64map *done,
                         const uint32_t *relids, uint32_t n, struct err *err)
{
    const struct table *table = s->layout.table;
    struct envelope_records records;
    struct envelope_place place;
    bool whole;

    if (!is_published(t, s, 't') || u64map_set(done, table->relid, t))
        return true;
    if (!is_whole(t, s, relids, n, &whole, err))
        return false;
    if (!whole) {
        log_warn("some partitions were truncated, of which nothing is published to Kafka",
                 LOG_UINT("relid", table->relid));
        return true;
    }
    if (!next_event(t, s->tally, &place, err) ||
        !envelope_put_truncate(s->envelope, &place, &t->out, &records, err))
        return false;
    count_events(t, s->tally, records.nevents);
    posting_put(t->outlet, s->topic, OUTLET_BY_KEY, &records);
    return true;
}

bool topics_truncate(struct topics *t, const uint32_t *relids, uint32_t n, struct err *err)
{
    struct u64map done = {0};
    bool ok = true;

    if (t->skips['t'])
        return true;
    for (uint32_t i = 0; ok && i < n; i++) {
        struct subject *s;

        ok = subject_of(t, relids[i], &s, err) && (!s || truncate_one(t, s, &done, relids, n, err));
    }
    u64map_release(&done);
    return ok;
}

/* ---- messages -------------------------------------------------------------------------------- */

bool topics_message(struct topics *t, struct slice prefix, struct slice content, struct err *err)
{
    struct envelope_records records;
    struct envelope_place place;

    if (slice_is(prefix, OUR_MESSAGES)) {
        if (slice_is(content, "ddl"))
            survey_look_soon(t->survey);
        return true;
    }
    if (t->skips['m'])
        return true;
    if (!ensure_connected(t, err) || !ensure_settings(t, err) ||
        !next_event(t, &t->messages, &place, err) ||
        !notices_put_message(t->notices, prefix, content, &place, &t->out, &records, err) ||
        !posting_fits(t->message_topic, &records, t->config.message_max, err))
        return false;
    count_events(t, &t->messages, records.nevents);
    posting_put(t->outlet, t->message_topic, OUTLET_BY_KEY, &records);
    return true;
}

/* ---- first rows ------------------------------------------------------------------------------ */

struct barrier {
    struct topics *topics;
    struct first_rows rows;
    struct slice name; /* for people */
    struct arena arena;
};

/* On the publishing thread, or wherever the queue is dropped. What Postgres refuses is tried again
 * at the survey's next look; an error of the broker's is everybody's. */
static bool run_barrier(void *arg, bool run, struct err *err)
{
    struct barrier *b = arg;
    struct topics *t = b->topics;
    bool ok =
        run && progress_begun(t->progress, b->rows.relid, err) && first_rows_publish(&b->rows, err);
    bool broker = run && !ok && b->rows.broker && err->code != ERR_STOPPED;

    progress_sent(t->progress, b->rows.relid, ok);
    if (ok)
        log_info("first rows of a table are published", LOG_STR("table", b->name.ptr),
                 LOG_UINT("rows", b->rows.rows));
    else if (run && !broker && err->code != ERR_STOPPED)
        log_warn("first rows of a table could not be read", LOG_STR("table", b->name.ptr),
                 LOG_ERR(err));
    arena_release(&b->arena);
    free(b);
    survey_answer(t->survey, ok ? SURVEY_DONE : SURVEY_LATER);
    return !broker;
}

static struct barrier *make_barrier(struct topics *t, const struct survey_offer *offer, lsn_t limit)
{
    struct barrier *b = xcalloc(1, sizeof(*b));

    b->topics = t;
    b->name = slice_of(arena_printf(&b->arena, "%.*s.%.*s", SLICE_ARG(offer->table->nspname),
                                    SLICE_ARG(offer->table->relname)));
    b->rows = (struct first_rows){.conn = offer->conn,
                                  .relid = offer->table->relid,
                                  .lsn = limit,
                                  .prefix = t->config.prefix,
                                  .settings = &t->settings,
                                  .message_max = t->config.message_max,
                                  .outlet = t->outlet,
                                  .stop = survey_stopping(t->survey)};
    return b;
}

/* True: the barrier will answer. */
static bool begin_rows(struct topics *t, const struct survey_offer *offer, lsn_t end_lsn,
                       struct arena *arena, enum survey_answer *answer, struct err *err)
{
    struct snapshot snapshot;
    lsn_t limit;

    *answer = SURVEY_LATER;
    if (!reading_snapshot(offer->conn, arena, &snapshot, &limit, err))
        return false;
    if (unseen_misses(t->config.unseen, &snapshot, UINT64_MAX)) {
        *answer = SURVEY_AGAIN;
        return err_set(err, ERR_BUSY, "a committed transaction is not seen yet");
    }
    progress_queued(t->progress, offer->table, &snapshot, limit, end_lsn);
    /* Where it is not taken the barrier is run all the same. */
    outlet_call(t->outlet, run_barrier, make_barrier(t, offer, limit));
    return true;
}

static void queue_rows(struct topics *t, const struct survey_offer *offer, lsn_t end_lsn)
{
    struct arena arena = {0};
    enum survey_answer answer;
    struct err err;

    if (!begin_rows(t, offer, end_lsn, &arena, &answer, &err)) {
        if (answer == SURVEY_LATER)
            log_warn("no snapshot for the first rows of a table", LOG_ERR(&err));
        survey_answer(t->survey, answer);
    }
    arena_release(&arena);
}

/* While much is queued a snapshot would be held for long, and it would hold back VACUUM. */
static bool has_time(const struct topics *t)
{
    struct outlet_stats stats;

    outlet_get_stats(t->outlet, &stats);
    return stats.state == OUTLET_OPEN && !stats.stalled &&
           stats.queued_bytes < QUEUE_FOR_FIRST_ROWS;
}

static bool take_offer(struct topics *t, lsn_t end_lsn, struct err *err)
{
    struct survey_offer offer;

    if (!survey_take(t->survey, &offer))
        return true;
    if (!has_time(t)) {
        survey_answer(t->survey, SURVEY_AGAIN);
        return true;
    }
    if (!ensure_connected(t, err) || !ensure_settings(t, err)) {
        survey_answer(t->survey, SURVEY_LATER);
        return false;
    }
    queue_rows(t, &offer, end_lsn);
    return true;
}

static bool put_heartbeat(struct topics *t, struct err *err)
{
    struct envelope_records records;
    int64_t now = clock_ms();

    if (!t->config.heartbeat_ms || now < t->next_heartbeat_ms)
        return true;
    t->next_heartbeat_ms = now + t->config.heartbeat_ms;
    if (!ensure_connected(t, err) || !ensure_settings(t, err) ||
        !notices_put_heartbeat(t->notices, clock_unix_us(), &t->out, &records, err))
        return false;
    posting_put(t->outlet, t->heartbeat_topic, 0, &records);
    return true;
}

bool topics_settle(struct topics *t, lsn_t end_lsn, struct err *err)
{
    if (t->config.first_rows && !progress_acked(t->progress, outlet_acked(t->outlet), err)) {
        log_error("what is published to Kafka could not be noted", LOG_ERR(err));
        return false;
    }
    return take_offer(t, end_lsn, err) && put_heartbeat(t, err);
}

void topics_reset(struct topics *t)
{
    struct err err;

    if (!progress_keep(t->progress, NULL, &err))
        log_error("what is published to Kafka could not be noted", LOG_ERR(&err));
    survey_look_soon(t->survey);
}

/* ---- begin and end --------------------------------------------------------------------------- */

static bool read_skipped(struct topics *t, const char *skipped, struct err *err)
{
    if (strcmp(skipped, "none") == 0)
        return true;
    for (const char *p = skipped; *p; p++) {
        if (*p == ',' || *p == ' ')
            continue;
        if (!strchr("cudtm", *p))
            return err_set(err, ERR_CONFIG,
                           "[kafka] skipped_operations: letters of c, u, d, t, m with commas in "
                           "between, or none; not \"%s\"",
                           skipped);
        t->skips[(unsigned char)*p] = true;
    }
    return true;
}

static struct slice name_topic(struct topics *t, const char *before, const char *after)
{
    return slice_of(arena_printf(&t->arena, "%s%s%s", before, t->config.prefix, after));
}

static void take_config(struct topics *t, const struct topics_config *config)
{
    t->config = *config;
    t->settings = (struct envelope_settings){.modes = config->modes,
                                             .placeholder = slice_of(config->placeholder),
                                             .version = SLICE(TOMBOLO_VERSION),
                                             .prefix = slice_of(config->prefix),
                                             .no_tombstones = config->no_tombstones,
                                             .schemas = config->schemas};
    t->transaction_topic = name_topic(t, "", ".transaction");
    t->message_topic = name_topic(t, "", ".message");
    t->heartbeat_topic = name_topic(t, "__debezium-heartbeat.", "");
    t->messages.nspname = SLICE("");
    t->messages.relname = SLICE(NOTICES_MESSAGE_COLLECTION);
    buf_init(&t->out, BUF_NO_LIMIT);
}

static bool start_survey(struct topics *t, struct err *err)
{
    const struct topics_config *config = &t->config;
    const struct survey_config survey = {.conninfo = config->conninfo,
                                         .publication = config->publication,
                                         .tables = config->tables,
                                         .progress = t->progress,
                                         .first_rows = config->first_rows,
                                         .manual_publishing = config->manual_publishing,
                                         .lock_timeout_ms = config->lock_timeout_ms,
                                         .look_every_ms = config->look_every_ms,
                                         .wake = config->wake,
                                         .owner = config->owner};

    t->survey = survey_new(&survey, err);
    return t->survey != NULL;
}

struct topics *topics_new(const struct topics_config *config, struct err *err)
{
    struct topics *t = xcalloc(1, sizeof(*t));

    take_config(t, config);
    if (!config->first_rows)
        progress_forget_folder(config->data_dir);
    t->progress = progress_open(config->data_dir);
    if (selection_check(config->tables, err) && read_skipped(t, config->skipped, err) &&
        start_survey(t, err))
        return t;
    topics_free(t);
    return NULL;
}

void topics_set_outlet(struct topics *t, struct outlet *outlet)
{
    t->outlet = outlet;
}

void topics_stop(struct topics *t)
{
    survey_stop(t->survey);
}

void topics_free(struct topics *t)
{
    if (!t)
        return;
    survey_free(t->survey);
    forget_subjects(t);
    progress_free(t->progress);
    u64map_release(&t->tallies);
    pg_close(t->conn);
    buf_release(&t->out);
    arena_release(&t->change_arena);
    arena_release(&t->arena);
    free(t);
}

void topics_forget_folder(const char *data_dir)
{
    progress_forget_folder(data_dir);
}
