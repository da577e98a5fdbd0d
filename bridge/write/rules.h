/*
 * What may be written, and how two writers of one row are brought together.
 *
 * `struct write_table` is what the configuration says of a table, the same for everyone: whoever
 * reads the configuration fills it and lets write_table_check() hold it against the catalogue. It
 * is immutable from then on. `struct write_rules` is what one request may do, with its token's
 * claims put in: a table that has no grant there takes no writes.
 */
#ifndef WRITE_RULES_H
#define WRITE_RULES_H

#include "change/table.h"
#include "pg/pg.h"
#include "shapes/where.h"
#include "write/request.h"

/* kind, name in the configuration: how what the replica wants meets what is there by now. An
 * insert is not concerned: it fails where there is a row with its key. */
#define WRITE_CONFLICT_MAP(X)                                                                      \
    X(CONFLICT_MERGE, "merge")       /* a column that was changed is written; the last one wins */ \
    X(CONFLICT_REJECT, "reject")     /* refused when the column has changed meanwhile; a delete    \
                                        when any such column has */                                \
    X(CONFLICT_COUNTER, "counter")   /* the difference is added; null counts as 0 */               \
    X(CONFLICT_MIN, "min")           /* the lesser one stays */                                    \
    X(CONFLICT_MAX, "max")           /* the greater one stays */                                   \
    X(CONFLICT_UNION, "union")       /* arrays, jsonb arrays: what was added is added, what was    \
                                        removed is removed */                                      \
    X(CONFLICT_KEEP, "keep")         /* what is there stays */                                     \
    X(CONFLICT_FUNCTION, "function") /* (current, base, new jsonb) -> jsonb; null: keep */

enum write_conflict {
#define X(symbol, name) symbol,
    WRITE_CONFLICT_MAP(X)
#undef X
};

/* False when there is no such kind. */
bool write_conflict_parse(struct slice name, enum write_conflict *out) MUST_CHECK;

/* A function of the user's: schema.name(current jsonb, base jsonb, new jsonb) RETURNS jsonb. For a
 * column it is given values (JSON null for null), for a table objects: the whole row, the base and
 * the new values of what changed; what it leaves out of its result stays as it is. It may raise an
 * error: the write is rejected with its text. */
struct write_function {
    struct slice nspname, name; /* {NULL, 0}: none */
};

struct write_column {
    /* Filled by the caller: */
    bool writable; /* a key's columns always are in an insert */
    enum write_conflict conflict;
    struct write_function function; /* CONFLICT_FUNCTION */
    /* By write_table_check(): */
    bool generated;     /* as an identity too, if always */
    const char *equals; /* the operator, as SQL; NULL: compared by their text */
};

struct write_table {
    struct table *table;            /* borrowed */
    bool ops[WRITE_DELETE + 1];     /* by enum write_op */
    struct write_column *columns;   /* by the table's column */
    struct write_function function; /* for whole rows: the columns' own kinds do not count then */
    bool skip_missing[WRITE_DELETE + 1]; /* an update or delete of no row, or of one
                                            that the check hides, is passed over */
    /* By write_table_check(): nothing that follows from a change waits for its transaction's end,
     * as a deferred constraint does, or may lead to such a thing, as a trigger can. */
    bool plain;
    /* It is plain, and nothing looks at its other rows when one is inserted, as a policy can, a
     * function of a constraint or of a default, or a foreign key to the table itself. */
    bool rows_are_alone;
};

/* Reads what is needed of the catalogue and refuses rules that cannot work (ERR_CONFIG, naming the
 * column); ERR_CHANGED when the table is not what it was. The results lie in the arena. */
bool write_table_check(struct pg_conn *conn, struct write_table *rule, struct arena *arena,
                       struct err *err) MUST_CHECK;

struct write_grant {
    const struct write_table *rule;
    /* Must be true for the new row, and for the old one of an update or delete; NULL: everything
     * is. Made by where_compile(). */
    const struct where *check;
    /* By the table's column: what is written in its place whatever the replica says, which may
     * only say the same or null. {NULL, 0}: not set. NULL: none. */
    const struct slice *set;
};

struct write_rules {
    struct slice subject; /* who asks; a replica belongs to one */
    struct slice role;    /* SET LOCAL ROLE; empty: the bridge's own. NUL-terminated, as is ... */
    bool role_of_token;   /* the token names it: if it is none, its bearer has no grants */
    struct slice claims;  /* ... request.jwt.claims: JSON, or empty */
    const struct write_grant *grants;
    size_t ngrants;
};

/* NULL: the table takes no writes. The bridge's own tables never do. */
const struct write_grant *write_rules_find(const struct write_rules *rules, struct slice nspname,
                                           struct slice relname);

#endif
