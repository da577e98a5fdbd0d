/*
 * What a client asked for: a table, a where clause, columns. A shape is
 * immutable once made and shared by reference count; two requests that mean
 * the same make shapes that are the same. It is one small allocation, for there may
 * be a hundred thousand of them: what those have in common that differ in constants
 * alone is kept once.
 */
#ifndef SHAPES_SHAPE_H
#define SHAPES_SHAPE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "change/change.h"
#include "change/table.h"
#include "shapes/where.h"

#include <stdatomic.h>

/* What an update carries: the key and what changed, or whole rows with the old values. */
enum shape_replica { SHAPE_REPLICA_DEFAULT, SHAPE_REPLICA_FULL };

/* The request, as text. A NULL ptr: not given. */
struct shape_request {
    struct slice table;   /* [schema.]name, quoted as SQL */
    struct slice where;   /* may be empty */
    struct slice columns; /* comma list, each quoted as SQL; NULL: all */
    /* The same: what a client may ask about. `columns` must lie within it. Checked, but no part of
     * the shape; NULL: all. */
    struct slice queryable;
    struct where_params params;
    enum shape_replica replica;
    bool changes_only;
    bool keyed_by_identity; /* /v1/sync: DEFAULT identity is enough, unless it needs_full */
};

struct form;

struct shape {
    atomic_uint refs;
    uint16_t ncolumns;                    /* selected ones */
    bool all_columns;                     /* none were named */
    bool changes_only, keyed_by_identity; /* as requested */
    bool needs_full; /* old rows must be sent whole (REPLICA IDENTITY FULL) for it to be followed
                        exactly: always, unless the request was keyed_by_identity, is for default
                        updates, and the shape is unfiltered, or its clause looks at identity
                        columns alone, and its key lies within the identity */
    enum shape_replica replica;
    struct hash128 is;   /* of its identity, in this process: equal for those that are the same */
    struct form *form;   /* a reference; what is borrowed below is its */
    struct table *table; /* borrowed */
    struct where *where; /* NULL: every row */
    const uint16_t *columns; /* indexes into table->cols, ascending; borrowed */
    struct slice asked;      /* the request's texts: shape_get_request() */
};

/* Splits `[schema.]name` into its folded parts, in the arena; the schema defaults to public. */
bool shape_table_name(struct slice text, struct arena *arena, struct slice *nspname,
                      struct slice *relname, struct err *err) MUST_CHECK;

/* Types the request against the table (which it references). On failure err->msg is the shape API's
 * text and *field says where it belongs: "table", "where", "columns", "queryable_columns",
 * "params". */
struct shape *shape_new(const struct shape_request *request, struct table *table,
                        const char **field, struct err *err) MUST_CHECK;
struct shape *shape_ref(struct shape *shape);
void shape_unref(struct shape *shape);

/* A text that is equal for shapes that are the same, on every node; contains the relid. */
void shape_put_identity(const struct shape *shape, struct buf *out);
/* A hash of that text: of shapes that are the same, on every node. */
uint64_t shape_hash(const struct shape *shape);
/* Cheap. */
static inline bool shape_same(const struct shape *a, const struct shape *b)
{
    return hash128_eq(a->is, b->is);
}

/* The request as it was made (of `columns` and `queryable`, what is left of them): the shape log's
 * catalogue keeps it, to type the shape again. Borrowed from the shape; params' array lies in the
 * arena. */
void shape_get_request(const struct shape *shape, struct arena *arena,
                       struct shape_request *request);

/* Whether the shape can be followed only with the old values of the table's column i: the replica
 * identity must have it. */
bool shape_needs_old(const struct shape *shape, uint16_t column);

/* Whether the shape's messages or its membership depend on the table's column i: it is selected, of
 * the key, or looked at by the clause; every column, where none were named or there is no key. */
bool shape_uses(const struct shape *shape, uint16_t column);

/* NULL when the shape, made for its own version of the table, means the same on this one: what it
 * uses is there as it was (nullability does not count), and nothing has been added to a shape of
 * all columns. Else why not. */
const char *shape_misfit(const struct shape *shape, const struct table *now);
/* Of two versions of the table that the shape fits: whether a column that it uses was altered in
 * between in any way, maybe so that the values of its rows are others. */
bool shape_column_altered(const struct shape *shape, const struct table *then,
                          const struct table *now);

/* `SELECT columns FROM ONLY?table WHERE clause`, for COPY. Booleans and all else in Postgres's text
 * format. */
void shape_put_select(const struct shape *shape, struct buf *out);

/* The same without the WHERE, for more to be written behind. */
void shape_put_from(const struct shape *shape, struct buf *out);

/* The shape API's schema object, columns in table order; `for_sync` adds "base" for domains and
 * enums. */
void shape_put_schema(const struct shape *shape, bool for_sync, struct buf *out);
/* The same from another version of the table that the shape fits: whether a column may be null may
 * have changed. */
void shape_put_schema_of(const struct shape *shape, const struct table *table, bool for_sync,
                         struct buf *out);

#endif
