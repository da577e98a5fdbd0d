#include "shapes/effect.h"

/* Whether the clause can be asked about a row of which only the identity's columns are there. */
static bool clause_is_in_identity(const struct shape *shape)
{
    for (uint16_t i = 0; i < shape->table->ncols; i++) {
        if (where_uses(shape->where, i) && !shape->table->cols[i].in_identity)
            return false;
    }
    return true;
}

static bool is_in(const struct shape *shape, const struct tuple *row, struct arena *scratch,
                  bool *in, struct err *err)
{
    enum tri tri = TRI_TRUE;

    if (shape->where && !where_eval(shape->where, row, scratch, &tri, err))
        return false;
    *in = tri == TRI_TRUE;
    return true;
}

/* `is` is what the new row says, for updates. */
static bool was_in(const struct shape *shape, const struct change *change, bool is,
                   struct arena *scratch, bool *was, struct err *err)
{
    bool whole = change->old && !change->old_is_key;

    *was = true;
    if (!shape->where)
        return true;
    if (whole || (change->old && clause_is_in_identity(shape)))
        return is_in(shape, change->old, scratch, was, err);
    /* An update that sends no old row has left the identity alone, and with it the answer. */
    if (!change->old && change->new &&clause_is_in_identity(shape))
        *was = is;
    return true;
}

static bool differs(const struct change *change, uint16_t column)
{
    const struct value *old = &change->old->values[column], *new = &change->new->values[column];

    if (new->kind == VALUE_UNCHANGED || old->kind == VALUE_UNCHANGED)
        return false;
    return old->kind != new->kind || (old->kind == VALUE_TEXT && !slice_eq(old->text, new->text));
}

static bool key_differs(const struct shape *shape, const struct change *change)
{
    for (uint16_t i = 0; change->old && i < shape->table->npk; i++) {
        if (differs(change, shape->table->pk[i]))
            return true;
    }
    return false;
}

/* Without the whole old row every update may be one. */
static bool selected_differs(const struct shape *shape, const struct change *change)
{
    if (!change->old || change->old_is_key)
        return true;
    for (uint16_t i = 0; i < shape->ncolumns; i++) {
        if (differs(change, shape->columns[i]))
            return true;
    }
    return false;
}

static enum effect_kind effect_of_stay(const struct shape *shape, const struct change *change)
{
    if (key_differs(shape, change))
        return EFFECT_KEY_CHANGE;
    if (!selected_differs(shape, change))
        return EFFECT_NONE;
    return shape->table->npk ? EFFECT_UPDATE : EFFECT_MOVE;
}

bool shape_effect(const struct shape *shape, const struct change *change, struct arena *scratch,
                  enum effect_kind *kind, struct err *err)
{
    bool was = false, is = false;

    *kind = EFFECT_NONE;
    if (change->new && !is_in(shape, change->new, scratch, &is, err))
        return false;
    if (change->op != CHANGE_INSERT && !was_in(shape, change, is, scratch, &was, err))
        return false;
    if (was && is)
        *kind = effect_of_stay(shape, change);
    else if (was)
        *kind = EFFECT_DELETE;
    else if (is)
        *kind = EFFECT_INSERT;
    return true;
}
