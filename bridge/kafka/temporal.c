#include "kafka/temporal.h"

#include "shapes/datetime.h"

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

/* "10:34:56.789", without zeros at its end. */
static void put_clock(struct buf *out, int64_t us)
{
    int64_t seconds = us / USECS_PER_SEC, fraction = us % USECS_PER_SEC;

    buf_printf(out, "%02d:%02d:%02d", (int)(seconds / 3600), (int)(seconds / 60 % 60),
               (int)(seconds % 60));
    if (!fraction)
        return;
    int digits = 6;
    for (; fraction % 10 == 0; fraction /= 10)
        digits--;
    buf_printf(out, ".%0*d", digits, (int)fraction);
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

/* "04:05:06.78": hours may have any number of digits. */
static bool read_clock(struct slice *s, int64_t hours, int64_t *us)
{
    int64_t minutes, seconds, fraction = 0;
    int digits = 0;

    if (!skip_char(s, ':') || !read_int(s, &minutes) || !skip_char(s, ':') ||
        !read_int(s, &seconds))
        return false;
    if (skip_char(s, '.'))
        for (; digits < 6 && s->len && *s->ptr >= '0' && *s->ptr <= '9'; digits++) {
            fraction = fraction * 10 + (*s->ptr - '0');
            *s = (struct slice){s->ptr + 1, s->len - 1};
        }
    for (; digits < 6; digits++)
        fraction *= 10;
    *us = ((hours * 60 + minutes) * 60 + seconds) * USECS_PER_SEC + fraction;
    return true;
}

static bool read_unit(struct slice *s, int64_t n, int64_t *us)
{
    static const struct {
        const char *name;
        int64_t us;
    } units[] = {{"year", 12 * US_A_MONTH}, {"mon", US_A_MONTH}, {"day", USECS_PER_DAY}, {NULL, 0}};

    for (size_t i = 0; units[i].name; i++) {
        size_t len = strlen(units[i].name);

        if (s->len >= len && memcmp(s->ptr, units[i].name, len) == 0) {
            *s = (struct slice){s->ptr + len, s->len - len};
            skip_char(s, 's');
            return !__builtin_mul_overflow(n, units[i].us, us);
        }
    }
    return false;
}

/* One of "1 year", "-2 mons", "+3 days" and "-04:05:06.78". */
static bool read_part(struct slice *s, int64_t *us)
{
    bool negative = skip_char(s, '-');
    int64_t n;

    if (!negative)
        skip_char(s, '+');
    if (!read_int(s, &n))
        return false;
    if (skip_char(s, ' ') ? !read_unit(s, n, us) : !read_clock(s, n, us))
        return false;
    *us = negative ? -*us : *us;
    return true;
}

bool temporal_put_interval(struct slice text, struct buf *out, struct err *err)
{
    struct slice s = text;
    int64_t sum = 0, part = 0;

    do {
        if (!read_part(&s, &part) || __builtin_add_overflow(sum, part, &sum))
            return err_set(err, ERR_UNSUPPORTED,
                           "no 64 bits of microseconds for the interval \"%.*s\"", SLICE_ARG(text));
    } while (skip_char(&s, ' '));
    if (s.len)
        return err_set(err, ERR_PROTOCOL, "not an interval: \"%.*s\"", SLICE_ARG(text));
    put_number(out, sum);
    return true;
}
