/* What a mutation becomes: the statements' texts and parameters. */
#include "write/conflict.h"

#include "shape_kit.h"

/* The kit's table: id int8 key, tenant int4, name text, total numeric. */
struct kit {
    struct arena arena;
    struct write_column columns[KIT_NCOLUMNS];
    struct write_table rule;
    struct slice set[KIT_NCOLUMNS];
    struct write_grant grant;
    struct plan plan;
    struct write_refusal why;
};

static void kit_init(struct kit *kit)
{
    *kit = (struct kit){.rule = {.table = kit_table(true), .ops = {true, true, true}}};
    for (int i = 0; i < KIT_NCOLUMNS; i++)
        kit->columns[i] =
            (struct write_column){.writable = true, .equals = "OPERATOR(pg_catalog.=)"};
    kit->rule.columns = kit->columns;
    kit->grant = (struct write_grant){.rule = &kit->rule, .set = kit->set};
}

static void kit_release(struct kit *kit)
{
    plan_release(&kit->plan);
    table_unref(kit->rule.table);
    arena_release(&kit->arena);
}

static struct write_pairs pairs(struct kit *kit, const char *const *texts)
{
    struct write_pairs out = {arena_calloc(&kit->arena, 8, sizeof(*out.list)), 0};

    for (; texts && *texts; texts += 2)
        out.list[out.n++] = (struct write_pair){
            slice_of(texts[0]), texts[1] ? slice_of(texts[1]) : (struct slice){NULL, 0}};
    return out;
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL, NULL})

static bool make(struct kit *kit, enum write_op op, const char *const *values,
                 const char *const *base)
{
    struct write_mutation *mutation = arena_calloc(&kit->arena, 1, sizeof(*mutation));

    *mutation = (struct write_mutation){.relname = SLICE("orders"),
                                        .op = op,
                                        .key = pairs(kit, LIST("id", "7")),
                                        .values = pairs(kit, values),
                                        .base = pairs(kit, base)};
    plan_release(&kit->plan);
    return plan_make(&kit->grant, mutation, &kit->arena, &kit->plan, &kit->why);
}

/* Compiles a check for the kit's table. */
static void check(struct kit *kit, const char *clause)
{
    struct where *where;
    struct err err;

    if (!where_compile(slice_of(clause), &(struct where_params){NULL, 0}, kit->rule.table,
                       &kit->arena, &where, &err))
        fail_msg("%s", err.msg);
    kit->grant.check = where;
}

#define assert_sql(statement, text) assert_string_equal(buf_cstr(&(statement).sql), text)
#define TABLE "\"public\".\"orders\" AS tombolo_row"
#define ROWS "ONLY " TABLE

static void test_an_insert_has_the_key_the_values_and_what_is_set(void **state)
{
    struct kit kit;

    (void)state;
    kit_init(&kit);
    kit.set[KIT_TENANT] = SLICE("42");
    assert_true(make(&kit, WRITE_INSERT, LIST("name", "'; DROP", "total", NULL), NULL));
    assert_sql(kit.plan.write, "INSERT INTO " TABLE " (\"id\", \"tenant\", \"name\", \"total\")"
                               " VALUES ($1, $2, $3, $4) RETURNING 1");
    assert_sql(kit.plan.look, "");
    assert_int_equal(kit.plan.write.nparams, 4);
    assert_string_equal(kit.plan.write.values[1], "42");
    assert_string_equal(kit.plan.write.values[2], "'; DROP");
    assert_null(kit.plan.write.values[3]);
    assert_int_equal(kit.plan.write.types[0], 20);
    assert_int_equal(kit.plan.write.types[3], 1700);
    kit_release(&kit);
}

static void test_an_update_writes_what_changed_and_nothing_else(void **state)
{
    struct kit kit;

    (void)state;
    kit_init(&kit);
    assert_true(make(&kit, WRITE_UPDATE, LIST("name", "b"), LIST("name", "a")));
    assert_sql(kit.plan.write, "UPDATE " ROWS " SET \"name\" = $1"
                               " WHERE tombolo_row.\"id\" OPERATOR(pg_catalog.=) $2 RETURNING 1");
    assert_sql(kit.plan.look, "");
    kit_release(&kit);
}

static void test_a_counter_adds_to_what_is_there(void **state)
{
    struct kit kit;

    (void)state;
    kit_init(&kit);
    kit.columns[KIT_TENANT].conflict = CONFLICT_COUNTER;
    assert_true(make(&kit, WRITE_UPDATE, LIST("tenant", "5"), LIST("tenant", "3")));
    assert_sql(kit.plan.write,
               "UPDATE " ROWS " SET \"tenant\" = coalesce(tombolo_row.\"tenant\"::"
               "pg_catalog.numeric, 0) OPERATOR(pg_catalog.+) ($1::pg_catalog.numeric"
               " OPERATOR(pg_catalog.-) coalesce($2::pg_catalog.numeric, 0))"
               " WHERE tombolo_row.\"id\" OPERATOR(pg_catalog.=) $3 RETURNING 1");
    kit_release(&kit);
}

static void test_what_may_not_have_changed_is_looked_at_under_a_lock(void **state)
{
    struct kit kit;

    (void)state;
    kit_init(&kit);
    kit.columns[KIT_NAME].conflict = CONFLICT_REJECT;
    assert_true(make(&kit, WRITE_UPDATE, LIST("name", "b"), LIST("name", NULL)));
    assert_sql(kit.plan.look,
               "SELECT 1, (tombolo_row.\"name\" IS NULL) OR coalesce(tombolo_row.\"name\""
               " OPERATOR(pg_catalog.=) $1, false) FROM " ROWS
               " WHERE tombolo_row.\"id\" OPERATOR(pg_catalog.=) $2 FOR UPDATE");
    assert_int_equal(kit.plan.nsame, 1);
    kit_release(&kit);
}

static void test_a_type_without_equality_is_compared_by_its_text(void **state)
{
    struct kit kit;

    (void)state;
    kit_init(&kit);
    kit.columns[KIT_NAME].conflict = CONFLICT_REJECT;
    kit.columns[KIT_NAME].equals = NULL;
    assert_true(make(&kit, WRITE_DELETE, NULL, LIST("name", "a")));
    assert_sql(kit.plan.write,
               "DELETE FROM " ROWS " WHERE tombolo_row.\"id\" OPERATOR(pg_catalog.=) $1"
               " RETURNING 1, coalesce(tombolo_row.\"name\"::pg_catalog.text"
               " OPERATOR(pg_catalog.=) $2::pg_catalog.text, false)");
    kit_release(&kit);
}

static void test_a_check_sees_the_columns_it_uses_of_the_old_row_and_the_new(void **state)
{
    struct kit kit;

    (void)state;
    kit_init(&kit);
    check(&kit, "tenant = 3 AND total > 1");
    assert_true(make(&kit, WRITE_UPDATE, LIST("name", "b"), NULL));
    assert_sql(kit.plan.look, "SELECT tombolo_row.\"tenant\", tombolo_row.\"total\" FROM " ROWS
                              " WHERE tombolo_row.\"id\" OPERATOR(pg_catalog.=) $1 FOR UPDATE");
    assert_sql(kit.plan.write, "UPDATE " ROWS " SET \"name\" = $1 WHERE tombolo_row.\"id\""
                               " OPERATOR(pg_catalog.=) $2 RETURNING tombolo_row.\"tenant\","
                               " tombolo_row.\"total\"");
    assert_true(make(&kit, WRITE_DELETE, NULL, NULL));
    assert_sql(kit.plan.look, "SELECT tombolo_row.\"tenant\", tombolo_row.\"total\" FROM " ROWS
                              " WHERE tombolo_row.\"id\" OPERATOR(pg_catalog.=) $1");
    kit_release(&kit);
}

static void test_kept_columns_leave_nothing_to_write(void **state)
{
    struct kit kit;

    (void)state;
    kit_init(&kit);
    kit.columns[KIT_NAME].conflict = CONFLICT_KEEP;
    assert_true(make(&kit, WRITE_UPDATE, LIST("name", "b"), NULL));
    assert_sql(kit.plan.write, "");
    assert_true(kit.plan.look.sql.len > 0);
    kit_release(&kit);
}

static void refused(struct kit *kit, enum write_op op, const char *const *values,
                    const char *const *base, enum write_code code, const char *text)
{
    assert_false(make(kit, op, values, base));
    assert_int_equal(kit->why.code, code);
    if (!strstr(kit->why.err.msg, text))
        fail_msg("%s", kit->why.err.msg);
}

static void test_refusals_name_the_column(void **state)
{
    struct kit kit;

    (void)state;
    kit_init(&kit);
    kit.columns[KIT_NAME].writable = false;
    kit.columns[KIT_TOTAL] =
        (struct write_column){.generated = true, .equals = "OPERATOR(pg_catalog.=)"};
    kit.set[KIT_TENANT] = SLICE("42");
    refused(&kit, WRITE_UPDATE, LIST("no", "1"), NULL, WRITE_INVALID, "\"no\"");
    refused(&kit, WRITE_UPDATE, LIST("name", "1"), NULL, WRITE_NOT_ALLOWED, "\"name\"");
    refused(&kit, WRITE_INSERT, LIST("name", "1"), NULL, WRITE_NOT_ALLOWED, "\"name\"");
    refused(&kit, WRITE_UPDATE, LIST("total", "1"), NULL, WRITE_NOT_ALLOWED, "is generated");
    refused(&kit, WRITE_UPDATE, LIST("tenant", "43"), NULL, WRITE_NOT_ALLOWED, "is set");
    refused(&kit, WRITE_UPDATE, LIST("id", "8"), LIST("nn", "1"), WRITE_INVALID, "\"nn\"");
    refused(&kit, WRITE_INSERT, LIST("id", "8"), NULL, WRITE_INVALID, "differs");
    assert_true(make(&kit, WRITE_INSERT, LIST("name", NULL, "total", NULL, "tenant", "42"), NULL));
    assert_sql(kit.plan.write,
               "INSERT INTO " TABLE " (\"id\", \"tenant\") VALUES ($1, $2) RETURNING 1");
    kit.rule.ops[WRITE_DELETE] = false;
    refused(&kit, WRITE_DELETE, NULL, NULL, WRITE_NOT_ALLOWED, "deletes");
    kit_release(&kit);
}

static void test_kinds_that_need_a_base_say_so(void **state)
{
    static const enum write_conflict kinds[] = {CONFLICT_REJECT, CONFLICT_COUNTER, CONFLICT_UNION,
                                                CONFLICT_FUNCTION};
    struct kit kit;

    (void)state;
    kit_init(&kit);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        kit.columns[KIT_TENANT].conflict = kinds[i];
        refused(&kit, WRITE_UPDATE, LIST("tenant", "1"), LIST("name", "x"), WRITE_INVALID,
                "must be in \"base\"");
    }
    kit_release(&kit);
}

static void test_a_guess_about_a_column_that_may_not_be_written_is_not_confirmed(void **state)
{
    struct kit kit;

    (void)state;
    kit_init(&kit);
    kit.columns[KIT_NAME] =
        (struct write_column){.conflict = CONFLICT_REJECT, .equals = "OPERATOR(pg_catalog.=)"};
    assert_true(make(&kit, WRITE_DELETE, NULL, LIST("name", "guess")));
    assert_int_equal(kit.plan.nsame, 0);
    kit_release(&kit);
}

static void test_names_are_quoted_wherever_they_stand(void **state)
{
    struct kit kit;

    (void)state;
    kit_init(&kit);
    kit.rule.table->relname = SLICE("a\"b");
    kit.rule.table->cols[KIT_NAME].name = SLICE("c\"'d");
    kit.columns[KIT_NAME].conflict = CONFLICT_FUNCTION;
    kit.columns[KIT_NAME].function = (struct write_function){SLICE("e\"f"), SLICE("g\"h")};
    assert_true(make(&kit, WRITE_UPDATE, LIST("c\"'d", "1"), LIST("c\"'d", "0")));
    const char *sql = buf_cstr(&kit.plan.write.sql);
    assert_non_null(strstr(sql, "UPDATE ONLY \"public\".\"a\"\"b\""));
    assert_non_null(strstr(sql, "jsonb_build_object('c\"''d', f.v)"));
    assert_non_null(strstr(sql, "\"e\"\"f\".\"g\"\"h\"("));
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_insert_has_the_key_the_values_and_what_is_set),
        cmocka_unit_test(test_an_update_writes_what_changed_and_nothing_else),
        cmocka_unit_test(test_a_counter_adds_to_what_is_there),
        cmocka_unit_test(test_what_may_not_have_changed_is_looked_at_under_a_lock),
        cmocka_unit_test(test_a_type_without_equality_is_compared_by_its_text),
        cmocka_unit_test(test_a_check_sees_the_columns_it_uses_of_the_old_row_and_the_new),
        cmocka_unit_test(test_kept_columns_leave_nothing_to_write),
        cmocka_unit_test(test_refusals_name_the_column),
        cmocka_unit_test(test_kinds_that_need_a_base_say_so),
        cmocka_unit_test(test_a_guess_about_a_column_that_may_not_be_written_is_not_confirmed),
        cmocka_unit_test(test_names_are_quoted_wherever_they_stand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
