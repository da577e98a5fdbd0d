/*
 * The columns of a shape's table, as an `open` line tells them, and the SQL
 * that makes such a table in SQLite: real columns, the original primary key,
 * NOT NULL on its columns alone (a constraint stricter than Postgres's would stop the stream).
 */
#ifndef REPLICA_SCHEMA_H
#define REPLICA_SCHEMA_H

#include "replica/types.h"

struct yyjson_val;

struct lite_column {
    struct slice name, type, base; /* as the bridge sent them; base may be empty */
    int dims;
    int pk_index; /* place in the primary key, -1 outside it */
    bool not_null;
    struct lite_type lite;
};

struct lite_schema {
    struct lite_column *columns;
    size_t ncolumns;
    size_t *key; /* numbers of the key's columns, in the key's order */
    size_t nkey; /* 0: no primary key */
};

/* Reads {"id":{"type":"int8","pk_index":0,"not_null":true},...}. Everything is
 * copied into the arena. Refuses two columns whose names SQLite cannot tell apart. */
bool lite_schema_parse(struct yyjson_val *object, struct arena *arena, struct lite_schema *schema,
                       struct err *err) MUST_CHECK;
/* The same from text. */
bool lite_schema_read(struct slice json, struct arena *arena, struct lite_schema *schema,
                      struct err *err) MUST_CHECK;

/* Whether tables of both have the same columns, types and key: rows of one can stand in the other.
 */
bool lite_schema_same(const struct lite_schema *a, const struct lite_schema *b);

/* CREATE TABLE for the (unquoted) name. */
char *lite_schema_ddl(const struct lite_schema *schema, const char *table, struct arena *arena);

/* "rowid", or what else names it where columns take that word; NULL when all three words are taken.
 */
const char *lite_schema_rowid(const struct lite_schema *schema);

#endif
