#include "pg/server.h"
#include "base/logging.h"

#include <stdio.h>

#define OLDEST_VERSION 140000

/* The first minor of each major without the decoding bugs listed in the release notes of
 * 2024-11 (restart_lsn moving back) and 2025-08 (lost WAL after a crash). */
static const int good_minors[] = {140019, 150014, 160010, 170006};

static void warn_old_minor(int version)
{
    for (size_t i = 0; i < sizeof(good_minors) / sizeof(*good_minors); i++) {
        if (version / 10000 == good_minors[i] / 10000 && version < good_minors[i])
            log_warn("this minor version of Postgres has bugs in logical decoding; update it",
                     LOG_INT("version", version), LOG_INT("fixed_in", good_minors[i]));
    }
}

static bool check_wal_level(const struct pg_result *res, struct err *err)
{
    if (slice_is(pg_value(res, 0, 0), "logical"))
        return true;
    err_set(err, ERR_CONFIG, "wal_level is %.*s, logical replication needs logical",
            SLICE_ARG(pg_value(res, 0, 0)));
    return err_hint(err, "ALTER SYSTEM SET wal_level = logical, then restart Postgres (on Amazon "
                         "RDS: rds.logical_replication = 1)");
}

static bool check_privileges(const struct pg_result *res, struct err *err)
{
    if (pg_bool(res, 0, 1))
        return true;
    err_set(err, ERR_CONFIG, "user \"%.*s\" may not replicate", SLICE_ARG(pg_value(res, 0, 2)));
    return err_hint(err, "ALTER ROLE \"%.*s\" REPLICATION (on Amazon RDS: GRANT rds_replication)",
                    SLICE_ARG(pg_value(res, 0, 2)));
}

static bool check_room(const struct pg_result *res, const char *slot, struct err *err)
{
    if (pg_bool(res, 0, 3) || pg_int(res, 0, 4) > 0)
        return true;
    err_set(err, ERR_CONFIG, "no replication slot is free for \"%s\"", slot);
    return err_hint(err, "raise max_replication_slots and restart, or drop a slot nobody uses (see "
                         "pg_replication_slots)");
}

/* Clauses are evaluated here on UTF-8; the order of bytes is another in other encodings. */
static bool check_encoding(const struct pg_result *res, struct err *err)
{
    if (slice_is(pg_value(res, 0, 0), "UTF8"))
        return true;
    err_set(err, ERR_CONFIG, "the database's encoding is %.*s, it must be UTF8",
            SLICE_ARG(pg_value(res, 0, 0)));
    return err_hint(err, "make a database with ENCODING 'UTF8' and move the data there");
}

bool server_check_readable(struct pg_conn *conn, struct err *err)
{
    int version = pg_server_version(conn);

    if (version < OLDEST_VERSION)
        return err_set(err, ERR_CONFIG, "Postgres %d is too old, 14 is the oldest that works",
                       version / 10000);
    struct pg_result *res = pg_query(conn, "SELECT getdatabaseencoding()", err);
    if (!res)
        return false;
    bool ok = check_encoding(res, err);
    pg_result_free(res);
    return ok;
}

bool server_check(struct pg_conn *conn, const char *slot, struct err *err)
{
    const char *params[] = {slot};

    if (!server_check_readable(conn, err))
        return false;
    warn_old_minor(pg_server_version(conn));
    struct pg_result *res = pg_query_params(
        conn,
        "SELECT current_setting('wal_level'),"
        "       r.rolreplication OR r.rolsuper OR EXISTS (SELECT FROM pg_roles g"
        "         WHERE g.rolname = 'rds_replication' AND pg_has_role(current_user, g.oid, "
        "'member')),"
        "       current_user, EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1),"
        "       current_setting('max_replication_slots')::int -"
        "         (SELECT count(*)::int FROM pg_replication_slots)"
        "  FROM pg_roles r WHERE r.rolname = current_user",
        params, 1, err);
    if (!res)
        return false;
    bool ok = check_wal_level(res, err) && check_privileges(res, err) && check_room(res, slot, err);
    pg_result_free(res);
    return ok;
}

bool server_identify(struct pg_conn *conn, char system_id[32], lsn_t *flushed, struct err *err)
{
    struct pg_result *res = pg_query(
        conn, "SELECT system_identifier, pg_current_wal_flush_lsn() FROM pg_control_system()", err);

    if (!res)
        return false;
    snprintf(system_id, 32, "%.*s", SLICE_ARG(pg_value(res, 0, 0)));
    bool ok = lsn_parse(pg_value(res, 0, 1), flushed) ||
              err_set(err, ERR_PROTOCOL, "malformed WAL position");
    pg_result_free(res);
    return ok;
}

static void copy_text(char *dst, size_t size, struct slice text)
{
    snprintf(dst, size, "%.*s", SLICE_ARG(text));
}

bool server_slot_status(struct pg_conn *conn, const char *slot, struct slot_status *status,
                        struct err *err)
{
    const char *params[] = {slot};
    struct pg_result *res = pg_query_params(
        conn,
        "SELECT active, coalesce(active_pid, 0), coalesce(plugin, ''), coalesce(database, ''),"
        "       database = current_database(), coalesce(wal_status, ''), restart_lsn,"
        "       confirmed_flush_lsn, coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery()"
        "         THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END, restart_lsn), "
        "0)::bigint"
        "  FROM pg_replication_slots WHERE slot_name = $1",
        params, 1, err);

    *status = (struct slot_status){0};
    if (!res)
        return false;
    if (pg_rows(res) == 1) {
        status->exists = true;
        status->active = pg_bool(res, 0, 0);
        status->active_pid = (int)pg_int(res, 0, 1);
        copy_text(status->plugin, sizeof(status->plugin), pg_value(res, 0, 2));
        copy_text(status->database, sizeof(status->database), pg_value(res, 0, 3));
        status->same_database = pg_bool(res, 0, 4);
        copy_text(status->wal_status, sizeof(status->wal_status), pg_value(res, 0, 5));
        if (!lsn_parse(pg_value(res, 0, 6), &status->restart_lsn))
            status->restart_lsn = LSN_NONE;
        if (!lsn_parse(pg_value(res, 0, 7), &status->confirmed_flush_lsn))
            status->confirmed_flush_lsn = LSN_NONE;
        status->retained_bytes = (uint64_t)pg_int(res, 0, 8);
    }
    pg_result_free(res);
    return true;
}

bool server_fence(struct pg_conn *conn, lsn_t *lsn, struct err *err)
{
    struct pg_result *res =
        pg_query(conn, "SET synchronous_commit = local; SELECT pg_current_wal_insert_lsn()", err);

    if (!res)
        return false;
    bool ok =
        lsn_parse(pg_value(res, 0, 0), lsn) || err_set(err, ERR_PROTOCOL, "malformed WAL position");
    pg_result_free(res);
    /* The message lies behind *lsn, so that the stream moves past it on an idle server too. It is
     * transactional because a commit is flushed at once; and what it returns is not used, for
     * Amazon Aurora's is wrong. */
    return ok && pg_run(conn, "SELECT pg_logical_emit_message(true, 'tombolo', '')", err);
}
