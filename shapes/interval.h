/*
 * Postgres's interval: months, days and microseconds that do not mix, and the
 * arithmetic of dates with them. Text out is IntervalStyle iso_8601. Text in
 * is that, or Postgres's own ("1 year 2 mons -3 days 04:05:06.7"); forms whose
 * fractions cascade between units are refused.
 */
#ifndef SHAPES_INTERVAL_H
#define SHAPES_INTERVAL_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

struct interval {
    int64_t time; /* microseconds */
    int32_t day, month;
};

bool interval_in(struct slice text, struct interval *out, struct err *err) MUST_CHECK;
void interval_out(const struct interval *iv, struct buf *out);

/* A month is 30 days and a day 24 hours. */
int interval_cmp(const struct interval *a, const struct interval *b);

bool interval_add(const struct interval *a, const struct interval *b, struct interval *out,
                  struct err *err) MUST_CHECK;
bool interval_neg(const struct interval *iv, struct interval *out, struct err *err) MUST_CHECK;
bool interval_mul(const struct interval *iv, double factor, struct interval *out,
                  struct err *err) MUST_CHECK;
bool interval_justify_hours(const struct interval *iv, struct interval *out,
                            struct err *err) MUST_CHECK;
bool interval_justify_days(const struct interval *iv, struct interval *out,
                           struct err *err) MUST_CHECK;
bool interval_justify(const struct interval *iv, struct interval *out, struct err *err) MUST_CHECK;

/* Months first, clamped to the month's last day, then days, then time; UTC has no other days. */
bool timestamp_add(int64_t ts, const struct interval *iv, int64_t *out, struct err *err) MUST_CHECK;
bool timestamp_sub(int64_t a, int64_t b, struct interval *out, struct err *err) MUST_CHECK;

#endif
