#include "http/sync_request.h"
#include "http/sync_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static bool parse(const char *body, struct arena *arena, struct sync_request *request,
                  struct sync_invalid *invalid)
{
    return sync_request_parse(slice_of(body), 3, sizeof(struct sync_shape), arena, request,
                              invalid);
}

static void test_a_whole_request_is_read(void **state)
{
    struct arena arena = {0};
    struct sync_request r;
    struct sync_invalid invalid;

    (void)state;
    assert_true(
        parse("{\"shapes\":[{\"table\":\"orders\",\"where\":\"a = "
              "$2\",\"params\":{\"2\":\"y\",\"1\":\"x\"},"
              "\"columns\":[\"id\",\"odd "
              "\\\"name\"],\"handle\":\"h\",\"offset\":\"42_inf\",\"more\":1}],\"live\":false}",
              &arena, &r, &invalid));
    assert_int_equal(r.nshapes, 1);
    assert_false(r.live);
    assert_true(slice_is(r.shapes[0].shape.table, "orders"));
    assert_true(slice_is(r.shapes[0].shape.where, "a = $2"));
    assert_true(slice_is(r.shapes[0].shape.columns, "\"id\",\"odd \"\"name\""));
    assert_int_equal(r.shapes[0].shape.params.n, 2);
    assert_true(slice_is(r.shapes[0].shape.params.values[0], "x"));
    assert_true(slice_is(r.shapes[0].handle, "h"));
    assert_true(r.shapes[0].resumes);
    assert_true(r.shapes[0].after == 42);
    arena_release(&arena);
}

static void test_shape_by_name_has_all_that_defines_it(void **state)
{
    static const struct {
        const char *beside, *field;
    } cases[] = {{"\"table\":\"t\"", "shapes[0].table"},
                 {"\"where\":\"true\"", "shapes[0].where"},
                 {"\"columns\":[\"id\"]", "shapes[0].columns"},
                 {"\"params\":{\"1\":\"x\"}", "shapes[0].params"}};
    struct arena arena = {0};
    struct sync_request r;
    struct sync_invalid invalid;

    (void)state;
    assert_true(parse("{\"shapes\":[{\"shape\":\"mine\",\"handle\":\"h\",\"offset\":\"1_inf\"}]}",
                      &arena, &r, &invalid));
    assert_true(slice_is(r.shapes[0].name, "mine"));
    assert_int_equal(r.shapes[0].shape.table.len, 0);
    assert_true(r.shapes[0].resumes);
    arena_release(&arena);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char body[200];

        snprintf(body, sizeof(body), "{\"shapes\":[{\"shape\":\"mine\",%s}]}", cases[i].beside);
        assert_false(parse(body, &arena, &r, &invalid));
        assert_string_equal(invalid.field, cases[i].field);
        assert_string_equal(invalid.err.msg, "can't be given together with shape");
        arena_release(&arena);
    }
}

static void test_what_is_left_out_has_its_default(void **state)
{
    struct arena arena = {0};
    struct sync_request r;
    struct sync_invalid invalid;

    (void)state;
    assert_true(parse("{\"shapes\":[{\"table\":\"t\",\"offset\":\"-1\",\"where\":null}]}", &arena,
                      &r, &invalid));
    assert_true(r.live);
    assert_null(r.shapes[0].shape.columns.ptr);
    assert_null(r.shapes[0].shape.where.ptr);
    assert_false(r.shapes[0].resumes);
    arena_release(&arena);
}

static void test_a_refused_handle_comes_with_its_reason(void **state)
{
    struct arena arena = {0};
    struct sync_request r;
    struct sync_invalid invalid;
    char body[600], reason[300];

    (void)state;
    assert_true(parse("{\"shapes\":[{\"table\":\"t\",\"handle\":\"h\",\"refused\":\"no row\"}]}",
                      &arena, &r, &invalid));
    assert_true(slice_is(r.shapes[0].handle, "h"));
    assert_true(slice_is(r.shapes[0].refused, "no row"));
    assert_false(r.shapes[0].resumes);
    arena_release(&arena);

    memset(reason, 'x', sizeof(reason));
    memcpy(reason + 199, "\xc3\xa9", 2); /* cut between characters, not within one */
    snprintf(body, sizeof(body),
             "{\"shapes\":[{\"table\":\"t\",\"handle\":\"h\",\"refused\":\"%.*s\"}]}", 300, reason);
    assert_true(parse(body, &arena, &r, &invalid));
    assert_int_equal(r.shapes[0].refused.len, 199);
    arena_release(&arena);
}

/* Many thousand replicas wait for something to happen; docs/PERFORMANCE.md says what each costs. */
static void test_a_waiting_session_costs_less_than_a_kilobyte(void **state)
{
    struct arena arena = {0};
    struct sync_request r;
    struct sync_invalid invalid;

    (void)state;
    assert_true(
        parse("{\"shapes\":[{\"table\":\"public.orders\",\"where\":\"owner = $1\",\"params\":"
              "{\"1\":\"1234567\"},\"columns\":[\"id\",\"owner\",\"total\"],\"handle\":"
              "\"12345678-1234567890123456\",\"offset\":\"26754856_inf\"}],\"live\":true}",
              &arena, &r, &invalid));
    assert_non_null(arena_calloc(&arena, 1, sizeof(struct sync_shape)));
    size_t arena_bytes = arena.size, session = sizeof(struct sync_session);

    print_message("session %zu, shape %zu, arena %zu\n", session, sizeof(struct sync_shape),
                  arena_bytes);
    assert_true(session + arena_bytes < 800); /* with its connection it stays below 1024 */
    arena_release(&arena);
}

static void test_errors_name_the_field(void **state)
{
    static const struct {
        const char *body, *field;
    } cases[] = {
        {"", "body"},
        {"{", "body"},
        {"[]", "body"},
        {"{}", "shapes"},
        {"{\"shapes\":{}}", "shapes"},
        {"{\"shapes\":[]}", "shapes"},
        {"{\"shapes\":[1]}", "shapes[0]"},
        {"{\"shapes\":[{}]}", "shapes[0].table"},
        {"{\"shapes\":[{\"table\":7}]}", "shapes[0].table"},
        {"{\"shapes\":[{\"table\":\"\"}]}", "shapes[0].table"},
        {"{\"shapes\":[{\"table\":\"a\\u0000b\"}]}", "shapes[0].table"},
        {"{\"shapes\":[{\"table\":\"t\"},{\"table\":\"t\",\"where\":[]}]}", "shapes[1].where"},
        {"{\"shapes\":[{\"table\":\"t\",\"columns\":\"id\"}]}", "shapes[0].columns"},
        {"{\"shapes\":[{\"table\":\"t\",\"columns\":[]}]}", "shapes[0].columns"},
        {"{\"shapes\":[{\"table\":\"t\",\"columns\":[\"\"]}]}", "shapes[0].columns"},
        {"{\"shapes\":[{\"table\":\"t\",\"params\":[\"x\"]}]}", "shapes[0].params"},
        {"{\"shapes\":[{\"table\":\"t\",\"params\":{\"a\":\"x\"}}]}", "shapes[0].params"},
        {"{\"shapes\":[{\"table\":\"t\",\"params\":{\"2\":\"x\"}}]}", "shapes[0].params"},
        {"{\"shapes\":[{\"table\":\"t\",\"params\":{\"1\":\"x\",\"01\":\"y\"}}]}",
         "shapes[0].params"},
        {"{\"shapes\":[{\"table\":\"t\",\"params\":{\"1\":5}}]}", "shapes[0].params"},
        {"{\"shapes\":[{\"table\":\"t\",\"handle\":\"h\",\"offset\":\"5\"}]}", "shapes[0].offset"},
        {"{\"shapes\":[{\"table\":\"t\",\"handle\":\"h\",\"offset\":\"x_inf\"}]}",
         "shapes[0].offset"},
        {"{\"shapes\":[{\"table\":\"t\",\"handle\":\"h\",\"offset\":\"99999999999999999999_inf\"}]"
         "}",
         "shapes[0].offset"},
        {"{\"shapes\":[{\"table\":\"t\",\"offset\":\"5_inf\"}]}", "shapes[0].handle"},
        {"{\"shapes\":[{\"table\":\"t\",\"refused\":\"x\"}]}", "shapes[0].handle"},
        {"{\"shapes\":[{\"table\":\"t\",\"handle\":\"h\",\"offset\":\"5_inf\",\"refused\":\"x\"}]}",
         "shapes[0].offset"},
        {"{\"shapes\":[{\"table\":\"a\"},{\"table\":\"b\"},{\"table\":\"c\"},{\"table\":\"d\"}]}",
         "shapes"},
        {"{\"shapes\":[{\"table\":\"t\"}],\"live\":\"yes\"}", "live"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct arena arena = {0};
        struct sync_request r;
        struct sync_invalid invalid = {0};

        assert_false(parse(cases[i].body, &arena, &r, &invalid));
        assert_string_equal(invalid.field, cases[i].field);
        assert_true(invalid.err.msg[0]);
        arena_release(&arena);
    }
}

/* It lives as long as its stream. */
static void test_a_request_takes_no_more_than_it_has(void **state)
{
    struct arena arena = {0};
    struct sync_request r;
    struct sync_invalid invalid;

    (void)state;
    assert_true(parse("{\"shapes\":[{\"table\":\"items\",\"where\":\"owner_id = $1\","
                      "\"params\":{\"1\":\"7\"}},{\"table\":\"t\",\"columns\":[\"a\",\"b\"]}]}",
                      &arena, &r, &invalid));
    arena_calloc(&arena, r.nshapes, sizeof(struct sync_shape));
    assert_in_range(arena.size - arena_used(&arena), 0, 32);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_request_is_read),
        cmocka_unit_test(test_shape_by_name_has_all_that_defines_it),
        cmocka_unit_test(test_what_is_left_out_has_its_default),
        cmocka_unit_test(test_a_refused_handle_comes_with_its_reason),
        cmocka_unit_test(test_a_waiting_session_costs_less_than_a_kilobyte),
        cmocka_unit_test(test_errors_name_the_field),
        cmocka_unit_test(test_a_request_takes_no_more_than_it_has),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
