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
        followed_free(slot->value);
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

struct followed_table *routes_follow(struct routes *routes, struct table *table)
{
    struct followed_table *t = routes_table(routes, table->relid);

    if (t && !table_same(t->table, table))
        return NULL;
    if (!t) {
        t = xcalloc(1, sizeof(*t));
        t->table = table_ref(table);
        t->relied = xcalloc(table->ncols, sizeof(*t->relied));
        u64map_set(&routes->tables, table->relid, t);
        unbuild_all(routes);
    }
    for (uint16_t i = 0; i < table->ncols; i++) {
        if (table->cols[i].in_identity && !t->relied[i]) {
            t->relied[i] = true;
            unbuild_all(routes);
        }
    }
    t->users++;
    return t;
}

void routes_unfollow(struct routes *routes, struct followed_table *t)
{
    if (--t->users > 0)
        return;
    u64map_remove(&routes->tables, t->table->relid);
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
        memcpy(r->ancestors, ancestors, r->nancestors * sizeof(*ancestors));
        r->known = true;
    }
    arena_release(&scratch);
    return ok || err_wrap(err, "could not look up the partitions' roots");
}

static void add_route(struct relation_routes *r, struct followed_table *to,
                      const struct relation *relation)
{
    struct route *route = &r->routes[r->n++];

    *route = (struct route){.to = to};
    route->map = arena_calloc(&r->route_arena, to->table->ncols, sizeof(*route->map));
    route->matches = table_matches(to->table, relation, route->map);
    route->same_places = route->matches && relation->ncols == to->table->ncols;
    for (int i = 0; i < to->table->ncols && route->same_places; i++)
        route->same_places = route->map[i] == i;
    route->identity_holds = route->matches;
    for (int i = 0; i < to->table->ncols && route->identity_holds; i++)
        route->identity_holds =
            !to->relied[i] || route->map[i] < 0 || relation->cols[route->map[i]].in_identity;
}

bool routes_of(struct routes *routes, const struct relation *relation,
               struct relation_routes **found, struct err *err)
{
    if (!routes_ancestors(routes, relation->relid, found, err))
        return false;
    struct relation_routes *r = *found;
    if (r->built)
        return true;

    struct followed_table *own = routes_table(routes, relation->relid);
    arena_reset(&r->route_arena);
    r->routes = arena_calloc(&r->route_arena, r->nancestors + 1, sizeof(*r->routes));
    r->n = 0;
    if (own)
        add_route(r, own, relation);
    for (size_t i = 0; i < r->nancestors; i++) {
        struct followed_table *root = routes_table(routes, r->ancestors[i]);

        if (root)
            add_route(r, root, relation);
    }
    r->built = true;
    return true;
}

const struct route *route_to(const struct relation_routes *routes, uint32_t relid)
{
    for (size_t i = 0; i < routes->n; i++) {
        if (routes->routes[i].to->table->relid == relid)
            return &routes->routes[i];
    }
    return NULL;
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
