/*
 * The bytes that Postgres's texts of bytea, bit and varbit stand for, and bytes as JSON strings:
 * binary.handling.mode.
 */
#ifndef KAFKA_BYTES_H
#define KAFKA_BYTES_H

#include "base/buf.h"
#include "base/err.h"

/* Debezium's names; the first is its default. */
enum binary_mode { BINARY_BYTES, BINARY_BASE64, BINARY_BASE64_URL_SAFE, BINARY_HEX };

/* As a JSON string: base64, or as the mode says. */
void bytes_put(enum binary_mode mode, struct slice bytes, struct buf *out);

/* Adds the bytes of "\x0aff". */
bool bytes_read_hex(struct slice text, struct buf *bytes, struct err *err) MUST_CHECK;
/* Adds those of "10110": the last bit of the text is the lowest of the first byte. */
void bytes_read_bits(struct slice text, struct buf *bytes);

#endif
