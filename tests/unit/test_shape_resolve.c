/* From a request's wording to its log: what the pool is asked, by whom, and for how long. */
#include "shape_site_kit.h"

static void ask(struct client *c, struct kit *kit, const char *query)
{
    client_open(c, kit);
    client_ask(c, "GET", query, "");
    client_hear(c);
}

/* ---- requests that are given up -------------------------------------------------------------- */

static void test_question_is_given_up_when_the_last_who_waits_has_gone(void **state)
{
    struct kit *kit = kit_new();
    struct client clients[3];

    (void)state;
    kit->holds = true;
    for (int i = 0; i < 3; i++)
        ask(&clients[i], kit, "offset=-1&where=n=1");
    assert_int_equal(kit->asked, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kit->cancelled, 0);
        client_close(&clients[i]);
        kit_turn(kit);
    }
    assert_int_equal(kit->cancelled, 1);
    kit_answer(kit, 0, false);
    kit_turn(kit);
    assert_int_equal(kit->cancelled, 1);
    kit_free(kit);
}

static void test_question_that_was_given_up_is_not_joined(void **state)
{
    struct kit *kit = kit_new();
    struct client gone, c;

    (void)state;
    kit->holds = true;
    ask(&gone, kit, "offset=-1&where=n=1");
    client_close(&gone);
    kit_turn(kit);
    ask(&c, kit, "offset=-1&where=n=1");
    assert_int_equal(kit->asked, 2);
    kit_answer(kit, 0, false);
    client_hear(&c);
    assert_int_equal(c.heard.len, 0);
    kit_answer(kit, 1, true);
    client_hear_until(&c, "snapshot-end");
    assert_int_equal(kit->cancelled, 1);
    client_close(&c);
    kit_free(kit);
}

static void test_deletion_is_given_up_when_its_client_has_gone(void **state)
{
    struct kit *kit = kit_new();
    struct client gone, stays;

    (void)state;
    kit->holds = true;
    kit->site.allow_delete = true;
    client_open(&gone, kit);
    client_ask(&gone, "DELETE", "where=n=1", "");
    client_open(&stays, kit);
    client_ask(&stays, "DELETE", "where=n=2", "");
    client_hear(&stays);
    assert_int_equal(kit->asked, 2);
    client_close(&gone);
    kit_turn(kit);
    assert_int_equal(kit->cancelled, 1);
    kit_answer(kit, 0, false);
    kit_answer(kit, 1, false);
    client_hear_until(&stays, "makes no sense");
    client_close(&stays);
    kit_turn(kit);
    assert_int_equal(kit->cancelled, 1);
    kit_free(kit);
}

static void ask_sync(struct client *c, struct kit *kit, const char *body)
{
    char request[512];

    client_open(c, kit);
    int n = snprintf(request, sizeof(request),
                     "POST /v1/sync?replica=r HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s",
                     strlen(body), body);
    assert_int_equal(send(c->fd, request, (size_t)n, MSG_NOSIGNAL), n);
    client_hear(c);
}

static void test_all_questions_of_a_replica_are_given_up_when_it_has_gone(void **state)
{
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    kit->holds = true;
    ask_sync(&c, kit,
             "{\"live\":true,\"shapes\":[{\"table\":\"a\"},{\"table\":\"b\"},{\"table\":\"c\"}]}");
    assert_int_equal(kit->asked, 3);
    kit_answer(kit, 1, true);
    kit_turn(kit);
    client_close(&c);
    kit_turn(kit);
    assert_int_equal(kit->cancelled, 2);
    kit_answer(kit, 0, true);
    kit_answer(kit, 2, false);
    kit_turn(kit);
    kit_free(kit);
}

static void test_question_that_stays_unanswered_is_answered_with_503(void **state)
{
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    kit->holds = true;
    kit->site.resolve_ms = 20;
    ask(&c, kit, "offset=-1&where=n=1");
    client_hear_until(&c, "Timeout waiting for the database");
    assert_true(client_has(&c, "HTTP/1.1 503"));
    assert_true(client_header(&c, "retry-after").len > 0);
    assert_int_equal(kit->cancelled, 1);
    kit_answer(kit, 0, true);
    kit_turn(kit);
    client_close(&c);
    kit_free(kit);
}

/* ---- what is known --------------------------------------------------------------------------- */

static void ask_numbered(struct client *c, struct kit *kit, unsigned i, const char *pad)
{
    char query[6100];

    snprintf(query, sizeof(query), "offset=-1&where=n=%u%s", i, pad);
    buf_clear(&c->heard);
    client_ask(c, "GET", query, "");
    client_hear_until(c, "snapshot-end");
    (void)kit;
}

static void test_a_thousand_wordings_are_known_whatever_their_length(void **state)
{
    enum { N = 1000 };
    static char pad[6000];
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    memset(pad, '+', sizeof(pad) - 1);
    client_open(&c, kit);
    for (unsigned i = 0; i < 2 * N; i++)
        ask_numbered(&c, kit, i % N, i % 10 ? "" : pad);
    assert_int_equal(kit->asked, N);
    client_close(&c);
    kit_free(kit);
}

/* Nothing may be asked for, or all. */
static void test_wording_tells_an_empty_list_of_columns_from_none(void **state)
{
    const struct shape_request none = {.table = SLICE("t")},
                               empty = {.table = SLICE("t"), .queryable = SLICE("")};
    struct shape_known *known = shape_known_new();

    (void)state;
    assert_true(shape_known_wording(known, &none).lo != shape_known_wording(known, &empty).lo);
    assert_true(shape_known_wording(known, &none).lo == shape_known_wording(known, &none).lo);
    shape_known_free(known);
}

static void test_wording_that_is_asked_for_again_and_again_outlives_a_flood_of_others(void **state)
{
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    client_open(&c, kit);
    for (unsigned i = 1; i <= 5000; i++) {
        ask_numbered(&c, kit, i, "");
        if (i % 100 == 1)
            ask_numbered(&c, kit, 0, "");
    }
    assert_int_equal(kit->asked, 5001);
    for (unsigned i = 1; i <= 2000; i++) /* and there is an end to what is known */
        ask_numbered(&c, kit, i, "");
    assert_true(kit->asked >= 5001 + 2000 - 1100);
    client_close(&c);
    kit_free(kit);
}

/* With more shapes there is more room: who polls them all needs nobody to resolve them. */
static void test_wordings_are_known_of_as_many_shapes_as_there_are(void **state)
{
    enum { N = 1500 };
    struct kit *kit = kit_new();
    static struct log *logs[N];
    struct client c;

    (void)state;
    for (unsigned i = 0; i < N; i++)
        logs[i] = new_log(kit->store, i + 2);
    client_open(&c, kit);
    for (unsigned i = 0; i < 2 * N; i++)
        ask_numbered(&c, kit, i % N, "");
    assert_int_equal(kit->asked, N);
    client_close(&c);
    for (unsigned i = 0; i < N; i++)
        log_unref(logs[i]);
    kit_free(kit);
}

/* However lately they were asked for. */
static void test_wordings_of_logs_that_have_ended_make_room_first(void **state)
{
    enum { LIVE = 600, ENDED = 400, NEW = 100 };
    struct kit *kit = kit_new();
    struct log *live = kit->log, *ended = new_live_log(kit->store, 2, 10);
    struct client c;

    (void)state;
    client_open(&c, kit);
    for (unsigned i = 0; i < LIVE; i++)
        ask_numbered(&c, kit, i, "");
    kit->log = ended;
    for (unsigned i = 0; i < 2 * ENDED; i++)
        ask_numbered(&c, kit, LIVE + i % ENDED, "");
    kit->log = live;
    shapelog_end_log(kit->store, ended, "the test ends it");
    for (unsigned i = 0; i < NEW; i++)
        ask_numbered(&c, kit, LIVE + ENDED + i, "");
    assert_int_equal(kit->asked, LIVE + ENDED + NEW);
    for (unsigned i = 0; i < LIVE; i++)
        ask_numbered(&c, kit, i, "");
    assert_int_equal(kit->asked, LIVE + ENDED + NEW);
    client_close(&c);
    log_unref(ended);
    kit_free(kit);
}

static void test_wording_of_a_log_that_has_ended_is_asked_anew(void **state)
{
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    client_open(&c, kit);
    ask_numbered(&c, kit, 1, "");
    shapelog_end_log(kit->store, kit->log, "the test ends it");
    kit->holds = true;
    client_ask(&c, "GET", "offset=-1&where=n=1", "");
    client_hear(&c);
    assert_int_equal(kit->asked, 2);
    kit_answer(kit, 0, false);
    client_hear_until(&c, "makes no sense");
    client_close(&c);
    kit_free(kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_question_is_given_up_when_the_last_who_waits_has_gone),
        cmocka_unit_test(test_question_that_was_given_up_is_not_joined),
        cmocka_unit_test(test_deletion_is_given_up_when_its_client_has_gone),
        cmocka_unit_test(test_all_questions_of_a_replica_are_given_up_when_it_has_gone),
        cmocka_unit_test(test_question_that_stays_unanswered_is_answered_with_503),
        cmocka_unit_test(test_a_thousand_wordings_are_known_whatever_their_length),
        cmocka_unit_test(test_wording_tells_an_empty_list_of_columns_from_none),
        cmocka_unit_test(test_wording_that_is_asked_for_again_and_again_outlives_a_flood_of_others),
        cmocka_unit_test(test_wordings_are_known_of_as_many_shapes_as_there_are),
        cmocka_unit_test(test_wordings_of_logs_that_have_ended_make_room_first),
        cmocka_unit_test(test_wording_of_a_log_that_has_ended_is_asked_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
