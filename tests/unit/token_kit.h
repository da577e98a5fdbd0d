/*
 * The other side of tokens: keys made at run time, and what a login service does with them.
 * Everything is in one arena, released by the test's teardown.
 */
#ifndef TOKEN_KIT_H
#define TOKEN_KIT_H

#include "base/buf.h"
#include "token/token.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define NOW 1700000000
#define SECRET "a secret of no less than thirty-two bytes"

static struct arena kit_arena;

static inline struct slice b64(struct slice bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char *out = arena_alloc(&kit_arena, bytes.len * 2 + 4);
    size_t n = 0;
    uint32_t bits = 0;
    unsigned nbits = 0;

    for (size_t i = 0; i < bytes.len; i++) {
        bits = bits << 8 | (uint8_t)bytes.ptr[i];
        for (nbits += 8; nbits >= 6; nbits -= 6)
            out[n++] = digits[bits >> (nbits - 6) & 63];
    }
    if (nbits)
        out[n++] = digits[bits << (6 - nbits) & 63];
    out[n] = '\0';
    return (struct slice){out, n};
}

/* A key pair, or the secret (pkey NULL). */
struct signer {
    const char *alg;
    EVP_PKEY *pkey;
};

static inline struct signer signer_new(const char *alg)
{
    struct signer signer = {alg, NULL};

    if (strcmp(alg, "RS256") == 0)
        signer.pkey = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    else if (strcmp(alg, "ES256") == 0)
        signer.pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    else if (strcmp(alg, "EdDSA") == 0)
        signer.pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    assert_true(signer.pkey || strcmp(alg, "HS256") == 0);
    return signer;
}

static inline struct slice hmac(struct slice key, struct slice text)
{
    uint8_t mac[32];
    size_t len = 0;

    assert_non_null(EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key.ptr, key.len,
                              (const uint8_t *)text.ptr, text.len, mac, sizeof(mac), &len));
    return arena_copy(&kit_arena, (struct slice){(const char *)mac, len});
}

/* As OpenSSL makes it: ECDSA in DER. */
static inline struct slice sign_plain(struct signer signer, struct slice text)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const char *digest = strcmp(signer.alg, "EdDSA") == 0 ? NULL : "SHA256";
    size_t len = 2048;
    uint8_t *sig = arena_alloc(&kit_arena, len);

    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, digest, NULL, NULL, signer.pkey, NULL), 1);
    assert_int_equal(EVP_DigestSign(ctx, sig, &len, (const uint8_t *)text.ptr, text.len), 1);
    EVP_MD_CTX_free(ctx);
    return (struct slice){(const char *)sig, len};
}

static inline struct slice raw_ecdsa(struct slice der)
{
    const uint8_t *p = (const uint8_t *)der.ptr;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)der.len);
    uint8_t *raw = arena_alloc(&kit_arena, 64);

    assert_non_null(sig);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32), 32);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32), 32);
    ECDSA_SIG_free(sig);
    return (struct slice){(const char *)raw, 64};
}

static inline struct slice sign(struct signer signer, struct slice text)
{
    if (!signer.pkey)
        return hmac(SLICE(SECRET), text);
    struct slice sig = sign_plain(signer, text);
    return strcmp(signer.alg, "ES256") == 0 ? raw_ecdsa(sig) : sig;
}

static inline struct slice join(struct slice is_signed, struct slice signature)
{
    return slice_of(
        arena_printf(&kit_arena, "%.*s.%.*s", SLICE_ARG(is_signed), SLICE_ARG(b64(signature))));
}

static inline struct slice unsigned_token(struct slice header, struct slice payload)
{
    return slice_of(
        arena_printf(&kit_arena, "%.*s.%.*s", SLICE_ARG(b64(header)), SLICE_ARG(b64(payload))));
}

/* Signed, with exactly this header and payload. */
static inline struct slice token_of(struct signer signer, struct slice header, struct slice payload)
{
    struct slice text = unsigned_token(header, payload);

    return join(text, sign(signer, text));
}

/* With the signer's own alg, and `kid` unless it is NULL. */
static inline struct slice token_with_kid(struct signer signer, const char *kid,
                                          const char *payload)
{
    const char *header =
        kid ? arena_printf(&kit_arena, "{\"alg\":\"%s\",\"kid\":\"%s\"}", signer.alg, kid)
            : arena_printf(&kit_arena, "{\"alg\":\"%s\"}", signer.alg);

    return token_of(signer, slice_of(header), slice_of(payload));
}

static inline struct slice token_for(struct signer signer, const char *payload)
{
    return token_with_kid(signer, NULL, payload);
}

#define GOOD "{\"sub\":\"ann\",\"exp\":1700000100}"

static inline const char *bio_text(BIO *bio)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    struct slice text = arena_copy(&kit_arena, (struct slice){data, (size_t)len});

    BIO_free(bio);
    return text.ptr;
}

static inline const char *pem_of(struct signer signer)
{
    BIO *bio = BIO_new(BIO_s_mem());

    assert_int_equal(PEM_write_bio_PUBKEY(bio, signer.pkey), 1);
    return bio_text(bio);
}

static inline const char *number_of(struct signer signer, const char *name)
{
    BIGNUM *n = NULL;
    uint8_t bytes[512];

    assert_int_equal(EVP_PKEY_get_bn_param(signer.pkey, name, &n), 1);
    /* coordinates have their full width, which those with a zero in front lose as numbers */
    int len = strcmp(signer.alg, "ES256") == 0 ? BN_bn2binpad(n, bytes, 32) : BN_bn2bin(n, bytes);
    BN_free(n);
    return b64((struct slice){(const char *)bytes, (size_t)len}).ptr;
}

static inline const char *octets_of(struct signer signer)
{
    uint8_t bytes[32];
    size_t len = sizeof(bytes);

    assert_int_equal(EVP_PKEY_get_raw_public_key(signer.pkey, bytes, &len), 1);
    return b64((struct slice){(const char *)bytes, len}).ptr;
}

/* The members of its JWK: `"kty":...,...` without braces. */
static inline const char *jwk_of(struct signer signer)
{
    if (strcmp(signer.alg, "RS256") == 0)
        return arena_printf(&kit_arena, "\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"",
                            number_of(signer, OSSL_PKEY_PARAM_RSA_N),
                            number_of(signer, OSSL_PKEY_PARAM_RSA_E));
    if (strcmp(signer.alg, "ES256") == 0)
        return arena_printf(&kit_arena,
                            "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\"",
                            number_of(signer, OSSL_PKEY_PARAM_EC_PUB_X),
                            number_of(signer, OSSL_PKEY_PARAM_EC_PUB_Y));
    if (strcmp(signer.alg, "EdDSA") == 0)
        return arena_printf(&kit_arena, "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"",
                            octets_of(signer));
    return arena_printf(&kit_arena, "\"kty\":\"oct\",\"k\":\"%s\"", b64(SLICE(SECRET)).ptr);
}

static inline const char *jwks_of(struct signer signer, const char *kid)
{
    return arena_printf(&kit_arena, "{\"keys\":[{%s,\"kid\":\"%s\"}]}", jwk_of(signer), kid);
}

/* A file of the test's, gone with file_gone(). */
static inline const char *file_with(const char *text)
{
    char *path = arena_strdup(&kit_arena, "token-XXXXXX");
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

static inline struct token_keys *open_keys(const struct token_config *config)
{
    struct err err = {0};
    struct token_keys *keys = token_keys_open(config, &err);

    if (!keys)
        fail_msg("%s (%s)", err.msg, err.hint);
    return keys;
}

static inline struct token_keys *keys_of_secret(void)
{
    struct token_config config;

    token_config_init(&config);
    config.secret = SLICE(SECRET);
    return open_keys(&config);
}

static inline struct token_keys *keys_of_pem(const char *pem)
{
    struct token_config config;

    token_config_init(&config);
    config.key_file = file_with(pem);
    struct token_keys *keys = open_keys(&config);
    unlink(config.key_file);
    return keys;
}

static inline struct token_keys *keys_of_jwks(const char *jwks)
{
    struct token_config config;

    token_config_init(&config);
    config.jwks_file = file_with(jwks);
    struct token_keys *keys = open_keys(&config);
    unlink(config.jwks_file);
    return keys;
}

static inline bool is_taken(struct token_keys *keys, struct slice jwt)
{
    struct token *token;
    struct err err = {0};
    bool taken = token_verify(keys, jwt, NOW, &token, &err);

    token_unref(token);
    assert_int_equal(ERR_peek_error(), 0); /* the thread's queue is left empty */
    return taken;
}

/* Refused, for a reason that has `why` in it. */
static inline void assert_refused_at(struct token_keys *keys, struct slice jwt, int64_t now,
                                     const char *why)
{
    struct token *token;
    struct err err = {0};

    if (token_verify(keys, jwt, now, &token, &err))
        fail_msg("taken, not refused for \"%s\": %.*s", why, SLICE_ARG(jwt));
    assert_null(token);
    assert_int_equal(err.code, ERR_INPUT);
    assert_int_equal(ERR_peek_error(), 0);
    if (!strstr(err.msg, why))
        fail_msg("refused with \"%s\", not \"%s\"", err.msg, why);
}

static inline void assert_refused(struct token_keys *keys, struct slice jwt, const char *why)
{
    assert_refused_at(keys, jwt, NOW, why);
}

static inline int kit_teardown(void **state)
{
    (void)state;
    arena_release(&kit_arena);
    return 0;
}

#define TOKEN_TEST(f) cmocka_unit_test_teardown(f, kit_teardown)

#endif
