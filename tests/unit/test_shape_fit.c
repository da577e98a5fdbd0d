/*
 * Which changes of a table a shape outlives.
 */
#include "shape_kit.h"

/* A change of the table, and whether these outlive it: all columns; id and name; id where tenant
 * = 1. */
struct change_case {
    void (*alter)(struct table *now);
    bool all, named, filtered;
};

static struct shape *make(struct table *table, const char *where, const char *columns)
{
    struct shape *shape = kit_shape(table, where, columns);

    assert_non_null(shape);
    return shape;
}

static void add_column(struct table *now)
{
    struct table_column *cols = arena_calloc(&now->arena, KIT_NCOLUMNS + 1, sizeof(*cols));

    memcpy(cols, now->cols, KIT_NCOLUMNS * sizeof(*cols));
    cols[KIT_NCOLUMNS] = cols[KIT_TOTAL];
    cols[KIT_NCOLUMNS].attnum = 5;
    cols[KIT_NCOLUMNS].name = SLICE("extra");
    now->cols = cols;
    now->ncols = KIT_NCOLUMNS + 1;
}

static void drop_total(struct table *now)
{
    now->ncols = KIT_TOTAL;
}

static void rename_tenant(struct table *now)
{
    now->cols[KIT_TENANT].name = SLICE("owner");
}

static void retype_name(struct table *now)
{
    now->cols[KIT_NAME].typid = 1043;
}

static void drop_and_add_name(struct table *now)
{
    now->cols[KIT_NAME].attnum = 9;
}

static void allow_null(struct table *now)
{
    now->cols[KIT_ID].not_null = false;
    now->cols[KIT_TENANT].not_null = true;
}

static void rename_table(struct table *now)
{
    now->relname = SLICE("other");
}

static void move_key(struct table *now)
{
    now->cols[KIT_ID].pk_index = -1;
    now->cols[KIT_TENANT].pk_index = 0;
    now->pk[0] = KIT_TENANT;
}

static void drop_key(struct table *now)
{
    now->cols[KIT_ID].pk_index = -1;
    now->npk = 0;
}

static void test_a_shape_outlives_what_happens_to_columns_it_does_not_use(void **state)
{
    static const struct change_case cases[] = {
        {add_column, false, true, true},         {drop_total, false, true, true},
        {rename_tenant, false, true, false},     {retype_name, false, false, true},
        {drop_and_add_name, false, false, true}, {allow_null, true, true, true},
        {rename_table, false, false, false},     {move_key, false, false, false},
        {drop_key, false, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct table *then = kit_table(true), *now = kit_table(true);
        struct shape *all = make(then, NULL, NULL), *named = make(then, NULL, "id,name"),
                     *filtered = make(then, "tenant = 1", "id");

        cases[i].alter(now);
        assert_int_equal(!shape_misfit(all, now), cases[i].all);
        assert_int_equal(!shape_misfit(named, now), cases[i].named);
        assert_int_equal(!shape_misfit(filtered, now), cases[i].filtered);
        shape_unref(all);
        shape_unref(named);
        shape_unref(filtered);
        table_unref(then);
        table_unref(now);
    }
}

static void test_without_a_key_every_column_is_used(void **state)
{
    struct table *then = kit_table(false), *now = kit_table(false);
    struct shape *shape = make(then, NULL, "id,tenant,name,total");

    (void)state;
    assert_true(shape_uses(shape, KIT_TOTAL));
    add_column(now);
    assert_non_null(shape_misfit(shape, now));
    shape_unref(shape);
    table_unref(then);
    table_unref(now);
}

static void test_a_column_is_altered_when_its_stamp_is_another(void **state)
{
    struct table *then = kit_table(true), *now = kit_table(true);
    struct shape *named = make(then, NULL, "id,name"), *all = make(then, NULL, NULL);

    (void)state;
    assert_false(shape_column_altered(all, then, now));
    now->cols[KIT_TOTAL].stamp = 731;
    assert_false(shape_column_altered(named, then, now));
    assert_true(shape_column_altered(all, then, now));
    now->cols[KIT_NAME].stamp = 731;
    assert_true(shape_column_altered(named, then, now));
    shape_unref(named);
    shape_unref(all);
    table_unref(then);
    table_unref(now);
}

static void test_the_schema_says_what_may_be_null_now(void **state)
{
    struct table *then = kit_table(true), *now = kit_table(true);
    struct shape *shape = make(then, NULL, "id,name");
    struct buf out;

    (void)state;
    add_column(now);
    now->cols[KIT_NAME].not_null = true;
    buf_init(&out, BUF_NO_LIMIT);
    shape_put_schema_of(shape, now, false, &out);
    assert_string_equal(buf_cstr(&out),
                        "{\"id\":{\"type\":\"int8\",\"pk_index\":0,\"not_null\":true},"
                        "\"name\":{\"type\":\"text\",\"not_null\":true}}");
    buf_release(&out);
    shape_unref(shape);
    table_unref(then);
    table_unref(now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_shape_outlives_what_happens_to_columns_it_does_not_use),
        cmocka_unit_test(test_without_a_key_every_column_is_used),
        cmocka_unit_test(test_a_column_is_altered_when_its_stamp_is_another),
        cmocka_unit_test(test_the_schema_says_what_may_be_null_now),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
