/*
 * Claims to the values of a clause's parameters, in Postgres's text form.
 */
#include "rules/rules_private.h"

static void put_path(const struct claim *claim, struct buf *out)
{
    for (size_t i = 0; i < claim->n; i++)
        buf_printf(out, "%s%.*s", i ? "." : "", SLICE_ARG(claim->names[i]));
}

static bool no_claim(const struct claim *claim, const char *text, struct err *err)
{
    struct buf path;

    buf_init(&path, BUF_NO_LIMIT);
    put_path(claim, &path);
    err_set(err, ERR_INPUT, "the token's claim \"%.200s\" %s", buf_cstr(&path), text);
    buf_release(&path);
    return false;
}

static void put_item(struct buf *text, struct slice item)
{
    if (!item.ptr) {
        buf_put_cstr(text, "NULL");
        return;
    }
    buf_put_u8(text, '"');
    for (size_t i = 0; i < item.len; i++) {
        if (item.ptr[i] == '"' || item.ptr[i] == '\\')
            buf_put_u8(text, '\\');
        buf_put_u8(text, (uint8_t)item.ptr[i]);
    }
    buf_put_u8(text, '"');
}

/* A list, as Postgres writes an array of text. */
static struct slice array_of(const struct token_claim *claim, struct arena *arena)
{
    struct buf text;

    buf_init(&text, BUF_NO_LIMIT);
    buf_put_u8(&text, '{');
    for (size_t i = 0; i < claim->nitems; i++) {
        buf_put_cstr(&text, i ? "," : "");
        put_item(&text, claim->items[i]);
    }
    buf_put_u8(&text, '}');
    struct slice array = arena_copy(arena, buf_slice(&text));
    buf_release(&text);
    return array;
}

static bool bind(const struct claim *claim, const struct token *token, struct arena *arena,
                 struct slice *value, struct err *err)
{
    struct token_claim found = {.kind = TOKEN_CLAIM_ABSENT};

    if (token)
        found = token_claim_at(token, claim->names, claim->n, arena);
    switch (found.kind) {
    case TOKEN_CLAIM_TEXT:
        *value = arena_copy(arena, found.text);
        return true;
    case TOKEN_CLAIM_LIST:
        *value = array_of(&found, arena);
        return true;
    case TOKEN_CLAIM_ABSENT:
        return no_claim(claim, "is needed for this, and is not there", err);
    case TOKEN_CLAIM_NULL:
        return no_claim(claim, "is needed for this, and is null", err);
    case TOKEN_CLAIM_OBJECT:
        break;
    }
    return no_claim(claim, "is neither a value nor a list of values", err);
}

bool rules_bind(const struct claims_clause *clause, const struct token *token, struct arena *arena,
                struct where_params *out, struct err *err)
{
    struct slice *values = arena_calloc(arena, clause->n, sizeof(*values));

    *out = (struct where_params){values, clause->n};
    for (size_t i = 0; i < clause->n; i++) {
        if (!bind(&clause->claims[i], token, arena, &values[i], err))
            return false;
    }
    return true;
}
