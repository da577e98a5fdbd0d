#include "kafka/origin.h"

static bool connect_to(struct origin *o, struct err *err)
{
    if (pg_alive(o->conn))
        return true;
    pg_close(o->conn);
    o->conn = pg_connect(o->conninfo, "tombolo topics", false, err);
    return o->conn != NULL;
}

bool origin_ask(struct origin *o, struct err *err)
{
    if (!connect_to(o, err))
        return false;
    if (o->notices)
        return true;
    struct pg_result *res = pg_query(o->conn, "SELECT current_database()", err);
    if (!res)
        return false;
    o->settings.database = arena_copy(o->arena, pg_value(res, 0, 0));
    pg_result_free(res);
    o->notices = notices_new(&o->settings, o->arena);
    return true;
}

void origin_release(struct origin *o)
{
    pg_close(o->conn);
    o->conn = NULL;
}
