/*
 * Postgres's values in SQLite and back, without loss. Going in, a value is
 * Postgres's text (DateStyle=ISO, TimeZone=UTC, IntervalStyle=iso_8601,
 * bytea_output=hex, extra_float_digits=1); coming out it is the same text again.
 *
 *     int2 int4 int8 oid        INTEGER
 *     bool                      INTEGER 0 or 1
 *     float4 float8             REAL; NaN is the text 'NaN', SQLite knows no other; -0 becomes 0
 *     bytea                     BLOB
 *     geometry geography        BLOB (EWKB)
 *     timestamptz               TEXT 2024-02-28 19:32:03.500000+00:00, which SQLite's date
 *                               functions read
 *     timestamp                 TEXT 2024-02-28 19:32:03.500000
 *     arrays                    TEXT, a JSON array; what JSON cannot say exactly stays
 *                               Postgres's literal
 *     citext                    TEXT COLLATE NOCASE
 *     numeric and all others    TEXT, as Postgres prints them
 *
 * A column is declared INTEGER, REAL, TEXT or BLOB and never by Postgres's
 * name, whose affinity would change values ('1.10' in a NUMERIC column is 1.1).
 * Dates beyond the year 9999, before Christ or infinite stay as Postgres prints them.
 */
#ifndef REPLICA_TYPES_H
#define REPLICA_TYPES_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#include <stdint.h>

enum lite_kind {
    LITE_OTHER, /* text as it is */
    LITE_INT,
    LITE_BOOL,
    LITE_FLOAT4,
    LITE_FLOAT8,
    LITE_NUMERIC, /* text; in arrays a number */
    LITE_CITEXT,
    LITE_BYTEA,
    LITE_BOX, /* text; its arrays are delimited by semicolons and stay literals */
    LITE_EWKB,
    LITE_TIMESTAMP,
    LITE_TIMESTAMPTZ,
};

struct lite_type {
    enum lite_kind kind; /* of the element, where it is an array */
    bool array;
    bool rowid; /* int2, int4, int8: alone in a key, the row's INTEGER PRIMARY KEY */
};

enum lite_storage { LITE_NULL, LITE_INTEGER, LITE_REAL, LITE_TEXT, LITE_BLOB };

struct lite_value {
    enum lite_storage storage;
    union {
        int64_t integer;
        double real;
    };
    struct slice bytes; /* TEXT and BLOB: borrowed from the input, or in the arena */
};

/* The type of a column of the stream's schema: `base` is the type under a
 * domain, "enum", or empty; `dims` is above 0 for arrays. */
struct lite_type lite_type_of(struct slice type, struct slice base, int dims);
/* The declared type, with its collation: "INTEGER", "TEXT COLLATE NOCASE". */
const char *lite_type_decl(struct lite_type type);
/* Whether SQLite's equality on such a column is coarser than equality of bytes. */
bool lite_type_folds(struct lite_type type);
/* Whether a value is Postgres's text as it stands. */
static inline bool lite_type_is_text(struct lite_type type)
{
    return !type.array && (type.kind == LITE_OTHER || type.kind == LITE_NUMERIC);
}

/* Text that is not of the type is an ERR_PROTOCOL, for nothing can be stored that would come back.
 */
bool lite_from_pg(struct lite_type type, struct slice text, struct arena *arena,
                  struct lite_value *out, struct err *err) MUST_CHECK;
/* `out` has a NULL ptr for NULL. Any value has a text; one that a local
 * program wrote and that is not of the type is given as SQLite prints it. */
void lite_to_pg(struct lite_type type, const struct lite_value *value, struct arena *arena,
                struct slice *out);

/* For arrays.c: a scalar's text as it stands in a TEXT column, and back. */
struct slice lite_text_in(enum lite_kind kind, struct slice text, struct arena *arena);
struct slice lite_text_out(enum lite_kind kind, struct slice text, struct arena *arena);

/* arrays.c. False: the literal cannot be said in JSON so that it comes back the same. */
bool lite_array_to_json(enum lite_kind kind, struct slice literal, struct arena *arena,
                        struct slice *json);
/* False: not a JSON array, so a literal that was kept. */
bool lite_array_from_json(enum lite_kind kind, struct slice json, struct arena *arena,
                          struct slice *literal);

/* floats.c: the shortest text that reads back the same, in Postgres's form. */
struct slice lite_float_text(double v, bool single, struct arena *arena);
/* Reads Postgres's text of a float whatever the process's locale is. */
bool lite_float_parse(struct slice text, double *out);

#endif
