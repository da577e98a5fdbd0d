/*
 * DELETE /v1/shape: ends a shape, named by its handle, by its definition, or by both. For tests: it
 * is refused unless the settings allow it.
 */
#include "http/shape_private.h"

#include "base/arena.h"

#include <stdlib.h>

#define NO_MATCH                                                                                   \
    "The specified shape definition and handle do not match. Please ensure the shape definition "  \
    "is correct or omit the shape handle from the request to obtain a new one."

static void answer_deleted(struct shape_request_state *get, struct log *log)
{
    struct http_headers h;

    shapelog_end_log(get->loop->store, log, "it was deleted");
    shape_ends(get);
    http_headers_init(&h);
    shape_put_caching(get, NULL, false, &h);
    http_respond(get->conn, 202, &h, SLICE(""));
}

static bool is_anothers(struct shape_request_state *get, struct slice handle)
{
    struct log *log = handle.len ? shapelog_find(get->loop->store, handle) : NULL;

    if (log)
        log_unref(log);
    return log != NULL;
}

/* Ends `log`, a reference that is taken; NULL: there is none of this definition. */
static void delete_log(struct shape_request_state *get, struct log *log, struct slice handle)
{
    if (log ? handle.len && !slice_eq(handle, log_handle(log)) : is_anothers(get, handle))
        shape_answer_error(get, 400, NO_MATCH);
    else if (!log)
        shape_answer_error(get, 404, "No existing shape found");
    else
        answer_deleted(get, log);
    if (log)
        log_unref(log);
}

struct finding {
    struct http_ref ref;
    struct shape_request_state *get;
    struct shape_answer answer;
};

static void on_found(void *arg)
{
    struct finding *f = arg;
    struct shape_request_state *get = http_ref_conn(f->ref) ? f->get : NULL;

    if (get)
        get->asking = NULL;
    if (get && get->phase == SHAPE_RESOLVING) {
        if (f->answer.log || (f->answer.err.code == ERR_NOT_FOUND && !f->answer.field))
            delete_log(get, f->answer.log, get->asked->params.handle);
        else
            shape_answer_unresolved(get, &f->answer);
    } else if (f->answer.log) {
        log_unref(f->answer.log);
    }
    free(f);
}

/* On a worker's thread. */
static void found(void *arg, struct shape_answer *answer)
{
    struct finding *f = arg;

    f->answer = *answer;
    http_loop_post(f->ref.loop, on_found, f);
}

void shape_delete_named(struct shape_request_state *get)
{
    const struct service *service = get->loop->site->service;
    const struct shape_params *params = &get->asked->params;

    if (!params->shape.table.len) {
        delete_log(get, shapelog_find(get->loop->store, params->handle), params->handle);
        return;
    }
    struct finding *f = xcalloc(1, sizeof(*f));

    *f = (struct finding){.ref = http_conn_ref(get->conn), .get = get};
    get->asking = f;
    shape_wait(get, SHAPE_RESOLVING, get->loop->site->resolve_ms);
    service->find_shape(service->owner, &params->shape, found, f);
}
