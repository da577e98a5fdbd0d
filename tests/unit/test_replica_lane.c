/*
 * First rows that a second thread writes: the same file as without it, whatever happens between.
 */
#include "replica_kit.h"

#include "base/clock.h"
#include "replica/lane.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#define ROWS_A_LINE 100
#define DEADLINE_MS 60000

/* A line of first rows: ids from line * ROWS_A_LINE on. */
static void say_line(struct kit *k, int line)
{
    buf_put_cstr(&k->stream, "{\"shape\":0,\"messages\":[");
    for (int i = 0; i < ROWS_A_LINE; i++)
        buf_printf(&k->stream,
                   "%s{\"key\":\"k\",\"value\":{\"id\":\"%d\",\"name\":\"line %d\",\"qty\":\"1\"},"
                   "\"headers\":{\"operation\":\"insert\"}}",
                   i ? "," : "", line * ROWS_A_LINE + i, line);
    buf_put_cstr(&k->stream, "]}\n");
}

static void say_lines(struct kit *k, int from, int to)
{
    for (int line = from; line < to; line++)
        say_line(k, line);
}

static struct replica *open_threaded(struct kit *k)
{
    kit_init(k);
    struct replica *r = kit_open(k, "items", NULL);

    replica_use_thread(r);
    return r;
}

static void begin_rows(struct kit *k, struct replica *r, const char *handle)
{
    kit_request(k, r);
    say_open(k, 0, handle, ITEMS, true);
}

/* All that a drain waits for. */
static void settle(struct kit *k, struct replica *r)
{
    uint64_t pending;

    assert_true(replica_pending(r, &pending, &k->err));
}

static int count_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int n = 0;

    for (struct dirent *d; (d = readdir(tasks));)
        n += d->d_name[0] != '.';
    closedir(tasks);
    return n;
}

static void test_changes_right_behind_the_rows_find_all_of_them(void **state)
{
    struct replica_progress progress;
    struct kit k;

    (void)state;
    struct replica *r = open_threaded(&k);
    begin_rows(&k, r, "h1");
    say_lines(&k, 0, 50);
    say_end(&k, 0, 10);
    say_item(&k, 0, "update", 4999, "last", 2);
    say(&k, 0, "delete", "{\"id\":\"4998\"}");
    say_item(&k, 0, "insert", 5000, "new", 3);
    say_commit(&k, 20);
    kit_feed(&k, r);
    replica_progress(r, &progress);
    assert_int_equal(progress.rows, 5003);
    assert_int_equal(progress.position, 20);
    assert_answer(&k, "SELECT count(*) || ' ' || sum(id) || ' ' || sum(qty) FROM items",
                  "5000 12497502 5003");
    assert_answer(&k, "SELECT name FROM items WHERE id IN (0, 4997, 4999, 5000) ORDER BY id",
                  "line 0,line 49,last,new");
    kit_done(&k, r);
}

static void test_rows_out_of_order_are_sorted_and_written(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = open_threaded(&k);
    begin_rows(&k, r, "h1");
    say_lines(&k, 10, 13);
    for (int line = 9; line >= 0; line--)
        say_line(&k, line);
    buf_printf(&k.stream, "{\"shape\":0,\"messages\":["
                          "{\"value\":{\"id\":\"7000\",\"name\":\"a\",\"qty\":null},"
                          "\"headers\":{\"operation\":\"insert\"}},"
                          "{\"value\":{\"id\":\"6000\",\"name\":\"b\",\"qty\":\"1\"},"
                          "\"headers\":{\"operation\":\"insert\"}}]}\n");
    say_lines(&k, 20, 40);
    say_end(&k, 0, 10);
    kit_feed(&k, r);
    assert_answer(&k,
                  "SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || count(qty) FROM items",
                  "3302 3302 3301");
    kit_done(&k, r);
}

static void test_a_value_of_another_type_has_the_rows_fetched_again(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = open_threaded(&k);
    begin_rows(&k, r, "h1");
    say_lines(&k, 0, 20);
    say(&k, 0, "insert", "{\"id\":\"one\",\"name\":\"x\",\"qty\":\"1\"}");
    say_lines(&k, 20, 40);
    assert_false(kit_try(&k, r, SIZE_MAX / 4));
    assert_true(err_retriable(k.err.code));
    assert_non_null(strstr(k.err.msg, "\"one\" is not a value of the column's type"));
    begin_rows(&k, r, "h2");
    say_lines(&k, 0, 20);
    say_end(&k, 0, 10);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT count(*) FROM items", "2000");
    kit_done(&k, r);
}

/* What SQLite refuses is told to whoever feeds, at the latest by the end of the rows. */
static void test_a_row_that_sqlite_refuses_ends_the_stream(void **state)
{
    struct replica_progress progress;
    struct kit k;

    (void)state;
    struct replica *r = open_threaded(&k);
    begin_rows(&k, r, "h1");
    kit_feed(&k, r);
    tell(&k, "CREATE TRIGGER no BEFORE INSERT ON items WHEN new.id = 1234"
             " BEGIN SELECT raise(ABORT, 'not this one'); END");
    begin_rows(&k, r, "h2");
    say_lines(&k, 0, 40);
    say_end(&k, 0, 10);
    assert_false(kit_try(&k, r, SIZE_MAX / 4));
    assert_non_null(strstr(k.err.msg, "not this one"));
    replica_progress(r, &progress);
    assert_int_equal(progress.waiting, 1);
    assert_answer(&k, "SELECT count(*) FROM items", "0");
    kit_done(&k, r);
}

/* The thread may have come to the refused row by then, or not: either way one fault is told. */
static void test_a_garbled_line_is_not_told_as_why_a_row_was_refused(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = open_threaded(&k);
    begin_rows(&k, r, "h1");
    kit_feed(&k, r);
    tell(&k, "CREATE TRIGGER no BEFORE INSERT ON items WHEN new.id = 150"
             " BEGIN SELECT raise(ABORT, 'not this one'); END");
    for (int round = 0; round < 200; round++) {
        begin_rows(&k, r, "h2");
        say_lines(&k, 0, 2);
        buf_put_cstr(&k.stream, "{\"shape\":garbled}\n");
        assert_false(kit_try(&k, r, SIZE_MAX / 4));
        assert_int_equal(k.err.code, ERR_PROTOCOL);
        assert_answer(&k, "SELECT count(*) FROM _tombolo_shapes WHERE reason LIKE '%not JSON%'",
                      "0");
    }
    kit_done(&k, r);
}

static void test_the_rows_begin_anew_after_a_stop_anywhere(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = open_threaded(&k);
    for (int lines = 0; lines < 12; lines++) {
        begin_rows(&k, r, "h1");
        say_lines(&k, 0, lines);
        buf_put_cstr(&k.stream, "{\"shape\":0,\"mess");
        kit_feed(&k, r);
        if (lines % 3 == 0) {
            assert_false(replica_end(r, &k.err));
        } else if (lines % 3 == 1) {
            replica_close(r);
            r = kit_open(&k, "items", NULL);
            replica_use_thread(r);
        }
    }
    begin_rows(&k, r, "h1");
    say_lines(&k, 0, 30);
    say_end(&k, 0, 10);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT count(*) || ' ' || sum(id) FROM items", "3000 4498500");
    kit_done(&k, r);
}

static void test_progress_and_requests_to_write_do_not_disturb(void **state)
{
    struct replica_progress progress;
    struct kit k;
    bool any;

    (void)state;
    struct replica *r = open_threaded(&k);
    begin_rows(&k, r, "h1");
    for (int line = 0; line < 60; line++) {
        say_line(&k, line);
        kit_feed(&k, r);
        replica_progress(r, &progress);
        assert_int_equal(progress.rows, (line + 1) * ROWS_A_LINE);
        assert_int_equal(progress.fetching, 1);
        assert_true(replica_write_request(r, &k.body, &any, &k.err));
        assert_false(any);
    }
    say_end(&k, 0, 10);
    kit_feed(&k, r);
    replica_progress(r, &progress);
    assert_int_equal(progress.fetching, 0);
    assert_answer(&k, "SELECT count(*) FROM items", "6000");
    kit_done(&k, r);
}

/* Feeds a line at a time, and says how far it has come. */
struct feeder {
    struct kit *k;
    struct replica *r;
    int from, to;
    atomic_int fed;
    bool ok;
};

static void *feed_lines(void *arg)
{
    struct feeder *f = arg;

    f->ok = true;
    for (int line = f->from; line < f->to && f->ok; line++) {
        say_line(f->k, line);
        f->ok = kit_try(f->k, f->r, SIZE_MAX / 4);
        f->fed++;
    }
    return NULL;
}

static void wait_until_fed(struct feeder *f, int lines)
{
    int64_t deadline = clock_ms() + DEADLINE_MS;

    while (f->fed < lines && clock_ms() < deadline)
        poll(NULL, 0, 5);
    assert_true(f->fed >= lines);
}

static void test_what_is_read_ahead_is_bounded_while_the_file_is_locked(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = open_threaded(&k);
    struct feeder f = {.k = &k, .r = r, .from = 200, .to = 260};
    pthread_t thread;

    begin_rows(&k, r, "h1");
    say_lines(&k, 0, 200); /* as many rows as are committed together: no transaction is open */
    kit_feed(&k, r);
    settle(&k, r);
    sqlite3 *other = kit_reader(&k);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(pthread_create(&thread, NULL, feed_lines, &f), 0);
    wait_until_fed(&f, LITE_BLOCKS);
    poll(NULL, 0, 100); /* time to go on for one that would */
    int fed = f.fed;
    sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(other);
    pthread_join(thread, NULL);
    assert_true(f.ok);
    assert_int_equal(fed, LITE_BLOCKS);
    say_end(&k, 0, 10);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT count(*) || ' ' || max(id) FROM items", "26000 25999");
    kit_done(&k, r);
}

static void test_few_rows_need_no_thread_and_the_last_row_ends_it(void **state)
{
    int64_t deadline = clock_ms() + DEADLINE_MS;
    int before;
    struct kit k;

    (void)state;
    struct replica *r = open_threaded(&k);
    begin_rows(&k, r, "h1");
    say_line(&k, 0);
    before = count_threads();
    kit_feed(&k, r);
    assert_int_equal(count_threads(), before);
    say_line(&k, 1);
    kit_feed(&k, r);
    assert_int_equal(count_threads(), before + 1);
    say_end(&k, 0, 10);
    kit_feed(&k, r);
    while (count_threads() > before && clock_ms() < deadline) /* joined; the kernel is later */
        poll(NULL, 0, 5);
    assert_int_equal(count_threads(), before);
    kit_done(&k, r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes_right_behind_the_rows_find_all_of_them),
        cmocka_unit_test(test_rows_out_of_order_are_sorted_and_written),
        cmocka_unit_test(test_a_value_of_another_type_has_the_rows_fetched_again),
        cmocka_unit_test(test_a_row_that_sqlite_refuses_ends_the_stream),
        cmocka_unit_test(test_a_garbled_line_is_not_told_as_why_a_row_was_refused),
        cmocka_unit_test(test_the_rows_begin_anew_after_a_stop_anywhere),
        cmocka_unit_test(test_progress_and_requests_to_write_do_not_disturb),
        cmocka_unit_test(test_what_is_read_ahead_is_bounded_while_the_file_is_locked),
        cmocka_unit_test(test_few_rows_need_no_thread_and_the_last_row_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
