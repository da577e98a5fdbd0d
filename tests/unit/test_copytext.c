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

static void test_ddl_messages_are_told_from_others(void **state)
{
    uint32_t relid = 0;

    (void)state;
    assert_int_equal(ddl_event_read(SLICE("tombolo"), SLICE("rewrite 16384"), &relid), DDL_REWRITE);
    assert_int_equal(relid, 16384);
    assert_int_equal(ddl_event_read(SLICE("tombolo"), SLICE("ddl"), &relid), DDL_OTHER);
    assert_int_equal(ddl_event_read(SLICE("tombolo"), SLICE(""), &relid), DDL_NONE);
    assert_int_equal(ddl_event_read(SLICE("tombolo"), SLICE("rewrite "), &relid), DDL_NONE);
    assert_int_equal(
        ddl_event_read(SLICE("tombolo"), SLICE("rewrite 99999999999999999999"), &relid), DDL_NONE);
    assert_int_equal(ddl_event_read(SLICE("other"), SLICE("ddl"), &relid), DDL_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_go_to_their_places_unescaped),
        cmocka_unit_test(test_a_text_that_looks_like_null_is_not_null),
        cmocka_unit_test(test_too_few_and_too_many_fields_are_errors),
        cmocka_unit_test(test_ddl_messages_are_told_from_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
