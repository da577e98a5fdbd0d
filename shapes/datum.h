/*
 * One value while a clause is evaluated, in memory as its type needs it:
 *
 *     bool                                   b
 *     int2, int4, int8, date, time,
 *     timestamp, timestamptz                 i (datetime.h says what of)
 *     float4, float8                         f (a float4 is always exactly one)
 *     text, varchar, bpchar, name, others    s, Postgres's text
 *     bytea, uuid                            s, the bytes
 *     numeric, array                         behind a pointer
 *
 * A datum does not know its type: the expression does. What it points to lies
 * in the arena it was made in, or in the row.
 */
#ifndef SHAPES_DATUM_H
#define SHAPES_DATUM_H

#include "base/arena.h"
#include "base/buf.h"
#include "shapes/interval.h"
#include "shapes/numeric.h"

struct array;
struct const_set;

struct datum {
    bool null;
    union {
        bool b;
        int64_t i;
        double f;
        struct slice s;
        struct interval iv;
        const struct numeric *num;
        const struct array *arr;
        const struct const_set *set; /* of a place for one: expr.h */
    };
};

/* Postgres's input function of the type; `type` as in pgtype.h, not unknown. Text is borrowed
 * where nothing has to be unescaped. */
bool datum_in(int type, struct slice text, struct arena *arena, struct datum *out,
              struct err *err) MUST_CHECK;
/* Postgres's output function, under the settings that the stream has. */
void datum_out(int type, const struct datum *d, struct buf *out);
/* The same, into the arena. */
struct slice datum_text(int type, const struct datum *d, struct arena *arena);

/* A total order that says 0 exactly where `=` is true: NaN equals NaN and is greatest. Neither
 * may be null. */
typedef int datum_cmp(const struct datum *a, const struct datum *b);

/* For two of the same type; NULL where there is none (arrays, others). */
datum_cmp *datum_cmp_for(int type);
/* For the pairs that Postgres has comparison operators for; NULL where none. */
datum_cmp *datum_cmp_between(int left, int right);

/* The shortest decimal that reads back as the same float4 or float8, as Postgres prints it. */
void float_out(double v, bool is_float4, struct buf *out);

#endif
