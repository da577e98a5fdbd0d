#include "pg/copytext.h"
#include "pg/ddl_events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static void test_fields_go_to_their_places_unescaped(void **state)
{
    const uint16_t places[] = {4, 0, 2};
    struct arena arena = {0};
    struct value v[5] = {0};
    struct err err;

    (void)state;
    assert_true(copytext_split(SLICE("a\\tb\\\\\\n\t\\N\t"), places, 3, &arena, v, &err));
    assert_true(slice_is(v[4].text, "a\tb\\\n"));
    assert_int_equal(v[0].kind, VALUE_NULL);
    assert_int_equal(v[2].kind, VALUE_TEXT);
    assert_int_equal(v[2].text.len, 0);
    arena_release(&arena);
}

static void test_a_text_that_looks_like_null_is_not_null(void **state)
{
    const uint16_t places[] = {0};
    struct arena arena = {0};
    struct value v[1];
    struct err err;

    (void)state;
    /* Postgres writes the text \N as \\N. */
    assert_true(copytext_split(SLICE("\\\\N"), places, 1, &arena, v, &err));
    assert_int_equal(v[0].kind, VALUE_TEXT);
    assert_true(slice_is(v[0].text, "\\N"));
    arena_release(&arena);
}

static void test_too_few_and_too_many_fields_are_errors(void **state)
{
    const uint16_t places[] = {0, 1};
    struct arena arena = {0};
    struct value v[2];
    struct err err;

    (void)state;
    assert_false(copytext_split(SLICE("a"), places, 2, &arena, v, &err));
    assert_false(copytext_split(SLICE("a\tb\tc"), places, 2, &arena, v, &err));
    arena_release(&arena);
}

static struct ddl_event read_event(const char *content, struct arena *arena)
{
    return ddl_event_read(SLICE("tombolo"), slice_of(content), arena);
}

static void test_ddl_messages_are_told_from_others(void **state)
{
    struct arena arena = {0};
    struct ddl_event event = read_event("rewrite 16384", &arena);

    (void)state;
    assert_int_equal(event.kind, DDL_REWRITE);
    assert_int_equal(event.relid, 16384);
    assert_true(event.all);
    assert_int_equal(read_event("ddl", &arena).kind, DDL_OTHER);
    assert_int_equal(read_event("", &arena).kind, DDL_NONE);
    assert_int_equal(read_event("rewrite ", &arena).kind, DDL_NONE);
    assert_int_equal(read_event("rewrite 99999999999999999999", &arena).kind, DDL_NONE);
    assert_int_equal(read_event("rewrite 9999999999", &arena).kind, DDL_NONE);
    assert_int_equal(ddl_event_read(SLICE("other"), SLICE("ddl"), &arena).kind, DDL_NONE);
    arena_release(&arena);
}

static void test_a_rewrite_of_columns_names_them(void **state)
{
    struct arena arena = {0};
    struct ddl_event event = read_event("rewrite 16384 4 76,612c62", &arena);

    (void)state;
    assert_false(event.all);
    assert_int_equal(event.ncolumns, 2);
    assert_true(slice_is(event.columns[0], "v"));
    assert_true(slice_is(event.columns[1], "a,b"));
    arena_release(&arena);
}

static void test_a_rewrite_that_does_not_say_of_what_is_of_all(void **state)
{
    static const char *const texts[] = {"rewrite 1 1 76",  "rewrite 1 12 76", "rewrite 1 0 76",
                                        "rewrite 1 4",     "rewrite 1 4 ",    "rewrite 1 4 7",
                                        "rewrite 1 4 7x",  "rewrite 1 4 ,",   "rewrite 1 4 76,,76",
                                        "rewrite 1 4 76;", "rewrite 1 x"};
    struct arena arena = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct ddl_event event = read_event(texts[i], &arena);

        assert_int_equal(event.kind, DDL_REWRITE);
        assert_true(event.all);
    }
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_go_to_their_places_unescaped),
        cmocka_unit_test(test_a_text_that_looks_like_null_is_not_null),
        cmocka_unit_test(test_too_few_and_too_many_fields_are_errors),
        cmocka_unit_test(test_ddl_messages_are_told_from_others),
        cmocka_unit_test(test_a_rewrite_of_columns_names_them),
        cmocka_unit_test(test_a_rewrite_that_does_not_say_of_what_is_of_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
