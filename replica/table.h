/*
 * Writes rows into one table of the replica with prepared statements: the
 * shape's own table, or the one at its side while it is fetched again.
 *
 * A row comes as one cell a column. An insert is an upsert that writes nothing
 * when the row is there already and equal, never a REPLACE, which would
 * delete and so fire no or the wrong triggers of the user's.
 *
 * The user may have put UNIQUE indexes on the table. Rows come in the
 * order of Postgres's changes, but values may be swapped within one transaction, and
 * a shape's order of apply is not Postgres's. An index that is in the way is
 * made plain until the transaction's end and unique again then; when the
 * rows do not allow that it stays plain, and a warning says so.
 */
#ifndef REPLICA_TABLE_H
#define REPLICA_TABLE_H

#include "replica/db.h"
#include "replica/schema.h"

#define LITE_UPDATES 16

struct lite_cell {
    struct slice text; /* Postgres's text; ptr NULL: NULL */
    bool present;
};

struct lite_update {
    unsigned char *mask; /* which columns it sets; NULL: a free place */
    sqlite3_stmt *stmt;
};

struct lite_table {
    struct lite_db *db;
    const struct lite_schema *schema;
    char *name;
    struct lite_cell *cells; /* one a column; the caller fills them */
    sqlite3_stmt *insert, *upsert, *remove, *get;
    struct lite_update updates[LITE_UPDATES];
    unsigned next_update;
    struct arena arena;   /* the table's life */
    struct arena scratch; /* a row's life */
};

/* The schema is borrowed and must outlive the table. */
void lite_table_init(struct lite_table *table, struct lite_db *db, const struct lite_schema *schema,
                     const char *name);
/* Fine on a zeroed struct. */
void lite_table_release(struct lite_table *table);
/* Whether the table that is there fits the schema: it can be upserted into. */
bool lite_table_fits(struct lite_table *table);

/* All cells must be present. */
bool lite_table_insert(struct lite_table *table, struct err *err) MUST_CHECK;
/* The row is believed to be new, which is quicker; a value a column, not the cells, says what it
 * is. */
bool lite_table_insert_new(struct lite_table *table, const struct lite_value *values,
                           struct err *err) MUST_CHECK;
/* The key and the changed columns are present. `*found` false: there is no such row. */
bool lite_table_update(struct lite_table *table, bool *found, struct err *err) MUST_CHECK;
/* The key is present, or every column where there is none: then one equal row goes. */
bool lite_table_remove(struct lite_table *table, bool *found, struct err *err) MUST_CHECK;

/* Fills all cells from the row that has the key's, as Postgres's texts; valid until the next call.
 */
bool lite_table_get(struct lite_table *table, bool *found, struct err *err) MUST_CHECK;
/* A column's value of a row of any statement; the bytes are copied into the arena. */
void lite_value_read(sqlite3_stmt *stmt, int column, struct arena *arena, struct lite_value *v);
/* Binds a value; its bytes are borrowed. */
bool lite_value_bind(sqlite3_stmt *stmt, int at, const struct lite_value *v);

/* Puts "INSERT INTO t(..)" and what follows it: an upsert of rows from `source`,
 * which is "VALUES (?1, ..)" or a SELECT. */
char *lite_table_upsert_sql(const struct lite_schema *schema, const char *name, const char *source,
                            struct arena *arena);

/* unique.c: makes the user's unique indexes on the table plain. False when there
 * is none, or it cannot be done. */
bool lite_unique_relax(struct lite_db *db, const char *table, struct err *err) MUST_CHECK;
/* Before a transaction with a relaxed index commits. What cannot be unique is left for another
 * call, db->relaxed still set; the `last` one lets it stay plain. */
bool lite_unique_restore(struct lite_db *db, bool last, struct err *err) MUST_CHECK;
/* The tables of the indexes that are left, in the arena. */
bool lite_unique_relaxed(struct lite_db *db, struct arena *arena, char ***tables, size_t *n,
                         struct err *err) MUST_CHECK;

#endif
