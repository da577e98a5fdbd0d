/*
 * `auth.CLAIM` in a clause that is configured: stands for a claim of the
 * client's token. The clause is split once, when the configuration is read,
 * into one with parameters and the claims that are their values:
 *
 *     owner = auth.sub AND team = ANY (auth.app.teams)
 *     owner = $1 AND team = ANY ($2)                    {"sub"}, {"app", "teams"}
 *
 * What is made of it for a token is a clause like any other: equal for tokens
 * with equal claims, and never put together from text that a client sent.
 */
#ifndef SHAPES_CLAIMS_H
#define SHAPES_CLAIMS_H

#include "base/arena.h"
#include "base/err.h"

#include <stddef.h>

/* Names from the outermost on. Folded like identifiers, unless they are quoted: auth."isAdmin". */
struct claim {
    const struct slice *names;
    size_t n;
};

struct claims_clause {
    struct slice text;          /* with $1 and so on; NUL behind it */
    const struct claim *claims; /* claims[i] is the value of $(i + 1); each is there once */
    size_t n;
};

/* The result lives in the arena. ERR_INPUT, "At location 17: ...", also where the clause is no
 * valid SQL, or has parameters of its own. */
bool claims_split(struct slice clause, struct arena *arena, struct claims_clause *out,
                  struct err *err) MUST_CHECK;

#endif
