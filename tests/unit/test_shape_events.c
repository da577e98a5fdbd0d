/* Live answers as server-sent events, over a real store: which bytes they are, and how they end. */
#include "shape_site_kit.h"

#include "http/conn_private.h"

#define AT_END "handle=%s&offset=0_inf"
#define LIVE AT_END "&live=true"
#define SSE LIVE "&live_sse=true"

/* ---- the same messages, as arrays and as events ---------------------------------------------- */

/* One answer's elements, and its offset as the next query. False: it was the last. */
static bool put_elements(struct kit *kit, char query[128], struct buf *out)
{
    struct client c;
    struct buf body;

    client_open(&c, kit);
    client_ask(&c, "GET", query, "");
    for (int i = 0; i < 50; i++)
        client_hear(&c);
    assert_true(client_has(&c, "HTTP/1.1 200"));
    bool more = !client_has(&c, "electric-up-to-date");

    snprintf(query, 128, "handle=%%s&offset=%.*s", SLICE_ARG(client_header(&c, "electric-offset")));
    buf_init(&body, BUF_NO_LIMIT);
    client_body(&c, &body);
    assert_int_equal(body.ptr[0], '[');
    if (out->len)
        buf_put_cstr(out, ",");
    buf_put(out, body.ptr + 1, body.len - 2);
    buf_release(&body);
    client_close(&c);
    return more;
}

static void assert_one_message(struct slice text)
{
    const char mark[] = "\"headers\":{";
    const char *first = memmem(text.ptr, text.len, mark, sizeof(mark) - 1);

    assert_non_null(first);
    assert_null(
        memmem(first + 1, text.len - (size_t)(first + 1 - text.ptr), mark, sizeof(mark) - 1));
}

/* The messages of whole events, joined by commas. */
static void put_events(struct slice events, struct buf *out)
{
    while (events.len) {
        const char *end = memchr(events.ptr, '\n', events.len);

        assert_non_null(end);
        assert_memory_equal(end, "\n\n", 2);
        assert_memory_equal(events.ptr, "data: ", 6);
        assert_one_message((struct slice){events.ptr + 6, (size_t)(end - events.ptr) - 6});
        if (out->len)
            buf_put_cstr(out, ",");
        buf_put(out, events.ptr + 6, (size_t)(end - events.ptr) - 6);
        events.len -= (size_t)(end + 2 - events.ptr);
        events.ptr = end + 2;
    }
}

/* What a stream of events from the beginning on has said by its first up-to-date. */
static void put_stream(struct kit *kit, struct buf *out)
{
    struct buf events;
    struct client c;

    client_open(&c, kit);
    client_ask(&c, "GET", SSE, "");
    client_hear_until(&c, "up-to-date");
    client_hear(&c);
    buf_init(&events, BUF_NO_LIMIT);
    /* The stream goes on, so it is ended as a whole response would be. */
    buf_put_cstr(&c.heard, "0\r\n\r\n");
    client_body(&c, &events);
    put_events(buf_slice(&events), out);
    buf_release(&events);
    client_close(&c);
}

static void assert_events_are_the_messages(struct kit *kit)
{
    char query[128] = AT_END;
    struct buf array, events;

    buf_init(&array, BUF_NO_LIMIT);
    buf_init(&events, BUF_NO_LIMIT);
    while (put_elements(kit, query, &array))
        continue;
    put_stream(kit, &events);
    /* But for the last seen LSN, which is the last message's here. */
    const char *control = memmem(array.ptr, array.len, "{\"headers\":{\"control\"", 21);

    assert_non_null(control);
    assert_true(events.len > (size_t)(control - array.ptr));
    assert_memory_equal(events.ptr, array.ptr, (size_t)(control - array.ptr));
    buf_release(&array);
    buf_release(&events);
}

static void test_events_are_the_messages_whatever_their_sizes(void **state)
{
    static const size_t pads[] = {0,    1,    100,  1171, 1172,
                                  1173, 1500, 3000, 9000, 30000}; /* the last ones large batches */

    (void)state;
    for (size_t p = 0; p < sizeof(pads) / sizeof(pads[0]); p++) {
        struct kit *kit = kit_new();

        kit->site.sse_ms = 100000;
        for (lsn_t lsn = 100; lsn < 104; lsn++)
            kit_commit(kit, lsn, 1 + (unsigned)(lsn % 3) * 60, pads[p]);
        assert_events_are_the_messages(kit);
        kit_free(kit);
    }
}

/* A message of `len` bytes. */
static void append_long(struct kit *kit, size_t len, uint64_t op)
{
    static const char head[] = "{\"key\":\"k\",\"value\":{\"v\":\"",
                      tail[] = "\"},\"headers\":{\"operation\":\"insert\"}}";
    char *text = xmalloc(len + 1);

    memset(text, 'p', len);
    memcpy(text, head, sizeof(head) - 1);
    memcpy(text + len - (sizeof(tail) - 1), tail, sizeof(tail));
    append(kit->store, kit->lane, text, op, kit->log);
    free(text);
}

/* Files are read 16 KB at a time: what stands between two messages lies across two reads, with each
 * number of its bytes in the first of them. */
static void test_events_are_the_messages_wherever_a_read_ends(void **state)
{
    const size_t read_at_a_time = 16 * 1024, most = sizeof("}},{\"key\":\"");

    (void)state;
    for (size_t before = 0; before <= most; before++) {
        struct kit *kit = kit_new_chunked((size_t)10 << 20);

        begin(kit->store, 100);
        append_long(kit, 5 * read_at_a_time + 2 - before, 0);
        append_long(kit, 300, 2);
        append_long(kit, 5 * read_at_a_time, 4);
        commit(kit->store, 100);
        publish(kit->store, 100);
        assert_events_are_the_messages(kit);
        kit_free(kit);
    }
}

/* ---- one after the other --------------------------------------------------------------------- */

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

/* Small batches and large ones, each once. */
static void test_events_begin_behind_the_offset_and_each_comes_once(void **state)
{
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    kit_commit(kit, 100, 2, 0);
    client_open(&c, kit);
    client_ask(&c, "GET", "handle=%s&offset=100_0&live=true&live_sse=true", "");
    client_hear_until(&c, "\"global_last_seen_lsn\":\"100\"");
    assert_true(slice_is(client_header(&c, "electric-offset"), "100_0"));
    assert_true(slice_is(client_header(&c, "content-type"), "text/event-stream"));
    assert_true(slice_is(client_header(&c, "cache-control"), "public, max-age=59"));
    assert_true(slice_is(client_header(&c, "x-accel-buffering"), "no"));
    kit_commit(kit, 101, 1, 0);
    client_hear_until(&c, "\"global_last_seen_lsn\":\"101\"");
    kit_commit(kit, 102, 1, SHAPE_SMALL);
    client_hear_until(&c, "\"global_last_seen_lsn\":\"102\"");
    kit_commit(kit, 103, 1, 0);
    client_hear_until(&c, "\"global_last_seen_lsn\":\"103\"");
    assert_int_equal(client_count(&c, "\"op_position\":0}}"),
                     0); /* of 100, the one that is not last */
    assert_int_equal(client_count(&c, "\"lsn\":\"100\""), 1);
    assert_int_equal(client_count(&c, "\"lsn\":\"101\""), 1);
    assert_int_equal(client_count(&c, "\"lsn\":\"102\""), 1);
    assert_int_equal(client_count(&c, "\"lsn\":\"103\""), 1);
    assert_int_equal(client_count(&c, "data: {"), 8);
    client_close(&c);
    kit_free(kit);
}

static void test_events_and_arrays_of_the_same_changes_are_not_mixed_up(void **state)
{
    struct kit *kit = kit_new();
    struct client poll, events;

    (void)state;
    client_open(&poll, kit);
    client_open(&events, kit);
    client_ask(&poll, "GET", LIVE, "");
    client_ask(&events, "GET", SSE, "");
    client_hear(&poll);
    client_hear_until(&events, "\r\n\r\n");
    kit_commit(kit, 100, 1, 0);
    client_hear_until(&poll, "\"global_last_seen_lsn\":\"100\"}}]");
    client_hear_until(&events, "\"global_last_seen_lsn\":\"100\"}}\n\n");
    assert_int_equal(client_count(&poll, "\r\n\r\n[{\"key\""), 1);
    assert_int_equal(client_count(&events, "data: {\"key\""), 1);
    client_close(&poll);
    client_close(&events);
    kit_free(kit);
}

/* Who has not all the rows is sent the next ones, as they always come. */
static void test_rows_are_an_array_for_who_asks_for_events_too(void **state)
{
    struct kit *kit = kit_new_pending();
    const char *rows[3];
    struct buf row;
    struct client c;

    (void)state;
    buf_init(&row, BUF_NO_LIMIT);
    kit_message(&row, 1, 7, 4096);
    for (int i = 0; i < 3; i++)
        rows[i] = buf_cstr(&row);
    kit_snapshot(kit, rows, 3);
    client_open(&c, kit);
    client_ask(&c, "GET", "handle=%s&offset=0_0&live=true&live_sse=true", "");
    client_hear_until(&c, "\"op_position\":7}}]");
    assert_true(slice_is(client_header(&c, "electric-offset"), "0_1"));
    assert_true(slice_is(client_header(&c, "content-type"), "application/json; charset=utf-8"));
    assert_true(client_has(&c, "\r\n\r\n[{\"key\""));
    assert_false(client_has(&c, "data: {"));
    client_close(&c);
    buf_release(&row);
    kit_free(kit);
}

/* ---- how they end ---------------------------------------------------------------------------- */

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
    assert_in_range(client_count(&c, "keep-alive"), 1, 4); /* not more than there is time for */
    client_close(&c);
    kit_free(kit);
}

static void test_events_end_when_the_server_stops(void **state)
{
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    client_open(&c, kit);
    client_ask(&c, "GET", SSE, "");
    client_hear_until(&c, "text/event-stream");
    http_worker_stop(&kit->rig->worker, PATIENCE_MS);
    client_hear_until(&c, "\r\n0\r\n\r\n");
    client_close(&c);
    kit_free(kit);
}

/* Many large transactions in one batch: what has been begun is told to its end, and the response
 * is a whole one, so that no proxy calls it broken and the client asks at once what has become of
 * the shape. */
static void test_events_end_with_a_whole_one_when_the_log_ends_amid_them(void **state)
{
    struct kit *kit = kit_new_chunked((size_t)64 << 20);
    struct buf events, messages;
    struct client c;

    (void)state;
    for (lsn_t lsn = 100; lsn < 120; lsn++)
        kit_commit(kit, lsn, 1, SHAPE_SMALL);
    client_open(&c, kit);
    client_ask(&c, "GET", SSE, "");
    kit_turn(kit); /* as much as the socket takes */
    shapelog_end_log(kit->store, kit->log, "truncated");
    client_hear_until(&c, "\r\n0\r\n\r\n");
    buf_init(&events, BUF_NO_LIMIT);
    buf_init(&messages, BUF_NO_LIMIT);
    client_body(&c, &events);
    put_events(buf_slice(&events), &messages);
    assert_non_null(memmem(messages.ptr, messages.len, "\"lsn\":\"100\"", 11));
    assert_null(memmem(messages.ptr, messages.len, "\"lsn\":\"119\"", 11));
    assert_memory_equal(messages.ptr + messages.len - 2, "}}", 2);
    buf_release(&events);
    buf_release(&messages);
    client_close(&c);
    kit_free(kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_are_the_messages_whatever_their_sizes),
        cmocka_unit_test(test_events_are_the_messages_wherever_a_read_ends),
        cmocka_unit_test(test_events_go_on_behind_a_large_batch_that_ends_with_its_round),
        cmocka_unit_test(test_events_begin_behind_the_offset_and_each_comes_once),
        cmocka_unit_test(test_events_and_arrays_of_the_same_changes_are_not_mixed_up),
        cmocka_unit_test(test_rows_are_an_array_for_who_asks_for_events_too),
        cmocka_unit_test(test_silent_stream_says_that_it_is_alive_and_then_ends),
        cmocka_unit_test(test_events_end_when_the_server_stops),
        cmocka_unit_test(test_events_end_with_a_whole_one_when_the_log_ends_amid_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
