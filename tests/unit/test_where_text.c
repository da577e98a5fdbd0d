/* Clauses of a configuration: held against a table before there are parameters, parsed once. */
#include "where_kit.h"

static void test_clause_is_checked_before_its_parameters_are_known(void **state)
{
    static const struct {
        const char *clause, *said; /* NULL: it fits */
    } cases[] = {
        {"i4 = $1", NULL},
        {"id = $1 AND s <> $2", NULL},
        {"s = ANY ($1)", NULL},
        {"i4 IN ($1, $2)", NULL},
        {"s LIKE $1", NULL},
        {"$1 = 'admin'", NULL},
        {"day > $1 AND i8 + $2 > 5", NULL},
        {"nope = $1", "At location 0: unknown reference nope"},
        {"i4 + $1", "WHERE clause must return a boolean"},
        {"i4 = $3", "At location 5: parameter $3 was not provided"},
        {"i4 = $1 AND s = $1", "At location 16: type conflict for $1: int4 and text"},
        {"row = $1", "At location"},
    };
    struct table *table = kit_table();

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err = {0};
        bool fits = where_check(slice_of(cases[i].clause), 2, table, &err);

        if (fits != !cases[i].said)
            fail_msg("%s: %s", cases[i].clause, err.msg);
        if (!fits && strncmp(err.msg, cases[i].said, strlen(cases[i].said)) != 0)
            fail_msg("%s: \"%s\" is not \"%s\"", cases[i].clause, err.msg, cases[i].said);
    }
    table_unref(table);
}

/* "true", "false" or why not. */
static const char *eval_with(const struct where_text *text, const char *value)
{
    static char said[600];
    struct slice values[] = {slice_of(value)};
    const struct where_params params = {values, 1};
    struct table *table = kit_table();
    struct value row_values[KIT_NCOLUMNS];
    struct tuple row = kit_row(row_values);
    struct arena arena = {0};
    struct where *where;
    struct err err;
    enum tri tri;

    if (!where_compile_text(text, &params, table, &arena, &where, &err))
        snprintf(said, sizeof(said), "%s", err.msg);
    else if (!where_eval(where, &row, &arena, &tri, &err))
        snprintf(said, sizeof(said), "%s", err.msg);
    else
        snprintf(said, sizeof(said), "%s", tri == TRI_TRUE ? "true" : "false");
    arena_release(&arena);
    table_unref(table);
    return said;
}

static void test_parsed_clause_is_compiled_with_one_value_after_another(void **state)
{
    struct err err;
    struct where_text *text = where_text_new(SLICE("i4 = $1 AND s = 'abc'"), &err);

    (void)state;
    assert_non_null(text);
    for (int round = 0; round < 2; round++) {
        assert_string_equal(eval_with(text, "42"), "true");
        assert_string_equal(eval_with(text, "43"), "false");
        assert_string_equal(eval_with(text, "forty-two"),
                            "At location 5: invalid syntax for type int4: forty-two");
    }
    where_text_free(text);
    where_text_free(NULL);
}

static void test_clause_that_is_none_is_not_parsed(void **state)
{
    struct err err;

    (void)state;
    assert_null(where_text_new(SLICE("i4 = = $1"), &err));
    assert_int_equal(err.code, ERR_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clause_is_checked_before_its_parameters_are_known),
        cmocka_unit_test(test_parsed_clause_is_compiled_with_one_value_after_another),
        cmocka_unit_test(test_clause_that_is_none_is_not_parsed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
