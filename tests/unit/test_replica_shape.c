#include "replica/replica.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void test_a_shape_is_table_columns_and_condition(void **state)
{
    struct replica_shape s;
    struct err err;

    (void)state;
    assert_true(replica_shape_parse("orders(id, total) where owner = 7", &s, &err));
    assert_string_equal(s.schema, "public");
    assert_string_equal(s.table, "orders");
    assert_int_equal(s.ncolumns, 2);
    assert_string_equal(s.columns[1], "total");
    assert_string_equal(s.where, "owner = 7");
    replica_shape_release(&s);

    assert_true(replica_shape_parse("  Orders ", &s, &err));
    assert_string_equal(s.table, "orders");
    assert_null(s.columns);
    assert_null(s.where);
    replica_shape_release(&s);
}

static void test_a_shape_by_name_is_the_bridges_and_nothing_else(void **state)
{
    struct replica_shape s;
    struct err err;

    (void)state;
    assert_true(replica_shape_parse(" @My-orders ", &s, &err));
    assert_string_equal(s.name, "My-orders");
    assert_string_equal(s.table, "My-orders");
    assert_null(s.where);
    replica_shape_release(&s);
}

static void test_quoted_names_keep_case_and_double_quotes(void **state)
{
    struct replica_shape s;
    struct err err;

    (void)state;
    assert_true(
        replica_shape_parse("\"Sales\" . \"O\"\"r.der\" ( \"Id\",x$1 )WHERE(a) = 'B '", &s, &err));
    assert_string_equal(s.schema, "Sales");
    assert_string_equal(s.table, "O\"r.der");
    assert_string_equal(s.columns[0], "Id");
    assert_string_equal(s.columns[1], "x$1");
    assert_string_equal(s.where, "(a) = 'B '");
    replica_shape_release(&s);
}

static void test_bad_syntax_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text, *place;
    } cases[] = {
        {"", "at character 1: expected a table's name"},
        {"@", "at character 2: expected a shape's name"},
        {"@a where b", "at character 4: a shape by name takes neither"},
        {"7up", "at character 1: expected a table's name"},
        {"a.", "at character 3: expected a table's name behind"},
        {"a()", "at character 3: expected a column's name"},
        {"a(b", "at character 4: expected \",\" or \")\""},
        {"a(b,)", "at character 5: expected a column's name"},
        {"a(b, b)", "at character 6: the column is there twice"},
        {"a(b) whereas", "at character 6: expected \"where\" or the end"},
        {"a b", "at character 3: expected a column list, \"where\" or the end"},
        {"a where  ", "at character 10: expected a condition"},
        {"\"a", "at character 1: the quoted name does not end"},
        {"\"\"", "at character 1: the name is empty"},
        {"a.b.c", "at character 4: expected"},
        {"x123456789012345678901234567890123456789012345678901234567890123",
         "at character 1: the name is longer than 63 bytes"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct replica_shape s;
        struct err err;

        assert_false(replica_shape_parse(cases[i].text, &s, &err));
        assert_int_equal(err.code, ERR_INPUT);
        if (!strstr(err.msg, cases[i].place))
            fail_msg("%s: %s", cases[i].text, err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_shape_is_table_columns_and_condition),
        cmocka_unit_test(test_a_shape_by_name_is_the_bridges_and_nothing_else),
        cmocka_unit_test(test_quoted_names_keep_case_and_double_quotes),
        cmocka_unit_test(test_bad_syntax_is_refused_with_its_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
