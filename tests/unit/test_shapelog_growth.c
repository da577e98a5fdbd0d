/* The shape log's contract (shapelog/shapelog.h): what it takes on the disk, and a full one. */
#include "shapelog_kit.h"

#include <inttypes.h>

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

static uint32_t count_rows(struct fixture *f, struct log *log)
{
    struct snapshot_block block;
    uint32_t rows = 0;

    for (uint32_t i = 0; log_snapshot_block(f->store, log, i, &block) == SNAPSHOT_BLOCK; i++) {
        rows += block.rows;
        snapshot_block_release(&block);
    }
    return rows;
}

static void test_a_snapshot_row_that_finds_the_disk_full_may_be_put_again(void **state)
{
    struct fixture *f = *state;
    struct log *log = new_log(f->store, 1);
    struct snapshot_writer *writer = begin_snapshot(f, log);
    unsigned failures = 0, expected = 0;
    char row[1000], handle[64];
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
    assert_int_equal(count_rows(f, log), expected);
    copy_handle(log, handle);
    log_unref(log);
    reopen(f, 2048); /* and now by their sums */
    log = bind_again(f->store, handle, 1);
    assert_int_equal(count_rows(f, log), expected);
    log_unref(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_segments_of_ended_logs_are_deleted),
        TEST(test_compaction_frees_cold_segments_and_keeps_every_run),
        TEST(test_sizes_and_figures),
        TEST(test_a_full_disk_loses_nothing_and_publishes_nothing),
        TEST(test_a_snapshot_row_that_finds_the_disk_full_may_be_put_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
