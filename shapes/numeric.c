#include "shapes/numeric.h"
#include "shapes/raise.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#define BASE 1000000000U
#define LIMB_DIGITS 9
#define MAX_INT_DIGITS 131072 /* before the point */
#define MAX_SCALE 16383
#define MAX_MUL_STEPS 250000 /* some 4,500 digits times 4,500: a clause may hold many */

static const uint32_t pow10s[] = {1,      10,      100,      1000,      10000,
                                  100000, 1000000, 10000000, 100000000, 1000000000};

static bool overflow(struct err *err)
{
    return raise_sql(err, "22003", "value overflows numeric format");
}

static uint32_t limbs_for(uint32_t digits)
{
    return (digits + LIMB_DIGITS - 1) / LIMB_DIGITS;
}

/* The limb that counts for BASE^pos; pos is negative behind the point. */
static uint32_t limb_at(const struct numeric *num, int64_t pos)
{
    int64_t i = pos + num->nfrac;

    return i >= 0 && i < (int64_t)num->n ? num->limbs[i] : 0;
}

static int64_t top_pos(const struct numeric *num)
{
    return (int64_t)num->n - num->nfrac;
}

static void strip(struct numeric *num)
{
    while (num->n > 0 && num->limbs[num->n - 1] == 0)
        num->n--;
    if (num->n == 0)
        num->neg = false;
}

static uint32_t digits_of(uint32_t limb)
{
    uint32_t d = 1;

    while (d < LIMB_DIGITS && limb >= pow10s[d])
        d++;
    return d;
}

/* After arithmetic: the highest limb is right, the result is within Postgres's limits. */
static bool finish(struct numeric *num, struct err *err)
{
    strip(num);
    if (num->n > num->nfrac) {
        uint64_t digits =
            (uint64_t)(num->n - num->nfrac - 1) * LIMB_DIGITS + digits_of(num->limbs[num->n - 1]);

        if (digits > MAX_INT_DIGITS)
            return overflow(err);
    }
    return true;
}

static int cmp_abs(const struct numeric *a, const struct numeric *b)
{
    int64_t top = top_pos(a) > top_pos(b) ? top_pos(a) : top_pos(b);
    int64_t low = -(int64_t)(a->nfrac > b->nfrac ? a->nfrac : b->nfrac);

    for (int64_t pos = top - 1; pos >= low; pos--) {
        uint32_t x = limb_at(a, pos), y = limb_at(b, pos);

        if (x != y)
            return x < y ? -1 : 1;
    }
    return 0;
}

int numeric_cmp(const struct numeric *a, const struct numeric *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->kind != NUMERIC_FINITE)
        return 0;
    if (a->neg != b->neg)
        return a->neg ? -1 : 1;
    return a->neg ? cmp_abs(b, a) : cmp_abs(a, b);
}

static struct numeric numeric_room(uint32_t dscale, uint64_t int_limbs, struct arena *arena)
{
    struct numeric num = {.kind = NUMERIC_FINITE, .dscale = dscale, .nfrac = limbs_for(dscale)};

    num.n = num.nfrac + (uint32_t)int_limbs;
    num.limbs = arena_calloc(arena, num.n ? num.n : 1, sizeof(*num.limbs));
    return num;
}

/* |a| + |b|, or |a| - |b| where |a| >= |b|. */
static struct numeric combine_abs(const struct numeric *a, const struct numeric *b, bool subtract,
                                  struct arena *arena)
{
    int64_t top = top_pos(a) > top_pos(b) ? top_pos(a) : top_pos(b);
    uint32_t dscale = a->dscale > b->dscale ? a->dscale : b->dscale;
    struct numeric sum = numeric_room(dscale, (uint64_t)((top > 0 ? top : 0) + 1), arena);
    int64_t carry = 0;

    for (uint32_t i = 0; i < sum.n; i++) {
        int64_t pos = (int64_t)i - sum.nfrac;
        int64_t y = limb_at(b, pos);
        int64_t v = (int64_t)limb_at(a, pos) + (subtract ? -y : y) + carry;

        carry = v < 0 ? -1 : v >= BASE;
        sum.limbs[i] = (uint32_t)(v - carry * (int64_t)BASE);
    }
    return sum;
}

static void special(enum numeric_kind kind, struct numeric *out)
{
    *out = (struct numeric){.kind = kind};
}

static bool add_signed(const struct numeric *a, const struct numeric *b, bool b_neg,
                       struct arena *arena, struct numeric *out, struct err *err)
{
    if (a->neg == b_neg) {
        *out = combine_abs(a, b, false, arena);
        out->neg = a->neg;
    } else if (cmp_abs(a, b) >= 0) {
        *out = combine_abs(a, b, true, arena);
        out->neg = a->neg;
    } else {
        *out = combine_abs(b, a, true, arena);
        out->neg = b_neg;
    }
    return finish(out, err);
}

bool numeric_add(const struct numeric *a, const struct numeric *b, struct arena *arena,
                 struct numeric *out, struct err *err)
{
    if (a->kind == NUMERIC_FINITE && b->kind == NUMERIC_FINITE)
        return add_signed(a, b, b->neg, arena, out, err);
    if (a->kind == NUMERIC_NAN || b->kind == NUMERIC_NAN)
        special(NUMERIC_NAN, out);
    else if (a->kind == NUMERIC_FINITE || a->kind == b->kind)
        special(b->kind, out);
    else
        special(b->kind == NUMERIC_FINITE ? a->kind : NUMERIC_NAN, out);
    return true;
}

struct numeric numeric_neg(struct numeric num)
{
    if (num.kind == NUMERIC_PINF)
        num.kind = NUMERIC_NINF;
    else if (num.kind == NUMERIC_NINF)
        num.kind = NUMERIC_PINF;
    else if (num.kind == NUMERIC_FINITE && num.n > 0)
        num.neg = !num.neg;
    return num;
}

bool numeric_sub(const struct numeric *a, const struct numeric *b, struct arena *arena,
                 struct numeric *out, struct err *err)
{
    struct numeric negated = numeric_neg(*b);

    return numeric_add(a, &negated, arena, out, err);
}

/* Rounds half away from zero to `scale` digits behind the point; only ever to fewer. */
static struct numeric round_to(const struct numeric *num, uint32_t scale, struct arena *arena)
{
    struct numeric half = numeric_room(scale + 1, 0, arena);
    uint32_t unused = half.nfrac * LIMB_DIGITS - scale - 1;
    uint32_t keep = LIMB_DIGITS - scale % LIMB_DIGITS;

    half.limbs[0] = 5 * pow10s[unused];
    struct numeric sum = combine_abs(num, &half, false, arena);
    struct numeric out =
        numeric_room(scale, (uint64_t)(top_pos(&sum) > 0 ? top_pos(&sum) : 0), arena);

    for (uint32_t i = 0; i < out.n; i++)
        out.limbs[i] = limb_at(&sum, (int64_t)i - out.nfrac);
    if (keep < LIMB_DIGITS && out.n > 0)
        out.limbs[0] -= out.limbs[0] % pow10s[keep];
    out.neg = num->neg;
    strip(&out);
    return out;
}

static bool mul_special(const struct numeric *a, const struct numeric *b, struct numeric *out)
{
    bool a_zero = a->kind == NUMERIC_FINITE && a->n == 0;
    bool b_zero = b->kind == NUMERIC_FINITE && b->n == 0;
    bool a_neg = a->kind == NUMERIC_NINF || a->neg, b_neg = b->kind == NUMERIC_NINF || b->neg;

    if (a->kind == NUMERIC_NAN || b->kind == NUMERIC_NAN || a_zero || b_zero)
        special(NUMERIC_NAN, out);
    else
        special(a_neg != b_neg ? NUMERIC_NINF : NUMERIC_PINF, out);
    return true;
}

/* The limbs' product; nfrac of it is the sum of both. */
static uint32_t *mul_limbs(const struct numeric *a, const struct numeric *b, struct arena *arena)
{
    uint32_t *limbs = arena_calloc(arena, (size_t)a->n + b->n + 1, sizeof(*limbs));

    for (uint32_t i = 0; i < a->n; i++) {
        uint64_t carry = 0;

        for (uint32_t j = 0; j < b->n; j++) {
            uint64_t v = (uint64_t)a->limbs[i] * b->limbs[j] + limbs[i + j] + carry;

            limbs[i + j] = (uint32_t)(v % BASE);
            carry = v / BASE;
        }
        limbs[i + b->n] = (uint32_t)carry;
    }
    return limbs;
}

bool numeric_mul(const struct numeric *a, const struct numeric *b, struct arena *arena,
                 struct numeric *out, struct err *err)
{
    if (a->kind != NUMERIC_FINITE || b->kind != NUMERIC_FINITE)
        return mul_special(a, b, out);
    if ((uint64_t)a->n * b->n > MAX_MUL_STEPS)
        return raise_sql(err, "54000", "numeric factors are too long to be multiplied here");

    uint32_t dscale = a->dscale + b->dscale;
    uint32_t nfrac = limbs_for(dscale), drop = a->nfrac + b->nfrac - nfrac;
    uint32_t *limbs = mul_limbs(a, b, arena);
    uint32_t n = a->n + b->n;

    /* Both nfrac are rounded up, so the product may have limbs of zeros below its scale. */
    *out = (struct numeric){.kind = NUMERIC_FINITE,
                            .neg = a->neg != b->neg,
                            .dscale = dscale,
                            .nfrac = nfrac,
                            .n = n > drop ? n - drop : 0,
                            .limbs = limbs + (n > drop ? drop : 0)};
    strip(out);
    if (dscale > MAX_SCALE)
        *out = round_to(out, MAX_SCALE, arena);
    return finish(out, err);
}

void numeric_from_int(int64_t v, struct arena *arena, struct numeric *out)
{
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

    *out = numeric_room(0, 3, arena);
    for (int i = 0; i < 3; i++, u /= BASE)
        out->limbs[i] = (uint32_t)(u % BASE);
    out->neg = v < 0;
    strip(out);
}

bool numeric_to_int(const struct numeric *num, int64_t min, int64_t max, const char *type_name,
                    int64_t *out, struct err *err)
{
    struct arena arena = {0};

    if (num->kind != NUMERIC_FINITE)
        return raise_sql(err, "0A000", "cannot convert %s to %s",
                         num->kind == NUMERIC_NAN ? "NaN" : "infinity", type_name);
    struct numeric whole = num->dscale ? round_to(num, 0, &arena) : *num;
    uint64_t u = 0;
    bool fits = whole.n <= 3 && limb_at(&whole, 2) <= 9;

    for (int i = 2; fits && i >= 0; i--)
        u = u * BASE + limb_at(&whole, i);
    bool neg = whole.neg;
    arena_release(&arena);
    if (!fits || u > (uint64_t)INT64_MAX + neg || (!neg && u > (uint64_t)max) ||
        (neg && u > 0 - (uint64_t)min))
        return raise_sql(err, "22003", "%s out of range", type_name);
    *out = neg ? (int64_t)(0 - u) : (int64_t)u;
    return true;
}

void numeric_out(const struct numeric *num, struct buf *out)
{
    if (num->kind != NUMERIC_FINITE) {
        buf_put_cstr(out, num->kind == NUMERIC_NAN    ? "NaN"
                          : num->kind == NUMERIC_PINF ? "Infinity"
                                                      : "-Infinity");
        return;
    }
    if (num->neg)
        buf_put_u8(out, '-');
    int64_t top = top_pos(num) - 1;
    if (top < 0)
        buf_put_u8(out, '0');
    for (int64_t pos = top; pos >= 0; pos--)
        buf_printf(out, pos == top ? "%u" : "%09u", limb_at(num, pos));
    if (!num->dscale)
        return;
    buf_put_u8(out, '.');
    for (uint32_t done = 0; done < num->dscale; done += LIMB_DIGITS) {
        uint32_t left = num->dscale - done;
        char digits[LIMB_DIGITS + 2];

        snprintf(digits, sizeof(digits), "%09u", limb_at(num, -1 - (int64_t)(done / LIMB_DIGITS)));
        buf_put(out, digits, left < LIMB_DIGITS ? left : LIMB_DIGITS);
    }
}

/* What the text says, before it is laid out in limbs. */
struct decimal {
    bool neg;
    const char *digits; /* with the point among them */
    size_t len;
    uint32_t nint;    /* digits before the point, as written */
    uint32_t ndigits; /* all */
    int64_t exponent;
};

static bool read_exponent(const char **p, const char *end, int64_t *exponent)
{
    bool neg = false;

    if (*p == end || (**p != 'e' && **p != 'E'))
        return true;
    if (++*p < end && (**p == '-' || **p == '+'))
        neg = *(*p)++ == '-';
    if (*p == end || !isdigit((unsigned char)**p))
        return false;
    for (; *p < end && isdigit((unsigned char)**p); ++*p) {
        *exponent = *exponent * 10 + (**p - '0');
        if (*exponent >= INT32_MAX / 2)
            return false;
    }
    if (neg)
        *exponent = -*exponent;
    return true;
}

static bool read_decimal(struct slice text, struct decimal *dec)
{
    const char *p = text.ptr, *end = p + text.len;
    bool point = false;

    *dec = (struct decimal){0};
    if (p < end && (*p == '-' || *p == '+'))
        dec->neg = *p++ == '-';
    dec->digits = p;
    for (; p < end && (isdigit((unsigned char)*p) || (*p == '.' && !point)); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        dec->ndigits++;
        dec->nint += !point;
    }
    dec->len = (size_t)(p - dec->digits);
    return dec->ndigits > 0 && read_exponent(&p, end, &dec->exponent) && p == end;
}

static bool read_special(struct slice text, struct numeric *out)
{
    bool neg = text.len && text.ptr[0] == '-';
    bool sign = neg || (text.len && text.ptr[0] == '+');
    struct slice word = {text.ptr + sign, text.len - sign};

    if (word.len == 3 && !sign && strncasecmp(word.ptr, "nan", 3) == 0) {
        special(NUMERIC_NAN, out);
        return true;
    }
    if ((word.len == 8 && strncasecmp(word.ptr, "infinity", 8) == 0) ||
        (word.len == 3 && strncasecmp(word.ptr, "inf", 3) == 0)) {
        special(neg ? NUMERIC_NINF : NUMERIC_PINF, out);
        return true;
    }
    return false;
}

/* Puts a digit that counts for 10^place. */
static void put_digit(struct numeric *num, int64_t place, uint32_t digit)
{
    int64_t at = place + (int64_t)num->nfrac * LIMB_DIGITS;

    num->limbs[at / LIMB_DIGITS] += digit * pow10s[at % LIMB_DIGITS];
}

static bool lay_out(const struct decimal *dec, struct arena *arena, struct numeric *out,
                    struct err *err)
{
    int64_t frac = (int64_t)(dec->ndigits - dec->nint) - dec->exponent;
    int64_t place = (int64_t)dec->nint + dec->exponent;
    const char *p = dec->digits, *end = p + dec->len;

    for (; p < end && (*p == '0' || *p == '.'); p++)
        place -= *p == '0';
    if (frac < 0)
        frac = 0;
    if (frac > MAX_SCALE || (p < end && place > MAX_INT_DIGITS))
        return overflow(err);
    *out =
        numeric_room((uint32_t)frac, p < end && place > 0 ? limbs_for((uint32_t)place) : 0, arena);
    for (; p < end; p++) {
        if (*p == '.')
            continue;
        place--;
        if (*p != '0')
            put_digit(out, place, (uint32_t)(*p - '0'));
    }
    out->neg = dec->neg;
    strip(out);
    return true;
}

bool numeric_in(struct slice text, struct arena *arena, struct numeric *out, struct err *err)
{
    struct slice trimmed = text;
    struct decimal dec;

    while (trimmed.len && isspace((unsigned char)trimmed.ptr[0]))
        trimmed = (struct slice){trimmed.ptr + 1, trimmed.len - 1};
    while (trimmed.len && isspace((unsigned char)trimmed.ptr[trimmed.len - 1]))
        trimmed.len--;
    if (read_special(trimmed, out))
        return true;
    if (!read_decimal(trimmed, &dec))
        return raise_syntax(err, "numeric", text);
    return lay_out(&dec, arena, out, err);
}
