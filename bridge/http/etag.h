/*
 * Entity tags of a request's if-none-match (RFC 9110, 13.1.2).
 */
#ifndef HTTP_ETAG_H
#define HTTP_ETAG_H

#include "http/encoding.h"

/* Whether the list names the tag, which is given without its quotes: as it is, or with the suffix
 * of the `wanted` encoding ("-gzip", "-zstd"), which *of says then, and prefers. Another's does not
 * count: it may be what a cache has, and the client does not understand it. Weak tags count as
 * strong ones, and missing quotes do not matter: what is asked is whether the client has the
 * content. */
bool http_etag_listed(struct slice list, struct slice tag, enum http_encoding wanted,
                      enum http_encoding *of);

#endif
