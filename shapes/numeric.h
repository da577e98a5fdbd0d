/*
 * Postgres's numeric: exact decimals of any length, with a display scale, NaN
 * and the infinities. Sums, differences, products and comparisons are exact;
 * there is no division, because its scale would have to be chosen.
 *
 * Digits are kept in base 1,000,000,000, least significant first; a value is
 * immutable and lives in an arena.
 */
#ifndef SHAPES_NUMERIC_H
#define SHAPES_NUMERIC_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

enum numeric_kind { NUMERIC_NINF, NUMERIC_FINITE, NUMERIC_PINF, NUMERIC_NAN };

struct numeric {
    enum numeric_kind kind;
    bool neg;
    uint32_t dscale; /* digits shown behind the point */
    uint32_t n;      /* limbs used; the highest is not zero; zero has none */
    uint32_t nfrac;  /* of these, how many stand behind the point: dscale / 9 rounded up */
    uint32_t *limbs;
};

/* Reads Postgres's input syntax of 14 and 15 (16 also takes hex and underscores: refused here).
 * 22P02 or 22003 on failure. */
bool numeric_in(struct slice text, struct arena *arena, struct numeric *out,
                struct err *err) MUST_CHECK;
void numeric_out(const struct numeric *num, struct buf *out);

int numeric_cmp(const struct numeric *a, const struct numeric *b);
bool numeric_add(const struct numeric *a, const struct numeric *b, struct arena *arena,
                 struct numeric *out, struct err *err) MUST_CHECK;
bool numeric_sub(const struct numeric *a, const struct numeric *b, struct arena *arena,
                 struct numeric *out, struct err *err) MUST_CHECK;
bool numeric_mul(const struct numeric *a, const struct numeric *b, struct arena *arena,
                 struct numeric *out, struct err *err) MUST_CHECK;
struct numeric numeric_neg(struct numeric num);

void numeric_from_int(int64_t v, struct arena *arena, struct numeric *out);
/* Rounds half away from zero. `type_name` is for the error: "integer". */
bool numeric_to_int(const struct numeric *num, int64_t min, int64_t max, const char *type_name,
                    int64_t *out, struct err *err) MUST_CHECK;

#endif
