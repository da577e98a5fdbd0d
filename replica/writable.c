/* Which tables are captured: as the bridge says who may write, and as we made the captures. */
#include "replica/writes.h"

#include "base/logging.h"
#include "replica/capture.h"
#include "replica/capture_core.h"
#include "replica/gap.h"

static bool capture(struct replica *r, struct lite_feed *feed, struct err *err)
{
    struct err why;

    if (feed->schema.nkey > 0 && lite_capture_install(&r->db, feed->shape->local, &why)) {
        log_info("local writes are captured", LOG_STR("table", feed->shape->local));
        return true;
    }
    if (feed->schema.nkey == 0)
        err_set(&why, ERR_INPUT, "it has no primary key");
    log_warn("local writes stay local", LOG_STR("table", feed->shape->local), LOG_ERR(&why));
    *err = why;
    return why.code == ERR_INPUT;
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
    if (!capture_layout(&r->db, feed->shape->local, &layout, err))
        return false;
    if (feed->writable == (layout != 0))
        return true;
    return lite_apply_begin(r, err) &&
           (feed->writable ? capture(r, feed, err) : let_go(r, feed, err));
}

bool lite_writes_capture(struct replica *r, struct err *err)
{
    for (size_t i = 0; i < r->nfeeds; i++) {
        struct lite_feed *feed = &r->feeds[i];

        if (feed->phase == LITE_STREAMING && !feed->looked && !capture_feed(r, feed, err))
            return false;
    }
    return true;
}

static bool repair(struct replica *r, const struct lite_capture *c, struct err *err)
{
    struct err why;

    if (c->state == LITE_CAPTURE_INTACT)
        return true;
    log_warn("the capture of local writes was changed", LOG_STR("table", c->table),
             LOG_STR("what", c->what));
    if (!lite_capture_repair(&r->db, c, &why)) {
        log_warn("local writes are no longer captured", LOG_STR("table", c->table), LOG_ERR(&why));
        *err = why;
        return why.code == ERR_INPUT && lite_capture_remove(&r->db, c->table, err);
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
