#include "snapshot/queue.h"

#include <stdlib.h>

#define MAX_WAITING 20000
#define GATHER_LOOKS 1024u
#define MAX_WAITING_SIZE ((size_t)256 << 20)

/* ---- requests -------------------------------------------------------------------------------- */

static struct slice copy_given(struct arena *arena, struct slice s)
{
    return s.ptr ? arena_copy(arena, s) : s;
}

/* About what the copies take: thousands may wait, each in an arena of its own. */
static size_t room_for(const struct shape_request *shape)
{
    const size_t slack = 16; /* the NUL, and the rounding up */
    size_t room =
        shape->table.len + shape->where.len + shape->columns.len + shape->queryable.len + 5 * slack;

    for (size_t i = 0; i < shape->params.n; i++)
        room += sizeof(struct slice) + shape->params.values[i].len + slack;
    return room;
}

struct request *request_new(const struct shape_request *shape, shape_answered *done, void *arg)
{
    struct request *r = xcalloc(1, sizeof(*r));

    r->size = sizeof(*r) + room_for(shape);
    arena_reserve(&r->arena, room_for(shape));
    struct slice *values = arena_calloc(&r->arena, shape->params.n, sizeof(*values));
    for (size_t i = 0; i < shape->params.n; i++)
        values[i] = copy_given(&r->arena, shape->params.values[i]);
    r->shape = *shape;
    r->shape.table = copy_given(&r->arena, shape->table);
    r->shape.where = copy_given(&r->arena, shape->where);
    r->shape.columns = copy_given(&r->arena, shape->columns);
    r->shape.queryable = copy_given(&r->arena, shape->queryable);
    r->shape.params = (struct where_params){values, shape->params.n};
    r->done = done;
    r->arg = arg;
    return r;
}

void request_free(struct request *r)
{
    arena_release(&r->arena);
    free(r);
}

/* ---- which there are ------------------------------------------------------------------------- */

bool queue_add(struct queue *q, struct request *r)
{
    if (q->n >= MAX_WAITING || q->size + r->size > MAX_WAITING_SIZE)
        return false;
    u64map_set(&q->unanswered, (uintptr_t)r->arg, r);
    queue_join(q, &q->fresh, r);
    return true;
}

struct request *queue_find(const struct queue *q, const void *arg)
{
    return u64map_get(&q->unanswered, (uintptr_t)arg);
}

void queue_forget(struct queue *q, const struct request *r)
{
    if (queue_find(q, r->arg) == r)
        u64map_remove(&q->unanswered, (uintptr_t)r->arg);
}

void queue_release(struct queue *q)
{
    u64map_release(&q->unanswered);
}

/* ---- lists ----------------------------------------------------------------------------------- */

void queue_join(struct queue *q, struct requests *list, struct request *r)
{
    r->where = list;
    r->prev = list->last;
    r->next = NULL;
    *(r->prev ? &r->prev->next : &list->first) = r;
    list->last = r;
    list->n++;
    q->n++;
    q->size += r->size;
}

void queue_leave(struct queue *q, struct request *r)
{
    *(r->prev ? &r->prev->next : &r->where->first) = r->next;
    *(r->next ? &r->next->prev : &r->where->last) = r->prev;
    r->where->n--;
    r->where = NULL;
    q->n--;
    q->size -= r->size;
}

struct request *queue_take(struct queue *q, struct requests *list)
{
    struct request *r = list->first;

    if (r)
        queue_leave(q, r);
    return r;
}

void queue_gather(struct queue *q, struct requests *from, struct requests *to, size_t most)
{
    struct request *r = from->first;
    struct slice table = r->shape.table;

    for (size_t looked = 0; r && most > 0 && looked < GATHER_LOOKS; looked++) {
        struct request *next = r->next;

        if (slice_eq(r->shape.table, table)) {
            queue_leave(q, r);
            queue_join(q, to, r);
            most--;
        }
        r = next;
    }
}

struct request *queue_take_all(struct queue *q, struct requests *list)
{
    struct request *all = list->first;

    for (struct request *r = all; r; r = r->next) {
        r->where = NULL;
        q->n--;
        q->size -= r->size;
    }
    *list = (struct requests){0};
    return all;
}

void queue_put_back(struct queue *q, struct requests *list)
{
    struct requests *fresh = &q->fresh;

    if (!list->first)
        return;
    for (struct request *r = list->first; r; r = r->next)
        r->where = fresh;
    list->last->next = fresh->first;
    *(fresh->first ? &fresh->first->prev : &fresh->last) = list->last;
    fresh->first = list->first;
    fresh->n += list->n;
    *list = (struct requests){0};
}
