/*
 * Content codings: which one a client is sent (RFC 9110, 12.5.3), and encoding a whole body.
 */
#ifndef HTTP_ENCODING_H
#define HTTP_ENCODING_H

#include "base/buf.h"

enum http_encoding { HTTP_IDENTITY, HTTP_GZIP, HTTP_ZSTD };
#define HTTP_NENCODINGS 3

/* Shorter bodies are sent as they are. */
#define HTTP_ENCODE_MIN ((size_t)1024)

/* "gzip", "zstd", "identity" */
const char *http_encoding_name(enum http_encoding encoding);

/* What an accept-encoding header wants most of what there is: the highest q, of equals zstd before
 * gzip before identity. Identity for a header that names none of them: `*` is not taken as a wish.
 */
enum http_encoding http_encoding_choose(struct slice accept);

/* How hard to try: a body that is made for a moment, or one that is made once and kept. */
enum http_effort { HTTP_EFFORT_QUICK, HTTP_EFFORT_KEPT };

/* Appends the encoded bytes; false, with nothing added, when they would not be fewer. */
bool http_encode(enum http_encoding encoding, enum http_effort effort, struct slice bytes,
                 struct buf *out);

#endif
