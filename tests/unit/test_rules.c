/* Shapes by name: what is read of them, and what they are for a token. */
#include "token_kit.h"

#include "rules/rules.h"

static struct rules *read_rules(const char *text, struct err *err)
{
    FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r");

    assert_non_null(file);
    struct rules *rules = rules_read(file, "tombolo.ini", err);
    fclose(file);
    return rules;
}

static struct rules *rules_of(const char *text)
{
    struct err err = {0};
    struct rules *rules = read_rules(text, &err);

    if (!rules)
        fail_msg("%s", err.msg);
    return rules;
}

static struct token *token_of_claims(const char *claims)
{
    struct token_keys *keys = keys_of_secret();
    struct token *token = NULL;
    struct err err = {0};

    if (!token_verify(keys, token_for(signer_new("HS256"), claims), NOW, &token, &err))
        fail_msg("%s", err.msg);
    token_keys_close(keys);
    return token;
}

#define ORDERS                                                                                     \
    "[log]\nlevel = info\n"                                                                        \
    "[shape mine]\n"                                                                               \
    "table = public.orders\n"                                                                      \
    "where = owner = auth.sub AND team = ANY (auth.app.teams)\n"                                   \
    "columns = id , owner,  \"a , b\"\n"                                                           \
    "[shape all of it]\n"                                                                          \
    "table = orders\n"

static void test_claims_are_values_and_never_text_of_the_clause(void **state)
{
    struct rules *rules = rules_of(ORDERS);
    struct token *token = token_of_claims("{\"sub\":\"x' OR true --\",\"exp\":1700000100,"
                                          "\"app\":{\"teams\":[\"a\\\"b\\\\\",7,null,\"\"]}}");
    struct shape_request request;
    struct err err;

    (void)state;
    assert_int_equal(rules_nshapes(rules), 2);
    assert_int_equal(rules_shape(rules, SLICE("mine"), token, &kit_arena, &request, &err),
                     RULES_FOUND);
    assert_true(slice_is(request.table, "public.orders"));
    assert_true(slice_is(request.where, "owner = ($1) AND team = ANY (($2))"));
    assert_true(slice_is(request.columns, "id,owner,\"a , b\""));
    assert_int_equal(request.params.n, 2);
    assert_true(slice_is(request.params.values[0], "x' OR true --"));
    assert_true(slice_is(request.params.values[1], "{\"a\\\"b\\\\\",\"7\",NULL,\"\"}"));
    token_unref(token);
    rules_unref(rules);
}

static void test_shape_without_claims_needs_no_token(void **state)
{
    struct rules *rules = rules_of(ORDERS);
    struct shape_request request;
    struct err err;

    (void)state;
    assert_int_equal(rules_shape(rules, SLICE("all of it"), NULL, &kit_arena, &request, &err),
                     RULES_FOUND);
    assert_true(slice_is(request.table, "orders"));
    assert_null(request.columns.ptr);
    assert_int_equal(request.where.len, 0);
    assert_int_equal(rules_shape(rules, SLICE("mine "), NULL, &kit_arena, &request, &err),
                     RULES_UNKNOWN);
    assert_string_equal(err.msg, "there is no shape \"mine \"");
    rules_unref(rules);
}

static void test_token_without_the_claim_has_no_shape(void **state)
{
    static const struct {
        const char *claims, *msg;
    } cases[] = {
        {"{\"exp\":1700000100}", "the token's claim \"sub\" is needed for this, and is not there"},
        {"{\"sub\":\"a\",\"exp\":1700000100}",
         "the token's claim \"app.teams\" is needed for this, and is not there"},
        {"{\"sub\":\"a\",\"exp\":1700000100,\"app\":{\"teams\":null}}",
         "the token's claim \"app.teams\" is needed for this, and is null"},
        {"{\"sub\":\"a\",\"exp\":1700000100,\"app\":{\"teams\":{\"a\":1}}}",
         "the token's claim \"app.teams\" is neither a value nor a list of values"},
        {"{\"sub\":\"a\",\"exp\":1700000100,\"app.teams\":[\"a\"]}",
         "the token's claim \"app.teams\" is needed for this, and is not there"},
    };
    struct rules *rules = rules_of(ORDERS);
    struct shape_request request;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct token *token = token_of_claims(cases[i].claims);

        assert_int_equal(rules_shape(rules, SLICE("mine"), token, &kit_arena, &request, &err),
                         RULES_NO_CLAIM);
        assert_string_equal(err.msg, cases[i].msg);
        assert_null(request.table.ptr);
        token_unref(token);
    }
    assert_int_equal(rules_shape(rules, SLICE("mine"), NULL, &kit_arena, &request, &err),
                     RULES_NO_CLAIM);
    rules_unref(rules);
}

/* libinih would cut it, and so mean another table. */
#define LONG "a_name_that_is_longer_than_what_libinih_leaves_of_it"

static void test_what_is_wrong_says_in_which_line(void **state)
{
    static const struct {
        const char *text, *msg;
    } cases[] = {
        {"[shape a]\nwhere = true\n", "tombolo.ini:2: [shape a] names no table"},
        {"[shape a]\ntable = t\n\nwhere = a = = 1\n",
         "tombolo.ini:4: [shape a] where: At location 19: syntax error at or near \"=\""},
        {"[shape a]\ntable = t\nwhere = a = $1\n",
         "tombolo.ini:3: [shape a] where: At location 4: a clause that is configured has no "
         "parameters: name a claim, as in auth.sub"},
        {"[shape a]\ntable = t\ncolumns = \"id\n", "tombolo.ini:3: [shape a] columns: "},
        {"[shape a]\ntable = t\ncolumns = a b\n", "tombolo.ini:3: [shape a] columns: "},
        {"[shape a]\ntable = a.b.c\n", "tombolo.ini:2: [shape a] table: "},
        {"[shape a]\ntable = t\nfilter = true\n", "tombolo.ini:3: [shape a] filter: is not known"},
        {"[shape a]\ntable = t\n[shape b]\ntable = t\n[shape a]\ntable = u\n",
         "tombolo.ini:6: [shape a] table: is set a second time"},
        {"[write t]\ncheck = true\n", "tombolo.ini:2: [write t] names no operations"},
        {"[write t]\noperations = insert, upsert\n",
         "tombolo.ini:2: [write t] operations: \"upsert\" is none of insert, update, delete"},
        {"[write t]\noperations = insert, insert\n",
         "tombolo.ini:2: [write t] operations: names \"insert\" twice"},
        {"[write t]\noperations =\n", "tombolo.ini:2: [write t] operations: "},
        {"[write t]\noperations = insert\noperations = delete\n",
         "tombolo.ini:3: [write t] operations: is set a second time"},
        {"[write t]\noperations = insert\nskip_missing = insert\n",
         "tombolo.ini:3: [write t] skip_missing: is for update and delete"},
        {"[write t]\noperations = insert\ncheck = owner = $1\n",
         "tombolo.ini:3: [write t] check: At location 8: a clause that is configured has no"},
        {"[write t]\noperations = insert\nset.owner = 'me'\n",
         "tombolo.ini:3: [write t] set.owner: must be a claim, as auth.sub"},
        {"[write t]\noperations = insert\nset.owner = auth.sub || 'x'\n",
         "tombolo.ini:3: [write t] set.owner: must be a claim, as auth.sub"},
        {"[write t]\noperations = insert\nset.a = auth.sub\nset.A = auth.sub\n",
         "tombolo.ini:4: [write t] set.A: is set a second time"},
        {"[write t]\noperations = insert\nset = auth.sub\n",
         "tombolo.ini:3: [write t] set: is not known"},
        {"[write t]\noperations = insert\nconflict.qty = sum\n",
         "tombolo.ini:3: [write t] conflict.qty: \"sum\" is no kind of conflict"},
        {"[write t]\noperations = insert\nconflict = function\n",
         "tombolo.ini:3: [write t] conflict: \"function\" is no kind of conflict"},
        {"[write t]\noperations = insert\nrole = none\n",
         "tombolo.ini:3: [write t] role: must be the name of a role"},
        {"[write t]\noperations = insert\nrole = a,b\n",
         "tombolo.ini:3: [write t] role: must be the name of a role"},
        {"[write t]\noperations = insert\nrole = a\n[write u]\noperations = insert\n",
         "tombolo.ini:5: [write u] names no role, and the section before does"},
        {"[write t]\noperations = insert\n[write u]\noperations = insert\nrole = a\n",
         "tombolo.ini:5: [write u] role: differs from that of the first [write] section"},
        {"[write t]\noperations = insert\n[write public.T]\noperations = delete\n",
         "tombolo.ini:4: [write public.T] operations: the table has a section already, in line 2"},
        {"[write t]\noperations = insert\n"
         "[write " LONG "]\noperations = insert\n",
         "tombolo.ini:3: the name is too long"},
        {"[write t]\noperations = insert\nset." LONG " = auth.sub\n",
         "tombolo.ini:3: the name is too long"},
        {"[write a.b.c]\noperations = insert\n", "tombolo.ini:2: [write a.b.c] operations: "},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err = {0};

        assert_null(read_rules(cases[i].text, &err));
        assert_int_equal(err.code, ERR_CONFIG);
        if (strncmp(err.msg, cases[i].msg, strlen(cases[i].msg)) != 0)
            fail_msg("\"%s\" is not \"%s\"", err.msg, cases[i].msg);
    }
}

static void test_old_rules_outlive_a_new_reading(void **state)
{
    struct rules *rules = rules_ref(rules_of(ORDERS));
    struct shape_request request;
    struct err err;

    (void)state;
    rules_unref(rules);
    assert_int_equal(rules_shape(rules, SLICE("all of it"), NULL, &kit_arena, &request, &err),
                     RULES_FOUND);
    rules_unref(rules);
}

#define WRITES                                                                                     \
    "[write public.orders]\n"                                                                      \
    "operations = insert, update\n"                                                                \
    "columns = id, qty, \"a , b\"\n"                                                               \
    "check = owner = auth.sub AND qty > 0\n"                                                       \
    "set.owner = auth.sub\n"                                                                       \
    "role = auth.role\n"                                                                           \
    "conflict = keep\n"                                                                            \
    "conflict.qty = counter\n"                                                                     \
    "conflict.\"Note\" = app.merge_note\n"                                                         \
    "skip_missing = update, delete\n"

static void test_nothing_is_written_before_the_rules_are_held_against_the_catalogue(void **state)
{
    struct rules *rules = rules_of(WRITES);
    struct token *token = token_of_claims("{\"sub\":\"ann\",\"exp\":1700000100}");
    struct write_rules out;
    struct err err;
    bool ops[WRITE_DELETE + 1];

    (void)state;
    assert_true(rules_have_writes(rules));
    assert_false(rules_are_empty(rules));
    assert_int_equal(rules_nshapes(rules), 0);
    assert_false(rules_write(rules, token, &kit_arena, &out, &err));
    assert_int_equal(err.code, ERR_BUSY);
    assert_int_equal(out.ngrants, 0);
    assert_false(rules_may_write(rules, token, SLICE("public"), SLICE("orders"), ops));
    assert_false(ops[WRITE_INSERT] || ops[WRITE_UPDATE] || ops[WRITE_DELETE]);
    token_unref(token);
    rules_unref(rules);
}

static void test_token_without_a_subject_writes_nothing(void **state)
{
    static const char *const claims[] = {"{\"exp\":1700000100}",
                                         "{\"sub\":\"\",\"exp\":1700000100}"};
    struct rules *rules = rules_of(WRITES);
    struct write_rules out;
    struct err err;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct token *token = token_of_claims(claims[i]);

        assert_false(rules_write(rules, token, &kit_arena, &out, &err));
        assert_int_equal(err.code, ERR_INPUT);
        assert_int_equal(out.ngrants, 0);
        token_unref(token);
    }
    rules_unref(rules);
}

static void test_columns_of_a_named_shape_are_all_that_may_be_asked_about(void **state)
{
    struct rules *rules = rules_of("[shape some]\ntable = t\ncolumns = id, name\n");
    struct shape_request request;
    struct err err;

    (void)state;
    assert_int_equal(rules_shape(rules, SLICE("some"), NULL, &kit_arena, &request, &err),
                     RULES_FOUND);
    assert_true(slice_is(request.queryable, "id,name"));
    rules_unref(rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claims_are_values_and_never_text_of_the_clause),
        cmocka_unit_test(test_shape_without_claims_needs_no_token),
        cmocka_unit_test(test_token_without_the_claim_has_no_shape),
        cmocka_unit_test(test_what_is_wrong_says_in_which_line),
        cmocka_unit_test(test_old_rules_outlive_a_new_reading),
        cmocka_unit_test(test_nothing_is_written_before_the_rules_are_held_against_the_catalogue),
        cmocka_unit_test(test_token_without_a_subject_writes_nothing),
        cmocka_unit_test(test_columns_of_a_named_shape_are_all_that_may_be_asked_about),
    };

    return cmocka_run_group_tests(tests, NULL, kit_teardown);
}
