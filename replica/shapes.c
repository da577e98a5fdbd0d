/*
 * Which shapes the replica has: what is stored is brought in line with what is asked for.
 */
#include "replica/core.h"

#include "base/logging.h"
#include "replica/json.h"
#include "replica/names.h"
#include "replica/trouble.h"

#include <strings.h>
#include <yyjson.h>

struct wanted {
    struct lite_shape shape; /* as it would be stored */
    bool found;              /* there already, the same or changed */
};

static const char *columns_json(const struct replica_shape *shape, struct arena *arena)
{
    struct buf out, name;

    if (!shape->ncolumns)
        return NULL;
    buf_init(&out, BUF_NO_LIMIT);
    buf_init(&name, BUF_NO_LIMIT);
    for (size_t i = 0; i < shape->ncolumns; i++) {
        buf_put_u8(&out, i ? ',' : '[');
        lite_json_string(&out, slice_of(shape->columns[i]));
    }
    buf_put_u8(&out, ']');
    const char *json = arena_strdup(arena, buf_cstr(&out));
    buf_release(&out);
    buf_release(&name);
    return json;
}

static bool check_params(const char *params, struct err *err)
{
    yyjson_doc *doc = params ? yyjson_read(params, strlen(params), 0) : NULL;
    bool ok = !params || yyjson_is_obj(yyjson_doc_get_root(doc));

    yyjson_doc_free(doc);
    return ok || err_set(err, ERR_INPUT, "params are not a JSON object");
}

static bool make_wanted(const struct replica_shape *shapes, size_t n, struct wanted *wanted,
                        struct arena *arena, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        struct lite_shape *s = &wanted[i].shape;

        s->name = shapes[i].name;
        s->schema = shapes[i].schema;
        s->table = shapes[i].table;
        s->local = lite_local_name(s->schema, s->table, arena, err);
        s->where = shapes[i].where;
        s->params = shapes[i].params;
        s->columns = columns_json(&shapes[i], arena);
        if (!s->local || !check_params(s->params, err))
            return false;
        for (size_t j = 0; j < i; j++) {
            if (strcasecmp(wanted[j].shape.local, s->local) == 0)
                return err_set(err, ERR_INPUT,
                               "two shapes would share the table \"%s\": make it one shape, with "
                               "\"or\" between the conditions",
                               s->local);
        }
    }
    return true;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_definition(const struct lite_shape *a, const struct lite_shape *b)
{
    if (a->name || b->name)
        return same_text(a->name, b->name);
    return same_text(a->schema, b->schema) && same_text(a->table, b->table) &&
           same_text(a->where, b->where) && same_text(a->params, b->params) &&
           same_text(a->columns, b->columns);
}

static bool table_exists(struct lite_db *db, const char *name, int64_t *exists, struct err *err)
{
    return lite_db_int(db, 0, exists, err,
                       "SELECT count(*) FROM sqlite_schema WHERE name = %Q COLLATE NOCASE "
                       "AND type IN ('table', 'view')",
                       name);
}

/* A shape that is stored and asked for: it stays, but for what no longer holds. */
static bool keep(struct lite_db *db, struct lite_shape *stored, const struct lite_shape *asked,
                 struct err *err)
{
    bool changed = !same_definition(stored, asked);
    int64_t exists;

    if (!table_exists(db, stored->local, &exists, err))
        return false;
    if (!exists && stored->schema_json) {
        stored->status = LITE_FETCHING;
        stored->schema_json = NULL;
        stored->reason = "its table was dropped";
        stored->handle = NULL;
    } else if (!changed) {
        return true;
    }
    if (changed) {
        stored->name = asked->name;
        stored->schema = asked->schema;
        stored->table = asked->table;
        stored->where = asked->where;
        stored->params = asked->params;
        stored->columns = asked->columns;
        stored->handle = NULL;
        stored->reason = LITE_REDEFINED;
        if (stored->status == LITE_LIVE)
            stored->status = LITE_REFETCHING;
    }
    log_info("fetching a shape again", LOG_STR("table", stored->local),
             LOG_STR("reason", stored->reason));
    return lite_shape_save(db, stored, err);
}

static bool add(struct lite_db *db, struct lite_shape *shape, bool adopt, struct err *err)
{
    int64_t exists, view;

    if (!table_exists(db, shape->local, &exists, err) ||
        !lite_db_int(db, 0, &view, err,
                     "SELECT count(*) FROM sqlite_schema WHERE name = %Q COLLATE NOCASE "
                     "AND (type = 'view' OR sql LIKE 'CREATE VIRTUAL%%')",
                     shape->local))
        return false;
    if (exists && (!adopt || view)) {
        err_set(err, ERR_INPUT, "the file has a %s \"%s\" that is not the replica's",
                view ? "view or virtual table" : "table", shape->local);
        return err_hint(err,
                        view ? "rename it" : "--adopt takes it over: its rows become the shape's");
    }
    shape->status = exists ? LITE_REFETCHING : LITE_FETCHING;
    return lite_shape_save(db, shape, err);
}

static bool reconcile(struct replica *r, struct wanted *wanted, size_t n, bool adopt,
                      struct arena *arena, struct err *err)
{
    struct lite_shape *stored;
    size_t nstored;

    if (!lite_shapes_load(&r->db, arena, &stored, &nstored, err))
        return false;
    for (size_t i = 0; i < nstored; i++) {
        struct wanted *match = NULL;

        for (size_t w = 0; w < n && !match; w++)
            match = strcasecmp(wanted[w].shape.local, stored[i].local) == 0 ? &wanted[w] : NULL;
        if (match)
            match->found = true;
        if (match ? !keep(&r->db, &stored[i], &match->shape, err)
                  : !lite_shape_drop(&r->db, &stored[i], err))
            return false;
    }
    for (size_t w = 0; w < n; w++) {
        if (!wanted[w].found && !add(&r->db, &wanted[w].shape, adopt, err))
            return false;
    }
    return true;
}

bool replica_set_shapes(struct replica *r, const struct replica_shape *shapes, size_t n, bool adopt,
                        struct err *err)
{
    struct arena arena = {0};
    struct wanted *wanted = arena_calloc(&arena, n, sizeof(*wanted));

    lite_trouble_forget(r);
    bool ok = lite_stream_settle(r, err) && make_wanted(shapes, n, wanted, &arena, err) &&
              lite_apply_begin(r, err) && reconcile(r, wanted, n, adopt, &arena, err) &&
              lite_db_commit(&r->db, err);
    lite_db_rollback(&r->db);
    arena_release(&arena);
    return ok;
}
