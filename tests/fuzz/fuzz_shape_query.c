/* Any bytes as the query string of /v1/shape: parameters that keep their rules, or an answer. */
#include "http/shape_params.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct shape_params *p)
{
    const struct shape_request *shape = &p->shape;

    /* What is named has all that defines it. */
    if (p->name.len ? shape->table.len || shape->where.len || shape->columns.ptr || shape->params.n
                    : !shape->table.len)
        abort();
    if ((p->at == SHAPE_OFFSET_AT) != (p->handle.len > 0) || (p->sse && !p->live) ||
        (p->live && p->at != SHAPE_OFFSET_AT) ||
        ((p->subset.limit || p->subset.offset) && !p->subset.order_by.len))
        abort();
    for (size_t i = 0; i < p->shape.params.n; i++) {
        if (!p->shape.params.values[i].ptr)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct http_request request = {.arena = &arena};
    struct shape_params params;
    struct shape_invalid invalid;
    struct err err;

    if (http_query_parse(&request.query, (struct slice){(const char *)data, size}, &arena, &err)) {
        if (shape_params_read(&request, &arena, &params, &invalid))
            check(&params);
        else if (invalid.status != 400 || invalid.body.len < 2 || invalid.body.ptr[0] != '{')
            abort();
        if (!shape_params_read_delete(&request, &arena, &params, &invalid) && !invalid.body.len)
            abort();
    }
    arena_release(&arena);
    return 0;
}
