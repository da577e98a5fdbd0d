#include "replica/trouble.h"

#include "base/clock.h"
#include "base/logging.h"

#include <inttypes.h>
#include <stdlib.h>

#define REFUSE_AT 2 /* failures */
#define WAIT_AT 3
#define GONE_FIRST_MS 1000

struct lite_trouble *lite_trouble_of(const struct replica *r, int64_t shape)
{
    struct lite_trouble *t = r->troubles;

    while (t && t->shape != shape)
        t = t->next;
    return t;
}

bool lite_trouble_waits(const struct lite_trouble *t)
{
    return t && t->again_at > clock_ms();
}

const char *lite_trouble_refusal(const struct lite_trouble *t)
{
    return t && t->handle && t->failures >= REFUSE_AT ? t->reason : NULL;
}

static void release(struct lite_trouble *t)
{
    free(t->handle);
    free(t->reason);
    free(t);
}

void lite_trouble_forget(struct replica *r)
{
    while (r->troubles) {
        struct lite_trouble *t = r->troubles;

        r->troubles = t->next;
        release(t);
    }
}

/* `wait_ms`: how long it is left out; 0: it is not. */
static struct lite_trouble *note(struct replica *r, const struct lite_feed *feed,
                                 const char *handle, const char *reason, int64_t wait_ms)
{
    struct lite_trouble *t = lite_trouble_of(r, feed->shape->id);

    if (!t) {
        t = xcalloc(1, sizeof(*t));
        *t = (struct lite_trouble){.next = r->troubles, .shape = feed->shape->id};
        r->troubles = t;
    }
    t->failures++;
    t->gone_ms = 0;
    t->again_at = wait_ms ? clock_ms() + wait_ms : 0;
    free(t->handle);
    free(t->reason);
    t->handle = handle ? xstrdup(handle) : NULL;
    t->reason = xstrdup(reason);
    return t;
}

static void say_left_out(const struct lite_feed *feed, const char *reason, int64_t wait_ms)
{
    log_warn("a table is left out for now", LOG_STR("table", feed->shape->local),
             LOG_STR("reason", reason), LOG_INT("again_in_ms", wait_ms));
}

/* Outside of a transaction. The status says it. */
static void save_reason(struct replica *r, const struct lite_feed *feed, const char *what,
                        const char *why)
{
    struct err err;

    if (!lite_db_exec(&r->db, &err,
                      "UPDATE _tombolo_shapes SET reason = %Q || ', tried again now and then: ' || "
                      "%Q WHERE id = %lld",
                      what, why, (long long)feed->shape->id))
        log_warn("could not note why a table is left out", LOG_ERR(&err));
}

const char *lite_trouble_misfit(struct replica *r, const struct lite_feed *feed, uint64_t lsn,
                                const char *reason)
{
    const struct lite_trouble *before = lite_trouble_of(r, feed->shape->id);
    bool waits = before && before->failures + 1 >= WAIT_AT;
    struct lite_trouble *t =
        note(r, feed, before ? feed->handle : NULL, reason, waits ? r->trouble_ms : 0);

    t->past = lsn;
    if (!waits)
        return arena_strdup(&r->session, reason);
    say_left_out(feed, reason, r->trouble_ms);
    return arena_printf(&r->session, "cannot be applied, tried again now and then: %s", reason);
}

/* ---- SQLite refuses -------------------------------------------------------------------------- */

static bool is_there(struct replica *r, const char *table)
{
    struct err ignored;
    int64_t n = 1;

    return !lite_db_int(&r->db, 1, &n, &ignored,
                        "SELECT count(*) FROM sqlite_schema WHERE name = %Q COLLATE NOCASE",
                        table) ||
           n > 0;
}

void lite_trouble_stuck(struct replica *r, struct err *err)
{
    struct lite_feed *feed = r->stuck;
    struct err ignored;

    if (is_there(r, feed->shape->local)) {
        struct lite_trouble *t = note(r, feed, NULL, err->msg, r->trouble_ms);

        t->past = r->stuck_lsn;
        say_left_out(feed, err->msg, r->trouble_ms);
        save_reason(r, feed, "SQLite refuses its rows", err->msg);
    } else if (!lite_db_exec(&r->db, &ignored,
                             "UPDATE _tombolo_shapes SET handle = NULL, schema_json = NULL, "
                             "status = %Q, reason = 'its table was dropped' WHERE id = %lld",
                             lite_status_text(LITE_FETCHING), (long long)feed->shape->id)) {
        log_warn("could not note that a table was dropped", LOG_ERR(&ignored));
    }
    err->code = ERR_CHANGED;
}

/* ---- the bridge does not have it ------------------------------------------------------------- */

bool lite_trouble_was_served(const struct lite_feed *feed)
{
    const struct lite_shape *s = feed->shape;

    return s->schema_json && !(s->reason && strcmp(s->reason, LITE_REDEFINED) == 0);
}

void lite_trouble_gone(struct replica *r, const struct lite_feed *feed, const char *why)
{
    const struct lite_trouble *before = lite_trouble_of(r, feed->shape->id);
    int64_t wait_ms = before && before->gone_ms ? before->gone_ms * 2 : GONE_FIRST_MS;

    if (wait_ms > LITE_GONE_MOST_MS)
        wait_ms = LITE_GONE_MOST_MS;
    if (!before || !before->gone_ms)
        say_left_out(feed, why, wait_ms);
    struct lite_trouble *t = note(r, feed, NULL, why, wait_ms);

    t->gone_ms = wait_ms;
    t->failures = 0; /* of its rows */
    t->past = 0;
    save_reason(r, feed, LITE_GONE, why);
}

/* ---- over ------------------------------------------------------------------------------------ */

static void drop(struct replica *r, struct lite_trouble *trouble)
{
    struct lite_trouble **at = &r->troubles;

    while (*at && *at != trouble)
        at = &(*at)->next;
    if (*at) {
        *at = trouble->next;
        release(trouble);
    }
}

/* Also a reason that another process stored. */
bool lite_trouble_pass(struct replica *r, uint64_t lsn, struct err *err)
{
    for (size_t i = 0; i < r->nfeeds; i++) {
        struct lite_feed *feed = &r->feeds[i];
        struct lite_trouble *t = lite_trouble_of(r, feed->shape->id);

        if (feed->phase != LITE_STREAMING || (t && lsn < t->past))
            continue;
        if (t && t->again_at)
            log_info("a table is back", LOG_STR("table", feed->shape->local));
        drop(r, t);
        if (!feed->shape->reason)
            continue;
        feed->shape->reason = NULL;
        if (!lite_apply_begin(r, err) || !lite_shape_save(&r->db, feed->shape, err))
            return false;
    }
    return true;
}

size_t lite_trouble_count(const struct replica *r)
{
    size_t n = 0;

    for (const struct lite_trouble *t = r->troubles; t; t = t->next)
        n += t->again_at != 0;
    return n;
}

size_t lite_trouble_waiting(const struct replica *r, int64_t *again_at)
{
    size_t n = 0;

    *again_at = 0;
    for (const struct lite_trouble *t = r->troubles; t; t = t->next) {
        if (!lite_trouble_waits(t))
            continue;
        n++;
        if (!*again_at || t->again_at < *again_at)
            *again_at = t->again_at;
    }
    return n;
}

bool lite_trouble_err(const struct replica *r, const char *otherwise, struct err *err)
{
    for (size_t i = 0; i < r->nshapes; i++) {
        const struct lite_trouble *t = lite_trouble_of(r, r->shapes[i].id);

        if (lite_trouble_waits(t))
            return err_set(err, ERR_CHANGED, "table \"%s\" cannot be %s: %s", r->shapes[i].local,
                           t->gone_ms ? "had from the bridge" : "applied", t->reason);
    }
    return err_set(err, ERR_CHANGED, "%s", otherwise);
}
