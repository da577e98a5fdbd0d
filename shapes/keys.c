/*
 * A key is a text that is the same for values that `=` calls equal. The row's
 * value has it by the column's type, the constant by the type that the clause
 * compares in; the two meet where both have the same canonical form: any
 * integer or numeric as a plain decimal, any text as its bytes, other types
 * only as themselves.
 */
#include "shapes/keys.h"
#include "shapes/datetime.h"

/* Decimal without zeros at its end; -0 is not one of numeric's values. */
static struct slice numeric_key(struct slice text)
{
    if (!memchr(text.ptr, '.', text.len))
        return text;
    while (text.len && text.ptr[text.len - 1] == '0')
        text.len--;
    if (text.len && text.ptr[text.len - 1] == '.')
        text.len--;
    return text;
}

static struct slice bpchar_key(struct slice text)
{
    while (text.len && text.ptr[text.len - 1] == ' ')
        text.len--;
    return text;
}

/* Whether equal values of the type have equal keys. */
static bool has_key(int type)
{
    switch (type) {
    case PG_BOOL:
    case PG_BYTEA:
    case PG_DATE:
    case PG_TIME:
    case PG_TIMESTAMP:
    case PG_TIMESTAMPTZ:
    case PG_NUMERIC:
    case PG_UUID:
        return true;
    default:
        return pgtype_is_integer(type) || (!pgtype_is_array(type) && pgtype_is_text(type));
    }
}

static struct slice key_of(int type, const struct datum *d, struct arena *arena)
{
    struct slice text = datum_text(type, d, arena);

    return type == PG_NUMERIC ? numeric_key(text) : type == PG_BPCHAR ? bpchar_key(text) : text;
}

bool where_key_of(const struct table_column *column, struct slice text, struct arena *scratch,
                  struct slice *key)
{
    int type = pgtype_of_column(column);
    struct datum d;
    struct err err;

    *key = text;
    if (type == PG_OTHER || pgtype_is_integer(type) || type == PG_TEXT || type == PG_VARCHAR)
        return true;
    if (!datum_in(type, text, scratch, &d, &err))
        return false;
    *key = key_of(type, &d, scratch);
    return true;
}

/* ---- finding them ------------------------------------------------------ */

/* Casts under which keys stay what they are. */
static bool keeps_key(int from, int to, const struct table_column *col)
{
    if (pgtype_is_integer(from))
        return pgtype_is_integer(to) || to == PG_NUMERIC;
    if (from == PG_BPCHAR)
        return to == PG_TEXT;
    if (from == PG_OTHER)
        return col->class == TYPE_ENUM && to == PG_TEXT;
    return pgtype_is_text(from) && pgtype_is_text(to) && to != PG_BPCHAR;
}

/* The column that the expression is but for such casts; -1: none. */
static int key_column(const struct expr *expr, const struct table *table)
{
    const struct expr *at = expr;

    while (at->kind == EXPR_CALL && at->style == CALL_CAST && at->nargs == 1)
        at = at->args[0];
    if (at->kind != EXPR_COLUMN)
        return -1;
    for (const struct expr *e = expr; e != at; e = e->args[0]) {
        if (!keeps_key(e->args[0]->type, e->type, &table->cols[at->column]))
            return -1;
    }
    return at->column;
}

static bool same_keys(int left, int right)
{
    if (!has_key(left) || !has_key(right))
        return false;
    if (left == right)
        return true;
    bool left_text = pgtype_is_text(left), right_text = pgtype_is_text(right);
    return (pgtype_is_integer(left) && pgtype_is_integer(right)) || (left_text && right_text);
}

static void set_keys(struct where_keys *keys, int column, int type, const struct datum *values,
                     size_t n, struct arena *arena)
{
    *keys = (struct where_keys){.column = column};
    keys->values = arena_calloc(arena, n, sizeof(*keys->values));
    for (size_t i = 0; i < n; i++) {
        if (!values[i].null)
            keys->values[keys->n++] = key_of(type, &values[i], arena);
    }
}

static bool keys_of_equal(const struct expr *expr, const struct table *table,
                          const struct datum *constants, struct arena *arena,
                          struct where_keys *keys)
{
    if (expr->kind != EXPR_COMPARE || expr->op != CMP_EQ)
        return false;
    for (int i = 0; i < 2; i++) {
        const struct expr *side = expr->args[i], *other = expr->args[1 - i];
        int column = key_column(side, table);

        if (column >= 0 && other->kind == EXPR_PLACE && same_keys(side->type, other->type)) {
            set_keys(keys, column, other->type, &constants[other->place], 1, arena);
            return true;
        }
    }
    return false;
}

static bool keys_of_any(const struct expr *expr, const struct table *table,
                        const struct datum *constants, struct arena *arena, struct where_keys *keys)
{
    int column =
        expr->kind == EXPR_ANY && !expr->all && expr->place ? key_column(expr->args[0], table) : -1;

    if (column < 0)
        return false;
    int elem = pgtype_elem(expr->args[1]->type);
    if (!same_keys(expr->args[0]->type, elem))
        return false;
    const struct const_set *set = constants[expr->place - 1].set;

    set_keys(keys, column, elem, set->sorted, set->n, arena);
    return true;
}

static bool find(const struct expr *expr, const struct table *table, const struct datum *constants,
                 struct arena *arena, struct where_keys *keys)
{
    if (keys_of_equal(expr, table, constants, arena, keys) ||
        keys_of_any(expr, table, constants, arena, keys))
        return true;
    for (uint32_t i = 0; expr->kind == EXPR_AND && i < expr->nargs; i++) {
        if (find(expr->args[i], table, constants, arena, keys))
            return true;
    }
    return false;
}

void keys_find(const struct expr *expr, const struct table *table, const struct datum *constants,
               struct arena *arena, struct where_keys *keys)
{
    *keys = (struct where_keys){.column = -1};
    find(expr, table, constants, arena, keys);
}
