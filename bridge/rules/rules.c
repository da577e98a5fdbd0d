#include "rules/rules_private.h"

#include <stdlib.h>

bool rules_wrong(struct slice path, int line, struct err *err)
{
    struct err cause = *err;

    err_set(err, ERR_CONFIG, "%.*s:%d: %.400s", SLICE_ARG(path), line, cause.msg);
    return cause.hint[0] ? err_hint(err, "%s", cause.hint) : false;
}

struct rules *rules_ref(struct rules *rules)
{
    atomic_fetch_add_explicit(&rules->refs, 1, memory_order_relaxed);
    return rules;
}

void rules_unref(struct rules *rules)
{
    if (!rules || atomic_fetch_sub_explicit(&rules->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (struct named_write *w = rules->first_write; w; w = w->next) {
        where_text_free(w->check_text);
        if (w->rule.table)
            table_unref(w->rule.table);
    }
    strmap_release(&rules->shapes);
    strmap_release(&rules->writes);
    arena_release(&rules->arena);
    free(rules);
}

bool rules_are_empty(const struct rules *rules)
{
    return !rules->shapes.len && !rules->writes.len;
}

size_t rules_nshapes(const struct rules *rules)
{
    return rules->shapes.len;
}

bool rules_have_writes(const struct rules *rules)
{
    return rules->writes.len > 0;
}

enum rules_answer rules_shape(const struct rules *rules, struct slice name,
                              const struct token *token, struct arena *arena,
                              struct shape_request *out, struct err *err)
{
    const struct named_shape *shape = strmap_get(&rules->shapes, name);
    struct where_params params;

    *out = (struct shape_request){0};
    if (!shape) {
        err_set(err, ERR_NOT_FOUND, "there is no shape \"%.*s\"",
                (int)(name.len < 100 ? name.len : 100), name.ptr);
        return RULES_UNKNOWN;
    }
    if (!rules_bind(&shape->clause, token, arena, &params, err))
        return RULES_NO_CLAIM;
    *out = (struct shape_request){
        .table = shape->table,
        .where = shape->clause.text,
        .columns = shape->columns,
        /* A subset's clause must not tell of columns that the shape does not show. */
        .queryable = shape->columns,
        .params = params,
    };
    return RULES_FOUND;
}
