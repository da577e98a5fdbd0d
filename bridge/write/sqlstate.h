/*
 * What to do about an error of Postgres's while a write is applied: one table, the longest
 * beginning of the SQLSTATE counts.
 */
#ifndef WRITE_SQLSTATE_H
#define WRITE_SQLSTATE_H

#include "base/err.h"

enum write_class {
    WRITE_PERMANENT, /* it will never go: this write is refused */
    WRITE_RETRY,     /* the same again, on this connection */
    WRITE_LATER,     /* likewise, but it has waited for long: the connection is for others first */
    WRITE_RECONNECT, /* the same again, on another connection, later */
    WRITE_STOP,      /* nothing can be written before somebody has looked at it */
};

/* err as pg_error() fills it: a lost connection is WRITE_RECONNECT whatever its SQLSTATE. */
enum write_class write_class_of(const struct err *err);

/* Whether the table is no longer what the rules were checked against: read it again. */
bool write_is_schema_change(const struct err *err);

#endif
