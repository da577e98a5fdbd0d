/* Whether the stream's topic goes on with the server that the stream has come to. */
#include "kafka/history.h"

#include "base/arena.h"
#include "wal/timelines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const struct stream_tail tail = {
    .found = true, .position = 1000, .history = "77-0123456789", .timeline = 1};

/* A server that has all that the topic has, on the topic's timeline. */
static struct wal_place server(void)
{
    return (struct wal_place){
        .system_id = "77", .timeline = 1, .confirmed = 900, .server_lsn = 2000};
}

static void assert_says(const char *said, const char *what)
{
    if (!what)
        assert_null(said);
    else if (!said || !strstr(said, what))
        fail_msg("it says \"%s\", not \"%s\"", said ? said : "nothing", what);
}

static void test_the_same_server_with_all_of_it_goes_on(void **state)
{
    struct wal_place place = server();

    (void)state;
    assert_says(history_diverges(&tail, &place, false), NULL);
    assert_says(history_ends(&tail, &place, NULL), NULL);
    place.server_lsn = place.confirmed = tail.position;
    assert_says(history_diverges(&tail, &place, false), NULL);
    assert_says(history_ends(&tail, &place, NULL), NULL);
}

static void test_another_server_does_not_have_what_the_topic_has(void **state)
{
    struct wal_place place = server();

    (void)state;
    assert_says(history_diverges(&tail, &place, true), "the slot or the server's history");
    place.server_lsn = tail.position - 1;
    assert_says(history_diverges(&tail, &place, false), "WAL is behind");
    place = server();
    strcpy(place.system_id, "7"); /* which "77-..." begins with, too */
    assert_says(history_diverges(&tail, &place, false), "another database system");
    assert_says(history_ends(&tail, &place, "why"), "why");
}

static void test_a_timeline_that_left_ours_before_the_topics_end_is_another(void **state)
{
    struct timelines timelines = {.timeline = 2, .n = 1};
    struct timeline_end end = {.timeline = 1};
    struct wal_place place = server();
    struct stream_tail unknown = tail;

    (void)state;
    timelines.ends = &end;
    place.timeline = 2;
    place.timelines = &timelines;
    end.end = tail.position - 1;
    assert_says(history_diverges(&tail, &place, false), "timeline");
    end.end = tail.position;
    assert_says(history_diverges(&tail, &place, false), NULL);
    end.end = tail.position - 1;
    unknown.timeline = 0; /* of a record that does not say it */
    assert_says(history_diverges(&unknown, &place, false), NULL);
}

static void test_a_topic_with_a_gap_or_nothing_in_it_begins_anew(void **state)
{
    const struct stream_tail empty = {0};
    struct wal_place place = server();

    (void)state;
    assert_says(history_ends(&empty, &place, NULL), "is empty");
    place.confirmed = tail.position + 1;
    assert_says(history_ends(&tail, &place, NULL), "the slot is beyond");
}

static void test_names_are_of_their_system_and_no_two_are_equal(void **state)
{
    char one[FRAMES_HISTORY_SIZE], other[FRAMES_HISTORY_SIZE];
    struct stream_tail named = tail;
    struct wal_place place = server();

    (void)state;
    strcpy(place.system_id, "18446744073709551615");
    history_name(&place, one);
    history_name(&place, other);
    assert_string_not_equal(one, other);
    assert_int_equal(strlen(one), 31);
    strcpy(named.history, one);
    assert_says(history_diverges(&named, &place, false), NULL);
    history_name_system(place.system_id, named.history);
    assert_says(history_diverges(&named, &place, false), NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_server_with_all_of_it_goes_on),
        cmocka_unit_test(test_another_server_does_not_have_what_the_topic_has),
        cmocka_unit_test(test_a_timeline_that_left_ours_before_the_topics_end_is_another),
        cmocka_unit_test(test_a_topic_with_a_gap_or_nothing_in_it_begins_anew),
        cmocka_unit_test(test_names_are_of_their_system_and_no_two_are_equal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
