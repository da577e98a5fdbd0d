/* Shapes that differ in their constants alone share the rest. */
#include "shape_kit.h"

#include "shapes/form.h"

#include <malloc.h>
#include <pthread.h>

#define THREADS 4
#define TURNS 200

static bool share(const char *one, const char *other)
{
    struct table *t = kit_table(true);
    struct shape *a = kit_shape(t, one, NULL), *b = kit_shape(t, other, NULL);
    bool same = a->form == b->form;

    assert_false(shape_same(a, b));
    shape_unref(a);
    shape_unref(b);
    table_unref(t);
    return same;
}

static void test_clauses_that_differ_in_constants_alone_share_a_form(void **state)
{
    (void)state;
    assert_true(share("tenant = 1", "tenant=2 -- two"));
    assert_true(share("name = 'a' AND total > 1", "name = 'b' AND total > 2.50"));
    assert_true(share("tenant IN (1, 2)", "tenant IN (3, 4, 5)"));
    assert_true(share("tenant NOT IN (1, 2)", "tenant NOT IN (3, NULL)"));
    assert_true(share("name LIKE 'a%'", "name LIKE '%b'"));
    assert_true(share("tenant BETWEEN 1 AND 2", "tenant BETWEEN 3 AND 4"));
}

static void test_clauses_that_differ_in_more_have_forms_of_their_own(void **state)
{
    (void)state;
    assert_false(share("tenant = 1", "tenant < 1"));
    assert_false(share("tenant = 1", "id = 1"));
    assert_false(share("tenant = 1", "tenant = 1.5"));
    assert_false(share("tenant IN (1, 2)", "tenant = ANY (NULL::int4[])"));
    assert_false(share("tenant IN (1, 2)", "tenant NOT IN (1, 2)"));
    assert_false(share("name < 'a' COLLATE \"C\"", "name = 'a'"));
    assert_false(share("tenant = 1", NULL));
    assert_false(share("tenant = 1 OR id = 2", "(tenant = 1 OR id = 2) AND name = 'x'"));
}

static void test_other_columns_or_another_version_of_the_table_are_another_form(void **state)
{
    struct table *t = kit_table(true), *later = kit_table(true);
    struct shape *all = kit_shape(t, "tenant = 1", NULL);
    struct shape *some = kit_shape(t, "tenant = 2", "id,name");
    struct shape *other = kit_shape(later, "tenant = 1", NULL);

    (void)state;
    assert_ptr_not_equal(all->form, some->form);
    assert_ptr_not_equal(all->form, other->form);
    assert_true(shape_same(all, other));
    assert_ptr_equal(other->table, later);
    shape_unref(all);
    shape_unref(some);
    shape_unref(other);
    table_unref(t);
    table_unref(later);
}

static enum tri asked(const struct shape *shape, const char *tenant, const char *name)
{
    struct arena scratch = {0};
    struct kit_row row;
    struct err err;
    enum tri tri;

    kit_set(&row, (const char *const[KIT_NCOLUMNS]){"1", tenant, name, "1"});
    assert_true(where_eval(shape->where, &row.tuple, &scratch, &tri, &err));
    arena_release(&scratch);
    return tri;
}

/* Also when the one that the form was made for has gone. */
static void test_each_shape_of_a_form_goes_by_its_own_constants(void **state)
{
    struct table *t = kit_table(true);
    struct shape *a = kit_shape(t, "tenant IN (1, 2) AND name <> 'x'", NULL);
    struct shape *b = kit_shape(t, "tenant IN (3, NULL) AND name <> 'y'", NULL);
    struct arena arena = {0};
    struct buf sql;

    (void)state;
    assert_ptr_equal(a->form, b->form);
    assert_int_equal(asked(a, "2", "y"), TRI_TRUE);
    assert_int_equal(asked(a, "3", "y"), TRI_FALSE);
    shape_unref(a);
    assert_int_equal(asked(b, "3", "x"), TRI_TRUE);
    assert_int_equal(asked(b, "3", "y"), TRI_FALSE);
    assert_int_equal(asked(b, "2", "x"), TRI_NULL);

    const struct where_keys keys = where_keys(b->where, &arena);
    assert_int_equal(keys.column, KIT_TENANT);
    assert_int_equal(keys.n, 1);
    assert_true(slice_is(keys.values[0], "3"));
    buf_init(&sql, BUF_NO_LIMIT);
    where_put_sql(b->where, &sql);
    assert_string_equal(buf_cstr(&sql), "((\"tenant\" = ANY ('{3,NULL}'::int4[])) AND "
                                        "(\"name\" <> 'y'::text))");
    buf_release(&sql);
    arena_release(&arena);
    shape_unref(b);
    table_unref(t);
}

static void test_a_shape_takes_less_than_200_bytes_of_its_own(void **state)
{
    struct table *t = kit_table(true);
    struct shape *shape = kit_shape(t, "tenant = 12345", NULL);

    (void)state;
    assert_in_range(malloc_usable_size(shape), sizeof(*shape), 200);
    shape_unref(shape);
    table_unref(t);
}

/* Makes shapes of two forms and lets them go, so that the forms come and go as well. */
static void *come_and_go(void *arg)
{
    struct table *t = arg;

    for (int i = 0; i < TURNS; i++) {
        struct shape *shape = kit_shape(t, i % 2 ? "tenant = 7" : "tenant <> 7", NULL);

        if (asked(shape, "7", "a") != (i % 2 ? TRI_TRUE : TRI_FALSE))
            return arg;
        shape_unref(shape);
    }
    return NULL;
}

static void test_threads_may_make_shapes_of_a_form_at_the_same_time(void **state)
{
    struct table *t = kit_table(true);
    pthread_t threads[THREADS];
    void *failed;

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, t), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    table_unref(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clauses_that_differ_in_constants_alone_share_a_form),
        cmocka_unit_test(test_clauses_that_differ_in_more_have_forms_of_their_own),
        cmocka_unit_test(test_other_columns_or_another_version_of_the_table_are_another_form),
        cmocka_unit_test(test_each_shape_of_a_form_goes_by_its_own_constants),
        cmocka_unit_test(test_a_shape_takes_less_than_200_bytes_of_its_own),
        cmocka_unit_test(test_threads_may_make_shapes_of_a_form_at_the_same_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
