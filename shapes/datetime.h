/*
 * Postgres's date, time, timestamp and timestamptz as integers, in and out as
 * ISO text, with TimeZone = UTC.
 *
 *     date         days since 2000-01-01
 *     time         microseconds since midnight, 24:00:00 included
 *     timestamp    microseconds since 2000-01-01 00:00:00; so too timestamptz
 *
 * The ends of the integers' ranges are the infinities. Postgres's input takes
 * much more than ISO ("Jan 8 99", "tomorrow", zone names); what is not ISO is
 * refused, because its meaning hangs on tables and settings of the server.
 */
#ifndef SHAPES_DATETIME_H
#define SHAPES_DATETIME_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

#define USECS_PER_SEC INT64_C(1000000)
#define USECS_PER_DAY (86400 * USECS_PER_SEC)

#define DATE_INFINITY INT32_MAX
#define DATE_NINFINITY INT32_MIN
#define TIMESTAMP_INFINITY INT64_MAX
#define TIMESTAMP_NINFINITY INT64_MIN

static inline bool date_is_finite(int64_t date)
{
    return date != DATE_INFINITY && date != DATE_NINFINITY;
}

static inline bool timestamp_is_finite(int64_t ts)
{
    return ts != TIMESTAMP_INFINITY && ts != TIMESTAMP_NINFINITY;
}

bool date_in_range(int64_t date);
bool timestamp_in_range(int64_t ts);

int64_t floor_div(int64_t a, int64_t b);

/* Days since 2000-01-01 of a proleptic Gregorian day; year 0 is 1 BC. */
int64_t date_from_civil(int64_t year, int month, int day);
void date_to_civil(int64_t date, int64_t *year, int *month, int *day);
int days_in_month(int64_t year, int month);

bool date_in(struct slice text, int64_t *date, struct err *err) MUST_CHECK;
bool time_in(struct slice text, int64_t *time, struct err *err) MUST_CHECK;
/* With `zoned`, an offset may follow; without one it is UTC. */
bool timestamp_in(struct slice text, bool zoned, int64_t *ts, struct err *err) MUST_CHECK;

void date_out(int64_t date, struct buf *out);
void time_out(int64_t time, struct buf *out);
void timestamp_out(int64_t ts, bool zoned, struct buf *out);

/* The midnight that a date begins with; 22008 beyond what a timestamp can hold. */
bool date_to_timestamp(int64_t date, int64_t *ts, struct err *err) MUST_CHECK;
/* Orders a date against a timestamp, also where the date is beyond what a timestamp can hold. */
int date_cmp_timestamp(int64_t date, int64_t ts);

#endif
