/*
 * An expression as SQL. Every constant carries its type and every cast is
 * written, so that Postgres has no overload left to choose differently.
 */
#include "shapes/expr.h"

/* What an expression stands in. */
struct around {
    const struct table *table;
    const struct datum *constants; /* NULL: places are written, not what is in them */
};

static void put(const struct expr *expr, const struct around *around, struct buf *out);

static void put_type(int type, struct buf *out)
{
    /* "interval" and the like are fine bare; bpchar as `char` would mean char(1). */
    buf_put_cstr(out, pgtype_name(type));
}

static void put_value(const struct expr *expr, const struct datum *value, struct buf *out)
{
    struct arena scratch = {0};

    if (value->null)
        buf_put_cstr(out, "NULL");
    else
        sql_put_literal(out, expr->type == PG_OTHER ? value->s
                                                    : datum_text(expr->type, value, &scratch));
    arena_release(&scratch);
}

/* `value` NULL: as a parameter. */
static void put_const(const struct expr *expr, const struct datum *value, struct buf *out)
{
    bool collated = expr->collation == COLLATION_EXPLICIT;

    if (expr->type == PG_BOOL && value) {
        buf_put_cstr(out, value->null ? "NULL::bool" : value->b ? "true" : "false");
        return;
    }
    if (collated)
        buf_put_u8(out, '(');
    if (value) {
        put_value(expr, value, out);
    } else {
        buf_put_u8(out, '$');
        buf_put_dec(out, expr->place + 1);
    }
    /* What stands beside an enum takes its type. */
    if (expr->type != PG_OTHER) {
        buf_put_cstr(out, "::");
        put_type(expr->type, out);
    }
    if (collated)
        buf_put_cstr(out, " COLLATE pg_catalog.\"C\")");
}

static void put_joined(const struct expr *expr, const char *with, const struct around *around,
                       struct buf *out)
{
    for (uint32_t i = 0; i < expr->nargs; i++) {
        if (i)
            buf_put_cstr(out, with);
        put(expr->args[i], around, out);
    }
}

static void put_function(const char *name, const struct expr *expr, const struct around *around,
                         struct buf *out)
{
    buf_put_cstr(out, name);
    buf_put_u8(out, '(');
    put_joined(expr, ", ", around, out);
    buf_put_u8(out, ')');
}

static void put_binary(const char *op, const struct expr *expr, const struct around *around,
                       struct buf *out)
{
    buf_put_u8(out, '(');
    put(expr->args[0], around, out);
    buf_printf(out, " %s ", op);
    put(expr->args[1], around, out);
    buf_put_u8(out, ')');
}

static void put_call(const struct expr *expr, const struct around *around, struct buf *out)
{
    switch ((enum call_style)expr->style) {
    case CALL_FUNCTION:
        put_function(expr->name, expr, around, out);
        break;
    case CALL_BINARY:
        put_binary(expr->name, expr, around, out);
        break;
    case CALL_PREFIX:
        buf_printf(out, "(%s ", expr->name);
        put(expr->args[0], around, out);
        buf_put_u8(out, ')');
        break;
    case CALL_CAST:
        buf_put_u8(out, '(');
        put(expr->args[0], around, out);
        buf_put_cstr(out, ")::");
        put_type(expr->type, out);
        break;
    }
}

static const char *op_name(uint8_t op)
{
    static const char *const names[] = {"=", "<>", "<", "<=", ">", ">="};

    return names[op];
}

static void put_tested(const struct expr *expr, const char *test, const struct around *around,
                       struct buf *out)
{
    buf_put_u8(out, '(');
    put(expr->args[0], around, out);
    buf_printf(out, " IS %s%s)", expr->negated ? "NOT " : "", test);
}

static void put_distinct(const struct expr *expr, const struct around *around, struct buf *out)
{
    put_binary(expr->negated ? "IS NOT DISTINCT FROM" : "IS DISTINCT FROM", expr->args[0], around,
               out);
}

static void put_any(const struct expr *expr, const struct around *around, struct buf *out)
{
    buf_put_u8(out, '(');
    put(expr->args[0], around, out);
    buf_printf(out, " %s %s (", expr->name, expr->all ? "ALL" : "ANY");
    put(expr->args[1], around, out);
    buf_put_cstr(out, "))");
}

static void put_array(const struct expr *expr, const struct around *around, struct buf *out)
{
    buf_put_cstr(out, "(ARRAY[");
    put_joined(expr, ", ", around, out);
    buf_put_cstr(out, "]::");
    put_type(expr->type, out);
    buf_put_u8(out, ')');
}

static void put_subscripts(const struct expr *expr, const struct around *around, struct buf *out)
{
    bool slice = expr->kind == EXPR_SLICE;

    buf_put_u8(out, '(');
    put(expr->args[0], around, out);
    buf_put_u8(out, ')');
    for (uint32_t i = 1; i < expr->nargs; i += slice ? 2 : 1) {
        buf_put_u8(out, '[');
        if (expr->args[i])
            put(expr->args[i], around, out);
        if (slice) {
            buf_put_u8(out, ':');
            if (expr->args[i + 1])
                put(expr->args[i + 1], around, out);
        }
        buf_put_u8(out, ']');
    }
}

static void put(const struct expr *expr, const struct around *around, struct buf *out)
{
    static const char *const tri_names[] = {"FALSE", "TRUE", "UNKNOWN"};

    switch (expr->kind) {
    case EXPR_CONST:
        put_const(expr, &expr->value, out);
        break;
    case EXPR_PLACE:
        put_const(expr, around->constants ? &around->constants[expr->place] : NULL, out);
        break;
    case EXPR_COLUMN:
        sql_put_ident(out, around->table->cols[expr->column].name);
        break;
    case EXPR_CALL:
        put_call(expr, around, out);
        break;
    case EXPR_COMPARE:
        put_binary(op_name(expr->op), expr, around, out);
        break;
    case EXPR_COLLATE:
        buf_put_u8(out, '(');
        put(expr->args[0], around, out);
        buf_put_cstr(out, " COLLATE pg_catalog.\"C\")");
        break;
    case EXPR_AND:
    case EXPR_OR:
        buf_put_u8(out, '(');
        put_joined(expr, expr->kind == EXPR_AND ? " AND " : " OR ", around, out);
        buf_put_u8(out, ')');
        break;
    case EXPR_NOT:
        buf_put_cstr(out, "(NOT ");
        put(expr->args[0], around, out);
        buf_put_u8(out, ')');
        break;
    case EXPR_BOOL_TEST:
        put_tested(expr, tri_names[expr->column], around, out);
        break;
    case EXPR_NULL_TEST:
        put_tested(expr, "NULL", around, out);
        break;
    case EXPR_DISTINCT:
        put_distinct(expr, around, out);
        break;
    case EXPR_COALESCE:
        put_function("COALESCE", expr, around, out);
        break;
    case EXPR_GREATEST:
        put_function(expr->op == CMP_LT ? "LEAST" : "GREATEST", expr, around, out);
        break;
    case EXPR_ANY:
        put_any(expr, around, out);
        break;
    case EXPR_ARRAY:
        put_array(expr, around, out);
        break;
    case EXPR_INDEX:
    case EXPR_SLICE:
        put_subscripts(expr, around, out);
        break;
    }
}

void expr_put_sql(const struct expr *expr, const struct table *table, const struct datum *constants,
                  struct buf *out)
{
    const struct around around = {table, constants};

    put(expr, &around, out);
}

void expr_put_constants(const struct expr *expr, const struct datum *constants, struct buf *out)
{
    if (expr->kind == EXPR_PLACE) {
        buf_put_u8(out, ' ');
        put_value(expr, &constants[expr->place], out);
    }
    for (uint32_t i = 0; i < expr->nargs; i++) {
        if (expr->args[i])
            expr_put_constants(expr->args[i], constants, out);
    }
}
