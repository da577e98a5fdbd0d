/* The shape log's contract (shapelog/shapelog.h): a log's life, from the handoff to its end. */
#include "shapelog_kit.h"

#include <sys/resource.h>

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
    same = shapelog_find_shape(f->store, shape);
    assert_ptr_equal(first, same);
    log_unref(same);
    shapelog_end_log(f->store, first, "rotated");
    assert_null(shapelog_find(f->store, log_handle(first)));
    assert_null(shapelog_find_shape(f->store, shape));

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

    struct log *same = shapelog_find_shape(f->store, shape);
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

/* A snapshot's file is open while somebody is at it, and not for good. */
static void test_there_may_be_more_logs_than_open_files(void **state)
{
    enum { LOGS = 300, FILES = 128 };
    struct log *logs[LOGS];
    struct rlimit kept, low;
    char dir[64];

    (void)state;
    getrlimit(RLIMIT_NOFILE, &kept);
    low = kept;
    low.rlim_cur = FILES;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    make_folder(dir);
    struct shapelog *store = open_store(dir, 0);
    for (unsigned i = 0; i < LOGS; i++)
        logs[i] = new_live_log(store, i, 90);
    for (unsigned i = 0; i < LOGS; i++) {
        struct snapshot_block block;

        assert_int_equal(log_snapshot_block(store, logs[i], 0, &block), SNAPSHOT_BLOCK);
        snapshot_block_release(&block);
        log_unref(logs[i]);
    }
    shapelog_close(store);
    remove_folder(dir);
    setrlimit(RLIMIT_NOFILE, &kept);
}

static void test_all_rows_are_shown_before_the_disk_has_them(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_log(f->store, 1);
    struct snapshot_block block;
    struct err err;

    log_register(log, 90);
    set_snapshot(log, 1, 0, 90);
    struct snapshot_writer *writer = snapshot_writer_new(f->store, log, &err);
    assert_non_null(writer);
    put_row(writer, "row");
    assert_int_equal(log_snapshot_block(f->store, log, 0, &block), SNAPSHOT_WAIT);
    assert_ok(snapshot_writer_show(writer, &err), err);
    assert_int_equal(log_snapshot_block(f->store, log, 0, &block), SNAPSHOT_BLOCK);
    assert_int_equal(block.rows, 1);
    snapshot_block_release(&block);
    assert_ok(snapshot_writer_finish(writer, &err), err);
    assert_int_equal(log_snapshot_block(f->store, log, 1, &block), SNAPSHOT_END);
    log_unref(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        TEST(test_a_watched_log_is_queued_once_until_it_is_taken),
        TEST(test_waiters_hear_of_snapshots_and_of_the_end),
        TEST(test_all_rows_are_shown_before_the_disk_has_them),
        cmocka_unit_test(test_there_may_be_more_logs_than_open_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
