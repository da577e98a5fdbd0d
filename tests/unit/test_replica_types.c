#include "replica/types.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* A value in Postgres and what SQLite holds; the way back is always checked. */
struct text_case {
    const char *type;
    int dims;
    const char *pg, *lite; /* lite NULL: the same text */
};

static const struct text_case texts[] = {
    {"text", 0, "", NULL},
    {"text", 0, "a\tb \xc3\xa4 \xf0\x9f\x98\x80", NULL},
    {"bpchar", 0, "ab   ", NULL},
    {"numeric", 0, "1.10", NULL},
    {"numeric", 0, "12345678901234567890.123456789", NULL},
    {"numeric", 0, "NaN", NULL},
    {"numeric", 0, "-Infinity", NULL},
    {"money", 0, "$1,234.50", NULL},
    {"uuid", 0, "1e500000-0000-0000-0000-000000000000", NULL},
    {"date", 0, "2024-02-28", NULL},
    {"date", 0, "0044-03-15 BC", NULL},
    {"time", 0, "19:32:03.5", NULL},
    {"timetz", 0, "19:32:03+02", NULL},
    {"interval", 0, "P1Y2M3DT4H5M6.7S", NULL},
    {"interval", 0, "P-1DT2H3M", NULL},
    {"jsonb", 0, "{\"a\": [true, null, 12345678901234567890]}", NULL},
    {"int4range", 0, "[1,5)", NULL},
    {"tsvector", 0, "'a':1 'b':2", NULL},
    {"timestamp", 0, "2024-02-28 19:32:03", "2024-02-28 19:32:03.000000"},
    {"timestamp", 0, "2024-02-28 19:32:03.25", "2024-02-28 19:32:03.250000"},
    {"timestamp", 0, "infinity", NULL},
    {"timestamptz", 0, "2024-02-28 19:32:03+00", "2024-02-28 19:32:03.000000+00:00"},
    {"timestamptz", 0, "2024-02-28 19:32:03.123456+00", "2024-02-28 19:32:03.123456+00:00"},
    {"timestamptz", 0, "2024-02-28 19:32:03.1+00", "2024-02-28 19:32:03.100000+00:00"},
    {"timestamptz", 0, "2024-02-28 19:32:03+05:30", NULL},
    {"timestamptz", 0, "-infinity", NULL},
    {"timestamptz", 0, "0044-03-15 12:00:00+00 BC", NULL},
    {"timestamptz", 0, "12024-03-15 12:00:00+00", NULL},
    {"int4", 1, "{}", "[]"},
    {"int4", 1, "{1,-2,NULL}", "[1,-2,null]"},
    {"_int4", 0, "{1,2}", "[1,2]"},
    {"int4", 2, "{{1,2},{3,NULL}}", "[[1,2],[3,null]]"},
    {"int4", 1, "[0:1]={1,2}", NULL},
    {"int8", 1, "{9223372036854775807}", "[9223372036854775807]"},
    {"numeric", 1, "{1.10,NaN,12345678901234567890.5}", "[1.10,\"NaN\",12345678901234567890.5]"},
    {"float8", 1, "{1e+300,-0,Infinity,1e-07}", "[1e+300,-0,\"Infinity\",1e-07]"},
    {"bool", 1, "{t,f,NULL}", "[true,false,null]"},
    {"text", 1, "{\"a b\",\"NULL\",\"\",NULL,\"null\",c}",
     "[\"a b\",\"NULL\",\"\",null,\"null\",\"c\"]"},
    {"text", 1, "{\"q\\\"u\\\\o\",\"{x}\",\"a,b\",\"l\nf\"}",
     "[\"q\\\"u\\\\o\",\"{x}\",\"a,b\",\"l\\u000af\"]"},
    {"bytea", 1, "{\"\\\\x00ff\"}", "[\"\\\\x00ff\"]"},
    {"timestamptz", 1, "{\"2024-02-28 19:32:03+00\"}", "[\"2024-02-28 19:32:03.000000+00:00\"]"},
    {"box", 1, "{(1,1),(0,0);(3,3),(2,2)}", NULL},
    {"json", 1, "{\"{\\\"a\\\": 1}\"}", "[\"{\\\"a\\\": 1}\"]"},
};

static struct slice back(struct lite_type type, const struct lite_value *v, struct arena *arena)
{
    struct slice pg;

    lite_to_pg(type, v, arena, &pg);
    return pg;
}

static void test_texts_are_stored_as_said_and_come_back_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const struct text_case *c = &texts[i];
        struct lite_type type = lite_type_of(slice_of(c->type), SLICE(""), c->dims);
        const char *expected = c->lite ? c->lite : c->pg;
        struct arena arena = {0};
        struct lite_value v;
        struct err err;

        assert_true(lite_from_pg(type, slice_of(c->pg), &arena, &v, &err));
        assert_int_equal(v.storage, LITE_TEXT);
        if (!slice_is(v.bytes, expected) || !slice_is(back(type, &v, &arena), c->pg))
            fail_msg("%s %s: stored as %.*s, came back as %.*s", c->type, c->pg, SLICE_ARG(v.bytes),
                     SLICE_ARG(back(type, &v, &arena)));
        arena_release(&arena);
    }
}

/* What is not exactly such a time stays as it is, in both directions. */
static void test_times_of_another_form_are_left_alone(void **state)
{
    static const char time[] = "2024-02-28 19:32:03.123456+00",
                      ours[] = "2024-02-28 19:32:03.123456+00:00";
    struct arena arena = {0};

    (void)state;
    for (size_t at = 0; at < sizeof(ours) - 1; at++) {
        for (unsigned c = 0; c < 256; c++) {
            char in[sizeof(ours)], out[sizeof(ours)];
            struct slice from = {in, sizeof(time) - 1}, to = {out, sizeof(ours) - 1};
            bool digit = c >= '0' && c <= '9';

            memcpy(in, time, sizeof(time));
            memcpy(out, ours, sizeof(ours));
            bool same = ours[at] == (char)c;
            bool other_digit = digit && at < 26 && ours[at] >= '0' && ours[at] <= '9';
            in[at] = out[at] = (char)c;
            if (at < from.len)
                assert_true((same || other_digit) ==
                            !slice_eq(lite_text_in(LITE_TIMESTAMPTZ, from, &arena), from));
            assert_true((same || other_digit) ==
                        !slice_eq(lite_text_out(LITE_TIMESTAMPTZ, to, &arena), to));
            arena_reset(&arena);
        }
    }
    arena_release(&arena);
}

static void test_integers_keep_all_64_bits(void **state)
{
    static const char *const good[] = {"0", "-1", "9223372036854775807", "-9223372036854775808",
                                       "4294967295"};
    static const char *const bad[] = {"",
                                      "-",
                                      "1x",
                                      "9223372036854775808",
                                      "1.5",
                                      "-9223372036854775809",
                                      "99999999999999999999"};
    struct lite_type type = lite_type_of(SLICE("int8"), SLICE(""), 0);
    struct arena arena = {0};
    struct lite_value v;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(lite_from_pg(type, slice_of(good[i]), &arena, &v, &err));
        assert_int_equal(v.storage, LITE_INTEGER);
        assert_true(slice_is(back(type, &v, &arena), good[i]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(lite_from_pg(type, slice_of(bad[i]), &arena, &v, &err));
        assert_int_equal(err.code, ERR_PROTOCOL);
    }
    arena_release(&arena);
}

static void test_booleans_are_0_and_1_in_either_spelling(void **state)
{
    struct lite_type type = lite_type_of(SLICE("bool"), SLICE(""), 0);
    struct arena arena = {0};
    struct lite_value v;
    struct err err;

    (void)state;
    assert_true(lite_from_pg(type, SLICE("true"), &arena, &v, &err) && v.integer == 1);
    assert_true(slice_is(back(type, &v, &arena), "t"));
    assert_true(lite_from_pg(type, SLICE("f"), &arena, &v, &err) && v.integer == 0);
    assert_true(slice_is(back(type, &v, &arena), "f"));
    assert_false(lite_from_pg(type, SLICE("yes"), &arena, &v, &err));
    arena_release(&arena);
}

static void test_floats_print_as_postgres_prints_them(void **state)
{
    static const struct {
        const char *type, *text;
    } cases[] = {
        {"float8", "0"},
        {"float8", "4.5"},
        {"float8", "1e+300"},
        {"float8", "1e-07"},
        {"float8", "0.0001"},
        {"float8", "1e-05"},
        {"float8", "1e+15"},
        {"float8", "100000000000000"},
        {"float8", "0.1"},
        {"float8", "0.30000000000000004"},
        {"float8", "-1.5"},
        {"float8", "5e-324"},
        {"float8", "Infinity"},
        {"float8", "-Infinity"},
        {"float8", "NaN"},
        {"float8", "1.7976931348623157e+308"},
        {"float8", "123456.789"},
        {"float8", "5.684341886080802e-14"},
        {"float4", "0.1"},
        {"float4", "1e+06"},
        {"float4", "100000"},
        {"float4", "16777216"},
        {"float4", "1.1754944e-38"},
        {"float4", "3.4028235e+38"},
        {"float4", "NaN"},
        {"float4", "1e-45"},
    };
    struct arena arena = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lite_type type = lite_type_of(slice_of(cases[i].type), SLICE(""), 0);
        const char *text = cases[i].text;
        struct lite_value v;
        struct err err;

        if (strcmp(text, "16777216") == 0)
            text = "1.6777216e+07"; /* what Postgres prints for that float4 */
        assert_true(lite_from_pg(type, slice_of(text), &arena, &v, &err));
        assert_int_equal(v.storage, strcmp(text, "NaN") ? LITE_REAL : LITE_TEXT);
        if (!slice_is(back(type, &v, &arena), text))
            fail_msg("%s came back as %.*s", text, SLICE_ARG(back(type, &v, &arena)));
    }
    arena_release(&arena);
}

static void test_random_floats_read_back_to_the_same_bits(void **state)
{
    struct arena arena = {0};

    (void)state;
    srand(7);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^ (uint64_t)rand();
        double v, again;

        memcpy(&v, &bits, sizeof(v));
        if (isnan(v) || isinf(v))
            continue;
        struct slice text = lite_float_text(v, false, &arena);
        assert_true(lite_float_parse(text, &again));
        assert_memory_equal(&again, &v, sizeof(v));
        arena_reset(&arena);
    }
    arena_release(&arena);
}

static void test_bytes_are_blobs(void **state)
{
    struct lite_type type = lite_type_of(SLICE("bytea"), SLICE(""), 0);
    struct lite_type wkb = lite_type_of(SLICE("geometry"), SLICE(""), 0);
    struct arena arena = {0};
    struct lite_value v;
    struct err err;

    (void)state;
    assert_true(lite_from_pg(type, SLICE("\\x00ff10"), &arena, &v, &err));
    assert_int_equal(v.storage, LITE_BLOB);
    assert_int_equal(v.bytes.len, 3);
    assert_memory_equal(v.bytes.ptr, "\0\xff\x10", 3);
    assert_true(slice_is(back(type, &v, &arena), "\\x00ff10"));
    assert_true(lite_from_pg(type, SLICE("\\x"), &arena, &v, &err) && v.bytes.len == 0);
    assert_true(slice_is(back(type, &v, &arena), "\\x"));
    assert_false(lite_from_pg(type, SLICE("\\x0"), &arena, &v, &err));
    assert_false(lite_from_pg(type, SLICE("00ff"), &arena, &v, &err));
    assert_true(lite_from_pg(wkb, SLICE("0101ABEF"), &arena, &v, &err));
    assert_int_equal(v.storage, LITE_BLOB);
    assert_true(slice_is(back(wkb, &v, &arena), "0101ABEF"));
    arena_release(&arena);
}

static void test_declared_types_are_sqlites_four(void **state)
{
    static const struct {
        const char *type, *base;
        int dims;
        const char *decl;
    } cases[] = {
        {"int8", "", 0, "INTEGER"},
        {"bool", "", 0, "INTEGER"},
        {"float4", "", 0, "REAL"},
        {"numeric", "", 0, "TEXT"},
        {"uuid", "", 0, "TEXT"},
        {"bytea", "", 0, "BLOB"},
        {"citext", "", 0, "TEXT COLLATE NOCASE"},
        {"int4", "", 1, "TEXT"},
        {"_int4", "", 0, "TEXT"},
        {"cents", "int4", 0, "INTEGER"},
        {"int4", "enum", 0, "TEXT"},
        {"interval", "", 0, "TEXT"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(lite_type_decl(lite_type_of(slice_of(cases[i].type),
                                                        slice_of(cases[i].base), cases[i].dims)),
                            cases[i].decl);
}

static void test_any_bytes_as_an_array_come_back_the_same(void **state)
{
    static const char alphabet[] = "{}\",\\ an1.-t[]:=\n";
    struct lite_type type = lite_type_of(SLICE("text"), SLICE(""), 1);
    struct arena arena = {0};

    (void)state;
    srand(11);
    for (int i = 0; i < 200000; i++) {
        char text[16];
        size_t n = (size_t)rand() % sizeof(text);
        struct lite_value v;
        struct err err;

        text[0] = '{';
        for (size_t k = 1; k < n; k++)
            text[k] = alphabet[(size_t)rand() % (sizeof(alphabet) - 1)];
        assert_true(lite_from_pg(type, (struct slice){text, n}, &arena, &v, &err));
        assert_true(slice_eq(back(type, &v, &arena), (struct slice){text, n}));
        arena_reset(&arena);
    }
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_are_stored_as_said_and_come_back_the_same),
        cmocka_unit_test(test_times_of_another_form_are_left_alone),
        cmocka_unit_test(test_integers_keep_all_64_bits),
        cmocka_unit_test(test_booleans_are_0_and_1_in_either_spelling),
        cmocka_unit_test(test_floats_print_as_postgres_prints_them),
        cmocka_unit_test(test_random_floats_read_back_to_the_same_bits),
        cmocka_unit_test(test_bytes_are_blobs),
        cmocka_unit_test(test_declared_types_are_sqlites_four),
        cmocka_unit_test(test_any_bytes_as_an_array_come_back_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
