/*
 * Base64 with the alphabet for URLs (RFC 4648, 5), as JWTs use it: without padding, and strict.
 * Each run of bytes has one form only: unused low bits of the last character must be zero.
 */
#ifndef TOKEN_BASE64URL_H
#define TOKEN_BASE64URL_H

#include "base/slice.h"

#include <stdint.h>

/* How many bytes `len` characters decode to. */
#define BASE64URL_BYTES(len) ((len) / 4 * 3 + (len) % 4 * 3 / 4)

/* `out` has room for BASE64URL_BYTES(text.len); false when the text is not such. */
bool base64url_decode(struct slice text, uint8_t *out);

#endif
