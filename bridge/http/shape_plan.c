/*
 * Which messages answer a request now, or what it waits for. Nothing is read but positions, unless
 * a chunk's bound has to be found first.
 */
#include "http/shape_private.h"

static void content_plan(struct shape_plan *plan, struct log_offset to)
{
    plan->kind = SHAPE_PLAN_CONTENT;
    plan->to = to;
}

/* ---- the snapshot ---------------------------------------------------------------------------- */

/* False when the snapshot has no such chunk: then the log is next. */
static bool plan_chunk(struct shape_loop *loop, struct log *log, uint32_t number,
                       struct shape_plan *plan)
{
    struct snapshot_chunk chunk;

    switch (log_snapshot_chunk_at(loop->store, log, number, &chunk)) {
    case CHUNK_NONE:
        return false;
    case CHUNK_GONE:
        plan->kind = SHAPE_PLAN_GONE;
        return true;
    case CHUNK_WAIT:
        plan->kind = SHAPE_PLAN_WAIT_SNAPSHOT;
        return true;
    case CHUNK_THERE:
        break;
    }
    /* Not before there are rows, or it is known that there are none: a query may still fail. */
    if (!chunk.blocks && !chunk.complete) {
        plan->kind = SHAPE_PLAN_WAIT_SNAPSHOT;
        return true;
    }
    plan->content =
        (struct shape_content){.log = log, .snapshot = true, .number = number, .chunk = chunk};
    content_plan(plan, (struct log_offset){0, number});
    return true;
}

/* ---- the log --------------------------------------------------------------------------------- */

static bool range_after(struct shape_loop *loop, struct log *log, struct log_offset after,
                        lsn_t upto, struct log_range *range, struct err *err)
{
    if (loop->planned.log == log_id(log) && loop->planned.upto == upto &&
        log_offset_compare(loop->planned.after, after) == 0 && log_state(log) != LOG_ENDED) {
        *range = loop->planned.range;
        return true;
    }
    if (!log_range_after(loop->store, log, after, upto, range, err))
        return false;
    loop->planned.log = log_state(log) == LOG_PENDING ? 0 : log_id(log);
    loop->planned.upto = upto;
    loop->planned.after = after;
    loop->planned.range = *range;
    return true;
}

static bool plan_failed(const struct log *log, struct shape_plan *plan)
{
    plan->kind = log_state(log) == LOG_ENDED ? SHAPE_PLAN_GONE : SHAPE_PLAN_FAILED;
    return false;
}

/* Nothing has been taken out of the log below its first position: all before it is its beginning.
 */
static struct log_offset not_before_first(struct log *log, struct log_offset after)
{
    return after.lsn < log_first(log) ? LOG_OFFSET_BEGIN : after;
}

/* The snapshot is of a later time than where the stream was then: until the stream has come there,
 * the rows are those of no position. */
static bool agrees_at(struct log *log, lsn_t position)
{
    return position + 1 >= log_limit(log);
}

static bool is_empty(const struct log_range *range)
{
    return log_offset_compare(range->to, range->after) == 0;
}

bool shape_plan_range(struct shape_loop *loop, struct log *log, struct log_offset after, bool live,
                      struct shape_plan *plan)
{
    /* First, so that the plan is of all that is at or below it, and the log has not ended by it. */
    lsn_t published = shapelog_published(loop->store);
    struct log_range range;

    after = not_before_first(log, after);
    if (!range_after(loop, log, after, published, &range, &plan->err))
        return plan_failed(log, plan);
    plan->content = (struct shape_content){.log = log, .range = range};
    content_plan(plan, range.to);
    plan->seen = live && !is_empty(&range) ? range.to.lsn : published;
    plan->up_to_date = range.at_end && agrees_at(log, plan->seen);
    return true;
}

/* `N_inf` is where a transaction ends: that of the last one is the log's end. */
static bool is_beyond(struct log_offset after, struct log_offset end)
{
    return log_offset_compare(after, end) > 0 && !(after.op == LOG_OP_INF && after.lsn == end.lsn);
}

static void plan_changes(struct shape_request_state *get, struct log_offset after,
                         struct shape_plan *plan)
{
    struct log_offset end = log_end(get->log, shapelog_published(get->loop->store));

    if (is_beyond(not_before_first(get->log, after), end)) {
        plan->kind = SHAPE_PLAN_WAIT_BEYOND;
        return;
    }
    if (!shape_plan_range(get->loop, get->log, after, get->live, plan) ||
        !is_empty(&plan->content.range))
        return;
    plan->to = log_end(get->log, plan->seen);
    if (!plan->up_to_date)
        plan->kind = SHAPE_PLAN_WAIT_STREAM;
    else if (get->live)
        plan->kind = SHAPE_PLAN_WAIT_LIVE;
}

static void plan_now(struct shape_request_state *get, struct shape_plan *plan)
{
    lsn_t published = shapelog_published(get->loop->store);
    enum log_state state = log_state(get->log);

    /* What is committed before the snapshot is taken is in it, not in the log. */
    if (state == LOG_ENDED)
        plan->kind = SHAPE_PLAN_GONE;
    else if (state == LOG_PENDING || state == LOG_LOADED)
        plan->kind = SHAPE_PLAN_WAIT_SNAPSHOT;
    else
        plan->kind = agrees_at(get->log, published) ? SHAPE_PLAN_NOW : SHAPE_PLAN_WAIT_STREAM;
    plan->seen = published;
    plan->to = log_end(get->log, published);
    plan->up_to_date = true;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void plan_offset(struct shape_request_state *get, struct shape_plan *plan)
{
    if (get->offset.lsn == 0 && get->offset.op < UINT32_MAX &&
        plan_chunk(get->loop, get->log, (uint32_t)get->offset.op + 1, plan))
        return;
    plan_changes(get, get->offset.lsn == 0 ? LOG_OFFSET_BEGIN : get->offset, plan);
}

void shape_make_plan(struct shape_request_state *get, struct shape_plan *plan)
{
    *plan = (struct shape_plan){0};
    if (log_state(get->log) == LOG_ENDED) {
        plan->kind = SHAPE_PLAN_GONE;
        return;
    }
    switch ((enum shape_offset_at)get->at) {
    case SHAPE_OFFSET_START:
        plan_chunk(get->loop, get->log, 0, plan);
        break;
    case SHAPE_OFFSET_NOW:
        plan_now(get, plan);
        break;
    case SHAPE_OFFSET_AT:
        plan_offset(get, plan);
        break;
    }
}
