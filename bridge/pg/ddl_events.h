/*
 * Event triggers that tell the stream of schema changes which send no rows.
 * They need a superuser; without them the catalogue is compared now and then.
 *
 * In schema tombolo, transactional logical messages with the prefix "tombolo":
 *
 *     rewrite <oid>   ALTER TABLE is rewriting this table: its rows change without events
 *     ddl             a table was created, altered or dropped: look at the catalogue
 *
 * `DROP SCHEMA tombolo CASCADE` takes them away.
 */
#ifndef PG_DDL_EVENTS_H
#define PG_DDL_EVENTS_H

#include "pg/pg.h"

/* Creates them where that is allowed. *active: they are there and enabled. */
bool ddl_events_ensure(struct pg_conn *conn, bool *active, struct err *err) MUST_CHECK;

enum ddl_event_kind { DDL_NONE, DDL_REWRITE, DDL_OTHER };
/* What a message with our prefix says; *relid for DDL_REWRITE. */
enum ddl_event_kind ddl_event_read(struct slice prefix, struct slice content, uint32_t *relid);

#endif
