#include "kafka/values.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define NUMERIC(precision, scale) (((precision) << 16 | ((scale)&0x7ff)) + 4)

enum oid {
    BOOL = 16,
    BYTEA = 17,
    INT8 = 20,
    INT4 = 23,
    TEXT = 25,
    POINT = 600,
    BOX = 603,
    FLOAT8 = 701,
    MONEY = 790,
    DATE = 1082,
    TIME = 1083,
    TIMESTAMP = 1114,
    TIMESTAMPTZ = 1184,
    INTERVAL = 1186,
    TIMETZ = 1266,
    BIT = 1560,
    VARBIT = 1562,
    NUMERIC_ = 1700,
    UUID = 2950,
};

struct example {
    uint32_t typid;
    int32_t typmod;
    struct value_modes modes;
    const char *text, *json;
};

static struct value_form form_of(uint32_t typid, int32_t typmod, bool is_array,
                                 const struct value_modes *modes)
{
    const struct table_column column = {
        .basetypid = is_array ? 1 : typid, .basetypmod = typmod, .elemtypid = is_array ? typid : 0};

    return value_form_of(&column, modes);
}

static void check(const struct example *examples, size_t n, bool is_array)
{
    struct buf out;
    struct err err;

    buf_init(&out, BUF_NO_LIMIT);
    for (size_t i = 0; i < n; i++) {
        const struct example *x = &examples[i];
        struct value_form form = form_of(x->typid, x->typmod, is_array, &x->modes);

        buf_clear(&out);
        if (!value_put(&form, slice_of(x->text), &out, &err))
            fail_msg("%s: %s", x->text, err.msg);
        assert_string_equal(buf_cstr(&out), x->json);
    }
    buf_release(&out);
}

#define CHECK(is_array, ...)                                                                       \
    do {                                                                                           \
        const struct example examples[] = {__VA_ARGS__};                                           \
        check(examples, sizeof(examples) / sizeof(*examples), is_array);                           \
    } while (0)

static void test_plain_types_are_json_values(void **state)
{
    (void)state;
    CHECK(false, {BOOL, -1, {0}, "t", "true"}, {BOOL, -1, {0}, "f", "false"},
          {INT8, -1, {0}, "-9223372036854775808", "-9223372036854775808"},
          {FLOAT8, -1, {0}, "1e-07", "1e-07"}, {FLOAT8, -1, {0}, "NaN", "\"NaN\""},
          {FLOAT8, -1, {0}, "-Infinity", "\"-Infinity\""},
          {TEXT, -1, {0}, "a\"b\n", "\"a\\\"b\\n\""},
          {UUID,
           -1,
           {0},
           "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
           "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\""},
          {POINT,
           -1,
           {0},
           "(1,-2.5)",
           "{\"x\":1,\"y\":-2.5,\"wkb\":\"AQEAAAAAAAAAAADwPwAAAAAAAATA\",\"srid\":null}"});
}

static void test_precise_decimals_are_the_bytes_of_a_big_integer(void **state)
{
    (void)state;
    CHECK(false, {NUMERIC_, NUMERIC(5, 2), {0}, "1.23", "\"ew==\""}, /* 123: 7b */
          {NUMERIC_, NUMERIC(5, 2), {0}, "1.28", "\"AIA=\""},        /* 128: 00 80 */
          {NUMERIC_, NUMERIC(5, 2), {0}, "-1.28", "\"gA==\""},       /* -128: 80 */
          {NUMERIC_, NUMERIC(5, 2), {0}, "-1.29", "\"/38=\""},       /* -129: ff 7f */
          {NUMERIC_, NUMERIC(5, 2), {0}, "0.00", "\"AA==\""},        /* 0: 00 */
          {NUMERIC_, NUMERIC(5, 2), {0}, "-0.01", "\"/w==\""},       /* -1: ff */
          {NUMERIC_, NUMERIC(5, -2), {0}, "12300", "\"ew==\""},      /* 123 */
          {NUMERIC_, NUMERIC(2, 4), {0}, "0.0012", "\"DA==\""},      /* 12 */
          {NUMERIC_,
           NUMERIC(30, 0),
           {0},
           "340282366920938463463374607431768211456",
           "\"AQAAAAAAAAAAAAAAAAAAAAA=\""},                               /* 2^128 */
          {NUMERIC_, NUMERIC(30, 0), {0}, "-4294967296", "\"/wAAAAA=\""}, /* -2^32 */
          {NUMERIC_, -1, {0}, "123.4500", "{\"scale\":4,\"value\":\"EtZE\"}"},
          {MONEY, -1, {0}, "-$1,234.50", "\"/h3G\""});
}

static void test_decimals_as_strings_and_doubles(void **state)
{
    const struct value_modes string = {.decimal = DECIMAL_STRING},
                             number = {.decimal = DECIMAL_DOUBLE};

    (void)state;
    CHECK(false, {NUMERIC_, -1, string, "123.4500", "\"123.4500\""},
          {NUMERIC_, NUMERIC(5, 2), string, "NaN", "\"NaN\""},
          {MONEY, -1, string, "($1,234.50)", "\"-1234.50\""},
          {NUMERIC_, -1, number, "123.4500", "123.45"}, {NUMERIC_, -1, number, "0.1", "0.1"},
          {NUMERIC_, -1, number, "0.30000000000000004", "0.30000000000000004"},
          {NUMERIC_, -1, number, "NaN", "\"NaN\""}, {MONEY, -1, number, "$0.07", "0.07"});
}

/* 10^400 and its opposite. */
static void test_decimals_that_are_too_large_for_a_double_are_its_infinities(void **state)
{
    const struct value_modes number = {.decimal = DECIMAL_DOUBLE};
    char text[403] = "-1";

    (void)state;
    memset(text + 2, '0', sizeof(text) - 3);
    CHECK(false, {NUMERIC_, -1, number, text, "\"-Infinity\""},
          {NUMERIC_, -1, number, text + 1, "\"Infinity\""});
}

static void test_a_precise_decimal_that_is_no_number_is_refused_with_the_way_out(void **state)
{
    const struct value_modes precise = {0};
    static const char *const none[] = {"NaN", "Infinity", "-Infinity", "", "-", "1.234", "1e5"};
    struct value_form form = form_of(NUMERIC_, NUMERIC(5, 2), false, &precise);
    struct buf out;
    struct err err;

    (void)state;
    buf_init(&out, BUF_NO_LIMIT);
    for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++) {
        assert_false(value_put(&form, slice_of(none[i]), &out, &err));
        assert_int_equal(err.code, ERR_UNSUPPORTED);
        assert_non_null(strstr(err.hint, "decimal.handling.mode"));
    }
    buf_release(&out);
}

static void test_times_are_in_the_precision_of_their_mode(void **state)
{
    const struct value_modes adaptive = {0}, micros = {.time = TIME_ADAPTIVE_TIME_MICROSECONDS},
                             connect = {.time = TIME_CONNECT};

    (void)state;
    CHECK(false, {TIMESTAMP, -1, adaptive, "2018-06-20 15:13:16.945104", "1529507596945104"},
          {TIMESTAMP, 3, adaptive, "2018-06-20 15:13:16.945", "1529507596945"},
          {TIMESTAMP, 6, connect, "2018-06-20 15:13:16.945104", "1529507596945"},
          {TIMESTAMP, 4, micros, "2018-06-20 15:13:16.9451", "1529507596945100"},
          {TIMESTAMP, 3, connect, "1969-12-31 23:59:59.999", "-1"},
          {TIMESTAMP, -1, adaptive, "infinity", "9223372036825200000"},
          {TIMESTAMP, -1, adaptive, "-infinity", "-9223372036832400000"},
          {TIME, -1, adaptive, "04:05:06.789", "14706789000"},
          {TIME, 3, adaptive, "04:05:06.789", "14706789"},
          {TIME, 3, micros, "04:05:06.789", "14706789000"},
          {TIME, 6, connect, "04:05:06.789012", "14706789"},
          {DATE, -1, adaptive, "1970-01-02", "1"}, {DATE, -1, connect, "1969-12-31", "-1"},
          {DATE, -1, adaptive, "infinity", "2147483647"},
          {DATE, -1, adaptive, "0001-01-01 BC", "-719528"});
}

static void test_times_with_a_zone_are_texts_in_gmt(void **state)
{
    (void)state;
    CHECK(false, {TIMESTAMPTZ, -1, {0}, "2018-06-20 13:37:03.5+00", "\"2018-06-20T13:37:03.5Z\""},
          {TIMESTAMPTZ, -1, {0}, "2018-06-20 00:00:00+00", "\"2018-06-20T00:00:00Z\""},
          {TIMESTAMPTZ, -1, {0}, "12018-01-01 00:00:00+00", "\"+12018-01-01T00:00:00Z\""},
          {TIMESTAMPTZ, -1, {0}, "0044-03-15 00:00:00+00 BC", "\"-0043-03-15T00:00:00Z\""},
          {TIMESTAMPTZ, -1, {0}, "infinity", "\"infinity\""},
          {TIMETZ, -1, {0}, "12:34:56.789+02", "\"10:34:56.789Z\""},
          {TIMETZ, -1, {0}, "00:30:00+05:30", "\"19:00:00Z\""},
          {TIMETZ, -1, {0}, "23:00:00-02:30", "\"01:30:00Z\""});
}

static void test_intervals_are_about_so_many_microseconds(void **state)
{
    (void)state;
    CHECK(false, {INTERVAL, -1, {0}, "04:05:06.78", "14706780000"},
          {INTERVAL, -1, {0}, "1 mon", "2629800000000"},
          {INTERVAL, -1, {0}, "1 year 2 mons 3 days 04:05:06.78", "37091106780000"},
          {INTERVAL, -1, {0}, "-1 days +02:03:00", "-79020000000"},
          {INTERVAL, -1, {0}, "-00:00:00.000001", "-1"}, {INTERVAL, -1, {0}, "00:00:00", "0"},
          {INTERVAL, -1, {0}, "P1Y2M3DT4H5M6.78S", "37091106780000"},
          {INTERVAL, -1, {0}, "P-1DT2H3M", "-79020000000"}, {INTERVAL, -1, {0}, "PT0S", "0"});
}

static void test_intervals_as_texts_have_all_their_parts(void **state)
{
    const struct value_modes text = {.interval = INTERVAL_STRING};

    (void)state;
    CHECK(false, {INTERVAL, -1, text, "P1Y2M3DT4H5M6.78S", "\"P1Y2M3DT4H5M6.78S\""},
          {INTERVAL, -1, text, "PT0S", "\"P0Y0M0DT0H0M0S\""},
          {INTERVAL, -1, text, "P-1Y-2M3DT-4H-5M-0.5S", "\"P-1Y-2M3DT-4H-5M-0.5S\""},
          {INTERVAL, -1, text, "PT100H", "\"P0Y0M0DT100H0M0S\""});
}

static void check_hstore(enum hstore_mode mode, const char *text, const char *json)
{
    const struct table_column column = {
        .basetypid = 99999, .basetypmod = -1, .basetypname = SLICE("hstore")};
    const struct value_modes modes = {.hstore = mode};
    struct value_form form = value_form_of(&column, &modes);
    struct buf out;
    struct err err;

    buf_init(&out, BUF_NO_LIMIT);
    assert_int_equal(value_put(&form, slice_of(text), &out, &err), json != NULL);
    if (json)
        assert_string_equal(buf_cstr(&out), json);
    buf_release(&out);
}

static void test_hstore_is_an_object_or_a_text_of_it(void **state)
{
    (void)state;
    check_hstore(HSTORE_JSON, "\"key\"=>\"val\"", "\"{\\\"key\\\":\\\"val\\\"}\"");
    check_hstore(HSTORE_MAP, "\"a\"=>\"1\", \"b\"=>NULL", "{\"a\":\"1\",\"b\":null}");
    check_hstore(HSTORE_MAP, "\"a\\\"\\\\=>\"=>\"NULL\"", "{\"a\\\"\\\\=>\":\"NULL\"}");
    check_hstore(HSTORE_MAP, "", "{}");
    check_hstore(HSTORE_MAP, "\"a\"", NULL);
    check_hstore(HSTORE_MAP, "\"a\"=>\"b", NULL);
    check_hstore(HSTORE_MAP, "NULL=>\"b\"", NULL);
}

static void test_bytes_are_base64_or_hex(void **state)
{
    const struct value_modes base64 = {.binary = BINARY_BASE64}, hex = {.binary = BINARY_HEX};
    const struct value_modes url = {.binary = BINARY_BASE64_URL_SAFE};

    (void)state;
    CHECK(false, {BYTEA, -1, {0}, "\\x00ff10", "\"AP8Q\""},
          {BYTEA, -1, base64, "\\x00", "\"AA==\""}, {BYTEA, -1, base64, "\\xfbff", "\"+/8=\""},
          {BYTEA, -1, url, "\\xfbff", "\"-_8=\""}, {BYTEA, -1, hex, "\\x00ff10", "\"00ff10\""},
          {BYTEA, -1, {0}, "\\x", "\"\""}, {BIT, 1, {0}, "1", "true"}, {BIT, 1, {0}, "0", "false"},
          {BIT, 10, {0}, "1000000001", "\"AQI=\""}, /* 01 02 */
          {VARBIT, -1, {0}, "11", "\"Aw==\""});
}

static void test_arrays_are_json_arrays_of_their_elements(void **state)
{
    (void)state;
    CHECK(true, {INT4, -1, {0}, "{}", "[]"}, {INT4, -1, {0}, "{1,NULL,3}", "[1,null,3]"},
          {INT4, -1, {0}, "{{1,2},{3,4}}", "[[1,2],[3,4]]"},
          {INT4, -1, {0}, "[0:1]={5,6}", "[5,6]"},
          {TEXT,
           -1,
           {0},
           "{a,\"b,}\",\"NULL\",\"q\\\"\\\\\"}",
           "[\"a\",\"b,}\",\"NULL\",\"q\\\"\\\\\"]"},
          {BYTEA, -1, {0}, "{\"\\\\x00\"}", "[\"AA==\"]"},
          {BOX, -1, {0}, "{(1,1),(0,0);(2,2),(0,0)}", "[\"(1,1),(0,0)\",\"(2,2),(0,0)\"]"},
          {NUMERIC_, NUMERIC(5, 2), {0}, "{1.23}", "[\"ew==\"]"});
}

static void test_malformed_values_are_errors(void **state)
{
    static const struct {
        uint32_t typid;
        bool is_array;
        const char *text;
    } wrong[] = {{INT4, true, ""},
                 {INT4, true, "{"},
                 {INT4, true, "{1"},
                 {INT4, true, "{1}x"},
                 {INT4, true, "1}"},
                 {TEXT, true, "{\"a}"},
                 {TEXT, true, "{\"a\"b}"},
                 {TEXT, true, "{a\\"},
                 {INT4, true, "{{1}"},
                 {INT4, true, "{{{{{{{1}}}}}}}"},
                 {BYTEA, false, "\\x0"},
                 {BYTEA, false, "ab"},
                 {DATE, false, "x"},
                 {TIMETZ, false, "10:00"},
                 {INTERVAL, false, "1 fortnight"},
                 {INTERVAL, false, ""},
                 {POINT, false, "(1)"},
                 {MONEY, false, "$1"},
                 {INTERVAL, false, "300000000 years"}};
    const struct value_modes modes = {0};
    struct buf out;
    struct err err;

    (void)state;
    buf_init(&out, BUF_NO_LIMIT);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct value_form form = form_of(wrong[i].typid, -1, wrong[i].is_array, &modes);

        if (value_put(&form, slice_of(wrong[i].text), &out, &err))
            fail_msg("taken: %s", wrong[i].text);
    }
    buf_release(&out);
}

static void test_the_placeholder_has_the_form_of_the_type(void **state)
{
    static const struct {
        uint32_t typid;
        bool is_array;
        enum binary_mode binary;
        const char *json;
    } expected[] = {{TEXT, false, BINARY_BYTES, "\"gone\""},
                    {TEXT, true, BINARY_BYTES, "[\"gone\"]"},
                    {BYTEA, false, BINARY_BYTES, "\"Z29uZQ==\""},
                    {BYTEA, false, BINARY_HEX, "\"676f6e65\""},
                    {INT4, true, BINARY_BYTES, "[103,111,110,101]"},
                    {BOOL, true, BINARY_BYTES, "[null]"},
                    {NUMERIC_, false, BINARY_BYTES, "{\"scale\":0,\"value\":\"Z29uZQ==\"}"}};
    struct buf out;
    struct err err;

    (void)state;
    buf_init(&out, BUF_NO_LIMIT);
    for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++) {
        const struct value_modes modes = {.binary = expected[i].binary};
        struct value_form form = form_of(expected[i].typid, -1, expected[i].is_array, &modes);

        buf_clear(&out);
        assert_true(value_put_missing(&form, SLICE("gone"), &out, &err));
        assert_string_equal(buf_cstr(&out), expected[i].json);
    }
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_types_are_json_values),
        cmocka_unit_test(test_precise_decimals_are_the_bytes_of_a_big_integer),
        cmocka_unit_test(test_decimals_as_strings_and_doubles),
        cmocka_unit_test(test_decimals_that_are_too_large_for_a_double_are_its_infinities),
        cmocka_unit_test(test_a_precise_decimal_that_is_no_number_is_refused_with_the_way_out),
        cmocka_unit_test(test_times_are_in_the_precision_of_their_mode),
        cmocka_unit_test(test_times_with_a_zone_are_texts_in_gmt),
        cmocka_unit_test(test_intervals_are_about_so_many_microseconds),
        cmocka_unit_test(test_intervals_as_texts_have_all_their_parts),
        cmocka_unit_test(test_bytes_are_base64_or_hex),
        cmocka_unit_test(test_hstore_is_an_object_or_a_text_of_it),
        cmocka_unit_test(test_arrays_are_json_arrays_of_their_elements),
        cmocka_unit_test(test_malformed_values_are_errors),
        cmocka_unit_test(test_the_placeholder_has_the_form_of_the_type),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
