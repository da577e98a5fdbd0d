/*
 * What the endpoints need of the rest of the bridge, as functions: http/ knows
 * the shape log, but neither Postgres nor the stream. All may be called on any
 * thread and do not block.
 */
#ifndef HTTP_SERVICE_H
#define HTTP_SERVICE_H

#include "http/auth.h"
#include "http/refusals.h"
#include "shapelog/answer.h"
#include "shapes/subset.h"
#include "write/pool.h"

#include <stdatomic.h>

enum service_status {
    SERVICE_STARTING, /* not streaming yet, or not any more */
    SERVICE_WAITING,  /* another bridge holds the slot */
    SERVICE_ACTIVE,
};

/* `lsn`: when the stream has passed it, it has passed all that was committed before the fence was
 * asked for. */
typedef void service_fenced(void *arg, bool ok, lsn_t lsn);

struct service {
    struct shapelog *store;
    void *owner; /* the first argument of the functions */
    enum service_status (*status)(void *owner);
    /* Where the server's WAL ended when the stream was connected: before the log has been published
     * up to there, a client may be ahead of it. 0 while not connected. */
    lsn_t (*catchup)(void *owner);
    /* The history of a stream that other nodes read too, which makes logs of theirs and ours one
     * lineage; false where there is none. */
    bool (*history)(void *owner, char history[32]);
    void (*request_shape)(void *owner, const struct shape_request *request,
                          shape_answered *answered, void *arg);
    /* Whoever asked has gone: the request with this `arg` is answered soon, with ERR_STOPPED when
     * no work on it had begun. It must not have been answered and its `arg` be another's by now. */
    void (*cancel_shape)(void *owner, void *arg);
    /* The shape is made if need be, then Postgres is asked for the subset's rows. `handle`: where
     * it is not empty and not the log's, nothing is asked and the log alone answered. */
    void (*request_subset)(void *owner, const struct shape_request *request,
                           const struct subset_request *subset, struct slice handle,
                           subset_answered *answered, void *arg);
    /* Whoever asked has gone: the request with this `arg` is given up and answered soon with
     * ERR_STOPPED, unless it has been answered. */
    void (*cancel_subset)(void *owner, void *arg);
    /* As request_shape(), but makes none: ERR_NOT_FOUND without a field when there is no such log.
     * cancel_shape() cancels it too. */
    void (*find_shape)(void *owner, const struct shape_request *request, shape_answered *answered,
                       void *arg);
    void (*fence)(void *owner, service_fenced *fenced, void *arg);
    /* The shape that the rules have under that name, for whose request it is; in the arena. False
     * with the text for the client: ERR_NOT_FOUND (there is none) or ERR_INPUT (403: it is not for
     * this token). */
    bool (*named_shape)(void *owner, const struct auth *auth, struct slice name,
                        struct arena *arena, struct shape_request *out, struct err *err);
    /* Applies the body of a /v1/write (write_pool_request()); takes the reference to the token,
     * NULL being the operator's. */
    void (*write)(void *owner, struct slice body, struct token *token, write_answered *answered,
                  void *arg);
    /* Whether the bridge's own tables are there, which acknowledgements come from. */
    bool (*writes_ready)(void *owner);
    /* Which operations of the table this bearer may write, by enum write_op; false: none. */
    bool (*may_write)(void *owner, const struct auth *auth, const struct table *table,
                      bool ops[WRITE_DELETE + 1]);

    const atomic_uint *rules_version; /* changes when other rules come into force */
    atomic_size_t *clients;           /* counts the live streams of /v1/sync */
    struct refusals *refusals;
    size_t max_shapes; /* of one /v1/sync */
    int64_t keepalive_ms;
    const char *secret; /* "" : none is needed */
};

/* Bytes of WAL that requests wait for after a start: until they are published, a client may be
 * ahead of the log. */
static inline uint64_t service_behind(const struct service *service)
{
    lsn_t upto = service->catchup(service->owner);
    lsn_t here = shapelog_published(service->store) + 1;

    return upto > here ? upto - here : 0;
}

#endif
