#include "kafka/notices.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <yyjson.h>

struct site {
    struct arena arena;
    struct notices *notices;
    struct txn txn;
    struct envelope_place place;
    struct buf out;
    struct envelope_records got;
};

static void open_site(struct site *s, bool schemas)
{
    const struct envelope_settings settings = {.placeholder = SLICE(ENVELOPE_PLACEHOLDER),
                                               .version = SLICE("9.9"),
                                               .prefix = SLICE("server"),
                                               .database = SLICE("postgres"),
                                               .schemas = schemas};

    *s = (struct site){
        .txn = {.commit_lsn = 53195832, .xid = 571, .time_us = 1486500577125000},
    };
    s->place = (struct envelope_place){.txn = &s->txn,
                                       .lsn = 46523128,
                                       .last_commit = 46523000,
                                       .now_us = 1559033904961000,
                                       .snapshot = "false"};
    s->notices = notices_new(&settings, &s->arena);
    buf_init(&s->out, BUF_NO_LIMIT);
}

static void close_site(struct site *s)
{
    buf_release(&s->out);
    arena_release(&s->arena);
}

static void assert_slice(struct slice s, const char *expected)
{
    if (!slice_is(s, expected))
        fail_msg("%.*s\ninstead of\n%s", SLICE_ARG(s), expected);
}

static void assert_record(const struct site *s, const char *key, const char *value)
{
    assert_int_equal(s->got.n, 1);
    assert_slice(s->got.records[0].key, key);
    assert_slice(s->got.records[0].value, value);
}

/* The documentation's example of a transaction's two records. */
static void test_transactions_have_a_begin_and_an_end(void **state)
{
    const struct notices_count counts[] = {{SLICE("s1"), SLICE("a"), 1},
                                           {SLICE("s2"), SLICE("a"), 1}};
    struct site s;
    struct err err;

    (void)state;
    open_site(&s, false);
    assert_true(notices_put_begin(s.notices, &s.txn, &s.out, &s.got, &err));
    assert_record(&s, "{\"id\":\"571:53195832\"}",
                  "{\"status\":\"BEGIN\",\"id\":\"571:53195832\",\"event_count\":null,"
                  "\"data_collections\":null,\"ts_ms\":1486500577125}");
    assert_true(notices_put_end(s.notices, &s.txn, counts, 2, &s.out, &s.got, &err));
    assert_record(&s, "{\"id\":\"571:53195832\"}",
                  "{\"status\":\"END\",\"id\":\"571:53195832\",\"event_count\":2,"
                  "\"data_collections\":[{\"data_collection\":\"s1.a\",\"event_count\":1},"
                  "{\"data_collection\":\"s2.a\",\"event_count\":1}],\"ts_ms\":1486500577125}");
    close_site(&s);
}

static void test_messages_are_events_with_prefix_and_content(void **state)
{
    struct site s;
    struct err err;

    (void)state;
    open_site(&s, false);
    assert_true(
        notices_put_message(s.notices, SLICE("foo"), SLICE("bar"), &s.place, &s.out, &s.got, &err));
    assert_record(
        &s, "{\"prefix\":\"foo\"}",
        "{\"op\":\"m\",\"ts_ms\":1559033904961,"
        "\"source\":{\"version\":\"9.9\",\"connector\":\"postgresql\",\"name\":\"server\","
        "\"ts_ms\":1486500577125,\"snapshot\":\"false\",\"db\":\"postgres\","
        "\"sequence\":\"[\\\"46523000\\\",\\\"46523128\\\"]\",\"ts_us\":1486500577125000,"
        "\"ts_ns\":1486500577125000000,\"schema\":\"\",\"table\":\"\",\"txId\":571,"
        "\"lsn\":46523128,\"xmin\":null},\"message\":{\"prefix\":\"foo\",\"content\":\"YmFy\"}}");
    assert_int_equal(s.got.nevents, 1);
    close_site(&s);
}

static void test_heartbeats_say_the_time(void **state)
{
    struct site s;
    struct err err;

    (void)state;
    open_site(&s, false);
    assert_true(notices_put_heartbeat(s.notices, 1559033904961999, &s.out, &s.got, &err));
    assert_record(&s, "{\"serverName\":\"server\"}", "{\"ts_ms\":1559033904961}");
    close_site(&s);
}

/* Key or value: a schema, and as many fields in it as its payload has. */
static void assert_fits_schema(struct slice text, const char *name)
{
    yyjson_doc *doc = yyjson_read(text.ptr, text.len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    yyjson_val *schema = yyjson_obj_get(root, "schema"), *payload = yyjson_obj_get(root, "payload");
    yyjson_val *fields = yyjson_obj_get(schema, "fields"), *field;
    size_t i, n;

    assert_non_null(doc);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(schema, "name")), name);
    assert_int_equal(yyjson_arr_size(fields), yyjson_obj_size(payload));
    yyjson_arr_foreach(fields, i, n, field)
    {
        const char *key = yyjson_get_str(yyjson_obj_get(field, "field"));
        yyjson_val *value = yyjson_obj_get(payload, key);

        assert_non_null(value);
        assert_true(yyjson_get_bool(yyjson_obj_get(field, "optional")) || !yyjson_is_null(value));
    }
    yyjson_doc_free(doc);
}

static void assert_schemas(const struct site *s, const char *key, const char *value)
{
    assert_fits_schema(s->got.records[0].key, key);
    assert_fits_schema(s->got.records[0].value, value);
}

static void test_schemas_name_the_fields_that_follow(void **state)
{
    struct site s;
    struct err err;

    (void)state;
    open_site(&s, true);
    assert_true(notices_put_begin(s.notices, &s.txn, &s.out, &s.got, &err));
    assert_schemas(&s, "io.debezium.connector.common.TransactionMetadataKey",
                   "io.debezium.connector.common.TransactionMetadataValue");
    assert_true(
        notices_put_message(s.notices, SLICE("foo"), SLICE("bar"), &s.place, &s.out, &s.got, &err));
    assert_schemas(&s, "io.debezium.connector.postgresql.MessageKey",
                   "io.debezium.connector.postgresql.MessageValue");
    assert_true(notices_put_heartbeat(s.notices, 0, &s.out, &s.got, &err));
    assert_schemas(&s, "io.debezium.connector.common.ServerNameKey",
                   "io.debezium.connector.common.Heartbeat");
    close_site(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transactions_have_a_begin_and_an_end),
        cmocka_unit_test(test_messages_are_events_with_prefix_and_content),
        cmocka_unit_test(test_heartbeats_say_the_time),
        cmocka_unit_test(test_schemas_name_the_fields_that_follow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
