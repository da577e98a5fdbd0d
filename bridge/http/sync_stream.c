/*
 * The stream of /v1/sync. pull() puts lines as long as there is room:
 *
 *     live shapes    merged by commit LSN up to the published position, a commit line behind each
 *                    commit that touches any of them
 *     other shapes   one step each: open line, snapshot blocks, then what happened since its
 *                    snapshot up to the session's position; then they are live, and a commit line
 *                    says so
 *
 * So at each commit line all live shapes stand at one position, and a shape
 * that is being fetched holds up no other. Only its last stretch does: a client
 * takes a commit line's position for every shape whose rows are complete, so
 * there is none between a shape's snapshot_end and the end of its catching up.
 *
 * Feeds of acknowledgements (sync_acks.h) are shapes like the others, but that
 * nothing of them is put: what they say comes before a commit line, when they
 * have passed their own snapshots.
 */
#include "http/sync_lines.h"

#include <stdlib.h>

/* A client that is ahead: one that is so for long is one of many, perhaps all of another node's. */
#define AHEAD_LOOK_MS 10
#define AHEAD_LOOK_MOST_MS 500

/* ---- the shapes' steps ----------------------------------------------------------------------- */

enum step {
    STEP_IDLE,  /* nothing to do now */
    STEP_DONE,  /* something was put or changed: look again */
    STEP_FULL,  /* no room */
    STEP_ERROR, /* it could not be read, which has been logged: cut the connection */
    STEP_GONE,  /* the log has ended */
};

static enum step broken(const struct sync_shape *s, const struct err *why)
{
    http_conn_abort(s->session->conn, log_handle(s->log).ptr, why);
    return STEP_ERROR;
}

/* Whose log goes on is not fetched again: the client comes back to where it is. */
static enum step unread(const struct sync_shape *s, const struct err *why)
{
    return log_state(s->log) == LOG_ENDED ? STEP_GONE : broken(s, why);
}

/* Reads on when all that was read is sent. */
static enum step fill_runs(struct sync_session *session, struct sync_shape *s, lsn_t upto)
{
    struct log_run runs[SYNC_RUNS];
    struct err err;
    size_t n;

    if (s->runs)
        return STEP_DONE;
    if (!log_read(session->service->store, s->log, &s->cursor, upto, runs, SYNC_RUNS, &n, &err))
        return unread(s, &err);
    if (n == 0)
        return STEP_IDLE;
    s->runs = xmalloc(sizeof(*s->runs) + n * sizeof(*runs));
    s->runs->first = 0;
    s->runs->n = n;
    memcpy(s->runs->items, runs, n * sizeof(*runs));
    return STEP_DONE;
}

/* Of the runs that were read. */
static const struct log_run *next_run(const struct sync_shape *s)
{
    return &s->runs->items[s->runs->first];
}

static enum step put_next_run(struct sync_shape *s, struct http_out *out)
{
    const struct log_run *run = next_run(s);
    struct err err;

    if (!sync_is_feed(s) && !sync_fits(out, run->len))
        return STEP_FULL;
    s->runs->first++;
    bool ok = sync_put_run(out, s, run, &err);
    if (s->runs->first == s->runs->n)
        sync_drop_runs(s);
    return ok ? STEP_DONE : broken(s, &err);
}

/* The refetch line, if one is due, and the open line. False: there is no room. */
static bool announce(struct sync_shape *s, struct http_out *out)
{
    if (s->refetch && http_out_room(out) < SYNC_LINE_ROOM * 2)
        return false;
    if (s->refetch)
        sync_put_refetch(out, s, s->refetch);
    free(s->refetch);
    s->refetch = NULL;
    return sync_put_open(out, s);
}

static enum step open_shape(struct sync_session *session, struct sync_shape *s,
                            struct http_out *out)
{
    if (log_state(s->log) == LOG_ENDED)
        return STEP_GONE;
    if (!sync_is_feed(s) && sync_awaits_limit(s))
        return STEP_IDLE;
    if (!sync_is_feed(s) && !announce(s, out))
        return STEP_FULL;
    if (!s->cursor.after)
        s->phase = SYNC_SNAPSHOT;
    else if (session->position && s->cursor.after == session->position)
        s->phase = SYNC_LIVE;
    else
        s->phase = SYNC_CATCHUP;
    session->joined |= s->phase == SYNC_LIVE && !sync_is_feed(s);
    return STEP_DONE;
}

static bool any_in(const struct sync_session *session, enum sync_phase phase)
{
    for (size_t i = 0; i < session->nshapes; i++) {
        if (session->shapes[i].phase == phase)
            return true;
    }
    return false;
}

/* Whether the session has come to where a shape's changes begin. Live shapes have to be sent up to
 * there first; where there is none (the first one decides, and so does the only one when it was
 * fetched again) nothing holds the position back. */
static bool position_reaches(struct sync_session *session, lsn_t first)
{
    if ((!session->position || session->position < first) && !any_in(session, SYNC_LIVE))
        session->position = shapelog_published(session->service->store);
    return session->position >= first;
}

static enum step send_snapshot(struct sync_session *session, struct sync_shape *s,
                               struct http_out *out)
{
    struct snapshot_block block;
    struct err err;

    if (!sync_room_for_line(out) || http_out_room(out) < HTTP_OUT_COPY_MOST + SYNC_LINE_ROOM)
        return STEP_FULL;
    switch (log_snapshot_block(session->service->store, s->log, s->block, &block)) {
    case SNAPSHOT_BLOCK:
        s->block++;
        return sync_put_block(out, s, &block, &err) ? STEP_DONE : broken(s, &err);
    case SNAPSHOT_WAIT:
        return STEP_IDLE;
    case SNAPSHOT_GONE:
        err_set(&err, ERR_IO, "the first rows cannot be read");
        return unread(s, &err);
    case SNAPSHOT_END:
        break;
    }
    if (!position_reaches(session, log_first(s->log)))
        return STEP_IDLE;
    sync_put_snapshot_end(out, s);
    s->phase = SYNC_CATCHUP;
    s->cursor = (struct log_cursor){.after = log_first(s->log)};
    return STEP_DONE;
}

/* Up to where the live shapes are. */
static enum step catch_up(struct sync_session *session, struct sync_shape *s, struct http_out *out)
{
    enum step step = fill_runs(session, s, session->position);

    if (step == STEP_DONE)
        return put_next_run(s, out);
    if (step == STEP_IDLE) {
        s->phase = SYNC_LIVE;
        s->cursor = (struct log_cursor){.after = session->position};
        session->joined |= !sync_is_feed(s);
        return STEP_DONE;
    }
    return step;
}

static enum step advance_shape(struct sync_session *session, struct sync_shape *s,
                               struct http_out *out)
{
    switch (s->phase) {
    case SYNC_OPEN:
        return open_shape(session, s, out);
    case SYNC_SNAPSHOT:
        return send_snapshot(session, s, out);
    case SYNC_CATCHUP:
        return catch_up(session, s, out);
    case SYNC_RESOLVING:
    case SYNC_LIVE:
        break;
    }
    return STEP_IDLE;
}

/* ---- the live shapes ------------------------------------------------------------------------- */

/* The live shape whose next run is of the earliest commit; *next is NULL when there is none up to
 * `upto`. */
static enum step earliest(struct sync_session *session, lsn_t upto, struct sync_shape **next,
                          struct sync_shape **gone)
{
    *next = NULL;
    for (size_t i = 0; i < session->nshapes; i++) {
        struct sync_shape *s = &session->shapes[i];

        if (s->phase != SYNC_LIVE)
            continue;
        enum step step = fill_runs(session, s, upto);
        if (step == STEP_GONE || step == STEP_ERROR) {
            *gone = s;
            return step;
        }
        if (step == STEP_DONE && (!*next || next_run(s)->commit_lsn < next_run(*next)->commit_lsn))
            *next = s;
    }
    return *next ? STEP_DONE : STEP_IDLE;
}

static bool all_settled(const struct sync_session *session)
{
    for (size_t i = 0; i < session->nshapes; i++) {
        if (session->shapes[i].phase != SYNC_LIVE)
            return false;
    }
    return true;
}

/* Nothing is left to be sent up to `upto`. A shape may wait for the position to move. */
static enum step come_to(struct sync_session *session, lsn_t upto)
{
    bool moved = session->position < upto;

    session->position = upto;
    return moved && !all_settled(session) ? STEP_DONE : STEP_IDLE;
}

/* One run, or one commit line, or the end of what is published. */
static enum step advance_live(struct sync_session *session, struct http_out *out,
                              struct sync_shape **gone)
{
    lsn_t upto = shapelog_published(session->service->store);
    struct sync_shape *next;

    if (!any_in(session, SYNC_LIVE) || (!session->commit && any_in(session, SYNC_CATCHUP)))
        return STEP_IDLE;
    if (!sync_room_for_line(out))
        return STEP_FULL;
    if (upto < session->position)
        upto = session->position;
    enum step step = earliest(session, upto, &next, gone);
    if (step == STEP_GONE || step == STEP_ERROR)
        return step;
    lsn_t commit = next ? next_run(next)->commit_lsn : 0;

    if (session->commit && session->commit != commit) {
        session->position = session->commit;
        sync_put_commit(session, out, session->commit);
        return STEP_DONE;
    }
    if (!next)
        return come_to(session, upto);
    step = put_next_run(next, out);
    if (step == STEP_DONE)
        session->commit = commit;
    return step;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* The shape's log has ended: a live one, or one with complete rows, is fetched again; one whose
 * first rows never came ends the stream with the reason. */
static bool refetch_shape(struct sync_session *session, struct sync_shape *s, struct http_out *out)
{
    char reason[256];

    log_reason(s->log, reason);
    if (!s->cursor.after && (s->phase == SYNC_OPEN || s->phase == SYNC_SNAPSHOT)) {
        sync_put_error(out, sync_is_feed(s) ? -1 : (long)sync_index(s), reason, true);
        return false;
    }
    watchers_remove(&session->loop->watchers, &s->watcher);
    sync_drop_runs(s);
    log_unref(s->log);
    s->log = NULL;
    s->refetched = true;
    free(s->refetch);
    s->refetch = xstrdup(reason[0] ? reason : "the log has ended");
    sync_resolve(session, sync_index(s));
    /* A commit whose rows were all of shapes that are fetched again needs no line of its own. */
    if (!any_in(session, SYNC_LIVE))
        session->commit = 0;
    return true;
}

static enum step advance_others(struct sync_session *session, struct http_out *out,
                                struct sync_shape **gone)
{
    enum step step = STEP_IDLE;

    for (size_t i = 0; step == STEP_IDLE && i < session->nshapes; i++) {
        *gone = &session->shapes[i];
        step = advance_shape(session, *gone, out);
    }
    return step;
}

/* A step of the live shapes together, or of one that is not live yet: in turns, so that neither
 * holds up the other. A commit that has begun is sent to its end first. */
static enum step advance(struct sync_session *session, struct http_out *out,
                         struct sync_shape **gone)
{
    bool live_first = session->commit || session->live_turn;
    enum step step =
        live_first ? advance_live(session, out, gone) : advance_others(session, out, gone);

    session->live_turn = !live_first;
    if (step != STEP_IDLE)
        return step;
    return live_first ? advance_others(session, out, gone) : advance_live(session, out, gone);
}

/* A request that is not live ends when it has passed the fence, consistently: also when there is
 * more to send by then, as there always is where changes come faster than the client takes them. */
static bool is_complete(const struct sync_session *session)
{
    return !session->request.live && session->fenced && session->said + 1 >= session->fence &&
           !session->commit && !session->joined && session->said_consistent &&
           all_settled(session) && !sync_ack_is_due(session, session->position);
}

/* It began before the tables of acknowledgements were there: it comes again, and gets them. */
static bool wants_feeds(const struct sync_session *session)
{
    const struct service *service = session->service;

    return session->request.writes && session->request.live && !session->acks &&
           (!session->auth.token || token_subject(session->auth.token).ptr) &&
           service->writes_ready(service->owner);
}

/* Nothing more to send for now: say what became true meanwhile. */
static enum http_pull rest(struct sync_session *session, struct http_conn *conn,
                           struct http_out *out)
{
    int64_t now = http_loop_now(http_conn_loop(conn));
    int64_t keepalive = session->service->keepalive_ms;
    bool consistent = session->position && sync_is_consistent(session, session->position);

    bool ack = session->position && sync_ack_is_due(session, session->position) &&
               !any_in(session, SYNC_CATCHUP);

    if (session->joined || ack || (consistent && !session->said_consistent)) {
        sync_put_commit(session, out, session->position);
        session->said_at = now;
    } else if (now - session->said_at >= keepalive ||
               (!session->request.live && session->fenced && session->position > session->said)) {
        sync_put_keepalive(session, out);
        session->said_at = now;
    }
    if (is_complete(session) || wants_feeds(session))
        return HTTP_END;
    /* A live stream may end anywhere; one that is to end when it is complete must not look so. */
    if (http_conn_stopping(conn))
        return session->request.live ? HTTP_END
                                     : sync_put_error(out, -1, "the bridge is stopping", true);
    if (!session->request.live && !session->fence_asked)
        sync_ask_fence(session);
    /* Neither a fence nor a snapshot's limit is news of a log: look again soon while one is
     * awaited. */
    bool awaited = all_settled(session) && (!session->request.live || !consistent);
    int64_t left = session->expires - now;
    http_conn_wake_after(conn, awaited ? 5 : keepalive < left ? keepalive : left);
    return HTTP_WAIT;
}

static bool any_ended(const struct sync_session *session)
{
    for (size_t i = 0; i < session->nshapes; i++) {
        if (session->shapes[i].log && log_state(session->shapes[i].log) == LOG_ENDED)
            return true;
    }
    return false;
}

/* The client has had more, of another node, than there is here yet: nothing is said before. It may
 * be lying, and wait for ever: what is on disk is not kept for it. */
static enum http_pull await_position(struct sync_session *session, struct http_conn *conn,
                                     struct http_out *out)
{
    int64_t now = http_loop_now(http_conn_loop(conn));

    if (http_conn_stopping(conn))
        return sync_put_error(out, -1, "the bridge is stopping", true);
    if (any_ended(session))
        return sync_put_error(out, -1, "a shape has ended meanwhile: begin again", true);
    if (now - session->said_at >= session->service->keepalive_ms && sync_room_for_line(out)) {
        sync_put_waiting(session, out);
        session->said_at = now;
    }
    if (session->ahead_ms < AHEAD_LOOK_MOST_MS)
        session->ahead_ms *= 2;
    http_conn_wake_after(conn, session->ahead_ms);
    return HTTP_WAIT;
}

/* A shape that was to begin anew cannot be made. */
static enum http_pull put_invalid(const struct sync_session *session, struct http_out *out)
{
    const struct sync_invalid *invalid = session->invalid;
    bool is_shape = invalid->field[0] != '\0';

    return sync_put_error(out, is_shape ? (long)invalid->shape : -1, invalid->err.msg,
                          !is_shape || err_retriable(invalid->err.code));
}

static enum http_pull pull(struct http_source *source, struct http_conn *conn, struct http_out *out)
{
    struct sync_session *session = (struct sync_session *)source;
    struct sync_shape *gone = NULL;
    size_t before = http_out_room(out);

    if (http_loop_now(http_conn_loop(conn)) >= session->expires)
        return sync_put_error(out, -1, "the token has expired", true);
    if (session->by_rules && session->rules != atomic_load(session->service->rules_version))
        return sync_put_error(out, -1, "the rules have changed", true);
    if (session->invalid)
        return put_invalid(session, out);
    if (session->history != shapelog_resets(session->service->store))
        return sync_put_error(out, -1, "the database's history is another one: begin again", true);
    if (shapelog_published(session->service->store) >= session->position)
        session->ahead_ms = 0;
    if (session->ahead_ms)
        return await_position(session, conn, out);
    for (;;) {
        switch (advance(session, out, &gone)) {
        case STEP_DONE:
            if (is_complete(session))
                return HTTP_END;
            break;
        case STEP_FULL:
            session->said_at = http_loop_now(http_conn_loop(conn));
            return HTTP_MORE;
        case STEP_ERROR:
            return HTTP_ABORT;
        case STEP_GONE:
            if (!sync_room_for_line(out))
                return HTTP_MORE;
            if (!refetch_shape(session, gone, out))
                return HTTP_END;
            break;
        case STEP_IDLE:
            if (!sync_room_for_line(out))
                return HTTP_MORE;
            if (http_out_room(out) != before)
                session->said_at = http_loop_now(http_conn_loop(conn));
            return rest(session, conn, out);
        }
    }
}

/* The session is the request's, whose user it is: it goes with it, after its source. */
static void release(struct http_source *source)
{
    (void)source;
}

const struct http_source_ops sync_source_ops = {pull, release};

/* Shapes that go on from one position are in step from the start; those behind the furthest catch
 * up with it first. */
static lsn_t resume_position(const struct sync_session *session)
{
    lsn_t position = 0;

    for (size_t i = 0; i < session->nshapes; i++) {
        if (session->shapes[i].cursor.after > position)
            position = session->shapes[i].cursor.after;
    }
    return position;
}

void sync_stream_start(struct sync_session *session)
{
    struct http_headers h;

    session->streaming = true;
    if (session->request.live)
        atomic_fetch_add(session->service->clients, 1);
    session->position = resume_position(session);
    session->ahead_ms = AHEAD_LOOK_MS; /* maybe */
    sync_feeds_resume(session);
    session->said_at = http_loop_now(http_conn_loop(session->conn));
    http_headers_init(&h);
    http_headers_add(&h, "content-type", "application/x-ndjson");
    http_headers_add(&h, "cache-control", "no-store");
    http_headers_add(&h, "x-accel-buffering", "no");
    http_respond_source(session->conn, 200, &h, HTTP_LENGTH_UNKNOWN, &session->source);
}
