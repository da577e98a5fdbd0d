/*
 * The types that a where clause knows: Postgres's built-in scalars that can be
 * evaluated exactly, arrays of them, and the rest by name alone (they matter
 * only because they are rivals when an operator's overload is chosen).
 *
 * A type is an int: one of enum pgtype, with PG_ARRAY set for an array of it.
 */
#ifndef SHAPES_PGTYPE_H
#define SHAPES_PGTYPE_H

#include "change/table.h"

#include <stdbool.h>
#include <stdint.h>

/* symbol, oid, array's oid, name, category, preferred in its category. Those before PG_OID are
 * evaluated. */
#define PGTYPE_MAP(X)                                                                              \
    X(PG_BOOL, 16, 1000, "bool", 'B', true)                                                        \
    X(PG_BYTEA, 17, 1001, "bytea", 'U', false)                                                     \
    X(PG_NAME, 19, 1003, "name", 'S', false)                                                       \
    X(PG_INT8, 20, 1016, "int8", 'N', false)                                                       \
    X(PG_INT2, 21, 1005, "int2", 'N', false)                                                       \
    X(PG_INT4, 23, 1007, "int4", 'N', false)                                                       \
    X(PG_TEXT, 25, 1009, "text", 'S', true)                                                        \
    X(PG_FLOAT4, 700, 1021, "float4", 'N', false)                                                  \
    X(PG_FLOAT8, 701, 1022, "float8", 'N', true)                                                   \
    X(PG_BPCHAR, 1042, 1014, "bpchar", 'S', false)                                                 \
    X(PG_VARCHAR, 1043, 1015, "varchar", 'S', false)                                               \
    X(PG_DATE, 1082, 1182, "date", 'D', false)                                                     \
    X(PG_TIME, 1083, 1183, "time", 'D', false)                                                     \
    X(PG_TIMESTAMP, 1114, 1115, "timestamp", 'D', false)                                           \
    X(PG_TIMESTAMPTZ, 1184, 1185, "timestamptz", 'D', true)                                        \
    X(PG_INTERVAL, 1186, 1187, "interval", 'T', true)                                              \
    X(PG_NUMERIC, 1700, 1231, "numeric", 'N', false)                                               \
    X(PG_UUID, 2950, 2951, "uuid", 'U', false)                                                     \
    X(PG_OID, 26, 1028, "oid", 'N', true)                                                          \
    X(PG_MONEY, 790, 791, "money", 'N', false)                                                     \
    X(PG_TIMETZ, 1266, 1270, "timetz", 'D', false)                                                 \
    X(PG_INET, 869, 1041, "inet", 'I', true)                                                       \
    X(PG_BIT, 1560, 1561, "bit", 'V', false)                                                       \
    X(PG_VARBIT, 1562, 1563, "varbit", 'V', true)                                                  \
    X(PG_JSONB, 3802, 3807, "jsonb", 'U', false)                                                   \
    X(PG_MACADDR, 829, 1040, "macaddr", 'U', false)                                                \
    X(PG_PG_LSN, 3220, 3221, "pg_lsn", 'U', false)                                                 \
    X(PG_POINT, 600, 1017, "point", 'G', false)                                                    \
    X(PG_BOX, 603, 1020, "box", 'G', false)                                                        \
    X(PG_TSQUERY, 3615, 3645, "tsquery", 'U', false)

enum pgtype {
    PG_NONE,    /* the missing left side of a prefix operator */
    PG_UNKNOWN, /* a literal or parameter whose context has not decided yet */
#define X(symbol, oid, arrayoid, name, category, preferred) symbol,
    PGTYPE_MAP(X)
#undef X
        PG_OTHER, /* any other type: its text and whether it is null, nothing else */
};

#define PG_ARRAY 0x80

static inline bool pgtype_is_array(int type)
{
    return type & PG_ARRAY;
}

static inline int pgtype_elem(int type)
{
    return type & ~PG_ARRAY;
}

/* Whether values of the type, or of its elements, can be computed with. */
bool pgtype_is_known(int type);
bool pgtype_is_integer(int type);
bool pgtype_is_float(int type);
/* text, varchar, bpchar, name: bytes with a collation. */
bool pgtype_is_text(int type);
/* The same for arrays of them too. */
bool pgtype_has_collation(int type);

/* "int4", "int4[]", "unknown". */
const char *pgtype_name(int type);
char pgtype_category(int type);
bool pgtype_is_preferred(int type);

/* Whether Postgres casts one to the other without being asked. Unknown goes to anything. */
bool pgtype_coerces(int from, int to);

/* The column's type, domains resolved. */
int pgtype_of_column(const struct table_column *column);
/* By the name in a cast; -1 when there is none that is known. */
int pgtype_by_name(struct slice name);

/* Whether a column that is PG_OTHER has a text form in SQL (::text) that is what the stream sends.
 */
bool pgtype_other_has_text(const struct table_column *column);
/* Whether IS NULL on the column asks about the value itself, not about fields of a row. */
bool pgtype_other_is_scalar(const struct table_column *column);

#endif
