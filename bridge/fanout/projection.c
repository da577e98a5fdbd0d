#include "fanout/projection.h"

#include <stdlib.h>

void projections_init(struct projections *ps, struct shapelog *store)
{
    *ps = (struct projections){.store = store};
    buf_init(&ps->message, BUF_NO_LIMIT);
}

static void projection_free(struct projections *ps, struct projection *p)
{
    for (int kind = 0; kind < EFFECT_KINDS; kind++)
        free(p->wanted[kind].logs);
    shapelog_lane_free(ps->store, p->lane);
    arena_release(&p->arena);
    free(p);
}

void projections_release(struct projections *ps)
{
    struct strmap_slot *slot;

    for (size_t at = 0; (slot = strmap_next(&ps->by_key, &at));)
        projection_free(ps, slot->value);
    strmap_release(&ps->by_key);
    buf_release(&ps->message);
}

/* Table version, mode, columns. */
static void put_key(const struct table *table, const struct shape *shape, struct buf *out)
{
    uintptr_t address = (uintptr_t)table;

    buf_put(out, &address, sizeof(address));
    buf_put_u8(out, shape->replica == SHAPE_REPLICA_FULL);
    buf_put(out, shape->columns, shape->ncolumns * sizeof(*shape->columns));
}

static struct projection *projection_new(struct projections *ps, const struct shape *shape,
                                         struct slice key)
{
    struct projection *p = xcalloc(1, sizeof(*p));

    p->key = arena_copy(&p->arena, key);
    p->format = message_format_new(shape->table, shape->columns, shape->ncolumns,
                                   shape->replica == SHAPE_REPLICA_FULL, &p->arena);
    p->lane = shapelog_lane_new(ps->store);
    strmap_set(&ps->by_key, p->key, p);
    return p;
}

struct projection *projections_get(struct projections *ps, const struct table *table,
                                   const struct shape *shape)
{
    buf_clear(&ps->message);
    put_key(table, shape, &ps->message);
    struct projection *p = strmap_get(&ps->by_key, buf_slice(&ps->message));

    if (!p)
        p = projection_new(ps, shape, buf_slice(&ps->message));
    p->users++;
    return p;
}

void projections_put(struct projections *ps, struct projection *p)
{
    if (--p->users > 0)
        return;
    strmap_remove(&ps->by_key, p->key);
    projection_free(ps, p);
}

void projection_want(struct projection *p, enum effect_kind kind, struct log *log)
{
    struct log_list *list = &p->wanted[kind];

    if (list->len == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 4;
        list->logs = xrealloc(list->logs, list->cap * sizeof(struct log *));
    }
    list->logs[list->len++] = log;
}

bool projections_retry(const struct projections *ps, struct err *err)
{
    return err->code == ERR_DISK_FULL && ps->no_room && ps->no_room(ps->no_room_owner, err);
}

/* Appends what stands in ps->message. */
static bool append(struct projections *ps, struct projection *p, const struct log_list *list,
                   uint64_t op, struct err *err)
{
    while (!shapelog_append(ps->store, p->lane, buf_slice(&ps->message), op, list->logs, list->len,
                            err)) {
        if (!projections_retry(ps, err))
            return false;
    }
    return true;
}

static bool append_delete(struct projections *ps, struct projection *p, const struct log_list *list,
                          const struct change *change, const struct tuple *moved_to,
                          const struct message_place *place, struct err *err)
{
    buf_clear(&ps->message);
    message_put_delete(p->format, change, moved_to, place, &ps->message);
    return append(ps, p, list, place->op, err);
}

static bool append_insert(struct projections *ps, struct projection *p, const struct log_list *list,
                          const struct change *change, const struct tuple *moved_from,
                          const struct message_place *place, struct err *err)
{
    buf_clear(&ps->message);
    message_put_insert(p->format, change->new, moved_from, place, &ps->message);
    return append(ps, p, list, place->op, err);
}

static bool append_update(struct projections *ps, struct projection *p, const struct log_list *list,
                          const struct change *change, const struct message_place *place,
                          struct err *err)
{
    buf_clear(&ps->message);
    message_put_update(p->format, change, place, &ps->message);
    return append(ps, p, list, place->op, err);
}

static bool append_kind(struct projections *ps, struct projection *p, enum effect_kind kind,
                        const struct change *change, const struct message_place *place,
                        struct err *err)
{
    const struct log_list *list = &p->wanted[kind];
    const bool marked = kind == EFFECT_KEY_CHANGE;
    struct message_place second = *place;

    second.op++;
    switch (kind) {
    case EFFECT_NONE:
        return true;
    case EFFECT_INSERT:
        return append_insert(ps, p, list, change, NULL, place, err);
    case EFFECT_UPDATE:
        return append_update(ps, p, list, change, place, err);
    case EFFECT_DELETE:
        return append_delete(ps, p, list, change, NULL, place, err);
    case EFFECT_KEY_CHANGE:
    case EFFECT_MOVE:
        return append_delete(ps, p, list, change, marked ? change->new : NULL, place, err) &&
               append_insert(ps, p, list, change, marked ? change->old : NULL, &second, err);
    }
    return true;
}

bool projection_append(struct projections *ps, struct projection *p, const struct change *change,
                       const struct message_place *place, uint64_t *messages, uint64_t *rows_out,
                       struct err *err)
{
    bool ok = true;

    for (int kind = 0; kind < EFFECT_KINDS; kind++) {
        struct log_list *list = &p->wanted[kind];

        if (ok && list->len) {
            ok = append_kind(ps, p, (enum effect_kind)kind, change, place, err);
            *messages += kind >= EFFECT_KEY_CHANGE ? 2 : 1;
            *rows_out += list->len;
        }
        list->len = 0;
    }
    return ok;
}
