/*
 * Whether a shape outlives a change of its table. It is typed against one version of the table, and
 * its rows were read under it; another version will do as long as all that the shape uses is there
 * as it was.
 */
#include "shapes/shape.h"

bool shape_uses(const struct shape *shape, uint16_t column)
{
    if (shape->all_columns || shape->table->npk == 0 || shape->table->cols[column].pk_index >= 0 ||
        (shape->where && where_uses(shape->where, column)))
        return true;
    for (uint16_t i = 0; i < shape->ncolumns; i++) {
        if (shape->columns[i] == column)
            return true;
    }
    return false;
}

/* The version's column that is this one; NULL: there is none. */
static const struct table_column *same_column(const struct table *table, uint16_t guess,
                                              const struct table_column *col)
{
    /* Mostly it stands in the same place. */
    if (guess < table->ncols && table->cols[guess].attnum == col->attnum)
        return &table->cols[guess];
    int at = table_attnum_index(table, col->attnum);

    return at < 0 ? NULL : &table->cols[at];
}

const char *shape_misfit(const struct shape *shape, const struct table *now)
{
    const struct table *then = shape->table;

    if (then == now)
        return NULL;
    if (then->relid != now->relid || then->relkind != now->relkind ||
        !slice_eq(then->nspname, now->nspname) || !slice_eq(then->relname, now->relname))
        return "the table's name has changed";
    if (then->npk != now->npk)
        return "the table's primary key has changed";
    if ((shape->all_columns || then->npk == 0) && then->ncols != now->ncols)
        return "the table's columns have changed";
    for (uint16_t i = 0; i < then->ncols; i++) {
        const struct table_column *col = &then->cols[i], *other;

        if (!shape_uses(shape, i))
            continue;
        other = same_column(now, i, col);
        if (other && other->pk_index != col->pk_index)
            return "the table's primary key has changed";
        if (!other || !table_column_same(col, other))
            return "the table's columns have changed";
    }
    return NULL;
}

bool shape_column_altered(const struct shape *shape, const struct table *then,
                          const struct table *now)
{
    for (uint16_t i = 0; i < shape->table->ncols; i++) {
        const struct table_column *col = &shape->table->cols[i];

        if (!shape_uses(shape, i))
            continue;
        const struct table_column *a = same_column(then, i, col), *b = same_column(now, i, col);
        if (!a || !b || a->stamp != b->stamp)
            return true;
    }
    return false;
}
