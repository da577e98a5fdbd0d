/*
 * What one token's bearer may write: the [write] sections with the claims put in.
 */
#include "rules/rules_private.h"

/* The check, typed with the claims' values; NULL in *out where there is none. */
static bool put_check(const struct named_write *write, const struct token *token,
                      struct arena *arena, const struct where **out, struct err *err)
{
    struct where_params params;
    struct where *where = NULL;

    *out = write->fixed;
    if (!write->check.n)
        return true;
    if (!rules_bind(&write->check, token, arena, &params, err) ||
        !where_compile_text(write->check_text, &params, write->rule.table, arena, &where, err))
        return false;
    *out = where;
    return true;
}

static bool put_set(const struct named_write *write, const struct token *token, struct arena *arena,
                    const struct slice **out, struct err *err)
{
    const struct table *table = write->rule.table;
    struct slice *values = arena_calloc(arena, table->ncols, sizeof(*values));
    struct where_params params;

    *out = NULL;
    for (const struct column_entry *e = write->set; e; e = e->next) {
        if (!rules_bind(&e->claim, token, arena, &params, err))
            return false;
        values[table_column_index(table, e->column)] = params.values[0];
        *out = values;
    }
    return true;
}

static bool put_grant(const struct named_write *write, const struct token *token,
                      struct arena *arena, struct write_grant *out, struct err *err)
{
    out->rule = &write->rule;
    return write->works && put_check(write, token, arena, &out->check, err) &&
           put_set(write, token, arena, &out->set, err);
}

/* "none" would be the bridge's own. */
static bool put_role(const struct named_write *write, const struct token *token,
                     struct arena *arena, struct slice *out, struct err *err)
{
    struct where_params params;

    *out = write->role;
    if (!write->role_claim.n)
        return true;
    if (!rules_bind(&write->role_claim, token, arena, &params, err))
        return false;
    *out = params.values[0];
    return (out->len && !slice_is(*out, "none")) ||
           err_set(err, ERR_INPUT, "the token names no role to write as");
}

static bool put_subject(const struct token *token, struct arena *arena, struct write_rules *out,
                        struct err *err)
{
    struct slice subject = token ? token_subject(token) : SLICE("");

    if (token && !subject.ptr) {
        err_set(err, ERR_INPUT, "the token has no subject (\"sub\"): its bearer cannot write");
        return false;
    }
    out->subject = arena_copy(arena, subject);
    out->claims = arena_copy(arena, token ? token_claims(token) : SLICE(""));
    return true;
}

bool rules_write(const struct rules *rules, const struct token *token, struct arena *arena,
                 struct write_rules *out, struct err *err)
{
    struct write_grant *grants = arena_calloc(arena, rules->writes.len, sizeof(*grants));
    const struct named_write *first = rules->first_write;
    struct err why;

    *out = (struct write_rules){.grants = grants};
    if (!put_subject(token, arena, out, err))
        return false;
    if (!rules->checked)
        return err_set(err, ERR_BUSY, "what may be written is not known yet");
    /* All sections name the same role; whom it is denied has no grants. */
    if (!first || !put_role(first, token, arena, &out->role, &why))
        return true;
    out->role_of_token = first->role_claim.n > 0;
    for (const struct named_write *w = first; w; w = w->next) {
        struct write_grant grant = {0};

        if (put_grant(w, token, arena, &grant, &why))
            grants[out->ngrants++] = grant;
    }
    return true;
}

/* Whether there would be a grant: the same steps, for one section. */
static bool is_granted(const struct named_write *write, const struct token *token)
{
    struct arena arena = {0};
    struct write_rules rules = {0};
    struct write_grant grant = {0};
    struct slice role;
    struct err ignored;
    bool granted = put_subject(token, &arena, &rules, &ignored) &&
                   put_role(write, token, &arena, &role, &ignored) &&
                   put_grant(write, token, &arena, &grant, &ignored);

    arena_release(&arena);
    return granted;
}

bool rules_may_write(const struct rules *rules, const struct token *token, struct slice nspname,
                     struct slice relname, bool ops[WRITE_OPS])
{
    memset(ops, 0, WRITE_OPS * sizeof(*ops));
    for (const struct named_write *w = rules->first_write; w; w = w->next) {
        if (!slice_eq(w->nspname, nspname) || !slice_eq(w->relname, relname))
            continue;
        bool granted = is_granted(w, token);

        if (granted)
            memcpy(ops, w->ops, sizeof(w->ops));
        return granted;
    }
    return false;
}
