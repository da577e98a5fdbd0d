/*
 * Workers that apply the bodies of POST /v1/write, each with a connection of its own that it blocks
 * on. A body is parsed by its worker, so that no HTTP loop stands still for it. Requests of one
 * replica run one at a time: a second would only wait for the first one's lock, on a connection
 * that somebody else could use. For the same reason the bearers of one subject's tokens get half of
 * the workers and a quarter of the queue, whatever replicas they make up.
 *
 * What has begun is finished though its sender may be gone by then: he repeats it, and learns what
 * became of it.
 */
#ifndef WRITE_POOL_H
#define WRITE_POOL_H

#include "write/answer.h"

#include <stdatomic.h>

struct token;
struct write_pool;

struct write_pool_config {
    const char *conninfo;
    int workers;
    size_t max_waiting;       /* requests in the queue ... */
    size_t max_waiting_bytes; /* ... and their bodies; one more is told to come again */
    struct write_request_limits body;
    struct write_limits limits;

    void *owner; /* the first argument of the functions, which are called by the workers */
    /* What the token's bearer (NULL: the operator) may do, in the arena; *held is given back when
     * it is no longer used. ERR_INPUT: nothing, and why (403); anything else is a 503. */
    bool (*rules)(void *owner, const struct token *token, struct arena *arena,
                  struct write_rules *out, void **held, struct err *err);
    void (*release)(void *held);
    /* An error looked as if a table of the rules is no longer as it was. */
    void (*schema_changed)(void *owner);
};

struct write_stats {
    atomic_uint_fast64_t requests, us; /* answered by a worker, and how long that took together */
    atomic_uint_fast64_t applied, partly, rejected, repeated, again; /* transactions */
    atomic_uint_fast64_t waiting;                                    /* requests now */
};

struct write_pool *write_pool_new(const struct write_pool_config *config,
                                  struct err *err) MUST_CHECK;
/* Answers what waits with a 503, and from now on every request. What runs goes on. */
void write_pool_stop(struct write_pool *pool);
/* Stops, and joins the workers: after pg_stop(), which ends their waits. NULL is allowed. */
void write_pool_free(struct write_pool *pool);
const struct write_stats *write_pool_stats(const struct write_pool *pool);

/* On a worker's thread, or on that of the request. The body is the receiver's. */
typedef void write_answered(void *arg, struct write_reply *reply);

/* Copies the body, takes the reference to the token, answers once. Any thread; does not block. */
void write_pool_request(struct write_pool *pool, struct slice body, struct token *token,
                        write_answered *answered, void *arg);

/* Why the last request could not be applied at all, if so; what is in the way of one is in the way
 * of all. False: there is nothing to say. Any thread. */
bool write_pool_trouble(struct write_pool *pool, char text[256]);

#endif
