/*
 * A subset of a shape: rows of it that a client asks for by a clause of its
 * own, in an order, up to a limit. Postgres runs the query; nothing of the
 * request is passed on as text: the clause is typed as the shape's own is,
 * the order is written anew from its parsed form, limits are integers.
 *
 * Beyond what a shape's clause may do, enums may be compared with literals
 * and parameters: whether there is such a label only Postgres knows, so that
 * the query fails for a wrong one.
 */
#ifndef SHAPES_SUBSET_H
#define SHAPES_SUBSET_H

#include "shapes/shape.h"

/* As text. An empty clause or order: none. */
struct subset_request {
    struct slice where;
    struct where_params params;
    struct slice order_by; /* needed with a limit or an offset */
    uint64_t limit;        /* 0: none */
    uint64_t offset;       /* rows to be left out */
    struct slice subject;  /* whose token it came with, for what is shared; NULL ptr: nobody's */
};

struct subset;

/* Types the request against the shape and the table, which is one that the shape fits
 * (shape_misfit()). All must outlive the result, which lies in the arena.
 * `queryable`: the comma list of columns that clause and order may use, which shape_new() has found
 * right; a NULL ptr: all. On failure err->msg is the shape API's text and *field says where it
 * belongs: "subset.where", "subset.order_by". */
bool subset_compile(const struct subset_request *request, const struct shape *shape,
                    const struct table *table, struct slice queryable, struct arena *arena,
                    struct subset **out, const char **field, struct err *err) MUST_CHECK;

/* `SELECT columns FROM ONLY?table WHERE (shape's) AND (subset's) ORDER BY .. LIMIT .. OFFSET ..`,
 * for COPY, with search_path = pg_catalog. */
void subset_put_select(const struct subset *subset, struct buf *out);

/* The copy lies in the arena. */
void subset_request_copy(const struct subset_request *from, struct arena *arena,
                         struct subset_request *to);

#endif
