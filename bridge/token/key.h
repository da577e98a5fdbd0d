/*
 * One key that verifies signatures. Its type decides its algorithm:
 *
 *     secret          HS256     HMAC with SHA-256
 *     RSA public key  RS256     RSASSA-PKCS1-v1_5 with SHA-256
 *     P-256           ES256     ECDSA with SHA-256; a signature is r and s, 32 bytes each
 *     Ed25519         EdDSA     64 bytes
 *
 * Private to this room and its tests.
 */
#ifndef TOKEN_KEY_H
#define TOKEN_KEY_H

#include "base/err.h"
#include "base/slice.h"

#include <openssl/evp.h>
#include <stdint.h>

enum token_alg { TOKEN_HS256, TOKEN_RS256, TOKEN_ES256, TOKEN_EDDSA };

struct token_key {
    enum token_alg alg;
    struct slice kid;    /* borrowed; ptr is NULL: none */
    struct slice secret; /* borrowed; HS256 only */
    EVP_PKEY *pkey;      /* owned; the others */
};

const char *token_alg_name(enum token_alg alg);
/* False for all others, "none" among them. Exact: RFC 7515 compares case-sensitively. */
bool token_alg_parse(struct slice name, enum token_alg *alg);

/* Fails with ERR_CONFIG when it is too short. */
bool token_key_of_secret(struct slice secret, struct token_key *key, struct err *err) MUST_CHECK;
/* Takes ownership of `pkey` (not NULL), also when it fails: ERR_CONFIG for a kind of
 * key that has no algorithm here, and for a weak or wrong one. */
bool token_key_of_pkey(EVP_PKEY *pkey, struct token_key *key, struct err *err) MUST_CHECK;
/* From the numbers and coordinates of a JWK: big-endian bytes. x and y are 32 bytes each. */
bool token_key_of_rsa(struct slice n, struct slice e, struct token_key *key,
                      struct err *err) MUST_CHECK;
bool token_key_of_p256(const uint8_t *x, const uint8_t *y, struct token_key *key,
                       struct err *err) MUST_CHECK;
bool token_key_of_ed25519(const uint8_t *x, struct token_key *key, struct err *err) MUST_CHECK;
void token_key_release(struct token_key *key);

/* Whether `signature` (decoded) is the key's for `text`. Any thread. */
bool token_key_verify(const struct token_key *key, struct slice text, struct slice signature);

#endif
