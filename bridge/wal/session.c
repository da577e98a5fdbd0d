#include "wal/session.h"
#include "base/clock.h"
#include "base/logging.h"
#include "change/unseen.h"
#include "pg/publication.h"
#include "pg/server.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define SLOW_SLOT_MS 5000

static bool hint_pooler(struct err *err)
{
    return err_hint(err, "is there a connection pooler in between? DATABASE_URL must lead to "
                         "Postgres itself");
}

/* A walsender takes simple queries alone. */
static bool identify(struct pg_conn *conn, struct wal_place *id, struct err *err)
{
    struct pg_result *res = pg_query(conn, "IDENTIFY_SYSTEM", err);

    if (!res) {
        err_wrap(err, "the server does not take replication commands");
        return hint_pooler(err);
    }
    snprintf(id->system_id, sizeof(id->system_id), "%.*s", SLICE_ARG(pg_value(res, 0, 0)));
    id->timeline = (uint32_t)pg_int(res, 0, 1);
    bool ok = lsn_parse(pg_value(res, 0, 2), &id->server_lsn) ||
              err_set(err, ERR_PROTOCOL, "IDENTIFY_SYSTEM gave no WAL position");
    pg_result_free(res);
    return ok;
}

static bool take_lock(struct pg_conn *conn, const char *slot, bool *waiting, struct err *err)
{
    char sql[160];

    snprintf(sql, sizeof(sql), "SELECT pg_try_advisory_lock(hashtext('%s'))", slot);
    struct pg_result *res = pg_query(conn, sql, err);
    if (!res)
        return err_wrap(err, "could not take the advisory lock");
    *waiting = !pg_bool(res, 0, 0);
    pg_result_free(res);
    if (*waiting)
        return err_set(err, ERR_BUSY, "another bridge follows slot \"%s\"", slot);
    return true;
}

static bool wait_for_slot(struct pg_conn *conn, const atomic_bool *stop, struct err *err)
{
    int64_t warn_at = clock_ms() + SLOW_SLOT_MS;

    while (PQisBusy(conn)) {
        struct pollfd pfd = {.fd = PQsocket(conn), .events = POLLIN};

        if (atomic_load(stop)) {
            pg_cancel(conn);
            pg_await_cancels();
            return err_set(err, ERR_STOPPED, "stopping");
        }
        if (warn_at && clock_ms() > warn_at) {
            warn_at = 0;
            log_warn("creating the replication slot waits for open transactions to end",
                     LOG_STR("hint", "see pg_stat_activity for old ones, in every database"));
        }
        poll(&pfd, 1, 200);
        if (!PQconsumeInput(conn))
            return pg_error(conn, NULL, err);
    }
    return true;
}

/* Slot creation waits for every open writing transaction of the server: say so, and look at `stop`
 * meanwhile. */
static bool run_waiting(struct pg_conn *conn, const char *sql, const atomic_bool *stop,
                        struct pg_result **answer, struct err *err)
{
    *answer = NULL;
    if (!PQsendQuery(conn, sql))
        return pg_error(conn, NULL, err);
    pg_leave_alone(conn, true);
    bool ok = wait_for_slot(conn, stop, err);
    pg_leave_alone(conn, false);
    if (!ok)
        return false;
    for (struct pg_result *res; (res = PQgetResult(conn));) {
        if (PQresultStatus(res) != PGRES_TUPLES_OK && PQresultStatus(res) != PGRES_COMMAND_OK)
            ok = pg_error(conn, res, err);
        pg_result_free(*answer);
        *answer = res;
    }
    return ok;
}

/* Answers name, consistent point, snapshot, plugin. */
static bool create_slot(struct pg_conn *conn, const char *slot, const atomic_bool *stop,
                        lsn_t *confirmed, struct err *err)
{
    struct pg_result *res;
    char sql[160];

    snprintf(sql, sizeof(sql), "CREATE_REPLICATION_SLOT \"%s\" LOGICAL pgoutput NOEXPORT_SNAPSHOT",
             slot);
    bool ok = run_waiting(conn, sql, stop, &res, err) &&
              (lsn_parse(pg_value(res, 0, 1), confirmed) ||
               err_set(err, ERR_PROTOCOL, "CREATE_REPLICATION_SLOT gave no WAL position"));
    pg_result_free(res);
    if (!ok)
        return err_wrap(err, "could not create replication slot \"%s\"", slot);
    log_info("created the replication slot", LOG_STR("slot", slot));
    return true;
}

static bool drop_slot(struct pg_conn *conn, const char *slot, struct err *err)
{
    char sql[128];

    snprintf(sql, sizeof(sql), "DROP_REPLICATION_SLOT \"%s\"", slot);
    return pg_run(conn, sql, err) || err_wrap(err, "could not drop replication slot \"%s\"", slot);
}

/* Why the slot cannot be followed, or NULL. */
static const char *slot_trouble(const struct slot_status *status, bool stuck)
{
    if (strcmp(status->wal_status, "lost") == 0)
        return "the server has removed WAL that the slot needed";
    if (stuck)
        return "the publication was gone, so the slot is stuck";
    return NULL;
}

static bool check_slot_owner(const struct walsender_config *config,
                             const struct slot_status *status, bool *waiting, struct err *err)
{
    if (strcmp(status->plugin, "pgoutput") != 0 || !status->same_database) {
        err_set(err, ERR_CONFIG, "slot \"%s\" is not ours: plugin \"%s\", database \"%s\"",
                config->slot, status->plugin, status->database);
        return err_hint(err, "choose another TOMBOLO_STREAM_ID, or drop the slot");
    }
    *waiting = status->active;
    if (status->active)
        return err_set(err, ERR_BUSY, "slot \"%s\" is in use by process %d", config->slot,
                       status->active_pid);
    return true;
}

/* Publication first, then the slot: a slot older than its publication can never get past the gap.
 * *lost says why what we hold is void, or NULL; then *confirmed is where the slot stands. */
static bool prepare_slot(const struct walsender_config *config, struct pg_conn *walsender,
                         const atomic_bool *stop, bool stuck, const char **lost, lsn_t *confirmed,
                         bool *waiting, struct err *err)
{
    struct slot_status status;
    bool created = false;
    struct pg_conn *aux = pg_connect(config->conninfo, "tombolo setup", false, err);
    bool ok = aux && server_check(aux, config->slot, err) &&
              publication_ensure(aux, config->publication, &created, err) &&
              server_slot_status(aux, config->slot, &status, err);

    pg_close(aux);
    *lost = NULL;
    if (!ok || (status.exists && !check_slot_owner(config, &status, waiting, err)))
        return false;
    *confirmed = status.confirmed_flush_lsn;
    if (status.exists) {
        *lost = slot_trouble(&status, created || stuck);
        if (!*lost)
            return true;
        log_warn("replacing the replication slot", LOG_STR("slot", config->slot),
                 LOG_STR("reason", *lost));
        if (!drop_slot(walsender, config->slot, err))
            return false;
    } else {
        *lost = "the replication slot was gone";
    }
    return create_slot(walsender, config->slot, stop, confirmed, err);
}

/* The first timeline has no history. Without the file, which the server keeps but somebody may have
 * deleted, there is none that is known: what was on another timeline counts as lost. */
static bool read_timelines(struct session *session, struct err *err)
{
    struct wal_place *place = &session->place;
    struct pg_result *res = NULL;
    char sql[64];

    snprintf(sql, sizeof(sql), "TIMELINE_HISTORY %u", place->timeline);
    if (place->timeline > 1 && !(res = pg_query(session->conn, sql, err))) {
        if (!pg_alive(session->conn))
            return err_wrap(err, "could not read the timeline history");
        log_warn("the server has no timeline history", LOG_UINT("timeline", place->timeline),
                 LOG_ERR(err));
    }
    timelines_read(&session->timelines, place->timeline, res ? pg_value(res, 0, 1) : SLICE(""),
                   &session->arena);
    pg_result_free(res);
    place->timelines = &session->timelines;
    return true;
}

/* Whether the server's history contains what we hold: NULL, or why not. */
static const char *compare_history(const struct feed_history *ours, const struct wal_place *server,
                                   lsn_t confirmed)
{
    if (ours->lsn == LSN_NONE || !ours->system_id[0])
        return NULL;
    if (strcmp(ours->system_id, server->system_id) != 0)
        return "this is another database system";
    if (server->server_lsn < ours->lsn)
        return "the server's WAL is behind what was received: it was restored from a copy";
    if (confirmed > ours->lsn)
        return "the slot has been moved on, by another bridge or by hand: what it skips is lost";
    if (server->timeline < ours->timeline)
        return "the server is on an older timeline";
    if (!timelines_have(server->timelines, ours->timeline, ours->lsn))
        return "the new timeline does not contain all that was received";
    return NULL;
}

static bool settle_history(const struct walsender_config *config, const struct wal_place *server,
                           const char *lost, struct err *err)
{
    struct feed_history ours;

    config->keep.get(config->keep.owner, &ours);
    const char *broken = compare_history(&ours, server, lost ? LSN_NONE : server->confirmed);
    bool first = !ours.system_id[0];
    const char *reset = lost && !first ? lost : broken;
    struct feed_history now = {.timeline = server->timeline, .lsn = ours.lsn};

    if (reset)
        log_warn("everything must be fetched again", LOG_STR("reason", reset));
    snprintf(now.system_id, sizeof(now.system_id), "%s", server->system_id);
    snprintf(now.slot, sizeof(now.slot), "%s", config->slot);
    if (reset)
        unseen_clear(config->unseen);
    if (!reset && !first && now.timeline == ours.timeline)
        return true;
    return config->keep.set(config->keep.owner, &now, reset, err);
}

static bool start_streaming(struct pg_conn *conn, const struct walsender_config *config,
                            struct err *err)
{
    char sql[512];

    /* 0/0: from the slot's own confirmed position. What we have already is recognised by its commit
     * LSN. */
    snprintf(sql, sizeof(sql),
             "START_REPLICATION SLOT \"%s\" LOGICAL 0/0 (proto_version '1', publication_names "
             "'\"%s\"', messages 'true')",
             config->slot, config->publication);
    struct pg_result *res = PQexec(conn, sql);
    bool ok = PQresultStatus(res) == PGRES_COPY_BOTH;
    if (!ok) {
        pg_error(conn, res, err);
        err_wrap(err, "could not start replication from slot \"%s\"", config->slot);
    }
    PQclear(res);
    if (!ok || PQsetnonblocking(conn, 1) != 0)
        return ok ? pg_error(conn, NULL, err) : false;
    pg_leave_alone(conn, true);
    return true;
}

/* A server that lets nobody replicate who may not refuses the connection, in words that name
 * neither the role nor what to do: an ordinary connection can find out. */
static void explain_refusal(const struct walsender_config *config, struct err *err)
{
    struct err why = {0};
    struct pg_conn *aux = pg_connect(config->conninfo, "tombolo setup", false, &why);

    if (aux && !server_check(aux, config->slot, &why) && why.code == ERR_CONFIG)
        *err = why;
    else if (aux && strstr(err->msg, "startup parameter"))
        hint_pooler(err);
    pg_close(aux);
}

bool session_open(const struct walsender_config *config, const atomic_bool *stop,
                  struct session *session, bool *waiting, struct err *err)
{
    const char *lost;

    session->place = (struct wal_place){0};
    *waiting = false;
    session->conn = pg_connect(config->conninfo, "tombolo", true, err);
    if (!session->conn) {
        explain_refusal(config, err);
        return false;
    }
    struct wal_place *place = &session->place;
    bool ok = identify(session->conn, place, err) && read_timelines(session, err) &&
              take_lock(session->conn, config->slot, waiting, err) &&
              prepare_slot(config, session->conn, stop, session->stuck, &lost, &place->confirmed,
                           waiting, err) &&
              settle_history(config, place, lost, err) &&
              start_streaming(session->conn, config, err);
    if (ok)
        session->stuck = false;
    if (!ok)
        session_close(session);
    return ok;
}

void session_close(struct session *session)
{
    pg_close(session->conn);
    session->conn = NULL;
    arena_release(&session->arena);
}
