/*
 * An expression as SQL. Every constant carries its type and every cast is
 * written, so that Postgres has no overload left to choose differently.
 */
#include "shapes/expr.h"

static void put(const struct expr *expr, const struct table *table, struct buf *out);

static void put_type(int type, struct buf *out)
{
    /* "interval" and the like are fine bare; bpchar as `char` would mean char(1). */
    buf_put_cstr(out, pgtype_name(type));
}

static void put_const(const struct expr *expr, struct buf *out)
{
    struct arena scratch = {0};
    bool collated = expr->collation == COLLATION_EXPLICIT;

    if (expr->type == PG_BOOL) {
        buf_put_cstr(out, expr->value.null ? "NULL::bool" : expr->value.b ? "true" : "false");
        return;
    }
    if (collated)
        buf_put_u8(out, '(');
    if (expr->value.null)
        buf_put_cstr(out, "NULL");
    else
        sql_put_literal(out, expr->type == PG_OTHER
                                 ? expr->value.s
                                 : datum_text(expr->type, &expr->value, &scratch));
    /* What stands beside an enum takes its type. */
    if (expr->type != PG_OTHER) {
        buf_put_cstr(out, "::");
        put_type(expr->type, out);
    }
    if (collated)
        buf_put_cstr(out, " COLLATE pg_catalog.\"C\")");
    arena_release(&scratch);
}

static void put_joined(const struct expr *expr, const char *with, const struct table *table,
                       struct buf *out)
{
    for (uint32_t i = 0; i < expr->nargs; i++) {
        if (i)
            buf_put_cstr(out, with);
        put(expr->args[i], table, out);
    }
}

static void put_function(const char *name, const struct expr *expr, const struct table *table,
                         struct buf *out)
{
    buf_put_cstr(out, name);
    buf_put_u8(out, '(');
    put_joined(expr, ", ", table, out);
    buf_put_u8(out, ')');
}

static void put_binary(const char *op, const struct expr *expr, const struct table *table,
                       struct buf *out)
{
    buf_put_u8(out, '(');
    put(expr->args[0], table, out);
    buf_printf(out, " %s ", op);
    put(expr->args[1], table, out);
    buf_put_u8(out, ')');
}

static void put_call(const struct expr *expr, const struct table *table, struct buf *out)
{
    switch ((enum call_style)expr->style) {
    case CALL_FUNCTION:
        put_function(expr->name, expr, table, out);
        break;
    case CALL_BINARY:
        put_binary(expr->name, expr, table, out);
        break;
    case CALL_PREFIX:
        buf_printf(out, "(%s ", expr->name);
        put(expr->args[0], table, out);
        buf_put_u8(out, ')');
        break;
    case CALL_CAST:
        buf_put_u8(out, '(');
        put(expr->args[0], table, out);
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

static void put_tested(const struct expr *expr, const char *test, const struct table *table,
                       struct buf *out)
{
    buf_put_u8(out, '(');
    put(expr->args[0], table, out);
    buf_printf(out, " IS %s%s)", expr->negated ? "NOT " : "", test);
}

static void put_distinct(const struct expr *expr, const struct table *table, struct buf *out)
{
    put_binary(expr->negated ? "IS NOT DISTINCT FROM" : "IS DISTINCT FROM", expr->args[0], table,
               out);
}

static void put_any(const struct expr *expr, const struct table *table, struct buf *out)
{
    buf_put_u8(out, '(');
    put(expr->args[0], table, out);
    buf_printf(out, " %s %s (", expr->name, expr->all ? "ALL" : "ANY");
    put(expr->args[1], table, out);
    buf_put_cstr(out, "))");
}

static void put_array(const struct expr *expr, const struct table *table, struct buf *out)
{
    buf_put_cstr(out, "(ARRAY[");
    put_joined(expr, ", ", table, out);
    buf_put_cstr(out, "]::");
    put_type(expr->type, out);
    buf_put_u8(out, ')');
}

static void put_subscripts(const struct expr *expr, const struct table *table, struct buf *out)
{
    bool slice = expr->kind == EXPR_SLICE;

    buf_put_u8(out, '(');
    put(expr->args[0], table, out);
    buf_put_u8(out, ')');
    for (uint32_t i = 1; i < expr->nargs; i += slice ? 2 : 1) {
        buf_put_u8(out, '[');
        if (expr->args[i])
            put(expr->args[i], table, out);
        if (slice) {
            buf_put_u8(out, ':');
            if (expr->args[i + 1])
                put(expr->args[i + 1], table, out);
        }
        buf_put_u8(out, ']');
    }
}

static void put(const struct expr *expr, const struct table *table, struct buf *out)
{
    static const char *const tri_names[] = {"FALSE", "TRUE", "UNKNOWN"};

    switch (expr->kind) {
    case EXPR_CONST:
        put_const(expr, out);
        break;
    case EXPR_COLUMN:
        sql_put_ident(out, table->cols[expr->column].name);
        break;
    case EXPR_CALL:
        put_call(expr, table, out);
        break;
    case EXPR_COMPARE:
        put_binary(op_name(expr->op), expr, table, out);
        break;
    case EXPR_COLLATE:
        buf_put_u8(out, '(');
        put(expr->args[0], table, out);
        buf_put_cstr(out, " COLLATE pg_catalog.\"C\")");
        break;
    case EXPR_AND:
    case EXPR_OR:
        buf_put_u8(out, '(');
        put_joined(expr, expr->kind == EXPR_AND ? " AND " : " OR ", table, out);
        buf_put_u8(out, ')');
        break;
    case EXPR_NOT:
        buf_put_cstr(out, "(NOT ");
        put(expr->args[0], table, out);
        buf_put_u8(out, ')');
        break;
    case EXPR_BOOL_TEST:
        put_tested(expr, tri_names[expr->column], table, out);
        break;
    case EXPR_NULL_TEST:
        put_tested(expr, "NULL", table, out);
        break;
    case EXPR_DISTINCT:
        put_distinct(expr, table, out);
        break;
    case EXPR_COALESCE:
        put_function("COALESCE", expr, table, out);
        break;
    case EXPR_GREATEST:
        put_function(expr->op == CMP_LT ? "LEAST" : "GREATEST", expr, table, out);
        break;
    case EXPR_ANY:
        put_any(expr, table, out);
        break;
    case EXPR_ARRAY:
        put_array(expr, table, out);
        break;
    case EXPR_INDEX:
    case EXPR_SLICE:
        put_subscripts(expr, table, out);
        break;
    }
}

void expr_put_sql(const struct expr *expr, const struct table *table, struct buf *out)
{
    put(expr, table, out);
}
