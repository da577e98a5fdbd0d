/*
 * JWKS (RFC 7517): {"keys": [{"kty": "RSA", "kid": "a", "n": ..., "e": ...}, ...]}. A key that is
 * for something else (encryption, another curve or algorithm) is passed over, as the RFC asks; one
 * that should be of use and is not whole is an error, with its place.
 */
#include "token/base64url.h"
#include "token/key_set.h"
#include "token/shown.h"
#include "token/strict_json.h"

#define MEMBER_MAX 2048 /* bytes of n, e, x, y or k */

enum use { USE_ERROR, USE_SKIP, USE_KEY };

struct jwk {
    yyjson_val *val;
    struct arena *arena; /* the set's */
};

static bool member_is(struct jwk jwk, const char *name, const char *value)
{
    return yyjson_equals_str(yyjson_obj_get(jwk.val, name), value);
}

/* Without the member it is for everything. */
static bool is_for_verifying(struct jwk jwk)
{
    yyjson_val *use = yyjson_obj_get(jwk.val, "use"), *ops = yyjson_obj_get(jwk.val, "key_ops");
    yyjson_val *op;
    yyjson_arr_iter iter;

    if (use && !yyjson_equals_str(use, "sig"))
        return false;
    if (!ops)
        return true;
    yyjson_arr_iter_init(ops, &iter);
    while ((op = yyjson_arr_iter_next(&iter))) {
        if (yyjson_equals_str(op, "verify"))
            return true;
    }
    return false;
}

static bool find_alg(struct jwk jwk, enum token_alg *alg)
{
    if (member_is(jwk, "kty", "oct"))
        *alg = TOKEN_HS256;
    else if (member_is(jwk, "kty", "RSA"))
        *alg = TOKEN_RS256;
    else if (member_is(jwk, "kty", "EC") && member_is(jwk, "crv", "P-256"))
        *alg = TOKEN_ES256;
    else if (member_is(jwk, "kty", "OKP") && member_is(jwk, "crv", "Ed25519"))
        *alg = TOKEN_EDDSA;
    else
        return false;
    return true;
}

/* Whether a key is of use here at all, and with which algorithm. */
static enum use judge(struct jwk jwk, enum token_alg *alg, struct err *err)
{
    yyjson_val *named = yyjson_obj_get(jwk.val, "alg");
    enum token_alg other;

    if (!yyjson_is_str(yyjson_obj_get(jwk.val, "kty"))) {
        err_set(err, ERR_CONFIG, "\"kty\" must be a string");
        return USE_ERROR;
    }
    if (!is_for_verifying(jwk) || !find_alg(jwk, alg))
        return USE_SKIP;
    if (!named)
        return USE_KEY;
    if (!yyjson_is_str(named) || !token_alg_parse(strict_json_text(named), &other))
        return USE_SKIP;
    if (other == *alg)
        return USE_KEY;
    err_set(err, ERR_CONFIG, "\"alg\" %s does not go with its \"kty\"", token_alg_name(other));
    return USE_ERROR;
}

/* `size` bytes, or any number of them when it is 0. */
static bool take_bytes(struct jwk jwk, const char *name, size_t size, struct slice *out,
                       struct err *err)
{
    yyjson_val *val = yyjson_obj_get(jwk.val, name);
    struct slice text = strict_json_text(val);

    if (!yyjson_is_str(val) || text.len == 0)
        return err_set(err, ERR_CONFIG, "\"%s\" must be a string in base64url", name);
    size_t len = BASE64URL_BYTES(text.len);
    if (len > MEMBER_MAX)
        return err_set(err, ERR_CONFIG, "\"%s\" is too long", name);
    uint8_t *bytes = arena_alloc(jwk.arena, len);
    if (!base64url_decode(text, bytes))
        return err_set(err, ERR_CONFIG, "\"%s\" is not base64url without padding", name);
    if (size && len != size)
        return err_set(err, ERR_CONFIG, "\"%s\" has %zu bytes instead of %zu", name, len, size);
    *out = (struct slice){(const char *)bytes, len};
    return true;
}

static bool take_key(struct jwk jwk, enum token_alg alg, struct token_key *key, struct err *err)
{
    struct slice a, b;

    switch (alg) {
    case TOKEN_HS256:
        return take_bytes(jwk, "k", 0, &a, err) && token_key_of_secret(a, key, err);
    case TOKEN_RS256:
        return take_bytes(jwk, "n", 0, &a, err) && take_bytes(jwk, "e", 0, &b, err) &&
               token_key_of_rsa(a, b, key, err);
    case TOKEN_ES256:
        return take_bytes(jwk, "x", 32, &a, err) && take_bytes(jwk, "y", 32, &b, err) &&
               token_key_of_p256((const uint8_t *)a.ptr, (const uint8_t *)b.ptr, key, err);
    case TOKEN_EDDSA:
        return take_bytes(jwk, "x", 32, &a, err) &&
               token_key_of_ed25519((const uint8_t *)a.ptr, key, err);
    }
    return false;
}

static bool take_kid(struct jwk jwk, struct slice *kid, struct err *err)
{
    yyjson_val *val = yyjson_obj_get(jwk.val, "kid");

    *kid = (struct slice){NULL, 0};
    if (!val)
        return true;
    if (!yyjson_is_str(val))
        return err_set(err, ERR_CONFIG, "\"kid\" must be a string");
    *kid = arena_copy(jwk.arena, strict_json_text(val));
    return true;
}

static bool add_jwk(struct key_set *set, yyjson_val *val, struct err *err)
{
    struct jwk jwk = {val, &set->arena};
    struct token_key key;
    struct slice kid;
    enum token_alg alg;

    if (!yyjson_is_obj(val))
        return err_set(err, ERR_CONFIG, "must be an object");
    enum use use = judge(jwk, &alg, err);
    if (use != USE_KEY)
        return use == USE_SKIP;
    if (!take_kid(jwk, &kid, err) || !take_key(jwk, alg, &key, err))
        return false;
    key.kid = kid;
    return key_set_add(set, &key, err);
}

static bool add_jwks(struct key_set *set, yyjson_val *root, struct err *err)
{
    yyjson_val *keys = yyjson_obj_get(root, "keys"), *val;
    size_t before = set->nkeys, i = 0;
    yyjson_arr_iter iter;

    if (!yyjson_is_arr(keys))
        return err_set(err, ERR_CONFIG, "\"keys\" must be an array of keys");
    for (yyjson_arr_iter_init(keys, &iter); (val = yyjson_arr_iter_next(&iter)); i++) {
        if (!add_jwk(set, val, err))
            return err_wrap(err, "keys[%zu]", i);
    }
    if (set->nkeys > before)
        return true;
    err_set(err, ERR_CONFIG, "of its %zu keys none can verify a token", i);
    return err_hint(err, "wanted are keys for signatures: RSA (RS256), EC on P-256 (ES256), OKP "
                         "with Ed25519 (EdDSA) or oct (HS256)");
}

bool key_set_add_jwks(struct key_set *set, struct slice text, struct err *err)
{
    yyjson_doc *doc = strict_json_object(text, err);

    if (!doc) {
        err->code = ERR_CONFIG;
        return false;
    }
    bool added = add_jwks(set, yyjson_doc_get_root(doc), err);
    yyjson_doc_free(doc);
    return added;
}
