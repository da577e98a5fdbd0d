#include "shapes/datetime.h"
#include "shapes/raise.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#define DATE_MIN (-2451545)                        /* 4714-11-24 BC */
#define DATE_END 2145031949                        /* the day behind 5874897-12-31 */
#define TIMESTAMP_MIN (-211813488000000000)        /* 4714-11-24 BC */
#define TIMESTAMP_END INT64_C(9223371331200000000) /* 294277-01-01 */
#define TIMESTAMP_END_DATE (TIMESTAMP_END / USECS_PER_DAY)

bool date_in_range(int64_t date)
{
    return date >= DATE_MIN && date < DATE_END;
}

bool timestamp_in_range(int64_t ts)
{
    return ts >= TIMESTAMP_MIN && ts < TIMESTAMP_END;
}

int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

int64_t date_from_civil(int64_t year, int month, int day)
{
    /* Years that begin in March put the leap day at their end. */
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = floor_div(y, 400), yoe = y - era * 400;
    int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 730425;
}

void date_to_civil(int64_t date, int64_t *year, int *month, int *day)
{
    int64_t z = date + 730425;
    int64_t era = floor_div(z, 146097), doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;

    *day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = yoe + era * 400 + (*month <= 2);
}

int days_in_month(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    return month == 2 && leap ? 29 : days[month - 1];
}

/* ---- in ---------------------------------------------------------------- */

/* Reads forward; the first thing that does not fit sets `failed`. */
struct scan {
    const char *p, *end;
    bool failed;
};

static bool scan_is(struct scan *s, char c)
{
    if (s->failed || s->p == s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

static void scan_must(struct scan *s, char c)
{
    if (!scan_is(s, c))
        s->failed = true;
}

/* Between `min` and `max` digits. */
static int64_t scan_digits(struct scan *s, int min, int max)
{
    int64_t v = 0;
    int n = 0;

    while (!s->failed && n < max && s->p < s->end && isdigit((unsigned char)*s->p)) {
        v = v * 10 + (*s->p++ - '0');
        n++;
    }
    s->failed |= n < min || (s->p < s->end && isdigit((unsigned char)*s->p));
    return v;
}

static int64_t scan_date(struct scan *s, bool *out_of_range)
{
    int64_t year = scan_digits(s, 4, 7);
    scan_must(s, '-');
    int month = (int)scan_digits(s, 2, 2);
    scan_must(s, '-');
    int day = (int)scan_digits(s, 2, 2);

    *out_of_range = !s->failed && (year < 1 || month < 1 || month > 12 || day < 1 || day > 31);
    if (s->failed || *out_of_range)
        return 0;
    if (s->end - s->p >= 3 && strncasecmp(s->end - 3, " BC", 3) == 0) {
        s->end -= 3;
        year = 1 - year;
    }
    *out_of_range = day > days_in_month(year, month);
    return date_from_civil(year, month, day);
}

static int64_t scan_time(struct scan *s)
{
    int64_t hour = scan_digits(s, 2, 2), second = 0, frac = 0;
    scan_must(s, ':');
    int64_t minute = scan_digits(s, 2, 2);

    bool has_seconds = scan_is(s, ':');

    if (has_seconds)
        second = scan_digits(s, 2, 2);
    /* Without seconds, a fraction would make minutes and seconds of the two. */
    if (has_seconds && scan_is(s, '.')) {
        const char *start = s->p;

        frac = scan_digits(s, 1, 6);
        for (ptrdiff_t n = s->p - start; n < 6; n++)
            frac *= 10;
    }
    int64_t time = ((hour * 60 + minute) * 60 + second) * USECS_PER_SEC + frac;
    s->failed |= minute > 59 || second > 59 || time > USECS_PER_DAY;
    return time;
}

/* Microseconds to subtract. */
static int64_t scan_zone(struct scan *s)
{
    if (s->p == s->end || scan_is(s, 'Z') || scan_is(s, 'z'))
        return 0;
    int sign = scan_is(s, '-') ? -1 : 1;
    if (sign > 0)
        scan_must(s, '+');
    int64_t hours = scan_digits(s, 2, 2), minutes = 0, seconds = 0;

    if (scan_is(s, ':'))
        minutes = scan_digits(s, 2, 2);
    if (s->p < s->end && scan_is(s, ':'))
        seconds = scan_digits(s, 2, 2);
    s->failed |= hours > 15 || minutes > 59 || seconds > 59;
    return sign * ((hours * 60 + minutes) * 60 + seconds) * USECS_PER_SEC;
}

static struct scan scan_of(struct slice text)
{
    struct scan s = {text.ptr, text.ptr + text.len, false};

    while (s.p < s.end && isspace((unsigned char)*s.p))
        s.p++;
    while (s.end > s.p && isspace((unsigned char)s.end[-1]))
        s.end--;
    return s;
}

static bool scan_word(const struct scan *s, const char *word)
{
    size_t len = strlen(word);

    return (size_t)(s->end - s->p) == len && strncasecmp(s->p, word, len) == 0;
}

static bool not_iso(struct err *err, const char *type_name, struct slice text)
{
    raise_sql(err, "22007", "invalid syntax for type %s: \"%.*s\"", type_name,
              text.len < 200 ? (int)text.len : 200, text.ptr);
    err_hint(err, "write it in ISO 8601 form, such as 2026-11-21 08:45:00.5");
    return false;
}

static bool field_range(struct err *err, struct slice text)
{
    return raise_sql(err, "22008", "date/time field value out of range: \"%.*s\"",
                     text.len < 200 ? (int)text.len : 200, text.ptr);
}

bool date_in(struct slice text, int64_t *date, struct err *err)
{
    struct scan s = scan_of(text);
    bool out_of_range = false;

    if (scan_word(&s, "infinity") || scan_word(&s, "-infinity")) {
        *date = *s.p == '-' ? DATE_NINFINITY : DATE_INFINITY;
        return true;
    }
    *date = scan_date(&s, &out_of_range);
    if (out_of_range)
        return field_range(err, text);
    if (s.failed || s.p != s.end)
        return not_iso(err, "date", text);
    if (!date_in_range(*date))
        return raise_sql(err, "22008", "date out of range: \"%.*s\"", SLICE_ARG(text));
    return true;
}

bool time_in(struct slice text, int64_t *time, struct err *err)
{
    struct scan s = scan_of(text);

    *time = scan_time(&s);
    return s.failed || s.p != s.end ? not_iso(err, "time", text) : true;
}

bool timestamp_in(struct slice text, bool zoned, int64_t *ts, struct err *err)
{
    struct scan s = scan_of(text);
    bool out_of_range = false;
    int64_t time = 0, zone = 0;

    if (scan_word(&s, "infinity") || scan_word(&s, "-infinity")) {
        *ts = *s.p == '-' ? TIMESTAMP_NINFINITY : TIMESTAMP_INFINITY;
        return true;
    }
    int64_t date = scan_date(&s, &out_of_range);
    if (out_of_range)
        return field_range(err, text);
    if (!s.failed && s.p < s.end) {
        if (!scan_is(&s, ' '))
            scan_must(&s, 'T');
        time = scan_time(&s);
        s.failed |= time == USECS_PER_DAY;
    }
    if (zoned && !s.failed)
        zone = scan_zone(&s);
    if (s.failed || s.p != s.end)
        return not_iso(err, zoned ? "timestamptz" : "timestamp", text);
    if (date < DATE_MIN || date >= TIMESTAMP_END_DATE ||
        !timestamp_in_range(*ts = date * USECS_PER_DAY + time - zone))
        return raise_sql(err, "22008", "timestamp out of range: \"%.*s\"", SLICE_ARG(text));
    return true;
}

/* ---- out --------------------------------------------------------------- */

static void put_infinity(bool negative, struct buf *out)
{
    buf_put_cstr(out, negative ? "-infinity" : "infinity");
}

/* Returns whether " BC" has to follow. */
static bool put_date(int64_t date, struct buf *out)
{
    int64_t year;
    int month, day;

    date_to_civil(date, &year, &month, &day);
    bool bc = year <= 0;
    buf_printf(out, "%04lld-%02d-%02d", (long long)(bc ? 1 - year : year), month, day);
    return bc;
}

void date_out(int64_t date, struct buf *out)
{
    if (!date_is_finite(date))
        put_infinity(date < 0, out);
    else if (put_date(date, out))
        buf_put_cstr(out, " BC");
}

void time_out(int64_t time, struct buf *out)
{
    int64_t secs = time / USECS_PER_SEC, frac = time % USECS_PER_SEC;
    char digits[8];

    buf_printf(out, "%02d:%02d:%02d", (int)(secs / 3600), (int)(secs / 60 % 60), (int)(secs % 60));
    if (!frac)
        return;
    int n = snprintf(digits, sizeof(digits), ".%06d", (int)frac);
    while (digits[n - 1] == '0')
        n--;
    buf_put(out, digits, (size_t)n);
}

void timestamp_out(int64_t ts, bool zoned, struct buf *out)
{
    if (!timestamp_is_finite(ts)) {
        put_infinity(ts < 0, out);
        return;
    }
    int64_t date = floor_div(ts, USECS_PER_DAY);
    bool bc = put_date(date, out);

    buf_put_u8(out, ' ');
    time_out(ts - date * USECS_PER_DAY, out);
    if (zoned)
        buf_put_cstr(out, "+00");
    if (bc)
        buf_put_cstr(out, " BC");
}

/* ---- between the two --------------------------------------------------- */

bool date_to_timestamp(int64_t date, int64_t *ts, struct err *err)
{
    if (!date_is_finite(date)) {
        *ts = date < 0 ? TIMESTAMP_NINFINITY : TIMESTAMP_INFINITY;
        return true;
    }
    if (date >= TIMESTAMP_END_DATE)
        return raise_sql(err, "22008", "date out of range for timestamp");
    *ts = date * USECS_PER_DAY;
    return true;
}

int date_cmp_timestamp(int64_t date, int64_t ts)
{
    if (date_is_finite(date) && date >= TIMESTAMP_END_DATE)
        return ts == TIMESTAMP_INFINITY ? -1 : 1;
    int64_t at = !date_is_finite(date) ? (date < 0 ? TIMESTAMP_NINFINITY : TIMESTAMP_INFINITY)
                                       : date * USECS_PER_DAY;

    return (at > ts) - (at < ts);
}
