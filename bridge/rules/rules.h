/*
 * What the configuration says of shapes that clients may ask for by name:
 *
 *     [shape mine]
 *     table = public.orders
 *     where = owner = auth.sub AND team = ANY (auth.app.teams)
 *     columns = id, owner, total
 *
 * `auth.CLAIM` stands for a claim of the token that the request came with
 * (shapes/claims.h). What is made of it for a token is a request like any
 * other; text that the client sent is no part of it.
 *
 * Immutable once read, any thread. When the file is read again the old rules
 * live on for whoever holds them.
 */
#ifndef RULES_RULES_H
#define RULES_RULES_H

#include "base/arena.h"
#include "base/err.h"
#include "shapes/shape.h"
#include "token/token.h"

#include <stdio.h>

struct rules;

/* Reads the sections [shape ...] of an .ini file, and no others; `path` is for messages. NULL with
 * ERR_CONFIG, "path:line: ...". What depends on the catalogue is not looked at yet. The caller's
 * reference. */
struct rules *rules_read(FILE *file, const char *path, struct err *err) MUST_CHECK;
struct rules *rules_ref(struct rules *rules);
void rules_unref(struct rules *rules); /* NULL is allowed */

size_t rules_nshapes(const struct rules *rules);

enum rules_answer {
    RULES_FOUND,
    RULES_UNKNOWN,  /* there is no such shape */
    RULES_NO_CLAIM, /* the token lacks a claim that the shape names: its bearer has no rows of it */
};

/* The named shape for the token's bearer (NULL: for nobody; a shape that names no claim is there
 * all the same). `out` borrows from the rules, the token and the arena. Otherwise err has the text
 * for the client, ERR_NOT_FOUND or ERR_INPUT. */
enum rules_answer rules_shape(const struct rules *rules, struct slice name,
                              const struct token *token, struct arena *arena,
                              struct shape_request *out, struct err *err) MUST_CHECK;

#endif
