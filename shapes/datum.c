#include "shapes/datum.h"
#include "shapes/array.h"
#include "shapes/datetime.h"
#include "shapes/pgtype.h"
#include "shapes/raise.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* ---- in ---------------------------------------------------------------- */

static struct slice trim(struct slice s)
{
    while (s.len && isspace((unsigned char)s.ptr[0]))
        s = (struct slice){s.ptr + 1, s.len - 1};
    while (s.len && isspace((unsigned char)s.ptr[s.len - 1]))
        s.len--;
    return s;
}

static bool bool_in(struct slice text, struct datum *out, struct err *err)
{
    static const struct {
        const char *word;
        size_t at_least; /* letters that tell it from the others */
        bool value;
    } words[] = {{"true", 1, true}, {"false", 1, false}, {"yes", 1, true}, {"no", 1, false},
                 {"on", 2, true},   {"off", 2, false},   {"1", 1, true},   {"0", 1, false}};
    struct slice s = trim(text);

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (s.len >= words[i].at_least && s.len <= strlen(words[i].word) &&
            strncasecmp(s.ptr, words[i].word, s.len) == 0) {
            out->b = words[i].value;
            return true;
        }
    }
    return raise_syntax(err, "boolean", text);
}

struct int_kind {
    int64_t min, max;
    const char *name;
};

static struct int_kind int_kind_of(int type)
{
    if (type == PG_INT2)
        return (struct int_kind){INT16_MIN, INT16_MAX, "smallint"};
    if (type == PG_INT4)
        return (struct int_kind){INT32_MIN, INT32_MAX, "integer"};
    return (struct int_kind){INT64_MIN, INT64_MAX, "bigint"};
}

static bool int_in(int type, struct slice text, struct datum *out, struct err *err)
{
    struct int_kind kind = int_kind_of(type);
    struct slice s = trim(text);
    bool neg = s.len && s.ptr[0] == '-', over = false;
    uint64_t v = 0, most = neg ? 0 - (uint64_t)kind.min : (uint64_t)kind.max;
    size_t i = neg || (s.len && s.ptr[0] == '+');

    if (i == s.len)
        return raise_syntax(err, kind.name, text);
    for (; i < s.len; i++) {
        unsigned digit = (unsigned char)s.ptr[i] - (unsigned)'0';

        if (digit > 9)
            return raise_syntax(err, kind.name, text);
        over |= v > (most - digit) / 10;
        v = v * 10 + digit;
    }
    if (over)
        return raise_sql(err, "22003", "value \"%.*s\" is out of range for type %s",
                         text.len < 200 ? (int)text.len : 200, text.ptr, kind.name);
    out->i = neg ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

static bool float_in(int type, struct slice text, struct arena *arena, struct datum *out,
                     struct err *err)
{
    const char *name = type == PG_FLOAT4 ? "real" : "double precision";
    struct slice s = arena_copy(arena, trim(text));
    char *end;

    errno = 0;
    double v = type == PG_FLOAT4 ? (double)strtof(s.ptr, &end) : strtod(s.ptr, &end);
    if (s.len == 0 || end != s.ptr + s.len)
        return raise_syntax(err, name, text);
    if (errno == ERANGE && (v == 0 || isinf(v)))
        return raise_sql(err, "22003", "\"%.*s\" is out of range for type %s",
                         text.len < 200 ? (int)text.len : 200, text.ptr, name);
    out->f = v;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool uuid_in(struct slice text, struct arena *arena, struct datum *out, struct err *err)
{
    char *bytes = arena_alloc(arena, 16);
    const char *p = text.ptr, *end = p + text.len;
    bool braces = p < end && *p == '{';

    p += braces;
    for (int i = 0; i < 16; i++) {
        int high = p < end ? hex_digit(*p) : -1, low = end - p > 1 ? hex_digit(p[1]) : -1;

        if (high < 0 || low < 0)
            return raise_syntax(err, "uuid", text);
        bytes[i] = (char)(high << 4 | low);
        p += 2;
        p += i % 2 == 1 && i < 15 && p < end && *p == '-';
    }
    if (braces && (p == end || *p++ != '}'))
        return raise_syntax(err, "uuid", text);
    out->s = (struct slice){bytes, 16};
    return p == end ? true : raise_syntax(err, "uuid", text);
}

static bool bytea_hex_in(struct slice text, char *bytes, struct datum *out, struct err *err)
{
    size_t n = 0;

    for (size_t i = 2; i < text.len;) {
        if (memchr(" \n\t\r", text.ptr[i], 4)) {
            i++;
            continue;
        }
        int high = hex_digit(text.ptr[i]), low = i + 1 < text.len ? hex_digit(text.ptr[i + 1]) : -1;
        if (high < 0 || low < 0)
            return raise_sql(err, "22023", "invalid hexadecimal data");
        bytes[n++] = (char)(high << 4 | low);
        i += 2;
    }
    out->s = (struct slice){bytes, n};
    return true;
}

static bool is_octal(char c, char most)
{
    return c >= '0' && c <= most;
}

static bool bytea_in(struct slice text, struct arena *arena, struct datum *out, struct err *err)
{
    char *bytes = arena_alloc(arena, text.len);
    size_t n = 0;

    if (text.len >= 2 && text.ptr[0] == '\\' && text.ptr[1] == 'x')
        return bytea_hex_in(text, bytes, out, err);
    for (size_t i = 0; i < text.len;) {
        const char *p = text.ptr + i;
        size_t left = text.len - i;

        if (*p != '\\') {
            bytes[n++] = *p;
            i++;
        } else if (left >= 4 && is_octal(p[1], '3') && is_octal(p[2], '7') && is_octal(p[3], '7')) {
            bytes[n++] = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
            i += 4;
        } else if (left >= 2 && p[1] == '\\') {
            bytes[n++] = '\\';
            i += 2;
        } else {
            return raise_sql(err, "22P02", "invalid input syntax for type bytea");
        }
    }
    out->s = (struct slice){bytes, n};
    return true;
}

/* A name holds 63 bytes; longer ones are cut before the character that does not fit. */
static struct slice name_cut(struct slice text)
{
    if (text.len > 63) {
        text.len = 63;
        while (text.len && ((unsigned char)text.ptr[text.len] & 0xc0) == 0x80)
            text.len--;
    }
    return text;
}

bool datum_in(int type, struct slice text, struct arena *arena, struct datum *out, struct err *err)
{
    *out = (struct datum){0};
    if (pgtype_is_array(type))
        return array_in(pgtype_elem(type), text, arena, &out->arr, err);
    switch (type) {
    case PG_BOOL:
        return bool_in(text, out, err);
    case PG_INT2:
    case PG_INT4:
    case PG_INT8:
        return int_in(type, text, out, err);
    case PG_FLOAT4:
    case PG_FLOAT8:
        return float_in(type, text, arena, out, err);
    case PG_NUMERIC: {
        struct numeric *num = arena_alloc(arena, sizeof(*num));

        out->num = num;
        return numeric_in(text, arena, num, err);
    }
    case PG_UUID:
        return uuid_in(text, arena, out, err);
    case PG_BYTEA:
        return bytea_in(text, arena, out, err);
    case PG_DATE:
        return date_in(text, &out->i, err);
    case PG_TIME:
        return time_in(text, &out->i, err);
    case PG_TIMESTAMP:
    case PG_TIMESTAMPTZ:
        return timestamp_in(text, type == PG_TIMESTAMPTZ, &out->i, err);
    case PG_INTERVAL:
        return interval_in(text, &out->iv, err);
    case PG_NAME:
        out->s = name_cut(text);
        return true;
    default:
        out->s = text;
        return true;
    }
}

/* ---- out --------------------------------------------------------------- */

/* Whether the decimal lies strictly between the midpoints to the neighbours: Postgres does not
 * take one that lies on a midpoint, though reading would round it the right way. */
static bool reads_back(const char *text, double v, bool is_float4)
{
    long double below, above, d = strtold(text, NULL);

    if (is_float4) {
        below = (long double)nextafterf((float)v, 0);
        above = (long double)nextafterf((float)v, INFINITY);
        if (isinf(above))
            return (double)strtof(text, NULL) == v;
    } else {
        below = (long double)nextafter(v, 0);
        above = (long double)nextafter(v, INFINITY);
        if (isinf(above))
            return strtod(text, NULL) == v;
    }
    return (below + (long double)v) / 2 < d && d < (above + (long double)v) / 2;
}

/* The same digits with the last one made greater by one: "1.25e+03" gives "1.26e+03". */
static bool bump(char *text)
{
    char *p = strchr(text, 'e');

    while (p > text) {
        p--;
        if (*p == '.')
            continue;
        if (*p != '9') {
            ++*p;
            return true;
        }
        *p = '0';
    }
    return false;
}

/* `text` gets d.ddde+xx of a positive finite v. */
static void shortest(double v, bool is_float4, char *text, size_t size)
{
    for (int digits = 0; digits < 17; digits++) {
        snprintf(text, size, "%.*e", digits, v);
        if (reads_back(text, v, is_float4))
            return;
        /* Next to a power of two the gap below is the narrower one, so that the nearest decimal
         * may fail where the one above it does not. */
        if (bump(text) && reads_back(text, v, is_float4))
            return;
    }
    snprintf(text, size, "%.16e", v);
}

void float_out(double v, bool is_float4, struct buf *out)
{
    char text[40], digits[24];
    int ndigits = 0;

    if (isnan(v) || isinf(v)) {
        buf_put_cstr(out, isnan(v) ? "NaN" : v < 0 ? "-Infinity" : "Infinity");
        return;
    }
    if (signbit(v))
        buf_put_u8(out, '-');
    if (v == 0) {
        buf_put_u8(out, '0');
        return;
    }
    shortest(fabs(v), is_float4, text, sizeof(text));
    for (const char *p = text; *p != 'e'; p++) {
        if (*p != '.')
            digits[ndigits++] = *p;
    }
    while (ndigits > 1 && digits[ndigits - 1] == '0')
        ndigits--;
    int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent < -4 || exponent >= (is_float4 ? 6 : 15)) {
        buf_put_u8(out, (uint8_t)digits[0]);
        if (ndigits > 1)
            buf_printf(out, ".%.*s", ndigits - 1, digits + 1);
        buf_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    } else if (exponent < 0) {
        buf_printf(out, "0.%.*s%.*s", -exponent - 1, "0000", ndigits, digits);
    } else if (ndigits <= exponent + 1) {
        buf_printf(out, "%.*s%.*s", ndigits, digits, exponent + 1 - ndigits, "00000000000000000");
    } else {
        buf_printf(out, "%.*s.%.*s", exponent + 1, digits, ndigits - exponent - 1,
                   digits + exponent + 1);
    }
}

static void hex_out(struct slice bytes, bool dashes, struct buf *out)
{
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 0; i < bytes.len; i++) {
        unsigned char byte = (unsigned char)bytes.ptr[i];

        if (dashes && (i == 4 || i == 6 || i == 8 || i == 10))
            buf_put_u8(out, '-');
        buf_put_u8(out, (uint8_t)hex[byte >> 4]);
        buf_put_u8(out, (uint8_t)hex[byte & 15]);
    }
}

static void int_out(int64_t v, struct buf *out)
{
    if (v < 0)
        buf_put_u8(out, '-');
    buf_put_dec(out, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void datum_out(int type, const struct datum *d, struct buf *out)
{
    if (pgtype_is_array(type)) {
        array_out(pgtype_elem(type), d->arr, out);
        return;
    }
    switch (type) {
    case PG_BOOL:
        buf_put_u8(out, d->b ? 't' : 'f');
        break;
    case PG_INT2:
    case PG_INT4:
    case PG_INT8:
        int_out(d->i, out);
        break;
    case PG_FLOAT4:
    case PG_FLOAT8:
        float_out(d->f, type == PG_FLOAT4, out);
        break;
    case PG_NUMERIC:
        numeric_out(d->num, out);
        break;
    case PG_UUID:
        hex_out(d->s, true, out);
        break;
    case PG_BYTEA:
        buf_put_cstr(out, "\\x");
        hex_out(d->s, false, out);
        break;
    case PG_DATE:
        date_out(d->i, out);
        break;
    case PG_TIME:
        time_out(d->i, out);
        break;
    case PG_TIMESTAMP:
    case PG_TIMESTAMPTZ:
        timestamp_out(d->i, type == PG_TIMESTAMPTZ, out);
        break;
    case PG_INTERVAL:
        interval_out(&d->iv, out);
        break;
    default:
        buf_put_slice(out, d->s);
        break;
    }
}

struct slice datum_text(int type, const struct datum *d, struct arena *arena)
{
    struct buf buf;

    if (!pgtype_is_array(type) && (pgtype_is_text(type) || type >= PG_OID))
        return d->s;
    buf_init(&buf, BUF_NO_LIMIT);
    datum_out(type, d, &buf);
    struct slice text = arena_copy(arena, buf_slice(&buf));
    buf_release(&buf);
    return text;
}

/* ---- compare ----------------------------------------------------------- */

static int cmp_bool(const struct datum *a, const struct datum *b)
{
    return a->b - b->b;
}

static int cmp_int(const struct datum *a, const struct datum *b)
{
    return (a->i > b->i) - (a->i < b->i);
}

static int cmp_float(const struct datum *a, const struct datum *b)
{
    if (isnan(a->f) || isnan(b->f))
        return !!isnan(a->f) - !!isnan(b->f);
    return (a->f > b->f) - (a->f < b->f);
}

static int cmp_numeric(const struct datum *a, const struct datum *b)
{
    return numeric_cmp(a->num, b->num);
}

static int cmp_bytes(const struct datum *a, const struct datum *b)
{
    return slice_cmp(a->s, b->s);
}

static struct slice without_pad(struct slice s)
{
    while (s.len && s.ptr[s.len - 1] == ' ')
        s.len--;
    return s;
}

static int cmp_bpchar(const struct datum *a, const struct datum *b)
{
    return slice_cmp(without_pad(a->s), without_pad(b->s));
}

static int cmp_interval(const struct datum *a, const struct datum *b)
{
    return interval_cmp(&a->iv, &b->iv);
}

static int cmp_date_timestamp(const struct datum *a, const struct datum *b)
{
    return date_cmp_timestamp(a->i, b->i);
}

static int cmp_timestamp_date(const struct datum *a, const struct datum *b)
{
    return -date_cmp_timestamp(b->i, a->i);
}

datum_cmp *datum_cmp_for(int type)
{
    switch (type) {
    case PG_BOOL:
        return cmp_bool;
    case PG_FLOAT4:
    case PG_FLOAT8:
        return cmp_float;
    case PG_NUMERIC:
        return cmp_numeric;
    case PG_INTERVAL:
        return cmp_interval;
    case PG_BPCHAR:
        return cmp_bpchar;
    case PG_TEXT:
    case PG_VARCHAR:
    case PG_NAME:
    case PG_BYTEA:
    case PG_UUID:
        return cmp_bytes;
    default:
        return pgtype_is_known(type) && !pgtype_is_array(type) ? cmp_int : NULL;
    }
}

static bool is_timestamp(int type)
{
    return type == PG_TIMESTAMP || type == PG_TIMESTAMPTZ;
}

datum_cmp *datum_cmp_between(int left, int right)
{
    if (left == right)
        return datum_cmp_for(left);
    if ((pgtype_is_integer(left) && pgtype_is_integer(right)) ||
        (is_timestamp(left) && is_timestamp(right)))
        return cmp_int;
    if (pgtype_is_float(left) && pgtype_is_float(right))
        return cmp_float;
    if ((left == PG_NAME && right == PG_TEXT) || (left == PG_TEXT && right == PG_NAME))
        return cmp_bytes;
    if (left == PG_DATE && is_timestamp(right))
        return cmp_date_timestamp;
    if (is_timestamp(left) && right == PG_DATE)
        return cmp_timestamp_date;
    return NULL;
}
