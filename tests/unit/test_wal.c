#include "wal/relcache.h"
#include "wal/timelines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static struct relation_column cols[] = {
    {{"id", 2}, 20, -1, true},
    {{"v", 1}, 25, -1, false},
};

static struct relation items(void)
{
    return (struct relation){16384, SLICE("public"), SLICE("items"), REPLIDENT_FULL, 2, cols};
}

/* Postgres announces a relation again after ANALYZE, CREATE INDEX, GRANT. */
static void test_the_same_relation_again_is_no_change(void **state)
{
    struct relcache cache = {0};
    struct relation rel = items();
    bool changed;

    (void)state;
    const struct relation *first = relcache_put(&cache, &rel, &changed);
    assert_true(changed);
    assert_ptr_equal(relcache_put(&cache, &rel, &changed), first);
    assert_false(changed);
    assert_ptr_equal(relcache_get(&cache, 16384), first);
    assert_null(relcache_get(&cache, 1));
    relcache_clear(&cache);
    assert_null(relcache_get(&cache, 16384));
}

static void test_every_difference_is_a_change(void **state)
{
    struct relation_column other[] = {{{"id", 2}, 20, -1, true}, {{"v", 1}, 25, -1, false}};
    struct relcache cache = {0};
    struct relation rel = items();
    bool changed;

    (void)state;
    relcache_put(&cache, &rel, &changed);
    rel.cols = other;
    relcache_put(&cache, &rel, &changed);
    assert_false(changed);
    other[1].typid = 1043;
    relcache_put(&cache, &rel, &changed);
    assert_true(changed);
    other[1].typmod = 14;
    relcache_put(&cache, &rel, &changed);
    assert_true(changed);
    other[1].name = SLICE("w");
    relcache_put(&cache, &rel, &changed);
    assert_true(changed);
    rel.replident = REPLIDENT_DEFAULT;
    relcache_put(&cache, &rel, &changed);
    assert_true(changed);
    rel.relname = SLICE("things");
    relcache_put(&cache, &rel, &changed);
    assert_true(changed);
    rel.ncols = 1;
    assert_int_equal(relcache_put(&cache, &rel, &changed)->ncols, 1);
    assert_true(changed);
    relcache_clear(&cache);
}

static void test_a_timeline_before_counts_up_to_its_switch(void **state)
{
    struct arena arena = {0};
    struct timelines t;

    (void)state;
    timelines_read(&t, 4,
                   SLICE("# a comment\n1\t0/3000000\tno recovery target specified\n\n"
                         "3\t1/A0\tbefore 2024-01-01 00:00:00+00"),
                   &arena);
    assert_int_equal(t.n, 2);
    assert_true(timelines_have(&t, 1, 0x3000000));
    assert_false(timelines_have(&t, 1, 0x3000001));
    assert_true(timelines_have(&t, 3, 0x1000000A0));
    assert_false(timelines_have(&t, 3, 0x1000000A1));
    assert_true(timelines_have(&t, 4, UINT64_MAX));
    assert_false(timelines_have(&t, 2, 1)); /* a branch that it does not come from */
    assert_false(timelines_have(&t, 5, 1));
    arena_release(&arena);
}

static void test_a_timeline_without_history_has_itself_alone(void **state)
{
    struct arena arena = {0};
    struct timelines t;

    (void)state;
    timelines_read(&t, 1, SLICE(""), &arena);
    assert_true(timelines_have(&t, 1, 1));
    assert_false(timelines_have(&t, 2, 1));
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_relation_again_is_no_change),
        cmocka_unit_test(test_every_difference_is_a_change),
        cmocka_unit_test(test_a_timeline_before_counts_up_to_its_switch),
        cmocka_unit_test(test_a_timeline_without_history_has_itself_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
