/*
 * Entity tags of a request's if-none-match (RFC 9110, 13.1.2).
 */
#ifndef HTTP_ETAG_H
#define HTTP_ETAG_H

#include "base/slice.h"

/* Whether the list names the tag, which is given without its quotes. Weak tags count as strong
 * ones, missing quotes do not matter, and neither does the suffix of an encoding ("-gzip",
 * "-zstd"): what is asked is whether the client has the content. */
bool http_etag_listed(struct slice list, struct slice tag);

#endif
