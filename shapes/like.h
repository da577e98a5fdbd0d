/*
 * LIKE: % is any run of characters, _ is one character, a backslash takes
 * away the next one's meaning.
 */
#ifndef SHAPES_LIKE_H
#define SHAPES_LIKE_H

#include "base/err.h"
#include "base/slice.h"

enum like_unit { LIKE_UTF8, LIKE_BYTES };

/* 22025 when the match comes to a backslash that ends the pattern, as in Postgres. */
bool like_match(struct slice text, struct slice pattern, enum like_unit unit, bool *matches,
                struct err *err) MUST_CHECK;

#endif
