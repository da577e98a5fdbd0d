/*
 * Errors that Postgres would raise for a value, with its SQLSTATE and text.
 */
#ifndef SHAPES_RAISE_H
#define SHAPES_RAISE_H

#include "base/err.h"
#include "base/slice.h"

/* ERR_INPUT with the state; returns false. */
bool raise_sql(struct err *err, const char *sqlstate, const char *fmt, ...) PRINTF(3, 4);
/* 22P02, `invalid input syntax for type T: "text"`. */
bool raise_syntax(struct err *err, const char *type_name, struct slice text);

#endif
