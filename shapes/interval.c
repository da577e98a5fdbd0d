#include "shapes/interval.h"
#include "shapes/checked.h"
#include "shapes/datetime.h"
#include "shapes/raise.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define DAYS_PER_MONTH 30
#define SECS_PER_DAY 86400.0

static bool out_of_range(struct err *err)
{
    return raise_sql(err, "22008", "interval out of range");
}

static bool set(struct interval *out, int64_t month, int64_t day, int64_t time, struct err *err)
{
    if (month < INT32_MIN || month > INT32_MAX || day < INT32_MIN || day > INT32_MAX)
        return out_of_range(err);
    *out = (struct interval){.time = time, .day = (int32_t)day, .month = (int32_t)month};
    return true;
}

/* ---- in ---------------------------------------------------------------- */

enum unit { UNIT_YEAR, UNIT_MONTH, UNIT_WEEK, UNIT_DAY, UNIT_HOUR, UNIT_MINUTE, UNIT_SECOND };

/* What has been read; a unit may come once. */
struct fields {
    int64_t month, day, time;
    unsigned seen;
    bool failed;
};

static void add_time(struct fields *f, int64_t v, int64_t scale)
{
    int64_t t;

    if (!checked_mul(v, scale, &t) || !checked_add(f->time, t, &f->time))
        f->failed = true;
}

static void add_unit(struct fields *f, enum unit unit, int64_t v, int64_t frac_us)
{
    if (f->seen & 1U << unit || (frac_us && unit != UNIT_SECOND) || llabs(v) > INT32_MAX)
        f->failed = true;
    if (f->failed)
        return;
    f->seen |= 1U << unit;
    switch (unit) {
    case UNIT_YEAR:
        f->month += v * 12;
        break;
    case UNIT_MONTH:
        f->month += v;
        break;
    case UNIT_WEEK:
        f->day += v * 7;
        break;
    case UNIT_DAY:
        f->day += v;
        break;
    case UNIT_HOUR:
        add_time(f, v, 3600 * USECS_PER_SEC);
        break;
    case UNIT_MINUTE:
        add_time(f, v, 60 * USECS_PER_SEC);
        break;
    case UNIT_SECOND:
        add_time(f, v, USECS_PER_SEC);
        add_time(f, frac_us, 1);
        break;
    }
}

/* [+-]digits[.digits], at most six digits behind the point. */
static bool read_number(const char **p, const char *end, int64_t *v, int64_t *frac_us)
{
    bool neg = *p < end && **p == '-';
    int digits = 0, frac_digits = 0;

    *v = *frac_us = 0;
    *p += *p < end && (**p == '-' || **p == '+');
    for (; *p < end && isdigit((unsigned char)**p) && digits < 18; ++*p, digits++)
        *v = *v * 10 + (**p - '0');
    if (digits && *p < end && **p == '.') {
        for (++*p; *p < end && isdigit((unsigned char)**p) && frac_digits < 7; ++*p, frac_digits++)
            *frac_us = *frac_us * 10 + (**p - '0');
        if (frac_digits == 0 || frac_digits > 6)
            return false;
        for (; frac_digits < 6; frac_digits++)
            *frac_us *= 10;
    }
    if (neg) {
        *v = -*v;
        *frac_us = -*frac_us;
    }
    return digits > 0 && digits < 18;
}

static void read_iso(struct fields *f, const char *p, const char *end)
{
    bool in_time = false, any = false;

    while (p < end && !f->failed) {
        int64_t v, frac;

        if (*p == 'T' && !in_time) {
            in_time = true;
            p++;
            continue;
        }
        if (!read_number(&p, end, &v, &frac) || p == end) {
            f->failed = true;
            return;
        }
        const char *units = in_time ? "HMS" : "YMWD";
        const char *at = strchr(units, *p++);
        if (!at || !*at)
            f->failed = true;
        else
            add_unit(f, (enum unit)(at - units + (in_time ? UNIT_HOUR : UNIT_YEAR)), v, frac);
        any = true;
    }
    f->failed |= !any;
}

static bool unit_of(struct slice word, enum unit *unit)
{
    static const struct {
        const char *name;
        enum unit unit;
    } names[] = {{"year", UNIT_YEAR},     {"years", UNIT_YEAR},    {"yr", UNIT_YEAR},
                 {"mon", UNIT_MONTH},     {"mons", UNIT_MONTH},    {"month", UNIT_MONTH},
                 {"months", UNIT_MONTH},  {"week", UNIT_WEEK},     {"weeks", UNIT_WEEK},
                 {"day", UNIT_DAY},       {"days", UNIT_DAY},      {"hour", UNIT_HOUR},
                 {"hours", UNIT_HOUR},    {"hr", UNIT_HOUR},       {"min", UNIT_MINUTE},
                 {"mins", UNIT_MINUTE},   {"minute", UNIT_MINUTE}, {"minutes", UNIT_MINUTE},
                 {"sec", UNIT_SECOND},    {"secs", UNIT_SECOND},   {"second", UNIT_SECOND},
                 {"seconds", UNIT_SECOND}};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (word.len == strlen(names[i].name) &&
            strncasecmp(word.ptr, names[i].name, word.len) == 0) {
            *unit = names[i].unit;
            return true;
        }
    }
    return false;
}

/* The rest of [+-]HH:MM[:SS[.f]], of which `v` hours are read; `sign` goes for all of it. */
static const char *read_clock(struct fields *f, int64_t hours, int sign, const char *p,
                              const char *end)
{
    int64_t minutes, seconds = 0, frac = 0, none;

    p++;
    if (p == end || !isdigit((unsigned char)*p) || !read_number(&p, end, &minutes, &none) || none) {
        f->failed = true;
        return p;
    }
    if (p < end && *p == ':') {
        p++;
        if (p == end || !isdigit((unsigned char)*p) || !read_number(&p, end, &seconds, &frac))
            f->failed = true;
    }
    if (minutes > 59 || seconds > 59)
        f->failed = true;
    add_unit(f, UNIT_HOUR, hours, 0);
    add_unit(f, UNIT_MINUTE, sign * minutes, 0);
    add_unit(f, UNIT_SECOND, sign * seconds, sign * frac);
    return p;
}

static void read_words(struct fields *f, const char *p, const char *end)
{
    bool any = false;

    while (!f->failed) {
        int64_t v, frac;
        enum unit unit;

        while (p < end && isspace((unsigned char)*p))
            p++;
        if (p == end)
            break;
        int sign = *p == '-' ? -1 : 1;
        any = true;
        if (!read_number(&p, end, &v, &frac)) {
            f->failed = true;
        } else if (p < end && *p == ':' && !frac) {
            p = read_clock(f, v, sign, p, end);
        } else {
            while (p < end && isspace((unsigned char)*p))
                p++;
            const char *start = p;
            while (p < end && isalpha((unsigned char)*p))
                p++;
            if (unit_of((struct slice){start, (size_t)(p - start)}, &unit))
                add_unit(f, unit, v, frac);
            else
                f->failed = true;
        }
    }
    f->failed |= !any;
}

bool interval_in(struct slice text, struct interval *out, struct err *err)
{
    const char *p = text.ptr, *end = p + text.len;
    struct fields f = {0};

    while (p < end && isspace((unsigned char)*p))
        p++;
    while (end > p && isspace((unsigned char)end[-1]))
        end--;
    if (p < end && *p == 'P')
        read_iso(&f, p + 1, end);
    else
        read_words(&f, p, end);
    if (f.failed) {
        raise_sql(err, "22007", "invalid syntax for type interval: \"%.*s\"",
                  text.len < 200 ? (int)text.len : 200, text.ptr);
        err_hint(err, "write it as P1Y2M3DT4H5M6.7S or as 1 year 2 months 3 days 04:05:06.7");
        return false;
    }
    return set(out, f.month, f.day, f.time, err);
}

void interval_out(const struct interval *iv, struct buf *out)
{
    int64_t secs = iv->time / USECS_PER_SEC, frac = iv->time % USECS_PER_SEC;

    if (iv->month == 0 && iv->day == 0 && iv->time == 0) {
        buf_put_cstr(out, "PT0S");
        return;
    }
    buf_put_u8(out, 'P');
    if (iv->month / 12)
        buf_printf(out, "%dY", iv->month / 12);
    if (iv->month % 12)
        buf_printf(out, "%dM", iv->month % 12);
    if (iv->day)
        buf_printf(out, "%dD", iv->day);
    if (iv->time)
        buf_put_u8(out, 'T');
    if (secs / 3600)
        buf_printf(out, "%lldH", (long long)(secs / 3600));
    if (secs / 60 % 60)
        buf_printf(out, "%dM", (int)(secs / 60 % 60));
    if (secs % 60 || frac) {
        char digits[8] = "";

        int n = frac ? snprintf(digits, sizeof(digits), ".%06d", (int)llabs(frac)) : 0;
        while (n > 1 && digits[n - 1] == '0')
            digits[--n] = '\0';
        buf_printf(out, "%s%d%sS", iv->time < 0 ? "-" : "", (int)llabs(secs % 60), digits);
    }
}

/* ---- arithmetic -------------------------------------------------------- */

int interval_cmp(const struct interval *a, const struct interval *b)
{
    int64_t a_days = floor_div(a->time, USECS_PER_DAY), b_days = floor_div(b->time, USECS_PER_DAY);
    int64_t a_rest = a->time - a_days * USECS_PER_DAY, b_rest = b->time - b_days * USECS_PER_DAY;

    a_days += (int64_t)a->month * DAYS_PER_MONTH + a->day;
    b_days += (int64_t)b->month * DAYS_PER_MONTH + b->day;
    if (a_days != b_days)
        return a_days < b_days ? -1 : 1;
    return (a_rest > b_rest) - (a_rest < b_rest);
}

bool interval_add(const struct interval *a, const struct interval *b, struct interval *out,
                  struct err *err)
{
    int64_t time;

    if (!checked_add(a->time, b->time, &time))
        return out_of_range(err);
    return set(out, (int64_t)a->month + b->month, (int64_t)a->day + b->day, time, err);
}

bool interval_neg(const struct interval *iv, struct interval *out, struct err *err)
{
    if (iv->time == INT64_MIN)
        return out_of_range(err);
    return set(out, -(int64_t)iv->month, -(int64_t)iv->day, -iv->time, err);
}

/* Rounds to microseconds, as Postgres does with the parts it carries down. */
static double rounded(double v)
{
    return rint(v * 1000000.0) / 1000000.0;
}

static bool fits_int32(double v)
{
    return v >= -2147483648.0 && v < 2147483648.0;
}

bool interval_mul(const struct interval *iv, double factor, struct interval *out, struct err *err)
{
    double month = iv->month * factor, day = iv->day * factor;

    if (!fits_int32(month) || !fits_int32(day))
        return out_of_range(err);
    int32_t whole_month = (int32_t)month, whole_day = (int32_t)day;
    /* The fraction of a month becomes days, that of a day becomes seconds. */
    double rest_days = rounded((month - whole_month) * DAYS_PER_MONTH);
    double rest_secs = rounded((day - whole_day + rest_days - (int32_t)rest_days) * SECS_PER_DAY);
    int64_t days = whole_day;

    if (fabs(rest_secs) >= SECS_PER_DAY) {
        days += (int64_t)(rest_secs / SECS_PER_DAY);
        rest_secs -= (double)(int64_t)(rest_secs / SECS_PER_DAY) * SECS_PER_DAY;
    }
    days += (int64_t)rest_days;
    double time = rint((double)iv->time * factor + rest_secs * 1000000.0);
    if (!(time >= -9223372036854775808.0 && time < 9223372036854775808.0))
        return out_of_range(err);
    return set(out, whole_month, days, (int64_t)time, err);
}

/* Moves one whole `unit` so that both parts have the same sign. */
static void same_sign(int64_t *big, int64_t *small, int64_t unit)
{
    if (*big > 0 && *small < 0) {
        *small += unit;
        --*big;
    } else if (*big < 0 && *small > 0) {
        *small -= unit;
        ++*big;
    }
}

bool interval_justify_hours(const struct interval *iv, struct interval *out, struct err *err)
{
    int64_t day = iv->day + iv->time / USECS_PER_DAY, time = iv->time % USECS_PER_DAY;

    same_sign(&day, &time, USECS_PER_DAY);
    return set(out, iv->month, day, time, err);
}

bool interval_justify_days(const struct interval *iv, struct interval *out, struct err *err)
{
    int64_t month = (int64_t)iv->month + iv->day / DAYS_PER_MONTH, day = iv->day % DAYS_PER_MONTH;

    same_sign(&month, &day, DAYS_PER_MONTH);
    return set(out, month, day, iv->time, err);
}

bool interval_justify(const struct interval *iv, struct interval *out, struct err *err)
{
    int64_t time = iv->time % USECS_PER_DAY, all_days = iv->day + iv->time / USECS_PER_DAY;
    int64_t month = (int64_t)iv->month + all_days / DAYS_PER_MONTH;
    int64_t day = all_days % DAYS_PER_MONTH;

    if (month > 0 && (day < 0 || (day == 0 && time < 0))) {
        day += DAYS_PER_MONTH;
        month--;
    } else if (month < 0 && (day > 0 || (day == 0 && time > 0))) {
        day -= DAYS_PER_MONTH;
        month++;
    }
    same_sign(&day, &time, USECS_PER_DAY);
    return set(out, month, day, time, err);
}

static bool add_months(int64_t *ts, int32_t months)
{
    int64_t date = floor_div(*ts, USECS_PER_DAY), time = *ts - date * USECS_PER_DAY, year;
    int month, day;

    date_to_civil(date, &year, &month, &day);
    int64_t total = year * 12 + (month - 1) + months;
    year = floor_div(total, 12);
    month = (int)(total - year * 12) + 1;
    if (day > days_in_month(year, month))
        day = days_in_month(year, month);
    return checked_mul(date_from_civil(year, month, day), USECS_PER_DAY, ts) &&
           checked_add(*ts, time, ts) && timestamp_in_range(*ts);
}

bool timestamp_add(int64_t ts, const struct interval *iv, int64_t *out, struct err *err)
{
    int64_t days;

    *out = ts;
    if (!timestamp_is_finite(ts))
        return true;
    if ((iv->month && !add_months(out, iv->month)) || !checked_mul(iv->day, USECS_PER_DAY, &days) ||
        !checked_add(*out, days, out) || !timestamp_in_range(*out) ||
        !checked_add(*out, iv->time, out) || !timestamp_in_range(*out))
        return raise_sql(err, "22008", "timestamp out of range");
    return true;
}

bool timestamp_sub(int64_t a, int64_t b, struct interval *out, struct err *err)
{
    int64_t time;

    /* Postgres 17 gives an infinite interval, those before it raise. */
    if (!timestamp_is_finite(a) || !timestamp_is_finite(b))
        return raise_sql(err, "22008", "cannot subtract infinite timestamps");
    if (!checked_sub(a, b, &time))
        return out_of_range(err);
    return interval_justify_hours(&(struct interval){.time = time}, out, err);
}
