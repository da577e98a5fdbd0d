/* What a token says, as Postgres would write it. */
#include "token_kit.h"

#define CLAIMS                                                                                     \
    "{\"sub\":\"ann \\u00e9\\n\",\"exp\":1700000100,\"role\":\"editor\",\"empty\":\"\","           \
    "\"big\":123456789012345678901234567890,\"neg\":-7,\"dec\":1.50,\"sci\":1E+3,"                 \
    "\"yes\":true,\"no\":false,\"nil\":null,"                                                      \
    "\"app\":{\"tenant\":{\"id\":\"t1\",\"a.b\":\"dotted\"},\"\":\"nameless\"},"                   \
    "\"https://x.example/roles\":[\"r\"],"                                                         \
    "\"list\":[\"a\",1,-2.0,true,null,\"\"],\"none\":[],\"deep\":[[1]],\"objects\":[1,{}]}"

static struct token_keys *keys;
static struct token *token;

static int setup(void **state)
{
    struct err err = {0};
    struct slice jwt = token_for(signer_new("HS256"), CLAIMS);

    (void)state;
    keys = keys_of_secret();
    if (!token_verify(keys, jwt, NOW, &token, &err))
        fail_msg("%s", err.msg);
    token_keys_close(keys); /* a token outlives its keys */
    return 0;
}

static int teardown(void **state)
{
    token_unref(token);
    return kit_teardown(state);
}

static void assert_text(const char *path, const char *text)
{
    struct token_claim claim = token_claim(token, slice_of(path), &kit_arena);

    assert_int_equal(claim.kind, TOKEN_CLAIM_TEXT);
    if (!slice_is(claim.text, text))
        fail_msg("%s: %.*s", path, SLICE_ARG(claim.text));
}

static void assert_kind(const char *path, enum token_claim_kind kind)
{
    assert_int_equal(token_claim(token, slice_of(path), &kit_arena).kind, kind);
}

static void test_scalars_are_in_the_text_form_of_postgres(void **state)
{
    (void)state;
    assert_text("sub", "ann \xc3\xa9\n");
    assert_text("empty", "");
    assert_text("exp", "1700000100");
    assert_text("big", "123456789012345678901234567890");
    assert_text("neg", "-7");
    assert_text("dec", "1.50");
    assert_text("sci", "1E+3");
    assert_text("yes", "true");
    assert_text("no", "false");
    assert_kind("nil", TOKEN_CLAIM_NULL);
}

static void test_a_path_goes_through_objects_alone(void **state)
{
    struct slice names[] = {SLICE("app"), SLICE("tenant"), SLICE("a.b")};
    struct slice url = SLICE("https://x.example/roles");

    (void)state;
    assert_text("app.tenant.id", "t1");
    assert_text("app.", "nameless");
    assert_kind("app", TOKEN_CLAIM_OBJECT);
    assert_kind("app.tenant", TOKEN_CLAIM_OBJECT);
    assert_kind("app.tenant.a.b", TOKEN_CLAIM_ABSENT);
    assert_true(slice_is(token_claim_at(token, names, 3, &kit_arena).text, "dotted"));
    assert_int_equal(token_claim_at(token, &url, 1, &kit_arena).kind, TOKEN_CLAIM_LIST);
    assert_int_equal(token_claim_at(token, &url, 0, &kit_arena).kind, TOKEN_CLAIM_OBJECT);
}

static void test_what_is_not_there_is_absent(void **state)
{
    static const char *const paths[] = {"",       ".",      "..",    "nobody", "Role",
                                        "rol",    "role.x", "role.", "app.x",  "nil.x",
                                        "list.0", "list.a", "exp.x", ".app",   "app..tenant"};

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        assert_kind(paths[i], TOKEN_CLAIM_ABSENT);
    assert_int_equal(token_claim(token, (struct slice){"role\0", 5}, &kit_arena).kind,
                     TOKEN_CLAIM_ABSENT);
    assert_int_equal(token_claim(token, (struct slice){NULL, 0}, &kit_arena).kind,
                     TOKEN_CLAIM_ABSENT);
}

static void test_an_array_of_scalars_is_a_list_of_texts(void **state)
{
    struct token_claim claim = token_claim(token, SLICE("list"), &kit_arena);
    static const char *const texts[] = {"a", "1", "-2.0", "true", NULL, ""};

    (void)state;
    assert_int_equal(claim.kind, TOKEN_CLAIM_LIST);
    assert_int_equal(claim.nitems, 6);
    for (size_t i = 0; i < 6; i++) {
        if (texts[i])
            assert_true(claim.items[i].ptr && slice_is(claim.items[i], texts[i]));
        else
            assert_null(claim.items[i].ptr);
    }
    claim = token_claim(token, SLICE("none"), &kit_arena);
    assert_int_equal(claim.kind, TOKEN_CLAIM_LIST);
    assert_int_equal(claim.nitems, 0);
    assert_kind("deep", TOKEN_CLAIM_OBJECT);
    assert_kind("objects", TOKEN_CLAIM_OBJECT);
}

static void test_subject_and_claims_are_the_issuers(void **state)
{
    static const char *const without[] = {"{\"exp\":1700000100}",
                                          "{\"sub\":\"\",\"exp\":1700000100}"};
    struct err err;
    struct token *nobody;
    struct token_keys *again = keys_of_secret();

    (void)state;
    assert_true(slice_is(token_subject(token), "ann \xc3\xa9\n"));
    assert_true(slice_is(token_claims(token), CLAIMS));
    for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++) {
        assert_true(
            token_verify(again, token_for(signer_new("HS256"), without[i]), NOW, &nobody, &err));
        assert_null(token_subject(nobody).ptr);
        token_unref(nobody);
    }
    token_keys_close(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars_are_in_the_text_form_of_postgres),
        cmocka_unit_test(test_a_path_goes_through_objects_alone),
        cmocka_unit_test(test_what_is_not_there_is_absent),
        cmocka_unit_test(test_an_array_of_scalars_is_a_list_of_texts),
        cmocka_unit_test(test_subject_and_claims_are_the_issuers),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
