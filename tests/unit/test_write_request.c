#include "write/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static const struct write_request_limits limits = {4096, 3, 4};

/* A body with one transaction that has this text for a mutation. */
#define MUTATION(text)                                                                             \
    "{\"replica\":\"r\",\"transactions\":[{\"id\":1,\"nonce\":\"n\",\"mutations\":[" text "]}]}"
#define INSERT "{\"table\":\"t\",\"op\":\"insert\",\"key\":{\"id\":\"1\"}}"

static bool parse(const char *body, struct arena *arena, struct write_request *request,
                  struct write_invalid *invalid)
{
    return write_request_parse(slice_of(body), &limits, arena, request, invalid);
}

static void test_a_whole_request_is_read(void **state)
{
    struct arena arena = {0};
    struct write_request r;
    struct write_invalid invalid;

    (void)state;
    assert_true(
        parse("{\"replica\":\"r1\",\"incarnation\":\"i\",\"acknowledged\":12,\"after\":\"m\","
              "\"transactions\":[{\"id\":17,\"nonce\":\"n\",\"marked\":true,\"mutations\":["
              "{\"table\":\"Shop.\\\"Odd\\\"\",\"op\":\"update\",\"key\":{\"id\":\"1\"},"
              "\"values\":{\"qty\":\"3\",\"note\":null},\"base\":{\"qty\":\"2\"}}]},"
              "{\"id\":18,\"nonce\":\"o\",\"mutations\":[]}]}",
              &arena, &r, &invalid));
    assert_true(slice_is(r.replica, "r1"));
    assert_true(slice_is(r.incarnation, "i"));
    assert_true(slice_is(r.after, "m"));
    assert_int_equal(r.acknowledged, 12);
    assert_int_equal(r.ntxns, 2);
    assert_int_equal(r.txns[0].id, 17);
    assert_true(r.txns[0].marked);
    assert_false(r.txns[1].marked);
    assert_true(slice_is(r.txns[1].nonce, "o"));

    const struct write_mutation *m = &r.txns[0].mutations[0];
    assert_true(slice_is(m->nspname, "shop"));
    assert_true(slice_is(m->relname, "Odd"));
    assert_int_equal(m->op, WRITE_UPDATE);
    assert_int_equal(m->values.n, 2);
    assert_true(slice_is(m->values.list[0].value, "3"));
    assert_null(m->values.list[1].value.ptr);
    assert_true(slice_is(m->base.list[0].column, "qty"));
    arena_release(&arena);
}

static void test_a_table_without_a_schema_is_in_public(void **state)
{
    struct arena arena = {0};
    struct write_request r;
    struct write_invalid invalid;

    (void)state;
    assert_true(parse(MUTATION(INSERT), &arena, &r, &invalid));
    assert_true(slice_is(r.txns[0].mutations[0].nspname, "public"));
    assert_null(r.after.ptr);
    assert_string_equal(r.incarnation.ptr, "");
    arena_release(&arena);
}

static void test_a_mutation_is_known_by_family_and_nonce(void **state)
{
    struct arena arena = {0};
    struct write_request r;
    struct write_invalid invalid;

    (void)state;
    assert_true(parse("{\"replica\":\"r2\",\"family\":\"r1\",\"transactions\":[{\"id\":1,\"nonce\":"
                      "\"n\",\"mutations\":[" INSERT
                      ",{\"table\":\"t\",\"op\":\"insert\",\"key\":{\"id\":\"2\"},"
                      "\"nonce\":\"-9223372036854775808\"}]}]}",
                      &arena, &r, &invalid));
    assert_true(slice_is(r.family, "r1"));
    assert_null(r.decided);
    assert_false(r.txns[0].mutations[0].has_nonce);
    assert_true(r.txns[0].mutations[1].has_nonce);
    assert_true(r.txns[0].mutations[1].nonce == INT64_MIN);
    arena_release(&arena);
}

static void test_a_replica_without_a_family_is_the_first_of_its_own(void **state)
{
    struct arena arena = {0};
    struct write_request r;
    struct write_invalid invalid;

    (void)state;
    assert_true(parse(MUTATION(INSERT), &arena, &r, &invalid));
    assert_true(slice_is(r.family, "r"));
    arena_release(&arena);
}

static void test_the_question_has_nonces_instead_of_transactions(void **state)
{
    struct arena arena = {0};
    struct write_request r;
    struct write_invalid invalid;

    (void)state;
    assert_true(parse("{\"replica\":\"r\",\"decided\":[\"-1\",\"7\"]}", &arena, &r, &invalid));
    assert_non_null(r.decided);
    assert_int_equal(r.ndecided, 2);
    assert_true(r.decided[0] == -1 && r.decided[1] == 7);
    assert_true(parse("{\"replica\":\"r\",\"decided\":[]}", &arena, &r, &invalid));
    assert_non_null(r.decided);
    arena_release(&arena);
}

static void test_errors_name_the_place(void **state)
{
    static const struct {
        const char *body, *place;
    } cases[] = {
        {"", "body"},
        {"{", "body"},
        {"[]", "body"},
        {"{}", "replica"},
        {"{\"replica\":\"r\"}", "transactions"},
        {"{\"replica\":\"\",\"transactions\":[]}", "replica"},
        {"{\"replica\":\"a\\u0000\",\"transactions\":[]}", "replica"},
        {"{\"replica\":7,\"transactions\":[]}", "replica"},
        {"{\"replica\":\"r\",\"transactions\":{}}", "transactions"},
        {"{\"replica\":\"r\",\"replica\":\"r\",\"transactions\":[]}", "replica"},
        {"{\"replica\":\"r\",\"transactions\":[],\"x\":1}", "x"},
        {"{\"replica\":\"r\",\"transactions\":[],\"acknowledged\":-1}", "acknowledged"},
        {"{\"replica\":\"r\",\"transactions\":[],\"acknowledged\":18446744073709551615}",
         "acknowledged"},
        {"{\"replica\":\"r\",\"transactions\":[1]}", "transactions[0]"},
        {"{\"replica\":\"r\",\"transactions\":[{}]}", "transactions[0].id"},
        {"{\"replica\":\"r\",\"transactions\":[{\"id\":0}]}", "transactions[0].id"},
        {"{\"replica\":\"r\",\"transactions\":[{\"id\":\"1\"}]}", "transactions[0].id"},
        {"{\"replica\":\"r\",\"transactions\":[{\"id\":1,\"mutations\":[]}]}",
         "transactions[0].nonce"},
        {"{\"replica\":\"r\",\"transactions\":[{\"id\":1,\"nonce\":\"n\",\"mutations\":[],"
         "\"marked\":1}]}",
         "transactions[0].marked"},
        {"{\"replica\":\"r\",\"transactions\":[{\"id\":1,\"nonce\":\"n\",\"mutations\":[]},"
         "{\"id\":3,\"nonce\":\"n\",\"mutations\":[]}]}",
         "transactions[1].id"},
        {MUTATION(INSERT ",5"), "transactions[0].mutations[1]"},
        {MUTATION("{\"op\":\"insert\",\"key\":{\"id\":\"1\"}}"),
         "transactions[0].mutations[0].table"},
        {MUTATION("{\"table\":\"a.b.c\",\"op\":\"insert\",\"key\":{\"id\":\"1\"}}"),
         "transactions[0].mutations[0].table"},
        {MUTATION("{\"table\":\"t\",\"op\":\"upsert\",\"key\":{\"id\":\"1\"}}"),
         "transactions[0].mutations[0].op"},
        {MUTATION("{\"table\":\"t\",\"op\":\"insert\",\"key\":{}}"),
         "transactions[0].mutations[0].key"},
        {MUTATION("{\"table\":\"t\",\"op\":\"insert\",\"key\":{\"id\":null}}"),
         "transactions[0].mutations[0].key.id"},
        {MUTATION("{\"table\":\"t\",\"op\":\"insert\",\"key\":{\"id\":\"1\"},\"values\":"
                  "{\"qty\":3}}"),
         "transactions[0].mutations[0].values.qty"},
        {MUTATION("{\"table\":\"t\",\"op\":\"insert\",\"key\":{\"id\":\"1\"},\"values\":"
                  "{\"a\":\"1\",\"a\":\"2\"}}"),
         "transactions[0].mutations[0].values.a"},
        {MUTATION("{\"table\":\"t\",\"op\":\"update\",\"key\":{\"id\":\"1\"}}"),
         "transactions[0].mutations[0].values"},
        {MUTATION("{\"table\":\"t\",\"op\":\"delete\",\"key\":{\"id\":\"1\"},\"values\":"
                  "{\"a\":\"1\"}}"),
         "transactions[0].mutations[0].values"},
        {"{\"replica\":\"a b\",\"transactions\":[]}", "replica"},
        {"{\"replica\":\"r\",\"family\":\"a/b\",\"transactions\":[]}", "family"},
        {"{\"replica\":\"r\",\"decided\":[\"1\"],\"transactions\":[]}", "decided"},
        {"{\"replica\":\"r\",\"decided\":{}}", "decided"},
        {"{\"replica\":\"r\",\"decided\":[1]}", "decided[0]"},
        {"{\"replica\":\"r\",\"decided\":[\"1\",\"\"]}", "decided[1]"},
        {"{\"replica\":\"r\",\"decided\":[\" 1\"]}", "decided[0]"},
        {"{\"replica\":\"r\",\"decided\":[\"1x\"]}", "decided[0]"},
        {"{\"replica\":\"r\",\"decided\":[\"9223372036854775808\"]}", "decided[0]"},
        {MUTATION("{\"table\":\"t\",\"op\":\"insert\",\"key\":{\"id\":\"1\"},\"nonce\":5}"),
         "transactions[0].mutations[0].nonce"},
        {MUTATION("{\"table\":\"t\",\"op\":\"delete\",\"key\":{\"id\":\"1\"},\"vlaues\":{}}"),
         "transactions[0].mutations[0].vlaues"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct arena arena = {0};
        struct write_request r;
        struct write_invalid invalid = {0};

        assert_false(parse(cases[i].body, &arena, &r, &invalid));
        assert_string_equal(invalid.place, cases[i].place);
        assert_int_equal(invalid.err.code, ERR_INPUT);
        assert_true(invalid.err.msg[0]);
        arena_release(&arena);
    }
}

static void check_limit(const char *body, const char *place)
{
    struct arena arena = {0};
    struct write_request r;
    struct write_invalid invalid = {0};

    assert_false(parse(body, &arena, &r, &invalid));
    assert_string_equal(invalid.place, place);
    assert_int_equal(invalid.err.code, ERR_LIMIT);
    arena_release(&arena);
}

#define EMPTY(id) "{\"id\":" #id ",\"nonce\":\"n\",\"mutations\":[]}"

static void test_what_is_too_large_is_said_to_be(void **state)
{
    static char large[5000], deep[2000];

    (void)state;
    memset(large, ' ', sizeof(large) - 1);
    check_limit(large, "body");
    memset(deep, '[', sizeof(deep) - 1);
    check_limit(deep, "body");
    check_limit("{\"replica\":\"r\",\"transactions\":[" EMPTY(1) "," EMPTY(2) "," EMPTY(
                    3) "," EMPTY(4) "]}",
                "transactions");
    check_limit("{\"replica\":\"r\",\"decided\":[\"1\",\"2\",\"3\",\"4\",\"5\"]}", "decided");
    check_limit(MUTATION(INSERT "," INSERT "," INSERT "," INSERT "," INSERT),
                "transactions[0].mutations");
}

static void test_brackets_in_strings_are_no_depth(void **state)
{
    struct arena arena = {0};
    struct write_request r;
    struct write_invalid invalid;

    (void)state;
    assert_true(parse(MUTATION("{\"table\":\"t\",\"op\":\"insert\",\"key\":{\"id\":\"1\"},"
                               "\"values\":{\"doc\":\"[[[[[[[[[[{{{{\\\"[[[[\"}}"),
                      &arena, &r, &invalid));
    arena_release(&arena);
}

static void test_a_long_place_is_cut_between_characters(void **state)
{
    struct arena arena = {0};
    struct write_request r;
    struct write_invalid invalid;
    char body[900] = "{\"replica\":\"r\",\"transactions\":[],\"";

    (void)state;
    for (int i = 0; i < 200; i++)
        strcat(body, "\xc3\xa9");
    strcat(body, "\":1}");
    assert_false(parse(body, &arena, &r, &invalid));
    assert_int_equal(strlen(invalid.place) % 2, 0);
    assert_true(strlen(invalid.place) > 150);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_request_is_read),
        cmocka_unit_test(test_a_table_without_a_schema_is_in_public),
        cmocka_unit_test(test_a_mutation_is_known_by_family_and_nonce),
        cmocka_unit_test(test_a_replica_without_a_family_is_the_first_of_its_own),
        cmocka_unit_test(test_the_question_has_nonces_instead_of_transactions),
        cmocka_unit_test(test_errors_name_the_place),
        cmocka_unit_test(test_what_is_too_large_is_said_to_be),
        cmocka_unit_test(test_brackets_in_strings_are_no_depth),
        cmocka_unit_test(test_a_long_place_is_cut_between_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
