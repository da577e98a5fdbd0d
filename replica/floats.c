/*
 * Floats as Postgres prints them with extra_float_digits=1: the fewest digits
 * that read back to the same value, plain where the decimal exponent is from
 * -4 to 14 (float8) or 5 (float4), and d.ddde+XX elsewhere.
 *
 * The digits are found with printf: the value is rounded to n digits for
 * growing n until it reads back. At powers of two the gap below a value is half the
 * gap above, so that the nearest n digits may lie outside and the next number up
 * inside: both are tried.
 */
#include "replica/types.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t c_locale;

static void make_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

bool lite_float_parse(struct slice text, double *out)
{
    char copy[400], *end;

    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    pthread_once(&once, make_locale);
    *out = strtod_l(copy, &end, c_locale);
    return end == copy + text.len && !isnan(*out);
}

/* A decimal: 0.d1d2d3... times 10 to the power of exp + 1. */
struct decimal {
    char digits[20];
    int n, exp;
};

static void round_to(double v, int n, struct decimal *d)
{
    char text[64];

    snprintf(text, sizeof(text), "%.*e", n - 1, v);
    d->n = 0;
    const char *p = text;
    for (; *p && *p != 'e'; p++) { /* the decimal point depends on the locale: step over it */
        if (*p >= '0' && *p <= '9')
            d->digits[d->n++] = *p;
    }
    d->exp = *p == 'e' ? atoi(p + 1) : 0;
}

static void one_up(struct decimal *d)
{
    int i = d->n - 1;

    while (i >= 0 && d->digits[i] == '9')
        d->digits[i--] = '0';
    if (i >= 0) {
        d->digits[i]++;
        return;
    }
    d->digits[0] = '1';
    d->exp++;
}

static bool reads_back(const struct decimal *d, double v, bool single)
{
    char text[64];

    snprintf(text, sizeof(text), "%.*se%d", d->n, d->digits, d->exp - (d->n - 1));
    pthread_once(&once, make_locale);
    if (single)
        return strtof_l(text, NULL, c_locale) == (float)v;
    return strtod_l(text, NULL, c_locale) == v;
}

static void shortest(double v, bool single, struct decimal *d)
{
    int most = single ? 9 : 17, first = single ? 6 : 15;

    if (v < (single ? (double)FLT_MIN : DBL_MIN))
        first = 1; /* subnormal: fewer digits are exact */
    for (int n = first; n < most; n++) {
        round_to(v, n, d);
        if (reads_back(d, v, single))
            return;
        one_up(d);
        if (reads_back(d, v, single))
            return;
    }
    round_to(v, most, d);
}

static void put_plain(struct buf *b, const struct decimal *d)
{
    if (d->exp < 0) {
        buf_put_cstr(b, "0.");
        for (int i = -1; i > d->exp; i--)
            buf_put_u8(b, '0');
        buf_put(b, d->digits, (size_t)d->n);
        return;
    }
    for (int i = 0; i <= d->exp || i < d->n; i++) {
        if (i == d->exp + 1)
            buf_put_u8(b, '.');
        buf_put_u8(b, i < d->n ? (uint8_t)d->digits[i] : '0');
    }
}

static void put_scientific(struct buf *b, const struct decimal *d)
{
    buf_put(b, d->digits, 1);
    if (d->n > 1) {
        buf_put_u8(b, '.');
        buf_put(b, d->digits + 1, (size_t)d->n - 1);
    }
    buf_printf(b, "e%c%02d", d->exp < 0 ? '-' : '+', abs(d->exp));
}

struct slice lite_float_text(double v, bool single, struct arena *arena)
{
    struct decimal d;
    struct buf b;

    if (isnan(v))
        return SLICE("NaN");
    if (isinf(v))
        return v > 0 ? SLICE("Infinity") : SLICE("-Infinity");
    if (v == 0)
        return signbit(v) ? SLICE("-0") : SLICE("0");
    if (single)
        v = (double)(float)v;
    shortest(fabs(v), single, &d);
    while (d.n > 1 && d.digits[d.n - 1] == '0')
        d.n--;

    buf_init(&b, 64);
    if (v < 0)
        buf_put_u8(&b, '-');
    if (d.exp >= -4 && d.exp < (single ? 6 : 15))
        put_plain(&b, &d);
    else
        put_scientific(&b, &d);
    struct slice text = arena_copy(arena, buf_slice(&b));
    buf_release(&b);
    return text;
}
