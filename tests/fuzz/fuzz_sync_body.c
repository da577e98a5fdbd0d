/* Any bytes as the body of POST /v1/sync: a request, or an error with a place. */
#include "http/sync_request.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Each is named, or has a table of its own. */
static void check(const struct sync_request *request)
{
    if (request->nshapes == 0 || request->nshapes > 20)
        abort();
    for (size_t i = 0; i < request->nshapes; i++) {
        const struct sync_shape_request *shape = &request->shapes[i];

        if (!shape->name.len == !shape->shape.table.len)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct sync_request request;
    struct sync_invalid invalid = {0};
    struct buf out;

    if (!sync_request_parse((struct slice){(const char *)data, size}, 20, 64, &arena, &request,
                            &invalid)) {
        if (!invalid.field[0] || invalid.err.code == ERR_NONE)
            abort();
        buf_init(&out, BUF_NO_LIMIT);
        sync_invalid_put(&invalid, &out);
        buf_release(&out);
    } else {
        check(&request);
    }
    arena_release(&arena);
    return 0;
}
