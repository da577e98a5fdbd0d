/* Chunks of first rows that are sent from their file: of several blocks each, all there or still
 * growing. */
#include "shape_site_kit.h"

#define ROWS 15u     /* of some 110 kB, three a block */
#define IN_FIRST 10u /* so many close the first chunk */
#define CHUNK_SIZE (1u << 20)

static void put_row(struct buf *out, unsigned i)
{
    kit_message(out, 5, i, 40000);
}

/* Until row `i` has come, and what stands behind it. */
static void hear_row(struct client *c, unsigned i, char behind)
{
    char text[64];

    snprintf(text, sizeof(text), "\"op_position\":%u}}%c", i, behind);
    client_hear_until(c, text);
}

static void write_rows(struct snapshot_writer *writer, unsigned from, unsigned to)
{
    struct buf row;
    struct err err;

    buf_init(&row, BUF_NO_LIMIT);
    for (unsigned i = from; i < to; i++) {
        buf_clear(&row);
        put_row(&row, i);
        assert_ok(snapshot_writer_put(writer, buf_slice(&row), &err), err);
    }
    buf_release(&row);
}

static struct snapshot_writer *begin_rows(struct kit *kit)
{
    struct err err;

    set_snapshot(kit->log, 1, 0, 10);
    struct snapshot_writer *writer = snapshot_writer_new(kit->store, kit->log, &err);

    assert_non_null(writer);
    return writer;
}

static void end_rows(struct snapshot_writer *writer)
{
    struct err err;

    assert_ok(snapshot_writer_finish(writer, &err), err);
}

/* "[", and the rows joined. */
static void put_array(struct buf *out, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        buf_put_u8(out, i == from ? '[' : ',');
        put_row(out, i);
    }
}

static void assert_first(struct client *c)
{
    struct buf body, expected;

    buf_init(&body, BUF_NO_LIMIT);
    buf_init(&expected, BUF_NO_LIMIT);
    put_array(&expected, 0, IN_FIRST);
    buf_put_u8(&expected, ']');
    client_body(c, &body);
    assert_int_equal(body.len, expected.len);
    assert_memory_equal(body.ptr, expected.ptr, expected.len);
    buf_release(&body);
    buf_release(&expected);
}

static void assert_second(struct client *c)
{
    static const char end[] = ",{\"headers\":{\"control\":\"snapshot-end\",";
    struct buf body, expected;

    buf_init(&body, BUF_NO_LIMIT);
    buf_init(&expected, BUF_NO_LIMIT);
    put_array(&expected, IN_FIRST, ROWS);
    buf_put_cstr(&expected, end);
    client_body(c, &body);
    assert_true(body.len > expected.len);
    assert_memory_equal(body.ptr, expected.ptr, expected.len);
    assert_memory_equal(body.ptr + body.len - 4, "]}}]", 4);
    buf_release(&body);
    buf_release(&expected);
}

static void test_a_chunk_that_has_closed_says_its_length(void **state)
{
    struct kit *kit = kit_new_pending_chunked(CHUNK_SIZE);
    struct snapshot_writer *writer = begin_rows(kit);
    struct client c;

    (void)state;
    write_rows(writer, 0, ROWS);
    client_open(&c, kit);
    for (unsigned round = 0; round < 2; round++) {
        client_ask(&c, "GET", "offset=-1", "");
        hear_row(&c, IN_FIRST - 1, ']');
        assert_true(client_header(&c, "content-length").len > 0);
        assert_first(&c);
        if (round == 0)
            end_rows(writer);
    }
    client_ask(&c, "GET", "handle=%s&offset=0_0", "");
    client_hear_until(&c, "\r\n0\r\n\r\n");
    assert_int_equal(client_header(&c, "content-length").len, 0);
    assert_second(&c);
    client_close(&c);
    kit_free(kit);
}

static void test_a_chunk_that_grows_while_it_is_sent_is_the_same_in_the_end(void **state)
{
    struct kit *kit = kit_new_pending_chunked(CHUNK_SIZE);
    struct snapshot_writer *writer = begin_rows(kit);
    struct client first, second;

    (void)state;
    write_rows(writer, 0, 4);
    client_open(&first, kit);
    client_open(&second, kit);
    client_ask(&first, "GET", "offset=-1", "");
    hear_row(&first, 2, ',');
    client_ask(&second, "GET", "handle=%s&offset=0_0", "");
    write_rows(writer, 4, IN_FIRST + 4);
    client_hear_until(&first, "\r\n0\r\n\r\n");
    hear_row(&second, IN_FIRST + 2, ',');
    write_rows(writer, IN_FIRST + 4, ROWS);
    end_rows(writer);
    client_hear_until(&second, "\r\n0\r\n\r\n");
    assert_first(&first);
    assert_second(&second);
    client_close(&first);
    client_close(&second);
    kit_free(kit);
}

/* What a client has of a body that was cut short it must not take for the whole. */
static void test_a_chunk_whose_log_ends_while_it_is_sent_is_cut_short(void **state)
{
    struct kit *kit = kit_new_pending_chunked(CHUNK_SIZE);
    struct snapshot_writer *writer = begin_rows(kit);
    struct client c;

    (void)state;
    write_rows(writer, 0, 4);
    client_open(&c, kit);
    client_ask(&c, "GET", "offset=-1", "");
    hear_row(&c, 2, ',');
    snapshot_writer_abandon(writer, "the test says so");
    while (kit->rig->worker.nconns)
        http_loop_turn(kit->rig->worker.loop, 1);
    client_hear(&c);
    assert_false(client_has(&c, "\r\n0\r\n\r\n"));
    client_close(&c);
    kit_free(kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_chunk_that_has_closed_says_its_length),
        cmocka_unit_test(test_a_chunk_that_grows_while_it_is_sent_is_the_same_in_the_end),
        cmocka_unit_test(test_a_chunk_whose_log_ends_while_it_is_sent_is_cut_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
