/* The shape log's contract (shapelog/shapelog.h): transactions and positions. */
#include "shapelog_kit.h"

/* ---- transactions ---------------------------------------------------------------------------- */

static void test_messages_come_back_by_transaction_joined_by_commas(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_live_log(f->store, 1, 90);

    begin(f->store, 100);
    append(f->store, f->lane, "a", 0, log);
    append(f->store, f->lane, "b", 2, log);
    commit(f->store, 100);
    begin(f->store, 110);
    append(f->store, f->lane, "c", 4, log);
    commit(f->store, 110);
    publish(f->store, 110);
    assert_log(f->store, log, "[100]a,b[110]c");
    log_unref(log);
}

static void test_one_transaction_of_one_log_is_one_run(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_live_log(f->store, 1, 90);
    struct log_cursor cursor = {0};
    struct log_run runs[4];
    struct err err;
    size_t n;

    begin(f->store, 100);
    for (uint64_t op = 0; op < 200; op += 2)
        append(f->store, f->lane, "message", op, log);
    commit(f->store, 100);
    publish(f->store, 100);
    assert_ok(log_read(f->store, log, &cursor, 100, runs, 4, &n, &err), err);
    assert_int_equal(n, 1);
    assert_int_equal(runs[0].len, 100 * 8 - 1);
    assert_int_equal(runs[0].first_op, 0);
    assert_int_equal(runs[0].last_op, 198);
    assert_true(runs[0].last);
    assert_int_equal(cursor.after, 100);
    log_runs_release(runs, n);
    log_unref(log);
}

static void test_a_message_of_many_logs_is_stored_once(void **state)
{
    struct fixture *f = *state;
    struct log *logs[3];
    struct log_run runs[3][1];
    struct err err;
    size_t n;

    for (unsigned i = 0; i < 3; i++)
        logs[i] = new_live_log(f->store, i, 90);
    begin(f->store, 100);
    assert_ok(shapelog_append(f->store, f->lane, SLICE("shared"), 0, logs, 3, &err), err);
    commit(f->store, 100);
    publish(f->store, 100);
    for (unsigned i = 0; i < 3; i++) {
        struct log_cursor cursor = {0};

        assert_ok(log_read(f->store, logs[i], &cursor, 100, runs[i], 1, &n, &err), err);
        assert_int_equal(n, 1);
        assert_int_equal(runs[i][0].offset, runs[0][0].offset);
        assert_ptr_equal(runs[i][0].segment, runs[0][0].segment);
    }
    for (unsigned i = 0; i < 3; i++) {
        log_runs_release(runs[i], 1);
        log_unref(logs[i]);
    }
}

static void test_two_lanes_of_one_log_keep_the_order_of_ops(void **state)
{
    struct fixture *f = *state;
    struct lane *other = shapelog_lane_new(f->store);
    struct log *log = new_live_log(f->store, 1, 90);

    begin(f->store, 100);
    append(f->store, f->lane, "0", 0, log);
    append(f->store, other, "1", 1, log);
    append(f->store, f->lane, "2", 2, log);
    append(f->store, f->lane, "3", 3, log);
    append(f->store, other, "4", 4, log);
    commit(f->store, 100);
    publish(f->store, 100);
    assert_log(f->store, log, "[100]0,1,2,3,4");

    char handle[64];
    copy_handle(log, handle);
    log_unref(log);
    shapelog_lane_free(f->store, other);
    reopen(f, 0);
    log = bind_again(f->store, handle, 1);
    assert_log(f->store, log, "[100]0,1,2,3,4");
    log_unref(log);
}

static void test_nothing_is_read_before_it_is_published_nor_above_upto(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_live_log(f->store, 1, 90);
    struct log_cursor cursor = {0};
    struct log_run run;
    struct err err;
    size_t n;

    begin(f->store, 100);
    append(f->store, f->lane, "a", 0, log);
    commit(f->store, 100);
    assert_int_equal(shapelog_last_commit(f->store), 100);
    assert_int_equal(shapelog_published(f->store), 0);
    assert_log(f->store, log, "");
    assert_int_equal(log_last(log, 100), 0);
    publish(f->store, 100);
    put(f->store, f->lane, 110, log, "b");
    assert_ok(log_read(f->store, log, &cursor, 105, &run, 1, &n, &err), err);
    assert_int_equal(n, 1);
    assert_int_equal(run.commit_lsn, 100);
    log_runs_release(&run, 1);
    assert_ok(log_read(f->store, log, &cursor, 105, &run, 1, &n, &err), err);
    assert_int_equal(n, 0);
    assert_int_equal(log_last(log, 105), 100);
    assert_int_equal(log_last(log, UINT64_MAX), 110);
    assert_int_equal(log_first(log), 90);
    log_unref(log);
}

static void test_a_transaction_larger_than_the_array_comes_in_parts(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_live_log(f->store, 1, 90), *other = new_live_log(f->store, 2, 90);
    struct log_run runs[4];
    struct log_cursor cursor = {0};
    struct err err;
    size_t n, total = 0;

    put(f->store, f->lane, 100, log, "x");
    begin(f->store, 110);
    for (unsigned i = 0; i < 20; i++)
        append(f->store, f->lane, "m", i, i % 2 ? other : log); /* 10 runs each */
    commit(f->store, 110);
    publish(f->store, 110);
    assert_ok(log_read(f->store, log, &cursor, 110, runs, 4, &n, &err), err);
    assert_int_equal(n, 1); /* whole transactions where one fits */
    assert_int_equal(cursor.after, 100);
    log_runs_release(runs, n);
    do {
        assert_ok(log_read(f->store, log, &cursor, 110, runs, 4, &n, &err), err);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(runs[i].first_op, (total + i) * 2);
            assert_int_equal(runs[i].last, total + i == 9);
        }
        total += n;
        log_runs_release(runs, n);
    } while (n > 0);
    assert_int_equal(total, 10);
    assert_int_equal(cursor.after, 110);
    log_unref(log);
    log_unref(other);
}

static void test_rollback_voids_and_the_replay_counts(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_live_log(f->store, 1, 90);
    char *big = malloc(3000001);

    memset(big, 'x', 3000000);
    big[3000000] = '\0';
    put(f->store, f->lane, 100, log, "a");
    begin(f->store, 110); /* stays in the buffer: is cut off */
    append(f->store, f->lane, "void", 0, log);
    shapelog_rollback(f->store);
    begin(f->store, 110); /* is written in part: stays in the file, void */
    append(f->store, f->lane, big, 0, log);
    append(f->store, f->lane, big, 1, log);
    append(f->store, f->lane, "void", 2, log);
    shapelog_rollback(f->store);
    assert_log(f->store, log, "[100]a");
    assert_true(begin(f->store, 110));
    append(f->store, f->lane, "b", 0, log);
    commit(f->store, 110);
    publish(f->store, 110);
    assert_log(f->store, log, "[100]a[110]b");
    wait_durable(f->store, 115);

    char handle[64];
    copy_handle(log, handle);
    log_unref(log);
    reopen(f, 0);
    log = bind_again(f->store, handle, 1);
    assert_log(f->store, log, "[100]a[110]b");
    log_unref(log);
    free(big);
}

static void test_known_transactions_append_nothing(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_live_log(f->store, 1, 90);
    char handle[64];

    copy_handle(log, handle);
    put(f->store, f->lane, 100, log, "a");
    assert_false(begin(f->store, 100));
    append(f->store, f->lane, "again", 0, log);
    commit(f->store, 100);
    publish(f->store, 100);
    assert_log(f->store, log, "[100]a");
    log_unref(log);
    reopen(f, 0);
    log = bind_again(f->store, handle, 1);
    assert_int_equal(shapelog_last_commit(f->store), 100);
    assert_int_equal(shapelog_published(f->store), 100);
    assert_false(begin(f->store, 100));
    append(f->store, f->lane, "again", 0, log);
    commit(f->store, 100);
    assert_true(begin(f->store, 101));
    append(f->store, f->lane, "b", 0, log);
    commit(f->store, 101);
    publish(f->store, 101);
    assert_log(f->store, log, "[100]a[101]b");
    log_unref(log);
}

static void test_commit_times_are_known_for_a_while(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_live_log(f->store, 1, 90);

    put(f->store, f->lane, 100, log, "a");
    put(f->store, f->lane, 110, log, "b");
    assert_int_equal(shapelog_commit_time(f->store, 100), 100000);
    assert_int_equal(shapelog_commit_time(f->store, 110), 110000);
    assert_int_equal(shapelog_commit_time(f->store, 105), 0);
    for (lsn_t lsn = 200; lsn < 5000; lsn++) {
        begin(f->store, lsn);
        commit(f->store, lsn);
    }
    assert_int_equal(shapelog_commit_time(f->store, 100), 0);
    assert_int_equal(shapelog_commit_time(f->store, 4000), 4000000);
    log_unref(log);
}

static void test_what_is_beyond_the_limits_is_refused(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_live_log(f->store, 1, 90);
    struct err err;

    begin(f->store, 100);
    assert_false(
        shapelog_append(f->store, f->lane, SLICE("a"), (uint64_t)UINT32_MAX + 1, &log, 1, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_false(
        shapelog_append(f->store, f->lane, (struct slice){"", (size_t)2 << 30}, 0, &log, 1, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    commit(f->store, 100);
    log_unref(log);
}

/* ---- positions ------------------------------------------------------------------------------- */

static void test_durable_position_is_in_the_catalogue_also_when_nothing_is_unsynced(void **state)
{
    struct fixture *f = *state;
    struct err err;

    assert_int_equal(shapelog_durable(f->store), 0);
    assert_ok(shapelog_publish(f->store, 50, 60, &err), err);
    assert_int_equal(shapelog_published(f->store), 50);
    wait_durable(f->store, 60);
    struct catalog_stream stream;
    assert_ok(catalog_get_stream(f->store->catalog, &stream, &err), err);
    assert_int_equal(stream.mark.end_lsn, 60);
}

static void test_durable_comes_back_after_a_restart(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_live_log(f->store, 1, 90);

    put(f->store, f->lane, 100, log, "a");
    wait_durable(f->store, 105);
    log_unref(log);
    reopen(f, 0);
    assert_int_equal(shapelog_durable(f->store), 105);
    assert_int_equal(shapelog_commit_time(f->store, 100), 100000);
}

/* A connection broke within a transaction of which a part had been written; then the server was
 * idle.
 */
static void test_what_a_rollback_left_in_the_file_is_no_damage(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_live_log(f->store, 1, 90);
    struct slice handle = log_handle(log);
    char name[64], *large = malloc(3u << 20);
    struct err err;

    snprintf(name, sizeof(name), "%.*s", SLICE_ARG(handle));
    memset(large, 'x', 3u << 20);
    large[(3u << 20) - 1] = '\0';
    put(f->store, f->lane, 100, log, "a");
    begin(f->store, 110);
    for (uint64_t op = 0; op < 8; op += 2)
        append(f->store, f->lane, large, op, log);
    shapelog_rollback(f->store);
    assert_ok(shapelog_publish(f->store, 104, 109, &err), err);
    wait_durable(f->store, 109);
    log_unref(log);
    reopen(f, 0);
    log = shapelog_find(f->store, slice_of(name));
    assert_non_null(log);
    assert_int_equal(shapelog_last_commit(f->store), 100);
    put(f->store, f->lane, 110, log, "b");
    assert_log(f->store, log, "[100]a[110]b");
    log_unref(log);
    free(large);
}

static void test_the_source_is_kept(void **state)
{
    struct fixture *f = *state;
    struct shapelog_source source = {"7300000000000000001", 3, "tombolo"}, read;
    struct err err;

    shapelog_get_source(f->store, &read);
    assert_string_equal(read.system_id, "");
    assert_ok(shapelog_set_source(f->store, &source, &err), err);
    reopen(f, 0);
    shapelog_get_source(f->store, &read);
    assert_string_equal(read.system_id, source.system_id);
    assert_int_equal(read.timeline, 3);
    assert_string_equal(read.slot, "tombolo");
}

static void test_reset_ends_all_logs_and_begins_anew_below(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_live_log(f->store, 1, 90);
    struct err err;
    uint64_t at = 0;

    put(f->store, f->lane, 100, log, "a");
    assert_ok(shapelog_reset(f->store, "another server", &err), err);
    assert_int_equal(log_state(log), LOG_ENDED);
    assert_int_equal(shapelog_last_commit(f->store), 0);
    assert_int_equal(shapelog_published(f->store), 0);
    assert_int_equal(shapelog_durable(f->store), 0);
    log_unref(log);
    log = new_live_log(f->store, 1, 5);
    put(f->store, f->lane, 10, log, "b");
    assert_log(f->store, log, "[10]b");
    wait_durable(f->store, 15);
    log_unref(log);
    reopen(f, 0);
    log = shapelog_next(f->store, &at);
    assert_log(f->store, log, "[10]b");
    assert_int_equal(shapelog_last_commit(f->store), 10);
    log_unref(log);
}

static void test_a_second_process_is_told_that_the_folder_is_in_use(void **state)
{
    struct fixture *f = *state;
    const struct shapelog_config config = {.dir = f->dir};
    struct err err;

    assert_null(shapelog_open(&config, &err));
    assert_int_equal(err.code, ERR_BUSY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_messages_come_back_by_transaction_joined_by_commas),
        TEST(test_one_transaction_of_one_log_is_one_run),
        TEST(test_a_message_of_many_logs_is_stored_once),
        TEST(test_two_lanes_of_one_log_keep_the_order_of_ops),
        TEST(test_nothing_is_read_before_it_is_published_nor_above_upto),
        TEST(test_a_transaction_larger_than_the_array_comes_in_parts),
        TEST(test_rollback_voids_and_the_replay_counts),
        TEST(test_known_transactions_append_nothing),
        TEST(test_commit_times_are_known_for_a_while),
        TEST(test_what_is_beyond_the_limits_is_refused),
        TEST(test_durable_position_is_in_the_catalogue_also_when_nothing_is_unsynced),
        TEST(test_durable_comes_back_after_a_restart),
        TEST(test_what_a_rollback_left_in_the_file_is_no_damage),
        TEST(test_the_source_is_kept),
        TEST(test_reset_ends_all_logs_and_begins_anew_below),
        TEST(test_a_second_process_is_told_that_the_folder_is_in_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
