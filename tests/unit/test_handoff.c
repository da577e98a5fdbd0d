/*
 * The early stop that corner rule 1 corrects, on log_wants() and unseen alone. Commit order and the
 * order in which transactions come to be seen differ: T10 commits at LSN 100, T9 at 110, and T9 is
 * seen first. A snapshot taken then has xmax 10 and sees 9.
 */
#include "change/unseen.h"
#include "test_shapelog_fixture.h"

struct fixture {
    char dir[64];
    struct shapelog *store;
    struct log *log;
    struct unseen *unseen;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    make_folder(f->dir);
    f->store = open_store(f->dir, 1 << 20);
    f->log = new_log(f->store, 1);
    f->unseen = unseen_new();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    unseen_free(f->unseen);
    log_unref(f->log);
    shapelog_close(f->store);
    remove_folder(f->dir);
    free(f);
    return 0;
}

static const struct txn t10 = {.commit_lsn = 100, .end_lsn = 105, .xid = 10};
static const struct txn t9 = {.commit_lsn = 110, .end_lsn = 115, .xid = 9};
static const struct txn t11 = {.commit_lsn = 120, .end_lsn = 125, .xid = 11};

/* Sees 9 and none above: T10 is above its xmax, not in its list. */
static const struct snapshot sees_9 = {10, 10, NULL, 0};

static void test_what_follows_the_first_xid_above_xmax_is_still_filtered(void **state)
{
    struct fixture *f = *state;

    log_register(f->log, 90);
    log_set_snapshot(f->log, &sees_9, 200);
    assert_true(log_wants(f->log, &t10));
    assert_false(log_wants(f->log, &t9)); /* who stopped at T10 would take it a second time */
    assert_true(log_wants(f->log, &t11));
}

static void test_from_the_limit_on_nothing_is_filtered(void **state)
{
    struct fixture *f = *state;

    log_register(f->log, 90);
    log_set_snapshot(f->log, &sees_9, 110);
    assert_true(log_wants(f->log, &t10));
    assert_true(log_wants(f->log, &t9)); /* at L: it cannot have been seen */
}

static void test_snapshot_that_misses_what_was_given_before_is_taken_again(void **state)
{
    struct fixture *f = *state;

    unseen_add(f->unseen, &t10);
    unseen_add(f->unseen, &t9);
    assert_true(unseen_misses(f->unseen, &sees_9, 110));
    assert_true(unseen_misses(f->unseen, &sees_9, 100));
    assert_false(unseen_misses(f->unseen, &sees_9, 99)); /* both come after the registration */
    assert_false(unseen_misses(f->unseen, &(struct snapshot){11, 11, NULL, 0}, 110));
}

static void test_slot_is_held_before_the_oldest_that_is_unseen(void **state)
{
    struct fixture *f = *state;

    unseen_add(f->unseen, &t10);
    unseen_add(f->unseen, &t9);
    unseen_prune(f->unseen, &sees_9);
    assert_int_equal(unseen_floor(f->unseen), 100);
    unseen_prune(f->unseen, &(struct snapshot){11, 11, NULL, 0});
    assert_int_equal(unseen_floor(f->unseen), UINT64_MAX);
}

static void test_unseen_transactions_that_come_again_are_listed_once(void **state)
{
    struct fixture *f = *state;

    unseen_add(f->unseen, &t10);
    unseen_add(f->unseen, &t9);
    unseen_add(f->unseen, &t10); /* the connection broke: sent again */
    unseen_add(f->unseen, &t9);
    assert_int_equal(unseen_len(f->unseen), 2);
    assert_int_equal(unseen_floor(f->unseen), 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_follows_the_first_xid_above_xmax_is_still_filtered),
        TEST(test_from_the_limit_on_nothing_is_filtered),
        TEST(test_snapshot_that_misses_what_was_given_before_is_taken_again),
        TEST(test_slot_is_held_before_the_oldest_that_is_unseen),
        TEST(test_unseen_transactions_that_come_again_are_listed_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
