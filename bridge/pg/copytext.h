/*
 * COPY's text format: fields parted by tabs, \N for null, backslash escapes.
 * Source: PostgreSQL documentation, COPY, "Text Format".
 */
#ifndef PG_COPYTEXT_H
#define PG_COPYTEXT_H

#include "base/arena.h"
#include "base/err.h"
#include "change/change.h"

/* Splits a line into exactly `n` values at values[places[i]]. Fields without escapes are borrowed
 * from the line, the others copied into the arena. */
bool copytext_split(struct slice line, const uint16_t *places, uint16_t n, struct arena *arena,
                    struct value *values, struct err *err) MUST_CHECK;

#endif
