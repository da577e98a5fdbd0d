#include "kafka/temporal.h"

#include "shapes/datetime.h"
#include "shapes/interval.h"

#include <inttypes.h>

#define DAYS_1970_TO_2000 10957
/* What the JDBC driver, and so Debezium, takes for the infinities. */
#define POSITIVE_INFINITY INT64_C(9223372036825200000)
#define NEGATIVE_INFINITY INT64_C(-9223372036832400000)
#define US_A_MONTH INT64_C(2629800000000)

static void put_number(struct buf *out, int64_t v)
{
    buf_printf(out, "%" PRId64, v);
}

bool temporal_put_date(struct slice text, struct buf *out, struct err *err)
{
    int64_t date;

    if (!date_in(text, &date, err))
        return false;
    put_number(out, date_is_finite(date) ? date + DAYS_1970_TO_2000 : date);
    return true;
}

bool temporal_put_time(struct slice text, int64_t unit_us, struct buf *out, struct err *err)
{
    int64_t time;

    if (!time_in(text, &time, err))
        return false;
    put_number(out, time / unit_us);
    return true;
}

bool temporal_put_timestamp(struct slice text, int64_t unit_us, struct buf *out, struct err *err)
{
    int64_t ts;

    if (!timestamp_in(text, false, &ts, err))
        return false;
    if (timestamp_is_finite(ts))
        put_number(out, floor_div(ts + DAYS_1970_TO_2000 * USECS_PER_DAY, unit_us));
    else
        put_number(out, ts == TIMESTAMP_INFINITY ? POSITIVE_INFINITY : NEGATIVE_INFINITY);
    return true;
}

/* ".789": of a second, without zeros at its end; nothing for none. */
static void put_fraction(struct buf *out, int64_t us)
{
    int digits = 6;

    if (!us)
        return;
    for (; us % 10 == 0; us /= 10)
        digits--;
    buf_printf(out, ".%0*d", digits, (int)us);
}

/* "10:34:56.789", without zeros at its end. */
static void put_clock(struct buf *out, int64_t us)
{
    int64_t seconds = us / USECS_PER_SEC, fraction = us % USECS_PER_SEC;

    buf_printf(out, "%02d:%02d:%02d", (int)(seconds / 3600), (int)(seconds / 60 % 60),
               (int)(seconds % 60));
    put_fraction(out, fraction);
}

bool temporal_put_timestamptz(struct slice text, struct buf *out, struct err *err)
{
    int64_t ts, year;
    int month, day;

    if (!timestamp_in(text, true, &ts, err))
        return false;
    if (!timestamp_is_finite(ts)) {
        buf_put_cstr(out, ts == TIMESTAMP_INFINITY ? "\"infinity\"" : "\"-infinity\"");
        return true;
    }
    int64_t date = floor_div(ts, USECS_PER_DAY);
    date_to_civil(date, &year, &month, &day);
    /* As Java has it: a sign before years of more than four digits, and before those below 0. */
    buf_printf(out, "\"%s%04" PRId64 "-%02d-%02dT",
               year > 9999 ? "+"
               : year < 0  ? "-"
                           : "",
               year < 0 ? -year : year, month, day);
    put_clock(out, ts - date * USECS_PER_DAY);
    buf_put_cstr(out, "Z\"");
    return true;
}

static bool read_int(struct slice *s, int64_t *v)
{
    size_t i = 0;

    for (*v = 0; i < s->len && i < 15 && s->ptr[i] >= '0' && s->ptr[i] <= '9'; i++)
        *v = *v * 10 + (s->ptr[i] - '0');
    *s = (struct slice){s->ptr + i, s->len - i};
    return i > 0;
}

static bool skip_char(struct slice *s, char c)
{
    if (!s->len || *s->ptr != c)
        return false;
    *s = (struct slice){s->ptr + 1, s->len - 1};
    return true;
}

/* "+02", "-03:30", "+01:02:03": seconds east of Greenwich. */
static bool read_zone(struct slice s, int64_t *seconds)
{
    bool west = skip_char(&s, '-');
    int64_t part, unit = 3600;

    if (!west && !skip_char(&s, '+'))
        return false;
    for (*seconds = 0; unit; unit /= 60) {
        if (!read_int(&s, &part))
            return false;
        *seconds += part * unit;
        if (!skip_char(&s, ':'))
            break;
    }
    *seconds = west ? -*seconds : *seconds;
    return s.len == 0;
}

bool temporal_put_timetz(struct slice text, struct buf *out, struct err *err)
{
    size_t clock = 0;
    int64_t time, east;

    while (clock < text.len && text.ptr[clock] != '+' && text.ptr[clock] != '-')
        clock++;
    if (!read_zone((struct slice){text.ptr + clock, text.len - clock}, &east))
        return err_set(err, ERR_PROTOCOL, "not a time with a zone: \"%.*s\"", SLICE_ARG(text));
    if (!time_in((struct slice){text.ptr, clock}, &time, err))
        return false;
    time -= east * USECS_PER_SEC;
    buf_put_u8(out, '"');
    put_clock(out, time - floor_div(time, USECS_PER_DAY) * USECS_PER_DAY);
    buf_put_cstr(out, "Z\"");
    return true;
}

static bool no_micros(struct slice text, struct err *err)
{
    return err_set(err, ERR_UNSUPPORTED, "no 64 bits of microseconds for the interval \"%.*s\"",
                   SLICE_ARG(text));
}

bool temporal_put_interval(struct slice text, struct buf *out, struct err *err)
{
    struct interval iv;
    int64_t months, days, sum;

    if (!interval_in(text, &iv, err))
        return false;
    if (__builtin_mul_overflow(iv.month, US_A_MONTH, &months) ||
        __builtin_mul_overflow(iv.day, USECS_PER_DAY, &days) ||
        __builtin_add_overflow(months, days, &sum) || __builtin_add_overflow(sum, iv.time, &sum))
        return no_micros(text, err);
    put_number(out, sum);
    return true;
}

/* "6.78", "-0.5": seconds of less than a minute, without zeros at their end. */
static void put_seconds(struct buf *out, int64_t us)
{
    int64_t size = us < 0 ? -us : us, fraction = size % USECS_PER_SEC;

    buf_printf(out, "%s%d", us < 0 ? "-" : "", (int)(size / USECS_PER_SEC));
    put_fraction(out, fraction);
}

bool temporal_put_interval_text(struct slice text, struct buf *out, struct err *err)
{
    const int64_t minute = 60 * USECS_PER_SEC, hour = 60 * minute;
    struct interval iv;

    if (!interval_in(text, &iv, err))
        return false;
    buf_printf(out, "\"P%dY%dM%dDT%" PRId64 "H%dM", iv.month / 12, iv.month % 12, iv.day,
               iv.time / hour, (int)(iv.time % hour / minute));
    put_seconds(out, iv.time % minute);
    buf_put_cstr(out, "S\"");
    return true;
}
