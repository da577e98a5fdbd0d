/*
 * Identifiers as the shape API takes them: quoted as SQL, or bare and folded
 * to lower case.
 */
#ifndef SHAPES_IDENT_H
#define SHAPES_IDENT_H

#include "base/arena.h"
#include "base/err.h"

#include <stddef.h>

/* Splits at `separator` outside quotes and unquotes each part, all in the arena. The errors have
 * the shape API's text. */
bool ident_split(struct slice text, char separator, struct arena *arena, struct slice **parts,
                 size_t *n, struct err *err) MUST_CHECK;

/* Whether it may be a replica's id: 1 to 128 of A-Z a-z 0-9 . _ : - */
bool ident_is_replica(struct slice id);

#endif
