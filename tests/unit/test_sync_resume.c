/* A replica that comes with the handle of another node: where it goes on. */
#include "shape_site_kit.h"
#include "shapes/lineage.h"

#define HISTORY "7-abc"

struct resume {
    struct kit *kit;
    struct client client;
    atomic_size_t clients;
    struct buf shapes;
};

/* A log whose snapshot was taken at `limit`, published up to 20. */
static void resume_new(struct resume *r, lsn_t limit)
{
    r->kit = kit_new_pending_chunked(4096);
    kit_snapshot_at(r->kit, NULL, 0, limit);
    r->kit->history = HISTORY;
    atomic_init(&r->clients, 0);
    r->kit->service.clients = &r->clients;
    r->kit->service.keepalive_ms = 60000;
    kit_commit(r->kit, 20, 1, 0);
    client_open(&r->client, r->kit);
    buf_init(&r->shapes, BUF_NO_LIMIT);
}

static void resume_free(struct resume *r)
{
    client_close(&r->client);
    kit_free(r->kit);
    buf_release(&r->shapes);
}

/* One more shape, at `position` under the handle "elsewhere" of a log with this limit. */
static void come(struct resume *r, const char *history, lsn_t limit, lsn_t position)
{
    char text[LINEAGE_SIZE];
    struct table *table = log_table(r->kit->log);
    const struct lineage lineage = {slice_of(history), log_shape(r->kit->log), table,
                                    SLICE("elsewhere"), limit};

    lineage_put(&lineage, text);
    table_unref(table);
    buf_printf(&r->shapes,
               "%s{\"table\":\"items\",\"handle\":\"elsewhere\",\"offset\":\"%llu_inf\","
               "\"lineage\":\"%s\"}",
               r->shapes.len ? "," : "", (unsigned long long)position, text);
}

static void ask(struct resume *r)
{
    struct buf request;

    buf_init(&request, BUF_NO_LIMIT);
    buf_printf(&request,
               "POST /v1/sync?replica=r HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n"
               "{\"shapes\":[%s]}",
               r->shapes.len + strlen("{\"shapes\":[]}"), buf_cstr(&r->shapes));
    assert_int_equal(send(r->client.fd, request.ptr, request.len, MSG_NOSIGNAL), request.len);
    buf_release(&request);
}

static void test_it_goes_on_behind_its_position(void **state)
{
    struct resume r;

    (void)state;
    resume_new(&r, 10);
    kit_commit(r.kit, 30, 1, 0);
    come(&r, HISTORY, 10, 20);
    ask(&r);
    client_hear_until(&r.client, "{\"commit\":{\"lsn\":\"30\",\"consistent\":true");
    assert_true(client_has(&r.client, "\"snapshot\":false"));
    assert_true(client_has(&r.client, "\"lsn\":\"30\",\"op_position\""));
    assert_false(client_has(&r.client, "\"lsn\":\"20\",\"op_position\""));
    assert_false(client_has(&r.client, "elsewhere"));
    resume_free(&r);
}

static void test_it_begins_anew_where_that_would_not_be_exact(void **state)
{
    static const struct {
        const char *history;
        lsn_t ours, theirs, position;
        const char *why;
    } cases[] = {
        {HISTORY, 22, 10, 20, "are younger than"}, /* our snapshot may hide what comes behind it */
        {HISTORY, 10, 22, 20, "are younger than"}, /* its rows have more than its position says */
        {"7-abd", 10, 10, 20, "was begun anew"},
        {HISTORY, 21, 21, 20, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct resume r;

        resume_new(&r, cases[i].ours);
        come(&r, cases[i].history, cases[i].theirs, cases[i].position);
        ask(&r);
        client_hear_until(&r.client, cases[i].why ? "\"snapshot\":true" : "\"snapshot\":false");
        assert_true(client_has(&r.client, cases[i].why ? cases[i].why : "{\"open\""));
        resume_free(&r);
    }
}

/* The first shape is further back: what lies between must not be passed over. */
static void test_a_node_that_is_behind_says_nothing_before_it_is_there(void **state)
{
    struct resume r;

    (void)state;
    resume_new(&r, 10);
    r.kit->service.keepalive_ms = 1;
    come(&r, HISTORY, 10, 20);
    come(&r, HISTORY, 10, 40);
    ask(&r);
    client_hear_until(&r.client, "{\"waiting\":{\"lsn\":\"20\"}}");
    kit_commit(r.kit, 30, 1, 0);
    client_hear_until(&r.client, "{\"waiting\":{\"lsn\":\"30\"}}");
    assert_false(client_has(&r.client, "\"open\""));
    assert_false(client_has(&r.client, "\"commit\""));
    kit_commit(r.kit, 40, 1, 0);
    client_hear_until(&r.client, "{\"commit\":{\"lsn\":\"40\",\"consistent\":true");
    assert_int_equal(client_count(&r.client, "\"lsn\":\"30\",\"op_position\""), 1);
    assert_int_equal(client_count(&r.client, "\"lsn\":\"40\",\"op_position\""), 1);
    resume_free(&r);
}

static void test_a_log_that_ends_is_not_kept_for_who_waits(void **state)
{
    struct resume r;

    (void)state;
    resume_new(&r, 10);
    r.kit->service.keepalive_ms = 1;
    come(&r, HISTORY, 10, INT64_MAX);
    ask(&r);
    client_hear_until(&r.client, "{\"waiting\":{\"lsn\":\"20\"}}");
    shapelog_end_log(r.kit->store, r.kit->log, "truncated");
    client_hear_until(&r.client, "has ended meanwhile: begin again\",\"retry\":true");
    resume_free(&r);
}

/* What a replica is given under one history must not be good for the next one: neither its position
 * is waited for, nor is the dead log's handle told as one of the new history's. */
static void test_another_history_begins_while_it_is_looked_up(void **state)
{
    static const struct {
        bool while_opened;
    } cases[] = {{false}, {true}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct resume r;

        resume_new(&r, 10);
        come(&r, HISTORY, 10, 20);
        r.kit->skip = cases[i].while_opened;
        r.kit->next = "7-abd";
        ask(&r);
        client_hear_until(&r.client, "another one: begin again");
        assert_false(client_has(&r.client, "\"lineage\""));
        resume_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_goes_on_behind_its_position),
        cmocka_unit_test(test_it_begins_anew_where_that_would_not_be_exact),
        cmocka_unit_test(test_a_node_that_is_behind_says_nothing_before_it_is_there),
        cmocka_unit_test(test_a_log_that_ends_is_not_kept_for_who_waits),
        cmocka_unit_test(test_another_history_begins_while_it_is_looked_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
