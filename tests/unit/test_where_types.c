/* The types' own arithmetic and text, at their edges. */
#include "where_kit.h"

#include "shapes/array.h"
#include "shapes/datetime.h"
#include "shapes/datum.h"
#include "shapes/pgtype.h"

/* The value's text after it was read, or the SQLSTATE of why it was not. */
static const char *back(int type, const char *text)
{
    static char got[2000];
    struct arena arena = {0};
    struct datum d;
    struct err err;

    if (datum_in(type, slice_of(text), &arena, &d, &err)) {
        struct slice s = datum_text(type, &d, &arena);

        snprintf(got, sizeof(got), "%.*s", SLICE_ARG(s));
    } else {
        snprintf(got, sizeof(got), "%s", err.sqlstate);
    }
    arena_release(&arena);
    return got;
}

struct text_case {
    int type;
    const char *in, *out;
};

static void check_texts(const struct text_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *got = back(cases[i].type, cases[i].in);

        if (strcmp(got, cases[i].out) != 0)
            fail_msg("%s: \"%s\" gives \"%s\", not \"%s\"", pgtype_name(cases[i].type), cases[i].in,
                     got, cases[i].out);
    }
}

#define CHECK_TEXTS(cases) check_texts(cases, sizeof(cases) / sizeof((cases)[0]))

static void test_numbers_read_and_print_as_postgres_does(void **state)
{
    static const struct text_case cases[] = {
        {PG_INT2, " -32768 ", "-32768"},
        {PG_INT2, "32768", "22003"},
        {PG_INT4, "+7", "7"},
        {PG_INT4, "1_000", "22P02"},
        {PG_INT4, "", "22P02"},
        {PG_INT8, "-9223372036854775808", "-9223372036854775808"},
        {PG_INT8, "9223372036854775808", "22003"},
        {PG_INT8, "99999999999999999999999999", "22003"},
        {PG_FLOAT8, "1e23", "9.999999999999999e+22"}, /* not a bound of what reads back */
        {PG_FLOAT8, "5e-324", "5e-324"},
        {PG_FLOAT8, "5.684341886080802e-14", "5.684341886080802e-14"},
        {PG_FLOAT8, "123456789012345", "123456789012345"},
        {PG_FLOAT8, "1234567890123456", "1.234567890123456e+15"},
        {PG_FLOAT8, "0.0001", "0.0001"},
        {PG_FLOAT8, "0.00001", "1e-05"},
        {PG_FLOAT8, "-0", "-0"},
        {PG_FLOAT8, "-inf", "-Infinity"},
        {PG_FLOAT8, "1e400", "22003"},
        {PG_FLOAT8, "1x", "22P02"},
        {PG_FLOAT4, "0.1", "0.1"},
        {PG_FLOAT4, "16777216", "1.6777216e+07"},
        {PG_FLOAT4, "3.4028235e38", "3.4028235e+38"},
        {PG_NUMERIC, "1.50", "1.50"},
        {PG_NUMERIC, "-.5e1", "-5"},
        {PG_NUMERIC, "1e-3", "0.001"},
        {PG_NUMERIC, "1.5e3", "1500"},
        {PG_NUMERIC, "-0.00", "0.00"},
        {PG_NUMERIC, "00012345678901234567890.12300", "12345678901234567890.12300"},
        {PG_NUMERIC, "Infinity", "Infinity"},
        {PG_NUMERIC, "nan", "NaN"},
        {PG_NUMERIC, "1e131072", "22003"},
        {PG_NUMERIC, "1e-16384", "22003"},
        {PG_NUMERIC, "1e99999999999", "22P02"},
        {PG_NUMERIC, ".", "22P02"},
        {PG_NUMERIC, "0x1f", "22P02"},
        {PG_BOOL, " tr ", "t"},
        {PG_BOOL, "OFF", "f"},
        {PG_BOOL, "o", "22P02"},
    };

    (void)state;
    CHECK_TEXTS(cases);
}

static void test_dates_read_iso_and_nothing_else(void **state)
{
    static const struct text_case cases[] = {
        {PG_DATE, "2024-02-29", "2024-02-29"},
        {PG_DATE, "2023-02-29", "22008"},
        {PG_DATE, "0001-01-01 BC", "0001-01-01 BC"},
        {PG_DATE, "4714-11-24 BC", "4714-11-24 BC"},
        {PG_DATE, "4714-11-23 BC", "22008"},
        {PG_DATE, "5874897-12-31", "5874897-12-31"},
        {PG_DATE, "5874898-01-01", "22008"},
        {PG_DATE, "0000-01-01", "22008"},
        {PG_DATE, "-infinity", "-infinity"},
        {PG_DATE, "99-01-01", "22007"},
        {PG_DATE, "Jan 8 1999", "22007"},
        {PG_DATE, "now", "22007"},
        {PG_TIME, "24:00:00", "24:00:00"},
        {PG_TIME, "24:00:00.1", "22007"},
        {PG_TIME, "01:02", "01:02:00"},
        {PG_TIME, "01:02:03.450", "01:02:03.45"},
        {PG_TIME, "01:02.5", "22007"},
        {PG_TIMESTAMP, "2024-01-02", "2024-01-02 00:00:00"},
        {PG_TIMESTAMP, "2024-01-02T03:04:05.000001", "2024-01-02 03:04:05.000001"},
        {PG_TIMESTAMP, "2024-01-02 03:04:05+02", "22007"},
        {PG_TIMESTAMP, "294276-12-31 23:59:59.999999", "294276-12-31 23:59:59.999999"},
        {PG_TIMESTAMP, "294277-01-01", "22008"},
        {PG_TIMESTAMPTZ, "2024-01-02 03:04:05+02:30", "2024-01-02 00:34:05+00"},
        {PG_TIMESTAMPTZ, "2024-01-02 03:04:05Z", "2024-01-02 03:04:05+00"},
        {PG_TIMESTAMPTZ, "0044-03-15 12:00:00-01 BC", "0044-03-15 13:00:00+00 BC"},
        {PG_TIMESTAMPTZ, "2024-01-02 03:04:05 Europe/Berlin", "22007"},
        {PG_INTERVAL, "1 year 2 mons -3 days 04:05:06.7", "P1Y2M-3DT4H5M6.7S"},
        {PG_INTERVAL, "-00:00:00.5", "PT-0.5S"},
        {PG_INTERVAL, "P1Y2M3W4DT5H6M7.8S", "P1Y2M25DT5H6M7.8S"},
        {PG_INTERVAL, "PT0S", "PT0S"},
        {PG_INTERVAL, "1.5 days", "22007"},
        {PG_INTERVAL, "1 day 1 day", "22007"},
        {PG_INTERVAL, "infinity", "22007"},
        {PG_INTERVAL, "-2.00200000000000000001407 secs", "22007"}, /* overflowed once */
        {PG_INTERVAL, "P", "22007"},
        {PG_INTERVAL, "PT99999999999999H", "22007"},
    };

    (void)state;
    CHECK_TEXTS(cases);
}

static void test_other_types_read_as_postgres_does(void **state)
{
    static const struct text_case cases[] = {
        {PG_UUID, "{A0EEBC99-9C0B4EF8-BB6D6BB9BD380A11}", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
        {PG_UUID, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1", "22P02"},
        {PG_UUID, "a0eebc9-99c0b-4ef8-bb6d-6bb9bd380a11", "22P02"},
        {PG_BYTEA, "\\x 00 fF", "\\x00ff"},
        {PG_BYTEA, "\\x0", "22023"},
        {PG_BYTEA, "a\\\\b\\000", "\\x615c6200"},
        {PG_BYTEA, "a\\9", "22P02"},
        {PG_INT4 | PG_ARRAY, " { 1 , NULL,-3 } ", "{1,NULL,-3}"},
        {PG_INT4 | PG_ARRAY, "[0:1]={1,2}", "[0:1]={1,2}"},
        {PG_INT4 | PG_ARRAY, "[0:2]={1,2}", "22P02"},
        {PG_INT4 | PG_ARRAY, "{{1,2},{3}}", "22P02"},
        {PG_INT4 | PG_ARRAY, "{{1,2},{3,4}}", "{{1,2},{3,4}}"},
        {PG_INT4 | PG_ARRAY, "{1,}", "22P02"},
        {PG_INT4 | PG_ARRAY, "{1", "22P02"},
        {PG_INT4 | PG_ARRAY, "{1}x", "22P02"},
        {PG_INT4 | PG_ARRAY, "{{{{{{{1}}}}}}}", "54000"},
        {PG_INT4 | PG_ARRAY, "{{1},2}", "22P02"},
        {PG_TEXT | PG_ARRAY, "{\"a\\\"b\", x y ,\"\",\"NULL\",\\N}",
         "{\"a\\\"b\",\"x y\",\"\",\"NULL\",N}"},
        {PG_TEXT | PG_ARRAY, "{}", "{}"},
        {PG_TEXT | PG_ARRAY, "{a\"b\"}", "22P02"},
    };

    (void)state;
    CHECK_TEXTS(cases);
}

/* Computes through text, as a clause would. */
static const char *compute(bool (*fn)(const struct numeric *, const struct numeric *,
                                      struct arena *, struct numeric *, struct err *),
                           const char *a, const char *b)
{
    static char got[200];
    struct arena arena = {0};
    struct numeric x, y, z;
    struct err err;
    struct buf buf;

    buf_init(&buf, BUF_NO_LIMIT);
    assert_true(numeric_in(slice_of(a), &arena, &x, &err));
    assert_true(numeric_in(slice_of(b), &arena, &y, &err));
    if (fn(&x, &y, &arena, &z, &err))
        numeric_out(&z, &buf);
    else
        buf_put_cstr(&buf, err.sqlstate);
    snprintf(got, sizeof(got), "%s", buf_cstr(&buf));
    buf_release(&buf);
    arena_release(&arena);
    return got;
}

static void test_numeric_arithmetic_is_exact_and_keeps_scale(void **state)
{
    (void)state;
    assert_string_equal(compute(numeric_add, "999999999.999999999", "0.000000001"),
                        "1000000000.000000000");
    assert_string_equal(compute(numeric_sub, "1", "1.00"), "0.00");
    assert_string_equal(compute(numeric_sub, "1", "1000000000000000000"), "-999999999999999999");
    assert_string_equal(compute(numeric_mul, "99999999999999999999", "-99999999999999999999.0"),
                        "-9999999999999999999800000000000000000001.0");
    assert_string_equal(compute(numeric_mul, "0.00001", "0.00001"), "0.0000000001");
    assert_string_equal(compute(numeric_mul, "-1", "0.00"), "0.00");
    assert_string_equal(compute(numeric_add, "Infinity", "-Infinity"), "NaN");
    assert_string_equal(compute(numeric_mul, "-Infinity", "-2"), "Infinity");
    assert_string_equal(compute(numeric_add, "9e131071", "9e131071"), "22003");
    assert_string_equal(compute(numeric_mul, "1e65000", "1e65000"), "54000"); /* ours: too long */
}

static int cmp_numbers(const char *a, const char *b)
{
    struct arena arena = {0};
    struct numeric x, y;
    struct err err;

    assert_true(numeric_in(slice_of(a), &arena, &x, &err));
    assert_true(numeric_in(slice_of(b), &arena, &y, &err));
    int c = numeric_cmp(&x, &y);
    arena_release(&arena);
    return c;
}

static void test_numeric_order_puts_nan_above_infinity(void **state)
{
    (void)state;
    assert_int_equal(cmp_numbers("1.0", "1.000000000000"), 0);
    assert_int_equal(cmp_numbers("0.1", "0.10000000000000000001"), -1);
    assert_int_equal(cmp_numbers("-2", "-1"), -1);
    assert_int_equal(cmp_numbers("1e20", "99999999999999999999"), 1);
    assert_int_equal(cmp_numbers("NaN", "Infinity"), 1);
    assert_int_equal(cmp_numbers("NaN", "NaN"), 0);
    assert_int_equal(cmp_numbers("-Infinity", "-1e100"), -1);
}

static void test_numeric_rounds_half_away_from_zero(void **state)
{
    static const struct {
        const char *text;
        int64_t expected;
    } cases[] = {{"2.5", 3}, {"-2.5", -3}, {"2.49999999999999999999", 2},
                 {"0.5", 1}, {"-0.4", 0},  {"999999999.5", 1000000000}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena arena = {0};
        struct numeric num;
        struct err err;
        int64_t v;

        assert_true(numeric_in(slice_of(cases[i].text), &arena, &num, &err));
        assert_true(numeric_to_int(&num, INT64_MIN, INT64_MAX, "bigint", &v, &err));
        assert_int_equal(v, cases[i].expected);
        arena_release(&arena);
    }
}

static void test_every_day_goes_to_its_date_and_back(void **state)
{
    int64_t expected_year = -4713;
    int expected_month = 11, expected_day = 24;

    (void)state;
    for (int64_t date = -2451545; date < 110000; date++) {
        int64_t year;
        int month, day;

        date_to_civil(date, &year, &month, &day);
        assert_true(year == expected_year && month == expected_month && day == expected_day);
        assert_int_equal(date_from_civil(year, month, day), date);
        if (++expected_day > days_in_month(year, month)) {
            expected_day = 1;
            expected_month = expected_month % 12 + 1;
            expected_year += expected_month == 1;
        }
    }
}

static void test_arrays_cut_anywhere_are_malformed(void **state)
{
    static const char text[] = "[1:2][1:2]={{\"a\\\\\",b},{NULL,\"c\"}}";

    (void)state;
    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        struct arena arena = {0};
        char *cut = malloc(len ? len : 1); /* exact size: ASan sees a read past it */
        const struct array *arr;
        struct err err;

        memcpy(cut, text, len);
        assert_false(array_in(PG_TEXT, (struct slice){cut, len}, &arena, &arr, &err));
        free(cut);
        arena_release(&arena);
    }
    assert_string_equal(back(PG_TEXT | PG_ARRAY, text), "{{\"a\\\\\",b},{NULL,c}}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_read_and_print_as_postgres_does),
        cmocka_unit_test(test_dates_read_iso_and_nothing_else),
        cmocka_unit_test(test_other_types_read_as_postgres_does),
        cmocka_unit_test(test_numeric_arithmetic_is_exact_and_keeps_scale),
        cmocka_unit_test(test_numeric_order_puts_nan_above_infinity),
        cmocka_unit_test(test_numeric_rounds_half_away_from_zero),
        cmocka_unit_test(test_every_day_goes_to_its_date_and_back),
        cmocka_unit_test(test_arrays_cut_anywhere_are_malformed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
