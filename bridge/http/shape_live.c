/*
 * From a log to an answer: plans, and answers or waits. A request that waits watches its log; each
 * news, and the end of its time, lead here again.
 */
#include "http/shape_private.h"

#include <stdio.h>
#include <stdlib.h>

#define STREAM_AGAIN_MS 5
#define NO_STREAM "Timeout waiting for the connection to Postgres"

void shape_wait(struct shape_request_state *get, enum shape_phase phase, int64_t ms)
{
    int64_t now = http_loop_now(get->loop->loop);

    if (get->phase != phase)
        get->until = now + ms;
    get->phase = (uint8_t)phase;
    http_loop_timer_set(get->loop->loop, &get->timer, get->until > now ? get->until - now : 1);
}

/* ---- the end of waiting ---------------------------------------------------------------------- */

/* The log has ended: one that had no rows yet could not be made. */
static void answer_gone(struct shape_request_state *get)
{
    struct err err;

    if (get->begun || get->at == SHAPE_OFFSET_AT)
        shape_answer_refetch(get, NULL);
    else if (log_failure(get->log, &err))
        shape_answer_failure(get, &err);
    else
        shape_answer_later(get, "Failed to create shape, please retry", 1, false);
}

static void answer_failed(struct shape_request_state *get, const struct shape_plan *plan)
{
    char text[sizeof(plan->err.msg) + 64];

    snprintf(text, sizeof(text), "Unable to retrieve shape log: %s", plan->err.msg);
    shape_answer_error(get, 500, text);
}

static void answer_beyond(struct shape_request_state *get)
{
    struct err err;

    err_set(&err, ERR_INPUT, "out of bounds for this shape");
    shape_answer_field(get, "offset", &err);
}

static bool is_streaming(const struct shape_request_state *get)
{
    const struct service *service = get->loop->site->service;

    return service->status(service->owner) == SERVICE_ACTIVE;
}

static void answer_no_change(struct shape_request_state *get)
{
    struct shape_plan plan;

    if (!is_streaming(get) && !http_conn_stopping(get->conn)) {
        shape_answer_later(get, NO_STREAM, 10, false);
        return;
    }
    shape_make_plan(get, &plan);
    if (plan.kind == SHAPE_PLAN_WAIT_LIVE)
        shape_answer_nothing(get, &plan);
    else
        shape_go_on(get); /* news that came just now */
}

/* The rows, or the stream that makes them those of a position, are long in coming. What is there is
 * nothing, for now. */
static void answer_not_yet(struct shape_request_state *get, const char *why, bool known)
{
    const struct shape_reply reply = {.status = 200, .offset = get->offset, .nothing = true};
    struct http_headers h;

    if (get->at != SHAPE_OFFSET_AT) {
        shape_answer_later(get, why, 10, known);
        return;
    }
    shape_ends(get);
    shape_put_headers(get, &reply, &h);
    http_respond(get->conn, 200, &h, SLICE("[]"));
}

void shape_on_timer(struct http_timer *timer)
{
    struct shape_request_state *get =
        (struct shape_request_state *)(void *)((char *)timer -
                                               offsetof(struct shape_request_state, timer));

    switch ((enum shape_phase)get->phase) {
    case SHAPE_READY:
        shape_resolve_when_ready(get);
        break;
    case SHAPE_RESOLVING:
        shape_answer_later(get, "Timeout waiting for the database to verify the shape", 10, true);
        break;
    case SHAPE_SNAPSHOT:
        answer_not_yet(get, "Snapshot query took too long to start reading from the database",
                       true);
        break;
    case SHAPE_STREAM:
        if (http_loop_now(get->loop->loop) >= get->until)
            answer_not_yet(get, NO_STREAM, false);
        else
            shape_go_on(get);
        break;
    case SHAPE_LIVE:
        answer_no_change(get);
        break;
    case SHAPE_BEYOND:
        answer_beyond(get);
        break;
    case SHAPE_FOUND:
    case SHAPE_ENCODING:
    case SHAPE_SUBSET:
    case SHAPE_ANSWERED:
        break;
    }
}

void shape_loop_stop(struct shape_loop *loop)
{
    struct shape_request_state *next;

    for (struct shape_request_state *get = loop->waiting; get; get = next) {
        next = get->next;
        if (get->phase == SHAPE_LIVE)
            answer_no_change(get);
        else if (get->phase != SHAPE_RESOLVING && get->phase != SHAPE_ENCODING &&
                 get->phase != SHAPE_SUBSET)
            shape_answer_later(get, "the bridge is stopping", 1, false);
    }
}

/* ---- going on -------------------------------------------------------------------------------- */

void shape_on_news(struct watcher *watcher)
{
    struct shape_request_state *get =
        (struct shape_request_state *)(void *)((char *)watcher -
                                               offsetof(struct shape_request_state, watcher));

    if (get->phase == SHAPE_ANSWERED)
        http_conn_wake(get->conn); /* its response goes on */
    else if (get->phase != SHAPE_ENCODING && get->phase != SHAPE_SUBSET)
        shape_go_on(get);
}

static bool waits(const struct shape_plan *plan)
{
    return plan->kind == SHAPE_PLAN_WAIT_SNAPSHOT || plan->kind == SHAPE_PLAN_WAIT_STREAM ||
           plan->kind == SHAPE_PLAN_WAIT_LIVE || plan->kind == SHAPE_PLAN_WAIT_BEYOND;
}

/* Watches before it looks for the last time: news in between is not lost. */
static void plan_and_watch(struct shape_request_state *get, struct shape_plan *plan)
{
    shape_make_plan(get, plan);
    if (!waits(plan) || get->watcher.watched)
        return;
    watchers_add(get->loop->watchers, get->log, &get->watcher);
    shape_make_plan(get, plan);
}

/* Only for what was there when the request came. */
static bool is_not_modified(struct shape_request_state *get, const struct shape_plan *plan)
{
    bool matches = (plan->kind == SHAPE_PLAN_CONTENT || plan->kind == SHAPE_PLAN_WAIT_LIVE) &&
                   get->tags && shape_tag_matches(get, plan->to);

    free(get->tags);
    get->tags = NULL;
    return matches;
}

static void answer_content(struct shape_request_state *get, const struct shape_plan *plan)
{
    if (is_not_modified(get, plan))
        shape_answer_not_modified(get, plan);
    else if (get->sse)
        shape_send_events(get, plan);
    else
        shape_send_plan(get, plan);
}

/* Never longer than the token is good. */
static int64_t live_ms(const struct shape_request_state *get)
{
    int64_t left = get->expires - http_loop_now(get->loop->loop);

    return left < get->loop->site->long_poll_ms ? left : get->loop->site->long_poll_ms;
}

static void begin_live(struct shape_request_state *get, const struct shape_plan *plan)
{
    if (is_not_modified(get, plan))
        shape_answer_not_modified(get, plan);
    else if (get->sse)
        shape_send_events(get, plan);
    else
        shape_wait(get, SHAPE_LIVE, live_ms(get));
}

void shape_go_on(struct shape_request_state *get)
{
    struct shape_plan plan;

    plan_and_watch(get, &plan);
    if (plan.kind != SHAPE_PLAN_GONE && plan.kind != SHAPE_PLAN_WAIT_SNAPSHOT)
        shape_has_begun(get);
    switch (plan.kind) {
    case SHAPE_PLAN_CONTENT:
        answer_content(get, &plan);
        break;
    case SHAPE_PLAN_NOW:
        shape_answer_nothing(get, &plan);
        break;
    case SHAPE_PLAN_WAIT_SNAPSHOT:
        shape_wait(get, SHAPE_SNAPSHOT, get->loop->site->snapshot_ms);
        break;
    case SHAPE_PLAN_WAIT_STREAM:
        /* That it has come there is no news of the log. */
        shape_wait(get, SHAPE_STREAM, get->loop->site->snapshot_ms);
        http_loop_timer_set(get->loop->loop, &get->timer, STREAM_AGAIN_MS);
        break;
    case SHAPE_PLAN_WAIT_LIVE:
        begin_live(get, &plan);
        break;
    case SHAPE_PLAN_WAIT_BEYOND:
        shape_wait(get, SHAPE_BEYOND, get->loop->site->long_poll_ms / 2);
        break;
    case SHAPE_PLAN_GONE:
        answer_gone(get);
        break;
    case SHAPE_PLAN_FAILED:
        answer_failed(get, &plan);
        break;
    }
}
