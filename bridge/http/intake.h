/*
 * Takes the bytes of one request in, in pieces of any size, and makes a
 * struct http_request of them. Private to the core. llhttp does the framing,
 * as strict as it comes; what it leaves to its caller is checked here: limits,
 * Host, transfer codings, versions, the target.
 *
 * An intake is attached to a connection from the first byte of a request to
 * the return of its handler; a connection that waits has none.
 */
#ifndef HTTP_INTAKE_H
#define HTTP_INTAKE_H

#include "base/buf.h"
#include "http/request.h"

#include <llhttp.h>

#define HTTP_HEADERS_MAX 100

struct http_limits {
    size_t head; /* request line and headers, and likewise trailers: above it 431 */
    size_t url;  /* above it 414 */
};

enum http_intake_result {
    HTTP_INTAKE_MORE, /* all bytes taken, the request is not complete */
    HTTP_INTAKE_HEAD, /* the head is complete and a body is to come: set body_limit, feed on */
    HTTP_INTAKE_DONE, /* complete; what is behind it was not taken */
    HTTP_INTAKE_BAD,  /* answer with `status` and `reason`, and close */
};

/* Offsets, as the text may still move while it grows. */
struct http_span {
    uint32_t at, len;
};

struct http_intake {
    struct http_intake *next; /* in the worker's pool */
    llhttp_t parser;
    const struct http_limits *limits;
    struct arena arena;
    struct buf head; /* target, names and values, one behind the other */
    struct buf body;
    struct http_span target;
    struct http_span names[HTTP_HEADERS_MAX], values[HTTP_HEADERS_MAX];
    size_t nheaders;
    size_t head_taken; /* bytes that were fed before the head was complete */
    size_t trailer_taken;
    bool head_done, has_body, head_told;
    bool keep_alive;             /* valid once the head is done */
    bool wants_continue;         /* Expect: 100-continue */
    int status;                  /* BAD: what to answer with */
    const char *reason;          /* BAD: in words */
    struct err err;              /* holds the words when they are not constant */
    struct http_request request; /* valid once the head is done; its body once DONE */
};

struct http_intake *http_intake_new(void);
void http_intake_free(struct http_intake *intake);

/* Begins with a request. `limits` is borrowed. */
void http_intake_start(struct http_intake *intake, const struct http_limits *limits);
/* After HEAD: how long the body may be. False (and BAD's fields set) when it says that it is
 * longer. */
bool http_intake_limit_body(struct http_intake *intake, size_t limit);
/* Takes bytes; *used says how many. */
enum http_intake_result http_intake_feed(struct http_intake *intake, const char *p, size_t n,
                                         size_t *used);
/* Ready to be started again; gives large memory back. */
void http_intake_clear(struct http_intake *intake);

#endif
