/*
 * All keys of one reading of the settings and files, with the settings themselves: what a
 * verification needs, and nothing that changes. A reload makes a new set; who is in the middle of
 * a verification holds the old one by its reference.
 *
 * Private to this room and its tests.
 */
#ifndef TOKEN_KEY_SET_H
#define TOKEN_KEY_SET_H

#include "token/key.h"
#include "token/token.h"

#include <stdatomic.h>

#define KEY_SET_MAX 256

struct key_set {
    atomic_size_t refs;
    uint64_t generation; /* which reading it is of */
    struct arena arena;
    struct token_config config; /* its texts in the arena */
    struct token_key *keys;     /* room for KEY_SET_MAX */
    size_t nkeys;
};

/* Without keys; a reference is the caller's. Copies what the config points to. */
struct key_set *key_set_new(const struct token_config *config);
struct key_set *key_set_ref(struct key_set *set);
void key_set_unref(struct key_set *set);

/* The config's secret. */
bool key_set_add_secret(struct key_set *set, struct err *err) MUST_CHECK;
/* The text of a PEM file: PUBLIC KEY blocks, at least one, and text between them. */
bool key_set_add_pem(struct key_set *set, struct slice text, struct err *err) MUST_CHECK;
/* The text of a JWKS file, of which at least one key must be of use. */
bool key_set_add_jwks(struct key_set *set, struct slice text, struct err *err) MUST_CHECK;

/* Takes ownership of the key, also when it fails: there are too many. */
bool key_set_add(struct key_set *set, struct token_key *key, struct err *err) MUST_CHECK;

/* Verifies a signature with the keys that fit; `kid` with ptr NULL: none is named. */
bool key_set_verify(const struct key_set *set, enum token_alg alg, struct slice kid,
                    struct slice text, struct slice signature, struct err *err) MUST_CHECK;

#endif
