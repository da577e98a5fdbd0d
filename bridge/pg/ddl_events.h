/*
 * Event triggers that tell the stream of schema changes which send no rows.
 * They need a superuser; without them the catalogue is compared now and then.
 *
 * In schema tombolo, transactional logical messages with the prefix "tombolo":
 *
 *     rewrite <oid> <reason> <columns>   ALTER TABLE is rewriting this table: its rows change
 *                                        without events. The reason is Postgres's bit mask
 *                                        (pg_event_trigger_table_rewrite_reason()); columns, each
 *                                        in hex, parted by ",": what the transaction has altered
 *     ddl                                a table was created, altered or dropped: look at the
 *                                        catalogue
 *
 * And a partition that is made or attached below a table of ours with REPLICA IDENTITY FULL is
 * given it in the same transaction: without an identity its updates would be refused until the
 * keeper has seen it.
 *
 * `DROP SCHEMA tombolo CASCADE` takes them away.
 */
#ifndef PG_DDL_EVENTS_H
#define PG_DDL_EVENTS_H

#include "base/arena.h"
#include "pg/pg.h"

/* Creates them where that is allowed, or brings those of an older version up to date. *active: they
 * are there and enabled. */
bool ddl_events_ensure(struct pg_conn *conn, bool *active, struct err *err) MUST_CHECK;

/* Whether they are there and enabled now. */
bool ddl_events_active(struct pg_conn *conn, bool *active, struct err *err) MUST_CHECK;

enum ddl_event_kind { DDL_NONE, DDL_REWRITE, DDL_OTHER };

struct ddl_event {
    enum ddl_event_kind kind;
    /* DDL_REWRITE: */
    uint32_t relid;
    bool all; /* any column's values may have changed */
    struct slice *columns;
    size_t ncolumns;
};
/* What a message says; DDL_NONE when it is not one of ours. The columns are in the arena. */
struct ddl_event ddl_event_read(struct slice prefix, struct slice content, struct arena *arena);

#endif
