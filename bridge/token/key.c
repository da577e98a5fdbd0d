#include "token/key.h"
#include "token/token.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

#define RSA_MIN_BITS 2048
#define RSA_MAX_BITS 8192

static const char *const names[] = {
    [TOKEN_HS256] = "HS256",
    [TOKEN_RS256] = "RS256",
    [TOKEN_ES256] = "ES256",
    [TOKEN_EDDSA] = "EdDSA",
};

const char *token_alg_name(enum token_alg alg)
{
    return names[alg];
}

bool token_alg_parse(struct slice name, enum token_alg *alg)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (slice_is(name, names[i])) {
            *alg = (enum token_alg)i;
            return true;
        }
    }
    return false;
}

bool token_key_of_secret(struct slice secret, struct token_key *key, struct err *err)
{
    if (secret.len < TOKEN_SECRET_MIN)
        return err_set(err, ERR_CONFIG, "a secret of %zu bytes is too short: HS256 needs %d",
                       secret.len, TOKEN_SECRET_MIN);
    *key = (struct token_key){.alg = TOKEN_HS256, .secret = secret};
    return true;
}

static bool is_p256(const EVP_PKEY *pkey)
{
    char group[32] = "";

    return EVP_PKEY_is_a(pkey, "EC") &&
           EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group),
                                          NULL) &&
           strcmp(group, "prime256v1") == 0;
}

static bool find_alg(const EVP_PKEY *pkey, enum token_alg *alg, struct err *err)
{
    int bits = EVP_PKEY_get_bits(pkey);

    if (EVP_PKEY_is_a(pkey, "RSA")) {
        *alg = TOKEN_RS256;
        if (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS)
            return err_set(err, ERR_CONFIG, "an RSA key must have %d to %d bits, not %d",
                           RSA_MIN_BITS, RSA_MAX_BITS, bits);
        return true;
    }
    if (EVP_PKEY_is_a(pkey, "ED25519"))
        *alg = TOKEN_EDDSA;
    else if (is_p256(pkey))
        *alg = TOKEN_ES256;
    else
        return err_set(err, ERR_CONFIG,
                       "the key is of a kind that is not supported: RSA, EC on P-256 or Ed25519");
    return true;
}

/* Points that are on the curve, numbers that can be of a key. */
static bool is_sound(EVP_PKEY *pkey)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    bool sound = ctx && EVP_PKEY_public_check(ctx) == 1;

    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    return sound;
}

bool token_key_of_pkey(EVP_PKEY *pkey, struct token_key *key, struct err *err)
{
    enum token_alg alg;
    bool fine = find_alg(pkey, &alg, err);

    if (fine && !is_sound(pkey))
        fine = err_set(err, ERR_CONFIG, "its numbers cannot be those of a public key");
    if (!fine) {
        EVP_PKEY_free(pkey);
        return false;
    }
    *key = (struct token_key){.alg = alg, .pkey = pkey};
    return true;
}

static EVP_PKEY *build(const char *type, OSSL_PARAM_BLD *parts)
{
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(parts);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *pkey = NULL;

    if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    ERR_clear_error();
    return pkey;
}

bool token_key_of_rsa(struct slice n, struct slice e, struct token_key *key, struct err *err)
{
    if (n.len > RSA_MAX_BITS / 8 + 1 || e.len > 8)
        return err_set(err, ERR_CONFIG, "n or e is too large");
    BIGNUM *big_n = BN_bin2bn((const uint8_t *)n.ptr, (int)n.len, NULL);
    BIGNUM *big_e = BN_bin2bn((const uint8_t *)e.ptr, (int)e.len, NULL);
    OSSL_PARAM_BLD *parts = OSSL_PARAM_BLD_new();
    EVP_PKEY *pkey = NULL;

    if (big_n && big_e && parts && OSSL_PARAM_BLD_push_BN(parts, OSSL_PKEY_PARAM_RSA_N, big_n) &&
        OSSL_PARAM_BLD_push_BN(parts, OSSL_PKEY_PARAM_RSA_E, big_e))
        pkey = build("RSA", parts);
    OSSL_PARAM_BLD_free(parts);
    BN_free(big_n);
    BN_free(big_e);
    if (!pkey)
        return err_set(err, ERR_CONFIG, "n and e are not those of an RSA key");
    return token_key_of_pkey(pkey, key, err);
}

bool token_key_of_p256(const uint8_t *x, const uint8_t *y, struct token_key *key, struct err *err)
{
    uint8_t point[65] = {0x04}; /* not compressed */
    OSSL_PARAM_BLD *parts = OSSL_PARAM_BLD_new();
    EVP_PKEY *pkey = NULL;

    memcpy(point + 1, x, 32);
    memcpy(point + 33, y, 32);
    if (parts &&
        OSSL_PARAM_BLD_push_utf8_string(parts, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) &&
        OSSL_PARAM_BLD_push_octet_string(parts, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)))
        pkey = build("EC", parts);
    OSSL_PARAM_BLD_free(parts);
    if (!pkey)
        return err_set(err, ERR_CONFIG, "x and y are not a point of P-256");
    return token_key_of_pkey(pkey, key, err);
}

bool token_key_of_ed25519(const uint8_t *x, struct token_key *key, struct err *err)
{
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, x, 32);

    if (!pkey) {
        ERR_clear_error();
        return err_set(err, ERR_CONFIG, "x is not an Ed25519 key");
    }
    return token_key_of_pkey(pkey, key, err);
}

void token_key_release(struct token_key *key)
{
    EVP_PKEY_free(key->pkey);
    *key = (struct token_key){0};
}
