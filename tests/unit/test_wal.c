#include "wal/relcache.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_relation_again_is_no_change),
        cmocka_unit_test(test_every_difference_is_a_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
