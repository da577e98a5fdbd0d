/*
 * Postgres's numeric text as the unscaled integer of Java's BigDecimal: the number times ten to
 * the power of its scale, big-endian two's complement in as few bytes as it takes.
 *
 *     "-1.28" of scale 2  ->  -128  ->  80
 */
#ifndef KAFKA_DECIMAL_H
#define KAFKA_DECIMAL_H

#include "base/buf.h"

/* How many digits stand behind the point. */
int decimal_scale(struct slice text);
/* Adds the bytes. False when the text is not a number in digits (NaN, Infinity), or has digits
 * that the scale leaves out. */
bool decimal_put_unscaled(struct slice text, int scale, struct buf *out);

#endif
