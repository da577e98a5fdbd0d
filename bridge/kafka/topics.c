#include "kafka/topics.h"

#include "base/clock.h"
#include "base/logging.h"
#include "kafka/barrier.h"
#include "kafka/events.h"
#include "kafka/origin.h"
#include "kafka/posting.h"
#include "kafka/progress.h"
#include "kafka/selection.h"
#include "kafka/subjects.h"
#include "kafka/survey.h"
#include "pg/catalog.h"

#include <stdlib.h>

#define OUR_MESSAGES "tombolo" /* the bridge's own fences and event triggers */
#define QUEUE_FOR_FIRST_ROWS (1024 * 1024)

struct topics {
    struct topics_config config;
    struct outlet *outlet;
    struct arena arena; /* as long as this */
    struct slice message_topic, heartbeat_topic;
    struct progress *progress;
    struct survey *survey;
    struct barrier_place barrier;
    bool skips[256]; /* by an operation's letter */
    int64_t next_heartbeat_ms;

    /* the stream's thread: */
    struct origin origin;
    struct subjects subjects;
    struct events events; /* of the transaction at hand */
    struct buf out;
    struct arena change_arena;
};

/* ---- transactions ---------------------------------------------------------------------------- */

void topics_connected(struct topics *t)
{
    subjects_clear(&t->subjects);
    progress_connected(t->progress);
    survey_look_soon(t->survey);
}

void topics_begin(struct topics *t, const struct txn *txn)
{
    events_begin(&t->events, txn);
}

bool topics_commit(struct topics *t, const struct txn *txn, struct err *err)
{
    return events_commit(&t->events, txn, err);
}

void topics_rollback(struct topics *t)
{
    events_rollback(&t->events);
}

/* ---- changes --------------------------------------------------------------------------------- */

void topics_relation(struct topics *t, const struct relation *relation)
{
    subjects_set(&t->subjects, relation);
}

static bool is_published(const struct topics *t, const struct subject *s, char op)
{
    return s->chosen && !t->skips[(unsigned char)op] &&
           (!t->config.first_rows ||
            progress_takes(t->progress, s->layout.table->relid, &t->events.txn));
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

    if (!subjects_get(&t->subjects, relation->relid, t->events.txn.xid, &s, err))
        return false;
    if (!s || !is_published(t, s, ops[change->op]))
        return true;
    arena_reset(&t->change_arena);
    mapped.old = layout_tuple(&s->layout, change->old, &t->change_arena);
    mapped.new = layout_tuple(&s->layout, change->new, &t->change_arena);
    if (!events_next(&t->events, s->tally, &place, err) ||
        !make_records(t, s, &mapped, &place, &records, err))
        return false;
    events_add(&t->events, s->tally, records.nevents);
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
    bool ok = origin_ask(&t->origin, err) && catalog_leaves(t->origin.conn, s->layout.table->relid,
                                                            &arena, &leaves, &nleaves, err);
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
    if (!events_next(&t->events, s->tally, &place, err) ||
        !envelope_put_truncate(s->envelope, &place, &t->out, &records, err))
        return false;
    events_add(&t->events, s->tally, records.nevents);
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

        ok = subjects_get(&t->subjects, relids[i], t->events.txn.xid, &s, err) &&
             (!s || truncate_one(t, s, &done, relids, n, err));
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
    if (!origin_ask(&t->origin, err) ||
        !events_next(&t->events, &t->events.messages, &place, err) ||
        !notices_put_message(t->origin.notices, prefix, content, &place, &t->out, &records, err) ||
        !posting_fits(t->message_topic, &records, t->config.message_max, err))
        return false;
    events_add(&t->events, &t->events.messages, records.nevents);
    posting_put(t->outlet, t->message_topic, OUTLET_BY_KEY, &records);
    return true;
}

/* ---- first rows ------------------------------------------------------------------------------ */

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
    if (!origin_ask(&t->origin, err)) {
        survey_answer(t->survey, SURVEY_LATER);
        return false;
    }
    barrier_queue(&t->barrier, &offer, end_lsn);
    return true;
}

static bool put_heartbeat(struct topics *t, struct err *err)
{
    struct envelope_records records;
    int64_t now = clock_ms();

    if (!t->config.heartbeat_ms || now < t->next_heartbeat_ms)
        return true;
    t->next_heartbeat_ms = now + t->config.heartbeat_ms;
    if (!origin_ask(&t->origin, err) ||
        !notices_put_heartbeat(t->origin.notices, clock_unix_us(), &t->out, &records, err))
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
    t->message_topic = name_topic(t, "", ".message");
    t->heartbeat_topic = name_topic(t, "__debezium-heartbeat.", "");
    t->origin = (struct origin){
        .conninfo = config->conninfo,
        .arena = &t->arena,
        .settings = {.modes = config->modes,
                     .placeholder = slice_of(config->placeholder),
                     .version = SLICE(TOMBOLO_VERSION),
                     .prefix = slice_of(config->prefix),
                     .no_tombstones = config->no_tombstones,
                     .schemas = config->schemas},
    };
    t->events = (struct events){.origin = &t->origin,
                                .topic = name_topic(t, "", ".transaction"),
                                .metadata = config->transaction_metadata};
    events_init(&t->events);
    t->subjects = (struct subjects){.prefix = config->prefix,
                                    .tables = config->tables,
                                    .origin = &t->origin,
                                    .events = &t->events};
    t->barrier = (struct barrier_place){.unseen = config->unseen,
                                        .prefix = config->prefix,
                                        .settings = &t->origin.settings,
                                        .message_max = config->message_max};
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

    t->survey = t->barrier.survey = survey_new(&survey, err);
    return t->survey != NULL;
}

struct topics *topics_new(const struct topics_config *config, struct err *err)
{
    struct topics *t = xcalloc(1, sizeof(*t));

    take_config(t, config);
    if (!config->first_rows)
        progress_forget_folder(config->data_dir);
    t->progress = t->barrier.progress = progress_open(config->data_dir);
    if (selection_check(config->tables, err) && read_skipped(t, config->skipped, err) &&
        start_survey(t, err))
        return t;
    topics_free(t);
    return NULL;
}

void topics_set_outlet(struct topics *t, struct outlet *outlet)
{
    t->outlet = t->events.outlet = t->barrier.outlet = outlet;
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
    subjects_clear(&t->subjects);
    events_release(&t->events);
    origin_release(&t->origin);
    progress_free(t->progress);
    buf_release(&t->out);
    arena_release(&t->change_arena);
    arena_release(&t->arena);
    free(t);
}

void topics_forget_folder(const char *data_dir)
{
    progress_forget_folder(data_dir);
}
