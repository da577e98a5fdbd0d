#include "token/cache.h"

#include <stdlib.h>

void token_cache_init(struct token_cache *cache, size_t cached)
{
    *cache = (struct token_cache){.nrows = (cached + TOKEN_CACHE_ROW - 1) / TOKEN_CACHE_ROW};
    if (cache->nrows)
        cache->slots = xcalloc(cache->nrows * TOKEN_CACHE_ROW, sizeof(struct token *));
}

void token_cache_reset(struct token_cache *cache, uint64_t generation)
{
    for (size_t i = 0; i < cache->nrows * TOKEN_CACHE_ROW; i++) {
        token_unref(cache->slots[i]);
        cache->slots[i] = NULL;
    }
    cache->generation = generation;
}

void token_cache_release(struct token_cache *cache)
{
    token_cache_reset(cache, 0);
    free(cache->slots);
    *cache = (struct token_cache){0};
}

static struct token **row_of(const struct token_cache *cache, const struct token_hash *hash)
{
    uint64_t where;

    memcpy(&where, hash->bytes, sizeof(where));
    return cache->slots + where % cache->nrows * TOKEN_CACHE_ROW;
}

/* The place of that token in the row, or the row's last place. */
static size_t find(struct token *const *row, const struct token_hash *hash)
{
    size_t i = 0;

    while (i < TOKEN_CACHE_ROW - 1 && row[i] && memcmp(&row[i]->hash, hash, sizeof(*hash)) != 0)
        i++;
    return i;
}

static void move_to_front(struct token **row, size_t i)
{
    struct token *token = row[i];

    memmove(row + 1, row, i * sizeof(*row));
    row[0] = token;
}

struct token *token_cache_get(struct token_cache *cache, uint64_t generation,
                              const struct token_hash *hash)
{
    if (cache->nrows == 0 || cache->generation != generation)
        return NULL;
    struct token **row = row_of(cache, hash);
    size_t i = find(row, hash);
    if (!row[i] || memcmp(&row[i]->hash, hash, sizeof(*hash)) != 0)
        return NULL;
    move_to_front(row, i);
    return token_ref(row[0]);
}

void token_cache_put(struct token_cache *cache, uint64_t generation, struct token *token)
{
    if (cache->nrows == 0 || cache->generation != generation)
        return;
    struct token **row = row_of(cache, &token->hash);
    size_t i = find(row, &token->hash);
    token_unref(row[i]);
    row[i] = token_ref(token);
    move_to_front(row, i);
}
