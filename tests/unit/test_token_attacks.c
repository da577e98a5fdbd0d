/* Tokens that must not be taken. */
#include "token_kit.h"

#define HS "{\"alg\":\"HS256\"}"

struct kit {
    struct token_keys *secret, *rsa, *ec, *ed; /* one key each */
    struct signer hs, rs, es, eds;
};

static struct kit kit;

static int setup(void **state)
{
    (void)state;
    kit.hs = signer_new("HS256");
    kit.rs = signer_new("RS256");
    kit.es = signer_new("ES256");
    kit.eds = signer_new("EdDSA");
    kit.secret = keys_of_secret();
    kit.rsa = keys_of_pem(pem_of(kit.rs));
    kit.ec = keys_of_pem(pem_of(kit.es));
    kit.ed = keys_of_jwks(jwks_of(kit.eds, "ed"));
    return 0;
}

static int teardown(void **state)
{
    struct token_keys *all[] = {kit.secret, kit.rsa, kit.ec, kit.ed};

    for (size_t i = 0; i < 4; i++)
        token_keys_close(all[i]);
    EVP_PKEY_free(kit.rs.pkey);
    EVP_PKEY_free(kit.es.pkey);
    EVP_PKEY_free(kit.eds.pkey);
    return kit_teardown(state);
}

/* Signed with the secret, but with this header. */
static struct slice with_header(const char *header)
{
    return token_of(kit.hs, slice_of(header), SLICE(GOOD));
}

static struct slice with_claims(const char *claims)
{
    return token_of(kit.hs, SLICE(HS), slice_of(claims));
}

static void test_alg_none_is_refused_in_every_spelling(void **state)
{
    static const char *const spellings[] = {"none", "None", "NONE", "nOnE", ""};

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        const char *header = arena_printf(&kit_arena, "{\"alg\":\"%s\"}", spellings[i]);
        struct slice text = unsigned_token(slice_of(header), SLICE(GOOD));

        assert_refused(kit.secret, join(text, SLICE("")), "is not taken");
        assert_refused(kit.secret, join(text, sign(kit.hs, text)), "is not taken");
        assert_refused(kit.rsa, join(text, SLICE("")), "is not taken");
    }
    /* alg of a good token, and no signature behind it */
    struct slice text = unsigned_token(SLICE(HS), SLICE(GOOD));
    assert_refused(kit.secret, join(text, SLICE("")), "signature is not that of a known key");
}

static void test_algorithms_beside_the_four_are_refused(void **state)
{
    static const char *const others[] = {"HS384", "HS512",   "RS384",  "RS512", "PS256",
                                         "ES384", "ES512",   "ES256K", "hs256", "HS256 ",
                                         "eddsa", "Ed25519", "HS25",   "HS2566"};

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_refused(kit.secret,
                       with_header(arena_printf(&kit_arena, "{\"alg\":\"%s\"}", others[i])),
                       "is not taken");
    assert_refused(kit.secret, with_header("{\"alg\":\"HS256\\u0000\"}"), "NUL");
    assert_refused(kit.secret, with_header("{\"alg\":256}"), "must have \"alg\"");
    assert_refused(kit.secret, with_header("{\"alg\":[\"HS256\"]}"), "must have \"alg\"");
    assert_refused(kit.secret, with_header("{\"ALG\":\"HS256\"}"), "must have \"alg\"");
    assert_refused(kit.secret, with_header("{}"), "must have \"alg\"");
}

/* The classic: what is public of an asymmetric key, taken as HMAC's secret. */
static void test_a_public_key_is_no_secret(void **state)
{
    struct slice text = unsigned_token(SLICE(HS), SLICE(GOOD));
    const char *pem = pem_of(kit.rs);
    struct slice trimmed = {pem, strlen(pem) - 1};
    uint8_t raw[32];
    size_t len = sizeof(raw);

    (void)state;
    assert_refused(kit.rsa, join(text, hmac(slice_of(pem), text)), "no key for HS256");
    assert_refused(kit.rsa, join(text, hmac(trimmed, text)), "no key for HS256");
    assert_int_equal(EVP_PKEY_get_raw_public_key(kit.eds.pkey, raw, &len), 1);
    assert_refused(kit.ed, join(text, hmac((struct slice){(char *)raw, len}, text)),
                   "no key for HS256");
    text = unsigned_token(SLICE("{\"alg\":\"HS256\",\"kid\":\"ed\"}"), SLICE(GOOD));
    assert_refused(kit.ed, join(text, hmac((struct slice){(char *)raw, len}, text)),
                   "is not for HS256");
}

static void test_a_key_verifies_no_other_types_algorithm(void **state)
{
    (void)state;
    assert_refused(kit.rsa, token_for(kit.es, GOOD), "no key for ES256");
    assert_refused(kit.ec, token_for(kit.rs, GOOD), "no key for RS256");
    assert_refused(kit.ec, token_for(kit.eds, GOOD), "no key for EdDSA");
    assert_refused(kit.ed, token_with_kid(kit.es, "ed", GOOD), "is not for ES256");
    assert_refused(kit.secret, token_for(kit.rs, GOOD), "no key for RS256");
    /* RSA's signature under ES256's name */
    struct slice text = unsigned_token(SLICE("{\"alg\":\"ES256\"}"), SLICE(GOOD));
    assert_refused(kit.ec, join(text, sign(kit.rs, text)), "signature is not that");
}

static void test_a_stranger_with_his_own_key_is_refused(void **state)
{
    static const char *const algs[] = {"RS256", "ES256", "EdDSA"};
    struct token_keys *all[] = {kit.rsa, kit.ec, kit.ed};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct signer stranger = signer_new(algs[i]);

        assert_refused(all[i], token_for(stranger, GOOD), "signature is not that of a known key");
        EVP_PKEY_free(stranger.pkey);
    }
    struct slice text = unsigned_token(SLICE(HS), SLICE(GOOD));
    assert_refused(kit.secret, join(text, hmac(SLICE(SECRET "x"), text)), "signature is not that");
    assert_refused(kit.secret, join(text, hmac(SLICE(""), text)), "signature is not that");
}

/* A key in the header, or an address of one, is the attacker's. */
static void test_keys_in_the_header_count_for_nothing(void **state)
{
    struct signer stranger = signer_new("ES256");
    const char *header = arena_printf(
        &kit_arena, "{\"alg\":\"ES256\",\"jwk\":{%s},\"jku\":\"http://x/\",\"x5u\":\"x\"}",
        jwk_of(stranger));

    (void)state;
    assert_refused(kit.ec, token_of(stranger, slice_of(header), SLICE(GOOD)),
                   "signature is not that of a known key");
    EVP_PKEY_free(stranger.pkey);
}

static void test_kid_picks_the_key(void **state)
{
    struct signer other = signer_new("EdDSA");
    struct token_keys *two = keys_of_jwks(
        arena_printf(&kit_arena, "{\"keys\":[{%s,\"kid\":\"ed\"},{%s,\"kid\":\"other\"}]}",
                     jwk_of(kit.eds), jwk_of(other)));

    (void)state;
    assert_refused(two, token_with_kid(kit.eds, "other", GOOD), "signature is not that");
    assert_refused(two, token_with_kid(kit.eds, "third", GOOD), "no key with the token's kid");
    assert_refused(two, token_with_kid(kit.eds, "", GOOD), "no key with the token's kid");
    assert_refused(two, token_with_kid(kit.eds, "../../dev/null' OR 1=1 --", GOOD),
                   "no key with the token's kid");
    assert_refused(two, token_of(kit.eds, SLICE("{\"alg\":\"EdDSA\",\"kid\":1}"), SLICE(GOOD)),
                   "kid in the token's header must be a string");
    assert_refused(two, token_of(kit.eds, SLICE("{\"alg\":\"EdDSA\",\"kid\":null}"), SLICE(GOOD)),
                   "kid in the token's header must be a string");
    assert_refused(two, token_with_kid(kit.eds, "\\u000aevil\\u001b[0m\\\"", GOOD),
                   "\"?evil?[0m?\"");
    token_keys_close(two);
    EVP_PKEY_free(other.pkey);
}

static void test_without_kid_only_so_many_keys_are_tried(void **state)
{
    struct buf b;
    struct signer last = {0};

    (void)state;
    buf_init(&b, BUF_NO_LIMIT);
    buf_put_cstr(&b, "{\"keys\":[");
    for (int i = 0; i <= TOKEN_TRIES; i++) {
        EVP_PKEY_free(last.pkey);
        last = signer_new("EdDSA");
        buf_printf(&b, "%s{%s,\"kid\":\"%d\"}", i ? "," : "", jwk_of(last), i);
    }
    buf_put_cstr(&b, "]}");
    struct token_keys *keys = keys_of_jwks(buf_cstr(&b));
    assert_refused(keys, token_for(last, GOOD), "must name one by kid");
    assert_true(is_taken(keys, token_with_kid(last, "8", GOOD)));
    token_keys_close(keys);
    EVP_PKEY_free(last.pkey);
    buf_release(&b);
}

static void test_a_changed_bit_anywhere_is_refused(void **state)
{
    struct token_keys *all[] = {kit.secret, kit.ec, kit.ed, kit.rsa};
    struct signer signers[] = {kit.hs, kit.es, kit.eds, kit.rs};

    (void)state;
    for (size_t k = 0; k < 4; k++) {
        struct slice good = token_for(signers[k], GOOD);

        assert_true(is_taken(all[k], good));
        for (size_t i = 0; i < good.len; i++) {
            struct slice bad = arena_copy(&kit_arena, good);

            ((char *)(uintptr_t)bad.ptr)[i] ^= 1;
            assert_false(is_taken(all[k], bad));
        }
    }
}

static void test_a_token_cut_or_lengthened_anywhere_is_refused(void **state)
{
    struct token_keys *all[] = {kit.secret, kit.ec, kit.ed};
    struct signer signers[] = {kit.hs, kit.es, kit.eds};
    static const char *const more[] = {"A", "AA", "AAAA", ".", "=", "==", " ", "\n", "\0"};

    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct slice good = token_for(signers[k], GOOD);

        for (size_t len = 0; len < good.len; len++)
            assert_false(is_taken(all[k], (struct slice){good.ptr, len}));
        for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
            char *text = arena_printf(&kit_arena, "%s%s", good.ptr, more[i]);

            assert_false(is_taken(all[k], (struct slice){text, strlen(text) + !*more[i]}));
            text = arena_printf(&kit_arena, "%s%s", more[i], good.ptr);
            assert_int_equal(is_taken(all[k], slice_of(text)), !*more[i]);
        }
    }
}

static void test_ecdsa_signatures_in_der_or_of_zeros_are_refused(void **state)
{
    struct slice text = unsigned_token(SLICE("{\"alg\":\"ES256\"}"), SLICE(GOOD));
    static const char zeros[64];
    struct slice raw = sign(kit.es, text);
    char *half = arena_alloc(&kit_arena, 64);

    (void)state;
    assert_refused(kit.ec, join(text, sign_plain(kit.es, text)), "signature is not that");
    assert_refused(kit.ec, join(text, (struct slice){zeros, 64}), "signature is not that");
    memcpy(half, raw.ptr, 64);
    memset(half + 32, 0, 32);
    assert_refused(kit.ec, join(text, (struct slice){half, 64}), "signature is not that");
    memset(half, 0xff, 64);
    assert_refused(kit.ec, join(text, (struct slice){half, 64}), "signature is not that");
    assert_refused(kit.ec, join(text, (struct slice){zeros, 0}), "signature is not that");
}

static void test_base64_has_one_form(void **state)
{
    static const char hs[] = "eyJhbGciOiJIUzI1NiJ9"; /* {"alg":"HS256"}: 15 bytes, none over */
    struct slice loose = unsigned_token(SLICE("{\"alg\":\"HS256\" }"), SLICE(GOOD));
    struct slice good = token_for(kit.hs, GOOD);
    char *text;

    (void)state;
    assert_int_equal(memcmp(good.ptr, hs, sizeof(hs) - 1), 0);
    /* 16 bytes: the 22nd character has four unused bits, and "Q" none of them set */
    assert_int_equal(loose.ptr[21], 'Q');
    text = arena_printf(&kit_arena, "%s", loose.ptr);
    text[21] = 'R';
    assert_refused(kit.secret, join(slice_of(text), hmac(SLICE(SECRET), slice_of(text))),
                   "header is not base64url");
    /* the signature's last character has two unused bits */
    text = arena_printf(&kit_arena, "%s", good.ptr);
    text[good.len - 1]++;
    assert_refused(kit.secret, slice_of(text), "signature is not base64url");
    /* the payload is looked at only when the signature was good */
    text = arena_printf(&kit_arena, "%s.e30=", hs);
    assert_refused(kit.secret, join(slice_of(text), hmac(SLICE(SECRET), slice_of(text))),
                   "payload is not base64url");
    text = arena_printf(&kit_arena, "%s.e3+/", hs);
    assert_refused(kit.secret, join(slice_of(text), hmac(SLICE(SECRET), slice_of(text))),
                   "payload is not base64url");
    text = arena_printf(&kit_arena, "%s=.e30", hs);
    assert_refused(kit.secret, join(slice_of(text), hmac(SLICE(SECRET), slice_of(text))),
                   "header is not base64url");
    assert_refused(kit.secret, slice_of(arena_printf(&kit_arena, "%s=", good.ptr)),
                   "signature is not base64url");
}

static void test_what_has_not_three_parts_is_refused(void **state)
{
    static const char *const texts[] = {"", ".", "a", "a.b", "a.b.c.d", "....", "a.b.c.d.e"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_refused(kit.secret, slice_of(texts[i]), "three parts");
    assert_refused(kit.secret, (struct slice){NULL, 0}, "three parts");
    assert_refused(kit.secret, SLICE(".."), "the token's header: ");
}

static void test_a_header_that_is_no_plain_object_is_refused(void **state)
{
    static const char *const headers[][2] = {
        {"[]", "must be a JSON object"},
        {"\"HS256\"", "must be a JSON object"},
        {"null", "must be a JSON object"},
        {"", "header: "},
        {"{\"alg\":\"HS256\"", "line 1, column"},
        {"{\"alg\":\"HS256\"}{}", "line 1, column"},
        {"{\"alg\":\"HS256\",}", "line 1, column"},
        {"{'alg':'HS256'}", "line 1, column"},
        {"{\"alg\":\"HS256\"/**/}", "line 1, column"},
        {"\xef\xbb\xbf{\"alg\":\"HS256\"}", "column"},
        {"{\"alg\":\"none\",\"alg\":\"HS256\"}", "\"alg\" occurs twice"},
        {"{\"alg\":\"HS256\",\"\\u0061lg\":\"HS256\"}", "\"alg\" occurs twice"},
        {"{\"alg\":\"HS256\",\"x\":\"\\u0000\"}", "NUL"},
        {"{\"alg\":\"HS256\",\"x\":\"\xff\"}", "column"},
        {"{\"alg\":\"HS256\",\"x\":\"\\ud800\"}", "column"},
        {"{\"alg\":\"HS256\",\"x\":NaN}", "column"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        assert_refused(kit.secret, with_header(headers[i][0]), headers[i][1]);
}

static void test_crit_is_refused_whatever_it_holds(void **state)
{
    static const char *const values[] = {"[\"exp\"]", "[\"b64\"]", "[]", "null", "\"x\""};

    (void)state;
    for (size_t i = 0; i < 5; i++)
        assert_refused(
            kit.secret,
            with_header(arena_printf(&kit_arena, "{\"alg\":\"HS256\",\"crit\":%s}", values[i])),
            "\"crit\"");
}

static void test_sizes_are_limited(void **state)
{
    char *zeros = arena_alloc(&kit_arena, 9001);
    char *huge = malloc((size_t)64 << 20);

    (void)state;
    memset(zeros, 'x', 9000);
    zeros[9000] = '\0';
    assert_refused(
        kit.secret,
        with_claims(arena_printf(&kit_arena, "{\"exp\":1700000100,\"x\":\"%s\"}", zeros)),
        "longer than 8192 bytes");
    zeros[5000] = '\0';
    assert_true(is_taken(kit.secret, with_claims(arena_printf(
                                         &kit_arena, "{\"exp\":1700000100,\"x\":\"%s\"}", zeros))));
    assert_refused(kit.secret,
                   with_header(arena_printf(&kit_arena, "{\"alg\":\"HS256\",\"x\":\"%s\"}", zeros)),
                   "header is longer than");
    struct slice text = unsigned_token(SLICE(HS), SLICE(GOOD));
    assert_refused(kit.secret, join(text, (struct slice){zeros, 1025}), "signature is too long");
    memset(huge, '.', (size_t)64 << 20);
    assert_refused(kit.secret, (struct slice){huge, (size_t)64 << 20}, "longer than");
    free(huge);
}

static const char *nested(char open, char close, int depth)
{
    char *text = arena_alloc(&kit_arena, (size_t)depth * 8 + 64);
    size_t n = (size_t)sprintf(text, "{\"exp\":1700000100,\"x\":");

    for (int i = 0; i < depth; i++)
        n += (size_t)sprintf(text + n, open == '{' ? "{\"a\":" : "%c", open);
    n += (size_t)sprintf(text + n, "1");
    for (int i = 0; i < depth; i++)
        text[n++] = close;
    memcpy(text + n, "}", 2);
    return text;
}

static void test_json_is_limited_in_depth_and_width(void **state)
{
    struct buf b;

    (void)state;
    assert_refused(kit.secret, with_claims(nested('[', ']', 2900)), "nested");
    assert_refused(kit.secret, with_claims(nested('{', '}', 900)), "nested");
    assert_refused(kit.secret, with_claims(nested('[', ']', 32)), "nested");
    assert_true(is_taken(kit.secret, with_claims(nested('[', ']', 31))));
    buf_init(&b, BUF_NO_LIMIT);
    buf_put_cstr(&b, "{\"exp\":1700000100");
    for (int i = 0; i < 256; i++)
        buf_printf(&b, ",\"k%d\":1", i);
    buf_put_cstr(&b, "}");
    assert_refused(kit.secret, with_claims(buf_cstr(&b)), "more than 256 members");
    buf_release(&b);
}

static void test_claims_that_readers_could_take_differently_are_refused(void **state)
{
    static const char *const claims[][2] = {
        {"{\"sub\":\"ann\",\"exp\":1700000100,\"sub\":\"bob\"}", "\"sub\" occurs twice"},
        {"{\"exp\":1700000100,\"a\":{\"b\":[{\"c\":1,\"\\u0063\":2}]}}", "\"c\" occurs twice"},
        {"{\"exp\":1,\"exp\":1700000100}", "\"exp\" occurs twice"},
        {"{\"sub\":\"an\\u0000n\",\"exp\":1700000100}", "NUL"},
        {"{\"exp\":1700000100,\"a\":[\"\\u0000\"]}", "NUL"},
        {"{\"exp\":1700000100,\"a\\u0000\":1}", "NUL"},
        {"{\"exp\":1700000100,\"a\":\"\xc0\x80\"}", "line 1, column"},
        {"{\"exp\":1700000100,\"a\":01}", "line 1, column"},
        {"{\"exp\":1700000100,\"a\":0x1}", "line 1, column"},
        {"{\"exp\":1700000100,\"a\":Infinity}", "line 1, column"},
        {"{\"exp\":1700000100,\"sub\":7}", "sub must be a string"},
        {"{\"exp\":1700000100,\"sub\":null}", "sub must be a string"},
        {"[]", "must be a JSON object"},
        {"7", "must be a JSON object"},
        {"", "claims: "},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++)
        assert_refused(kit.secret, with_claims(claims[i][0]), claims[i][1]);
}

static void test_times_that_are_no_seconds_are_refused(void **state)
{
    static const char *const values[][2] = {
        {"\"1700000100\"", "number of seconds"},
        {"null", "number of seconds"},
        {"true", "number of seconds"},
        {"[1700000100]", "number of seconds"},
        {"{}", "number of seconds"},
        {"-1", "number of seconds"},
        {"-1700000100", "number of seconds"},
        {"-0", "number of seconds"},
        {"1e400", "number of seconds"},
        {"1.7e10", "number of seconds"},
        {"2E9", "number of seconds"},
        {"1700000100000", "not milliseconds"},
        {"9223372036854775807", "not millisec"},
        {"18446744073709551617", "not milliseconds"},
        {"253402300800", "not milliseconds"},
        {"99999999999999999999999.5", "not millisec"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        assert_refused(kit.secret,
                       with_claims(arena_printf(&kit_arena, "{\"exp\":%s}", values[i][0])),
                       values[i][1]);
        assert_refused(
            kit.secret,
            with_claims(arena_printf(&kit_arena, "{\"exp\":1700000100,\"nbf\":%s}", values[i][0])),
            values[i][1]);
    }
    assert_true(is_taken(kit.secret, with_claims("{\"exp\":1700000100.75,\"nbf\":1699999999.0}")));
    assert_true(is_taken(kit.secret, with_claims("{\"exp\":253402300799}")));
}

static void test_a_token_counts_from_nbf_to_exp_with_the_leeway(void **state)
{
    struct slice jwt = with_claims("{\"nbf\":1700000000,\"exp\":1700000100}");
    struct token *token;
    struct err err;

    (void)state;
    assert_refused_at(kit.secret, jwt, 1699999969, "not valid yet (nbf) for another 1 s");
    assert_true(token_verify(kit.secret, jwt, 1699999970, &token, &err));
    assert_int_equal(token_expires(token), 1700000130);
    token_unref(token);
    assert_true(token_verify(kit.secret, jwt, 1700000129, &token, &err));
    token_unref(token);
    assert_refused_at(kit.secret, jwt, 1700000130, "expired 30 s ago");
    assert_refused_at(kit.secret, jwt, INT64_MAX, "expired");
    assert_refused_at(kit.secret, jwt, 0, "not valid yet");
}

static void test_exp_is_wanted_unless_the_settings_say_otherwise(void **state)
{
    struct token_config config;
    struct token *token;
    struct err err;

    (void)state;
    assert_refused(kit.secret, with_claims("{\"sub\":\"ann\"}"), "no exp");
    token_config_init(&config);
    config.secret = SLICE(SECRET);
    config.require_exp = false;
    struct token_keys *keys = open_keys(&config);
    assert_true(token_verify(keys, with_claims("{\"sub\":\"ann\"}"), NOW, &token, &err));
    assert_true(token_expires(token) == TOKEN_NEVER);
    token_unref(token);
    assert_refused(keys, with_claims("{\"exp\":1600000000}"), "expired");
    token_keys_close(keys);
}

static struct token_keys *keys_with_names(const char *audience, const char *issuer)
{
    struct token_config config;

    token_config_init(&config);
    config.secret = SLICE(SECRET);
    config.audience = audience;
    config.issuer = issuer;
    return open_keys(&config);
}

static void test_aud_must_name_the_audience(void **state)
{
    struct token_keys *keys = keys_with_names("app", NULL);
    static const char *const wrong[] = {
        "\"other\"", "\"App\"", "\"app \"", "\"apps\"",    "\"ap\"",      "[\"a\",\"b\"]",
        "[]",        "null",    "7",        "{\"app\":1}", "[[\"app\"]]", "[{\"app\":1},null,7]",
        "\"\""};

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_refused(
            keys,
            with_claims(arena_printf(&kit_arena, "{\"exp\":1700000100,\"aud\":%s}", wrong[i])),
            "aud");
    assert_refused(keys, with_claims(GOOD), "aud");
    assert_true(is_taken(keys, with_claims("{\"exp\":1700000100,\"aud\":\"app\"}")));
    assert_true(is_taken(keys, with_claims("{\"exp\":1700000100,\"aud\":[\"x\",\"app\"]}")));
    token_keys_close(keys);
    /* none configured: not looked at */
    assert_true(is_taken(kit.secret, with_claims("{\"exp\":1700000100,\"aud\":\"other\"}")));
}

static void test_iss_must_be_the_issuer(void **state)
{
    struct token_keys *keys = keys_with_names("", "https://login.example");
    static const char *const wrong[] = {"\"https://login.example/\"", "\"\"", "null", "7",
                                        "[\"https://login.example\"]"};

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_refused(
            keys,
            with_claims(arena_printf(&kit_arena, "{\"exp\":1700000100,\"iss\":%s}", wrong[i])),
            "iss");
    assert_refused(keys, with_claims(GOOD), "no iss");
    assert_true(
        is_taken(keys, with_claims("{\"exp\":1700000100,\"iss\":\"https://login.example\"}")));
    token_keys_close(keys);
}

/* What a stranger reads in a 401 tells nothing of what the bridge holds. */
static void test_refusals_tell_nothing_of_keys_and_settings(void **state)
{
    struct token_keys *keys = keys_with_names("the-audience", "the-issuer");
    struct token *token;
    struct err err;
    struct slice jwts[] = {
        with_claims("{\"exp\":1700000100,\"aud\":\"x\",\"iss\":\"the-issuer\"}"),
        with_claims("{\"exp\":1700000100,\"iss\":\"x\"}"),
        with_header("{\"alg\":\"RS256\"}"),
        join(unsigned_token(SLICE(HS), SLICE(GOOD)), SLICE("x")),
    };

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        err = (struct err){0};
        assert_false(token_verify(keys, jwts[i], NOW, &token, &err));
        assert_null(strstr(err.msg, "the-"));
        assert_null(strstr(err.msg, "secret"));
        assert_null(strstr(err.hint, "the-"));
    }
    token_keys_close(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alg_none_is_refused_in_every_spelling),
        cmocka_unit_test(test_algorithms_beside_the_four_are_refused),
        cmocka_unit_test(test_a_public_key_is_no_secret),
        cmocka_unit_test(test_a_key_verifies_no_other_types_algorithm),
        cmocka_unit_test(test_a_stranger_with_his_own_key_is_refused),
        cmocka_unit_test(test_keys_in_the_header_count_for_nothing),
        cmocka_unit_test(test_kid_picks_the_key),
        cmocka_unit_test(test_without_kid_only_so_many_keys_are_tried),
        cmocka_unit_test(test_a_changed_bit_anywhere_is_refused),
        cmocka_unit_test(test_a_token_cut_or_lengthened_anywhere_is_refused),
        cmocka_unit_test(test_ecdsa_signatures_in_der_or_of_zeros_are_refused),
        cmocka_unit_test(test_base64_has_one_form),
        cmocka_unit_test(test_what_has_not_three_parts_is_refused),
        cmocka_unit_test(test_a_header_that_is_no_plain_object_is_refused),
        cmocka_unit_test(test_crit_is_refused_whatever_it_holds),
        cmocka_unit_test(test_sizes_are_limited),
        cmocka_unit_test(test_json_is_limited_in_depth_and_width),
        cmocka_unit_test(test_claims_that_readers_could_take_differently_are_refused),
        cmocka_unit_test(test_times_that_are_no_seconds_are_refused),
        cmocka_unit_test(test_a_token_counts_from_nbf_to_exp_with_the_leeway),
        cmocka_unit_test(test_exp_is_wanted_unless_the_settings_say_otherwise),
        cmocka_unit_test(test_aud_must_name_the_audience),
        cmocka_unit_test(test_iss_must_be_the_issuer),
        cmocka_unit_test(test_refusals_tell_nothing_of_keys_and_settings),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
