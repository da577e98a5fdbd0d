/*
 * What Postgres's catalogue says of tables.
 */
#ifndef PG_CATALOG_H
#define PG_CATALOG_H

#include "change/table.h"
#include "pg/pg.h"

/* The table and all partitions below it, as a subquery. pg_partition_tree() would lock each of
 * them: somebody's ALTER TABLE would hold us up, and we those who wait behind it. */
#define CATALOG_PARTITION_TREE(root)                                                               \
    "(WITH RECURSIVE tree(relid) AS (SELECT " root "::oid UNION SELECT i.inhrelid"                 \
    "   FROM tree JOIN pg_class p ON p.oid = tree.relid AND p.relkind = 'p'"                       \
    "   JOIN pg_inherits i ON i.inhparent = p.oid) SELECT relid FROM tree)"

/* The table, with one reference for the caller; NULL with ERR_NOT_FOUND when there is no such
 * ordinary or partitioned table. The error's text is the shape API's. */
struct table *catalog_table(struct pg_conn *conn, struct slice nspname, struct slice relname,
                            struct err *err) MUST_CHECK;
struct table *catalog_table_by_oid(struct pg_conn *conn, uint32_t relid,
                                   struct err *err) MUST_CHECK;
/* The same, with how it stands in this publication (table->published). */
struct table *catalog_followed(struct pg_conn *conn, const char *publication, struct slice nspname,
                               struct slice relname, struct err *err) MUST_CHECK;
struct table *catalog_followed_by_oid(struct pg_conn *conn, const char *publication, uint32_t relid,
                                      struct err *err) MUST_CHECK;

/* All partitions below a partitioned table that hold rows (its leaves), or the table itself. In the
 * arena. */
bool catalog_leaves(struct pg_conn *conn, uint32_t relid, struct arena *arena, uint32_t **leaves,
                    size_t *n, struct err *err) MUST_CHECK;
/* The partitioned tables above a partition, nearest first; none for a table that is no partition.
 * In the arena. */
bool catalog_ancestors(struct pg_conn *conn, uint32_t relid, struct arena *arena,
                       uint32_t **ancestors, size_t *n, struct err *err) MUST_CHECK;

/* The stream is ahead of what new snapshots see: waits until a relation that transaction `xid` may
 * have made can be looked up, or the transaction is seen without it (it is dropped since). ERR_BUSY
 * when neither comes within `timeout_ms`. */
bool catalog_await_relation(struct pg_conn *conn, uint32_t relid, uint32_t xid, int timeout_ms,
                            struct err *err) MUST_CHECK;

/* pg_current_snapshot(). */
bool catalog_snapshot(struct pg_conn *conn, struct arena *arena, struct snapshot *snapshot,
                      struct err *err) MUST_CHECK;

#endif
