/*
 * What a table's rows depend on besides its columns: where they lie, and by which entries of the
 * publication they are sent. Both are kept as texts in struct table, made of things that Postgres
 * never gives out a second time (object ids, and the ids of transactions that wrote a row of its
 * catalogue). So two looks that give the same mean that it was so in between as well: a partition
 * that was detached and attached again, or a table that was taken out of the publication and put
 * back, is told from one that stayed.
 *
 *     storage      relid:filenode:identity:links;...     the table, or its leaf partitions by oid
 *                  links: pg_inherits.xmin of each step from the leaf up, each with a "/" behind it
 *     published    publication:xmin;entry;...            "" when there is no such publication
 *                  entry: "all"; or "r<oid><links>", a row of pg_publication_rel ("f" in place of
 *                  "r": with a row filter or a column list); or "n<oid>:<xmin><links>", one of
 *                  pg_publication_namespace, and the dependency of the table on its schema
 */
#ifndef CHANGE_STANDING_H
#define CHANGE_STANDING_H

#include "change/table.h"

struct table_leaf {
    uint32_t relid;
    struct slice filenode;
    enum replident replident;
    struct slice links;
};

/* Takes the first leaf off a storage text; false at its end. */
bool storage_next(struct slice *rest, struct table_leaf *leaf);
/* The leaf with this relid; false when there is none. */
bool storage_find(struct slice storage, uint32_t relid, struct table_leaf *leaf);

/* Whether all of it lies where it lay, whatever its replica identity. */
bool storage_same(struct slice then, struct slice now);

/* Whether the table and all its leaves have REPLICA IDENTITY FULL. */
bool table_is_full(const struct table *table);

/* A partitioned table that has it says that its partitions are to have it, whenever they are made.
 * A shape that was typed against it takes each of them to send whole rows. */
bool table_wants_full(const struct table *table);

enum table_publication {
    TABLE_UNPUBLISHED,
    TABLE_FILTERED, /* a row filter or a column list holds back a part of it */
    TABLE_PUBLISHED,
};
enum table_publication table_publication(const struct table *table);
/* Whether an entry that published it `then` has done so until `now`, of a publication that nobody
 * has altered. */
bool published_since(struct slice then, struct slice now);

#endif
