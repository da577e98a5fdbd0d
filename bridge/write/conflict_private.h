/*
 * A plan while it is made: what conflict.c, conflict_kinds.c and conflict_sql.c share. All texts
 * lie in the arena.
 */
#ifndef WRITE_CONFLICT_PRIVATE_H
#define WRITE_CONFLICT_PRIVATE_H

#include "write/conflict.h"

#define ROW "tombolo_row" /* the table's alias; nobody calls a column so */

/* What the mutation gives, by the table's column. */
struct making {
    struct plan *plan;
    const struct table *table;
    const struct write_column *columns;
    const struct slice *set; /* NULL: none */
    const struct write_pair **key, **value, **base;
    struct arena *arena;
    struct write_refusal *why;
    /* of the statement at hand */
    struct buf *sql;
    const char **values;
    uint32_t *types;
    int nparams;
};

/* Begins a statement; making_end() gives it the parameters that its words took. */
void making_begin(struct making *m, struct statement *statement, const char *sql);
void making_end(struct making *m, struct statement *statement);

/* The next parameter, of the column's type. */
void making_bind(struct making *m, uint16_t column, struct slice value);
/* The same, as "$3". */
const char *making_param(struct making *m, uint16_t column, struct slice value);
/* The text as `put` (sql_put_ident(), sql_put_literal()) writes it. */
const char *making_quoted(struct making *m, struct slice text,
                          void put(struct buf *, struct slice));
const char *making_ident(struct making *m, uint16_t column);
/* "schema"."table" */
const char *making_table_name(struct making *m);
/* The table where its rows are looked for. Not those of tables that inherit from it, which may have
 * the same keys, and are no part of a shape either; partitions are the whole of theirs. */
const char *making_rows(struct making *m);
/* The row's own value. */
const char *making_current(struct making *m, uint16_t column);
/* Whether the row's value is this one; never null. */
const char *making_equals(struct making *m, uint16_t column, struct slice value);
/* A call of the users' function; the others are expressions. */
const char *making_called(struct making *m, const struct write_function *function, const char *now,
                          const char *base, const char *value);

/* Whether the kind has to know what the replica's value was before. */
bool kind_needs_base(enum write_conflict kind);
/* What the column, which has a value and where needed a base, becomes; NULL when it stays. */
const char *kind_new_value(struct making *m, uint16_t column);

#endif
