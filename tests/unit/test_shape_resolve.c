/* From a request's wording to its log: what the pool is asked, by whom, and for how long. */
#include "shape_site_kit.h"

static void ask(struct client *c, struct kit *kit, const char *query)
{
    client_open(c, kit);
    client_ask(c, "GET", query, "");
    client_hear(c);
}

/* ---- requests that are given up -------------------------------------------------------------- */

static void test_question_is_given_up_when_the_last_who_waits_has_gone(void **state)
{
    struct kit *kit = kit_new();
    struct client clients[3];

    (void)state;
    kit->holds = true;
    for (int i = 0; i < 3; i++)
        ask(&clients[i], kit, "offset=-1&where=n=1");
    assert_int_equal(kit->asked, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kit->cancelled, 0);
        client_close(&clients[i]);
        kit_turn(kit);
    }
    assert_int_equal(kit->cancelled, 1);
    kit_answer(kit, 0, false);
    kit_turn(kit);
    assert_int_equal(kit->cancelled, 1);
    kit_free(kit);
}

static void test_question_that_was_given_up_is_not_joined(void **state)
{
    struct kit *kit = kit_new();
    struct client gone, c;

    (void)state;
    kit->holds = true;
    ask(&gone, kit, "offset=-1&where=n=1");
    client_close(&gone);
    kit_turn(kit);
    ask(&c, kit, "offset=-1&where=n=1");
    assert_int_equal(kit->asked, 2);
    kit_answer(kit, 0, false);
    client_hear(&c);
    assert_int_equal(c.heard.len, 0);
    kit_answer(kit, 1, true);
    client_hear_until(&c, "snapshot-end");
    assert_int_equal(kit->cancelled, 1);
    client_close(&c);
    kit_free(kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_question_is_given_up_when_the_last_who_waits_has_gone),
        cmocka_unit_test(test_question_that_was_given_up_is_not_joined),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
