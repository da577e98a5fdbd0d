/*
 * POST /v1/sync: several shapes in one stream, every commit a consistent cut
 * (docs/PROTOCOL.md).
 *
 *   parse the body -> resolve every shape -> wait until each log has begun -> stream
 *
 * sync.c is the endpoint up to there; sync_stream.c is the stream.
 */
#ifndef HTTP_SYNC_H
#define HTTP_SYNC_H

#include "http/conn.h"
#include "http/service.h"
#include "http/shape.h"
#include "http/watchers.h"

#define SYNC_BODY_LIMIT ((size_t)1024 * 1024)

/* What each loop keeps for the endpoints: set as the loop's user pointer. */
struct endpoint_loop {
    const struct service *service;
    struct watchers watchers;
    struct shape_loop *shapes;
};

http_handler sync_post;

#endif
