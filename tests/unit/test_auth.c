/* Whose a request is: by the secret, by a token, by neither. */
#include "token_kit.h"

#include "base/clock.h"
#include "http/auth.h"
#include "http/request.h"

/* A request with this Authorization header (NULL: none) and query. */
static bool ask(const struct auth_site *site, const char *header, const char *query, bool in_query,
                struct auth *auth, struct err *err)
{
    struct http_header headers[] = {{SLICE("Authorization"), slice_of(header ? header : "")}};
    struct http_request request = {
        .headers = headers, .nheaders = header != NULL, .arena = &kit_arena};

    assert_true(http_query_parse(&request.query, slice_of(query), &kit_arena, err));
    return auth_read(site, &request, in_query, auth, err);
}

static const char *bearer_for(int64_t exp)
{
    char claims[80];

    snprintf(claims, sizeof(claims), "{\"sub\":\"ann\",\"exp\":%lld}", (long long)exp);
    struct slice text = token_for(signer_new("HS256"), claims);

    return arena_printf(&kit_arena, "Bearer %.*s", SLICE_ARG(text));
}

static int64_t now_s(void)
{
    return clock_unix_us() / 1000000;
}

static void test_secret_is_the_operators(void **state)
{
    const struct auth_site site = {.secret = "s3cret"};
    static const struct {
        const char *header, *query;
        bool in_query, lets_in;
    } cases[] = {
        {"Bearer s3cret", "", false, true},
        {"bearer s3cret", "", false, true},
        {"Bearer s3cre", "", false, false},
        {"Bearer s3cretx", "", false, false},
        {"Bearer ", "", false, false},
        {"Basic s3cret", "", false, false},
        {"s3cret", "", false, false},
        {NULL, "", false, false},
        {NULL, "secret=s3cret", true, true},
        {NULL, "api_secret=s3cret", true, true},
        {NULL, "secret=", true, false},
        {NULL, "secret=s3cret", false, false},
        {"Bearer x", "secret=s3cret", true, true},
    };
    struct auth auth;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool in = ask(&site, cases[i].header, cases[i].query, cases[i].in_query, &auth, &err);

        assert_int_equal(in, cases[i].lets_in);
        assert_int_equal(auth.kind, in ? AUTH_OPERATOR : AUTH_NONE);
        assert_null(auth.token);
        assert_true(auth_ends(&auth, 5) == INT64_MAX);
    }
}

static void test_without_a_secret_everybody_is_the_operator(void **state)
{
    const struct auth_site site = {.secret = ""};
    struct auth auth;
    struct err err;

    (void)state;
    assert_true(ask(&site, NULL, "", false, &auth, &err));
    assert_int_equal(auth.kind, AUTH_OPERATOR);
}

static void test_token_is_its_bearers_until_it_expires(void **state)
{
    struct token_keys *keys = keys_of_secret();
    const struct auth_site site = {.secret = "s3cret", .keys = keys};
    struct auth auth, copy;
    struct err err;

    (void)state;
    assert_true(ask(&site, bearer_for(now_s() + 100), "", true, &auth, &err));
    assert_int_equal(auth.kind, AUTH_TOKEN);
    copy = auth_ref(&auth);
    auth_release(&auth);
    assert_null(auth.token);
    assert_int_equal(auth.kind, AUTH_NONE);
    assert_true(slice_is(token_subject(copy.token), "ann"));
    assert_in_range(auth_ends(&copy, 1000000), 1000000 + 90 * 1000, 1000000 + 140 * 1000);
    auth_release(&copy);
    assert_false(ask(&site, bearer_for(now_s() - 1000), "", true, &auth, &err));
    assert_non_null(strstr(err.msg, "expired"));
    assert_int_equal(auth.kind, AUTH_NONE);
    assert_true(ask(&site, "Bearer s3cret", "", false, &auth, &err));
    assert_int_equal(auth.kind, AUTH_OPERATOR);
    token_keys_close(keys);
}

static void test_token_in_the_query_string_is_no_secret(void **state)
{
    struct token_keys *keys = keys_of_secret();
    const struct auth_site site = {.secret = "s3cret", .keys = keys};
    struct slice text = slice_of(bearer_for(now_s() + 100));
    const char *query = arena_printf(&kit_arena, "secret=%s", text.ptr + strlen("Bearer "));
    struct auth auth;
    struct err err;

    (void)state;
    assert_false(ask(&site, NULL, query, true, &auth, &err));
    assert_string_equal(err.msg, "there is neither the secret nor a token");
    token_keys_close(keys);
}

static void test_token_that_never_expires_ends_nothing(void **state)
{
    struct token_config config;
    struct auth auth;
    struct err err;

    (void)state;
    token_config_init(&config);
    config.secret = SLICE(SECRET);
    config.require_exp = false;
    struct token_keys *keys = open_keys(&config);
    const struct auth_site site = {.secret = "s3cret", .keys = keys};
    struct slice text = token_for(signer_new("HS256"), "{\"sub\":\"ann\"}");

    assert_true(ask(&site, arena_printf(&kit_arena, "Bearer %.*s", SLICE_ARG(text)), "", true,
                    &auth, &err));
    assert_true(auth_ends(&auth, 7) == INT64_MAX);
    auth_release(&auth);
    token_keys_close(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secret_is_the_operators),
        cmocka_unit_test(test_without_a_secret_everybody_is_the_operator),
        cmocka_unit_test(test_token_is_its_bearers_until_it_expires),
        cmocka_unit_test(test_token_in_the_query_string_is_no_secret),
        cmocka_unit_test(test_token_that_never_expires_ends_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, kit_teardown);
}
