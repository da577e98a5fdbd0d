/*
 * The table that says which function answers which path. One a listener;
 * written by whoever starts the server, constant while it runs, small enough
 * to be walked. Paths are in the form of http_path_normalise(): a trailing
 * slash, a double slash or an escaped letter reaches the same route, and so
 * the same check of the secret.
 *
 *     static const struct http_route routes[] = {
 *         {.path = "/v1/shape", .methods = HTTP_M_GET_HEAD, .handle = get_shape},
 *         {.path = "/v1/shape", .methods = HTTP_M_POST, .handle = post_shape, .body_limit = 65536},
 *     };
 */
#ifndef HTTP_ROUTE_H
#define HTTP_ROUTE_H

#include "base/slice.h"

#include <stdint.h>

struct http_conn;
struct http_request;

/* Bits, so that a route takes a set of them. Other methods than these are answered with 405. */
enum http_method_bit {
    HTTP_M_GET = 1,
    HTTP_M_HEAD = 2,
    HTTP_M_POST = 4,
    HTTP_M_PUT = 8,
    HTTP_M_DELETE = 16,
    HTTP_M_OPTIONS = 32,
    HTTP_M_PATCH = 64,
    HTTP_M_OTHER = 128,
};
/* A route for GET takes HEAD too: it gives the same answer and the core leaves out the body. */
#define HTTP_M_GET_HEAD (HTTP_M_GET | HTTP_M_HEAD)

/* Called on the loop's thread when headers and body are complete; see conn.h for what it may do.
 * `request`, with all that it points to, lives until the handler returns. */
typedef void http_handler(struct http_conn *conn, const struct http_request *request);

struct http_route {
    const char *path;
    uint32_t methods; /* HTTP_M_ bits */
    http_handler *handle;
    size_t body_limit;     /* bytes; a longer body is refused with 413. 0: no body */
    bool needs_secret;     /* the server's `authorise` is asked first */
    const char *too_large; /* what the 413 says, as JSON; NULL: the core's text */
    void *arg;             /* the handler's, at request->route->arg */
};

struct http_routes {
    const struct http_route *routes;
    size_t len;
};

/* The route, or NULL; *allowed is then the methods that other routes of that path take (none: no
 * such path). */
const struct http_route *http_route_find(const struct http_routes *table, struct slice path,
                                         uint32_t method, uint32_t *allowed);

/* "GET, HEAD" for an allow header. `out` has room for HTTP_ALLOW_SIZE bytes. */
#define HTTP_ALLOW_SIZE 64
void http_methods_print(uint32_t methods, char *out);

#endif
