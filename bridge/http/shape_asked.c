/*
 * The parameters of a request, from their reading until its log is there.
 *
 * A loop keeps some of those that it read lately: when many follow one shape they all ask in the
 * same words, and what a text means does not change. But for what is somebody's own: a token's
 * request, a shape of the rules, which may become another, a subset, a request with a body.
 */
#include "http/shape_private.h"

#include "base/arena.h"

#include <stdlib.h>

#define SPARE_MOST ((size_t)64 * 1024)
#define TEXT_MOST ((size_t)1024)

static void asked_free(struct shape_asked *asked)
{
    if (asked)
        arena_release(&asked->arena);
    free(asked);
}

/* One is spared: most requests are answered at once, before the next is read. */
static void unref(struct shape_loop *loop, struct shape_asked *asked)
{
    if (!asked || --asked->refs > 0)
        return;
    if (loop->spare || asked->text.len || asked->arena.size > SPARE_MOST) {
        asked_free(asked);
        return;
    }
    arena_reset(&asked->arena);
    loop->spare = asked;
}

struct shape_asked *shape_asked_take(struct shape_loop *loop)
{
    struct shape_asked *asked = loop->spare ? loop->spare : xcalloc(1, sizeof(*asked));

    loop->spare = NULL;
    asked->refs = 1;
    asked->worded = false;
    return asked;
}

void shape_asked_drop(struct shape_request_state *get)
{
    unref(get->loop, get->asked);
    get->asked = NULL;
}

void shape_asked_release(struct shape_loop *loop)
{
    for (size_t i = 0; i < SHAPE_ASKED; i++)
        asked_free(loop->asked[i]);
    asked_free(loop->spare);
}

/* ---- what borrows from the request ----------------------------------------------------------- */

static struct slice keep(struct arena *arena, struct slice s)
{
    return s.ptr ? arena_copy(arena, s) : s;
}

static void copy_params(struct arena *arena, const struct shape_params *from,
                        struct shape_params *to)
{
    const struct where_params given = from->shape.params;
    struct slice *values = arena_calloc(arena, given.n, sizeof(*values));

    *to = *from;
    for (size_t i = 0; i < given.n; i++)
        values[i] = keep(arena, given.values[i]);
    to->shape.params.values = values;
    to->shape.table = keep(arena, from->shape.table);
    to->shape.where = keep(arena, from->shape.where);
    to->shape.columns = keep(arena, from->shape.columns);
    to->shape.queryable = keep(arena, from->shape.queryable);
    to->handle = keep(arena, from->handle);
    if (from->is_subset)
        subset_request_copy(&from->subset, arena, &to->subset);
}

/* ---- what was asked lately ------------------------------------------------------------------- */

static bool may_be_kept(const struct http_request *request)
{
    return request->auth.kind != AUTH_TOKEN && request->body.len == 0 &&
           request->query_text.len > 0 && request->query_text.len <= TEXT_MOST;
}

static struct shape_asked **place_of(struct shape_loop *loop, struct slice text)
{
    return &loop->asked[hash_bytes(text) % SHAPE_ASKED];
}

struct shape_asked *shape_asked_find(struct shape_loop *loop, const struct http_request *request)
{
    if (!may_be_kept(request))
        return NULL;
    struct shape_asked *asked = *place_of(loop, request->query_text);

    if (!asked || !slice_eq(asked->text, request->query_text))
        return NULL;
    asked->refs++;
    return asked;
}

/* Into an arena of its size: the one that it was read into is large, and goes on to the next. */
static struct shape_asked *copy_asked(const struct shape_asked *asked, struct slice text)
{
    const size_t room = 8 * text.len + 256; /* of each of the strings rounded up, and once more */
    struct shape_asked *copy = xcalloc(1, sizeof(*copy));

    arena_reserve(&copy->arena, room);
    copy_params(&copy->arena, &asked->params, &copy->params);
    copy->text = arena_copy(&copy->arena, text);
    copy->refs = 1;
    return copy;
}

void shape_asked_keep(struct shape_request_state *get, const struct http_request *request)
{
    const struct shape_params params = get->asked->params;

    if (get->deletes || get->named || params.is_subset || !may_be_kept(request)) {
        copy_params(&get->asked->arena, &params, &get->asked->params);
        return;
    }
    struct shape_asked **place = place_of(get->loop, request->query_text);
    struct shape_asked *kept = copy_asked(get->asked, request->query_text);

    unref(get->loop, *place);
    *place = kept;
    shape_asked_drop(get);
    get->asked = kept;
    kept->refs++;
}

struct hash128 shape_asked_wording(struct shape_request_state *get)
{
    struct shape_asked *asked = get->asked;

    if (!asked->worded)
        asked->wording = shape_known_wording(get->loop->site->known, &asked->params.shape);
    asked->worded = true;
    return asked->wording;
}
