/*
 * Which tables' shapes a relation's rows are for: its own, and those of the
 * partitioned tables above it. And how its columns lie in theirs.
 *
 * A table is there while it has shapes, in as many versions as its shapes were
 * typed with: after an ALTER TABLE those that do not use what was altered go on
 * as they were, beside newer ones. When the stream's relation has other columns
 * than a version, the route says which are missing, and the shapes that use them
 * end.
 */
#ifndef FANOUT_ROUTES_H
#define FANOUT_ROUTES_H

#include "base/hash.h"
#include "change/table.h"
#include "fanout/fanout.h"
#include "shapes/index.h"

/* A table in one version. */
struct followed_table {
    struct table *table;
    struct table *latest;        /* the same columns, as they were looked up last */
    struct followed_table *next; /* another version of the same table */
    struct shape_index *index;   /* its shapes */
    size_t users;
    unsigned generation; /* grows with each shape that comes */
    bool *relied; /* of which columns any of its shapes needs old values, and took the replica
                   * identity to have them */
};

/* From one relation to one table. */
struct route {
    struct followed_table *to;
    struct table_map found;
    bool same_places;    /* the columns lie in the same places: tuples pass as they are */
    bool identity_holds; /* the relation's replica identity has all columns that were relied on */
    int16_t *map;        /* places in the relation's tuple by the table's columns, -1: not sent */
    bool *lost;          /* by the table's columns: no shape may use it any more */
    unsigned clean;      /* the table's generation at which no shape did, 0: not looked yet */
};

struct relation_routes {
    uint32_t relid;
    bool known; /* ancestors have been looked up */
    bool built; /* routes are there */
    struct arena arena;
    uint32_t *ancestors;
    size_t nancestors;
    struct arena route_arena;
    struct route *routes;
    size_t n;
};

struct routes {
    struct u64map tables;    /* relid -> struct followed_table, the first version */
    struct u64map relations; /* relid -> struct relation_routes */
    fanout_resolver *resolver;
    void *owner;
};

void routes_release(struct routes *routes);

/* The version of the table that the shape was typed with, with one more user. */
struct followed_table *routes_follow(struct routes *routes, const struct shape *shape);
void routes_unfollow(struct routes *routes, struct followed_table *followed);
/* The shapes of all tables, as they stand in their indexes; in the arena. */
struct shape_entry **routes_entries(const struct routes *routes, struct arena *arena, size_t *n);
/* The first version of the table, or NULL. */
struct followed_table *routes_table(const struct routes *routes, uint32_t relid);

/* Where this relation's rows go. Until a shape comes or goes, the relation changes, or
 * routes_forget(). */
bool routes_of(struct routes *routes, const struct relation *relation,
               struct relation_routes **found, struct err *err) MUST_CHECK;
/* The relation's ancestors, looked up if they are not known. */
bool routes_ancestors(struct routes *routes, uint32_t relid, struct relation_routes **found,
                      struct err *err) MUST_CHECK;
/* The relation has changed, or the partitions have (relid 0: forget all). */
void routes_forget(struct routes *routes, uint32_t relid);

/* The tuple with its values where the table has its columns; `old` fills in what was not sent. In
 * the arena when it differs. */
const struct tuple *route_tuple(const struct route *route, const struct tuple *tuple,
                                const struct tuple *old, struct arena *arena);

#endif
