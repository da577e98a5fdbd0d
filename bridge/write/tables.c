#include "write/tables.h"

#include <string.h>

static bool look(struct pg_conn *conn, bool *there, struct err *err)
{
    struct pg_result *res = pg_query(conn,
                                     "SELECT to_regclass('tombolo.replicas') IS NOT NULL"
                                     "   AND to_regclass('tombolo.rejections') IS NOT NULL"
                                     "   AND to_regclass('tombolo.decided') IS NOT NULL"
                                     "   AND to_regclass('tombolo.memory') IS NOT NULL"
                                     "   AND to_regclass('tombolo.replicas_subject') IS NOT NULL",
                                     err);

    if (!res)
        return false;
    *there = pg_bool(res, 0, 0);
    pg_result_free(res);
    return true;
}

/* The lock: IF NOT EXISTS alone loses a race with a unique violation. */
static const char create_sql[] =
    "BEGIN;"
    "SELECT pg_advisory_xact_lock(hashtext('tombolo.replicas'));"
    "CREATE SCHEMA IF NOT EXISTS tombolo;"
    "CREATE TABLE IF NOT EXISTS tombolo.replicas ("
    "  replica text PRIMARY KEY, subject text NOT NULL, last_id bigint NOT NULL,"
    "  nonce text NOT NULL, incarnation text NOT NULL, seen_at timestamptz NOT NULL)"
    "  WITH (fillfactor = 50);" /* updated again and again: room for HOT */
    "ALTER TABLE tombolo.replicas REPLICA IDENTITY FULL;"
    "ALTER TABLE tombolo.replicas ADD COLUMN IF NOT EXISTS contact bool NOT NULL DEFAULT false;"
    "CREATE TABLE IF NOT EXISTS tombolo.rejections ("
    "  replica text NOT NULL, id bigint NOT NULL, mutation int NOT NULL, subject text NOT NULL,"
    "  code text NOT NULL, sqlstate text NOT NULL, message text NOT NULL,"
    "  PRIMARY KEY (replica, id, mutation));"
    "ALTER TABLE tombolo.rejections REPLICA IDENTITY FULL;"
    "CREATE TABLE IF NOT EXISTS tombolo.decided ("
    "  family text NOT NULL, replica text NOT NULL, id bigint NOT NULL, subject text NOT NULL,"
    "  nonces bigint[] NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (family, replica, id));"
    "CREATE INDEX IF NOT EXISTS decided_at ON tombolo.decided USING brin (at);"
    "CREATE TABLE IF NOT EXISTS tombolo.memory (since timestamptz NOT NULL);"
    "ALTER TABLE tombolo.memory ADD COLUMN IF NOT EXISTS forgotten timestamptz;"
    "INSERT INTO tombolo.memory SELECT now() WHERE NOT EXISTS (SELECT FROM tombolo.memory);"
    "CREATE INDEX IF NOT EXISTS replicas_subject ON tombolo.replicas (subject);"
    "COMMIT";

bool write_tables_ensure(struct pg_conn *conn, struct err *err)
{
    struct err ignored;
    bool there;

    if (!look(conn, &there, err))
        return false;
    if (there || pg_run(conn, create_sql, err))
        return true;
    if (pg_alive(conn) && !pg_run(conn, "ROLLBACK", &ignored))
        return false;
    err_wrap(err, "could not create the tables of writes in schema tombolo");
    if (strcmp(err->sqlstate, "42501") == 0)
        err_hint(err, "grant CREATE on the database to the bridge's user, or let its owner create "
                      "schema tombolo for it");
    return false;
}
