#include "kafka/decimal.h"

#include "base/arena.h"

#include <stdlib.h>

#define DIGITS_A_STEP 9 /* so many fit a limb with a factor to spare */

/* A natural number, lowest limb first. */
struct natural {
    uint32_t *limbs;
    size_t n;
};

static void multiply_add(struct natural *v, uint32_t factor, uint32_t plus)
{
    uint64_t carry = plus;

    for (size_t i = 0; i < v->n; i++) {
        carry += (uint64_t)v->limbs[i] * factor;
        v->limbs[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry)
        v->limbs[v->n++] = (uint32_t)carry;
}

/* Big-endian, behind at least one byte of sign. */
static void put_bytes(const struct natural *v, bool negative, struct buf *out)
{
    size_t n = v->n * 4 + 1;
    uint8_t *bytes = xcalloc(n, 1);
    unsigned carry = negative;
    size_t skip = 0;

    for (size_t i = 0; i < n; i++) {
        unsigned byte = i / 4 < v->n ? v->limbs[i / 4] >> (i % 4 * 8) & 0xff : 0;

        byte = negative ? (~byte & 0xff) + carry : byte;
        carry = negative && byte > 0xff;
        bytes[n - 1 - i] = (uint8_t)byte;
    }
    while (skip + 1 < n && bytes[skip] == (bytes[skip + 1] & 0x80 ? 0xff : 0))
        skip++;
    buf_put(out, bytes + skip, n - skip);
    free(bytes);
}

int decimal_scale(struct slice text)
{
    const char *point = memchr(text.ptr, '.', text.len);

    return point ? (int)(text.ptr + text.len - point - 1) : 0;
}

static bool all_are(struct slice s, char from, char to)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < from || s.ptr[i] > to)
            return false;
    return true;
}

/* Adds the digits of `s`, then `zeros` zeros. */
static void add_digits(struct natural *v, struct slice s, size_t zeros)
{
    size_t len = s.len + zeros;

    for (size_t i = 0; i < len;) {
        uint32_t factor = 1, plus = 0;

        for (size_t k = 0; k < DIGITS_A_STEP && i < len; k++, i++) {
            factor *= 10;
            plus = plus * 10 + (i < s.len ? (uint32_t)(s.ptr[i] - '0') : 0);
        }
        multiply_add(v, factor, plus);
    }
}

bool decimal_put_unscaled(struct slice text, int scale, struct buf *out)
{
    bool negative = text.len && text.ptr[0] == '-';
    struct slice whole = {text.ptr + negative, text.len - negative};
    const char *point = memchr(whole.ptr, '.', whole.len);
    struct slice fraction = {"", 0};
    struct natural v;

    if (point) {
        fraction = (struct slice){point + 1, (size_t)(whole.ptr + whole.len - point - 1)};
        whole.len = (size_t)(point - whole.ptr);
    }
    if (!whole.len || !all_are(whole, '0', '9') || !all_are(fraction, '0', '9'))
        return false;
    /* A negative scale leaves out zeros before the point. */
    size_t cut = scale < 0 ? (size_t)-scale : 0, behind = scale > 0 ? (size_t)scale : 0;
    struct slice left_out = {whole.ptr + whole.len - (cut < whole.len ? cut : whole.len),
                             cut < whole.len ? cut : whole.len};
    size_t kept = fraction.len < behind ? fraction.len : behind;

    if (!all_are(left_out, '0', '0') ||
        !all_are((struct slice){fraction.ptr + kept, fraction.len - kept}, '0', '0'))
        return false;
    whole.len -= left_out.len;
    v = (struct natural){xcalloc((whole.len + behind) / DIGITS_A_STEP + 2, sizeof(*v.limbs)), 0};
    add_digits(&v, whole, 0);
    add_digits(&v, (struct slice){fraction.ptr, kept}, behind - kept);
    put_bytes(&v, negative, out);
    free(v.limbs);
    return true;
}
