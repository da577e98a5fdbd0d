/*
 * The operators that are not comparisons: arithmetic, bits, LIKE, dates. Each
 * raises what Postgres raises when a result does not fit.
 *
 * Integers of any width share one function, which asks the node for the type
 * of its result; so do the two floats.
 */
#include "shapes/overload.h"
#include "shapes/checked.h"
#include "shapes/datetime.h"
#include "shapes/like.h"
#include "shapes/raise.h"

#include <math.h>

/* ---- integers ---------------------------------------------------------- */

static bool int_result(struct call *call, bool fits, int64_t v, struct datum *out)
{
    int type = call->expr->type;
    const char *name = type == PG_INT2 ? "smallint" : type == PG_INT4 ? "integer" : "bigint";

    if (!fits || (type == PG_INT2 && v != (int16_t)v) || (type == PG_INT4 && v != (int32_t)v))
        return raise_sql(call->err, "22003", "%s out of range", name);
    out->i = v;
    return true;
}

static bool int_add(struct call *call, const struct datum *args, struct datum *out)
{
    int64_t v = 0;
    bool fits = checked_add(args[0].i, args[1].i, &v);

    return int_result(call, fits, v, out);
}

static bool int_sub(struct call *call, const struct datum *args, struct datum *out)
{
    int64_t v = 0;
    bool fits = checked_sub(args[0].i, args[1].i, &v);

    return int_result(call, fits, v, out);
}

static bool int_mul(struct call *call, const struct datum *args, struct datum *out)
{
    int64_t v = 0;
    bool fits = checked_mul(args[0].i, args[1].i, &v);

    return int_result(call, fits, v, out);
}

static bool division_by_zero(struct call *call)
{
    return raise_sql(call->err, "22012", "division by zero");
}

static bool int_div(struct call *call, const struct datum *args, struct datum *out)
{
    if (args[1].i == 0)
        return division_by_zero(call);
    if (args[1].i == -1) {
        int64_t v = 0;
        bool fits = checked_sub(0, args[0].i, &v);

        return int_result(call, fits, v, out);
    }
    return int_result(call, true, args[0].i / args[1].i, out);
}

static bool int_neg(struct call *call, const struct datum *args, struct datum *out)
{
    int64_t v = 0;
    bool fits = checked_sub(0, args[0].i, &v);

    return int_result(call, fits, v, out);
}

static bool int_abs(struct call *call, const struct datum *args, struct datum *out)
{
    return args[0].i < 0 ? int_neg(call, args, out) : int_result(call, true, args[0].i, out);
}

static bool same(struct call *call, const struct datum *args, struct datum *out)
{
    (void)call;
    *out = args[0];
    return true;
}

static bool int_and(struct call *call, const struct datum *args, struct datum *out)
{
    return int_result(call, true, args[0].i & args[1].i, out);
}

static bool int_or(struct call *call, const struct datum *args, struct datum *out)
{
    return int_result(call, true, args[0].i | args[1].i, out);
}

static bool int_xor(struct call *call, const struct datum *args, struct datum *out)
{
    return int_result(call, true, args[0].i ^ args[1].i, out);
}

static bool int_not(struct call *call, const struct datum *args, struct datum *out)
{
    return int_result(call, true, ~args[0].i, out);
}

/* ---- floats ------------------------------------------------------------ */

static bool float_overflow(struct call *call)
{
    return raise_sql(call->err, "22003", "value out of range: overflow");
}

static bool float_underflow(struct call *call)
{
    return raise_sql(call->err, "22003", "value out of range: underflow");
}

static double narrowed(const struct call *call, double v)
{
    return call->expr->type == PG_FLOAT4 ? (double)(float)v : v;
}

/* Two floats' sum and the like in double, rounded to float, is what float arithmetic gives: a
 * double has more than twice a float's bits. */
static bool float_sum(struct call *call, double a, double b, struct datum *out)
{
    out->f = narrowed(call, a + b);
    return isinf(out->f) && !isinf(a) && !isinf(b) ? float_overflow(call) : true;
}

static bool float_add(struct call *call, const struct datum *args, struct datum *out)
{
    return float_sum(call, args[0].f, args[1].f, out);
}

static bool float_sub(struct call *call, const struct datum *args, struct datum *out)
{
    return float_sum(call, args[0].f, -args[1].f, out);
}

static bool float_mul(struct call *call, const struct datum *args, struct datum *out)
{
    double a = args[0].f, b = args[1].f;

    out->f = narrowed(call, a * b);
    if (isinf(out->f) && !isinf(a) && !isinf(b))
        return float_overflow(call);
    return out->f == 0 && a != 0 && b != 0 ? float_underflow(call) : true;
}

static bool float_div(struct call *call, const struct datum *args, struct datum *out)
{
    double a = args[0].f, b = args[1].f;

    if (b == 0 && !isnan(a))
        return division_by_zero(call);
    out->f = narrowed(call, a / b);
    if (isinf(out->f) && !isinf(a))
        return float_overflow(call);
    return out->f == 0 && a != 0 && !isinf(b) ? float_underflow(call) : true;
}

static bool float_pow(struct call *call, const struct datum *args, struct datum *out)
{
    double a = args[0].f, b = args[1].f;

    if (isnan(a) || isnan(b)) {
        out->f = (isnan(a) && b == 0) || (isnan(b) && a == 1) ? 1.0 : (double)NAN;
        return true;
    }
    if (a == 0 && b < 0)
        return raise_sql(call->err, "2201F", "zero raised to a negative power is undefined");
    if (a < 0 && floor(b) != b)
        return raise_sql(call->err, "2201F",
                         "a negative number raised to a non-integer power yields a complex result");
    out->f = pow(a, b);
    if (isinf(a) || isinf(b))
        return true;
    if (isinf(out->f))
        return float_overflow(call);
    return out->f == 0 && a != 0 ? float_underflow(call) : true;
}

static bool float_sqrt(struct call *call, const struct datum *args, struct datum *out)
{
    if (args[0].f < 0)
        return raise_sql(call->err, "2201F", "cannot take square root of a negative number");
    out->f = sqrt(args[0].f);
    return true;
}

static bool float_neg(struct call *call, const struct datum *args, struct datum *out)
{
    (void)call;
    out->f = -args[0].f;
    return true;
}

static bool float_abs(struct call *call, const struct datum *args, struct datum *out)
{
    (void)call;
    out->f = fabs(args[0].f);
    return true;
}

/* ---- numeric ----------------------------------------------------------- */

static struct numeric *numeric_result(struct call *call, struct datum *out)
{
    struct numeric *num = arena_alloc(call->arena, sizeof(*num));

    out->num = num;
    return num;
}

static bool num_add(struct call *call, const struct datum *args, struct datum *out)
{
    return numeric_add(args[0].num, args[1].num, call->arena, numeric_result(call, out), call->err);
}

static bool num_sub(struct call *call, const struct datum *args, struct datum *out)
{
    return numeric_sub(args[0].num, args[1].num, call->arena, numeric_result(call, out), call->err);
}

static bool num_mul(struct call *call, const struct datum *args, struct datum *out)
{
    return numeric_mul(args[0].num, args[1].num, call->arena, numeric_result(call, out), call->err);
}

static bool num_neg(struct call *call, const struct datum *args, struct datum *out)
{
    *numeric_result(call, out) = numeric_neg(*args[0].num);
    return true;
}

static bool num_abs(struct call *call, const struct datum *args, struct datum *out)
{
    const struct numeric *num = args[0].num;

    *numeric_result(call, out) = num->neg || num->kind == NUMERIC_NINF ? numeric_neg(*num) : *num;
    return true;
}

/* ---- LIKE -------------------------------------------------------------- */

static bool is_negated(const struct call *call)
{
    return call->expr->name[0] == '!';
}

static bool like_text(struct call *call, const struct datum *args, struct datum *out)
{
    bool bytes = call->expr->args[0]->type == PG_BYTEA;

    if (!like_match(args[0].s, args[1].s, bytes ? LIKE_BYTES : LIKE_UTF8, &out->b, call->err))
        return false;
    out->b ^= is_negated(call);
    return true;
}

static struct slice lower_ascii(struct slice s, struct arena *arena)
{
    char *p = arena_alloc(arena, s.len);

    for (size_t i = 0; i < s.len; i++)
        p[i] = s.ptr[i] >= 'A' && s.ptr[i] <= 'Z' ? (char)(s.ptr[i] + 32) : s.ptr[i];
    return (struct slice){p, s.len};
}

/* With the C collation, where case is ASCII's: typing.c sees to it. */
static bool ilike_text(struct call *call, const struct datum *args, struct datum *out)
{
    struct slice text = lower_ascii(args[0].s, call->arena);
    struct slice pattern = lower_ascii(args[1].s, call->arena);

    if (!like_match(text, pattern, LIKE_UTF8, &out->b, call->err))
        return false;
    out->b ^= is_negated(call);
    return true;
}

/* ---- dates ------------------------------------------------------------- */

static bool date_result(struct call *call, int64_t date, struct datum *out)
{
    if (!date_in_range(date))
        return raise_sql(call->err, "22008", "date out of range");
    out->i = date;
    return true;
}

static bool date_plus_int(struct call *call, const struct datum *args, struct datum *out)
{
    if (!date_is_finite(args[0].i)) {
        *out = args[0];
        return true;
    }
    return date_result(call, args[0].i + args[1].i, out);
}

static bool int_plus_date(struct call *call, const struct datum *args, struct datum *out)
{
    const struct datum swapped[] = {args[1], args[0]};

    return date_plus_int(call, swapped, out);
}

static bool date_minus_int(struct call *call, const struct datum *args, struct datum *out)
{
    if (!date_is_finite(args[0].i)) {
        *out = args[0];
        return true;
    }
    return date_result(call, args[0].i - args[1].i, out);
}

static bool date_minus_date(struct call *call, const struct datum *args, struct datum *out)
{
    if (!date_is_finite(args[0].i) || !date_is_finite(args[1].i))
        return raise_sql(call->err, "22008", "cannot subtract infinite dates");
    out->i = args[0].i - args[1].i;
    return true;
}

static bool date_plus_time(struct call *call, const struct datum *args, struct datum *out)
{
    if (!date_to_timestamp(args[0].i, &out->i, call->err) || !timestamp_is_finite(out->i))
        return !timestamp_is_finite(out->i) && !date_is_finite(args[0].i);
    out->i += args[1].i;
    if (!timestamp_in_range(out->i))
        return raise_sql(call->err, "22008", "timestamp out of range");
    return true;
}

static bool time_plus_date(struct call *call, const struct datum *args, struct datum *out)
{
    const struct datum swapped[] = {args[1], args[0]};

    return date_plus_time(call, swapped, out);
}

static bool ts_plus_interval(struct call *call, const struct datum *args, struct datum *out)
{
    return timestamp_add(args[0].i, &args[1].iv, &out->i, call->err);
}

static bool interval_plus_ts(struct call *call, const struct datum *args, struct datum *out)
{
    return timestamp_add(args[1].i, &args[0].iv, &out->i, call->err);
}

static bool ts_minus_interval(struct call *call, const struct datum *args, struct datum *out)
{
    struct interval neg;

    return interval_neg(&args[1].iv, &neg, call->err) &&
           timestamp_add(args[0].i, &neg, &out->i, call->err);
}

static bool ts_minus_ts(struct call *call, const struct datum *args, struct datum *out)
{
    return timestamp_sub(args[0].i, args[1].i, &out->iv, call->err);
}

static bool date_plus_interval(struct call *call, const struct datum *args, struct datum *out)
{
    int64_t ts;

    return date_to_timestamp(args[0].i, &ts, call->err) &&
           timestamp_add(ts, &args[1].iv, &out->i, call->err);
}

static bool interval_plus_date(struct call *call, const struct datum *args, struct datum *out)
{
    const struct datum swapped[] = {args[1], args[0]};

    return date_plus_interval(call, swapped, out);
}

static bool date_minus_interval(struct call *call, const struct datum *args, struct datum *out)
{
    struct datum neg[] = {args[0], {.null = false}};

    return interval_neg(&args[1].iv, &neg[1].iv, call->err) && date_plus_interval(call, neg, out);
}

/* Around the clock; days and months do not count. */
static void turn_clock(int64_t time, int64_t by, struct datum *out)
{
    out->i = (time + by % USECS_PER_DAY) % USECS_PER_DAY;
    if (out->i < 0)
        out->i += USECS_PER_DAY;
}

static bool time_plus_interval(struct call *call, const struct datum *args, struct datum *out)
{
    (void)call;
    turn_clock(args[0].i, args[1].iv.time, out);
    return true;
}

static bool interval_plus_time(struct call *call, const struct datum *args, struct datum *out)
{
    (void)call;
    turn_clock(args[1].i, args[0].iv.time, out);
    return true;
}

static bool time_minus_interval(struct call *call, const struct datum *args, struct datum *out)
{
    (void)call;
    turn_clock(args[0].i, -(args[1].iv.time % USECS_PER_DAY), out);
    return true;
}

static bool time_minus_time(struct call *call, const struct datum *args, struct datum *out)
{
    (void)call;
    out->iv = (struct interval){.time = args[0].i - args[1].i};
    return true;
}

static bool iv_add(struct call *call, const struct datum *args, struct datum *out)
{
    return interval_add(&args[0].iv, &args[1].iv, &out->iv, call->err);
}

static bool iv_sub(struct call *call, const struct datum *args, struct datum *out)
{
    const struct interval *a = &args[0].iv, *b = &args[1].iv;
    int64_t month = (int64_t)a->month - b->month, day = (int64_t)a->day - b->day, time;

    if (month != (int32_t)month || day != (int32_t)day || !checked_sub(a->time, b->time, &time))
        return raise_sql(call->err, "22008", "interval out of range");
    out->iv = (struct interval){.time = time, .day = (int32_t)day, .month = (int32_t)month};
    return true;
}

static bool iv_neg(struct call *call, const struct datum *args, struct datum *out)
{
    return interval_neg(&args[0].iv, &out->iv, call->err);
}

static bool iv_times_float(struct call *call, const struct datum *args, struct datum *out)
{
    return interval_mul(&args[0].iv, args[1].f, &out->iv, call->err);
}

static bool float_times_iv(struct call *call, const struct datum *args, struct datum *out)
{
    return interval_mul(&args[1].iv, args[0].f, &out->iv, call->err);
}

/* ---- the table --------------------------------------------------------- */

struct operator_row {
    const char *name;
    uint8_t left, right, result;
    func_cb *fn;
};

/* All integers go by the row of int8, all floats by that of float8; the result is then as wide as
 * the wider argument. */
static const struct operator_row rows[] = {
    {"+", PG_INT8, PG_INT8, PG_INT8, int_add},
    {"-", PG_INT8, PG_INT8, PG_INT8, int_sub},
    {"*", PG_INT8, PG_INT8, PG_INT8, int_mul},
    {"/", PG_INT8, PG_INT8, PG_INT8, int_div},
    {"&", PG_INT8, PG_INT8, PG_INT8, int_and},
    {"|", PG_INT8, PG_INT8, PG_INT8, int_or},
    {"#", PG_INT8, PG_INT8, PG_INT8, int_xor},
    {"~", PG_NONE, PG_INT8, PG_INT8, int_not},
    {"+", PG_NONE, PG_INT8, PG_INT8, same},
    {"-", PG_NONE, PG_INT8, PG_INT8, int_neg},
    {"@", PG_NONE, PG_INT8, PG_INT8, int_abs},
    {"+", PG_FLOAT8, PG_FLOAT8, PG_FLOAT8, float_add},
    {"-", PG_FLOAT8, PG_FLOAT8, PG_FLOAT8, float_sub},
    {"*", PG_FLOAT8, PG_FLOAT8, PG_FLOAT8, float_mul},
    {"/", PG_FLOAT8, PG_FLOAT8, PG_FLOAT8, float_div},
    {"^", PG_FLOAT8, PG_FLOAT8, PG_FLOAT8, float_pow},
    {"|/", PG_NONE, PG_FLOAT8, PG_FLOAT8, float_sqrt},
    {"+", PG_NONE, PG_FLOAT8, PG_FLOAT8, same},
    {"-", PG_NONE, PG_FLOAT8, PG_FLOAT8, float_neg},
    {"@", PG_NONE, PG_FLOAT8, PG_FLOAT8, float_abs},
    {"+", PG_NUMERIC, PG_NUMERIC, PG_NUMERIC, num_add},
    {"-", PG_NUMERIC, PG_NUMERIC, PG_NUMERIC, num_sub},
    {"*", PG_NUMERIC, PG_NUMERIC, PG_NUMERIC, num_mul},
    {"+", PG_NONE, PG_NUMERIC, PG_NUMERIC, same},
    {"-", PG_NONE, PG_NUMERIC, PG_NUMERIC, num_neg},
    {"@", PG_NONE, PG_NUMERIC, PG_NUMERIC, num_abs},
    {"~~", PG_TEXT, PG_TEXT, PG_BOOL, like_text},
    {"~~", PG_NAME, PG_TEXT, PG_BOOL, like_text},
    {"~~", PG_BPCHAR, PG_TEXT, PG_BOOL, like_text},
    {"~~", PG_BYTEA, PG_BYTEA, PG_BOOL, like_text},
    {"!~~", PG_TEXT, PG_TEXT, PG_BOOL, like_text},
    {"!~~", PG_NAME, PG_TEXT, PG_BOOL, like_text},
    {"!~~", PG_BPCHAR, PG_TEXT, PG_BOOL, like_text},
    {"!~~", PG_BYTEA, PG_BYTEA, PG_BOOL, like_text},
    {"~~*", PG_TEXT, PG_TEXT, PG_BOOL, ilike_text},
    {"~~*", PG_NAME, PG_TEXT, PG_BOOL, ilike_text},
    {"~~*", PG_BPCHAR, PG_TEXT, PG_BOOL, ilike_text},
    {"!~~*", PG_TEXT, PG_TEXT, PG_BOOL, ilike_text},
    {"!~~*", PG_NAME, PG_TEXT, PG_BOOL, ilike_text},
    {"!~~*", PG_BPCHAR, PG_TEXT, PG_BOOL, ilike_text},
    {"+", PG_DATE, PG_INT4, PG_DATE, date_plus_int},
    {"+", PG_INT4, PG_DATE, PG_DATE, int_plus_date},
    {"-", PG_DATE, PG_INT4, PG_DATE, date_minus_int},
    {"-", PG_DATE, PG_DATE, PG_INT4, date_minus_date},
    {"+", PG_DATE, PG_TIME, PG_TIMESTAMP, date_plus_time},
    {"+", PG_TIME, PG_DATE, PG_TIMESTAMP, time_plus_date},
    {"+", PG_DATE, PG_INTERVAL, PG_TIMESTAMP, date_plus_interval},
    {"+", PG_INTERVAL, PG_DATE, PG_TIMESTAMP, interval_plus_date},
    {"-", PG_DATE, PG_INTERVAL, PG_TIMESTAMP, date_minus_interval},
    {"+", PG_TIMESTAMP, PG_INTERVAL, PG_TIMESTAMP, ts_plus_interval},
    {"+", PG_INTERVAL, PG_TIMESTAMP, PG_TIMESTAMP, interval_plus_ts},
    {"-", PG_TIMESTAMP, PG_INTERVAL, PG_TIMESTAMP, ts_minus_interval},
    {"-", PG_TIMESTAMP, PG_TIMESTAMP, PG_INTERVAL, ts_minus_ts},
    {"+", PG_TIMESTAMPTZ, PG_INTERVAL, PG_TIMESTAMPTZ, ts_plus_interval},
    {"+", PG_INTERVAL, PG_TIMESTAMPTZ, PG_TIMESTAMPTZ, interval_plus_ts},
    {"-", PG_TIMESTAMPTZ, PG_INTERVAL, PG_TIMESTAMPTZ, ts_minus_interval},
    {"-", PG_TIMESTAMPTZ, PG_TIMESTAMPTZ, PG_INTERVAL, ts_minus_ts},
    {"+", PG_TIME, PG_INTERVAL, PG_TIME, time_plus_interval},
    {"+", PG_INTERVAL, PG_TIME, PG_TIME, interval_plus_time},
    {"-", PG_TIME, PG_INTERVAL, PG_TIME, time_minus_interval},
    {"-", PG_TIME, PG_TIME, PG_INTERVAL, time_minus_time},
    {"+", PG_INTERVAL, PG_INTERVAL, PG_INTERVAL, iv_add},
    {"-", PG_INTERVAL, PG_INTERVAL, PG_INTERVAL, iv_sub},
    {"-", PG_NONE, PG_INTERVAL, PG_INTERVAL, iv_neg},
    {"*", PG_INTERVAL, PG_FLOAT8, PG_INTERVAL, iv_times_float},
    {"*", PG_FLOAT8, PG_INTERVAL, PG_INTERVAL, float_times_iv},
};

static bool all_are(struct signature sig, bool (*is)(int))
{
    return is(sig.args[1]) && (sig.args[0] == PG_NONE || is(sig.args[0]));
}

static int wider(struct signature sig)
{
    static const uint8_t order[] = {PG_INT2, PG_INT4, PG_INT8, PG_FLOAT4, PG_FLOAT8};
    int widest = PG_NONE;

    for (size_t i = 0; i < sizeof(order); i++) {
        if (sig.args[0] == order[i] || sig.args[1] == order[i])
            widest = order[i];
    }
    return widest;
}

func_cb *operator_function(const char *name, struct signature sig, int *result)
{
    struct signature row = sig;
    int common = all_are(sig, pgtype_is_integer) ? PG_INT8
                 : all_are(sig, pgtype_is_float) ? PG_FLOAT8
                                                 : PG_NONE;

    if (common != PG_NONE) {
        row.args[0] = sig.args[0] == PG_NONE ? PG_NONE : (uint8_t)common;
        row.args[1] = (uint8_t)common;
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].left == row.args[0] && rows[i].right == row.args[1] &&
            strcmp(rows[i].name, name) == 0) {
            *result = common != PG_NONE ? wider(sig) : rows[i].result;
            return rows[i].fn;
        }
    }
    return NULL;
}
