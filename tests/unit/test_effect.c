#include "shape_kit.h"

#include "shapes/effect.h"

#define ROW(...) ((const char *const[KIT_NCOLUMNS]){__VA_ARGS__})

/* NULL rows are not there; `key` makes of the old row one of its identity alone. */
static enum effect_kind effect(struct table *table, const char *where, const char *columns,
                               const char *const *old, const char *const *new, bool key)
{
    struct shape *shape = kit_shape(table, where, columns);
    struct kit_row old_row, new_row;
    struct change change = {.op = old && !new           ? CHANGE_DELETE
                                  : new && !old && !key ? CHANGE_INSERT
                                                        : CHANGE_UPDATE,
                            .relid = table->relid,
                            .old_is_key = key};
    struct arena scratch = {0};
    enum effect_kind kind;
    struct err err;

    if (old) {
        kit_set(&old_row, old);
        change.old = &old_row.tuple;
    }
    if (new) {
        kit_set(&new_row, new);
        change.new = &new_row.tuple;
    }
    if (!shape_effect(shape, &change, &scratch, &kind, &err))
        fail_msg("%s", err.msg);
    arena_release(&scratch);
    shape_unref(shape);
    return kind;
}

static void test_rows_come_and_go_by_the_clause(void **state)
{
    struct table *t = kit_table(true);
    const char *const *in = ROW("1", "7", "a", "1"), *const *out = ROW("1", "8", "a", "1");
    const char *const *null = ROW("1", NULL, "a", "1"), *const *other = ROW("1", "7", "b", "1");

    (void)state;
    assert_int_equal(effect(t, "tenant = 7", NULL, NULL, in, false), EFFECT_INSERT);
    assert_int_equal(effect(t, "tenant = 7", NULL, NULL, out, false), EFFECT_NONE);
    assert_int_equal(effect(t, "tenant = 7", NULL, NULL, null, false), EFFECT_NONE);
    assert_int_equal(effect(t, "tenant = 7", NULL, in, NULL, false), EFFECT_DELETE);
    assert_int_equal(effect(t, "tenant = 7", NULL, out, NULL, false), EFFECT_NONE);
    assert_int_equal(effect(t, "tenant = 7", NULL, out, in, false), EFFECT_INSERT);
    assert_int_equal(effect(t, "tenant = 7", NULL, in, out, false), EFFECT_DELETE);
    assert_int_equal(effect(t, "tenant = 7", NULL, in, null, false), EFFECT_DELETE);
    assert_int_equal(effect(t, "tenant = 7", NULL, null, in, false), EFFECT_INSERT);
    assert_int_equal(effect(t, "tenant = 7", NULL, in, other, false), EFFECT_UPDATE);
    assert_int_equal(effect(t, "tenant = 7", NULL, out, null, false), EFFECT_NONE);
    table_unref(t);
}

static void test_an_update_that_changes_no_selected_column_is_dropped(void **state)
{
    struct table *t = kit_table(true);
    const char *const *a = ROW("1", "7", "a", "1"), *const *b = ROW("1", "7", "b", "1");

    (void)state;
    assert_int_equal(effect(t, NULL, "id,total", a, b, false), EFFECT_NONE);
    assert_int_equal(effect(t, NULL, "id,name", a, b, false), EFFECT_UPDATE);
    assert_int_equal(effect(t, NULL, NULL, a, a, false), EFFECT_NONE);
    assert_int_equal(effect(t, NULL, NULL, a, ROW("1", "7", "~", "1"), false), EFFECT_NONE);
    assert_int_equal(effect(t, "tenant = 8", "id,name", a, ROW("1", "8", "a", "1"), false),
                     EFFECT_INSERT);
    table_unref(t);
}

static void test_another_key_is_a_key_change_unless_the_row_crosses(void **state)
{
    struct table *t = kit_table(true);
    const char *const *a = ROW("1", "7", "a", "1"), *const *b = ROW("2", "7", "a", "1");

    (void)state;
    assert_int_equal(effect(t, NULL, NULL, a, b, false), EFFECT_KEY_CHANGE);
    assert_int_equal(effect(t, "id = 1", NULL, a, b, false), EFFECT_DELETE);
    assert_int_equal(effect(t, "id = 2", NULL, a, b, false), EFFECT_INSERT);
    table_unref(t);
}

static void test_without_a_primary_key_an_update_is_a_delete_and_an_insert(void **state)
{
    struct table *t = kit_table(false);
    const char *const *a = ROW("1", "7", "a", "1"), *const *b = ROW("1", "7", "b", "1");

    (void)state;
    assert_int_equal(effect(t, NULL, NULL, a, b, false), EFFECT_MOVE);
    assert_int_equal(effect(t, NULL, NULL, a, a, false), EFFECT_NONE);
    assert_int_equal(effect(t, "name = 'a'", NULL, a, b, false), EFFECT_DELETE);
    table_unref(t);
}

static void test_without_the_old_row_it_counts_as_having_been_in(void **state)
{
    struct table *t = kit_table_default_identity();
    const char *const *key = ROW("1", NULL, NULL, NULL), *const *new = ROW("1", "7", "a", "1");
    const char *const *moved = ROW("2", "7", "a", "1");

    (void)state;
    assert_int_equal(effect(t, NULL, NULL, NULL, new, true), EFFECT_UPDATE);
    assert_int_equal(effect(t, NULL, NULL, key, NULL, true), EFFECT_DELETE);
    assert_int_equal(effect(t, NULL, NULL, key, moved, true), EFFECT_KEY_CHANGE);
    assert_int_equal(effect(t, "tenant = 8", NULL, key, NULL, true), EFFECT_DELETE);
    assert_int_equal(effect(t, "tenant = 8", NULL, NULL, new, true), EFFECT_DELETE);
    table_unref(t);
}

static void test_a_clause_on_the_identity_can_be_asked_about_old_keys(void **state)
{
    struct table *t = kit_table_default_identity();
    const char *const *key = ROW("1", NULL, NULL, NULL), *const *new = ROW("1", "7", "a", "1");
    const char *const *moved = ROW("2", "7", "a", "1");

    (void)state;
    assert_int_equal(effect(t, "id < 2", NULL, key, NULL, true), EFFECT_DELETE);
    assert_int_equal(effect(t, "id > 2", NULL, key, NULL, true), EFFECT_NONE);
    assert_int_equal(effect(t, "id > 2", NULL, NULL, new, true), EFFECT_NONE);
    assert_int_equal(effect(t, "id < 2", NULL, NULL, new, true), EFFECT_UPDATE);
    assert_int_equal(effect(t, "id < 2", NULL, key, moved, true), EFFECT_DELETE);
    assert_int_equal(effect(t, "id = 2", NULL, key, moved, true), EFFECT_INSERT);
    table_unref(t);
}

static void test_a_clause_that_raises_ends_the_shape(void **state)
{
    struct table *t = kit_table(true);
    struct shape *shape = kit_shape(t, "10 / tenant > 1", NULL);
    struct kit_row row;
    struct change change = {.op = CHANGE_INSERT, .new = &row.tuple};
    struct arena scratch = {0};
    enum effect_kind kind;
    struct err err;

    (void)state;
    kit_set(&row, ROW("1", "0", "a", "1"));
    assert_false(shape_effect(shape, &change, &scratch, &kind, &err));
    assert_string_equal(err.sqlstate, "22012");
    arena_release(&scratch);
    shape_unref(shape);
    table_unref(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_come_and_go_by_the_clause),
        cmocka_unit_test(test_an_update_that_changes_no_selected_column_is_dropped),
        cmocka_unit_test(test_another_key_is_a_key_change_unless_the_row_crosses),
        cmocka_unit_test(test_without_a_primary_key_an_update_is_a_delete_and_an_insert),
        cmocka_unit_test(test_without_the_old_row_it_counts_as_having_been_in),
        cmocka_unit_test(test_a_clause_on_the_identity_can_be_asked_about_old_keys),
        cmocka_unit_test(test_a_clause_that_raises_ends_the_shape),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
