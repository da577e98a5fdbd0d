/*
 * Casts from one type to another. Those from text go through the type's input
 * function as Postgres does; from text to a date or time they are refused for
 * anything but a constant (typing.c), because Postgres's input takes forms
 * whose meaning is not known here.
 */
#include "shapes/overload.h"
#include "shapes/datetime.h"
#include "shapes/raise.h"

#include <math.h>

static int from_type(const struct call *call)
{
    return call->expr->args[0]->type;
}

/* ---- numbers ----------------------------------------------------------- */

static const char *int_name(int type)
{
    return type == PG_INT2 ? "smallint" : type == PG_INT4 ? "integer" : "bigint";
}

static bool int_to_int(struct call *call, const struct datum *args, struct datum *out)
{
    int type = call->expr->type;
    int64_t v = args[0].i;

    if ((type == PG_INT2 && v != (int16_t)v) || (type == PG_INT4 && v != (int32_t)v))
        return raise_sql(call->err, "22003", "%s out of range", int_name(type));
    out->i = v;
    return true;
}

static bool int_to_float(struct call *call, const struct datum *args, struct datum *out)
{
    out->f = call->expr->type == PG_FLOAT4 ? (double)(float)args[0].i : (double)args[0].i;
    return true;
}

static bool int_to_numeric(struct call *call, const struct datum *args, struct datum *out)
{
    struct numeric *num = arena_alloc(call->arena, sizeof(*num));

    numeric_from_int(args[0].i, call->arena, num);
    out->num = num;
    return true;
}

static bool float_to_int(struct call *call, const struct datum *args, struct datum *out)
{
    int type = call->expr->type;
    double v = rint(args[0].f);
    double bits = type == PG_INT2 ? 15 : type == PG_INT4 ? 31 : 63;

    if (!(v >= -ldexp(1, (int)bits) && v < ldexp(1, (int)bits)))
        return raise_sql(call->err, "22003", "%s out of range", int_name(type));
    out->i = (int64_t)v;
    return true;
}

static bool float_to_float(struct call *call, const struct datum *args, struct datum *out)
{
    double v = args[0].f;

    out->f = call->expr->type == PG_FLOAT4 ? (double)(float)v : v;
    if (isinf(out->f) && !isinf(v))
        return raise_sql(call->err, "22003", "value out of range: overflow");
    if (out->f == 0 && v != 0)
        return raise_sql(call->err, "22003", "value out of range: underflow");
    return true;
}

/* To as many digits as the float surely has: 6 or 15. */
static bool float_to_numeric(struct call *call, const struct datum *args, struct datum *out)
{
    char *text =
        isnan(args[0].f) ? arena_strdup(call->arena, "NaN")
        : isinf(args[0].f)
            ? arena_strdup(call->arena, args[0].f < 0 ? "-inf" : "inf")
            : arena_printf(call->arena, "%.*g", from_type(call) == PG_FLOAT4 ? 6 : 15, args[0].f);

    return datum_in(PG_NUMERIC, slice_of(text), call->arena, out, call->err);
}

static bool numeric_to_integer(struct call *call, const struct datum *args, struct datum *out)
{
    static const int64_t min[] = {INT16_MIN, INT32_MIN, INT64_MIN};
    static const int64_t max[] = {INT16_MAX, INT32_MAX, INT64_MAX};
    int type = call->expr->type, i = type == PG_INT2 ? 0 : type == PG_INT4 ? 1 : 2;

    return numeric_to_int(args[0].num, min[i], max[i], int_name(type), &out->i, call->err);
}

static bool int_to_bool(struct call *call, const struct datum *args, struct datum *out)
{
    (void)call;
    out->b = args[0].i != 0;
    return true;
}

static bool bool_to_int(struct call *call, const struct datum *args, struct datum *out)
{
    (void)call;
    out->i = args[0].b;
    return true;
}

/* ---- text -------------------------------------------------------------- */

static bool relabel(struct call *call, const struct datum *args, struct datum *out)
{
    (void)call;
    *out = args[0];
    return true;
}

static bool bool_to_text(struct call *call, const struct datum *args, struct datum *out)
{
    (void)call;
    out->s = args[0].b ? SLICE("true") : SLICE("false");
    return true;
}

static bool bpchar_to_text(struct call *call, const struct datum *args, struct datum *out)
{
    (void)call;
    out->s = args[0].s;
    while (out->s.len && out->s.ptr[out->s.len - 1] == ' ')
        out->s.len--;
    return true;
}

static bool to_text(struct call *call, const struct datum *args, struct datum *out)
{
    out->s = datum_text(from_type(call), &args[0], call->arena);
    return true;
}

static bool from_text(struct call *call, const struct datum *args, struct datum *out)
{
    return datum_in(call->expr->type, args[0].s, call->arena, out, call->err);
}

/* Also numeric to float: what a float reads in the numeric's text. */
static bool through_text(struct call *call, const struct datum *args, struct datum *out)
{
    struct slice text = datum_text(from_type(call), &args[0], call->arena);

    return datum_in(call->expr->type, text, call->arena, out, call->err);
}

/* ---- dates ------------------------------------------------------------- */

static bool date_to_ts(struct call *call, const struct datum *args, struct datum *out)
{
    return date_to_timestamp(args[0].i, &out->i, call->err);
}

static bool ts_to_date(struct call *call, const struct datum *args, struct datum *out)
{
    (void)call;
    if (timestamp_is_finite(args[0].i))
        out->i = floor_div(args[0].i, USECS_PER_DAY);
    else
        out->i = args[0].i < 0 ? DATE_NINFINITY : DATE_INFINITY;
    return true;
}

static bool ts_to_time(struct call *call, const struct datum *args, struct datum *out)
{
    (void)call;
    out->null = !timestamp_is_finite(args[0].i);
    if (!out->null)
        out->i = args[0].i - floor_div(args[0].i, USECS_PER_DAY) * USECS_PER_DAY;
    return true;
}

static bool time_to_interval(struct call *call, const struct datum *args, struct datum *out)
{
    (void)call;
    out->iv = (struct interval){.time = args[0].i};
    return true;
}

static bool interval_to_time(struct call *call, const struct datum *args, struct datum *out)
{
    int64_t time = args[0].iv.time;

    (void)call;
    out->i = time - floor_div(time, USECS_PER_DAY) * USECS_PER_DAY;
    return true;
}

/* ---- arrays ------------------------------------------------------------ */

static bool array_to_array(struct call *call, const struct datum *args, struct datum *out)
{
    const struct array *from = args[0].arr;
    struct array *to = arena_alloc(call->arena, sizeof(*to));
    struct datum *elems = arena_calloc(call->arena, from->n, sizeof(*elems));
    struct expr inner_arg = {.type = (uint8_t)pgtype_elem(from_type(call))};
    struct expr *inner_args[] = {&inner_arg};
    const struct expr inner = {.type = (uint8_t)pgtype_elem(call->expr->type), .args = inner_args};
    struct call each = {&inner, call->arena, call->err};
    func_cb *fn = cast_function(inner_arg.type, inner.type);

    for (size_t i = 0; i < from->n; i++) {
        elems[i].null = from->elems[i].null;
        if (!elems[i].null && !fn(&each, &from->elems[i], &elems[i]))
            return false;
    }
    *to = *from;
    to->elems = elems;
    out->arr = to;
    return true;
}

/* ---- the choice -------------------------------------------------------- */

static func_cb *number_cast(int from, int to)
{
    bool to_float = pgtype_is_float(to);

    if (pgtype_is_integer(from))
        return pgtype_is_integer(to)              ? int_to_int
               : to_float                         ? int_to_float
               : to == PG_NUMERIC                 ? int_to_numeric
               : to == PG_BOOL && from == PG_INT4 ? int_to_bool
                                                  : NULL;
    if (pgtype_is_float(from))
        return pgtype_is_integer(to) ? float_to_int
               : to_float            ? float_to_float
               : to == PG_NUMERIC    ? float_to_numeric
                                     : NULL;
    return pgtype_is_integer(to) ? numeric_to_integer : to_float ? through_text : NULL;
}

static func_cb *date_cast(int from, int to)
{
    bool from_ts = from == PG_TIMESTAMP || from == PG_TIMESTAMPTZ;
    bool to_ts = to == PG_TIMESTAMP || to == PG_TIMESTAMPTZ;

    if (from_ts)
        return to_ts ? relabel : to == PG_DATE ? ts_to_date : to == PG_TIME ? ts_to_time : NULL;
    if (from == PG_DATE)
        return to_ts ? date_to_ts : NULL;
    if (from == PG_TIME)
        return to == PG_INTERVAL ? time_to_interval : NULL;
    return from == PG_INTERVAL && to == PG_TIME ? interval_to_time : NULL;
}

static func_cb *text_cast(int from, int to)
{
    if (pgtype_is_text(from) && pgtype_is_text(to)) {
        if (to == PG_NAME || (to == PG_BPCHAR && from == PG_NAME))
            return NULL;
        return from == PG_BPCHAR && to != PG_BPCHAR ? bpchar_to_text : relabel;
    }
    if (to == PG_TEXT || to == PG_VARCHAR)
        return from == PG_BOOL ? bool_to_text : to_text;
    return from != PG_NAME && from != PG_BPCHAR && !pgtype_is_text(to) ? from_text : NULL;
}

func_cb *cast_function(int from, int to)
{
    if (from == to)
        return relabel;
    if (pgtype_is_array(from) && pgtype_is_array(to))
        return cast_function(pgtype_elem(from), pgtype_elem(to)) ? array_to_array : NULL;
    if (to == PG_TEXT || to == PG_VARCHAR)
        return text_cast(from, to);
    if (pgtype_is_array(from) || from >= PG_OID)
        return NULL;
    if (pgtype_is_text(from))
        return text_cast(from, to);
    if (from == PG_BOOL)
        return to == PG_INT4 ? bool_to_int : NULL;
    return pgtype_category(from) == 'N' ? number_cast(from, to) : date_cast(from, to);
}
