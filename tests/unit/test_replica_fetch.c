/*
 * Fetching over a network that misbehaves: a server of our own plays a list of answers,
 * one a connection, and records what it was asked.
 */
#include "fetch/fetch.h"

#include "player.h"

static bool sync_once(struct kit *k, struct server *s, struct replica **r, bool once, int stop_fd)
{
    const struct fetch_options options = {
        .url = s->url, .bearer = "tell-no-one", .once = once, .stop_fd = stop_fd};

    *r = kit_open(k, "items", NULL);
    return fetch_run(*r, &options, &k->err);
}

static void test_a_stream_that_breaks_is_asked_for_from_where_it_stood(void **state)
{
    struct server s = {.nanswers = 4};
    struct replica *r;
    struct kit k;

    (void)state;
    kit_init(&k);
    s.answers[0] = "";
    s.answers[1] = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    s.answers[2] =
        answer("", OPEN_LINE("true") ROW("1") SNAPSHOT_END COMMIT("100") ROW("2"), false);
    s.answers[3] = answer("", OPEN_LINE("false") ROW("2") COMMIT("200"), true);
    server_start(&s);
    if (!sync_once(&k, &s, &r, true, -1))
        fail_msg("%s", k.err.msg);
    server_stop(&s);
    assert_int_equal(s.nasked, 4);
    assert_answer(&k, "SELECT id FROM items", "1,2");
    assert_non_null(strstr(s.requests[0], "POST /v1/sync?replica="));
    assert_non_null(strstr(s.requests[0], "Authorization: Bearer tell-no-one"));
    assert_non_null(strstr(s.requests[0], "\"live\":false"));
    assert_non_null(strstr(s.requests[3], "\"offset\":\"100_inf\""));
    replica_close(r);
    kit_release(&k);
}

static void test_a_refusal_ends_with_the_bridges_words(void **state)
{
    static const char body[] = "{\"message\":\"Invalid request\",\"errors\":{\"shapes[0].where\":["
                               "\"At location 3: unknown reference foo\"]}}";
    struct server s = {.nanswers = 1};
    struct replica *r;
    struct kit k;
    char text[512];

    (void)state;
    kit_init(&k);
    snprintf(text, sizeof(text), "HTTP/1.1 400 Bad\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
             body);
    s.answers[0] = text;
    server_start(&s);
    assert_false(sync_once(&k, &s, &r, false, -1));
    server_stop(&s);
    assert_int_equal(s.nasked, 1);
    assert_string_equal(k.err.msg, "the bridge answered 400: Invalid request; shapes[0] (items)"
                                   ".where: At location 3: unknown reference foo");
    replica_close(r);
    kit_release(&k);
}

static void test_a_page_of_somebody_else_is_not_taken_for_the_stream(void **state)
{
    struct server s = {.nanswers = 2};
    struct replica *r;
    struct kit k;

    (void)state;
    kit_init(&k);
    s.answers[0] = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    s.answers[1] = answer("", OPEN_LINE("true") SNAPSHOT_END COMMIT("100"), true);
    server_start(&s);
    assert_true(sync_once(&k, &s, &r, true, -1));
    server_stop(&s);
    assert_int_equal(s.nasked, 2);
    replica_close(r);
    kit_release(&k);
}

static void test_an_end_before_up_to_date_is_not_success(void **state)
{
    struct server s = {.nanswers = 2};
    struct replica *r;
    struct kit k;

    (void)state;
    kit_init(&k);
    s.answers[0] = answer("", OPEN_LINE("true") ROW("1"), true);
    s.answers[1] = answer("", OPEN_LINE("true") ROW("1") SNAPSHOT_END COMMIT("100"), true);
    server_start(&s);
    assert_true(sync_once(&k, &s, &r, true, -1));
    server_stop(&s);
    assert_int_equal(s.nasked, 2);
    assert_answer(&k, "SELECT id FROM items", "1");
    replica_close(r);
    kit_release(&k);
}

static void test_a_permanent_error_in_the_stream_ends_it(void **state)
{
    struct server s = {.nanswers = 1};
    struct replica *r;
    struct kit k;

    (void)state;
    kit_init(&k);
    s.answers[0] = answer(
        "", "{\"error\":{\"message\":\"table dropped\",\"shape\":0,\"retry\":false}}\n", true);
    server_start(&s);
    assert_false(sync_once(&k, &s, &r, false, -1));
    server_stop(&s);
    assert_string_equal(k.err.msg, "bridge: table \"items\": table dropped");
    replica_close(r);
    kit_release(&k);
}

static void test_once_gives_up_on_rows_that_never_fit(void **state)
{
    struct server s = {.nanswers = 1};
    struct replica *r;
    struct kit k;

    (void)state;
    kit_init(&k);
    s.answers[0] = answer("", OPEN_LINE("true") ROW("1x") SNAPSHOT_END COMMIT("100"), true);
    server_start(&s);
    assert_false(sync_once(&k, &s, &r, true, -1));
    server_stop(&s);
    assert_int_equal(s.nasked, 3);
    assert_null(strstr(s.requests[1], "refused"));
    assert_non_null(strstr(s.requests[2], "\"handle\":\"h\",\"refused\":\""));
    assert_non_null(strstr(k.err.msg, "table \"items\" cannot be applied: "));
    replica_close(r);
    kit_release(&k);
}

static void test_once_gives_up_on_a_bridge_that_is_not_there(void **state)
{
    const struct fetch_options options = {
        .url = "http://127.0.0.1:1", .once = true, .attempts = 2, .stop_fd = -1};
    struct kit k;

    (void)state;
    kit_init(&k);
    struct replica *r = kit_open(&k, "items", NULL);
    assert_false(fetch_run(r, &options, &k.err));
    assert_int_equal(k.err.code, ERR_CONN);
    replica_close(r);
    kit_release(&k);
}

struct stopper {
    struct kit *k;
    int fd;
};

/* Waits for the row to be there, then says stop. */
static void *stop_when_applied(void *arg)
{
    struct stopper *stopper = arg;
    const uint64_t one = 1;
    sqlite3 *db;
    int rows = 0;

    sqlite3_open(stopper->k->path, &db);
    sqlite3_busy_timeout(db, 5000);
    for (int i = 0; i < 3000 && rows == 0; i++) {
        sqlite3_stmt *stmt = NULL;

        if (sqlite3_prepare_v2(db, "SELECT count(*) FROM items", -1, &stmt, NULL) == SQLITE_OK &&
            sqlite3_step(stmt) == SQLITE_ROW)
            rows = sqlite3_column_int(stmt, 0);
        sqlite3_finalize(stmt);
        usleep(10000);
    }
    sqlite3_close(db);
    return write(stopper->fd, &one, sizeof(one)) == sizeof(one) ? arg : NULL;
}

static void test_a_live_stream_is_applied_at_once_and_ends_when_told(void **state)
{
    struct server s = {.nanswers = 1};
    struct kit k;
    struct stopper stopper = {.k = &k, .fd = eventfd(0, 0)};
    struct replica *r;
    pthread_t thread;

    (void)state;
    kit_init(&k);
    char *held =
        strdup(answer("hold", OPEN_LINE("true") ROW("1") SNAPSHOT_END COMMIT("100"), false));
    s.answers[0] = held;
    server_start(&s);
    assert_int_equal(pthread_create(&thread, NULL, stop_when_applied, &stopper), 0);
    assert_false(sync_once(&k, &s, &r, false, stopper.fd));
    assert_int_equal(k.err.code, ERR_STOPPED);
    pthread_join(thread, NULL);
    server_stop(&s);
    assert_answer(&k, "SELECT id FROM items", "1");
    close(stopper.fd);
    free(held);
    replica_close(r);
    kit_release(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stream_that_breaks_is_asked_for_from_where_it_stood),
        cmocka_unit_test(test_a_refusal_ends_with_the_bridges_words),
        cmocka_unit_test(test_a_page_of_somebody_else_is_not_taken_for_the_stream),
        cmocka_unit_test(test_an_end_before_up_to_date_is_not_success),
        cmocka_unit_test(test_a_permanent_error_in_the_stream_ends_it),
        cmocka_unit_test(test_once_gives_up_on_rows_that_never_fit),
        cmocka_unit_test(test_once_gives_up_on_a_bridge_that_is_not_there),
        cmocka_unit_test(test_a_live_stream_is_applied_at_once_and_ends_when_told),
    };
    struct err err;

    return !fetch_init(&err) || cmocka_run_group_tests(tests, NULL, NULL);
}
