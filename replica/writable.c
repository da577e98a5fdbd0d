/* Which tables are captured: as the bridge says who may write, and as we made the captures. */
#include "replica/writes.h"

#include "base/clock.h"
#include "base/logging.h"
#include "replica/capture.h"
#include "replica/capture_core.h"
#include "replica/gap.h"

#include <strings.h>

/* Why local writes to the table stay here, for its status; NULL: they do not. */
static bool note_kept(struct replica *r, struct lite_shape *shape, const struct err *why,
                      struct err *err)
{
    if (!why && !shape->kept)
        return true;
    if (why && shape->kept && strcmp(shape->kept, why->msg) == 0)
        return true;
    if (why)
        log_warn("local writes stay local", LOG_STR("table", shape->local), LOG_ERR(why));
    shape->kept = why ? arena_strdup(&r->session, why->msg) : NULL;
    return lite_shape_save(&r->db, shape, err);
}

/* What cannot be captured now is tried again: somebody may mend it. */
static bool capture(struct replica *r, struct lite_feed *feed, struct err *err)
{
    struct err why;

    if (feed->schema.nkey == 0) {
        err_set(&why, ERR_INPUT, "it has no primary key");
    } else if (lite_capture_install(&r->db, feed->shape->local, &why)) {
        log_info("local writes are captured", LOG_STR("table", feed->shape->local));
        return note_kept(r, feed->shape, NULL, err);
    }
    feed->again = clock_ms() + r->trouble_ms;
    *err = why;
    return why.code == ERR_INPUT && note_kept(r, feed->shape, &why, err);
}

static bool let_go(struct replica *r, struct lite_feed *feed, struct err *err)
{
    int64_t pending;

    if (!lite_db_int(&r->db, 0, &pending, err,
                     "SELECT EXISTS (SELECT 1 FROM _tombolo_pending WHERE \"table\" = %Q)",
                     feed->shape->local))
        return false;
    if (pending)
        return true;
    log_info("local writes are no longer captured", LOG_STR("table", feed->shape->local));
    return lite_capture_remove(&r->db, feed->shape->local, err);
}

static bool capture_feed(struct replica *r, struct lite_feed *feed, struct err *err)
{
    int64_t layout;

    feed->looked = true;
    feed->again = 0;
    if (!capture_layout(&r->db, feed->shape->local, &layout, err))
        return false;
    bool kept = feed->writable && !layout;
    if (feed->writable == (layout != 0) && !feed->shape->kept)
        return true;
    if (!lite_apply_begin(r, err) || (!kept && !note_kept(r, feed->shape, NULL, err)))
        return false;
    return kept ? capture(r, feed, err) : feed->writable || !layout || let_go(r, feed, err);
}

static bool is_due(const struct lite_feed *feed)
{
    return feed->phase == LITE_STREAMING &&
           (!feed->looked || (feed->again && feed->again <= clock_ms()));
}

bool lite_writes_capture(struct replica *r, struct err *err)
{
    for (size_t i = 0; i < r->nfeeds; i++) {
        if (is_due(&r->feeds[i]) && !capture_feed(r, &r->feeds[i], err))
            return false;
    }
    return true;
}

/* It was captured, and cannot be any more. */
static bool give_up(struct replica *r, const char *table, const struct err *why, struct err *err)
{
    for (size_t i = 0; i < r->nshapes; i++) {
        if (strcasecmp(r->shapes[i].local, table) == 0)
            return lite_capture_remove(&r->db, table, err) && note_kept(r, &r->shapes[i], why, err);
    }
    return lite_capture_remove(&r->db, table, err);
}

static bool repair(struct replica *r, const struct lite_capture *c, struct err *err)
{
    struct err why;

    if (c->state == LITE_CAPTURE_INTACT)
        return true;
    log_warn("the capture of local writes was changed", LOG_STR("table", c->table),
             LOG_STR("what", c->what));
    if (!lite_capture_repair(&r->db, c, &why)) {
        *err = why;
        return why.code == ERR_INPUT && give_up(r, c->table, &why, err);
    }
    return !c->gap || lite_gap_found(r, c->table, "local writes may have slipped by", err);
}

bool lite_writes_verify(struct replica *r, struct err *err)
{
    struct arena arena = {0};
    struct lite_capture *captures;
    size_t n;
    bool moved;

    bool ok = lite_capture_moved(&r->db, &moved, err);
    if (ok && moved) {
        ok = lite_capture_verify(&r->db, &arena, &captures, &n, err);
        for (size_t i = 0; ok && i < n; i++)
            ok = repair(r, &captures[i], err);
    }
    arena_release(&arena);
    return ok;
}
