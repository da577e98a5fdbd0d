#include "pg/ddl_events.h"

#include <stdlib.h>

static const char create_sql[] =
    "CREATE SCHEMA IF NOT EXISTS tombolo;"
    "GRANT USAGE ON SCHEMA tombolo TO PUBLIC;"
    "CREATE OR REPLACE FUNCTION tombolo.tell_ddl() RETURNS event_trigger LANGUAGE plpgsql"
    "  SET search_path = pg_catalog AS"
    "  $$BEGIN PERFORM pg_logical_emit_message(true, 'tombolo', 'ddl'); END$$;"
    "CREATE OR REPLACE FUNCTION tombolo.tell_rewrite() RETURNS event_trigger LANGUAGE plpgsql"
    "  SET search_path = pg_catalog AS"
    "  $$BEGIN PERFORM pg_logical_emit_message(true, 'tombolo',"
    "     'rewrite ' || pg_event_trigger_table_rewrite_oid()); END$$;"
    "CREATE EVENT TRIGGER tombolo_ddl ON ddl_command_end"
    "  WHEN TAG IN ('ALTER TABLE', 'CREATE TABLE', 'ALTER PUBLICATION')"
    "  EXECUTE FUNCTION tombolo.tell_ddl();"
    "CREATE EVENT TRIGGER tombolo_drop ON sql_drop"
    "  WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'ALTER TABLE', 'DROP OWNED')"
    "  EXECUTE FUNCTION tombolo.tell_ddl();"
    "CREATE EVENT TRIGGER tombolo_rewrite ON table_rewrite EXECUTE FUNCTION tombolo.tell_rewrite()";

static bool look(struct pg_conn *conn, bool *active, bool *may_create, struct err *err)
{
    struct pg_result *res =
        pg_query(conn,
                 "SELECT count(*) FILTER (WHERE evtenabled IN ('O', 'A')) = 3, count(*) = 0 AND"
                 "       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
                 "  FROM pg_event_trigger"
                 " WHERE evtname IN ('tombolo_ddl', 'tombolo_drop', 'tombolo_rewrite')",
                 err);

    if (!res)
        return false;
    *active = pg_bool(res, 0, 0);
    *may_create = pg_bool(res, 0, 1);
    pg_result_free(res);
    return true;
}

bool ddl_events_ensure(struct pg_conn *conn, bool *active, struct err *err)
{
    bool may_create;
    struct err refused;

    if (!look(conn, active, &may_create, err))
        return false;
    /* Two bridges may do so at once: whoever is late finds them there. */
    if (may_create && !pg_run(conn, create_sql, &refused) && refused.code == ERR_CONN) {
        *err = refused;
        return false;
    }
    return !may_create || look(conn, active, &may_create, err);
}

enum ddl_event_kind ddl_event_read(struct slice prefix, struct slice content, uint32_t *relid)
{
    static const struct slice rewrite = {"rewrite ", 8};
    char digits[16];

    if (!slice_is(prefix, "tombolo"))
        return DDL_NONE;
    if (slice_is(content, "ddl"))
        return DDL_OTHER;
    if (content.len <= rewrite.len || content.len - rewrite.len >= sizeof(digits) ||
        memcmp(content.ptr, rewrite.ptr, rewrite.len) != 0)
        return DDL_NONE;
    memcpy(digits, content.ptr + rewrite.len, content.len - rewrite.len);
    digits[content.len - rewrite.len] = '\0';
    *relid = (uint32_t)strtoul(digits, NULL, 10);
    return DDL_REWRITE;
}
