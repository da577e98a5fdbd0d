/*
 * The signatures themselves. OpenSSL's error queue is the thread's, and libpq and libcurl look
 * into it: it is left empty.
 */
#include "token/key.h"

#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>

#define HMAC_SIZE 32
#define EC_SIZE 32 /* of r, and of s */

static bool verify_hmac(const struct token_key *key, struct slice text, struct slice signature)
{
    uint8_t mac[EVP_MAX_MD_SIZE];
    size_t len = 0;

    return EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key->secret.ptr, key->secret.len,
                     (const uint8_t *)text.ptr, text.len, mac, sizeof(mac), &len) &&
           len == HMAC_SIZE && signature.len == HMAC_SIZE &&
           CRYPTO_memcmp(mac, signature.ptr, HMAC_SIZE) == 0;
}

static bool verify_digest(EVP_PKEY *pkey, const char *digest, struct slice text, const uint8_t *sig,
                          size_t siglen)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool same = ctx && EVP_DigestVerifyInit_ex(ctx, NULL, digest, NULL, NULL, pkey, NULL) == 1 &&
                EVP_DigestVerify(ctx, sig, siglen, (const uint8_t *)text.ptr, text.len) == 1;

    EVP_MD_CTX_free(ctx);
    return same;
}

/* OpenSSL wants r and s in DER, a token has them bare. */
static int der_of(struct slice signature, uint8_t **der)
{
    const uint8_t *bytes = (const uint8_t *)signature.ptr;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(bytes, EC_SIZE, NULL), *s = BN_bin2bn(bytes + EC_SIZE, EC_SIZE, NULL);
    int len = -1;

    *der = NULL;
    if (sig && r && s && ECDSA_SIG_set0(sig, r, s)) {
        r = s = NULL; /* sig has them */
        len = i2d_ECDSA_SIG(sig, der);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(sig);
    return len;
}

static bool verify_ecdsa(const struct token_key *key, struct slice text, struct slice signature)
{
    uint8_t *der;

    if (signature.len != (size_t)2 * EC_SIZE)
        return false;
    int len = der_of(signature, &der);
    bool same = len > 0 && verify_digest(key->pkey, "SHA256", text, der, (size_t)len);
    OPENSSL_free(der);
    return same;
}

bool token_key_verify(const struct token_key *key, struct slice text, struct slice signature)
{
    const uint8_t *sig = (const uint8_t *)signature.ptr;
    bool same = false;

    switch (key->alg) {
    case TOKEN_HS256:
        same = verify_hmac(key, text, signature);
        break;
    case TOKEN_RS256:
        same = verify_digest(key->pkey, "SHA256", text, sig, signature.len);
        break;
    case TOKEN_ES256:
        same = verify_ecdsa(key, text, signature);
        break;
    case TOKEN_EDDSA:
        same = verify_digest(key->pkey, NULL, text, sig, signature.len);
        break;
    }
    ERR_clear_error();
    return same;
}
