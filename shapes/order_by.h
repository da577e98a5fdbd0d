/*
 * The order of a subset's rows: a list of columns, each up or down, nulls
 * first or last. Read from the client's SQL, written anew in ours. Inside the
 * room.
 */
#ifndef SHAPES_ORDER_BY_H
#define SHAPES_ORDER_BY_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "change/table.h"

struct order_term {
    uint16_t column; /* the table's */
    bool descending;
    enum { NULLS_DEFAULT, NULLS_FIRST, NULLS_LAST } nulls;
};

struct order_by {
    struct order_term *terms; /* in the arena; constants order nothing and are left out */
    size_t n;
};

/* `hidden`: by column, those that may not be named; NULL: none. The errors have the shape API's
 * text. */
bool order_by_parse(struct slice text, const struct table *table, const bool *hidden,
                    struct arena *arena, struct order_by *out, struct err *err) MUST_CHECK;

/* ` ORDER BY "a" DESC NULLS LAST, ...`; nothing without a term. */
void order_by_put_sql(const struct order_by *order, const struct table *table, struct buf *out);

#endif
