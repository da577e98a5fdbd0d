/*
 * Which wording of a request was resolved to which log, so that a request that comes again is
 * answered without asking Postgres what it means. A table of one place a hash, the latest wins;
 * a log is kept by its handle, so that nothing holds it when it has ended.
 */
#include "http/shape_private.h"

#include "base/arena.h"

#include <stdlib.h>

#define TEXT_MAX ((size_t)4096) /* longer requests are always looked up */

/* The length before each part, so that no two requests have one text. */
static void put_part(struct buf *out, struct slice part)
{
    buf_put_u8(out, part.ptr != NULL);
    buf_put_u32(out, (uint32_t)part.len);
    buf_put_slice(out, part);
}

void shape_known_text(const struct shape_request *request, struct buf *out)
{
    buf_init(out, TEXT_MAX);
    put_part(out, request->table);
    put_part(out, request->where);
    put_part(out, request->columns);
    put_part(out, request->queryable);
    buf_put_u8(out, (uint8_t)request->replica);
    buf_put_u8(out, request->changes_only);
    buf_put_u8(out, request->keyed_by_identity);
    for (size_t i = 0; i < request->params.n; i++)
        put_part(out, request->params.values[i]);
    if (out->failed)
        buf_release(out);
}

static struct shape_known *place_of(struct shape_loop *loop, struct slice text)
{
    return &loop->known[hash_bytes(text) % SHAPE_KNOWN];
}

struct log *shape_known_find(struct shape_loop *loop, struct slice text)
{
    const struct shape_known *k = place_of(loop, text);

    if (!text.len || !k->handle || !slice_eq(buf_slice(&k->text), text))
        return NULL;
    return shapelog_find(loop->store, slice_of(k->handle));
}

void shape_known_note(struct shape_loop *loop, struct slice text, const struct log *log)
{
    struct slice handle = log_handle(log);
    struct shape_known *k = place_of(loop, text);

    if (!text.len)
        return;
    buf_release(&k->text);
    free(k->handle);
    buf_init(&k->text, TEXT_MAX);
    buf_put_slice(&k->text, text);
    k->handle = memcpy(xcalloc(handle.len + 1, 1), handle.ptr, handle.len);
}

void shape_known_release(struct shape_loop *loop)
{
    for (size_t i = 0; i < SHAPE_KNOWN; i++) {
        buf_release(&loop->known[i].text);
        free(loop->known[i].handle);
    }
}
