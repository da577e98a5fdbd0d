/* /v1/shape from the request's bytes to the answer's, over a real store. */
#include "shape_site_kit.h"

#include <libdeflate.h>
#include <malloc.h>
#include <zstd.h>

#define AT_END "handle=%s&offset=0_inf"
#define LIVE AT_END "&live=true"
#define SSE LIVE "&live_sse=true"

/* One request and its whole answer's body. */
static void get_body(struct kit *kit, const char *query, struct buf *body)
{
    struct client c;

    client_open(&c, kit);
    client_ask(&c, "GET", query, "Connection: close\r\n");
    for (int i = 0; i < 50; i++)
        client_hear(&c);
    assert_true(client_has(&c, "HTTP/1.1 200"));
    buf_init(body, BUF_NO_LIMIT);
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

static void assert_body_begins(struct kit *kit, const char *query, const char *text)
{
    struct buf body;

    get_body(kit, query, &body);
    assert_true(body.len >= strlen(text));
    assert_memory_equal(body.ptr, text, strlen(text));
    buf_release(&body);
}

/* The same changes from two offsets, and of two logs. */
static void test_bodies_are_of_one_log_and_one_offset(void **state)
{
    struct kit *kit = kit_new();
    struct buf whole, rest;

    (void)state;
    kit_commit(kit, 100, 2, 0);
    get_body(kit, AT_END, &whole);
    get_body(kit, "handle=%s&offset=100_0", &rest);
    assert_true(whole.len > rest.len);
    assert_memory_equal(whole.ptr + whole.len - rest.len + 1, rest.ptr + 1, rest.len - 1);
    buf_release(&whole);
    buf_release(&rest);

    struct log *first = kit->log, *second = new_live_log(kit->store, 2, 10);

    begin(kit->store, 101);
    append(kit->store, kit->lane, "{\"key\":\"a\",\"headers\":{}}", 0, first);
    append(kit->store, kit->lane, "{\"key\":\"b\",\"headers\":{}}", 0, second);
    commit(kit->store, 101);
    publish(kit->store, 101);
    assert_body_begins(kit, "handle=%s&offset=100_inf", "[{\"key\":\"a\"");
    kit->log = second;
    assert_body_begins(kit, "where=n=2&handle=%s&offset=100_inf", "[{\"key\":\"b\"");
    assert_body_begins(kit, "where=n=2&handle=%s&offset=0_inf", "[{\"key\":\"b\"");
    kit->log = first;
    log_unref(second);
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
    assert_true(slice_is(client_header(&c, "cache-control"), "no-cache"));
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

/* In this time they do not come all at once again. */
static void test_who_is_refused_is_told_when_to_come_again(void **state)
{
    struct kit *kit = kit_new_pending();
    unsigned times[11] = {0}, different = 0;
    struct client first, c;

    (void)state;
    kit->site.max_initial = 1;
    client_open(&first, kit);
    client_open(&c, kit);
    client_ask(&first, "GET", "offset=-1", "");
    client_hear(&first);
    for (int i = 0; i < 40; i++) {
        buf_clear(&c.heard);
        client_ask(&c, "GET", i % 2 ? "offset=-1" : "handle=1-2&offset=0_0", "");
        client_hear_until(&c, "Concurrent initial request limit exceeded (limit: 1)");
        assert_true(slice_is(client_header(&c, "electric-internal-known-error"), "true"));
        assert_true(slice_is(client_header(&c, "cache-control"), "no-store"));
        unsigned long seconds = strtoul(client_header(&c, "retry-after").ptr, NULL, 10);

        assert_in_range(seconds, 6, 10);
        different += times[seconds]++ == 0;
    }
    assert_true(different > 1);
    assert_int_equal(atomic_load(&kit->site.initial), 1);
    client_close(&first);
    kit_turn(kit);
    buf_clear(&c.heard);
    client_ask(&c, "GET", "offset=-1", "");
    client_hear(&c);
    assert_int_equal(c.heard.len, 0); /* admitted, and waits */
    client_close(&c);
    kit_free(kit);
}

/* Its shape is there: it waits for the stream alone. */
static void test_a_request_whose_shape_has_begun_is_no_initial_one_any_more(void **state)
{
    struct kit *kit = kit_new_pending();
    struct client clients[3];

    (void)state;
    kit->site.max_initial = 1;
    kit_snapshot_at(kit, NULL, 0, 100);
    for (unsigned i = 0; i < 3; i++) {
        client_open(&clients[i], kit);
        client_ask(&clients[i], "GET", "offset=now", "");
        client_hear(&clients[i]);
        assert_int_equal(clients[i].heard.len, 0);
        assert_int_equal(atomic_load(&kit->site.initial), 0);
        assert_int_equal(atomic_load(&kit->site.existing), i + 1);
    }
    publish(kit->store, 99);
    for (unsigned i = 0; i < 3; i++) {
        client_hear_until(&clients[i], "up-to-date");
        client_close(&clients[i]);
    }
    kit_free(kit);
}

/* ---- wordings -------------------------------------------------------------------------------- */

static void test_each_wording_is_asked_for_once_and_no_two_are_one(void **state)
{
    static const char *const wordings[] = {
        "",
        "&where=n=1",
        "&where=n=$1",
        "&where=n=$1&params[1]=1",
        "&where=n=$1&params[1]=2",
        "&where=n=$1&params[1]=1&params[2]=2",
        "&where=n=$1&params[1]=1&params[2]=23",
        "&where=n=$1&params[1]=12&params[2]=3",
        "&where=n=$1&params[1]=1%%012", /* as if they were two */
        "&columns=id",
        "&columns=id,n",
        "&columns=n,id",
        "&columns=id&queryable_columns=id,n",
        "&columns=id&queryable_columns=id",
        "&replica=full",
        "&log=changes_only",
        "&replica=full&log=changes_only",
    };
    enum { N = sizeof(wordings) / sizeof(wordings[0]) };
    struct kit *kit = kit_new();
    struct client c;
    char query[256];

    (void)state;
    client_open(&c, kit);
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < N; i++) {
            snprintf(query, sizeof(query), "offset=-1%s", wordings[i]);
            buf_clear(&c.heard);
            client_ask(&c, "GET", query, "");
            client_hear_until(&c, "snapshot-end");
            if (kit->asked != (round ? N : i + 1))
                fail_msg("%s: %u were asked for", query, kit->asked);
        }
    }
    client_close(&c);
    kit_free(kit);
}

static void ask_all(struct client *clients, unsigned n, struct kit *kit, const char *query)
{
    for (unsigned i = 0; i < n; i++) {
        client_open(&clients[i], kit);
        client_ask(&clients[i], "GET", query, "");
        client_hear(&clients[i]);
    }
}

static void assert_all_hear(struct client *clients, unsigned n, const char *text)
{
    for (unsigned i = 0; i < n; i++)
        client_hear_until(&clients[i], text);
}

static void assert_all_wait(struct client *clients, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        client_hear(&clients[i]);
        assert_int_equal(clients[i].heard.len, 0);
    }
}

static void close_all(struct client *clients, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        client_close(&clients[i]);
}

static void test_requests_of_one_wording_that_come_together_share_one_answer(void **state)
{
    struct client same[10], other[5], lengthy[2], again;
    struct kit *kit = kit_new();
    char query[6000];

    (void)state;
    kit->holds = true;
    ask_all(same, 10, kit, "offset=-1");
    ask_all(other, 5, kit, "offset=-1&where=n=1");
    snprintf(query, sizeof(query), "offset=-1&where=n=%05000d", 1);
    ask_all(lengthy, 2, kit, query);
    assert_int_equal(kit->asked, 3);
    client_close(&same[9]); /* one does not wait for it */
    kit_turn(kit);
    assert_all_wait(same, 9);

    kit_answer(kit, 0, true);
    assert_all_hear(same, 9, "snapshot-end");
    assert_all_wait(other, 5);
    assert_all_wait(lengthy, 2);
    kit_answer(kit, 1, false);
    assert_all_hear(other, 5, "{\"where\":[\"makes no sense\"]}");
    kit_answer(kit, 2, true);
    assert_all_hear(lengthy, 2, "snapshot-end");

    /* What was wrong is asked for anew, what is known is not. */
    ask_all(&again, 1, kit, "offset=-1");
    client_hear_until(&again, "snapshot-end");
    buf_clear(&again.heard);
    client_ask(&again, "GET", query, "");
    client_hear_until(&again, "snapshot-end");
    assert_int_equal(kit->asked, 3);
    buf_clear(&again.heard);
    client_ask(&again, "GET", "offset=-1&where=n=1", "");
    client_hear(&again);
    assert_int_equal(kit->asked, 4);
    kit_answer(kit, 3, true);
    client_hear_until(&again, "snapshot-end");
    buf_clear(&again.heard);
    client_ask(&again, "GET", "handle=1-2&offset=0_0", "");
    client_hear_until(&again, "must-refetch");
    assert_true(client_header(&again, "electric-handle").len > 0);
    close_all(same, 9);
    close_all(other, 5);
    close_all(lengthy, 2);
    client_close(&again);
    kit_free(kit);
}

static void test_an_answer_that_nobody_waits_for_any_more_is_noted(void **state)
{
    struct kit *kit = kit_new();
    struct client gone, c;

    (void)state;
    kit->holds = true;
    ask_all(&gone, 1, kit, "offset=-1");
    client_close(&gone);
    kit_turn(kit);
    kit_answer(kit, 0, true);
    kit_turn(kit);
    ask_all(&c, 1, kit, "offset=-1");
    client_hear_until(&c, "snapshot-end");
    assert_int_equal(kit->asked, 1);
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

/* One answer's tag, and whether a client that has it is sent the content again. */
static bool is_sent_again(struct client *c, const char *query, char tag[160])
{
    char header[256];

    buf_clear(&c->heard);
    client_ask(c, "GET", query, "");
    client_hear_until(c, "]");
    client_hear(c);
    snprintf(tag, 160, "%.*s", SLICE_ARG(client_header(c, "etag")));
    snprintf(header, sizeof(header), "If-None-Match: %s\r\n", tag);
    buf_clear(&c->heard);
    client_ask(c, "GET", query, header);
    client_hear_until(c, "\r\n\r\n");
    return client_has(c, "HTTP/1.1 200");
}

static void test_a_tag_says_which_log_from_where_and_to_where(void **state)
{
    struct kit *kit = kit_new();
    char handle[64], tag[160], expected[160];
    struct client c;

    (void)state;
    copy_handle(kit->log, handle);
    kit_commit(kit, 100, 1, 0);
    client_open(&c, kit);
    assert_false(is_sent_again(&c, "offset=-1", tag));
    snprintf(expected, sizeof(expected), "\"%s:-1:0_0\"", handle);
    assert_string_equal(tag, expected);
    assert_false(client_has(&c, "electric-up-to-date"));
    assert_false(is_sent_again(&c, "handle=%s&offset=0_0", tag));
    snprintf(expected, sizeof(expected), "\"%s:0_0:100_0\"", handle);
    assert_string_equal(tag, expected);
    assert_true(client_has(&c, "electric-up-to-date"));
    /* Without content it is never the same again. */
    assert_true(is_sent_again(&c, "offset=now", tag));
    snprintf(expected, sizeof(expected), "\"%s:now:100_0:", handle);
    assert_memory_equal(tag, expected, strlen(expected));
    assert_true(strlen(tag) > strlen(expected) + 1);
    client_close(&c);
    kit_free(kit);
}

/* What it has is compared when it asks: that it once saw where the log comes to while it waits,
 * from the same offset, it did by another answer. */
static void test_news_are_sent_whatever_tag_a_waiting_client_has(void **state)
{
    struct kit *kit = kit_new();
    char handle[64], header[160];
    struct client c;

    (void)state;
    copy_handle(kit->log, handle);
    snprintf(header, sizeof(header), "If-None-Match: \"%s:0_inf:100_0\"\r\n", handle);
    client_open(&c, kit);
    client_ask(&c, "GET", LIVE, header);
    client_hear(&c);
    assert_int_equal(c.heard.len, 0);
    kit_commit(kit, 100, 1, 0);
    client_hear_until(&c, "up-to-date\",");
    assert_true(client_has(&c, "HTTP/1.1 200"));
    buf_clear(&c.heard);
    client_ask(&c, "GET", LIVE, header); /* now it is there at once */
    client_hear_until(&c, "\r\n\r\n");
    assert_true(client_has(&c, "HTTP/1.1 304"));
    buf_clear(&c.heard);

    /* Nothing to wait for: it has what there is, and says so. */
    snprintf(header, sizeof(header), "If-None-Match: \"%s:100_0:100_0\"\r\n", handle);
    client_ask(&c, "GET", "handle=%s&offset=100_0&live=true", header);
    client_hear_until(&c, "\r\n\r\n");
    assert_true(client_has(&c, "HTTP/1.1 304"));
    client_close(&c);
    kit_free(kit);
}

/* ---- the cursor ------------------------------------------------------------------------------ */

static uint64_t ask_cursor(struct client *c, const char *more)
{
    char query[128], text[32];

    snprintf(query, sizeof(query), "%s%s", LIVE, more);
    buf_clear(&c->heard);
    client_ask(c, "GET", query, "");
    client_hear_until(c, "up-to-date\",");
    snprintf(text, sizeof(text), "%.*s", SLICE_ARG(client_header(c, "electric-cursor")));
    assert_true(text[0] != '\0');
    return strtoull(text, NULL, 10);
}

/* Seconds since the cursor's beginning, 2024-10-09. */
static uint64_t cursor_now(void)
{
    return (uint64_t)(clock_unix_us() / 1000000) - 1728432000;
}

static void test_a_cursor_is_the_end_of_the_window_that_all_share(void **state)
{
    static const uint64_t windows[] = {1, 3, 7, 20, 600};
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    kit_commit(kit, 100, 1, 0);
    client_open(&c, kit);
    for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
        const uint64_t window = windows[i], before = cursor_now();

        kit->site.long_poll_ms = (int64_t)window * 1000;
        uint64_t cursor = ask_cursor(&c, "&cursor=1");

        assert_int_equal(cursor % window, 0);
        assert_in_range(cursor, before, cursor_now() + window - 1);
    }
    buf_clear(&c.heard);
    client_ask(&c, "GET", AT_END, "");
    client_hear_until(&c, "up-to-date\",");
    assert_int_equal(client_header(&c, "electric-cursor").len, 0);
    client_close(&c);
    kit_free(kit);
}

/* Or a cache would answer with what the client has just been told. */
static void test_a_cursor_moves_on_from_the_one_that_was_given_by_chance(void **state)
{
    struct kit *kit = kit_new();
    unsigned moves = 0;
    uint64_t last = 0;
    struct client c;

    (void)state;
    kit_commit(kit, 100, 1, 0);
    client_open(&c, kit);
    kit->site.long_poll_ms = 600000;
    for (int i = 0; i < 20; i++) {
        /* The window's own end first, then far beyond. */
        uint64_t given = i < 2 ? ask_cursor(&c, "") : cursor_now() + 1000000, cursor;
        char more[64];

        snprintf(more, sizeof(more), "&cursor=%llu", (unsigned long long)given);
        cursor = ask_cursor(&c, more);
        assert_in_range(cursor, given + 1, given + 3600);
        moves += cursor - given != last;
        last = cursor - given;
    }
    assert_true(moves > 5);
    client_close(&c);
    kit_free(kit);
}

/* ---- who may keep what ----------------------------------------------------------------------- */

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
        cmocka_unit_test(test_bodies_are_of_one_log_and_one_offset),
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
        cmocka_unit_test(test_who_waits_is_answered_when_the_server_stops),
        cmocka_unit_test(test_client_that_goes_is_forgotten),
        cmocka_unit_test(test_requests_above_the_limit_come_again_later),
        cmocka_unit_test(test_who_is_refused_is_told_when_to_come_again),
        cmocka_unit_test(test_a_request_whose_shape_has_begun_is_no_initial_one_any_more),
        cmocka_unit_test(test_each_wording_is_asked_for_once_and_no_two_are_one),
        cmocka_unit_test(test_requests_of_one_wording_that_come_together_share_one_answer),
        cmocka_unit_test(test_an_answer_that_nobody_waits_for_any_more_is_noted),
        cmocka_unit_test(test_encoded_bodies_hold_the_same),
        cmocka_unit_test(test_what_the_client_has_is_not_sent_again),
        cmocka_unit_test(test_a_tag_says_which_log_from_where_and_to_where),
        cmocka_unit_test(test_news_are_sent_whatever_tag_a_waiting_client_has),
        cmocka_unit_test(test_a_cursor_is_the_end_of_the_window_that_all_share),
        cmocka_unit_test(test_a_cursor_moves_on_from_the_one_that_was_given_by_chance),
        cmocka_unit_test(test_answers_for_a_bearer_are_private),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
