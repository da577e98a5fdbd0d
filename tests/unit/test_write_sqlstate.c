#include "write/sqlstate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static struct err error_of(const char *sqlstate)
{
    struct err err = {.code = ERR_PG};

    snprintf(err.sqlstate, sizeof(err.sqlstate), "%s", sqlstate);
    return err;
}

static void test_each_state_has_its_class(void **state)
{
    static const struct {
        const char *sqlstate;
        enum write_class class;
    } cases[] = {
        {"22P02", WRITE_PERMANENT}, {"23505", WRITE_PERMANENT}, {"23503", WRITE_PERMANENT},
        {"42501", WRITE_PERMANENT}, {"42P01", WRITE_PERMANENT}, {"44000", WRITE_PERMANENT},
        {"P0001", WRITE_PERMANENT}, {"0A000", WRITE_PERMANENT}, {"428C9", WRITE_PERMANENT},
        {"54000", WRITE_PERMANENT}, {"55000", WRITE_PERMANENT}, {"40002", WRITE_PERMANENT},
        {"40001", WRITE_RETRY},     {"40P01", WRITE_RETRY},     {"55P03", WRITE_LATER},
        {"57014", WRITE_LATER},     {"08006", WRITE_RECONNECT}, {"57P01", WRITE_RECONNECT},
        {"57P03", WRITE_RECONNECT}, {"53300", WRITE_RECONNECT}, {"40003", WRITE_RECONNECT},
        {"53100", WRITE_STOP},      {"25006", WRITE_STOP},      {"28000", WRITE_STOP},
        {"3D000", WRITE_STOP},      {"57P04", WRITE_STOP},      {"XX001", WRITE_STOP},
        {"58030", WRITE_STOP},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct err err = error_of(cases[i].sqlstate);

        if (write_class_of(&err) != cases[i].class)
            fail_msg("%s", cases[i].sqlstate);
    }
}

static void test_a_lost_connection_is_connected_again_whatever_was_said(void **state)
{
    struct err err = error_of("23505");

    (void)state;
    err.code = ERR_CONN;
    assert_int_equal(write_class_of(&err), WRITE_RECONNECT);
}

static void test_missing_tables_and_columns_are_schema_changes(void **state)
{
    struct err gone = error_of("42P01"), column = error_of("42703"), clash = error_of("23505");

    (void)state;
    assert_true(write_is_schema_change(&gone));
    assert_true(write_is_schema_change(&column));
    assert_false(write_is_schema_change(&clash));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_state_has_its_class),
        cmocka_unit_test(test_a_lost_connection_is_connected_again_whatever_was_said),
        cmocka_unit_test(test_missing_tables_and_columns_are_schema_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
