/*
 * What the configuration says of shapes that clients may ask for by name, and
 * of tables that they may write:
 *
 *     [shape mine]
 *     table = public.orders
 *     where = owner = auth.sub AND team = ANY (auth.app.teams)
 *     columns = id, owner, total
 *
 *     [write public.orders]
 *     operations = insert, update
 *     columns = id, qty, note
 *     check = owner = auth.sub
 *     set.owner = auth.sub
 *     conflict.qty = counter
 *
 * `auth.CLAIM` stands for a claim of the token that the request came with
 * (shapes/claims.h). It becomes a value, typed against the catalogue; text of
 * a client's is no part of any clause. docs/RULES.md is the manual.
 *
 *     rules_read()    the sections' text: names, clauses, kinds       "path:line: ..."
 *     rules_check()   held against the catalogue                      "path:line: ..."
 *     rules_shape(), rules_write()   for one token's bearer
 *
 * Immutable once checked, any thread. When the file is read again the old
 * rules live on for whoever holds them. site.h keeps the ones in force.
 */
#ifndef RULES_RULES_H
#define RULES_RULES_H

#include "base/arena.h"
#include "base/err.h"
#include "shapes/shape.h"
#include "token/token.h"
#include "write/rules.h"

#include <stdio.h>

struct rules;

/* Reads the sections [shape ...] and [write ...] of an .ini file, and no others; `path` is for
 * messages. NULL with ERR_CONFIG, "path:line: ...". The caller's reference. */
struct rules *rules_read(FILE *file, const char *path, struct err *err) MUST_CHECK;
struct rules *rules_ref(struct rules *rules);
void rules_unref(struct rules *rules); /* NULL is allowed */

/* Holds every section against the catalogue; once, before the rules are shared. ERR_CONFIG with
 * "path:line: ..." for the first that is wrong, any other code when Postgres could not be asked.
 * `before`: the same rules as they have been in force until now, for a table may have been altered:
 * a [write] section that is wrong is then logged, and takes no writes; the others go on. NULL:
 * these rules are new. Blocks. */
bool rules_check(struct rules *rules, struct pg_conn *conn, const struct rules *before,
                 struct err *err) MUST_CHECK;

bool rules_are_empty(const struct rules *rules);
size_t rules_nshapes(const struct rules *rules);
bool rules_have_writes(const struct rules *rules);

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

/* What the token's bearer may write, with the claims put in; NULL: the operator, whose subject is
 * "" and who gets the sections that name no claim. A section with a claim that is absent, null or
 * of the wrong type gives no grant. `out` borrows from the rules and the arena, not from the token.
 * False: 403 with ERR_INPUT and the text for the client (a token without a subject), or 503 with
 * ERR_BUSY (the rules have not been held against the catalogue yet). */
bool rules_write(const struct rules *rules, const struct token *token, struct arena *arena,
                 struct write_rules *out, struct err *err) MUST_CHECK;

/* Which operations of the table this bearer may write, by enum write_op, for its replica to know
 * beforehand; false: none. */
bool rules_may_write(const struct rules *rules, const struct token *token, struct slice nspname,
                     struct slice relname, bool ops[WRITE_DELETE + 1]);

#endif
