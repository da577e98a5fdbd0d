/* The shape log's contract: what shapelog/shapelog.h promises. */
#include "shapelog/store.h"
#include "test_shapelog_fixture.h"

#include <fcntl.h>
#include <inttypes.h>

struct fixture {
    char dir[64];
    struct shapelog *store;
    struct lane *lane;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    make_folder(f->dir);
    f->store = open_store(f->dir, 0);
    f->lane = shapelog_lane_new(f->store);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    io_set_room(-1);
    if (f->lane)
        shapelog_lane_free(f->store, f->lane);
    shapelog_close(f->store);
    remove_folder(f->dir);
    free(f);
    return 0;
}

static void reopen(struct fixture *f, uint64_t segment_size)
{
    shapelog_lane_free(f->store, f->lane);
    shapelog_close(f->store);
    f->store = open_store(f->dir, segment_size);
    f->lane = shapelog_lane_new(f->store);
}

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

/* ---- logs ------------------------------------------------------------------------------------ */

static void test_equal_shapes_share_a_log_and_ended_ones_are_not_found(void **state)
{
    struct fixture *f = *state;
    struct shape *shape = new_shape(7);
    struct err err;
    bool made;
    struct log *first = shapelog_create(f->store, shape, &made, &err);

    assert_true(made);
    struct log *same = shapelog_create(f->store, shape, &made, &err);
    assert_false(made);
    assert_ptr_equal(first, same);
    log_unref(same);
    same = shapelog_find(f->store, log_handle(first));
    assert_ptr_equal(first, same);
    log_unref(same);
    same = shapelog_find_identity(f->store, shape->identity);
    assert_ptr_equal(first, same);
    log_unref(same);
    shapelog_end_log(f->store, first, "rotated");
    assert_null(shapelog_find(f->store, log_handle(first)));
    assert_null(shapelog_find_identity(f->store, shape->identity));

    struct log *second = shapelog_create(f->store, shape, &made, &err);
    char reason[256];

    assert_true(made);
    assert_true(log_id(second) > log_id(first));
    assert_false(slice_eq(log_handle(first), log_handle(second)));
    assert_int_equal(log_state(first), LOG_ENDED);
    log_reason(first, reason);
    assert_string_equal(reason, "rotated");
    log_reason(second, reason);
    assert_string_equal(reason, "");
    log_unref(first);
    log_unref(second);
    shape_unref(shape);
}

static void test_a_failed_snapshot_says_why_with_its_code(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_log(f->store, 1);
    struct err first, second, got;

    assert_false(log_failure(log, &got));
    err_set(&first, ERR_PG, "permission denied for table t");
    memcpy(first.sqlstate, "42501", sizeof(first.sqlstate));
    err_set(&second, ERR_CONN, "connection lost");
    log_set_failure(log, &first);
    log_set_failure(log, &second);
    shapelog_end_log(f->store, log, first.msg);
    assert_true(log_failure(log, &got));
    assert_int_equal(got.code, ERR_PG);
    assert_string_equal(got.sqlstate, "42501");
    assert_string_equal(got.msg, first.msg);
    log_unref(log);
}

static void test_walking_meets_every_log_that_has_not_ended(void **state)
{
    struct fixture *f = *state;
    struct log *logs[100], *log;
    uint64_t at = 0, sum = 0, expected = 0;

    for (unsigned i = 0; i < 100; i++)
        logs[i] = new_log(f->store, i);
    for (unsigned i = 0; i < 100; i++) {
        if (i % 3)
            shapelog_end_log(f->store, logs[i], "");
        else
            expected += log_id(logs[i]);
    }
    while ((log = shapelog_next(f->store, &at))) {
        sum += log_id(log);
        log_unref(log);
    }
    assert_int_equal(sum, expected);
    for (unsigned i = 0; i < 100; i++)
        log_unref(logs[i]);
}

static void test_a_newer_table_is_the_logs_also_after_a_restart(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_live_log(f->store, 5, 90);
    struct table *newer = new_table(log_shape(log)->table->relid), *then = log_table(log);
    struct arena arena = {0};
    struct shape_request request;
    struct table *table;
    struct err err;
    char handle[64];

    assert_ptr_equal(then, log_shape(log)->table);
    newer->published = SLICE("16500:720;r16600/");
    newer->cols[1].stamp = 731;
    newer->cols[1].not_null = !newer->cols[1].not_null;
    assert_ok(shapelog_set_table(f->store, &log, 1, newer, &err), err);
    table = log_table(log);
    assert_ptr_equal(table, newer);
    table_unref(table);
    copy_handle(log, handle);
    log_unref(log);
    reopen(f, 0);
    log = shapelog_find(f->store, slice_of(handle));
    assert_null(log_table(log));
    assert_ok(log_definition(log, &arena, &request, &table, &err), err);
    assert_true(table_identical(table, newer));
    assert_false(table_identical(table, then));
    log_unref(log);
    table_unref(table);
    table_unref(newer);
    table_unref(then);
    arena_release(&arena);
}

static void test_a_loaded_log_has_its_definition_and_is_live_once_bound(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_live_log(f->store, 5, 90);
    struct shape *shape = new_shape(5);
    struct arena arena = {0};
    struct shape_request request;
    struct table *table;
    struct err err;
    char handle[64];

    copy_handle(log, handle);
    log_unref(log);
    reopen(f, 0);
    log = shapelog_find(f->store, slice_of(handle));
    assert_int_equal(log_state(log), LOG_LOADED);
    assert_null(log_shape(log));
    assert_ok(log_definition(log, &arena, &request, &table, &err), err);
    assert_true(slice_is(request.table, "public.items"));
    assert_true(slice_is(request.where, "n = $2"));
    assert_null(request.columns.ptr);
    assert_int_equal(request.params.n, 2);
    assert_null(request.params.values[0].ptr);
    assert_true(slice_is(request.params.values[1], "5"));
    assert_int_equal(request.replica, SHAPE_REPLICA_FULL);
    assert_true(table_same(table, shape->table));
    assert_int_equal(table->replident, REPLIDENT_FULL);
    assert_true(slice_is(table->cols[1].typname, "int4"));
    log_bind(log, shape);
    assert_int_equal(log_state(log), LOG_LIVE);
    assert_ptr_equal(log_shape(log), shape);

    struct log *same = shapelog_find_identity(f->store, shape->identity);
    assert_ptr_equal(same, log);
    log_unref(same);
    log_unref(log);
    table_unref(table);
    shape_unref(shape);
    arena_release(&arena);
}

static void test_logs_that_are_not_live_are_forgotten_by_a_restart(void **state)
{
    struct fixture *f = *state;
    struct log *live = new_live_log(f->store, 3, 90);
    struct log *copying = new_log(f->store, 2), *pending = new_log(f->store, 1);
    uint64_t id = log_id(live), last = log_id(pending), at = 0;
    struct err err;

    log_register(copying, 90);
    set_snapshot(copying, 10, 0, 95);
    struct snapshot_writer *writer = snapshot_writer_new(f->store, copying, &err);
    assert_non_null(writer);
    begin(f->store, 100);
    append(f->store, f->lane, "a", 0, pending);
    append(f->store, f->lane, "a", 2, copying);
    append(f->store, f->lane, "a", 4, live);
    commit(f->store, 100);
    publish(f->store, 100);
    wait_durable(f->store, 105);
    snapshot_writer_abandon(writer, "not today");
    log_unref(pending);
    log_unref(copying);
    log_unref(live);
    reopen(f, 0);
    live = shapelog_next(f->store, &at);
    assert_int_equal(log_id(live), id);
    assert_null(shapelog_next(f->store, &at));
    assert_log(f->store, live, "[100]a");

    struct log *later = new_log(f->store, 9); /* ids are not used again */
    assert_true(log_id(later) > last);
    log_unref(later);
    log_unref(live);
}

static void finish_snapshot(struct fixture *f, struct log *log)
{
    struct err err;
    struct snapshot_writer *writer = snapshot_writer_new(f->store, log, &err);

    assert_non_null(writer);
    assert_ok(snapshot_writer_finish(writer, &err), err);
}

/* Without rows: a snapshot file that is missing would end the log at the restart by itself. */
static void test_an_ended_log_is_gone_after_a_restart_once_durable_has_passed(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_log(f->store, 1), *other = new_live_log(f->store, 2, 90);
    char handle[64];

    log_register(log, 90);
    set_snapshot(log, 1, 0, 90);
    finish_snapshot(f, log);
    copy_handle(log, handle);
    put(f->store, f->lane, 100, log, "a");
    shapelog_end_log(f->store, log, "truncated");
    put(f->store, f->lane, 110, other, "b");
    wait_durable(f->store, 115);
    log_unref(log);
    log_unref(other);
    reopen(f, 0);
    assert_null(shapelog_find(f->store, slice_of(handle)));
}

static void test_an_ended_log_is_read_no_more(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_live_log(f->store, 1, 90);
    struct snapshot_block block;
    struct log_cursor cursor = {0};
    struct log_run run;
    struct err err;
    size_t n;

    put(f->store, f->lane, 100, log, "a");
    shapelog_end_log(f->store, log, "table dropped");
    assert_false(log_read(f->store, log, &cursor, 100, &run, 1, &n, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "table dropped"));
    assert_int_equal(log_snapshot_block(f->store, log, 0, &block), SNAPSHOT_GONE);
    begin(f->store, 110); /* and takes no more */
    append(f->store, f->lane, "b", 0, log);
    commit(f->store, 110);
    publish(f->store, 110);
    log_unref(log);
}

/* ---- the handoff ----------------------------------------------------------------------------- */

/* Commits at 100 (xid 100), 110, 120, 130; the snapshot sees xids below 125 but not 110, its limit
 * is 125. So 110 and 130 are shown. */
static void feed_handoff(struct fixture *f, struct log *log, lsn_t from, lsn_t to)
{
    char text[16];

    for (lsn_t lsn = from; lsn <= to; lsn += 10) {
        snprintf(text, sizeof(text), "m%llu", (unsigned long long)lsn);
        put(f->store, f->lane, lsn, log, text);
    }
}

static void test_what_the_snapshot_sees_is_left_out_whenever_it_came(void **state)
{
    struct fixture *f = *state;
    struct log *before = new_log(f->store, 1), *after = new_log(f->store, 2);
    char handles[2][64];

    log_register(before, 90);
    log_register(after, 90);
    feed_handoff(f, before, 100, 130);
    set_snapshot(before, 125, 110, 125);
    assert_log(f->store, before, "[110]m110[130]m130");
    assert_int_equal(log_last(before, 125), 110);
    assert_int_equal(log_limit(before), 125);
    finish_snapshot(f, before);
    set_snapshot(after, 225, 210, 225);
    feed_handoff(f, after, 200, 230);
    assert_log(f->store, after, "[210]m210[230]m230");
    finish_snapshot(f, after);
    copy_handle(before, handles[0]);
    copy_handle(after, handles[1]);
    wait_durable(f->store, 235);
    log_unref(before);
    log_unref(after);
    reopen(f, 0);
    before = bind_again(f->store, handles[0], 1);
    after = bind_again(f->store, handles[1], 2);
    assert_log(f->store, before, "[110]m110[130]m130");
    assert_log(f->store, after, "[210]m210[230]m230");
    assert_int_equal(log_limit(after), 225);
    log_unref(before);
    log_unref(after);
}

static void test_wants_is_true_until_the_snapshot_says_otherwise(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_log(f->store, 1);
    struct arena arena = {0};
    struct snapshot snapshot;
    const struct txn old = txn_at(90), seen = txn_at(100), running = txn_at(110);
    const struct txn late = {.commit_lsn = 126, .xid = 101};

    log_register(log, 90);
    assert_false(log_wants(log, &old));
    assert_true(log_wants(log, &seen));
    assert_int_equal(log_limit(log), 0);
    assert_false(log_snapshot(log, &arena, &snapshot));
    set_snapshot(log, 125, 110, 125);
    assert_false(log_wants(log, &seen));
    assert_true(log_wants(log, &running));
    assert_true(log_wants(log, &late)); /* from L on all, whatever the xid */
    assert_true(log_snapshot(log, &arena, &snapshot));
    assert_int_equal(snapshot.xmax, 125);
    assert_int_equal(snapshot.nxip, 1);
    assert_int_equal(snapshot.xip[0], 110);
    arena_release(&arena);
    log_unref(log);
}

static void test_xids_are_compared_across_the_wrap(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_log(f->store, 1);
    const uint64_t epoch = (uint64_t)7 << 32;
    const uint64_t running = epoch - 3;
    const struct snapshot snapshot = {running, epoch + 2, (uint64_t[]){running}, 1};
    const struct txn before = {.commit_lsn = 100, .xid = UINT32_MAX - 10};
    const struct txn open = {.commit_lsn = 101, .xid = UINT32_MAX - 2};
    const struct txn wrapped = {.commit_lsn = 102, .xid = 1};
    const struct txn next = {.commit_lsn = 103, .xid = 2};

    log_register(log, 90);
    log_set_snapshot(log, &snapshot, 200);
    assert_false(log_wants(log, &before));
    assert_true(log_wants(log, &open));
    assert_false(log_wants(log, &wrapped));
    assert_true(log_wants(log, &next));
    log_unref(log);
}

static void test_transactions_up_to_the_registration_are_not_taken(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_log(f->store, 1);

    begin(f->store, 100);
    log_register(log, 100);
    append(f->store, f->lane, "too early", 0, log);
    commit(f->store, 100);
    put(f->store, f->lane, 110, log, "a");
    assert_log(f->store, log, "[110]a");
    log_unref(log);
}

static void test_a_transaction_ends_a_log_unless_the_snapshot_sees_it(void **state)
{
    struct fixture *f = *state;
    struct log *sees = new_log(f->store, 1), *misses = new_log(f->store, 2);
    struct log *live = new_live_log(f->store, 3, 90);
    const struct txn truncate = txn_at(100);
    char reason[256];

    log_register(sees, 90);
    log_register(misses, 90);
    log_end_by(f->store, sees, &truncate, "truncated");
    log_end_by(f->store, misses, &truncate, "truncated");
    assert_int_equal(log_state(sees), LOG_PENDING);
    assert_int_equal(log_state(misses), LOG_PENDING);
    set_snapshot(sees, 101, 0, 200);
    set_snapshot(misses, 101, 100, 200);
    assert_int_equal(log_state(sees), LOG_COPYING);
    assert_int_equal(log_state(misses), LOG_ENDED);
    log_reason(misses, reason);
    assert_string_equal(reason, "truncated");
    log_end_by(f->store, live, &(struct txn){.commit_lsn = 90, .xid = 90}, "before it was there");
    assert_int_equal(log_state(live), LOG_LIVE);
    log_end_by(f->store, live, &truncate, "truncated");
    assert_int_equal(log_state(live), LOG_ENDED);
    log_end_by(f->store, sees, &truncate, "known by now");
    assert_int_equal(log_state(sees), LOG_COPYING);
    log_unref(sees);
    log_unref(misses);
    log_unref(live);
}

/* ---- snapshots ------------------------------------------------------------------------------- */

static struct snapshot_writer *begin_snapshot(struct fixture *f, struct log *log)
{
    struct err err;
    struct snapshot_writer *writer;

    log_register(log, 90);
    set_snapshot(log, 10, 0, 95);
    writer = snapshot_writer_new(f->store, log, &err);
    assert_non_null(writer);
    return writer;
}

static void put_row(struct snapshot_writer *writer, const char *row)
{
    struct err err;

    assert_ok(snapshot_writer_put(writer, slice_of(row), &err), err);
}

static void
test_readers_follow_a_snapshot_and_chunks_close_behind_the_row_that_fills_them(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_log(f->store, 1);
    struct snapshot_block block;
    struct err err;
    char row[4095], handle[64]; /* with its comma it fills a chunk */
    uint32_t index;

    assert_int_equal(log_snapshot_block(f->store, log, 0, &block), SNAPSHOT_WAIT);
    struct snapshot_writer *writer = begin_snapshot(f, log);

    put_row(writer, "small");
    assert_snapshot(f->store, log, "...");
    memset(row, 'x', sizeof(row));
    row[sizeof(row) - 1] = '\0';
    put_row(writer, row); /* 6 + 4095 >= 4096 */
    assert_int_equal(log_snapshot_block(f->store, log, 0, &block), SNAPSHOT_BLOCK);
    assert_int_equal(block.len, 5 + 1 + 4094);
    assert_int_equal(block.rows, 2);
    assert_true(block.ends_chunk);
    snapshot_block_release(&block);
    assert_int_equal(log_snapshot_block(f->store, log, 1, &block), SNAPSHOT_WAIT);
    assert_true(log_snapshot_chunk(f->store, log, 1, &index));
    assert_int_equal(index, 1);
    assert_false(log_snapshot_chunk(f->store, log, 2, &index));
    put_row(writer, "last");
    assert_ok(snapshot_writer_finish(writer, &err), err);
    assert_int_equal(log_snapshot_block(f->store, log, 1, &block), SNAPSHOT_BLOCK);
    assert_int_equal(block.len, 4);
    assert_false(block.ends_chunk);
    snapshot_block_release(&block);
    assert_int_equal(log_snapshot_block(f->store, log, 2, &block), SNAPSHOT_END);
    char *before = read_snapshot(f->store, log);

    copy_handle(log, handle);
    log_unref(log);
    reopen(f, 0);
    log = shapelog_find(f->store, slice_of(handle));
    assert_snapshot(f->store, log, before);
    free(before);
    log_unref(log);
}

static void test_a_snapshot_without_rows_has_only_an_end(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_log(f->store, 1);
    struct snapshot_writer *writer = begin_snapshot(f, log);
    struct err err;
    char handle[64];

    assert_ok(snapshot_writer_finish(writer, &err), err);
    assert_snapshot(f->store, log, "");
    copy_handle(log, handle);
    log_unref(log);
    reopen(f, 0);
    log = shapelog_find(f->store, slice_of(handle));
    assert_snapshot(f->store, log, "");
    log_unref(log);
}

static void test_a_log_that_ends_while_its_snapshot_is_written_is_not_recorded(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_log(f->store, 1);
    struct snapshot_writer *writer = begin_snapshot(f, log);
    struct err err;
    char handle[64];

    put_row(writer, "a");
    shapelog_end_log(f->store, log, "truncated");
    assert_false(snapshot_writer_put(writer, SLICE("b"), &err));
    assert_false(snapshot_writer_finish(writer, &err));
    assert_int_equal(log_state(log), LOG_ENDED);
    copy_handle(log, handle);
    log_unref(log);
    reopen(f, 0);
    assert_null(shapelog_find(f->store, slice_of(handle)));
}

static void test_an_abandoned_snapshot_ends_its_log_with_the_reason(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_log(f->store, 1);
    struct snapshot_writer *writer = begin_snapshot(f, log);
    char reason[256];

    snapshot_writer_abandon(writer, "connection lost");
    assert_int_equal(log_state(log), LOG_ENDED);
    log_reason(log, reason);
    assert_string_equal(reason, "connection lost");
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

/* ---- waiting --------------------------------------------------------------------------------- */

struct counting {
    struct log_listener listener;
    int wakes;
};

static void count_wake(struct log_listener *listener)
{
    ((struct counting *)listener)->wakes++;
}

static void test_a_watched_log_is_queued_once_until_it_is_taken(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_live_log(f->store, 1, 90), *other = new_live_log(f->store, 2, 90);
    struct counting loop = {.listener = {.wake = count_wake}};
    struct err err;

    assert_ok(shapelog_listen(f->store, &loop.listener, &err), err);
    log_watch(f->store, log, &loop.listener);
    put(f->store, f->lane, 100, other, "not watched");
    assert_int_equal(loop.wakes, 0);
    put(f->store, f->lane, 110, log, "a");
    put(f->store, f->lane, 120, log, "b");
    assert_int_equal(loop.wakes, 1);
    struct log *news = log_listener_next(f->store, &loop.listener);
    assert_ptr_equal(news, log);
    log_unref(news);
    assert_null(log_listener_next(f->store, &loop.listener));
    put(f->store, f->lane, 130, log, "c");
    assert_int_equal(loop.wakes, 2);
    log_unwatch(f->store, log, &loop.listener);
    assert_null(log_listener_next(f->store, &loop.listener));
    put(f->store, f->lane, 140, log, "d");
    assert_int_equal(loop.wakes, 2);
    shapelog_unlisten(f->store, &loop.listener);
    log_unref(log);
    log_unref(other);
}

static void test_waiters_hear_of_snapshots_and_of_the_end(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_log(f->store, 1);
    struct counting loop = {.listener = {.wake = count_wake}};
    struct err err;

    assert_ok(shapelog_listen(f->store, &loop.listener, &err), err);
    log_watch(f->store, log, &loop.listener);
    struct snapshot_writer *writer = begin_snapshot(f, log);

    for (int i = 1; i <= 3; i++) {
        assert_int_equal(loop.wakes, i);
        log_unref(log_listener_next(f->store, &loop.listener));
        if (i == 1) {
            put_row(writer, "row");
            assert_ok(snapshot_writer_finish(writer, &err), err);
        } else if (i == 2) {
            shapelog_end_log(f->store, log, "");
        }
    }
    log_unwatch(f->store, log, &loop.listener);
    shapelog_unlisten(f->store, &loop.listener);
    log_unref(log);
}

/* ---- growth ---------------------------------------------------------------------------------- */

static uint64_t count_segments(struct shapelog *store)
{
    struct shapelog_stats stats;

    shapelog_get_stats(store, &stats);
    return stats.segments;
}

/* `n` transactions of 1 kB for the log. */
static void fill(struct fixture *f, struct log *log, lsn_t from, unsigned n)
{
    char text[1001];

    memset(text, 'f', 1000);
    text[1000] = '\0';
    for (unsigned i = 0; i < n; i++)
        put(f->store, f->lane, from + i, log, text);
}

static void test_segments_of_ended_logs_are_deleted(void **state)
{
    struct fixture *f = *state;
    int64_t deadline = clock_ms() + DEADLINE_MS;

    reopen(f, 4096);
    struct log *log = new_live_log(f->store, 1, 90);

    fill(f, log, 100, 40);
    wait_durable(f->store, 144);
    assert_true(count_segments(f->store) > 5);
    shapelog_end_log(f->store, log, "gone");
    while (count_segments(f->store) > 1) {
        assert_true(clock_ms() < deadline);
        usleep(200);
    }
    log_unref(log);
}

static void compact_all(struct shapelog *store)
{
    struct err err;
    bool worked;

    do
        assert_ok(shapelog_compact(store, &worked, &err), err);
    while (worked);
}

static void test_compaction_frees_cold_segments_and_keeps_every_run(void **state)
{
    struct fixture *f = *state;
    struct log *pair[2];
    struct err err;
    char handle[64], *before;

    reopen(f, 8192);
    struct log *cold = new_live_log(f->store, 1, 90), *hot = new_live_log(f->store, 2, 90);
    struct log *twin = new_live_log(f->store, 3, 90);

    pair[0] = cold;
    pair[1] = twin;
    for (lsn_t lsn = 100; lsn < 400; lsn += 10) {
        begin(f->store, lsn);
        append(f->store, f->lane, "first", 0, cold);
        assert_ok(shapelog_append(f->store, f->lane, SLICE("shared"), 2, pair, 2, &err), err);
        append(f->store, f->lane, "third", 6, cold);
        commit(f->store, lsn);
        publish(f->store, lsn);
        fill(f, hot, lsn + 1, 7);
    }
    before = read_log(f->store, cold);
    char *twins = read_log(f->store, twin);
    struct log_cursor cursor = {0};
    struct log_run held;
    size_t n;

    assert_ok(log_read(f->store, twin, &cursor, 100, &held, 1, &n, &err), err);
    assert_int_equal(n, 1);
    wait_durable(f->store, 402);
    assert_true(count_segments(f->store) > 20);
    shapelog_end_log(f->store, hot, "gone");
    compact_all(f->store);
    assert_true(count_segments(f->store) < 5);
    assert_log(f->store, cold, before);
    assert_log(f->store, twin, twins);
    char text[6];
    assert_int_equal(pread(held.fd, text, 6, (off_t)held.offset), 6); /* of a deleted file */
    assert_memory_equal(text, "shared", 6);
    log_runs_release(&held, 1);
    copy_handle(cold, handle);
    put(f->store, f->lane, 500, cold, "later");
    wait_durable(f->store, 505);
    log_unref(cold);
    log_unref(hot);
    log_unref(twin);
    reopen(f, 8192);
    cold = bind_again(f->store, handle, 1);
    char *after = read_log(f->store, cold);

    assert_memory_equal(after, before, strlen(before));
    assert_string_equal(after + strlen(before), "[500]later");
    free(after);
    free(before);
    free(twins);
    log_unref(cold);
}

static void test_sizes_and_figures(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_live_log(f->store, 1, 90);
    uint64_t snapshot_bytes, log_bytes;
    struct shapelog_stats stats;

    put(f->store, f->lane, 100, log, "12345");
    log_get_size(log, &snapshot_bytes, &log_bytes);
    assert_int_equal(log_bytes, 5);
    assert_true(snapshot_bytes >= 4);
    shapelog_get_stats(f->store, &stats);
    assert_int_equal(stats.logs, 1);
    assert_int_equal(stats.extents, 1);
    assert_int_equal(stats.segments, 1);
    assert_int_equal(stats.snapshot_bytes, snapshot_bytes);
    assert_true(stats.segment_bytes > 5);
    log_unref(log);
}

/* ---- a full disk ----------------------------------------------------------------------------- */

#define RETRY(call)                                                                                \
    do {                                                                                           \
        struct err retry_err;                                                                      \
        while (!(call)) {                                                                          \
            assert_int_equal(retry_err.code, ERR_DISK_FULL);                                       \
            failures++;                                                                            \
            io_set_room(room);                                                                     \
        }                                                                                          \
    } while (0)

/* Runs five transactions, each step made again as long as it finds the disk full; every time there
 * are `room` bytes more. */
static unsigned run_with_room(struct fixture *f, struct log *log, int64_t room, lsn_t from)
{
    unsigned failures = 0;
    char text[700];
    bool known;

    memset(text, 'x', sizeof(text));
    io_set_room(room);
    for (lsn_t lsn = from; lsn < from + 5; lsn++) {
        struct txn txn = txn_at(lsn);

        text[0] = (char)('a' + (lsn - from));
        RETRY(shapelog_begin(f->store, &txn, &known, &retry_err));
        RETRY(shapelog_append(f->store, f->lane, (struct slice){text, sizeof(text)}, 0, &log, 1,
                              &retry_err));
        RETRY(shapelog_commit(f->store, &txn, &retry_err));
        lsn_t before = shapelog_published(f->store);
        struct err retry_err;
        while (!shapelog_publish(f->store, lsn, lsn + 1, &retry_err)) {
            assert_int_equal(retry_err.code, ERR_DISK_FULL);
            assert_int_equal(shapelog_published(f->store), before);
            failures++;
            io_set_room(room);
        }
    }
    io_set_room(-1);
    return failures;
}

static void test_a_full_disk_loses_nothing_and_publishes_nothing(void **state)
{
    struct fixture *f = *state;
    unsigned failures = 0;
    lsn_t lsn = 100;

    reopen(f, 2048);
    struct log *log = new_live_log(f->store, 1, 90);

    for (int64_t room = 40; room < 900; room += 37, lsn += 10)
        failures += run_with_room(f, log, room, lsn);
    assert_true(failures > 100);
    wait_durable(f->store, lsn - 5);

    char handle[64], *before = read_log(f->store, log);
    copy_handle(log, handle);
    log_unref(log);
    reopen(f, 2048);
    log = bind_again(f->store, handle, 1);
    assert_log(f->store, log, before);
    char *at = before;
    for (lsn_t i = 100; i < lsn; i += 10) {
        for (lsn_t j = 0; j < 5; j++) {
            char expected[16];

            snprintf(expected, sizeof(expected), "[%" PRIu64 "]%cx", i + j, (char)('a' + j));
            assert_memory_equal(at, expected, strlen(expected));
            at += strlen(expected) + 698;
        }
    }
    assert_int_equal(*at, '\0');
    free(before);
    log_unref(log);
}

static void test_a_snapshot_row_that_finds_the_disk_full_may_be_put_again(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_log(f->store, 1);
    struct snapshot_writer *writer = begin_snapshot(f, log);
    unsigned failures = 0, rows = 0, expected = 0;
    struct snapshot_block block;
    char row[1000];
    struct err err;

    memset(row, 'r', sizeof(row));
    for (; expected < 50; expected++) {
        io_set_room(300);
        while (!snapshot_writer_put(writer, (struct slice){row, sizeof(row)}, &err)) {
            assert_int_equal(err.code, ERR_DISK_FULL);
            failures++;
            io_set_room(300);
        }
    }
    io_set_room(-1);
    assert_ok(snapshot_writer_finish(writer, &err), err);
    assert_true(failures > 20);
    for (uint32_t i = 0; log_snapshot_block(f->store, log, i, &block) == SNAPSHOT_BLOCK; i++) {
        rows += block.rows;
        snapshot_block_release(&block);
    }
    assert_int_equal(rows, expected);
    log_unref(log);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
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
        TEST(test_equal_shapes_share_a_log_and_ended_ones_are_not_found),
        TEST(test_a_failed_snapshot_says_why_with_its_code),
        TEST(test_walking_meets_every_log_that_has_not_ended),
        TEST(test_a_newer_table_is_the_logs_also_after_a_restart),
        TEST(test_a_loaded_log_has_its_definition_and_is_live_once_bound),
        TEST(test_logs_that_are_not_live_are_forgotten_by_a_restart),
        TEST(test_an_ended_log_is_gone_after_a_restart_once_durable_has_passed),
        TEST(test_an_ended_log_is_read_no_more),
        TEST(test_what_the_snapshot_sees_is_left_out_whenever_it_came),
        TEST(test_wants_is_true_until_the_snapshot_says_otherwise),
        TEST(test_xids_are_compared_across_the_wrap),
        TEST(test_transactions_up_to_the_registration_are_not_taken),
        TEST(test_a_transaction_ends_a_log_unless_the_snapshot_sees_it),
        TEST(test_readers_follow_a_snapshot_and_chunks_close_behind_the_row_that_fills_them),
        TEST(test_a_snapshot_without_rows_has_only_an_end),
        TEST(test_a_log_that_ends_while_its_snapshot_is_written_is_not_recorded),
        TEST(test_an_abandoned_snapshot_ends_its_log_with_the_reason),
        TEST(test_durable_position_is_in_the_catalogue_also_when_nothing_is_unsynced),
        TEST(test_durable_comes_back_after_a_restart),
        TEST(test_what_a_rollback_left_in_the_file_is_no_damage),
        TEST(test_the_source_is_kept),
        TEST(test_reset_ends_all_logs_and_begins_anew_below),
        TEST(test_a_second_process_is_told_that_the_folder_is_in_use),
        TEST(test_a_watched_log_is_queued_once_until_it_is_taken),
        TEST(test_waiters_hear_of_snapshots_and_of_the_end),
        TEST(test_segments_of_ended_logs_are_deleted),
        TEST(test_compaction_frees_cold_segments_and_keeps_every_run),
        TEST(test_sizes_and_figures),
        TEST(test_a_full_disk_loses_nothing_and_publishes_nothing),
        TEST(test_a_snapshot_row_that_finds_the_disk_full_may_be_put_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
