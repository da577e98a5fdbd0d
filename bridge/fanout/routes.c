#include "fanout/routes.h"

#include <stdlib.h>

static void relation_free(struct relation_routes *r)
{
    arena_release(&r->arena);
    arena_release(&r->route_arena);
    free(r);
}

static void followed_free(struct followed_table *t)
{
    table_unref(t->table);
    table_unref(t->latest);
    shape_index_free(t->index);
    free(t->relied);
    free(t);
}

void routes_release(struct routes *routes)
{
    struct u64map_slot *slot;

    for (size_t at = 0; (slot = u64map_next(&routes->relations, &at));)
        relation_free(slot->value);
    u64map_release(&routes->relations);
    for (size_t at = 0; (slot = u64map_next(&routes->tables, &at));) {
        for (struct followed_table *t = slot->value, *next; t; t = next) {
            next = t->next;
            followed_free(t);
        }
    }
    u64map_release(&routes->tables);
}

/* Routes point to tables: whenever those come or go, all are built anew when next asked for. */
static void unbuild_all(struct routes *routes)
{
    struct u64map_slot *slot;

    for (size_t at = 0; (slot = u64map_next(&routes->relations, &at));)
        ((struct relation_routes *)slot->value)->built = false;
}

struct followed_table *routes_table(const struct routes *routes, uint32_t relid)
{
    return u64map_get(&routes->tables, relid);
}

static struct followed_table *followed_new(struct routes *routes, struct table *table)
{
    struct followed_table *t = xcalloc(1, sizeof(*t));

    t->table = table_ref(table);
    t->latest = table_ref(table);
    t->index = shape_index_new();
    t->relied = xcalloc(table->ncols, sizeof(*t->relied));
    t->next = u64map_set(&routes->tables, table->relid, t);
    unbuild_all(routes);
    return t;
}

/* What is known of partitions may be older than what the shape was made for. */
static void keep_latest(struct routes *routes, struct followed_table *t, struct table *table)
{
    if (table->relkind == 'p' && (!t->users || !slice_eq(t->latest->storage, table->storage)))
        routes_forget(routes, 0);
    table_ref(table);
    table_unref(t->latest);
    t->latest = table;
}

struct followed_table *routes_follow(struct routes *routes, const struct shape *shape)
{
    struct table *table = shape->table;
    struct followed_table *t = routes_table(routes, table->relid);

    while (t && !table_same(t->table, table))
        t = t->next;
    if (!t)
        t = followed_new(routes, table);
    keep_latest(routes, t, table);
    for (uint16_t i = 0; i < table->ncols; i++) {
        if (!t->relied[i] && table->cols[i].in_identity && shape_needs_old(shape, i)) {
            t->relied[i] = true;
            unbuild_all(routes);
        }
    }
    t->users++;
    t->generation++;
    return t;
}

struct shape_entry **routes_entries(const struct routes *routes, struct arena *arena, size_t *n)
{
    struct shape_entry **all;
    struct u64map_slot *slot;
    size_t users = 0;

    for (size_t at = 0; (slot = u64map_next(&routes->tables, &at));) {
        for (const struct followed_table *t = slot->value; t; t = t->next)
            users += t->users;
    }
    all = arena_calloc(arena, users, sizeof(struct shape_entry *));
    *n = 0;
    for (size_t at = 0; (slot = u64map_next(&routes->tables, &at));) {
        for (const struct followed_table *t = slot->value; t; t = t->next) {
            size_t of_table;
            struct shape_entry **entries =
                shape_index_table(t->index, t->table->relid, arena, &of_table);

            memcpy(all + *n, entries, of_table * sizeof(struct shape_entry *));
            *n += of_table;
        }
    }
    return all;
}

static void remove_version(struct routes *routes, const struct followed_table *t)
{
    uint32_t relid = t->table->relid;
    struct followed_table *first = routes_table(routes, relid), **link = &first;

    while (*link != t)
        link = &(*link)->next;
    *link = t->next;
    if (first)
        u64map_set(&routes->tables, relid, first);
    else
        u64map_remove(&routes->tables, relid);
}

void routes_unfollow(struct routes *routes, struct followed_table *t)
{
    if (--t->users > 0)
        return;
    remove_version(routes, t);
    unbuild_all(routes);
    followed_free(t);
}

void routes_forget(struct routes *routes, uint32_t relid)
{
    struct relation_routes *r = relid ? u64map_get(&routes->relations, relid) : NULL;
    struct u64map_slot *slot;

    if (r)
        r->built = false;
    if (relid)
        return;
    for (size_t at = 0; (slot = u64map_next(&routes->relations, &at));)
        relation_free(slot->value);
    u64map_release(&routes->relations);
}

bool routes_ancestors(struct routes *routes, uint32_t relid, struct relation_routes **found,
                      struct err *err)
{
    struct relation_routes *r = u64map_get(&routes->relations, relid);

    if (!r) {
        r = xcalloc(1, sizeof(*r));
        r->relid = relid;
        u64map_set(&routes->relations, relid, r);
    }
    *found = r;
    if (r->known)
        return true;
    struct arena scratch = {0};
    uint32_t *ancestors;
    bool ok = routes->resolver(routes->owner, relid, &scratch, &ancestors, &r->nancestors, err);
    if (ok) {
        r->ancestors = arena_calloc(&r->arena, r->nancestors, sizeof(*r->ancestors));
        if (r->nancestors)
            memcpy(r->ancestors, ancestors, r->nancestors * sizeof(*ancestors));
        r->known = true;
    }
    arena_release(&scratch);
    return ok || err_wrap(err, "could not look up the partitions' roots");
}

static void build_route(struct route *route, struct followed_table *to,
                        const struct relation *relation, struct arena *arena)
{
    uint16_t ncols = to->table->ncols;

    *route = (struct route){.to = to};
    route->map = arena_calloc(arena, ncols, sizeof(*route->map));
    route->lost = arena_calloc(arena, ncols, sizeof(*route->lost));
    route->found = table_map(to->table, relation, route->map, route->lost);
    route->same_places = relation->ncols == ncols;
    route->identity_holds = true;
    for (int i = 0; i < ncols; i++) {
        int16_t at = route->map[i];

        route->same_places &= at == i;
        route->identity_holds &= !to->relied[i] || at < 0 || relation->cols[at].in_identity;
    }
}

static size_t count_versions(const struct routes *routes, uint32_t relid)
{
    size_t n = 0;

    for (const struct followed_table *t = routes_table(routes, relid); t; t = t->next)
        n++;
    return n;
}

static void add_routes(struct routes *routes, struct relation_routes *r, uint32_t relid,
                       const struct relation *relation)
{
    for (struct followed_table *t = routes_table(routes, relid); t; t = t->next)
        build_route(&r->routes[r->n++], t, relation, &r->route_arena);
}

bool routes_of(struct routes *routes, const struct relation *relation,
               struct relation_routes **found, struct err *err)
{
    if (!routes_ancestors(routes, relation->relid, found, err))
        return false;
    struct relation_routes *r = *found;
    if (r->built)
        return true;

    size_t n = count_versions(routes, relation->relid);
    for (size_t i = 0; i < r->nancestors; i++)
        n += count_versions(routes, r->ancestors[i]);
    arena_reset(&r->route_arena);
    r->routes = arena_calloc(&r->route_arena, n, sizeof(*r->routes));
    r->n = 0;
    add_routes(routes, r, relation->relid, relation);
    for (size_t i = 0; i < r->nancestors; i++)
        add_routes(routes, r, r->ancestors[i], relation);
    r->built = true;
    return true;
}

static bool has_unchanged(const struct tuple *tuple)
{
    for (uint16_t i = 0; i < tuple->nvalues; i++) {
        if (tuple->values[i].kind == VALUE_UNCHANGED)
            return true;
    }
    return false;
}

const struct tuple *route_tuple(const struct route *route, const struct tuple *tuple,
                                const struct tuple *old, struct arena *arena)
{
    if (!tuple || (route->same_places && !(old && has_unchanged(tuple))))
        return tuple;
    struct tuple *out = arena_alloc(arena, sizeof(*out));
    uint16_t n = route->to->table->ncols;

    *out = (struct tuple){n, arena_alloc(arena, n * sizeof(*out->values))};
    for (uint16_t i = 0; i < n; i++) {
        int16_t at = route->map[i];

        if (at < 0)
            out->values[i] = (struct value){.kind = VALUE_NULL};
        else if (tuple->values[at].kind == VALUE_UNCHANGED && old)
            out->values[i] = old->values[at];
        else
            out->values[i] = tuple->values[at];
    }
    return out;
}
