/*
 * A token as this room sees it, and its making. Private to this room and its tests.
 */
#ifndef TOKEN_TOKEN_PRIVATE_H
#define TOKEN_TOKEN_PRIVATE_H

#include "token/key_set.h"
#include "token/token.h"

#include <stdatomic.h>
#include <yyjson.h>

struct token_hash {
    uint8_t bytes[32];
};

struct token {
    atomic_size_t refs;
    struct token_hash hash; /* SHA-256 of its text */
    int64_t from, until;    /* good at from <= now < until, leeway included */
    int64_t exp;            /* as it says; TOKEN_NEVER: it does not */
    yyjson_doc *doc;        /* the claims */
    struct slice subject;   /* in doc; ptr NULL: none */
    size_t len;
    char text[]; /* the claims, decoded */
};

/* Everything but the cache: NULL with the reason. The result's hash is the caller's to set. */
struct token *token_read(const struct key_set *set, struct slice jwt, int64_t now,
                         struct err *err) MUST_CHECK;

/* Whether it has begun and not expired. */
bool token_is_current(const struct token *token, int64_t now, struct err *err) MUST_CHECK;

#endif
