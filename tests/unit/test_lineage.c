/* Of which logs it is said that one goes on where the other was. */
#include "shape_kit.h"
#include "shapes/lineage.h"

static struct table *standing(void)
{
    struct table *table = kit_table(true);

    table->storage = SLICE("42:9000:d:;");
    table->published = SLICE("tombolo:700;r55:701;");
    return table;
}

/* The text of a shape `id, name` where `where`, with `table` as it is now. */
static void put(struct table *table, const char *where, const char *history, const char *handle,
                lsn_t limit, char out[LINEAGE_SIZE])
{
    struct table *then = standing();
    struct shape *shape = kit_shape(then, where, "id,name");
    const struct lineage lineage = {slice_of(history), shape, table, slice_of(handle), limit};

    assert_non_null(shape);
    lineage_put(&lineage, out);
    shape_unref(shape);
    table_unref(then);
}

static void test_it_is_the_same_on_every_node(void **state)
{
    char a[LINEAGE_SIZE], b[LINEAGE_SIZE];
    struct table *table = standing(), *other = standing();

    (void)state;
    put(table, "tenant = 1", "7-abc", "h1", 500, a);
    put(other, "tenant = 1", "7-abc", "h1", 500, b);
    assert_string_equal(a, b);
    table_unref(table);
    table_unref(other);
}

static void unpublish(struct table *t)
{
    t->published = SLICE("tombolo:700;r56:702;");
}

static void rewrite(struct table *t)
{
    t->storage = SLICE("42:9001:d:;");
}

static void link_anew(struct table *t)
{
    t->storage = SLICE("42:9000:d:710/;");
}

static void alter_name(struct table *t)
{
    t->cols[KIT_NAME].stamp++;
}

static void alter_clause(struct table *t)
{
    t->cols[KIT_TENANT].stamp++;
}

static void alter_total(struct table *t)
{
    t->cols[KIT_TOTAL].stamp++;
}

static void set_identity(struct table *t)
{
    t->storage = SLICE("42:9000:f:;");
    t->replident = REPLIDENT_FULL;
}

static void test_what_happened_to_the_table_makes_another_one(void **state)
{
    static const struct {
        void (*happen)(struct table *);
        bool another;
    } cases[] = {{unpublish, true},    {rewrite, true},      {link_anew, true},
                 {alter_name, true},   {alter_clause, true}, {alter_total, false},
                 {set_identity, false}};
    char was[LINEAGE_SIZE], is[LINEAGE_SIZE];
    struct table *before = standing();

    (void)state;
    put(before, "tenant = 1", "7-abc", "h1", 500, was);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct table *now = standing();

        cases[i].happen(now);
        put(now, "tenant = 1", "7-abc", "h1", 500, is);
        assert_int_equal(strcmp(was, is) != 0, cases[i].another);
        table_unref(now);
    }
    table_unref(before);
}

static void test_history_definition_handle_and_limit_belong_to_it(void **state)
{
    char was[LINEAGE_SIZE], is[LINEAGE_SIZE];
    struct table *table = standing();

    (void)state;
    put(table, "tenant = 1", "7-abc", "h1", 500, was);
    put(table, "tenant = 1", "7-abd", "h1", 500, is);
    assert_string_not_equal(was, is);
    put(table, "tenant = 2", "7-abc", "h1", 500, is);
    assert_string_not_equal(was, is);
    put(table, "tenant = 1", "7-abc", "h2", 500, is);
    assert_string_not_equal(was, is);
    put(table, "tenant = 1", "7-abc", "h1", 501, is);
    assert_string_not_equal(was, is);
    assert_memory_not_equal(was, is, 32);
    table_unref(table);
}

static void test_the_limit_is_read_back_and_nonsense_is_refused(void **state)
{
    static const char *const nonsense[] = {
        "",
        "1",
        "0123456789abcdef0123456789abcdef",
        "0123456789abcdef0123456789abcdef-",
        "0123456789abcdef0123456789abcdef--1",
        "0123456789abcdef0123456789abcdef-1x",
        "0123456789abcdef0123456789abcdef-11111111111111111111111111"};
    char text[LINEAGE_SIZE];
    struct table *table = standing();
    lsn_t limit;

    (void)state;
    put(table, "tenant = 1", "7-abc", "h1", UINT64_MAX, text);
    assert_true(lineage_limit(slice_of(text), &limit));
    assert_true(limit == UINT64_MAX);
    for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++)
        assert_false(lineage_limit(slice_of(nonsense[i]), &limit));
    table_unref(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_the_same_on_every_node),
        cmocka_unit_test(test_what_happened_to_the_table_makes_another_one),
        cmocka_unit_test(test_history_definition_handle_and_limit_belong_to_it),
        cmocka_unit_test(test_the_limit_is_read_back_and_nonsense_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
