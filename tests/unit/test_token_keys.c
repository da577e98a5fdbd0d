/* Where keys come from: what is refused in it, when it is read again; and the cache. */
#include "token/cache.h"
#include "token_kit.h"

#include <fcntl.h>
#include <sys/stat.h>

/* What opening keys of these says. */
static void assert_no_keys(const struct token_config *config, const char *why, const char *hint)
{
    struct err err = {0};
    struct token_keys *keys = token_keys_open(config, &err);

    if (keys)
        fail_msg("opened, not refused for \"%s\"", why);
    assert_int_equal(err.code, ERR_CONFIG);
    if (!strstr(err.msg, why) || !strstr(err.hint, hint))
        fail_msg("refused with \"%s\" (%s), not \"%s\" (%s)", err.msg, err.hint, why, hint);
    assert_int_equal(ERR_peek_error(), 0);
}

static void assert_bad_pem(const char *text, const char *why, const char *hint)
{
    struct token_config config;

    token_config_init(&config);
    config.key_file = file_with(text);
    assert_no_keys(&config, why, hint);
    unlink(config.key_file);
}

static void assert_bad_jwks(const char *text, const char *why)
{
    struct token_config config;

    token_config_init(&config);
    config.jwks_file = file_with(text);
    assert_no_keys(&config, why, "");
    assert_no_keys(&config, config.jwks_file, ""); /* names the file */
    unlink(config.jwks_file);
}

static const char *private_pem_of(struct signer signer)
{
    BIO *bio = BIO_new(BIO_s_mem());

    assert_int_equal(PEM_write_bio_PrivateKey(bio, signer.pkey, NULL, NULL, 0, NULL, NULL), 1);
    return bio_text(bio);
}

static void test_settings_that_give_no_keys_are_refused(void **state)
{
    struct token_config config;

    (void)state;
    token_config_init(&config);
    config.key_file = config.jwks_file = ""; /* as settings that are not set */
    assert_no_keys(&config, "there are no keys", "");
    config.secret = SLICE("too short");
    assert_no_keys(&config, "a secret of 9 bytes is too short: HS256 needs 32", "");
    config.secret = SLICE("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE");
    assert_no_keys(&config, "can be no secret", "a file of its own");
    config.secret = SLICE(SECRET);
    config.leeway_s = -1;
    assert_no_keys(&config, "leeway", "");
    config.leeway_s = 30;
    config.jwks_file = "/nowhere/keys.json";
    assert_no_keys(&config, "could not open \"/nowhere/keys.json\"", "");
    config.jwks_file = ".";
    assert_no_keys(&config, "is not a file", "");
}

static void test_a_pem_file_without_public_keys_is_refused(void **state)
{
    struct signer rsa = signer_new("RS256");
    struct signer small = {"RS256", EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024)};
    struct signer p384 = {"ES256", EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384")};
    const char *pem = pem_of(rsa);

    (void)state;
    assert_bad_pem("", "there is no key in it", "");
    assert_bad_pem("hello\n", "there is no key in it", "");
    assert_bad_pem(private_pem_of(rsa), "holds a PRIVATE KEY", "-pubout");
    assert_bad_pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                   "holds a CERTIFICATE", "openssl x509");
    assert_bad_pem("-----BEGIN RSA PUBLIC KEY-----\nAAAA\n-----END RSA PUBLIC KEY-----\n",
                   "holds a RSA PUBLIC KEY", "-RSAPublicKey_in");
    assert_bad_pem("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
                   "key 1: it cannot be read", "");
    assert_bad_pem(arena_printf(&kit_arena, "%.100s", pem), "key 1: it is damaged, or cut off", "");
    assert_bad_pem(arena_printf(&kit_arena, "%s%.100s", pem, pem), "key 2: it is damaged", "");
    assert_bad_pem(pem_of(small), "2048 to 8192 bits, not 1024", "");
    assert_bad_pem(pem_of(p384), "of a kind that is not supported", "");
    EVP_PKEY_free(rsa.pkey);
    EVP_PKEY_free(small.pkey);
    EVP_PKEY_free(p384.pkey);
}

static void test_a_wrong_jwks_file_is_refused_with_the_place(void **state)
{
    static const char x32[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    (void)state;
    assert_bad_jwks("", ": ");
    assert_bad_jwks("{\"keys\":\n  [{]}", "line 2, column");
    assert_bad_jwks("[]", "must be a JSON object");
    assert_bad_jwks("{}", "\"keys\" must be an array");
    assert_bad_jwks("{\"keys\":{}}", "\"keys\" must be an array");
    assert_bad_jwks("{\"keys\":[]}", "of its 0 keys none can verify");
    assert_bad_jwks("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-384\"}]}", "of its 1 keys none");
    assert_bad_jwks("{\"keys\":[],\"keys\":[]}", "\"keys\" occurs twice");
    assert_bad_jwks("{\"keys\":[{\"kty\":\"AKP\"},7]}", "keys[1]: must be an object");
    assert_bad_jwks("{\"keys\":[{\"kid\":\"a\"}]}", "keys[0]: \"kty\"");
    assert_bad_jwks("{\"keys\":[{\"kty\":\"oct\"}]}", "keys[0]: \"k\" must be");
    assert_bad_jwks("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}", "a secret of 3 bytes");
    assert_bad_jwks("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAA=\"}]}", "\"k\" is not base64url");
    assert_bad_jwks("{\"keys\":[{\"kty\":\"oct\",\"k\":\"A\"}]}", "\"k\" is not base64url");
    assert_bad_jwks("{\"keys\":[{\"kty\":\"oct\",\"alg\":\"RS256\",\"k\":\"AAAA\"}]}",
                    "\"alg\" RS256 does not go with");
    assert_bad_jwks("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}", "bits, not 17");
    assert_bad_jwks("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\"}]}", "\"e\" must be a string");
    assert_bad_jwks("{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}]}",
                    "\"x\" has 3 bytes instead of 32");
    assert_bad_jwks(arena_printf(&kit_arena,
                                 "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\","
                                 "\"y\":\"%s\"}]}",
                                 x32, x32),
                    "keys[0]: x and y are not a point");
    assert_bad_jwks(arena_printf(&kit_arena,
                                 "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\","
                                 "\"kid\":7}]}",
                                 x32),
                    "\"kid\" must be a string");
}

/* With e = 1 a signature is the padded hash itself, which anybody can make. */
static void test_an_rsa_key_that_anybody_could_sign_for_is_refused(void **state)
{
    struct signer rsa = signer_new("RS256");
    const char *n = number_of(rsa, OSSL_PKEY_PARAM_RSA_N);
    static const char *const exponents[] = {"AQ", "Ag", "AA", "AQAA"}; /* 1, 2, 0, 65536 */

    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_bad_jwks(arena_printf(&kit_arena,
                                     "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"}]}", n,
                                     exponents[i]),
                        "keys[0]: its numbers cannot be");
    EVP_PKEY_free(rsa.pkey);
}

static void test_a_pem_block_that_holds_more_than_a_key_is_refused(void **state)
{
    struct signer ed = signer_new("EdDSA");
    BIO *bio = BIO_new(BIO_s_mem());
    uint8_t der[64] = {0}, *end = der;
    int len = i2d_PUBKEY(ed.pkey, &end);

    (void)state;
    assert_true(len > 0 && len < 64);
    assert_true(PEM_write_bio(bio, PEM_STRING_PUBLIC, "", der, len + 1) > 0);
    assert_bad_pem(bio_text(bio), "it cannot be read as a public key", "");
    EVP_PKEY_free(ed.pkey);
}

static void test_keys_for_other_uses_verify_nothing(void **state)
{
    struct signer a = signer_new("ES256"), b = signer_new("EdDSA");
    static const char *const uses[] = {"\"use\":\"enc\"", "\"use\":null", "\"key_ops\":[]",
                                       "\"key_ops\":[\"sign\"]", "\"alg\":\"ECDH-ES\""};

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        struct token_keys *keys = keys_of_jwks(
            arena_printf(&kit_arena, "{\"keys\":[{%s,%s},{%s}]}", jwk_of(a), uses[i], jwk_of(b)));

        assert_refused(keys, token_for(a, GOOD), "no key for ES256");
        assert_true(is_taken(keys, token_for(b, GOOD)));
        token_keys_close(keys);
    }
    EVP_PKEY_free(a.pkey);
    EVP_PKEY_free(b.pkey);
}

static void test_a_jwks_file_is_limited_in_keys_and_bytes(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, BUF_NO_LIMIT);
    buf_put_cstr(&b, "{\"keys\":[");
    for (int i = 0; i < 257; i++)
        buf_printf(&b, "%s{%s}", i ? "," : "", jwk_of(signer_new("HS256")));
    buf_put_cstr(&b, "]}");
    assert_bad_jwks(buf_cstr(&b), "keys[256]: there are more than 256 keys");
    for (int i = 0; i < 20000; i++)
        buf_put_cstr(&b, "                                                              ");
    assert_bad_jwks(buf_cstr(&b), "larger than 1024 KB");
    buf_release(&b);
}

/* A JWKS file that is rewritten, and the clock that refreshes go by. */
struct rotation {
    struct token_config config;
    struct token_keys *keys;
    struct signer a, b;
    int64_t now_ms;
};

static void put_file(const struct rotation *r, const char *text)
{
    FILE *f = fopen(r->config.jwks_file, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    fclose(f);
}

static bool refresh(struct rotation *r, struct err *err)
{
    *err = (struct err){0};
    r->now_ms += TOKEN_REFRESH_MS;
    return token_keys_refresh(r->keys, r->now_ms, err);
}

static void rotation_begin(struct rotation *r)
{
    *r = (struct rotation){.a = signer_new("ES256"), .b = signer_new("EdDSA"), .now_ms = 1};
    token_config_init(&r->config);
    r->config.jwks_file = file_with(jwks_of(r->a, "a"));
    r->keys = open_keys(&r->config);
}

static void rotation_end(struct rotation *r)
{
    token_keys_close(r->keys);
    unlink(r->config.jwks_file);
    EVP_PKEY_free(r->a.pkey);
    EVP_PKEY_free(r->b.pkey);
}

static void assert_keys(struct rotation *r, bool a, bool b)
{
    assert_int_equal(is_taken(r->keys, token_with_kid(r->a, "a", GOOD)), a);
    assert_int_equal(is_taken(r->keys, token_with_kid(r->b, "b", GOOD)), b);
}

static void test_a_changed_jwks_file_is_read_and_a_broken_one_leaves_the_old_keys(void **state)
{
    struct rotation r;
    struct err err;

    (void)state;
    rotation_begin(&r);
    assert_true(refresh(&r, &err));
    assert_keys(&r, true, false);
    put_file(&r, jwks_of(r.b, "b"));
    assert_true(refresh(&r, &err));
    assert_keys(&r, false, true);
    put_file(&r, "{\"keys\":[\n{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"}]}");
    assert_false(refresh(&r, &err));
    assert_non_null(strstr(err.msg, "keys[0]: \"x\" has 1 bytes"));
    assert_non_null(strstr(err.msg, r.config.jwks_file));
    assert_true(refresh(&r, &err)); /* told once */
    assert_keys(&r, false, true);
    assert_int_equal(unlink(r.config.jwks_file), 0);
    assert_false(refresh(&r, &err));
    assert_non_null(strstr(err.msg, "could not open"));
    assert_true(refresh(&r, &err));
    assert_keys(&r, false, true);
    put_file(&r, jwks_of(r.a, "a"));
    assert_true(refresh(&r, &err));
    assert_keys(&r, true, false);
    rotation_end(&r);
}

/* The same inode, size and, within a clock tick, time. */
static void test_a_file_rewritten_at_once_is_still_noticed(void **state)
{
    struct rotation r;
    struct err err;

    (void)state;
    rotation_begin(&r);
    EVP_PKEY_free(r.b.pkey);
    r.b = signer_new("ES256");
    struct timespec times[2] = {{NOW, 0}, {NOW, 0}};
    for (int i = 0; i < 10; i++) {
        put_file(&r, i % 2 ? jwks_of(r.a, "a") : jwks_of(r.b, "b"));
        assert_int_equal(utimensat(AT_FDCWD, r.config.jwks_file, times, 0), 0);
        assert_true(refresh(&r, &err));
        assert_keys(&r, i % 2, !(i % 2));
    }
    rotation_end(&r);
}

static void test_a_file_moved_into_place_is_noticed(void **state)
{
    struct rotation r;
    struct err err;

    (void)state;
    rotation_begin(&r);
    assert_int_equal(rename(file_with(jwks_of(r.b, "b")), r.config.jwks_file), 0);
    assert_true(refresh(&r, &err));
    assert_keys(&r, false, true);
    rotation_end(&r);
}

static void test_files_are_looked_at_no_more_often_than_said(void **state)
{
    struct rotation r;
    struct err err;

    (void)state;
    rotation_begin(&r);
    assert_true(refresh(&r, &err));
    put_file(&r, jwks_of(r.b, "b"));
    assert_true(token_keys_refresh(r.keys, r.now_ms + TOKEN_REFRESH_MS - 1, &err));
    assert_keys(&r, true, false);
    assert_true(token_keys_refresh(r.keys, r.now_ms + TOKEN_REFRESH_MS, &err));
    assert_keys(&r, false, true);
    rotation_end(&r);
}

static void test_an_explicit_reload_reads_at_once(void **state)
{
    struct rotation r;
    struct err err;

    (void)state;
    rotation_begin(&r);
    put_file(&r, jwks_of(r.b, "b"));
    assert_true(token_keys_reload(r.keys, NULL, &err));
    assert_keys(&r, false, true);
    put_file(&r, "{");
    assert_false(token_keys_reload(r.keys, NULL, &err));
    assert_keys(&r, false, true);
    rotation_end(&r);
}

static void test_a_reload_takes_other_settings_or_leaves_all_as_it_was(void **state)
{
    struct rotation r;
    struct err err;

    (void)state;
    rotation_begin(&r);
    struct token_config other = r.config;
    other.jwks_file = "/nowhere";
    other.audience = "app";
    assert_false(token_keys_reload(r.keys, &other, &err));
    assert_keys(&r, true, false);
    put_file(&r, jwks_of(r.b, "b")); /* still the file that is watched */
    assert_true(refresh(&r, &err));
    assert_keys(&r, false, true);
    other.jwks_file = r.config.jwks_file;
    assert_true(token_keys_reload(r.keys, &other, &err));
    assert_refused(r.keys, token_with_kid(r.b, "b", GOOD), "aud");
    rotation_end(&r);
}

static struct token_stats stats_of(struct token_keys *keys)
{
    struct token_stats stats;

    token_keys_stats(keys, &stats);
    return stats;
}

static void test_a_token_is_verified_once_and_its_times_each_time(void **state)
{
    struct token_keys *keys = keys_of_secret();
    struct slice jwt = token_for(signer_new("HS256"), "{\"exp\":1700000100,\"nbf\":1700000000}");

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_true(is_taken(keys, jwt));
    assert_int_equal(stats_of(keys).verified, 1);
    assert_int_equal(stats_of(keys).cached, 4);
    assert_refused_at(keys, jwt, NOW + 200, "expired 100 s ago");
    assert_refused_at(keys, jwt, NOW - 100, "not valid yet");
    assert_int_equal(stats_of(keys).verified, 1);
    assert_int_equal(stats_of(keys).refused, 2);
    token_keys_close(keys);
}

static void test_refused_tokens_are_not_kept(void **state)
{
    struct token_keys *keys = keys_of_secret();
    struct slice text = unsigned_token(SLICE("{\"alg\":\"HS256\"}"), SLICE(GOOD));
    struct slice bad = join(text, SLICE("0123456789abcdef0123456789abcdef"));

    (void)state;
    assert_true(is_taken(keys, token_for(signer_new("HS256"), GOOD)));
    for (int i = 0; i < 3; i++)
        assert_refused(keys, bad, "signature");
    assert_int_equal(stats_of(keys).cached, 0);
    assert_int_equal(stats_of(keys).refused, 3);
    token_keys_close(keys);
}

static void test_a_reload_empties_the_cache(void **state)
{
    struct rotation r;
    struct err err;
    struct token *held;

    (void)state;
    rotation_begin(&r);
    struct slice jwt = token_with_kid(r.a, "a", GOOD);
    assert_true(token_verify(r.keys, jwt, NOW, &held, &err));
    assert_true(is_taken(r.keys, jwt));
    put_file(&r, jwks_of(r.b, "b"));
    assert_true(refresh(&r, &err));
    assert_refused(r.keys, jwt, "no key with the token's kid");
    assert_true(slice_is(token_subject(held), "ann"));
    token_unref(held);
    assert_int_equal(stats_of(r.keys).reloads, 1);
    /* the same content again is no reload */
    put_file(&r, jwks_of(r.b, "b"));
    assert_true(refresh(&r, &err));
    assert_int_equal(stats_of(r.keys).reloads, 1);
    rotation_end(&r);
}

static void test_the_cache_is_bounded_and_keeps_what_is_used(void **state)
{
    struct token_config config;
    struct signer signer = signer_new("HS256");
    struct slice used = token_for(signer, GOOD);

    (void)state;
    token_config_init(&config);
    config.secret = SLICE(SECRET);
    config.cached = 8; /* one row, in the order of use */
    struct token_keys *keys = open_keys(&config);
    assert_true(is_taken(keys, used));
    for (int i = 0; i < 1000; i++) {
        const char *claims = arena_printf(&kit_arena, "{\"exp\":1700000100,\"n\":%d}", i);

        assert_true(is_taken(keys, token_for(signer, claims)));
        assert_true(is_taken(keys, used));
    }
    assert_int_equal(stats_of(keys).verified, 1001);
    assert_int_equal(stats_of(keys).cached, 1000);
    /* the last eight used are there, the ninth is not */
    for (int i = 999; i >= 993; i--)
        assert_true(is_taken(
            keys, token_for(signer, arena_printf(&kit_arena, "{\"exp\":1700000100,\"n\":%d}", i))));
    assert_int_equal(stats_of(keys).cached, 1007);
    assert_true(is_taken(keys, token_for(signer, "{\"exp\":1700000100,\"n\":992}")));
    assert_int_equal(stats_of(keys).cached, 1007);
    token_keys_close(keys);
    config.cached = 0;
    keys = open_keys(&config);
    assert_true(is_taken(keys, used));
    assert_true(is_taken(keys, used));
    assert_int_equal(stats_of(keys).cached, 0);
    token_keys_close(keys);
}

static bool holds(struct token_cache *cache, uint64_t generation, const struct token *token)
{
    struct token *found = token_cache_get(cache, generation, &token->hash);

    assert_true(!found || found == token);
    token_unref(found);
    return found;
}

/* What a verification that began before a reload leaves behind. */
static void test_the_cache_has_nothing_of_another_generation(void **state)
{
    struct token_keys *keys = keys_of_secret();
    struct token_cache cache;
    struct token *token;
    struct err err;

    (void)state;
    assert_true(token_verify(keys, token_for(signer_new("HS256"), GOOD), NOW, &token, &err));
    token_cache_init(&cache, 8);
    token_cache_reset(&cache, 2);
    token_cache_put(&cache, 1, token);
    assert_false(holds(&cache, 1, token) || holds(&cache, 2, token));
    token_cache_put(&cache, 2, token);
    assert_true(holds(&cache, 2, token));
    assert_false(holds(&cache, 1, token) || holds(&cache, 3, token));
    token_cache_reset(&cache, 3);
    assert_false(holds(&cache, 2, token) || holds(&cache, 3, token));
    token_cache_release(&cache);
    token_unref(token);
    token_keys_close(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TOKEN_TEST(test_settings_that_give_no_keys_are_refused),
        TOKEN_TEST(test_a_pem_file_without_public_keys_is_refused),
        TOKEN_TEST(test_a_wrong_jwks_file_is_refused_with_the_place),
        TOKEN_TEST(test_an_rsa_key_that_anybody_could_sign_for_is_refused),
        TOKEN_TEST(test_a_pem_block_that_holds_more_than_a_key_is_refused),
        TOKEN_TEST(test_keys_for_other_uses_verify_nothing),
        TOKEN_TEST(test_a_jwks_file_is_limited_in_keys_and_bytes),
        TOKEN_TEST(test_a_changed_jwks_file_is_read_and_a_broken_one_leaves_the_old_keys),
        TOKEN_TEST(test_a_file_rewritten_at_once_is_still_noticed),
        TOKEN_TEST(test_a_file_moved_into_place_is_noticed),
        TOKEN_TEST(test_files_are_looked_at_no_more_often_than_said),
        TOKEN_TEST(test_an_explicit_reload_reads_at_once),
        TOKEN_TEST(test_a_reload_takes_other_settings_or_leaves_all_as_it_was),
        TOKEN_TEST(test_a_token_is_verified_once_and_its_times_each_time),
        TOKEN_TEST(test_refused_tokens_are_not_kept),
        TOKEN_TEST(test_a_reload_empties_the_cache),
        TOKEN_TEST(test_the_cache_has_nothing_of_another_generation),
        TOKEN_TEST(test_the_cache_is_bounded_and_keeps_what_is_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
