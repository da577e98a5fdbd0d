#include "token/key_set.h"
#include "token/shown.h"

#include <stdlib.h>

static const char *copy_text(struct arena *arena, const char *text)
{
    return text && *text ? arena_strdup(arena, text) : NULL;
}

struct key_set *key_set_new(const struct token_config *config)
{
    struct key_set *set = xcalloc(1, sizeof(*set));

    atomic_init(&set->refs, 1);
    set->config = *config;
    set->config.secret = arena_copy(&set->arena, config->secret);
    set->config.key_file = copy_text(&set->arena, config->key_file);
    set->config.jwks_file = copy_text(&set->arena, config->jwks_file);
    set->config.audience = copy_text(&set->arena, config->audience);
    set->config.issuer = copy_text(&set->arena, config->issuer);
    set->keys = arena_calloc(&set->arena, KEY_SET_MAX, sizeof(*set->keys));
    return set;
}

struct key_set *key_set_ref(struct key_set *set)
{
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    return set;
}

void key_set_unref(struct key_set *set)
{
    if (!set || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < set->nkeys; i++)
        token_key_release(&set->keys[i]);
    arena_release(&set->arena);
    free(set);
}

bool key_set_add(struct key_set *set, struct token_key *key, struct err *err)
{
    if (set->nkeys == KEY_SET_MAX) {
        token_key_release(key);
        return err_set(err, ERR_CONFIG, "there are more than %d keys", KEY_SET_MAX);
    }
    set->keys[set->nkeys++] = *key;
    return true;
}

bool key_set_add_secret(struct key_set *set, struct err *err)
{
    struct token_key key;
    struct slice secret = set->config.secret;

    if (secret.len >= 10 && memcmp(secret.ptr, "-----BEGIN", 10) == 0) {
        err_set(err, ERR_CONFIG, "it is a key in PEM form: what is public can be no secret");
        return err_hint(err, "a public key belongs into a file of its own");
    }
    return token_key_of_secret(secret, &key, err) && key_set_add(set, &key, err);
}

/* Whether tokens of this kid are for this key: of its own kid, or, when no key has that, of none.
 */
static bool is_candidate(const struct token_key *key, struct slice kid, bool kid_known)
{
    if (!kid.ptr)
        return true;
    return kid_known ? key->kid.ptr && slice_eq(key->kid, kid) : !key->kid.ptr;
}

static bool knows_kid(const struct key_set *set, struct slice kid)
{
    for (size_t i = 0; kid.ptr && i < set->nkeys; i++) {
        if (set->keys[i].kid.ptr && slice_eq(set->keys[i].kid, kid))
            return true;
    }
    return false;
}

static bool refuse_for_want_of_key(enum token_alg alg, struct slice kid, bool kid_known,
                                   struct err *err)
{
    if (kid_known)
        return err_set(err, ERR_INPUT, "the key with the token's kid \"%s\" is not for %s",
                       SHOWN(kid), token_alg_name(alg));
    if (!kid.ptr)
        return err_set(err, ERR_INPUT, "no key for %s is known here", token_alg_name(alg));
    err_set(err, ERR_INPUT, "no key with the token's kid \"%s\" is known here", SHOWN(kid));
    return err_hint(err, "if the signing keys were changed, the bridge needs the new ones too");
}

bool key_set_verify(const struct key_set *set, enum token_alg alg, struct slice kid,
                    struct slice text, struct slice signature, struct err *err)
{
    const struct token_key *fitting[TOKEN_TRIES];
    bool kid_known = knows_kid(set, kid);
    size_t n = 0;

    for (size_t i = 0; i < set->nkeys; i++) {
        const struct token_key *key = &set->keys[i];

        if (key->alg != alg || !is_candidate(key, kid, kid_known))
            continue;
        if (n == TOKEN_TRIES)
            return err_set(err, ERR_INPUT,
                           "more than %d keys fit the token: it must name one by "
                           "kid",
                           TOKEN_TRIES);
        fitting[n++] = key;
    }
    if (n == 0)
        return refuse_for_want_of_key(alg, kid, kid_known, err);
    for (size_t i = 0; i < n; i++) {
        if (token_key_verify(fitting[i], text, signature))
            return true;
    }
    return err_set(err, ERR_INPUT, "the token's signature is not that of a known key");
}
