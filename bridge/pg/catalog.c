#include "pg/catalog.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

/* One row a live column. Domains are resolved to the type below all of them. A deferrable primary
 * key is none: two rows may have it for a while, and Postgres does not take it for an identity
 * either. */
static const char columns_sql[] =
    "WITH RECURSIVE base(typid, typmod, basetypid, basetypmod, depth) AS ("
    "  SELECT a.atttypid, a.atttypmod, a.atttypid, a.atttypmod, 0 FROM pg_attribute a"
    "   WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped"
    "  UNION"
    "  SELECT b.typid, b.typmod, t.typbasetype,"
    "         CASE WHEN t.typtypmod <> -1 THEN t.typtypmod ELSE b.basetypmod END, b.depth + 1"
    "    FROM base b JOIN pg_type t ON t.oid = b.basetypid WHERE t.typtype = 'd'"
    "), resolved AS ("
    "  SELECT DISTINCT ON (typid, typmod) typid, typmod, basetypid, basetypmod FROM base"
    "   ORDER BY typid, typmod, depth DESC"
    "), pk AS ("
    "  SELECT k.attnum, k.ord - 1 AS pk_index FROM pg_index i,"
    "         unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, ord)"
    "   WHERE i.indrelid = $1::oid AND i.indisprimary AND i.indimmediate AND k.ord <= "
    "i.indnkeyatts"
    "), ident AS ("
    "  SELECT unnest(i.indkey::int2[]) AS attnum FROM pg_index i JOIN pg_class c ON c.oid = "
    "i.indrelid"
    "   WHERE i.indrelid = $1::oid AND ((c.relreplident = 'd' AND i.indisprimary AND "
    "i.indimmediate)"
    "         OR (c.relreplident = 'i' AND i.indisreplident))"
    ")"
    "SELECT a.attname, a.attnum, a.atttypid, a.atttypmod, t.typname, t.typtype,"
    "       r.basetypid, r.basetypmod, bt.typname,"
    "       CASE WHEN bt.typcategory = 'A' AND bt.typelem <> 0 THEN bt.typelem ELSE 0 END,"
    "       coalesce(et.typname, ''), a.attndims, coalesce(pk.pk_index, -1), a.attnotnull,"
    "       a.attgenerated <> '' AND (a.attgenerated <> 's' OR "
    "current_setting('server_version_num')::int < 180000), c.relreplident = 'f' OR ident.attnum IS "
    "NOT NULL,"
    /* A provider of Postgres's own ("b", from 17 on) orders by code point whatever its locale's
       name. */
    "       a.attcollation <> 0 AND (loc.provider = 'b' OR loc.provider = 'c' AND loc.collate IN"
    "         ('C', 'POSIX', 'C.UTF-8', 'C.utf8')),"
    "       a.attcollation <> 0 AND loc.provider = 'c' AND loc.ctype IN ('C', 'POSIX'),"
    "       coalesce(coll.collisdeterministic, true), a.xmin, a.attcollation"
    "  FROM pg_attribute a"
    "  JOIN pg_class c ON c.oid = a.attrelid"
    "  JOIN pg_type t ON t.oid = a.atttypid"
    "  JOIN resolved r ON r.typid = a.atttypid AND r.typmod = a.atttypmod"
    "  JOIN pg_type bt ON bt.oid = r.basetypid"
    "  LEFT JOIN pg_type et ON et.oid = bt.typelem AND bt.typcategory = 'A'"
    "  LEFT JOIN pk ON pk.attnum = a.attnum"
    "  LEFT JOIN (SELECT DISTINCT attnum FROM ident) ident ON ident.attnum = a.attnum"
    /* Collation 100 is "default", the database's; its columns differ between versions. */
    "  LEFT JOIN pg_collation coll ON coll.oid = a.attcollation AND coll.oid <> 100"
    "  CROSS JOIN (SELECT datcollate, datctype, coalesce(to_jsonb(db)->>'datlocprovider', 'c') AS "
    "provider"
    "                FROM pg_database db WHERE datname = current_database()) d"
    "  CROSS JOIN LATERAL (SELECT"
    "         CASE WHEN coll.oid IS NULL THEN d.provider ELSE coll.collprovider::text END AS "
    "provider,"
    "         CASE WHEN coll.oid IS NULL THEN d.datcollate ELSE coll.collcollate END AS collate,"
    "         CASE WHEN coll.oid IS NULL THEN d.datctype ELSE coll.collctype END AS ctype) loc"
    " WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped"
    " ORDER BY a.attnum";

enum {
    COL_NAME,
    COL_NUM,
    COL_TYPID,
    COL_TYPMOD,
    COL_TYPNAME,
    COL_CLASS,
    COL_BASETYPID,
    COL_BASETYPMOD,
    COL_BASETYPNAME,
    COL_ELEMTYPID,
    COL_ELEMTYPNAME,
    COL_NDIMS,
    COL_PK_INDEX,
    COL_NOT_NULL,
    COL_GENERATED,
    COL_IDENTITY,
    COL_COLLATION_C,
    COL_CTYPE_C,
    COL_DETERMINISTIC,
    COL_STAMP,
    COL_COLLATION,
};

static void read_column(const struct pg_result *res, int row, struct table *table)
{
    struct table_column *col = &table->cols[row];

    *col = (struct table_column){
        .name = arena_copy(&table->arena, pg_value(res, row, COL_NAME)),
        .attnum = (int16_t)pg_int(res, row, COL_NUM),
        .typid = pg_oid(res, row, COL_TYPID),
        .typmod = (int32_t)pg_int(res, row, COL_TYPMOD),
        .typname = arena_copy(&table->arena, pg_value(res, row, COL_TYPNAME)),
        .class = (enum type_class)pg_value(res, row, COL_CLASS).ptr[0],
        .basetypid = pg_oid(res, row, COL_BASETYPID),
        .basetypmod = (int32_t)pg_int(res, row, COL_BASETYPMOD),
        .basetypname = arena_copy(&table->arena, pg_value(res, row, COL_BASETYPNAME)),
        .elemtypid = pg_oid(res, row, COL_ELEMTYPID),
        .elemtypname = arena_copy(&table->arena, pg_value(res, row, COL_ELEMTYPNAME)),
        .ndims = (int16_t)pg_int(res, row, COL_NDIMS),
        .pk_index = (int16_t)pg_int(res, row, COL_PK_INDEX),
        .not_null = pg_bool(res, row, COL_NOT_NULL),
        .generated = pg_bool(res, row, COL_GENERATED),
        .in_identity = pg_bool(res, row, COL_IDENTITY),
        .collation_is_c = pg_bool(res, row, COL_COLLATION_C),
        .ctype_is_c = pg_bool(res, row, COL_CTYPE_C),
        .collation_deterministic = pg_bool(res, row, COL_DETERMINISTIC),
        .stamp = pg_oid(res, row, COL_STAMP),
        .collation = pg_oid(res, row, COL_COLLATION),
    };
    table->npk = (uint16_t)(table->npk + (col->pk_index >= 0));
}

static bool read_columns(struct pg_conn *conn, struct table *table, struct err *err)
{
    char relid[16];
    const char *params[] = {relid};

    snprintf(relid, sizeof(relid), "%u", table->relid);
    struct pg_result *res = pg_query_prepared(conn, columns_sql, params, 1, err);
    if (!res)
        return false;
    table->ncols = (uint16_t)pg_rows(res);
    table->cols = arena_calloc(&table->arena, table->ncols, sizeof(*table->cols));
    for (int i = 0; i < table->ncols; i++)
        read_column(res, i, table);
    pg_result_free(res);

    table->pk = arena_calloc(&table->arena, table->npk, sizeof(*table->pk));
    for (uint16_t i = 0; i < table->ncols; i++) {
        if (table->cols[i].pk_index >= 0)
            table->pk[table->cols[i].pk_index] = i;
    }
    return true;
}

/* From a row of TABLE_SQL. */
static struct table *read_table(struct pg_conn *conn, const struct pg_result *res, struct err *err)
{
    struct table *table = table_new();

    table->relid = pg_oid(res, 0, 0);
    table->nspname = arena_copy(&table->arena, pg_value(res, 0, 1));
    table->relname = arena_copy(&table->arena, pg_value(res, 0, 2));
    table->relkind = pg_value(res, 0, 3).ptr[0];
    table->replident = (enum replident)pg_value(res, 0, 4).ptr[0];
    table->storage = arena_copy(&table->arena, pg_value(res, 0, 5));
    table->published = arena_copy(&table->arena, pg_value(res, 0, 6));
    if (!read_columns(conn, table, err)) {
        table_unref(table);
        return NULL;
    }
    return table;
}

/* The texts of change/standing.h. A partition that is being detached is none any more. */
#define STORAGE_SQL                                                                                \
    "(SELECT coalesce(string_agg(l.oid || ':' || l.relfilenode || ':' || l.relreplident::text || " \
    "':'"                                                                                          \
    "                            || t.links, ';' ORDER BY l.oid), '')"                             \
    "   FROM (WITH RECURSIVE tree(relid, links) AS (SELECT c.oid, ''::text UNION ALL"              \
    "           SELECT i.inhrelid, i.xmin::text || '/' || tree.links FROM tree"                    \
    "             JOIN pg_class k ON k.oid = tree.relid AND k.relkind = 'p'"                       \
    "             JOIN pg_inherits i ON i.inhparent = tree.relid WHERE NOT i.inhdetachpending)"    \
    "         SELECT * FROM tree) t JOIN pg_class l ON l.oid = t.relid AND l.relkind = 'r')"
#define IS_FILTERED_SQL "r.prqual IS NOT NULL OR r.prattrs IS NOT NULL"
#define BY_SCHEMA_SQL                                                                              \
    " UNION ALL SELECT 'n' || n.oid || ':' || coalesce(d.xmin::text, '') || '/' || up.links"       \
    "   FROM up JOIN pg_class k ON k.oid = up.relid"                                               \
    "   JOIN pg_publication_namespace n ON n.pnnspid = k.relnamespace AND n.pnpubid = p.oid"       \
    "   LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = k.oid"             \
    "    AND d.objsubid = 0 AND d.refclassid = 'pg_namespace'::regclass"                           \
    "    AND d.refobjid = k.relnamespace"
#define PUBLISHED_SQL(is_filtered, by_schema)                                                      \
    "(SELECT concat_ws(';', p.oid || ':' || p.xmin, CASE WHEN p.puballtables THEN 'all' END,"      \
    "   (SELECT string_agg(e.entry, ';' ORDER BY e.entry) FROM ("                                  \
    "      WITH RECURSIVE up(relid, links) AS (SELECT c.oid, ''::text UNION ALL"                   \
    "        SELECT i.inhparent, up.links || i.xmin || '/' FROM up"                                \
    "          JOIN pg_inherits i ON i.inhrelid = up.relid"                                        \
    "          JOIN pg_class k ON k.oid = i.inhparent AND k.relkind = 'p')"                        \
    "      SELECT CASE WHEN " is_filtered " THEN 'f' ELSE 'r' END || r.oid || '/' || up.links"     \
    "        FROM up JOIN pg_publication_rel r ON r.prrelid = up.relid AND r.prpubid = p.oid"      \
    "      " by_schema ") e(entry)))"                                                              \
    "  FROM pg_publication p WHERE p.pubname = $1::name)"
#define TABLE_SQL(is_filtered, by_schema)                                                          \
    "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relreplident, " STORAGE_SQL                  \
    ", coalesce(" PUBLISHED_SQL(                                                                   \
        is_filtered, by_schema) ", '')"                                                            \
                                "  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"  \
                                " WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND "   \
                                "EXISTS (SELECT FROM"                                              \
                                "   pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND " \
                                "NOT a.attisdropped)"
#define BY_NAME_SQL " AND n.nspname = $2 AND c.relname = $3"
#define BY_OID_SQL " AND c.oid = $2::oid"

/* Schemas, row filters and column lists came with Postgres 15. NULL when there is no such table,
 * or with the error set. */
static struct table *find_table(struct pg_conn *conn, const char *const *params, int nparams,
                                bool *found, struct err *err)
{
    static const char *const by_name[] = {TABLE_SQL("false", "") BY_NAME_SQL,
                                          TABLE_SQL(IS_FILTERED_SQL, BY_SCHEMA_SQL) BY_NAME_SQL};
    static const char *const by_oid[] = {TABLE_SQL("false", "") BY_OID_SQL,
                                         TABLE_SQL(IS_FILTERED_SQL, BY_SCHEMA_SQL) BY_OID_SQL};
    bool modern = pg_server_version(conn) >= 150000;
    const char *sql = nparams == 3 ? by_name[modern] : by_oid[modern];
    struct pg_result *res = pg_query_prepared(conn, sql, params, nparams, err);

    *found = !res || pg_rows(res) == 1;
    struct table *table = res && *found ? read_table(conn, res, err) : NULL;
    if (res)
        pg_result_free(res);
    return table;
}

struct table *catalog_followed(struct pg_conn *conn, const char *publication, struct slice nspname,
                               struct slice relname, struct err *err)
{
    struct arena arena = {0};
    const char *params[] = {publication, arena_copy(&arena, nspname).ptr,
                            arena_copy(&arena, relname).ptr};
    bool found;
    struct table *table = find_table(conn, params, 3, &found, err);

    if (!found)
        err_set(err, ERR_NOT_FOUND,
                "Table \"%.*s\".\"%.*s\" does not exist. If the table name contains capitals or "
                "special characters you must quote it.",
                SLICE_ARG(nspname), SLICE_ARG(relname));
    arena_release(&arena);
    return table;
}

struct table *catalog_followed_by_oid(struct pg_conn *conn, const char *publication, uint32_t relid,
                                      struct err *err)
{
    char text[16];
    const char *params[] = {publication, text};
    bool found;

    snprintf(text, sizeof(text), "%u", relid);
    struct table *table = find_table(conn, params, 2, &found, err);
    if (!found)
        err_set(err, ERR_NOT_FOUND, "table with oid %u does not exist", relid);
    return table;
}

struct table *catalog_table(struct pg_conn *conn, struct slice nspname, struct slice relname,
                            struct err *err)
{
    return catalog_followed(conn, NULL, nspname, relname, err);
}

struct table *catalog_table_by_oid(struct pg_conn *conn, uint32_t relid, struct err *err)
{
    return catalog_followed_by_oid(conn, NULL, relid, err);
}

static bool read_oids(struct pg_conn *conn, const char *sql, uint32_t relid, struct arena *arena,
                      uint32_t **oids, size_t *n, struct err *err)
{
    char text[16];
    const char *params[] = {text};

    snprintf(text, sizeof(text), "%u", relid);
    struct pg_result *res = pg_query_params(conn, sql, params, 1, err);
    if (!res)
        return false;
    *n = (size_t)pg_rows(res);
    *oids = arena_calloc(arena, *n, sizeof(**oids));
    for (size_t i = 0; i < *n; i++)
        (*oids)[i] = pg_oid(res, (int)i, 0);
    pg_result_free(res);
    return true;
}

bool catalog_leaves(struct pg_conn *conn, uint32_t relid, struct arena *arena, uint32_t **leaves,
                    size_t *n, struct err *err)
{
    return read_oids(conn,
                     "SELECT c.oid FROM pg_class c"
                     " WHERE c.relkind = 'r' AND c.oid IN " CATALOG_PARTITION_TREE("$1::oid"),
                     relid, arena, leaves, n, err);
}

bool catalog_ancestors(struct pg_conn *conn, uint32_t relid, struct arena *arena,
                       uint32_t **ancestors, size_t *n, struct err *err)
{
    return read_oids(
        conn,
        "SELECT a.relid::oid FROM pg_partition_ancestors($1::oid::regclass)"
        "  WITH ORDINALITY AS a(relid, ord) WHERE a.relid::oid <> $1::oid ORDER BY ord",
        relid, arena, ancestors, n, err);
}

bool catalog_snapshot(struct pg_conn *conn, struct arena *arena, struct snapshot *snapshot,
                      struct err *err)
{
    struct pg_result *res = pg_query(conn, "SELECT pg_current_snapshot()::text", err);

    if (!res)
        return false;
    bool ok = snapshot_parse(pg_value(res, 0, 0), arena, snapshot, err);
    pg_result_free(res);
    return ok;
}

static bool is_there(struct pg_conn *conn, uint32_t relid, bool *there, struct err *err)
{
    char text[16];
    const char *params[] = {text};

    snprintf(text, sizeof(text), "%u", relid);
    struct pg_result *res = pg_query_params(
        conn, "SELECT EXISTS (SELECT FROM pg_class WHERE oid = $1::oid)", params, 1, err);
    if (!res)
        return false;
    *there = pg_bool(res, 0, 0);
    pg_result_free(res);
    return true;
}

static bool is_seen(struct pg_conn *conn, uint32_t xid, bool *seen, struct err *err)
{
    struct arena arena = {0};
    struct snapshot snapshot;
    bool ok = catalog_snapshot(conn, &arena, &snapshot, err);

    if (ok)
        *seen = snapshot_sees(&snapshot, xid);
    arena_release(&arena);
    return ok;
}

bool catalog_await_relation(struct pg_conn *conn, uint32_t relid, uint32_t xid, int timeout_ms,
                            struct err *err)
{
    int64_t deadline = clock_ms() + timeout_ms;
    bool there, seen;

    for (long ms = 1;; ms = ms < 100 ? ms * 2 : ms) {
        if (!is_there(conn, relid, &there, err))
            return false;
        if (there)
            return true;
        if (!is_seen(conn, xid, &seen, err))
            return false;
        if (seen)
            return true;
        if (clock_ms() > deadline)
            return err_set(err, ERR_BUSY,
                           "relation %u, made by a transaction that is committed, stays invisible; "
                           "is a synchronous standby away?",
                           relid);
        clock_sleep_ms(ms);
    }
}
