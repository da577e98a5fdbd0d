/*
 * What stands behind the host in a request's target: the path, normalised,
 * and the query string, decoded into parameters.
 *
 * Keys with brackets are plain names: `params[1]=a` and `params%5B1%5D=a` are
 * both the parameter "params[1]"; http_param_bracket() takes them apart. A
 * parameter without `=` is present and empty. Decoded values are bytes as the
 * client sent them: they may hold a NUL or be no UTF-8.
 */
#ifndef HTTP_QUERY_H
#define HTTP_QUERY_H

#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"

struct http_param {
    struct slice name, value; /* decoded; in the arena, or in the text */
};

/* In the order of the text, duplicates included. */
struct http_query {
    const struct http_param *params;
    size_t len;
};

/* Splits at `&`, decodes %XX and `+`. ERR_INPUT names the place of a wrong escape. What needs no
 * decoding is borrowed from `text`. */
bool http_query_parse(struct http_query *query, struct slice text, struct arena *arena,
                      struct err *err) MUST_CHECK;

/* The last parameter of that name; false when there is none, and *value is then empty. */
bool http_query_get(const struct http_query *query, const char *name, struct slice *value);

/* When the parameter is `base[key]`, gives the key: of "params[1]" with base "params", "1". */
bool http_param_bracket(const struct http_param *param, const char *base, struct slice *key);

/* The path to be looked up in the routes: no empty segments, no slash at the end (the root is
 * "/"), escapes decoded. `%2F` and control characters stay escaped, as `%2F` in capitals, so that
 * they can match no route. "." and ".." are segments like any others. */
bool http_path_normalise(struct slice path, struct arena *arena, struct slice *out,
                         struct err *err) MUST_CHECK;

#endif
