/*
 * libtombolo's handle and its thread, against a bridge that is away or misbehaves. What it does
 * with a real bridge is tests/integration/test_library.py's.
 */
#include "lib/tombolo.h"

#include "player.h"

#define WAIT_MS 20000

struct seen {
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    unsigned events[TOMBOLO_PROBLEM + 1];
};

static void seen_init(struct seen *seen)
{
    *seen = (struct seen){0};
    pthread_mutex_init(&seen->mutex, NULL);
    pthread_cond_init(&seen->moved, NULL);
}

static void on_event(void *arg, enum tombolo_event event)
{
    struct seen *seen = arg;

    pthread_mutex_lock(&seen->mutex);
    seen->events[event]++;
    pthread_cond_broadcast(&seen->moved);
    pthread_mutex_unlock(&seen->mutex);
}

/* Until the event has come `n` times. */
static void wait_for_event(struct seen *seen, enum tombolo_event event, unsigned n)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MS / 1000;
    pthread_mutex_lock(&seen->mutex);
    while (seen->events[event] < n && rc == 0)
        rc = pthread_cond_timedwait(&seen->moved, &seen->mutex, &until);
    pthread_mutex_unlock(&seen->mutex);
    assert_int_equal(rc, 0);
}

#define FIRST OPEN_LINE("true") ROW("1") SNAPSHOT_END COMMIT("100")

static const char *held(const char *lines)
{
    return answer("hold", lines, false);
}

static void test_a_thread_follows_and_stops_at_once(void **state)
{
    struct server s = {.nanswers = 1};
    struct tombolo_status status;
    struct seen seen;
    struct kit k;

    (void)state;
    kit_init(&k);
    seen_init(&seen);
    s.answers[0] = held(FIRST);
    server_start(&s);
    struct tombolo *t = tombolo_open(k.path, s.url);
    tombolo_on_event(t, on_event, &seen);
    assert_int_equal(tombolo_add_shape(t, "items"), TOMBOLO_OK);
    assert_int_equal(tombolo_start(t), TOMBOLO_OK);
    assert_int_equal(tombolo_start(t), TOMBOLO_MISUSE);
    assert_int_equal(tombolo_sync(t, 0), TOMBOLO_MISUSE);
    assert_int_equal(tombolo_wait_position(t, 100, WAIT_MS), TOMBOLO_OK);
    assert_int_equal(tombolo_wait_position(t, 101, 0), TOMBOLO_TIMEOUT);
    wait_for_event(&seen, TOMBOLO_CHANGED, 1);
    assert_int_equal(tombolo_status(t, &status), TOMBOLO_OK);
    assert_true(status.syncing && status.consistent && status.position == 100);
    assert_int_equal(status.shapes, 1);
    tombolo_stop(t);
    assert_int_equal(tombolo_status(t, &status), TOMBOLO_OK);
    assert_false(status.syncing);
    tombolo_close(t);
    server_stop(&s);
    assert_answer(&k, "SELECT id FROM items", "1");
    kit_release(&k);
}

static void test_a_table_whose_writes_stay_here_is_told_with_the_reason(void **state)
{
    static const char open[] =
        "{\"open\":{\"shape\":0,\"handle\":\"h1\",\"table\":[\"public\",\"x\"],\"schema\":{\"id\":"
        "{\"type\":\"int8\"}},\"snapshot\":true,\"writes\":[\"insert\"]}}\n"
        "{\"snapshot_end\":{\"shape\":0}}\n" COMMIT("100");
    struct server s = {.nanswers = 1};
    struct tombolo_status status;
    struct kit k;

    (void)state;
    kit_init(&k);
    s.answers[0] = held(open);
    server_start(&s);
    struct tombolo *t = tombolo_open(k.path, s.url);
    assert_int_equal(tombolo_add_shape(t, "items"), TOMBOLO_OK);
    assert_int_equal(tombolo_start(t), TOMBOLO_OK);
    assert_int_equal(tombolo_wait_position(t, 100, WAIT_MS), TOMBOLO_OK);
    tombolo_stop(t);
    assert_int_equal(tombolo_status(t, &status), TOMBOLO_OK);
    assert_int_equal(status.kept, 1);
    assert_string_equal(status.kept_why, "items: it has no primary key");
    tombolo_close(t);
    server_stop(&s);
    kit_release(&k);
}

static void test_another_token_makes_the_thread_connect_anew(void **state)
{
    static const char refusal[] = "HTTP/1.1 401 No\r\nContent-Length: 24\r\n\r\n"
                                  "{\"message\":\"it is over\"}";
    struct server s = {.nanswers = 2};
    struct tombolo_status status;
    struct seen seen;
    struct kit k;

    (void)state;
    kit_init(&k);
    seen_init(&seen);
    s.answers[0] = refusal;
    s.answers[1] = held(FIRST);
    server_start(&s);
    struct tombolo *t = tombolo_open(k.path, s.url);
    tombolo_on_event(t, on_event, &seen);
    tombolo_set_token(t, "old");
    assert_int_equal(tombolo_add_shape(t, "items"), TOMBOLO_OK);
    assert_int_equal(tombolo_start(t), TOMBOLO_OK);
    wait_for_event(&seen, TOMBOLO_PROBLEM, 1);
    assert_int_equal(tombolo_status(t, &status), TOMBOLO_OK);
    assert_int_equal(status.result, TOMBOLO_REFUSED);
    assert_non_null(strstr(status.problem, "it is over"));
    tombolo_set_token(t, "new");
    assert_int_equal(tombolo_wait_position(t, 100, WAIT_MS), TOMBOLO_OK);
    wait_for_event(&seen, TOMBOLO_CHANGED, 1);
    assert_int_equal(tombolo_status(t, &status), TOMBOLO_OK);
    assert_int_equal(status.result, TOMBOLO_OK);
    tombolo_close(t);
    server_stop(&s);
    assert_non_null(strstr(s.requests[0], "Bearer old"));
    assert_non_null(strstr(s.requests[1], "Bearer new"));
    kit_release(&k);
}

static void test_a_sync_of_a_bridge_that_is_away_ends_in_time(void **state)
{
    struct tombolo_status status;
    struct kit k;

    (void)state;
    kit_init(&k);
    struct tombolo *t = tombolo_open(k.path, "http://127.0.0.1:1");
    assert_int_equal(tombolo_status(t, &status), TOMBOLO_FAILED);
    assert_int_equal(tombolo_sync(t, 300), TOMBOLO_REFUSED);
    assert_non_null(strstr(tombolo_error(), "no shapes"));
    assert_int_equal(tombolo_add_shape(t, "items where"), TOMBOLO_MISUSE);
    assert_int_equal(tombolo_add_shape(t, "items"), TOMBOLO_OK);
    assert_int_equal(tombolo_sync(t, 300), TOMBOLO_TIMEOUT);
    assert_non_null(strstr(tombolo_error(), "127.0.0.1:1"));
    assert_int_equal(tombolo_status(t, &status), TOMBOLO_OK);
    assert_int_equal(status.result, TOMBOLO_OFFLINE);
    assert_int_equal(tombolo_wait_written(t, 0), TOMBOLO_OK); /* nothing was */
    assert_int_equal(tombolo_discard(t, 1), TOMBOLO_MISUSE);
    assert_int_equal(tombolo_retry(t, 1), TOMBOLO_MISUSE);
    tombolo_close(t);
    kit_release(&k);
}

static void test_a_file_is_synced_by_one_handle(void **state)
{
    struct server s = {.nanswers = 1};
    struct kit k;

    (void)state;
    kit_init(&k);
    s.answers[0] = held(FIRST);
    server_start(&s);
    struct tombolo *t = tombolo_open(k.path, s.url), *other = tombolo_open(k.path, s.url);
    assert_int_equal(tombolo_add_shape(t, "items"), TOMBOLO_OK);
    assert_int_equal(tombolo_start(t), TOMBOLO_OK);
    assert_int_equal(tombolo_start(other), TOMBOLO_BUSY);
    assert_int_equal(tombolo_wait_position(other, 100, WAIT_MS), TOMBOLO_OK);
    tombolo_close(t);
    tombolo_close(other);
    server_stop(&s);
    kit_release(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_thread_follows_and_stops_at_once),
        cmocka_unit_test(test_a_table_whose_writes_stay_here_is_told_with_the_reason),
        cmocka_unit_test(test_another_token_makes_the_thread_connect_anew),
        cmocka_unit_test(test_a_sync_of_a_bridge_that_is_away_ends_in_time),
        cmocka_unit_test(test_a_file_is_synced_by_one_handle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
