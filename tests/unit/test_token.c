/* Tokens that must be taken: each algorithm, each way to give a key, the RFCs' examples. */
#include "token/key.h"
#include "token/key_set.h"
#include "token_kit.h"

static const char *const algs[] = {"HS256", "RS256", "ES256", "EdDSA"};

static void test_every_algorithm_verifies_by_a_key_from_a_jwks_file(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct signer signer = signer_new(algs[i]);
        struct token_keys *keys = keys_of_jwks(jwks_of(signer, "one"));

        assert_true(is_taken(keys, token_with_kid(signer, "one", GOOD)));
        assert_true(is_taken(keys, token_for(signer, GOOD)));
        token_keys_close(keys);
        EVP_PKEY_free(signer.pkey);
    }
}

static void test_every_algorithm_verifies_by_a_key_from_the_settings(void **state)
{
    struct token_keys *keys = keys_of_secret();

    (void)state;
    assert_true(is_taken(keys, token_for(signer_new("HS256"), GOOD)));
    token_keys_close(keys);
    for (size_t i = 1; i < 4; i++) {
        struct signer signer = signer_new(algs[i]);

        keys = keys_of_pem(pem_of(signer));
        assert_true(is_taken(keys, token_for(signer, GOOD)));
        /* a kid that nobody here has a name for */
        assert_true(is_taken(keys, token_with_kid(signer, "2026-11", GOOD)));
        token_keys_close(keys);
        EVP_PKEY_free(signer.pkey);
    }
}

static void test_a_pem_file_may_hold_several_keys_and_text(void **state)
{
    struct signer rsa = signer_new("RS256"), ec = signer_new("ES256"), ed = signer_new("EdDSA");
    struct token_keys *keys = keys_of_pem(
        arena_printf(&kit_arena, "# old\n%s\n# new\n%s%s", pem_of(rsa), pem_of(ec), pem_of(ed)));

    (void)state;
    assert_true(is_taken(keys, token_for(rsa, GOOD)));
    assert_true(is_taken(keys, token_for(ec, GOOD)));
    assert_true(is_taken(keys, token_for(ed, GOOD)));
    token_keys_close(keys);
    EVP_PKEY_free(rsa.pkey);
    EVP_PKEY_free(ec.pkey);
    EVP_PKEY_free(ed.pkey);
}

/* About one coordinate in 128 begins with a zero, one r or s as well: none may be lost. */
static void test_es256_holds_for_numbers_with_leading_zeros(void **state)
{
    struct signer signer = signer_new("ES256");
    struct token_keys *keys = keys_of_jwks(jwks_of(signer, "a"));
    int zeros = 0;

    (void)state;
    for (int i = 0; i < 20000 && zeros < 4; i++) {
        const char *payload = arena_printf(&kit_arena, "{\"exp\":1700000100,\"n\":%d}", i);
        struct slice text = unsigned_token(SLICE("{\"alg\":\"ES256\"}"), slice_of(payload));
        struct slice sig = sign(signer, text);

        if (sig.ptr[0] && sig.ptr[32])
            continue;
        assert_true(is_taken(keys, join(text, sig)));
        zeros++;
    }
    assert_int_equal(zeros, 4);
    token_keys_close(keys);
    EVP_PKEY_free(signer.pkey);
}

#define JOE                                                                                        \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl" \
    "fQ"
#define THEN 1300819379 /* a second before it expires */

static void check_joe(const char *jwk, struct slice jwt)
{
    struct arena arena = {0};
    struct err err = {0};
    struct token *token;
    struct token_config config;
    struct slice root = SLICE("http://example.com/is_root");

    token_config_init(&config);
    config.jwks_file = file_with(arena_printf(&kit_arena, "{\"keys\":[%s]}", jwk));
    config.issuer = "joe";
    struct token_keys *keys = open_keys(&config);
    if (!token_verify(keys, jwt, THEN, &token, &err))
        fail_msg("%s", err.msg);
    struct token_claim claim = token_claim_at(token, &root, 1, &arena);
    assert_int_equal(claim.kind, TOKEN_CLAIM_TEXT);
    assert_true(slice_is(claim.text, "true"));
    assert_int_equal(token_expires(token), THEN + 31);
    token_unref(token);
    token_keys_close(keys);
    arena_release(&arena);
    unlink(config.jwks_file);
}

static void test_the_example_of_rfc_7515_a1_verifies(void **state)
{
    (void)state;
    check_joe("{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN"
              "3Yj0iPS4hcgUuTwjAzZr1Z9CAow\"}",
              SLICE("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." JOE
                    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"));
}

static void test_the_example_of_rfc_7515_a2_verifies(void **state)
{
    (void)state;
    check_joe("{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddx"
              "HmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ4"
              "7soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665"
              "xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethF"
              "kMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"}",
              SLICE("eyJhbGciOiJSUzI1NiJ9." JOE
                    ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc"
                    "_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO"
                    "75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eO"
                    "kHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkW"
                    "ywlVmtVrBp0igcN_IoypGlUPQGe77Rw"));
}

static void test_the_example_of_rfc_7515_a3_verifies(void **state)
{
    (void)state;
    check_joe("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVE"
              "U\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
              SLICE("eyJhbGciOiJFUzI1NiJ9." JOE
                    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP"
                    "3-Kg6NU1Q"));
}

/* What it signs is no JSON: the signature alone is tried. */
static void test_the_example_of_rfc_8037_a4_verifies(void **state)
{
    static const uint8_t x[32] = {0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe,
                                  0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6,
                                  0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a};
    static const uint8_t sig[64] = {
        0x86, 0x0c, 0x98, 0xd2, 0x29, 0x7f, 0x30, 0x60, 0xa3, 0x3f, 0x42, 0x73, 0x96,
        0x72, 0xd6, 0x1b, 0x53, 0xcf, 0x3a, 0xde, 0xfe, 0xd3, 0xd3, 0xc6, 0x72, 0xf3,
        0x20, 0xdc, 0x02, 0x1b, 0x41, 0x1e, 0x9d, 0x59, 0xb8, 0x62, 0x8d, 0xc3, 0x51,
        0xe2, 0x48, 0xb8, 0x8b, 0x29, 0x46, 0x8e, 0x0e, 0x41, 0x85, 0x5b, 0x0f, 0xb7,
        0xd8, 0x3b, 0xb1, 0x5b, 0xe9, 0x02, 0xbf, 0xcc, 0xb8, 0xcd, 0x0a, 0x02};
    struct slice text = SLICE("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc");
    struct token_key key;
    struct err err;

    (void)state;
    assert_true(token_key_of_ed25519(x, &key, &err));
    assert_true(token_key_verify(&key, text, (struct slice){(const char *)sig, 64}));
    assert_false(token_key_verify(&key, text, (struct slice){(const char *)sig, 63}));
    text.len--;
    assert_false(token_key_verify(&key, text, (struct slice){(const char *)sig, 64}));
    token_key_release(&key);
}

/* RFC 7519, 3.1: the claims set of the JWT example is RFC 7515's, told apart by its header only. */
static void test_typ_and_unknown_members_of_the_header_count_for_nothing(void **state)
{
    struct token_keys *keys = keys_of_secret();
    struct signer signer = signer_new("HS256");

    (void)state;
    assert_true(
        is_taken(keys, token_of(signer, SLICE("{\"typ\":7,\"x\":{\"y\":[1]},\"alg\":\"HS256\"}"),
                                SLICE(GOOD))));
    token_keys_close(keys);
}

static void test_a_jwks_of_many_kinds_gives_the_keys_that_are_of_use(void **state)
{
    struct signer rsa = signer_new("RS256"), ec = signer_new("ES256");
    const char *jwks = arena_printf(
        &kit_arena,
        "{\"keys\":["
        "{\"kty\":\"RSA\",\"use\":\"enc\",\"kid\":\"r\",\"alg\":\"RSA-OAEP\",\"n\":\"x\"},"
        "{\"kty\":\"RSA\",\"alg\":\"PS256\",\"kid\":\"r\"},{\"kty\":\"EC\",\"crv\":\"P-521\"},"
        "{\"kty\":\"OKP\",\"crv\":\"X25519\"},{\"kty\":\"AKP\"},"
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"key_ops\":[\"deriveKey\"]},"
        "{%s,\"use\":\"sig\",\"alg\":\"RS256\",\"kid\":\"r\",\"key_ops\":[\"verify\"],\"x5t\":\"-"
        "\"},"
        "{%s,\"kid\":\"e\"}]}",
        jwk_of(rsa), jwk_of(ec));
    struct token_keys *keys = keys_of_jwks(jwks);

    (void)state;
    assert_true(is_taken(keys, token_with_kid(rsa, "r", GOOD)));
    assert_true(is_taken(keys, token_with_kid(ec, "e", GOOD)));
    token_keys_close(keys);
    EVP_PKEY_free(rsa.pkey);
    EVP_PKEY_free(ec.pkey);
}

/* Old and new key under one name, and a token without a name: whichever fits. */
static void test_keys_of_one_kid_are_all_tried(void **state)
{
    struct signer a = signer_new("ES256"), b = signer_new("ES256");
    struct token_keys *keys = keys_of_jwks(arena_printf(
        &kit_arena, "{\"keys\":[{%s,\"kid\":\"k\"},{%s,\"kid\":\"k\"}]}", jwk_of(a), jwk_of(b)));

    (void)state;
    assert_true(is_taken(keys, token_with_kid(a, "k", GOOD)));
    assert_true(is_taken(keys, token_with_kid(b, "k", GOOD)));
    assert_true(is_taken(keys, token_for(b, GOOD)));
    token_keys_close(keys);
    EVP_PKEY_free(a.pkey);
    EVP_PKEY_free(b.pkey);
}

static void test_secret_pem_and_jwks_count_together(void **state)
{
    struct signer rsa = signer_new("RS256"), ed = signer_new("EdDSA");
    struct token_config config;

    (void)state;
    token_config_init(&config);
    config.secret = SLICE(SECRET);
    config.key_file = file_with(pem_of(rsa));
    config.jwks_file = file_with(jwks_of(ed, "e"));
    struct token_keys *keys = open_keys(&config);
    assert_true(is_taken(keys, token_for(signer_new("HS256"), GOOD)));
    assert_true(is_taken(keys, token_for(rsa, GOOD)));
    assert_true(is_taken(keys, token_for(ed, GOOD)));
    token_keys_close(keys);
    unlink(config.key_file);
    unlink(config.jwks_file);
    EVP_PKEY_free(rsa.pkey);
    EVP_PKEY_free(ed.pkey);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TOKEN_TEST(test_every_algorithm_verifies_by_a_key_from_a_jwks_file),
        TOKEN_TEST(test_every_algorithm_verifies_by_a_key_from_the_settings),
        TOKEN_TEST(test_a_pem_file_may_hold_several_keys_and_text),
        TOKEN_TEST(test_es256_holds_for_numbers_with_leading_zeros),
        TOKEN_TEST(test_the_example_of_rfc_7515_a1_verifies),
        TOKEN_TEST(test_the_example_of_rfc_7515_a2_verifies),
        TOKEN_TEST(test_the_example_of_rfc_7515_a3_verifies),
        TOKEN_TEST(test_the_example_of_rfc_8037_a4_verifies),
        TOKEN_TEST(test_typ_and_unknown_members_of_the_header_count_for_nothing),
        TOKEN_TEST(test_a_jwks_of_many_kinds_gives_the_keys_that_are_of_use),
        TOKEN_TEST(test_keys_of_one_kid_are_all_tried),
        TOKEN_TEST(test_secret_pem_and_jwks_count_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
