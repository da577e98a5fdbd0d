#include "kafka/layout.h"

#include "pg/catalog.h"

#include <stdio.h>

#define UNSEEN_RELATION_MS 5000

/* What lies below a type: domains resolved, an array's element. */
static const char type_sql[] =
    "WITH RECURSIVE base(oid, typmod, depth) AS (SELECT $1::oid, $2::int, 0 UNION ALL"
    "  SELECT t.typbasetype, CASE WHEN t.typtypmod <> -1 THEN t.typtypmod ELSE b.typmod END,"
    "         b.depth + 1"
    "    FROM base b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype = 'd')"
    "SELECT t.oid, b.typmod, t.typname,"
    "       CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END, coalesce(e.typname, '')"
    "  FROM base b JOIN pg_type t ON t.oid = b.oid"
    "  LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'"
    " ORDER BY b.depth DESC LIMIT 1";

/* A column that the catalogue has not, or not like this. A type that is gone is sent as text. */
static bool look_up_type(struct pg_conn *conn, struct table_column *col, struct arena *arena,
                         struct err *err)
{
    char typid[16], typmod[16];
    const char *params[] = {typid, typmod};

    snprintf(typid, sizeof(typid), "%u", col->typid);
    snprintf(typmod, sizeof(typmod), "%d", col->typmod);
    struct pg_result *res = pg_query_prepared(conn, type_sql, params, 2, err);
    if (!res)
        return false;
    if (pg_rows(res) == 1) {
        col->basetypid = pg_oid(res, 0, 0);
        col->basetypmod = (int32_t)pg_int(res, 0, 1);
        col->basetypname = arena_copy(arena, pg_value(res, 0, 2));
        col->elemtypid = pg_oid(res, 0, 3);
        col->elemtypname = arena_copy(arena, pg_value(res, 0, 4));
    }
    pg_result_free(res);
    return true;
}

/* ---- the root -------------------------------------------------------------------------------- */

/* NULL without an error: it is gone from the catalogue. */
static bool find_root(struct pg_conn *conn, const struct relation *relation, uint32_t xid,
                      struct table **root, struct err *err)
{
    struct arena arena = {0};
    uint32_t *ancestors, relid = relation->relid;
    size_t n = 0;

    *root = NULL;
    bool ok = catalog_await_relation(conn, relid, xid, UNSEEN_RELATION_MS, err) &&
              catalog_ancestors(conn, relid, &arena, &ancestors, &n, err);
    if (ok && n)
        relid = ancestors[n - 1];
    if (ok)
        *root = catalog_table_by_oid(conn, relid, err);
    arena_release(&arena);
    return ok && (*root || err->code == ERR_NOT_FOUND);
}

/* ---- columns --------------------------------------------------------------------------------- */

static int relation_index(const struct relation *relation, struct slice name)
{
    for (uint16_t i = 0; i < relation->ncols; i++)
        if (slice_eq(relation->cols[i].name, name))
            return i;
    return -1;
}

struct builder {
    struct pg_conn *conn;
    const struct relation *relation;
    const struct table *root; /* NULL: gone */
    struct layout *layout;
    bool *taken; /* by the relation's columns */
};

static bool add_column(struct builder *b, const struct table_column *known, uint16_t place,
                       struct err *err)
{
    struct table *table = b->layout->table;
    const struct relation_column *sent = &b->relation->cols[place];
    struct table_column *col = &table->cols[table->ncols];
    bool same = known && known->typid == sent->typid && known->typmod == sent->typmod;

    *col = same ? *known
                : (struct table_column){.typid = sent->typid,
                                        .typmod = sent->typmod,
                                        .basetypid = sent->typid,
                                        .basetypmod = sent->typmod};
    col->name = arena_copy(&table->arena, sent->name);
    col->in_identity = sent->in_identity;
    if (same) {
        col->basetypname = arena_copy(&table->arena, known->basetypname);
        col->elemtypname = arena_copy(&table->arena, known->elemtypname);
    }
    b->layout->map[table->ncols++] = place;
    b->taken[place] = true;
    return same || look_up_type(b->conn, col, &table->arena, err);
}

static bool add_columns(struct builder *b, struct err *err)
{
    for (uint16_t i = 0; b->root && i < b->root->ncols; i++) {
        int place = relation_index(b->relation, b->root->cols[i].name);

        if (place >= 0 && !add_column(b, &b->root->cols[i], (uint16_t)place, err))
            return false;
    }
    for (uint16_t i = 0; i < b->relation->ncols; i++)
        if (!b->taken[i] && !add_column(b, NULL, i, err))
            return false;
    return true;
}

/* By the root's key, if its columns are still known by their names; else by the identity. */
static void find_key(struct table *table, const struct relation *relation, const struct table *root)
{
    uint16_t n = 0;

    table->pk = arena_calloc(&table->arena, table->ncols, sizeof(*table->pk));
    for (uint16_t i = 0; root && i < root->npk; i++) {
        int at = table_column_index(table, root->cols[root->pk[i]].name);

        if (at >= 0)
            table->pk[n++] = (uint16_t)at;
    }
    if (root && n == root->npk) {
        table->npk = n;
        return;
    }
    for (uint16_t i = 0; relation->replident == REPLIDENT_DEFAULT && i < table->ncols; i++)
        if (table->cols[i].in_identity)
            table->pk[table->npk++] = i;
}

static bool build(struct builder *b, struct err *err)
{
    const struct relation *relation = b->relation;
    const struct table *root = b->root;
    struct table *table = b->layout->table;

    table->relid = root ? root->relid : relation->relid;
    table->nspname = arena_copy(&table->arena, root ? root->nspname : relation->nspname);
    table->relname = arena_copy(&table->arena, root ? root->relname : relation->relname);
    table->relkind = root ? root->relkind : 'r';
    table->replident = relation->replident;
    table->cols = arena_calloc(&table->arena, relation->ncols, sizeof(*table->cols));
    b->layout->map = arena_calloc(&table->arena, relation->ncols, sizeof(*b->layout->map));
    b->taken = arena_calloc(&table->arena, relation->ncols, sizeof(*b->taken));
    if (!add_columns(b, err))
        return false;
    find_key(table, relation, root);
    b->layout->is_leaf = table->relid != relation->relid;
    b->layout->same_places = true;
    for (uint16_t i = 0; i < table->ncols; i++)
        b->layout->same_places &= b->layout->map[i] == i;
    return true;
}

bool layout_make(struct pg_conn *conn, const struct relation *relation, uint32_t xid,
                 struct layout *layout, struct err *err)
{
    struct table *root;

    if (!find_root(conn, relation, xid, &root, err))
        return false;
    *layout = (struct layout){.table = table_new()};
    struct builder b = {conn, relation, root, layout, NULL};
    bool ok = build(&b, err);
    table_unref(root);
    if (!ok)
        layout_release(layout);
    return ok;
}

void layout_release(struct layout *layout)
{
    table_unref(layout->table);
    *layout = (struct layout){0};
}

const struct tuple *layout_tuple(const struct layout *layout, const struct tuple *tuple,
                                 struct arena *arena)
{
    uint16_t n = layout->table->ncols;

    if (!tuple || layout->same_places)
        return tuple;
    struct tuple *mapped = arena_alloc(arena, sizeof(*mapped));
    *mapped = (struct tuple){n, arena_calloc(arena, n, sizeof(*mapped->values))};
    for (uint16_t i = 0; i < n; i++)
        mapped->values[i] = tuple->values[layout->map[i]];
    return mapped;
}

struct table *layout_sent(struct table *table)
{
    uint16_t n = 0;
    uint16_t *places = arena_calloc(&table->arena, table->ncols, sizeof(*places));

    for (uint16_t i = 0; i < table->ncols; i++) {
        places[i] = n;
        if (!table->cols[i].generated)
            table->cols[n++] = table->cols[i];
    }
    table->ncols = n;
    for (uint16_t i = 0; i < table->npk; i++)
        table->pk[i] = places[table->pk[i]];
    return table;
}
