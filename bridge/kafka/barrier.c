#include "kafka/barrier.h"

#include "base/logging.h"
#include "kafka/first_rows.h"
#include "pg/reading.h"

#include <stdlib.h>

struct barrier {
    const struct barrier_place *place;
    struct first_rows rows;
    struct slice name; /* for people */
    struct arena arena;
};

/* On the publishing thread, or wherever the queue is dropped. What Postgres refuses is tried again
 * at the survey's next look; an error of the broker's is everybody's. */
static bool run_barrier(void *arg, bool run, struct err *err)
{
    struct barrier *b = arg;
    const struct barrier_place *place = b->place;
    bool ok = run && progress_begun(place->progress, b->rows.relid, err) &&
              first_rows_publish(&b->rows, err);
    bool broker = run && !ok && b->rows.broker && err->code != ERR_STOPPED;

    progress_sent(place->progress, b->rows.relid, ok);
    if (ok)
        log_info("first rows of a table are published", LOG_STR("table", b->name.ptr),
                 LOG_UINT("rows", b->rows.rows));
    else if (run && !broker && err->code != ERR_STOPPED)
        log_warn("first rows of a table could not be read", LOG_STR("table", b->name.ptr),
                 LOG_ERR(err));
    arena_release(&b->arena);
    free(b);
    survey_answer(place->survey, ok ? SURVEY_DONE : SURVEY_LATER);
    return !broker;
}

static struct barrier *make_barrier(const struct barrier_place *place,
                                    const struct survey_offer *offer, lsn_t limit)
{
    struct barrier *b = xcalloc(1, sizeof(*b));

    b->place = place;
    b->name = slice_of(arena_printf(&b->arena, "%.*s.%.*s", SLICE_ARG(offer->table->nspname),
                                    SLICE_ARG(offer->table->relname)));
    b->rows = (struct first_rows){.conn = offer->conn,
                                  .relid = offer->table->relid,
                                  .lsn = limit,
                                  .prefix = place->prefix,
                                  .settings = place->settings,
                                  .message_max = place->message_max,
                                  .outlet = place->outlet,
                                  .stop = survey_stopping(place->survey)};
    return b;
}

/* True: the barrier will answer. */
static bool begin_rows(const struct barrier_place *place, const struct survey_offer *offer,
                       lsn_t end_lsn, struct arena *arena, enum survey_answer *answer,
                       struct err *err)
{
    struct snapshot snapshot;
    lsn_t limit;

    *answer = SURVEY_LATER;
    if (!reading_snapshot(offer->conn, arena, &snapshot, &limit, err))
        return false;
    if (unseen_misses(place->unseen, &snapshot, UINT64_MAX)) {
        *answer = SURVEY_AGAIN;
        return err_set(err, ERR_BUSY, "a committed transaction is not seen yet");
    }
    progress_queued(place->progress, offer->table, &snapshot, limit, end_lsn);
    /* Where it is not taken the barrier is run all the same. */
    outlet_call(place->outlet, run_barrier, make_barrier(place, offer, limit));
    return true;
}

void barrier_queue(const struct barrier_place *place, const struct survey_offer *offer,
                   lsn_t end_lsn)
{
    struct arena arena = {0};
    enum survey_answer answer;
    struct err err;

    if (!begin_rows(place, offer, end_lsn, &arena, &answer, &err)) {
        if (answer == SURVEY_LATER)
            log_warn("no snapshot for the first rows of a table", LOG_ERR(&err));
        survey_answer(place->survey, answer);
    }
    arena_release(&arena);
}
