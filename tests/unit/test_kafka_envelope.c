#include "kafka/envelope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <yyjson.h>

#define TEXT(s) ((struct value){VALUE_TEXT, SLICE(s)})
#define NONE ((struct value){VALUE_NULL, {NULL, 0}})
#define UNCHANGED ((struct value){VALUE_UNCHANGED, {NULL, 0}})
#define ROW(...) ((struct tuple){3, (struct value[]){__VA_ARGS__}})

/* What every event below has behind its row. */
#define SOURCE                                                                                     \
    "\"source\":{\"version\":\"9.9\",\"connector\":\"postgresql\",\"name\":\"server\","            \
    "\"ts_ms\":1559033904863,\"snapshot\":\"false\",\"db\":\"postgres\","                          \
    "\"sequence\":\"[\\\"24023119\\\",\\\"24023128\\\"]\",\"ts_us\":1559033904863123,"             \
    "\"ts_ns\":1559033904863123000,\"schema\":\"public\",\"table\":\"customers\",\"txId\":555,"    \
    "\"lsn\":24023128,\"xmin\":null}"
#define TIMES "\"ts_ms\":1559033904900,\"ts_us\":1559033904900001,\"ts_ns\":1559033904900001000}"
#define EVENT(op, before, after)                                                                   \
    "{\"before\":" before ",\"after\":" after "," SOURCE ",\"transaction\":null,\"op\":\"" op      \
    "\"," TIMES

/* customers(id int primary key, name text, note text) */
struct site {
    struct arena arena;
    struct table table;
    struct table_column cols[3];
    uint16_t pk[1];
    struct envelope *envelope;
    struct txn txn;
    struct envelope_place place;
    struct buf out;
    struct envelope_records got;
};

static void open_site(struct site *s, enum replident replident, bool has_pk, bool no_tombstones)
{
    const struct envelope_settings settings = {.placeholder = SLICE(ENVELOPE_PLACEHOLDER),
                                               .version = SLICE("9.9"),
                                               .prefix = SLICE("server"),
                                               .database = SLICE("postgres"),
                                               .no_tombstones = no_tombstones};
    bool full = replident == REPLIDENT_FULL;

    *s = (struct site){.cols = {{.name = SLICE("id"), .basetypid = 23, .in_identity = true},
                                {.name = SLICE("name"), .basetypid = 25, .in_identity = full},
                                {.name = SLICE("note"), .basetypid = 25, .in_identity = full}}};
    s->table = (struct table){.nspname = SLICE("public"),
                              .relname = SLICE("customers"),
                              .replident = replident,
                              .ncols = 3,
                              .cols = s->cols,
                              .npk = has_pk,
                              .pk = s->pk};
    s->envelope = envelope_new(&s->table, &settings, &s->arena);
    s->txn = (struct txn){.commit_lsn = 24023200, .xid = 555, .time_us = 1559033904863123};
    s->place = (struct envelope_place){.txn = &s->txn,
                                       .lsn = 24023128,
                                       .last_commit = 24023119,
                                       .now_us = 1559033904900001,
                                       .snapshot = "false"};
    buf_init(&s->out, BUF_NO_LIMIT);
}

static void close_site(struct site *s)
{
    buf_release(&s->out);
    arena_release(&s->arena);
}

static void publish(struct site *s, enum change_op op, bool old_is_key, const struct tuple *old,
                    const struct tuple *new)
{
    const struct change change = {op, 42, old_is_key, old, new};
    struct err err;

    assert_true(envelope_put_change(s->envelope, &change, &s->place, &s->out, &s->got, &err));
}

static void assert_slice(struct slice s, const char *expected)
{
    if (!slice_is(s, expected))
        fail_msg("%.*s\ninstead of\n%s", SLICE_ARG(s), expected);
}

/* `key` and `value` NULL: there is none. */
static void assert_record(const struct site *s, size_t i, const char *key, const char *value)
{
    assert_true(i < s->got.n);
    const struct envelope_record *r = &s->got.records[i];
    assert_int_equal(r->has_key, key != NULL);
    assert_int_equal(r->has_value, value != NULL);
    if (key)
        assert_slice(r->key, key);
    if (value)
        assert_slice(r->value, value);
}

static void assert_json(struct slice text)
{
    yyjson_doc *doc = yyjson_read(text.ptr, text.len, 0);

    assert_non_null(doc);
    yyjson_doc_free(doc);
}

static void assert_header(const struct site *s, size_t i, const char *name, const char *value)
{
    const struct envelope_record *r = &s->got.records[i];

    assert_string_equal(r->header, name);
    assert_slice(r->header_value, value);
}

static void test_insert_is_a_create_event(void **state)
{
    struct site s;

    (void)state;
    open_site(&s, REPLIDENT_DEFAULT, true, false);
    publish(&s, CHANGE_INSERT, false, NULL, &ROW(TEXT("1"), TEXT("Anne"), NONE));
    assert_int_equal(s.got.n, 1);
    assert_record(&s, 0, "{\"id\":1}",
                  EVENT("c", "null", "{\"id\":1,\"name\":\"Anne\",\"note\":null}"));
    assert_null(s.got.records[0].header);
    close_site(&s);
}

static void test_update_without_an_old_row_has_no_before(void **state)
{
    struct site s;

    (void)state;
    open_site(&s, REPLIDENT_DEFAULT, true, false);
    publish(&s, CHANGE_UPDATE, false, NULL, &ROW(TEXT("1"), TEXT("Anne"), UNCHANGED));
    assert_int_equal(s.got.n, 1);
    assert_record(
        &s, 0, "{\"id\":1}",
        EVENT("u", "null", "{\"id\":1,\"name\":\"Anne\",\"note\":\"" ENVELOPE_PLACEHOLDER "\"}"));
    close_site(&s);
}

static void test_update_with_identity_full_has_the_whole_row_before(void **state)
{
    struct site s;

    (void)state;
    open_site(&s, REPLIDENT_FULL, true, false);
    publish(&s, CHANGE_UPDATE, false, &ROW(TEXT("1"), TEXT("Ann"), TEXT("long")),
            &ROW(TEXT("1"), TEXT("Anne"), UNCHANGED));
    assert_int_equal(s.got.n, 1);
    assert_record(&s, 0, "{\"id\":1}",
                  EVENT("u", "{\"id\":1,\"name\":\"Ann\",\"note\":\"long\"}",
                        "{\"id\":1,\"name\":\"Anne\",\"note\":\"long\"}"));
    close_site(&s);
}

static void test_delete_is_followed_by_a_tombstone(void **state)
{
    struct site s;

    (void)state;
    open_site(&s, REPLIDENT_DEFAULT, true, false);
    publish(&s, CHANGE_DELETE, true, &ROW(TEXT("1"), NONE, NONE), NULL);
    assert_int_equal(s.got.n, 2);
    assert_record(&s, 0, "{\"id\":1}", EVENT("d", "{\"id\":1}", "null"));
    assert_record(&s, 1, "{\"id\":1}", NULL);
    close_site(&s);
}

static void test_delete_with_identity_full_has_the_whole_row(void **state)
{
    struct site s;

    (void)state;
    open_site(&s, REPLIDENT_FULL, true, true);
    publish(&s, CHANGE_DELETE, false, &ROW(TEXT("1"), TEXT("Anne"), NONE), NULL);
    assert_int_equal(s.got.n, 1); /* tombstones.on.delete=false */
    assert_record(&s, 0, "{\"id\":1}",
                  EVENT("d", "{\"id\":1,\"name\":\"Anne\",\"note\":null}", "null"));
    close_site(&s);
}

static void test_changed_key_is_a_delete_a_tombstone_and_a_create(void **state)
{
    struct site s;

    (void)state;
    open_site(&s, REPLIDENT_DEFAULT, true, false);
    publish(&s, CHANGE_UPDATE, true, &ROW(TEXT("1"), NONE, NONE),
            &ROW(TEXT("2"), TEXT("Anne"), NONE));
    assert_int_equal(s.got.n, 3);
    assert_record(&s, 0, "{\"id\":1}", EVENT("d", "{\"id\":1}", "null"));
    assert_header(&s, 0, "__debezium.newkey", "{\"id\":2}");
    assert_record(&s, 1, "{\"id\":1}", NULL);
    assert_null(s.got.records[1].header);
    assert_record(&s, 2, "{\"id\":2}",
                  EVENT("c", "null", "{\"id\":2,\"name\":\"Anne\",\"note\":null}"));
    assert_header(&s, 2, "__debezium.oldkey", "{\"id\":1}");
    close_site(&s);
}

static void test_changed_key_of_a_full_row_keeps_what_was_not_sent(void **state)
{
    struct site s;

    (void)state;
    open_site(&s, REPLIDENT_FULL, true, true);
    publish(&s, CHANGE_UPDATE, false, &ROW(TEXT("1"), TEXT("Anne"), TEXT("long")),
            &ROW(TEXT("2"), TEXT("Anne"), UNCHANGED));
    assert_int_equal(s.got.n, 2);
    assert_record(&s, 1, "{\"id\":2}",
                  EVENT("c", "null", "{\"id\":2,\"name\":\"Anne\",\"note\":\"long\"}"));
    close_site(&s);
}

static void test_an_unchanged_key_that_was_sent_as_old_alone_is_taken_from_there(void **state)
{
    struct site s;

    (void)state;
    open_site(&s, REPLIDENT_DEFAULT, true, false);
    publish(&s, CHANGE_UPDATE, true, &ROW(TEXT("1"), NONE, NONE),
            &ROW(UNCHANGED, TEXT("Anne"), NONE));
    assert_int_equal(s.got.n, 1);
    assert_record(&s, 0, "{\"id\":1}",
                  EVENT("u", "{\"id\":1}", "{\"id\":1,\"name\":\"Anne\",\"note\":null}"));
    close_site(&s);
}

static void test_a_table_without_a_key_has_records_without_one_and_no_tombstones(void **state)
{
    struct site s;

    (void)state;
    open_site(&s, REPLIDENT_FULL, false, false);
    publish(&s, CHANGE_DELETE, false, &ROW(TEXT("1"), NONE, NONE), NULL);
    assert_int_equal(s.got.n, 1);
    assert_record(&s, 0, NULL, EVENT("d", "{\"id\":1,\"name\":null,\"note\":null}", "null"));
    close_site(&s);
}

static void test_the_identity_s_index_is_the_key_where_the_primary_key_is_not_sent(void **state)
{
    struct site s;

    (void)state;
    open_site(&s, REPLIDENT_INDEX, false, false);
    publish(&s, CHANGE_INSERT, false, NULL, &ROW(TEXT("7"), NONE, NONE));
    assert_record(&s, 0, "{\"id\":7}",
                  EVENT("c", "null", "{\"id\":7,\"name\":null,\"note\":null}"));
    close_site(&s);
}

static void test_first_rows_are_read_events(void **state)
{
    struct site s;
    struct err err;

    (void)state;
    open_site(&s, REPLIDENT_DEFAULT, true, false);
    s.place.snapshot = "last";
    s.place.last_commit = LSN_NONE;
    assert_true(
        envelope_put_row(s.envelope, &ROW(TEXT("1"), NONE, NONE), &s.place, &s.out, &s.got, &err));
    struct slice value = s.got.records[0].value;
    assert_non_null(memmem(value.ptr, value.len, "\"op\":\"r\"", 8));
    assert_non_null(memmem(value.ptr, value.len, "\"snapshot\":\"last\"", 17));
    assert_non_null(memmem(value.ptr, value.len, "\"[null,\\\"24023128\\\"]\"", 21));
    close_site(&s);
}

static void test_truncate_has_neither_key_nor_rows(void **state)
{
    struct site s;
    struct err err;

    (void)state;
    open_site(&s, REPLIDENT_DEFAULT, true, false);
    assert_true(envelope_put_truncate(s.envelope, &s.place, &s.out, &s.got, &err));
    assert_int_equal(s.got.n, 1);
    assert_record(&s, 0, NULL, EVENT("t", "null", "null"));
    close_site(&s);
}

static void test_events_know_their_place_in_the_transaction(void **state)
{
    static const char block[] = "\"transaction\":{\"id\":\"555:24023200\",\"total_order\":3,"
                                "\"data_collection_order\":2}";
    struct site s;

    (void)state;
    open_site(&s, REPLIDENT_DEFAULT, true, false);
    s.place.total_order = 3;
    s.place.table_order = 2;
    publish(&s, CHANGE_INSERT, false, NULL, &ROW(TEXT("1"), NONE, NONE));
    struct slice value = s.got.records[0].value;
    assert_non_null(memmem(value.ptr, value.len, block, sizeof(block) - 1));
    close_site(&s);
}

static void test_a_moved_row_is_two_events_of_its_transaction(void **state)
{
    static const char first[] = "\"total_order\":3,\"data_collection_order\":2}";
    static const char second[] = "\"total_order\":4,\"data_collection_order\":3}";
    struct site s;

    (void)state;
    open_site(&s, REPLIDENT_DEFAULT, true, false);
    s.place.total_order = 3;
    s.place.table_order = 2;
    publish(&s, CHANGE_UPDATE, true, &ROW(TEXT("1"), NONE, NONE), &ROW(TEXT("2"), NONE, NONE));
    assert_int_equal(s.got.nevents, 2);
    struct slice gone = s.got.records[0].value, come = s.got.records[2].value;
    assert_non_null(memmem(gone.ptr, gone.len, first, sizeof(first) - 1));
    assert_non_null(memmem(come.ptr, come.len, second, sizeof(second) - 1));
    close_site(&s);
}

static void test_a_row_that_is_too_large_can_do_without_before(void **state)
{
    struct site s;

    (void)state;
    open_site(&s, REPLIDENT_FULL, true, false);
    s.place.no_before = true;
    publish(&s, CHANGE_UPDATE, false, &ROW(TEXT("1"), TEXT("Ann"), TEXT("long")),
            &ROW(TEXT("1"), TEXT("Anne"), UNCHANGED));
    assert_record(&s, 0, "{\"id\":1}",
                  EVENT("u", "null", "{\"id\":1,\"name\":\"Anne\",\"note\":\"long\"}"));
    close_site(&s);
}

static void test_a_record_beyond_the_buffer_s_limit_is_an_error(void **state)
{
    struct site s;
    struct err err;
    const struct tuple row = ROW(TEXT("1"), NONE, NONE);
    const struct change change = {CHANGE_INSERT, 42, false, NULL, &row};

    (void)state;
    open_site(&s, REPLIDENT_DEFAULT, true, false);
    buf_release(&s.out);
    buf_init(&s.out, 100);
    assert_false(envelope_put_change(s.envelope, &change, &s.place, &s.out, &s.got, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    close_site(&s);
}

static void test_schemas_stand_before_keys_and_values(void **state)
{
    static const char key[] =
        "{\"schema\":{\"type\":\"struct\",\"fields\":[{\"type\":\"int32\",\"optional\":false,"
        "\"field\":\"id\"}],\"optional\":false,\"name\":\"server.public.customers.Key\"},"
        "\"payload\":{\"id\":1}}";
    static const char start[] =
        "{\"schema\":{\"type\":\"struct\",\"fields\":[{\"type\":\"struct\",\"fields\":["
        "{\"type\":\"int32\",\"optional\":false,\"field\":\"id\"},"
        "{\"type\":\"bytes\",\"optional\":true,"
        "\"name\":\"org.apache.kafka.connect.data.Decimal\",\"version\":1,"
        "\"parameters\":{\"scale\":\"2\"},\"field\":\"name\"},"
        "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"optional\":true,"
        "\"name\":\"io.debezium.data.Uuid\",\"version\":1},\"optional\":true,"
        "\"field\":\"note\"}],\"optional\":true,"
        "\"name\":\"server.public.customers.Value\",\"field\":\"before\"},";
    static const char end[] =
        "\"optional\":false,\"name\":\"server.public.customers.Envelope\"},"
        "\"payload\":" EVENT("c", "null", "{\"id\":1,\"name\":null,\"note\":null}") "}";
    const struct envelope_settings settings = {.placeholder = SLICE(ENVELOPE_PLACEHOLDER),
                                               .version = SLICE("9.9"),
                                               .prefix = SLICE("server"),
                                               .database = SLICE("postgres"),
                                               .schemas = true};
    struct site s;

    (void)state;
    open_site(&s, REPLIDENT_DEFAULT, true, false);
    s.cols[1].basetypid = 1700;
    s.cols[1].basetypmod = (5 << 16 | 2) + 4;
    s.cols[2].elemtypid = 2950;
    s.envelope = envelope_new(&s.table, &settings, &s.arena);
    publish(&s, CHANGE_INSERT, false, NULL, &ROW(TEXT("1"), NONE, NONE));
    assert_slice(s.got.records[0].key, key);
    struct slice value = s.got.records[0].value;
    assert_json(value);
    assert_true(value.len > sizeof(start) + sizeof(end));
    assert_slice((struct slice){value.ptr, sizeof(start) - 1}, start);
    assert_slice((struct slice){value.ptr + value.len - (sizeof(end) - 1), sizeof(end) - 1}, end);
    publish(&s, CHANGE_UPDATE, true, &ROW(TEXT("1"), NONE, NONE), &ROW(TEXT("2"), NONE, NONE));
    assert_header(&s, 0, "__debezium.newkey", "{\"id\":2}");
    assert_header(&s, 2, "__debezium.oldkey", "{\"id\":1}");
    close_site(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_insert_is_a_create_event),
        cmocka_unit_test(test_update_without_an_old_row_has_no_before),
        cmocka_unit_test(test_update_with_identity_full_has_the_whole_row_before),
        cmocka_unit_test(test_delete_is_followed_by_a_tombstone),
        cmocka_unit_test(test_delete_with_identity_full_has_the_whole_row),
        cmocka_unit_test(test_changed_key_is_a_delete_a_tombstone_and_a_create),
        cmocka_unit_test(test_changed_key_of_a_full_row_keeps_what_was_not_sent),
        cmocka_unit_test(test_an_unchanged_key_that_was_sent_as_old_alone_is_taken_from_there),
        cmocka_unit_test(test_a_table_without_a_key_has_records_without_one_and_no_tombstones),
        cmocka_unit_test(test_the_identity_s_index_is_the_key_where_the_primary_key_is_not_sent),
        cmocka_unit_test(test_first_rows_are_read_events),
        cmocka_unit_test(test_truncate_has_neither_key_nor_rows),
        cmocka_unit_test(test_events_know_their_place_in_the_transaction),
        cmocka_unit_test(test_a_moved_row_is_two_events_of_its_transaction),
        cmocka_unit_test(test_a_row_that_is_too_large_can_do_without_before),
        cmocka_unit_test(test_a_record_beyond_the_buffer_s_limit_is_an_error),
        cmocka_unit_test(test_schemas_stand_before_keys_and_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
