/*
 * What the files of this room share.
 *
 *     read.c    the .ini file to struct rules: names, clauses, kinds
 *     check.c   the same against the catalogue
 *     bind.c    claims to values
 *     rules.c   named shapes, and what anybody may ask of the rules
 *     grants.c  writes, for one token
 *     site.c    the rules in force
 */
#ifndef RULES_PRIVATE_H
#define RULES_PRIVATE_H

#include "base/hash.h"
#include "rules/rules.h"
#include "shapes/claims.h"

#include <stdatomic.h>

#define WRITE_OPS (WRITE_DELETE + 1)

struct named_shape {
    struct named_shape *next; /* in the file's order */
    struct slice name;
    struct slice table, where, columns; /* as they are written; ptr NULL: not given */
    int line, where_line, columns_line; /* of its first entry, and of these two */
    struct claims_clause clause;
};

/* `set.COLUMN = ...` or `conflict.COLUMN = ...` */
struct column_entry {
    struct column_entry *next;
    struct slice column;
    int line;
    struct claims_clause claim; /* set: "($1)" */
    enum write_conflict conflict;
    struct write_function function; /* CONFLICT_FUNCTION */
};

struct named_write {
    struct named_write *next;
    const char *section;
    struct slice nspname, relname;
    int line;
    bool has_ops, has_skip, ops[WRITE_OPS], skip[WRITE_OPS];
    const struct slice *columns; /* that may be written */
    size_t ncolumns;
    int columns_line, check_line, conflict_line; /* 0: not given */
    struct claims_clause check;
    struct where_text *check_text; /* of a check that names claims; else NULL */
    struct column_entry *set, *conflicts;
    struct column_entry conflict; /* of the whole table */
    struct slice role;            /* a name, NUL-terminated; ptr NULL: none, or the claim's */
    struct claims_clause role_claim;
    /* By rules_check(): */
    bool works;
    struct write_table rule;   /* its table: a reference */
    const struct where *fixed; /* the check, when it names no claim */
};

struct rules {
    atomic_uint refs;
    struct arena arena;
    struct slice path;
    struct strmap shapes, writes; /* name -> struct named_shape, section -> struct named_write */
    struct named_shape *first_shape;
    struct named_write *first_write;
    bool checked;
};

/* Puts "path:line: " before the message, and makes it ERR_CONFIG; always false. */
bool rules_wrong(struct slice path, int line, struct err *err);

/* The values of a clause's claims, each NUL-terminated, in the arena: false, with the text for the
 * client, when one is absent, null, or no value. */
bool rules_bind(const struct claims_clause *clause, const struct token *token, struct arena *arena,
                struct where_params *out, struct err *err) MUST_CHECK;

#endif
