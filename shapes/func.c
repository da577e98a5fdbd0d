#include "shapes/func.h"
#include "shapes/checked.h"
#include "shapes/datetime.h"
#include "shapes/like.h"
#include "shapes/raise.h"

/* ---- text -------------------------------------------------------------- */

static struct slice map_ascii(struct slice s, char first, char last, int by, struct arena *arena)
{
    char *p = arena_alloc(arena, s.len);

    for (size_t i = 0; i < s.len; i++)
        p[i] = s.ptr[i] >= first && s.ptr[i] <= last ? (char)(s.ptr[i] + by) : s.ptr[i];
    return (struct slice){p, s.len};
}

/* Under the C collation case is ASCII's. */
static bool lower(struct call *call, const struct datum *args, struct datum *out)
{
    out->s = map_ascii(args[0].s, 'A', 'Z', 'a' - 'A', call->arena);
    return true;
}

static bool upper(struct call *call, const struct datum *args, struct datum *out)
{
    out->s = map_ascii(args[0].s, 'a', 'z', 'A' - 'a', call->arena);
    return true;
}

static bool like(struct call *call, const struct datum *args, struct datum *out)
{
    enum like_unit unit = call->expr->args[0]->type == PG_BYTEA ? LIKE_BYTES : LIKE_UTF8;

    return like_match(args[0].s, args[1].s, unit, &out->b, call->err);
}

static struct slice cat(struct slice a, struct slice b, struct arena *arena)
{
    char *p = arena_alloc(arena, a.len + b.len);

    if (a.len)
        memcpy(p, a.ptr, a.len);
    if (b.len)
        memcpy(p + a.len, b.ptr, b.len);
    return (struct slice){p, a.len + b.len};
}

bool func_text_cat(struct call *call, const struct datum *args, struct datum *out)
{
    out->s = cat(args[0].s, args[1].s, call->arena);
    return true;
}

bool func_bytea_cat(struct call *call, const struct datum *args, struct datum *out)
{
    return func_text_cat(call, args, out);
}

/* concat() leaves nulls out and uses the types' output, where `||` casts to text. */
bool func_concat(struct call *call, const struct datum *args, struct datum *out)
{
    const struct expr *expr = call->expr;
    struct buf buf;

    buf_init(&buf, BUF_NO_LIMIT);
    for (uint32_t i = 0; i < expr->nargs; i++) {
        if (!args[i].null)
            datum_out(expr->args[i]->type, &args[i], &buf);
    }
    out->s = arena_copy(call->arena, buf_slice(&buf));
    buf_release(&buf);
    return true;
}

/* ---- dates ------------------------------------------------------------- */

static bool justify_hours(struct call *call, const struct datum *args, struct datum *out)
{
    return interval_justify_hours(&args[0].iv, &out->iv, call->err);
}

static bool justify_days(struct call *call, const struct datum *args, struct datum *out)
{
    return interval_justify_days(&args[0].iv, &out->iv, call->err);
}

static bool justify_interval(struct call *call, const struct datum *args, struct datum *out)
{
    return interval_justify(&args[0].iv, &out->iv, call->err);
}

/* The zone is UTC: typing.c takes no other by name. */
static bool in_utc(struct call *call, const struct datum *args, struct datum *out)
{
    (void)call;
    *out = args[1];
    return true;
}

/* Postgres keeps the offset in 32 bits, whatever the interval holds. */
static int64_t offset_us(int64_t secs)
{
    return (int64_t)(int32_t)(uint32_t)(uint64_t)secs * USECS_PER_SEC;
}

static bool in_offset(struct call *call, const struct datum *args, struct datum *out)
{
    const struct interval *zone = &args[0].iv;
    int64_t secs = zone->time / USECS_PER_SEC;
    bool to_local = call->expr->args[1]->type == PG_TIMESTAMPTZ;

    *out = args[1];
    if (!timestamp_is_finite(out->i))
        return true;
    if (zone->month || zone->day)
        return raise_sql(call->err, "22023", "interval time zone must not include months or days");
    if (!checked_sub(out->i, offset_us(to_local ? -secs : secs), &out->i) ||
        !timestamp_in_range(out->i))
        return raise_sql(call->err, "22008", "timestamp out of range");
    return true;
}

/* ---- arrays ------------------------------------------------------------ */

static const struct array *or_empty(const struct datum *d, struct arena *arena)
{
    return d->null ? array_of(NULL, 0, arena) : d->arr;
}

bool func_array_cat(struct call *call, const struct datum *args, struct datum *out)
{
    if (args[0].null || args[1].null) {
        *out = args[0].null ? args[1] : args[0];
        return true;
    }
    return array_cat(args[0].arr, args[1].arr, call->arena, &out->arr, call->err);
}

bool func_array_append(struct call *call, const struct datum *args, struct datum *out)
{
    return array_append(or_empty(&args[0], call->arena), &args[1], false, call->arena, &out->arr,
                        call->err);
}

bool func_array_prepend(struct call *call, const struct datum *args, struct datum *out)
{
    return array_append(or_empty(&args[1], call->arena), &args[0], true, call->arena, &out->arr,
                        call->err);
}

bool func_array_ndims(struct call *call, const struct datum *args, struct datum *out)
{
    (void)call;
    out->null = args[0].arr->ndim == 0;
    out->i = args[0].arr->ndim;
    return true;
}

static datum_cmp *elem_cmp(const struct call *call)
{
    return datum_cmp_for(pgtype_elem(call->expr->args[0]->type));
}

bool func_array_eq(struct call *call, const struct datum *args, struct datum *out)
{
    out->b = array_eq(args[0].arr, args[1].arr, elem_cmp(call));
    return true;
}

bool func_array_ne(struct call *call, const struct datum *args, struct datum *out)
{
    out->b = !array_eq(args[0].arr, args[1].arr, elem_cmp(call));
    return true;
}

bool func_array_contains(struct call *call, const struct datum *args, struct datum *out)
{
    out->b = array_contains(args[0].arr, args[1].arr, elem_cmp(call));
    return true;
}

bool func_array_contained(struct call *call, const struct datum *args, struct datum *out)
{
    out->b = array_contains(args[1].arr, args[0].arr, elem_cmp(call));
    return true;
}

bool func_array_overlaps(struct call *call, const struct datum *args, struct datum *out)
{
    out->b = array_overlaps(args[0].arr, args[1].arr, elem_cmp(call));
    return true;
}

/* ---- the table --------------------------------------------------------- */

static const struct func funcs[] = {
    {"lower", {{PG_NONE, PG_TEXT}}, PG_TEXT, true, lower},
    {"upper", {{PG_NONE, PG_TEXT}}, PG_TEXT, true, upper},
    {"like", {{PG_TEXT, PG_TEXT}}, PG_BOOL, false, like},
    {"like", {{PG_NAME, PG_TEXT}}, PG_BOOL, false, like},
    {"like", {{PG_BYTEA, PG_BYTEA}}, PG_BOOL, false, like},
    {"justify_hours", {{PG_NONE, PG_INTERVAL}}, PG_INTERVAL, false, justify_hours},
    {"justify_days", {{PG_NONE, PG_INTERVAL}}, PG_INTERVAL, false, justify_days},
    {"justify_interval", {{PG_NONE, PG_INTERVAL}}, PG_INTERVAL, false, justify_interval},
    {"timezone", {{PG_TEXT, PG_TIMESTAMP}}, PG_TIMESTAMPTZ, false, in_utc},
    {"timezone", {{PG_TEXT, PG_TIMESTAMPTZ}}, PG_TIMESTAMP, false, in_utc},
    {"timezone", {{PG_TEXT, PG_TIMETZ}}, PG_TIMETZ, false, NULL},
    {"timezone", {{PG_INTERVAL, PG_TIMESTAMP}}, PG_TIMESTAMPTZ, false, in_offset},
    {"timezone", {{PG_INTERVAL, PG_TIMESTAMPTZ}}, PG_TIMESTAMP, false, in_offset},
    {"timezone", {{PG_INTERVAL, PG_TIMETZ}}, PG_TIMETZ, false, NULL},
};

const struct func *func_overload(struct slice name, size_t i)
{
    for (size_t at = 0; at < sizeof(funcs) / sizeof(funcs[0]); at++) {
        if (slice_is(name, funcs[at].name) && i-- == 0)
            return &funcs[at];
    }
    return NULL;
}
