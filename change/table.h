/*
 * A table as Postgres's catalogue describes it: what a shape is typed against.
 * Immutable once made, shared between threads by reference count; everything
 * it points to lives in its own arena.
 *
 * The stream's relation (change/relation.h) gives names and type oids alone;
 * table_map() says whether the two still speak of the same columns.
 */
#ifndef CHANGE_TABLE_H
#define CHANGE_TABLE_H

#include "base/arena.h"
#include "base/buf.h"
#include "change/relation.h"

#include <stdatomic.h>
#include <stdint.h>

/* pg_type.typtype of the column's type. */
enum type_class {
    TYPE_BASE = 'b',
    TYPE_COMPOSITE = 'c',
    TYPE_DOMAIN = 'd',
    TYPE_ENUM = 'e',
    TYPE_MULTIRANGE = 'm',
    TYPE_PSEUDO = 'p',
    TYPE_RANGE = 'r',
};

struct table_column {
    struct slice name;
    int16_t attnum;
    uint32_t typid;        /* as declared: a domain's or an array's own oid */
    int32_t typmod;        /* -1: none */
    struct slice typname;  /* pg_type.typname of typid, "_int4" for an array */
    enum type_class class; /* of typid */
    uint32_t basetypid;    /* typid with domains resolved */
    int32_t basetypmod;
    struct slice basetypname;
    uint32_t elemtypid;       /* element of basetypid when that is an array, else 0 */
    struct slice elemtypname; /* its pg_type.typname */
    int16_t ndims;            /* pg_attribute.attndims */
    int16_t pk_index;         /* place in the primary key from 0, or -1 */
    uint32_t stamp;           /* pg_attribute.xmin: whatever alters the column changes it */
    bool not_null;
    bool generated;      /* and not sent by the stream */
    bool in_identity;    /* sent as part of an old key by the replica identity */
    bool collation_is_c; /* orders as bytes do (C, POSIX, C.UTF-8); false without a collation */
    bool ctype_is_c;     /* upper() and lower() touch ASCII alone (C, POSIX) */
    bool collation_deterministic; /* equal only if the bytes are; true without a collation */
    uint32_t collation;           /* pg_attribute.attcollation; 100: the database's own; 0: none */
};

struct table {
    atomic_uint refs;
    struct arena arena;
    uint32_t relid;
    struct slice nspname, relname;
    struct slice storage;   /* where its rows lie, and ... */
    struct slice published; /* ... by what they are sent: change/standing.h */
    char relkind;           /* 'r', or 'p' for a partitioned one */
    enum replident replident;
    uint16_t ncols;
    struct table_column *cols; /* live columns in attnum order */
    uint16_t npk;              /* 0: no primary key */
    uint16_t *pk;              /* indexes into cols, in the key's order */
};

/* An empty table with one reference; the caller fills it before sharing. */
struct table *table_new(void);
struct table *table_ref(struct table *table);
void table_unref(struct table *table);

/* Index of the column, or -1. */
int table_column_index(const struct table *table, struct slice name);
/* Index of the column with this attnum, which outlives a rename, or -1. */
int table_attnum_index(const struct table *table, int16_t attnum);

/* How a relation's columns lie in a table. */
struct table_map {
    bool renamed; /* the relation is the table's own, under another name */
    bool added;   /* it has columns that the table has not */
    bool lost;    /* the table has columns that it has not, or of another type */
};

/* map[i] becomes the place in the relation's tuple that holds the table's column i, or -1: it is
 * generated and not sent, or lost (is_lost[i]). Both have table->ncols places. Postgres sends a
 * table's own columns in the order of their attnums: where that is not so, names have been
 * exchanged, and all columns count as lost. */
struct table_map table_map(const struct table *table, const struct relation *relation, int16_t *map,
                           bool *is_lost);

/* Whether any column came, went or was altered in between. */
bool table_columns_altered(const struct table *then, const struct table *now);
/* Same type, name and place, whatever its nullability: what was made for one reads the other. */
bool table_column_same(const struct table_column *a, const struct table_column *b);
/* Same columns, types, nullability and key. */
bool table_same(const struct table *a, const struct table *b);
/* The same in everything: one can stand for the other. */
bool table_identical(const struct table *a, const struct table *b);

/* `"schema"."name"`, quoted as SQL. */
void table_put_quoted(const struct table *table, struct buf *out);
/* One identifier, quoted as SQL. */
void sql_put_ident(struct buf *out, struct slice ident);
/* One string literal, quoted as SQL with standard_conforming_strings. */
void sql_put_literal(struct buf *out, struct slice text);

#endif
