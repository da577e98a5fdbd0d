/*
 * The headers of a response, as the text that goes out. Names are written in
 * lower case. A value with CR, LF or NUL in it, or a name that is no token,
 * would let a request forge headers: it sets `text.failed`, and the response
 * becomes a 500. So does a text above HTTP_HEADERS_LIMIT.
 *
 *     struct http_headers h;
 *
 *     http_headers_init(&h);
 *     http_headers_add(&h, "content-type", "application/json");
 *     http_headers_printf(&h, "electric-offset", "%" PRIu64 "_%u", lsn, op);
 *     http_respond(conn, 200, &h, body);      takes what h holds
 *
 * The core writes these itself: date, x-request-id, content-length,
 * transfer-encoding, connection.
 */
#ifndef HTTP_HEADERS_H
#define HTTP_HEADERS_H

#include "base/buf.h"

#define HTTP_HEADERS_LIMIT ((size_t)128 * 1024) /* electric-schema of a wide table is long */

struct http_headers {
    struct buf text;   /* "name: value\r\n" each */
    struct slice lent; /* lines that go out before these; borrowed */
};

void http_headers_init(struct http_headers *headers);
void http_headers_release(struct http_headers *headers);

void http_headers_add(struct http_headers *headers, const char *name, const char *value);
void http_headers_add_slice(struct http_headers *headers, const char *name, struct slice value);
/* Whole lines that need no check: constants, or what another struct http_headers has taken. */
void http_headers_add_lines(struct http_headers *headers, struct slice lines);
/* The same, once, without copying: borrowed until the answer is given. */
void http_headers_lend(struct http_headers *headers, struct slice lines);
void http_headers_printf(struct http_headers *headers, const char *name, const char *fmt, ...)
    PRINTF(3, 4);
/* Whether one of that name (in lower case) is there: for hooks that give defaults. */
bool http_headers_has(const struct http_headers *headers, const char *name);

/* "Not Found" for 404; "Unknown" for a status that has no name here. */
const char *http_status_text(int status);

#endif
