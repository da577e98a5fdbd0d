/*
 * Postgres's dates and times as Debezium has them in JSON: numbers since 1970 or midnight, and
 * texts in GMT where there is a zone. The texts come from a server with DateStyle ISO and TimeZone
 * UTC; intervals may be in the style iso_8601 or postgres.
 *
 * The infinities have no place on those scales; they are Debezium's sentinels.
 */
#ifndef KAFKA_TEMPORAL_H
#define KAFKA_TEMPORAL_H

#include "base/buf.h"
#include "base/err.h"

/* Days since 1970-01-01; the infinities are the ends of 32 bits. */
bool temporal_put_date(struct slice text, struct buf *out, struct err *err) MUST_CHECK;
/* `unit_us`: 1 for microseconds, 1000 for milliseconds, rounded down. */
bool temporal_put_time(struct slice text, int64_t unit_us, struct buf *out,
                       struct err *err) MUST_CHECK;
bool temporal_put_timestamp(struct slice text, int64_t unit_us, struct buf *out,
                            struct err *err) MUST_CHECK;
/* "2018-06-20T13:37:03.5Z" and "10:34:56.789Z" as JSON strings; "infinity" and "-infinity". */
bool temporal_put_timestamptz(struct slice text, struct buf *out, struct err *err) MUST_CHECK;
bool temporal_put_timetz(struct slice text, struct buf *out, struct err *err) MUST_CHECK;
/* About so many microseconds: a month has 365.25 / 12 days. */
bool temporal_put_interval(struct slice text, struct buf *out, struct err *err) MUST_CHECK;
/* "P1Y2M3DT4H5M6.78S" as a JSON string, with all of its parts. */
bool temporal_put_interval_text(struct slice text, struct buf *out, struct err *err) MUST_CHECK;

#endif
