/* Paths and query strings, routes, response headers. */
#include "http/headers.h"
#include "http/query.h"
#include "http/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static void check_get(const struct http_query *query, const char *name, const char *want)
{
    struct slice value;
    bool there = http_query_get(query, name, &value);

    assert_int_equal(there, want != NULL);
    assert_true(slice_is(value, want ? want : ""));
}

static void test_parameters_are_decoded_and_the_last_wins(void **state)
{
    struct arena arena = {0};
    struct http_query query;
    struct err err;

    (void)state;
    assert_true(http_query_parse(&query, SLICE("a=1&b=x%20y+z&a=2&&live&=v&c=%3D%26&%61b=q&e="),
                                 &arena, &err));
    check_get(&query, "a", "2");
    check_get(&query, "b", "x y z");
    check_get(&query, "live", "");
    check_get(&query, "", "v");
    check_get(&query, "c", "=&");
    check_get(&query, "ab", "q");
    check_get(&query, "e", "");
    check_get(&query, "d", NULL);
    assert_int_equal(query.len, 8);
    arena_release(&arena);
}

static void test_bracket_keys_are_the_same_escaped_or_not(void **state)
{
    struct arena arena = {0};
    struct http_query query;
    struct slice key;
    struct err err;

    (void)state;
    assert_true(http_query_parse(&query, SLICE("params[1]=a&params%5B2%5D=b&params=c&params[]=d"),
                                 &arena, &err));
    check_get(&query, "params[1]", "a");
    check_get(&query, "params[2]", "b");
    assert_true(http_param_bracket(&query.params[0], "params", &key) && slice_is(key, "1"));
    assert_true(http_param_bracket(&query.params[1], "params", &key) && slice_is(key, "2"));
    assert_false(http_param_bracket(&query.params[2], "params", &key));
    assert_true(http_param_bracket(&query.params[3], "params", &key) && key.len == 0);
    assert_false(http_param_bracket(&query.params[0], "param", &key));
    arena_release(&arena);
}

static void test_wrong_escapes_are_refused_with_their_place(void **state)
{
    static const struct {
        const char *text, *place;
    } cases[] = {{"a=%", "byte 3"},    {"a=%4", "byte 3"},     {"a=1&%zz=2", "byte 5"},
                 {"a=%4&b", "byte 3"}, {"ab=xy%g0", "byte 6"}, {"a=%%20", "byte 3"}};
    struct arena arena = {0};
    struct http_query query;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_false(http_query_parse(&query, slice_of(cases[i].text), &arena, &err));
        assert_int_equal(err.code, ERR_INPUT);
        assert_non_null(strstr(err.msg, cases[i].place));
    }
    arena_release(&arena);
}

static void test_bytes_of_any_kind_pass(void **state)
{
    struct arena arena = {0};
    struct http_query query;
    struct slice value;
    struct err err;

    (void)state;
    assert_true(http_query_parse(&query, SLICE("a=x%00y%ff"), &arena, &err));
    assert_true(http_query_get(&query, "a", &value));
    assert_true(slice_eq(value, SLICE("x\0y\xff")));
    arena_release(&arena);
}

static void test_paths_are_normalised(void **state)
{
    static const struct {
        const char *path, *want;
    } cases[] = {
        {"/", "/"},
        {"//", "/"},
        {"/v1/shape", "/v1/shape"},
        {"/v1/shape/", "/v1/shape"},
        {"//v1///shape//", "/v1/shape"},
        {"/v1/%73hape", "/v1/shape"},
        {"/v1%2Fshape", "/v1%2Fshape"},
        {"/v1%2fshape", "/v1%2Fshape"},
        {"/a%00", "/a%00"},
        {"/a%0a", "/a%0A"},
        {"/a/../b/.", "/a/../b/."},
        {"/a+b%20c", "/a+b c"},
        {"/%C3%A9", "/\xc3\xa9"},
        {"*", "*"},
    };
    struct arena arena = {0};
    struct slice out;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(http_path_normalise(slice_of(cases[i].path), &arena, &out, &err));
        if (!slice_is(out, cases[i].want))
            fail_msg("%s: %.*s", cases[i].path, SLICE_ARG(out));
    }
    assert_false(http_path_normalise(SLICE("/a/%7"), &arena, &out, &err));
    assert_non_null(strstr(err.msg, "byte 4"));
    arena_release(&arena);
}

static void test_routes_are_found_by_path_and_method(void **state)
{
    static const struct http_route routes[] = {
        {.path = "/a", .methods = HTTP_M_GET_HEAD},
        {.path = "/a", .methods = HTTP_M_POST},
        {.path = "/b", .methods = HTTP_M_DELETE},
    };
    const struct http_routes table = {routes, 3};
    char allow[HTTP_ALLOW_SIZE];
    uint32_t allowed;

    (void)state;
    assert_ptr_equal(http_route_find(&table, SLICE("/a"), HTTP_M_HEAD, &allowed), &routes[0]);
    assert_ptr_equal(http_route_find(&table, SLICE("/a"), HTTP_M_POST, &allowed), &routes[1]);
    assert_null(http_route_find(&table, SLICE("/a"), HTTP_M_PUT, &allowed));
    http_methods_print(allowed, allow);
    assert_string_equal(allow, "GET, HEAD, POST");
    assert_null(http_route_find(&table, SLICE("/A"), HTTP_M_GET, &allowed));
    assert_int_equal(allowed, 0);
    http_methods_print(~0u, allow);
    assert_string_equal(allow, "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
}

static void test_headers_refuse_what_would_break_the_head(void **state)
{
    static const struct slice values[] = {{"a\r\nb: c", 7}, {"a\nb", 3}, {"a\0b", 3}, {"\x7f", 1}};
    static const char *const names[] = {"", "a b", "a:b", "Upper", "a\r\n"};
    struct http_headers h;

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        http_headers_init(&h);
        http_headers_add_slice(&h, "x", values[i]);
        assert_true(h.text.failed);
        http_headers_release(&h);
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        http_headers_init(&h);
        http_headers_add(&h, names[i], "v");
        assert_true(h.text.failed);
        http_headers_release(&h);
    }
}

static void test_headers_know_what_they_hold(void **state)
{
    struct http_headers h;

    (void)state;
    http_headers_init(&h);
    assert_false(http_headers_has(&h, "a"));
    http_headers_add(&h, "cache-control", "no-store");
    http_headers_printf(&h, "etag", "\"%d\"", 7);
    http_headers_add_slice(&h, "x-\x30", SLICE("\xc3\xa9\t!"));
    assert_true(http_headers_has(&h, "cache-control"));
    assert_true(http_headers_has(&h, "etag"));
    assert_true(http_headers_has(&h, "x-0"));
    assert_false(http_headers_has(&h, "cache"));
    assert_false(http_headers_has(&h, "no-store"));
    assert_string_equal(buf_cstr(&h.text),
                        "cache-control: no-store\r\netag: \"7\"\r\nx-0: \xc3\xa9\t!\r\n");
    http_headers_release(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters_are_decoded_and_the_last_wins),
        cmocka_unit_test(test_bracket_keys_are_the_same_escaped_or_not),
        cmocka_unit_test(test_wrong_escapes_are_refused_with_their_place),
        cmocka_unit_test(test_bytes_of_any_kind_pass),
        cmocka_unit_test(test_paths_are_normalised),
        cmocka_unit_test(test_routes_are_found_by_path_and_method),
        cmocka_unit_test(test_headers_refuse_what_would_break_the_head),
        cmocka_unit_test(test_headers_know_what_they_hold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
