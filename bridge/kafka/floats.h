/*
 * Doubles in JSON. It has no NaN and no infinities, so those are strings.
 */
#ifndef KAFKA_FLOATS_H
#define KAFKA_FLOATS_H

#include "base/buf.h"

/* The text of a real or a double precision, which Postgres writes as JSON does. */
void floats_put(struct slice text, struct buf *out);
/* A number's text, however many digits it has, as the shortest one of the double nearest to it. */
void floats_put_nearest(struct slice text, struct buf *out);

#endif
