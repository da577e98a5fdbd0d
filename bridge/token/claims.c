/*
 * A token's life and what can be asked of it.
 */
#include "token/strict_json.h"
#include "token/token_private.h"

#include <stdlib.h>

struct token *token_ref(struct token *token)
{
    atomic_fetch_add_explicit(&token->refs, 1, memory_order_relaxed);
    return token;
}

void token_unref(struct token *token)
{
    if (!token || atomic_fetch_sub_explicit(&token->refs, 1, memory_order_acq_rel) > 1)
        return;
    yyjson_doc_free(token->doc);
    free(token);
}

struct slice token_subject(const struct token *token)
{
    return token->subject;
}

int64_t token_expires(const struct token *token)
{
    return token->until;
}

struct slice token_claims(const struct token *token)
{
    return (struct slice){token->text, token->len};
}

static struct slice scalar_text(yyjson_val *val)
{
    if (yyjson_is_null(val))
        return (struct slice){NULL, 0};
    if (yyjson_is_bool(val))
        return yyjson_get_bool(val) ? SLICE("true") : SLICE("false");
    return strict_json_text(val);
}

static struct token_claim list_of(yyjson_val *array, struct arena *arena)
{
    size_t n = yyjson_arr_size(array), i = 0;
    struct slice *items = arena_calloc(arena, n, sizeof(*items));
    yyjson_val *val;
    yyjson_arr_iter iter;

    for (yyjson_arr_iter_init(array, &iter); (val = yyjson_arr_iter_next(&iter)); i++) {
        if (yyjson_is_ctn(val))
            return (struct token_claim){.kind = TOKEN_CLAIM_OBJECT};
        items[i] = scalar_text(val);
    }
    return (struct token_claim){.kind = TOKEN_CLAIM_LIST, .items = items, .nitems = n};
}

static struct token_claim claim_of(yyjson_val *val, struct arena *arena)
{
    if (!val)
        return (struct token_claim){.kind = TOKEN_CLAIM_ABSENT};
    if (yyjson_is_null(val))
        return (struct token_claim){.kind = TOKEN_CLAIM_NULL};
    if (yyjson_is_obj(val))
        return (struct token_claim){.kind = TOKEN_CLAIM_OBJECT};
    if (yyjson_is_arr(val))
        return list_of(val, arena);
    return (struct token_claim){.kind = TOKEN_CLAIM_TEXT, .text = scalar_text(val)};
}

struct token_claim token_claim_at(const struct token *token, const struct slice *names, size_t n,
                                  struct arena *arena)
{
    yyjson_val *val = yyjson_doc_get_root(token->doc);

    for (size_t i = 0; i < n; i++)
        val = yyjson_obj_getn(val, names[i].ptr, names[i].len);
    return claim_of(val, arena);
}

struct token_claim token_claim(const struct token *token, struct slice path, struct arena *arena)
{
    yyjson_val *val = yyjson_doc_get_root(token->doc);

    for (;;) {
        const char *dot = path.len ? memchr(path.ptr, '.', path.len) : NULL;
        size_t len = dot ? (size_t)(dot - path.ptr) : path.len;

        val = yyjson_obj_getn(val, path.ptr, len);
        if (!dot)
            return claim_of(val, arena);
        path = (struct slice){dot + 1, path.len - len - 1};
    }
}
