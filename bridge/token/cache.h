/*
 * Tokens that were verified, by the SHA-256 of their text: a table of fixed size, in rows of a
 * few, each row in the order of its last uses. What is put into a full row drops its last.
 *
 * Tokens of another generation of keys than the cache's are neither found nor taken, so that a
 * verification which began before a reload leaves nothing behind it.
 *
 * Not for use by two threads at a time. Private to this room and its tests.
 */
#ifndef TOKEN_CACHE_H
#define TOKEN_CACHE_H

#include "token/token_private.h"

struct token_cache {
    struct token **slots; /* nrows * TOKEN_CACHE_ROW, NULL where free; a row's free ones are last */
    size_t nrows;
    uint64_t generation;
};

#define TOKEN_CACHE_ROW 8

/* For about `cached` tokens, rounded up to whole rows; 0: for none. */
void token_cache_init(struct token_cache *cache, size_t cached);
void token_cache_release(struct token_cache *cache);
/* Empties it; from now on it is for this generation. */
void token_cache_reset(struct token_cache *cache, uint64_t generation);

/* With a reference for the caller, or NULL. */
struct token *token_cache_get(struct token_cache *cache, uint64_t generation,
                              const struct token_hash *hash);
/* Takes a reference of its own. */
void token_cache_put(struct token_cache *cache, uint64_t generation, struct token *token);

#endif
