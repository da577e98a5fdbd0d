/*
 * A request that has come in whole. It is the core's: read-only for handlers,
 * and gone when the handler returns, with every slice in it. What is needed
 * later is copied by the handler.
 */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include "http/auth.h"
#include "http/query.h"
#include "http/route.h"

struct http_header {
    struct slice name, value; /* as sent; white space around the value is gone */
};

struct http_request {
    uint32_t method; /* one HTTP_M_ bit */
    uint8_t minor;   /* HTTP/1.0 or 1.1 */

    struct slice target;     /* as sent */
    struct slice path;       /* normalised */
    struct slice query_text; /* behind the `?`, not decoded */
    struct http_query query;

    const struct http_header *headers;
    size_t nheaders;
    struct slice body;

    const struct http_route *route; /* NULL when none was found */
    struct auth auth;    /* whose it is, as `authorise` has found; auth_ref() to keep it */
    struct arena *arena; /* for what the handler needs until it returns */
};

/* Whether the name of a header (or a token in its value) is `want`, in any case. */
bool http_name_is(struct slice name, const char *want);
/* The first header of that name, in any case; false when there is none, and *value is then empty.
 */
bool http_request_header(const struct http_request *request, const char *name, struct slice *value);
/* The last query parameter of that name; as http_query_get(). */
bool http_request_param(const struct http_request *request, const char *name, struct slice *value);
/* Whether that is the secret, in a time that does not tell how much of it was right. */
bool http_same_secret(struct slice given, const char *secret);

#endif
