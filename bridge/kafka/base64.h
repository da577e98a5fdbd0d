/*
 * Base64 with padding (RFC 4648, 4), as Kafka Connect's JSON has bytes.
 */
#ifndef KAFKA_BASE64_H
#define KAFKA_BASE64_H

#include "base/buf.h"

void base64_put(struct buf *out, struct slice bytes);
/* With - and _ for + and / (RFC 4648, 5); padded all the same, as Java's encoder does. */
void base64_put_url_safe(struct buf *out, struct slice bytes);

#endif
