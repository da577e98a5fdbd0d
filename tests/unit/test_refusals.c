#include "http/refusals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#define INTERVAL 300000

static void test_one_log_of_an_identity_is_ended_in_an_interval(void **state)
{
    struct refusals r;
    int64_t wait;

    (void)state;
    refusals_init(&r, INTERVAL);
    assert_true(refusals_take(&r, 1, 1000, &wait));
    assert_int_equal(wait, 0);
    assert_false(refusals_take(&r, 1, 1000, &wait));
    assert_int_equal(wait, INTERVAL);
    assert_false(refusals_take(&r, 1, 999 + INTERVAL, &wait));
    assert_int_equal(wait, 1);
    assert_true(refusals_take(&r, 2, 1001, &wait));
    assert_true(refusals_take(&r, 1, 1000 + INTERVAL, &wait));
    refusals_release(&r);
}

/* Who invents shapes gets no further than who repeats one. */
static void test_all_identities_together_are_limited(void **state)
{
    struct refusals r;
    int64_t wait;
    int taken = 0;

    (void)state;
    refusals_init(&r, INTERVAL);
    for (int i = 0; i < 20000; i++)
        taken += refusals_take(&r, (uint64_t)i, 1000 + i, &wait);
    assert_int_equal(taken, 10000);
    assert_int_equal(wait, INTERVAL);
    assert_true(refusals_take(&r, UINT64_MAX, 1000 + INTERVAL, &wait));
    assert_int_equal(r.ended.len, 10000); /* the first has gone */
    refusals_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_log_of_an_identity_is_ended_in_an_interval),
        cmocka_unit_test(test_all_identities_together_are_limited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
