#include "http/sync_acks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROW(operation, value)                                                                      \
    "{\"key\":\"k\",\"value\":{" value "},\"headers\":{\"operation\":\"" operation "\"}}"
#define REPLICA(operation, last, nonce)                                                            \
    ROW(operation, "\"replica\":\"r\",\"last_id\":\"" last "\",\"nonce\":\"" nonce "\"")
#define REJECTED(operation, id, mutation)                                                          \
    ROW(operation,                                                                                 \
        "\"replica\":\"r\",\"id\":\"" id "\",\"mutation\":\"" mutation                             \
        "\",\"code\":\"refused\",\"sqlstate\":\"23505\",\"message\":\"say \\\"no\\\"\"")
#define SAID(id, mutation)                                                                         \
    "{\"id\":" id ",\"mutation\":" mutation                                                        \
    ",\"code\":\"refused\",\"sqlstate\":\"23505\",\"message\":\"say \\\"no\\\"\"}"

static void take(struct acks *acks, enum acks_feed feed, const char *messages)
{
    struct err err;

    assert_true(acks_take(acks, feed, slice_of(messages), &err));
}

static void check_line(struct acks *acks, const char *line)
{
    struct buf out;

    assert_true(acks->due);
    buf_init(&out, BUF_NO_LIMIT);
    acks_put(acks, &out);
    assert_string_equal(buf_cstr(&out), line);
    assert_false(acks->due);
    buf_release(&out);
}

static void test_nothing_written_is_worth_a_line(void **state)
{
    struct acks acks;

    (void)state;
    acks_init(&acks, "r");
    take(&acks, ACKS_REPLICAS, "");
    check_line(&acks, "{\"ack\":{\"last\":0,\"rejected\":[]}}\n");
    acks_release(&acks);
}

static void test_a_rejection_is_said_once_and_the_last_id_each_time(void **state)
{
    struct acks acks;

    (void)state;
    acks_init(&acks, "r");
    take(&acks, ACKS_REPLICAS, REPLICA("insert", "3", "c"));
    take(&acks, ACKS_REJECTIONS, REJECTED("insert", "2", "-1") "," REJECTED("insert", "3", "0"));
    check_line(&acks, "{\"ack\":{\"last\":3,\"nonce\":\"c\",\"rejected\":[" SAID(
                          "2", "-1") "," SAID("3", "0") "]}}\n");
    take(&acks, ACKS_REPLICAS, REPLICA("update", "4", "d"));
    check_line(&acks, "{\"ack\":{\"last\":4,\"nonce\":\"d\",\"rejected\":[]}}\n");
    acks_release(&acks);
}

static void test_what_was_acknowledged_meanwhile_is_not_said(void **state)
{
    struct acks acks;

    (void)state;
    acks_init(&acks, "r");
    take(&acks, ACKS_REJECTIONS,
         REJECTED("insert", "1", "0") "," REJECTED("insert", "2", "0") "," REJECTED("insert", "2",
                                                                                    "1"));
    take(&acks, ACKS_REJECTIONS, REJECTED("delete", "2", "0"));
    take(&acks, ACKS_REJECTIONS, REJECTED("delete", "1", "0"));
    take(&acks, ACKS_REJECTIONS, REJECTED("delete", "9", "0"));
    check_line(&acks, "{\"ack\":{\"last\":0,\"rejected\":[" SAID("2", "1") "]}}\n");
    assert_int_equal(acks.bytes, 0);
    acks_release(&acks);
}

static void test_a_row_that_somebody_deletes_takes_nothing_back(void **state)
{
    struct acks acks;

    (void)state;
    acks_init(&acks, "r");
    take(&acks, ACKS_REPLICAS, REPLICA("insert", "3", "c") "," REPLICA("delete", "3", "c"));
    check_line(&acks, "{\"ack\":{\"last\":3,\"nonce\":\"c\",\"rejected\":[]}}\n");
    acks_release(&acks);
}

static void test_rows_of_other_replicas_are_passed_over(void **state)
{
    struct acks acks;

    (void)state;
    acks_init(&acks, "r0");
    take(&acks, ACKS_REPLICAS, REPLICA("insert", "3", "c"));
    take(&acks, ACKS_REJECTIONS, REJECTED("insert", "2", "0"));
    check_line(&acks, "{\"ack\":{\"last\":0,\"rejected\":[]}}\n");
    take(&acks, ACKS_REPLICAS, REPLICA("update", "4", "d"));
    assert_false(acks.due);
    acks_release(&acks);
}

static void test_what_is_no_json_is_an_error(void **state)
{
    struct acks acks;
    struct err err;

    (void)state;
    acks_init(&acks, "r");
    assert_false(acks_take(&acks, ACKS_REPLICAS, SLICE("{\"key\":"), &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    acks_release(&acks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_written_is_worth_a_line),
        cmocka_unit_test(test_a_rejection_is_said_once_and_the_last_id_each_time),
        cmocka_unit_test(test_what_was_acknowledged_meanwhile_is_not_said),
        cmocka_unit_test(test_a_row_that_somebody_deletes_takes_nothing_back),
        cmocka_unit_test(test_rows_of_other_replicas_are_passed_over),
        cmocka_unit_test(test_what_is_no_json_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
