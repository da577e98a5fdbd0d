#include "pg/ddl_events.h"

#include <stdlib.h>

/* pg_event_trigger_table_rewrite_reason(): a column was added or its expression changed, or its
 * type. What else there is (persistence, access method) says nothing of columns. */
#define REASON_OF_COLUMNS 6ul

/* What a transaction has written to the catalogue, by itself or in a subtransaction, has its own
 * transaction id or a later one. */
#define WRITTEN_NOW(alias) "age(" alias ".xmin) <= age(pg_current_xact_id()::xid)"

static const char functions_sql[] =
    "CREATE OR REPLACE FUNCTION tombolo.tell_ddl() RETURNS event_trigger LANGUAGE plpgsql"
    "  SET search_path = pg_catalog AS $$"
    "  BEGIN PERFORM pg_logical_emit_message(true, 'tombolo', 'ddl'); END$$;"

    "CREATE OR REPLACE FUNCTION tombolo.tell_rewrite() RETURNS event_trigger LANGUAGE plpgsql"
    "  SET search_path = pg_catalog AS $$"
    "  DECLARE rewritten oid := pg_event_trigger_table_rewrite_oid(); altered text;"
    "  BEGIN"
    "    SELECT string_agg(encode(convert_to(a.attname, 'UTF8'), 'hex'), ',') INTO altered"
    "      FROM pg_attribute a WHERE a.attrelid = rewritten AND a.attnum > 0"
    "       AND NOT a.attisdropped AND " WRITTEN_NOW(
        "a") ";"
             "    PERFORM pg_logical_emit_message(true, 'tombolo', format('rewrite %s %s %s', "
             "rewritten,"
             "      pg_event_trigger_table_rewrite_reason(), altered));"
             "  END$$;"

             /* Only where this transaction has linked the partition: then it holds its lock. The
                links from a partition up are few. */
             "CREATE OR REPLACE FUNCTION tombolo.tell_table() RETURNS event_trigger LANGUAGE "
             "plpgsql"
             "  SET search_path = pg_catalog AS $$"
             "  DECLARE leaf regclass;"
             "  BEGIN"
             "    PERFORM pg_logical_emit_message(true, 'tombolo', 'ddl');"
             "    FOR leaf IN"
             "      WITH RECURSIVE down(relid) AS ("
             "        SELECT objid FROM pg_event_trigger_ddl_commands() WHERE classid = "
             "'pg_class'::regclass"
             "        UNION SELECT i.inhrelid FROM down JOIN pg_inherits i ON i.inhparent = "
             "down.relid),"
             "      up(leaf, relid, linked) AS ("
             "        SELECT c.oid, c.oid, false FROM down JOIN pg_class c ON c.oid = down.relid"
             "         WHERE c.relkind = 'r' AND c.relispartition AND c.relreplident <> 'f'"
             "        UNION SELECT up.leaf, i.inhparent, up.linked OR " WRITTEN_NOW(
                 "i") "          FROM up JOIN pg_inherits i ON i.inhrelid = up.relid)"
                      "      SELECT up.leaf FROM up JOIN pg_class c ON c.oid = up.relid"
                      "        LEFT JOIN pg_publication_rel r ON r.prrelid = up.relid"
                      "        LEFT JOIN pg_publication p ON starts_with(p.pubname, 'tombolo_')"
                      "          AND (p.oid = r.prpubid OR p.puballtables)"
                      "       GROUP BY up.leaf HAVING bool_or(up.linked) AND count(p.oid) > 0"
                      "         AND bool_or(c.relkind = 'p' AND c.relreplident = 'f')"
                      "    LOOP"
                      "      BEGIN"
                      "        EXECUTE format('ALTER TABLE ONLY %s REPLICA IDENTITY FULL', leaf);"
                      "      EXCEPTION WHEN OTHERS THEN NULL;" /* it is the bridge's business, not
                                                                  theirs */
                      "      END;"
                      "    END LOOP;"
                      "  END$$";

static const char triggers_sql[] =
    "CREATE EVENT TRIGGER tombolo_ddl ON ddl_command_end"
    "  WHEN TAG IN ('ALTER TABLE', 'CREATE TABLE', 'ALTER PUBLICATION', 'CREATE PUBLICATION')"
    "  EXECUTE FUNCTION tombolo.tell_table();"
    "CREATE EVENT TRIGGER tombolo_drop ON sql_drop"
    "  WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'ALTER TABLE', 'DROP OWNED', 'DROP PUBLICATION')"
    "  EXECUTE FUNCTION tombolo.tell_ddl();"
    "CREATE EVENT TRIGGER tombolo_rewrite ON table_rewrite EXECUTE FUNCTION tombolo.tell_rewrite()";

/* What there is. */
struct found {
    bool active, none, outdated, superuser;
};

static bool look(struct pg_conn *conn, struct found *found, struct err *err)
{
    struct pg_result *res = pg_query(
        conn,
        "SELECT count(*) FILTER (WHERE evtenabled IN ('O', 'A')) = 3, count(*) = 0,"
        "       NOT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        "                    WHERE n.nspname = 'tombolo' AND p.proname = 'tell_table'),"
        "       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
        "  FROM pg_event_trigger"
        " WHERE evtname IN ('tombolo_ddl', 'tombolo_drop', 'tombolo_rewrite')",
        err);

    if (!res)
        return false;
    *found = (struct found){pg_bool(res, 0, 0), pg_bool(res, 0, 1), pg_bool(res, 0, 2),
                            pg_bool(res, 0, 3)};
    pg_result_free(res);
    return true;
}

bool ddl_events_ensure(struct pg_conn *conn, bool *active, struct err *err)
{
    struct found found;
    struct err refused;

    if (!look(conn, &found, err))
        return false;
    *active = found.active;
    if (!found.superuser || !(found.none || (found.active && found.outdated)))
        return true;
    /* Two bridges may do so at once: whoever is late finds them there. */
    if (!pg_runf(conn, &refused,
                 "BEGIN; CREATE SCHEMA IF NOT EXISTS tombolo; GRANT USAGE ON SCHEMA tombolo TO"
                 " PUBLIC; DROP EVENT TRIGGER IF EXISTS tombolo_ddl; DROP EVENT TRIGGER IF EXISTS"
                 " tombolo_drop; DROP EVENT TRIGGER IF EXISTS tombolo_rewrite;"
                 "%s; %s; COMMIT",
                 functions_sql, triggers_sql)) {
        struct err ignored;

        if (refused.code == ERR_CONN || !pg_run(conn, "ROLLBACK", &ignored)) {
            *err = refused;
            return false;
        }
    }
    if (!look(conn, &found, err))
        return false;
    *active = found.active;
    return true;
}

bool ddl_events_active(struct pg_conn *conn, bool *active, struct err *err)
{
    struct found found;

    if (!look(conn, &found, err))
        return false;
    *active = found.active;
    return true;
}

/* ---- messages -------------------------------------------------------------------------------- */

/* Takes the digits off the text, and a space behind them; false when there are none, or too many.
 */
static bool take_number(struct slice *text, unsigned long *n)
{
    size_t len = 0;

    for (*n = 0; len < text->len && text->ptr[len] >= '0' && text->ptr[len] <= '9'; len++)
        *n = *n * 10 + (unsigned long)(text->ptr[len] - '0');
    bool space = len < text->len && text->ptr[len] == ' ';
    bool ok = len >= 1 && len <= 10 && *n <= UINT32_MAX && (space || len == text->len);
    size_t skip = len + space;

    *text = (struct slice){text->ptr + skip, text->len - skip};
    return ok;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A name in hex, up to "," or the end. */
static bool take_name(struct slice *text, struct arena *arena, struct slice *name)
{
    char *out = arena_alloc(arena, text->len / 2 + 1);
    size_t at = 0, n = 0;

    while (at + 1 < text->len && text->ptr[at] != ',') {
        int high = hex_digit(text->ptr[at]), low = hex_digit(text->ptr[at + 1]);

        if (high < 0 || low < 0)
            return false;
        out[n++] = (char)(high << 4 | low);
        at += 2;
    }
    if (at < text->len && text->ptr[at++] != ',')
        return false;
    *name = (struct slice){out, n};
    *text = (struct slice){text->ptr + at, text->len - at};
    return n > 0;
}

/* What it does not say of columns may be any of them. */
static void read_columns(struct slice text, struct arena *arena, struct ddl_event *event)
{
    unsigned long reason;

    event->all = true;
    if (!take_number(&text, &reason) || reason == 0 || (reason & ~REASON_OF_COLUMNS))
        return;
    event->columns = arena_calloc(arena, text.len / 2 + 1, sizeof(*event->columns));
    while (text.len > 0) {
        if (!take_name(&text, arena, &event->columns[event->ncolumns]))
            return;
        event->ncolumns++;
    }
    event->all = event->ncolumns == 0;
}

struct ddl_event ddl_event_read(struct slice prefix, struct slice content, struct arena *arena)
{
    static const struct slice rewrite = {"rewrite ", 8};
    struct ddl_event event = {.kind = DDL_NONE};
    unsigned long relid;

    if (!slice_is(prefix, "tombolo"))
        return event;
    if (slice_is(content, "ddl"))
        event.kind = DDL_OTHER;
    if (content.len <= rewrite.len || memcmp(content.ptr, rewrite.ptr, rewrite.len) != 0)
        return event;
    content = (struct slice){content.ptr + rewrite.len, content.len - rewrite.len};
    if (!take_number(&content, &relid))
        return event;
    event.kind = DDL_REWRITE;
    event.relid = (uint32_t)relid;
    read_columns(content, arena, &event);
    return event;
}
