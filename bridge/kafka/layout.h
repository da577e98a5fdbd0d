/*
 * A relation of the stream as the table whose topic its rows are for: itself, or the root of the
 * partitioned table that it belongs to.
 *
 * The columns are those that the relation sends, in the root's order, with what the catalogue says
 * of their types. The stream may be behind the catalogue: names, types and identity are the
 * relation's, and what the catalogue does not know any more is looked up by its type alone.
 */
#ifndef KAFKA_LAYOUT_H
#define KAFKA_LAYOUT_H

#include "change/change.h"
#include "change/table.h"
#include "pg/pg.h"

struct layout {
    struct table *table; /* one reference; relid, names and key are the root's */
    bool is_leaf;        /* the root is another table */
    bool same_places;    /* tuples pass as they are */
    uint16_t *map;       /* place in the relation's tuple by the table's columns; in its arena */
};

/* `xid`: the transaction that the stream is in. */
bool layout_make(struct pg_conn *conn, const struct relation *relation, uint32_t xid,
                 struct layout *layout, struct err *err) MUST_CHECK;
void layout_release(struct layout *layout);
/* In the table's order; in the arena when that is another one. NULL stays NULL. */
const struct tuple *layout_tuple(const struct layout *layout, const struct tuple *tuple,
                                 struct arena *arena);

/* The table without the columns that the stream would not send: what its first rows are read by. */
struct table *layout_sent(struct table *table);

#endif
