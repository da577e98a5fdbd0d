/* /v1/shape from the request's bytes to the answer's, over a real store. */
#include "shape_site_kit.h"

#include <libdeflate.h>
#include <malloc.h>
#include <zstd.h>

#define AT_END "handle=%s&offset=0_inf"
#define LIVE AT_END "&live=true"
#define SSE LIVE "&live_sse=true"

/* One request and its whole answer's body. */
static void get(struct kit *kit, const char *query, const char *headers, struct client *c,
                struct buf *body)
{
    client_open(c, kit);
    client_ask(c, "GET", query, headers);
    for (int i = 0; i < 50; i++)
        client_hear(c);
    buf_init(body, BUF_NO_LIMIT);
    (void)kit;
}

static void get_body(struct kit *kit, const char *query, struct buf *body)
{
    struct client c;

    get(kit, query, "Connection: close\r\n", &c, body);
    assert_true(client_has(&c, "HTTP/1.1 200"));
    client_body(&c, body);
    client_close(&c);
}

static void test_commit_wakes_all_who_wait_with_one_body(void **state)
{
    struct kit *kit = kit_new();
    struct client clients[20];

    (void)state;
    for (int i = 0; i < 20; i++) {
        client_open(&clients[i], kit);
        client_ask(&clients[i], "GET", LIVE, "");
        client_hear(&clients[i]);
        assert_int_equal(clients[i].heard.len, 0);
    }
    kit_commit(kit, 100, 2, 0);
    http_loop_turn(kit->rig->worker.loop, 100);
    for (int i = 0; i < 20; i++) {
        client_hear_until(&clients[i], "up-to-date\",\"global_last_seen_lsn\":\"100\"}}]");
        assert_true(slice_is(client_header(&clients[i], "electric-offset"), "100_2"));
        assert_true(client_has(&clients[i], "\"op_position\":0}},{"));
        assert_true(client_has(&clients[i], "\"op_position\":2,\"last\":true}},{"));
        client_close(&clients[i]);
    }
    unsigned bodies = 0;
    for (unsigned i = 0; i < SHAPE_BODIES; i++)
        bodies += kit->mine.shapes->bodies[i] != NULL;
    assert_int_equal(bodies, 1);
    assert_int_equal(kit->asked, 1); /* the same words: known from then on */
    kit_free(kit);
}

static void test_request_that_waits_costs_less_than_a_kilobyte(void **state)
{
    enum { N = 500 };
    struct kit *kit = kit_new();
    static struct client clients[N];

    (void)state;
    for (int i = 0; i < N; i++)
        client_open(&clients[i], kit);
    size_t before = mallinfo2().uordblks;

    for (int i = 0; i < N; i++) {
        client_ask(&clients[i], "GET", LIVE, "User-Agent: a browser with a long name\r\n");
        client_hear(&clients[i]);
    }
    size_t each = (mallinfo2().uordblks - before) / N + sizeof(struct http_conn);

    for (int i = 0; i < N; i++)
        client_close(&clients[i]);
    if (before) /* a sanitizer's malloc tells nothing */
        assert_true(each < 1000);
    kit_free(kit);
}

static void test_events_are_the_messages_whatever_their_sizes(void **state)
{
    static const size_t pads[] = {0,    1,    100,  1171, 1172,
                                  1173, 1500, 3000, 9000, 30000}; /* the last ones large batches */

    (void)state;
    for (size_t p = 0; p < sizeof(pads) / sizeof(pads[0]); p++) {
        struct kit *kit = kit_new();
        struct buf json, events, again;
        struct client c;

        kit->site.sse_ms = 100000;
        for (lsn_t lsn = 100; lsn < 104; lsn++)
            kit_commit(kit, lsn, 1 + (unsigned)(lsn % 3) * 60, pads[p]);
        /* All as JSON, chunk by chunk, as events would have it. */
        buf_init(&again, BUF_NO_LIMIT);
        char query[128] = AT_END;
        do {
            get(kit, query, "", &c, &json);
            assert_true(client_has(&c, "HTTP/1.1 200"));
            struct slice offset = client_header(&c, "electric-offset");

            snprintf(query, sizeof(query), "handle=%%s&offset=%.*s", SLICE_ARG(offset));
            bool done = client_has(&c, "electric-up-to-date");

            client_body(&c, &json);
            assert_int_equal(json.ptr[0], '[');
            if (again.len)
                buf_put_cstr(&again, ",");
            buf_put(&again, json.ptr + 1, json.len - 2);
            client_close(&c);
            buf_release(&json);
            if (done)
                break;
        } while (true);

        get(kit, SSE, "", &c, &events);
        client_hear_until(&c, "up-to-date");
        client_hear(&c);
        /* Its chunks joined: the stream goes on, so it is ended as a whole response would be. */
        buf_put_cstr(&c.heard, "0\r\n\r\n");
        client_body(&c, &events);
        struct slice left = buf_slice(&events);
        struct buf joined;

        buf_init(&joined, BUF_NO_LIMIT);
        while (left.len) {
            const char *end = memmem(left.ptr, left.len, "\n\n", 2);

            assert_non_null(end);
            assert_memory_equal(left.ptr, "data: ", 6);
            if (joined.len)
                buf_put_cstr(&joined, ",");
            buf_put(&joined, left.ptr + 6, (size_t)(end - left.ptr) - 6);
            left.len -= (size_t)(end + 2 - left.ptr);
            left.ptr = end + 2;
        }
        /* But for the last seen LSN, which is the last message's here. */
        const char *control = memmem(again.ptr, again.len, "{\"headers\":{\"control\"", 21);

        assert_non_null(control);
        assert_true(joined.len > (size_t)(control - again.ptr));
        assert_memory_equal(joined.ptr, again.ptr, (size_t)(control - again.ptr));
        client_close(&c);
        buf_release(&joined);
        buf_release(&again);
        buf_release(&events);
        kit_free(kit);
    }
}

/* The last stretch of the first one fills its round: its end has nothing more to put. */
static void test_events_go_on_behind_a_large_batch_that_ends_with_its_round(void **state)
{
    const size_t stretch = 16 * 1024;
    struct kit *kit = kit_new();
    struct client c;
    struct buf message;
    size_t pad = SHAPE_SMALL;

    (void)state;
    buf_init(&message, BUF_NO_LIMIT);
    kit_message(&message, 100, 0, pad);
    for (size_t len = message.len; len % stretch; pad++)
        len += strlen(kit_pad(pad));
    kit_commit(kit, 100, 2, pad);
    client_open(&c, kit);
    client_ask(&c, "GET", SSE, "");
    client_hear_until(&c, "\"global_last_seen_lsn\":\"100\"");
    client_close(&c);
    buf_release(&message);
    kit_free(kit);
}

static void test_long_poll_without_news_ends_with_nothing_new(void **state)
{
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    kit->site.long_poll_ms = 20;
    publish(kit->store, 77);
    client_open(&c, kit);
    client_ask(&c, "GET", LIVE, "");
    client_hear_until(&c, "\"global_last_seen_lsn\":\"77\"}}]");
    assert_true(slice_is(client_header(&c, "electric-has-data"), "false"));
    assert_true(slice_is(client_header(&c, "electric-offset"), "0_inf"));
    client_close(&c);
    kit_free(kit);
}

static void test_long_poll_that_ends_while_postgres_is_away_is_503(void **state)
{
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    kit->site.long_poll_ms = 20;
    publish(kit->store, 77);
    client_open(&c, kit);
    client_ask(&c, "GET", LIVE, "");
    client_hear(&c);
    kit->status = SERVICE_STARTING;
    client_hear_until(&c, "503 ");
    assert_true(slice_is(client_header(&c, "retry-after"), "10"));
    client_close(&c);
    kit_free(kit);
}

static void test_bridge_that_is_behind_its_clients_answers_503(void **state)
{
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    kit->site.ready_ms = 60;
    kit->catchup = 1000;
    client_open(&c, kit);
    client_ask(&c, "GET", "handle=%s&offset=500_0", "");
    client_hear_until(&c, "Timeout waiting for the bridge to catch up");
    assert_true(client_has(&c, "HTTP/1.1 503"));
    assert_true(slice_is(client_header(&c, "retry-after"), "5"));
    buf_clear(&c.heard);

    client_ask(&c, "GET", "handle=%s&offset=500_0", "");
    client_hear(&c);
    kit_commit(kit, 500, 1, 0);
    publish(kit->store, 1000);
    client_hear_until(&c, "up-to-date");
    assert_true(client_has(&c, "HTTP/1.1 200"));
    buf_clear(&c.heard);

    /* The connection is lost: what the log has it has. */
    kit->catchup = 0;
    kit->status = SERVICE_STARTING;
    client_ask(&c, "GET", "handle=%s&offset=500_0", "");
    client_hear_until(&c, "up-to-date");
    client_close(&c);
    kit_free(kit);
}

static void test_offset_beyond_the_end_is_served_when_the_log_gets_there(void **state)
{
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    client_open(&c, kit);
    client_ask(&c, "GET", "handle=%s&offset=150_0", "");
    client_hear(&c);
    assert_int_equal(c.heard.len, 0);
    kit_commit(kit, 150, 2, 0);
    client_hear_until(&c, "\"op_position\":2,\"last\":true");
    assert_false(client_has(&c, "\"op_position\":0"));
    buf_clear(&c.heard);

    kit->site.long_poll_ms = 20;
    client_ask(&c, "GET", "handle=%s&offset=151_0", "");
    client_hear_until(&c, "{\"offset\":[\"out of bounds for this shape\"]}");
    client_close(&c);
    kit_free(kit);
}

static void test_first_rows_are_waited_for_and_then_followed(void **state)
{
    static const char *const rows[] = {"{\"key\":\"1\"}", "{\"key\":\"2\"}"};
    struct kit *kit = kit_new_pending();
    struct client first, next, now;

    (void)state;
    client_open(&first, kit);
    client_open(&next, kit);
    client_open(&now, kit);
    client_ask(&first, "GET", "offset=-1", "");
    client_ask(&next, "GET", "handle=%s&offset=0_0", "");
    client_ask(&now, "GET", "offset=now", "");
    client_hear(&first);
    client_hear(&next);
    client_hear(&now);
    assert_int_equal(first.heard.len + next.heard.len + now.heard.len, 0);
    assert_int_equal(atomic_load(&kit->site.initial), 2);
    kit_snapshot(kit, rows, 2);
    client_hear_until(
        &first, "[{\"key\":\"1\"},{\"key\":\"2\"},{\"headers\":{\"control\":\"snapshot-end\"");
    assert_true(slice_is(client_header(&first, "electric-offset"), "0_0"));
    client_hear_until(&next, "up-to-date");
    assert_true(slice_is(client_header(&next, "electric-offset"), "0_inf"));
    client_hear_until(&now, "up-to-date");
    client_close(&first);
    client_close(&next);
    client_close(&now);
    kit_free(kit);
}

/* Until then the rows are ahead of every position that a client could be told. */
static void test_nobody_is_up_to_date_before_the_stream_has_come_to_the_snapshot(void **state)
{
    static const char *const rows[] = {"{\"key\":\"1\"}"};
    struct kit *kit = kit_new_pending();
    struct client next, live, now;

    (void)state;
    kit_snapshot_at(kit, rows, 1, 100);
    client_open(&next, kit);
    client_open(&live, kit);
    client_open(&now, kit);
    client_ask(&next, "GET", "handle=%s&offset=0_0", "");
    client_ask(&live, "GET", LIVE, "");
    client_ask(&now, "GET", "offset=now", "");
    publish(kit->store, 98);
    client_hear(&next);
    client_hear(&live);
    client_hear(&now);
    assert_int_equal(next.heard.len + live.heard.len + now.heard.len, 0);
    publish(kit->store, 99);
    client_hear_until(&next, "\"global_last_seen_lsn\":\"99\"");
    client_hear_until(&now, "\"global_last_seen_lsn\":\"99\"");
    kit_commit(kit, 150, 1, 0);
    client_hear_until(&live, "\"global_last_seen_lsn\":\"150\"");
    client_close(&next);
    client_close(&live);
    client_close(&now);
    kit_free(kit);
}

static void
test_changes_before_the_stream_has_come_to_the_snapshot_do_not_end_the_catching_up(void **state)
{
    struct kit *kit = kit_new_pending();
    struct client c;

    (void)state;
    kit_snapshot_at(kit, NULL, 0, 100);
    kit_commit(kit, 50, 1, 0);
    client_open(&c, kit);
    client_ask(&c, "GET", "handle=%s&offset=0_inf", "");
    client_hear_until(&c, "\"last\":true}}]");
    assert_true(slice_is(client_header(&c, "electric-offset"), "50_0"));
    assert_false(client_has(&c, "up-to-date"));
    buf_clear(&c.heard);
    kit->site.snapshot_ms = 20;
    client_ask(&c, "GET", "handle=%s&offset=50_0", "");
    client_hear_until(&c, "\r\n\r\n[]");
    assert_false(client_has(&c, "up-to-date"));
    client_close(&c);
    kit_free(kit);
}

static void test_shape_that_ends_before_it_has_rows_is_to_be_asked_for_again(void **state)
{
    struct kit *kit = kit_new_pending();
    struct client first, next;

    (void)state;
    client_open(&first, kit);
    client_open(&next, kit);
    client_ask(&first, "GET", "offset=-1", "");
    client_ask(&next, "GET", "handle=%s&offset=0_0", "");
    client_hear(&first);
    client_hear(&next);
    shapelog_end_log(kit->store, kit->log, "permission denied");
    client_hear_until(&first, "{\"message\":\"");
    assert_true(client_has(&first, "HTTP/1.1 503"));
    assert_true(client_header(&first, "retry-after").len > 0);
    client_hear_until(&next, "must-refetch");
    assert_true(client_has(&next, "HTTP/1.1 409"));
    client_close(&first);
    client_close(&next);
    kit_free(kit);
}

static void test_end_of_a_log_wakes_who_waits(void **state)
{
    struct kit *kit = kit_new();
    struct client poll, events;

    (void)state;
    client_open(&poll, kit);
    client_open(&events, kit);
    client_ask(&poll, "GET", LIVE, "");
    client_ask(&events, "GET", SSE, "");
    client_hear(&poll);
    client_hear_until(&events, "text/event-stream");
    shapelog_end_log(kit->store, kit->log, "truncated");
    client_hear_until(&poll, "[{\"headers\":{\"control\":\"must-refetch\"}}]");
    assert_true(
        slice_is(client_header(&poll, "cache-control"), "public, max-age=1, must-revalidate"));
    client_hear_until(&events, "\r\n0\r\n\r\n");
    client_close(&poll);
    client_close(&events);
    kit_free(kit);
}

static void test_silent_stream_says_that_it_is_alive_and_then_ends(void **state)
{
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    kit->site.sse_idle_ms = 20;
    kit->site.sse_ms = 100;
    client_open(&c, kit);
    client_ask(&c, "GET", SSE, "");
    client_hear_until(&c, ": keep-alive\n\n");
    client_hear_until(&c, "\r\n0\r\n\r\n");
    assert_false(client_has(&c, "data: {"));
    client_close(&c);
    kit_free(kit);
}

static void test_who_waits_is_answered_when_the_server_stops(void **state)
{
    struct kit *kit = kit_new();
    struct client live, beyond;

    (void)state;
    client_open(&live, kit);
    client_open(&beyond, kit);
    client_ask(&live, "GET", LIVE, "");
    client_ask(&beyond, "GET", "handle=%s&offset=900_0", "");
    client_hear(&live);
    client_hear(&beyond);
    shape_loop_stop(kit->mine.shapes);
    client_hear_until(&live, "up-to-date");
    client_hear_until(&beyond, "the bridge is stopping");
    client_close(&live);
    client_close(&beyond);
    kit_free(kit);
}

static void test_client_that_goes_is_forgotten(void **state)
{
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    client_open(&c, kit);
    client_ask(&c, "GET", LIVE, "");
    client_hear(&c);
    assert_int_equal(atomic_load(&kit->site.existing), 1);
    client_close(&c);
    kit_turn(kit);
    assert_int_equal(atomic_load(&kit->site.existing), 0);
    assert_null(kit->mine.shapes->waiting);
    kit_commit(kit, 100, 1, 0);
    kit_turn(kit);
    kit_free(kit);
}

static void test_requests_above_the_limit_come_again_later(void **state)
{
    struct kit *kit = kit_new();
    struct client parked, c;

    (void)state;
    kit->site.max_existing = 1;
    client_open(&parked, kit);
    client_open(&c, kit);
    client_ask(&parked, "GET", LIVE, "");
    client_hear(&parked);
    client_ask(&c, "GET", AT_END, "");
    client_hear_until(&c, "Concurrent existing request limit exceeded (limit: 1), please retry");
    buf_clear(&c.heard);
    client_ask(&c, "GET", "offset=-1", ""); /* another kind */
    client_hear_until(&c, "snapshot-end");
    client_close(&parked);
    client_close(&c);
    kit_free(kit);
}

/* ---- encodings ------------------------------------------------------------------------------- */

static void assert_same(struct kit *kit, const char *query, const char *encoding,
                        const struct buf *plain)
{
    char *out = xmalloc(plain->len + 1);
    struct buf body;
    struct client c;
    char accept[64];
    size_t n = 0;

    snprintf(accept, sizeof(accept), "Accept-Encoding: %s\r\n", encoding);
    buf_init(&body, BUF_NO_LIMIT);
    client_open(&c, kit);
    client_ask(&c, "GET", query, accept);
    client_hear_until(&c, "content-encoding");
    for (int i = 0; i < 200; i++)
        client_hear(&c);
    assert_true(slice_is(client_header(&c, "content-encoding"), encoding));
    assert_true(slice_is(client_header(&c, "vary"), "accept-encoding"));
    assert_non_null(memmem(client_header(&c, "etag").ptr, client_header(&c, "etag").len, encoding,
                           strlen(encoding)));
    client_body(&c, &body);
    if (strcmp(encoding, "gzip") == 0) {
        struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();

        assert_int_equal(libdeflate_gzip_decompress(d, body.ptr, body.len, out, plain->len + 1, &n),
                         0);
        libdeflate_free_decompressor(d);
    } else {
        n = ZSTD_decompress(out, plain->len + 1, body.ptr, body.len);
    }
    assert_int_equal(n, plain->len);
    assert_memory_equal(out, plain->ptr, n);
    free(out);
    client_close(&c);
    buf_release(&body);
}

static void test_encoded_bodies_hold_the_same(void **state)
{
    struct kit *kit = kit_new();
    struct buf small, large;
    struct err err;

    (void)state;
    kit->site.encoder = encoder_new((size_t)1 << 20, &err);
    assert_non_null(kit->site.encoder);
    /* Chunks of 4096: one closed by many small messages, one by a message of 300 KB. */
    kit_commit(kit, 100, 60, 1);
    kit_commit(kit, 101, 1, 100000);
    kit_commit(kit, 102, 1, 0);
    get_body(kit, AT_END, &small);
    assert_true(small.len > 4000 && small.len < 8000);
    get_body(kit, "handle=%s&offset=100_118", &large);
    assert_true(large.len > SHAPE_SMALL);
    for (int i = 0; i < 2; i++) {
        assert_same(kit, AT_END, "gzip", &small);
        assert_same(kit, AT_END, "zstd", &small);
        assert_same(kit, "handle=%s&offset=100_118", "gzip", &large);
        assert_same(kit, "handle=%s&offset=100_118", "zstd", &large);
    }
    encoder_stop(kit->site.encoder);
    http_loop_drain(kit->rig->worker.loop);
    encoder_free(kit->site.encoder);
    buf_release(&small);
    buf_release(&large);
    kit_free(kit);
}

/* ---- tags ------------------------------------------------------------------------------------ */

static void test_what_the_client_has_is_not_sent_again(void **state)
{
    struct kit *kit = kit_new();
    char header[256], tag[160];
    struct client c;

    (void)state;
    kit_commit(kit, 100, 1, 0);
    client_open(&c, kit);
    client_ask(&c, "GET", AT_END, "");
    client_hear_until(&c, "up-to-date");
    snprintf(tag, sizeof(tag), "%.*s", SLICE_ARG(client_header(&c, "etag")));
    for (int i = 0; i < 2; i++) {
        buf_clear(&c.heard);
        snprintf(header, sizeof(header), "If-None-Match: \"x\", %s%s\r\n", i ? "W/" : "", tag);
        client_ask(&c, "GET", AT_END, header);
        client_hear_until(&c, "\r\n\r\n");
        assert_true(client_has(&c, "HTTP/1.1 304"));
        assert_true(slice_is(client_header(&c, "etag"), tag));
        assert_true(slice_is(client_header(&c, "electric-offset"), "100_0"));
    }
    buf_clear(&c.heard);
    kit_commit(kit, 101, 1, 0);
    client_ask(&c, "GET", AT_END, header);
    client_hear_until(&c, "up-to-date");
    assert_true(client_has(&c, "HTTP/1.1 200"));
    client_close(&c);
    kit_free(kit);
}

static void test_answers_for_a_bearer_are_private(void **state)
{
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    kit->service.secret = "s3cret";
    client_open(&c, kit);
    client_ask(&c, "GET", "offset=-1&secret=s3cret", "");
    client_hear_until(&c, "snapshot-end");
    assert_true(slice_is(client_header(&c, "cache-control"),
                         "public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746"));
    assert_int_equal(client_header(&c, "vary").len, 0);
    buf_clear(&c.heard);
    client_ask(&c, "GET", "offset=-1", "Authorization: Bearer s3cret\r\n");
    client_hear_until(&c, "snapshot-end");
    assert_true(slice_is(client_header(&c, "cache-control"),
                         "private, max-age=604800, stale-while-revalidate=2629746"));
    assert_true(slice_is(client_header(&c, "vary"), "authorization"));
    client_close(&c);
    kit_free(kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commit_wakes_all_who_wait_with_one_body),
        cmocka_unit_test(test_request_that_waits_costs_less_than_a_kilobyte),
        cmocka_unit_test(test_events_are_the_messages_whatever_their_sizes),
        cmocka_unit_test(test_events_go_on_behind_a_large_batch_that_ends_with_its_round),
        cmocka_unit_test(test_long_poll_without_news_ends_with_nothing_new),
        cmocka_unit_test(test_long_poll_that_ends_while_postgres_is_away_is_503),
        cmocka_unit_test(test_bridge_that_is_behind_its_clients_answers_503),
        cmocka_unit_test(test_offset_beyond_the_end_is_served_when_the_log_gets_there),
        cmocka_unit_test(test_first_rows_are_waited_for_and_then_followed),
        cmocka_unit_test(test_nobody_is_up_to_date_before_the_stream_has_come_to_the_snapshot),
        cmocka_unit_test(
            test_changes_before_the_stream_has_come_to_the_snapshot_do_not_end_the_catching_up),
        cmocka_unit_test(test_shape_that_ends_before_it_has_rows_is_to_be_asked_for_again),
        cmocka_unit_test(test_end_of_a_log_wakes_who_waits),
        cmocka_unit_test(test_silent_stream_says_that_it_is_alive_and_then_ends),
        cmocka_unit_test(test_who_waits_is_answered_when_the_server_stops),
        cmocka_unit_test(test_client_that_goes_is_forgotten),
        cmocka_unit_test(test_requests_above_the_limit_come_again_later),
        cmocka_unit_test(test_encoded_bodies_hold_the_same),
        cmocka_unit_test(test_what_the_client_has_is_not_sent_again),
        cmocka_unit_test(test_answers_for_a_bearer_are_private),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
