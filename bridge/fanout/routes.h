/*
 * Which tables' shapes a relation's rows are for: its own, and those of the
 * partitioned tables above it. And how its columns lie in theirs.
 *
 * A table is there while it has shapes. Its columns are one version of the
 * catalogue's; when the stream's relation has others, the route says so and the table's
 * shapes end.
 */
#ifndef FANOUT_ROUTES_H
#define FANOUT_ROUTES_H

#include "base/hash.h"
#include "change/table.h"
#include "fanout/fanout.h"

struct followed_table {
    struct table *table;
    size_t users;
    bool *relied; /* which columns any of its shapes took to be part of the replica identity */
};

/* From one relation to one table. */
struct route {
    struct followed_table *to;
    bool matches;
    bool same_places;    /* the columns lie in the same places: tuples pass as they are */
    bool identity_holds; /* the relation's replica identity has all columns that were relied on */
    int16_t *map;        /* places in the relation's tuple by the table's columns, -1: not sent */
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
    struct u64map tables;    /* relid -> struct followed_table */
    struct u64map relations; /* relid -> struct relation_routes */
    fanout_resolver *resolver;
    void *owner;
};

void routes_release(struct routes *routes);

/* The table with one more user; NULL when it is there in another version. */
struct followed_table *routes_follow(struct routes *routes, struct table *table);
void routes_unfollow(struct routes *routes, struct followed_table *followed);
struct followed_table *routes_table(const struct routes *routes, uint32_t relid);

/* Where this relation's rows go. */
bool routes_of(struct routes *routes, const struct relation *relation,
               struct relation_routes **found, struct err *err) MUST_CHECK;
/* The one to this table, or NULL. */
const struct route *route_to(const struct relation_routes *routes, uint32_t relid);
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
