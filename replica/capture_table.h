/*
 * What capture must know of a table: its ordinary columns, its key, and what else is unique in
 * it, for a row may be evicted by a REPLACE through any of them.
 */
#ifndef REPLICA_CAPTURE_TABLE_H
#define REPLICA_CAPTURE_TABLE_H

#include "replica/db.h"

struct capture_column {
    const char *name;
    int key; /* place in the key, from 0; -1 outside it */
    bool not_null;
};

/* One part of a unique index: a column, or an expression over columns. */
struct capture_part {
    const char *column;     /* NULL: an expression */
    const char *expression; /* as the index's statement has it */
    const char *collation;
};

struct capture_index {
    const char *name; /* "" for the key that is the row's number */
    struct capture_part *parts;
    size_t nparts;
    const char *where; /* of a partial index, or NULL */
    bool key;          /* it is the primary key's own */
    bool simple;       /* ordinary columns alone and not partial */
};

struct capture_table {
    const char *name;               /* as the schema spells it */
    struct capture_column *columns; /* generated ones left out */
    size_t ncolumns;
    size_t *key; /* numbers of the key's columns, in the key's order */
    size_t nkey;
    bool rowid;                    /* the key is the row's number: never NULL */
    struct capture_index *indexes; /* the key's first, others by name */
    size_t nindexes;
};

/* Everything is in the arena. False with ERR_INPUT and the reason when there is no such table or
 * it cannot be captured. */
bool capture_table_read(struct lite_db *db, const char *name, struct arena *arena,
                        struct capture_table *table, struct err *err) MUST_CHECK;

/* The number of the column in `table`, or table->ncolumns. */
size_t capture_table_find(const struct capture_table *table, const char *column);

#endif
