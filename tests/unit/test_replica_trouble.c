/* Rows that cannot be applied: what is tried, and that the others go on. */
#include "replica/answer.h"
#include "replica/trouble.h"

#include "replica_kit.h"

#define REASONS "SELECT status || ':' || ifnull(reason, '') FROM _tombolo_shapes ORDER BY id"

/* Both tables, with a row each. */
static void say_both(struct kit *k, const char *handle)
{
    say_open(k, 0, handle, ITEMS, true);
    say_item(k, 0, "insert", 1, "one", 10);
    say_snapshot_end(k, 0);
    say_open(k, 1, "h2", ITEMS, true);
    say_item(k, 1, "insert", 1, "one", 10);
    say_snapshot_end(k, 1);
}

/* A change at 110 that no table has room for. */
static void say_misfit(struct kit *k, int shape)
{
    buf_printf(
        &k->stream,
        "{\"shape\":%d,\"messages\":[{\"value\":{\"id\":\"1x\",\"name\":\"a\",\"qty\":\"1\"},"
        "\"headers\":{\"operation\":\"insert\",\"lsn\":\"110\"}}]}\n",
        shape);
}

/* One connection that the misfit ends. */
static void fail_once(struct kit *k, struct replica *r, const char *handle)
{
    say_both(k, handle);
    say_commit(k, 100);
    say_misfit(k, 0);
    say_commit(k, 110);
    assert_false(kit_try(k, r, SIZE_MAX / 4));
    assert_int_equal(k->err.code, ERR_CHANGED);
}

static void test_what_never_fits_is_fetched_again_then_refused_then_left_out(void **state)
{
    struct replica_progress progress;
    struct kit k;

    (void)state;
    kit_init(&k);
    struct replica *r = kit_open(&k, "items", "others");
    assert_null(strstr(kit_request(&k, r), "refused"));
    fail_once(&k, r, "h1");
    const char *request = kit_request(&k, r); /* the rows may have been at fault */
    assert_null(strstr(request, "refused"));
    assert_null(strstr(request, "\"handle\":\"h1\""));
    fail_once(&k, r, "h1");
    request = kit_request(&k, r);
    assert_non_null(strstr(request, "\"table\":\"public.items\",\"handle\":\"h1\",\"refused\":\""));
    assert_non_null(strstr(request, "is not a value of the column's type"));
    fail_once(&k, r, "h3");
    assert_non_null(strstr(k.err.msg, "table \"items\" cannot be applied: "));
    replica_progress(r, &progress);
    assert_int_equal(progress.waiting, 1);

    /* The other goes on alone, and says that it is not the whole. */
    request = kit_request(&k, r);
    assert_null(strstr(request, "public.items"));
    say_open(&k, 0, "h2", ITEMS, true);
    say_item(&k, 0, "insert", 5, "five", 5);
    say_end(&k, 0, 200);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT id FROM others", "5");
    assert_answer(&k, "SELECT consistent FROM _tombolo_state", "0");
    assert_non_null(
        strstr(ask(&k, REASONS), "refetching:cannot be applied, tried again now and then: "));
    assert_false(replica_end(r, &k.err));
    assert_non_null(strstr(k.err.msg, "cannot be applied"));

    /* In time it is tried again, and still refused by the handle that failed last. */
    r->troubles->again_at = 0;
    assert_non_null(strstr(kit_request(&k, r), "\"handle\":\"h3\",\"refused\":"));
    kit_done(&k, r);
}

static void test_what_fits_again_is_forgotten(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    struct replica *r = kit_open(&k, "items", "others");
    for (int round = 0; round < 4; round++) {
        kit_request(&k, r);
        fail_once(&k, r, "h1");
        assert_null(strstr(kit_request(&k, r), "refused")); /* the first time, each time */
        say_both(&k, "h1");
        say_commit(&k, 105); /* not past it yet */
        kit_feed(&k, r);
        assert_non_null(r->troubles);
        say_commit(&k, 110);
        kit_feed(&k, r);
        assert_null(r->troubles);
        assert_answer(&k, REASONS, "live:,live:");
    }
    kit_done(&k, r);
}

static void test_a_table_whose_rows_sqlite_refuses_is_left_out_until_it_takes_them(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", "others");
    say_both(&k, "h1");
    say_commit(&k, 100);
    kit_feed(&k, r);
    tell(&k, "CREATE TRIGGER mine BEFORE INSERT ON items WHEN new.qty > 10 BEGIN "
             "SELECT raise(ABORT, 'too many'); END");
    say_item(&k, 1, "insert", 2, "rolled back", 2);
    say_item(&k, 0, "insert", 2, "two", 20);
    say_commit(&k, 110);
    assert_false(kit_try(&k, r, 1000));
    assert_int_equal(k.err.code, ERR_CHANGED);
    assert_non_null(strstr(k.err.msg, "too many"));
    assert_answer(&k, "SELECT count(*) FROM others", "1");
    assert_non_null(strstr(ask(&k, REASONS), "live:SQLite refuses its rows, tried again now and "
                                             "then: table \"items\": too many"));

    const char *request = kit_request(&k, r);
    assert_null(strstr(request, "public.items"));
    say_open(&k, 0, "h2", ITEMS, false);
    say_item(&k, 0, "insert", 2, "two", 2);
    say_commit(&k, 110);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT count(*) FROM others", "2");

    /* The user mends it; in time the stream is asked for anew, from where the table stood. */
    tell(&k, "DROP TRIGGER mine");
    r->troubles->again_at = r->retry_at = 1;
    buf_printf(&k.stream, "{\"keepalive\":{\"lsn\":\"120\",\"consistent\":true}}\n");
    assert_false(kit_try(&k, r, 1000));
    assert_int_equal(k.err.code, ERR_CHANGED);
    request = kit_request(&k, r);
    assert_non_null(strstr(request, "\"handle\":\"h1\",\"offset\":\"100_inf\""));
    assert_non_null(strstr(request, "\"handle\":\"h2\",\"offset\":\"120_inf\""));
    say_open(&k, 0, "h1", ITEMS, false);
    say_open(&k, 1, "h2", ITEMS, false);
    say_item(&k, 0, "insert", 2, "two", 20);
    say_commit(&k, 130);
    kit_feed(&k, r);
    assert_answer(&k, REASONS, "live:,live:");
    assert_answer(&k, "SELECT id || ':' || qty FROM items", "1:10,2:20");
    assert_answer(&k, "SELECT consistent FROM _tombolo_state", "1");
    kit_done(&k, r);
}

static void test_a_table_dropped_under_the_stream_is_fetched_again(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", "others");
    say_both(&k, "h1");
    say_commit(&k, 100);
    kit_feed(&k, r);
    tell(&k, "DROP TABLE items");
    say_item(&k, 0, "insert", 2, "two", 20);
    say_commit(&k, 110);
    assert_false(kit_try(&k, r, 1000));
    assert_int_equal(k.err.code, ERR_CHANGED);
    assert_answer(&k, REASONS, "fetching:its table was dropped,live:");
    assert_non_null(strstr(kit_request(&k, r), "{\"table\":\"public.items\"}"));
    say_both(&k, "h1");
    say_item(&k, 0, "insert", 2, "two", 20);
    say_commit(&k, 120);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT id FROM items", "1,2");
    kit_done(&k, r);
}

#define GONE                                                                                       \
    "{\"message\":\"Invalid request\",\"errors\":{\"shapes[0].table\":[\"it does not exist\"]}}"

static void test_what_the_bridge_had_and_has_no_more_is_left_out_longer_and_longer(void **state)
{
    static const int64_t waits[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000};
    struct replica_progress progress;
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", "others");
    say_both(&k, "h1");
    say_commit(&k, 100);
    kit_feed(&k, r);
    for (size_t i = 0; i < sizeof(waits) / sizeof(*waits); i++) {
        assert_non_null(strstr(kit_request(&k, r), "public.items"));
        assert_false(lite_answer_unsynced(r, 400, SLICE(GONE), &k.err));
        assert_int_equal(k.err.code, ERR_CHANGED);
        assert_non_null(strstr(k.err.msg, "shapes[0] (items).table: it does not exist"));
        assert_int_equal(r->troubles->gone_ms, waits[i]);
        assert_null(strstr(kit_request(&k, r), "public.items"));
        replica_progress(r, &progress);
        assert_true(progress.waiting == 1 && progress.troubled == 1);
        r->troubles->again_at = 1;
    }
    assert_string_equal(ask(&k, REASONS), "live:the bridge does not have it now, tried again now "
                                          "and then: it does not exist,live:");

    /* It is there again: nothing of that stays. */
    kit_request(&k, r);
    say_both(&k, "h3");
    say_commit(&k, 200);
    kit_feed(&k, r);
    assert_null(r->troubles);
    assert_string_equal(ask(&k, REASONS), "live:,live:");
    kit_done(&k, r);
}

/* Two tables that are there; then the first is gone. */
static struct replica *begin_gone(struct kit *k)
{
    struct replica *r = kit_begin(k, "items", "others");

    say_both(k, "h1");
    say_commit(k, 100);
    kit_feed(k, r);
    kit_request(k, r);
    assert_false(lite_answer_unsynced(r, 400, SLICE(GONE), &k->err));
    return r;
}

static void test_first_rows_on_their_way_do_not_begin_anew_for_a_table_that_is_gone(void **state)
{
    struct kit k;
    struct replica *r = begin_gone(&k);

    (void)state;
    kit_request(&k, r);
    r->retry_at = 1;
    say_open(&k, 0, "h9", ITEMS, true);
    say_item(&k, 0, "insert", 2, "two", 20);
    say_commit(&k, 110);
    say_item(&k, 0, "insert", 3, "three", 30);
    kit_feed(&k, r);
    say_end(&k, 0, 120);
    assert_false(kit_try(&k, r, SIZE_MAX / 4)); /* now it is asked for again */
    assert_int_equal(k.err.code, ERR_CHANGED);
    assert_answer(&k, "SELECT id FROM others", "2,3");
    kit_done(&k, r);
}

static void test_a_shape_asked_for_otherwise_has_never_been_had(void **state)
{
    struct kit k;
    struct replica *r = begin_gone(&k);

    (void)state;
    for (int i = 0; i < 2; i++) {
        replica_close(r);
        r = kit_open(&k, "items where wrong = 1", "others");
        kit_request(&k, r);
        assert_false(lite_answer_unsynced(r, 400, SLICE(GONE), &k.err));
        assert_int_equal(k.err.code, ERR_INPUT);
        assert_null(r->troubles);
    }
    kit_done(&k, r);
}

static void test_what_the_bridge_never_had_is_the_askers_error(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", "others");
    assert_false(lite_answer_unsynced(r, 400, SLICE(GONE), &k.err));
    assert_int_equal(k.err.code, ERR_INPUT);
    assert_null(r->troubles);
    kit_done(&k, r);
}

static void say_error(struct kit *k, int shape, bool retry)
{
    buf_printf(&k->stream, "{\"error\":{\"message\":\"no\",\"shape\":%d,\"retry\":%s}}\n", shape,
               retry ? "true" : "false");
}

/* Whether asking again helps is for the answer to the next request to say. */
static void test_a_shape_that_ends_for_good_within_the_stream_is_asked_for_once_more(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", "others");
    say_error(&k, 1, false);
    assert_false(kit_try(&k, r, SIZE_MAX / 4));
    assert_int_equal(k.err.code, ERR_PG);
    kit_request(&k, r);
    say_both(&k, "h1");
    say_commit(&k, 100);
    say_error(&k, 1, false);
    assert_false(kit_try(&k, r, SIZE_MAX / 4));
    assert_int_equal(k.err.code, ERR_CHANGED);
    kit_request(&k, r);
    say_error(&k, 1, true);
    assert_false(kit_try(&k, r, SIZE_MAX / 4));
    assert_int_equal(k.err.code, ERR_CONN);
    kit_done(&k, r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_never_fits_is_fetched_again_then_refused_then_left_out),
        cmocka_unit_test(test_what_fits_again_is_forgotten),
        cmocka_unit_test(test_a_table_whose_rows_sqlite_refuses_is_left_out_until_it_takes_them),
        cmocka_unit_test(test_a_table_dropped_under_the_stream_is_fetched_again),
        cmocka_unit_test(test_what_the_bridge_had_and_has_no_more_is_left_out_longer_and_longer),
        cmocka_unit_test(test_first_rows_on_their_way_do_not_begin_anew_for_a_table_that_is_gone),
        cmocka_unit_test(test_a_shape_asked_for_otherwise_has_never_been_had),
        cmocka_unit_test(test_what_the_bridge_never_had_is_the_askers_error),
        cmocka_unit_test(test_a_shape_that_ends_for_good_within_the_stream_is_asked_for_once_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
