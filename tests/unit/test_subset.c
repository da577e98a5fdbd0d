/*
 * A subset's query as it goes to Postgres, and what is refused before it does, with the shape API's
 * texts.
 */
#include "shape_kit.h"

#include "shapes/subset.h"

/* The kit's table, its column `name` an enum where asked. */
static struct shape *make_shape(const char *where, bool with_enum)
{
    struct table *table = kit_table(true);

    if (with_enum) {
        table->cols[KIT_NAME].typname = SLICE("mood");
        table->cols[KIT_NAME].class = TYPE_ENUM;
        table->cols[KIT_NAME].typid = table->cols[KIT_NAME].basetypid = 90001;
    }
    struct shape *shape = kit_shape(table, where, NULL);
    table_unref(table);
    return shape;
}

/* The query from WHERE or ORDER BY on, or "field: text". */
static const char *compiled(const struct shape *shape, const struct subset_request *request,
                            const char *queryable)
{
    static char text[2000];
    struct slice columns = queryable ? slice_of(queryable) : (struct slice){NULL, 0};
    struct arena arena = {0};
    struct subset *subset;
    const char *field;
    struct err err;
    struct buf sql;

    if (!subset_compile(request, shape, shape->table, columns, &arena, &subset, &field, &err)) {
        snprintf(text, sizeof(text), "%s: %s", field, err.msg);
    } else {
        const char head[] = "SELECT \"id\", \"tenant\", \"name\", \"total\" "
                            "FROM ONLY \"public\".\"orders\"";

        buf_init(&sql, BUF_NO_LIMIT);
        subset_put_select(subset, &sql);
        const char *all = buf_cstr(&sql);
        assert_memory_equal(all, head, sizeof(head) - 1);
        snprintf(text, sizeof(text), "%s", all + sizeof(head) - 1);
        buf_release(&sql);
    }
    arena_release(&arena);
    return text;
}

struct subset_case {
    const char *text, *expected;
};

static void check_where(const char *shape_where, bool with_enum, const struct subset_case *cases,
                        size_t n)
{
    static const struct slice values[] = {{"7", 1}, {"x' OR true --", 13}};
    struct shape *shape = make_shape(shape_where, with_enum);

    for (size_t i = 0; i < n; i++) {
        struct subset_request request = {.where = slice_of(cases[i].text), .params = {values, 2}};

        assert_string_equal(compiled(shape, &request, NULL), cases[i].expected);
    }
    shape_unref(shape);
}

static void check_order(const struct subset_case *cases, size_t n)
{
    struct shape *shape = make_shape(NULL, false);

    for (size_t i = 0; i < n; i++) {
        struct subset_request request = {.order_by = slice_of(cases[i].text)};

        assert_string_equal(compiled(shape, &request, NULL), cases[i].expected);
    }
    shape_unref(shape);
}

#define CHECK_WHERE(where, with_enum, cases)                                                       \
    check_where(where, with_enum, cases, sizeof(cases) / sizeof((cases)[0]))
#define CHECK_ORDER(cases) check_order(cases, sizeof(cases) / sizeof((cases)[0]))

static void test_both_clauses_stand_in_parentheses_of_their_own(void **state)
{
    static const struct subset_case cases[] = {
        {"", " WHERE ((\"tenant\" = '1'::int4) OR (\"tenant\" = '2'::int4))"},
        {"id = 1 OR id = $1", " WHERE ((\"tenant\" = '1'::int4) OR (\"tenant\" = '2'::int4)) AND "
                              "((\"id\" = '1'::int4) OR (\"id\" = '7'::int8))"},
    };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct shape *shape = make_shape("tenant = 1 OR tenant = 2", false);
        struct subset_request request = {.where = slice_of(cases[i].text),
                                         .params = {(const struct slice[]){{"7", 1}}, 1}};
        const char *sql = compiled(shape, &request, NULL);

        /* The clause writes its own parentheses too: ours are around those. */
        assert_non_null(strstr(sql, " WHERE ("));
        assert_null(strstr(sql, " OR \"id\""));
        if (i == 1)
            assert_non_null(strstr(sql, ")) AND (("));
        shape_unref(shape);
    }
    CHECK_WHERE(NULL, false,
                ((struct subset_case[]){{"true) OR (true",
                                         "subset.where: At location 19: syntax error at or near "
                                         "\")\""}}));
}

/* Postgres may take the terms of an AND in any order, and an error tells of the row. */
static void test_a_clause_that_can_raise_is_kept_from_rows_outside_of_the_shape(void **state)
{
    static const struct subset_case guarded[] = {
        {"1 / id = 1", " WHERE ((\"tenant\" = '1'::int4)) AND CASE WHEN ((\"tenant\" = '1'::int4))"
                       " THEN ((('1'::int4 / \"id\") = '1'::int4)) ELSE false END"},
        {"name LIKE 'a\\'", " WHERE ((\"tenant\" = '1'::int4)) AND CASE WHEN "
                            "((\"tenant\" = '1'::int4)) THEN ((\"name\" ~~ 'a\\'::text))"
                            " ELSE false END"},
    };
    static const struct subset_case plain[] = {
        {"NOT (name > 'm' OR id IN (1, 2)) AND total IS NULL",
         " WHERE ((\"tenant\" = '1'::int4)) AND (((NOT ((\"name\" > 'm'::text) OR (\"id\" = ANY "
         "('{1,2}'::int8[])))) AND (\"total\" IS NULL)))"},
    };

    (void)state;
    CHECK_WHERE("tenant = 1", false, guarded);
    CHECK_WHERE("tenant = 1", false, plain);
}

static void test_clause_of_a_subset_is_never_passed_on_as_text(void **state)
{
    static const struct subset_case cases[] = {
        {"name = $2", " WHERE ((\"name\" = 'x'' OR true --'::text))"},
        {"name = 'a''b' /* x */ -- y", " WHERE ((\"name\" = 'a''b'::text))"},
        {"id = 1; DROP TABLE orders", "subset.where: unescaped \";\" causing statement split"},
        {"id = 1 LIMIT 1", "subset.where: malformed query ending with SQL clauses"},
        {"id IN (SELECT 1)", "subset.where: Subqueries are not allowed in subsets"},
        {"EXISTS (SELECT 1)", "subset.where: Subqueries are not allowed in subsets"},
        {"id = (SELECT 1)", "subset.where: Subqueries are not allowed in subsets"},
        {"pg_sleep(1) IS NULL",
         "subset.where: At location 0: unknown or unsupported function pg_sleep/1"},
        {"nope = 1", "subset.where: At location 0: unknown reference nope"},
        {"id = $3", "subset.where: At location 5: parameter $3 was not provided"},
        {"id = $2", "subset.where: At location 5: invalid syntax for type int8: x' OR true --"},
        {"id", "subset.where: WHERE clause must return a boolean"},
    };

    (void)state;
    CHECK_WHERE(NULL, false, cases);
}

static void test_text_may_be_compared_in_the_databases_order(void **state)
{
    static const struct subset_case cases[] = {
        {"name > 'm'", " WHERE ((\"name\" > 'm'::text))"},
        {"name > lower('M')", " WHERE ((\"name\" > lower('M'::text)))"},
        /* By the default collation, which is not known here: it must not be folded. */
        {"'a' < 'B'", " WHERE (('a'::text < 'B'::text))"},
        {"1 < 2", " WHERE (true)"},
    };

    (void)state;
    CHECK_WHERE(NULL, false, cases);
}

static void test_enums_are_compared_with_literals_that_postgres_checks(void **state)
{
    static const struct subset_case cases[] = {
        {"name = 'ok'", " WHERE ((\"name\" = 'ok'))"},
        {"'ok' <= name", " WHERE (('ok' <= \"name\"))"},
        {"name = $2", " WHERE ((\"name\" = 'x'' OR true --'))"},
        {"name IN ('ok', 'sad')", " WHERE (((\"name\" = 'ok') OR (\"name\" = 'sad')))"},
        {"name = NULL", " WHERE (NULL::bool)"},
        {"name IS DISTINCT FROM 'ok'", " WHERE ((\"name\" IS DISTINCT FROM 'ok'))"},
        {"name = ANY('{ok,sad}')", " WHERE (((\"name\")::text = ANY ('{ok,sad}'::text[])))"},
        {"name = name", " WHERE ((\"name\" = \"name\"))"},
        {"name = 1", "subset.where: At location 5: Could not select an operator overload"},
        {"name = $1 AND id = $1",
         "subset.where: At location 19: type conflict for $1: other and int8"},
    };

    (void)state;
    CHECK_WHERE(NULL, true, cases);
}

static void test_shape_itself_may_not_compare_an_enum(void **state)
{
    struct shape *shape = make_shape(NULL, true);
    const struct shape_request request = {.where = SLICE("name = 'ok'")};
    const char *field;
    struct err err;

    (void)state;
    assert_null(shape_new(&request, shape->table, &field, &err));
    assert_string_equal(err.msg, "At location 5: Could not select an operator overload");
    shape_unref(shape);
}

static void test_order_is_written_anew(void **state)
{
    static const struct subset_case cases[] = {
        {"id", " ORDER BY \"id\""},
        {"total DESC NULLS LAST, ID asc nulls first",
         " ORDER BY \"total\" DESC NULLS LAST, \"id\" NULLS FIRST"},
        {"\"id\" -- the key", " ORDER BY \"id\""},
        /* A number would mean a column's place. */
        {"1, id, 'x' DESC", " ORDER BY \"id\""},
        {"1", ""},
    };

    (void)state;
    CHECK_ORDER(cases);
}

static void test_order_is_refused_with_the_contracts_texts(void **state)
{
    static const struct subset_case cases[] = {
        {"lower(name)", "subset.order_by: At location 18: FuncCall expressions are not allowed in "
                        "ORDER BY clauses"},
        {"id::text", "subset.order_by: At location 20: TypeCast expressions are not allowed in "
                     "ORDER BY clauses"},
        {"(SELECT 1)", "subset.order_by: At location 18: SubLink expressions are not allowed in "
                       "ORDER BY clauses"},
        {"CASE WHEN true THEN id END", "subset.order_by: At location 18: CaseExpr expressions are "
                                       "not allowed in ORDER BY clauses"},
        {"id + 1",
         "subset.order_by: At location 21: A_Expr expressions are not allowed in ORDER BY clauses"},
        {"name COLLATE \"C\"", "subset.order_by: At location 23: CollateClause expressions are not "
                               "allowed in ORDER BY clauses"},
        {"$1",
         "subset.order_by: At location 18: parameter $1 is not supported in ORDER BY clauses"},
        {"id; DROP TABLE orders", "subset.order_by: Unexpected `;` in order by"},
        {"id;", "subset.order_by: Unexpected `;` in order by"},
        {"x", "subset.order_by: At location 18: unknown reference x"},
        {"orders.id", "subset.order_by: At location 18: unknown reference orders.id"},
        {"orders.*", "subset.order_by: At location 18: unknown reference orders.*"},
        {"id LIMIT 1", "subset.order_by: malformed query ending with SQL clauses"},
        {"id FOR UPDATE", "subset.order_by: malformed query ending with SQL clauses"},
        {"id USING <", "subset.order_by: At location 27: USING is not allowed in ORDER BY clauses"},
        {"id,", "subset.order_by: At location 21: syntax error at end of input"},
    };

    (void)state;
    CHECK_ORDER(cases);
}

static void test_limit_and_offset_are_integers(void **state)
{
    struct shape *shape = make_shape(NULL, false);
    struct subset_request request = {.order_by = SLICE("id"), .limit = 10, .offset = 20};

    (void)state;
    assert_string_equal(compiled(shape, &request, NULL), " ORDER BY \"id\" LIMIT 10 OFFSET 20");
    shape_unref(shape);
}

static void test_only_queryable_columns_may_be_named(void **state)
{
    struct shape *shape = make_shape("total > 1", false);
    struct subset_request by_clause = {.where = SLICE("id = 1 AND total = 2")};
    struct subset_request by_order = {.order_by = SLICE("id, total")};
    struct subset_request fine = {.order_by = SLICE("id, name")};

    (void)state;
    assert_string_equal(compiled(shape, &by_clause, "id,name"),
                        "subset.where: At location 11: unknown reference total");
    assert_string_equal(compiled(shape, &by_order, "id,name"),
                        "subset.order_by: At location 22: unknown reference total");
    assert_string_equal(compiled(shape, &fine, "id,\"name\""),
                        " WHERE ((\"total\" > '1'::numeric)) ORDER BY \"id\", \"name\"");
    shape_unref(shape);
}

static void test_long_texts_are_refused(void **state)
{
    struct shape *shape = make_shape(NULL, false);
    char *text = calloc(1, WHERE_MAX_SIZE + 2);
    struct subset_request request = {0};

    (void)state;
    memset(text, ' ', WHERE_MAX_SIZE + 1);
    request.where = slice_of(text);
    assert_string_equal(compiled(shape, &request, NULL),
                        "subset.where: the where clause is bigger than maximum size (65536 bytes)");
    request = (struct subset_request){.order_by = slice_of(text)};
    assert_string_equal(compiled(shape, &request, NULL),
                        "subset.order_by: the order is bigger than maximum size (65536 bytes)");
    free(text);
    shape_unref(shape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_clauses_stand_in_parentheses_of_their_own),
        cmocka_unit_test(test_a_clause_that_can_raise_is_kept_from_rows_outside_of_the_shape),
        cmocka_unit_test(test_clause_of_a_subset_is_never_passed_on_as_text),
        cmocka_unit_test(test_text_may_be_compared_in_the_databases_order),
        cmocka_unit_test(test_enums_are_compared_with_literals_that_postgres_checks),
        cmocka_unit_test(test_shape_itself_may_not_compare_an_enum),
        cmocka_unit_test(test_order_is_written_anew),
        cmocka_unit_test(test_order_is_refused_with_the_contracts_texts),
        cmocka_unit_test(test_limit_and_offset_are_integers),
        cmocka_unit_test(test_only_queryable_columns_may_be_named),
        cmocka_unit_test(test_long_texts_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
