/*
 * What /v1/shape takes and refuses before it looks at the table, with the contract's texts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/shape_params.h"

struct outcome {
    struct arena arena;
    struct shape_params params;
    struct shape_invalid invalid;
    bool ok;
};

typedef bool reader(const struct http_request *request, struct arena *arena,
                    struct shape_params *out, struct shape_invalid *invalid);

static void read_request(reader *read, const char *query, const char *body, struct outcome *o)
{
    struct http_request request = {.body = slice_of(body)};
    struct err err;

    *o = (struct outcome){0};
    request.arena = &o->arena;
    assert_true(http_query_parse(&request.query, slice_of(query), &o->arena, &err));
    o->ok = read(&request, &o->arena, &o->params, &o->invalid);
}

static void read_good(const char *query, const char *body, struct outcome *o)
{
    read_request(shape_params_read, query, body, o);
    if (!o->ok)
        fail_msg("%s: %.*s", query, SLICE_ARG(o->invalid.body));
}

struct refusal {
    const char *query, *body, *errors;
};

/* `errors` is what stands in the errors object. */
static void check_refusals(reader *read, const struct refusal *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char expected[1000];
        struct outcome o;

        read_request(read, cases[i].query, cases[i].body ? cases[i].body : "", &o);
        assert_false(o.ok);
        assert_int_equal(o.invalid.status, 400);
        snprintf(expected, sizeof(expected), "{\"message\":\"Invalid request\",\"errors\":{%s}}",
                 cases[i].errors);
        assert_string_equal(arena_printf(&o.arena, "%.*s", SLICE_ARG(o.invalid.body)), expected);
        arena_release(&o.arena);
    }
}

#define CHECK_REFUSALS(read, cases) check_refusals(read, cases, sizeof(cases) / sizeof((cases)[0]))

static void test_refusals_have_the_contracts_texts(void **state)
{
    static const struct refusal cases[] = {
        {"table=t", NULL, "\"offset\":[\"can't be blank\"]"},
        {"table=t&offset=", NULL, "\"offset\":[\"can't be blank\"]"},
        {"table=t&offset=10", NULL, "\"offset\":[\"has invalid format\"]"},
        {"table=t&offset=1_2_3", NULL, "\"offset\":[\"has invalid format\"]"},
        {"table=t&offset=1_2%20", NULL, "\"offset\":[\"has invalid format\"]"},
        {"table=t&offset=-2", NULL, "\"offset\":[\"has invalid format\"]"},
        {"table=t&offset=_1", NULL, "\"offset\":[\"has invalid format\"]"},
        {"table=t&offset=1_", NULL, "\"offset\":[\"has invalid format\"]"},
        {"table=t&offset=99999999999999999999_0", NULL, "\"offset\":[\"has invalid format\"]"},
        {"table=t&offset=0_0", NULL, "\"handle\":[\"can't be blank when offset != -1\"]"},
        {"table=t&offset=0_0&handle=", NULL, "\"handle\":[\"can't be blank when offset != -1\"]"},
        {"table=t&offset=-1&live=true", NULL, "\"live\":[\"can't be true when offset == -1\"]"},
        {"table=t&offset=-1&live", NULL, "\"live\":[\"can't be true when offset == -1\"]"},
        {"table=t&offset=now&live=x", NULL, "\"live\":[\"can't be true when offset is 'now'\"]"},
        {"table=t&offset=-1&live_sse=true", NULL,
         "\"live_sse\":[\"can't be true unless live is also true\"]"},
        {"table=t&offset=-1&experimental_live_sse=true", NULL,
         "\"live_sse\":[\"can't be true unless live is also true\"]"},
        {"offset=-1", NULL, "\"table\":[\"can't be blank\"]"},
        {"offset=-1&table=", NULL, "\"table\":[\"can't be blank\"]"},
        {"table=t&offset=-1&replica=half", NULL, "\"replica\":[\"is invalid\"]"},
        {"table=t&offset=-1&log=none", NULL, "\"log\":[\"is invalid\"]"},
        {"table=t&offset=-1&experimental_compaction=maybe", NULL,
         "\"experimental_compaction\":[\"is invalid\"]"},
        {"table=t&offset=-1&params=x", NULL, "\"params\":[\"is invalid\"]"},
        {"table=t&offset=-1&params[a]=x", NULL,
         "\"params\":[\"Parameters can only use numbers as keys\"]"},
        {"table=t&offset=-1&params[2]=x", NULL,
         "\"params\":[\"Parameters must be numbered sequentially, starting from 1\"]"},
        {"table=t&offset=-1&params[0]=x", NULL,
         "\"params\":[\"Parameters must be numbered sequentially, starting from 1\"]"},
        {"table=t&offset=-1&params[1]=x&params[3]=y", NULL,
         "\"params\":[\"Parameters must be numbered sequentially, starting from 1\"]"},
        {"table=t&offset=-1&params[1]=%00", NULL, "\"params\":[\"is invalid\"]"},
        {"table=t&offset=-1&columns=a,", NULL,
         "\"columns\":[\"Invalid zero-length delimited identifier\"]"},
        {"table=t&offset=-1&columns=a%20b", NULL,
         "\"columns\":[\"Invalid unquoted identifier contains special characters: a b\"]"},
        {"table=t&offset=-1&queryable_columns=%22%22", NULL,
         "\"queryable_columns\":[\"Invalid zero-length delimited identifier\"]"},
        {"table=%ff&offset=-1", NULL, "\"table\":[\"is invalid\"]"},
        {"table=a%00b&offset=-1", NULL, "\"table\":[\"is invalid\"]"},
    };

    (void)state;
    CHECK_REFUSALS(shape_params_read, cases);
}

static void test_stages_run_in_order_and_later_ones_are_skipped(void **state)
{
    static const struct refusal cases[] = {
        /* Casts and the offset's absence are one stage. */
        {"replica=half&log=none", NULL,
         "\"replica\":[\"is invalid\"],\"log\":[\"is invalid\"],\"offset\":[\"can't be blank\"]"},
        {"offset=x&live=true", NULL, "\"offset\":[\"has invalid format\"]"},
        {"offset=0_0&live_sse=true", NULL, "\"handle\":[\"can't be blank when offset != -1\"]"},
        {"offset=-1&live=true&live_sse=true", NULL,
         "\"live\":[\"can't be true when offset == -1\"]"},
        {"offset=0_0&handle=h&live_sse=true", NULL,
         "\"live_sse\":[\"can't be true unless live is also true\"]"},
        {"offset=-1&subset__limit=x", NULL, "\"table\":[\"can't be blank\"]"},
    };

    (void)state;
    CHECK_REFUSALS(shape_params_read, cases);
}

static void test_subsets_errors_nest(void **state)
{
    static const struct refusal cases[] = {
        {"table=t&offset=now&subset__limit=0&subset__order_by=id", NULL,
         "\"subset\":{\"limit\":[\"must be greater than 0\"]}"},
        {"table=t&offset=now&subset__offset=-1&subset__order_by=id", NULL,
         "\"subset\":{\"offset\":[\"must be greater than or equal to 0\"]}"},
        {"table=t&offset=now&subset__limit=ten&subset__order_by=id", NULL,
         "\"subset\":{\"limit\":[\"is invalid\"]}"},
        {"table=t&offset=now&subset__limit=1.5&subset__order_by=id", NULL,
         "\"subset\":{\"limit\":[\"is invalid\"]}"},
        {"table=t&offset=now&subset__limit=10", NULL,
         "\"subset\":{\"order_by\":[\"order_by is required when limit or offset is present\"]}"},
        {"table=t&offset=now&subset__offset=10", NULL,
         "\"subset\":{\"order_by\":[\"order_by is required when limit or offset is present\"]}"},
        {"table=t&offset=now&subset__params=[1]", NULL,
         "\"subset\":{\"params\":[\"params must be a JSON object\"]}"},
        {"table=t&offset=now&subset__params={1", NULL,
         "\"subset\":{\"params\":[\"params must be valid JSON\"]}"},
        {"table=t&offset=now&subset__params={\"x\":\"1\"}", NULL,
         "\"subset\":{\"params\":[\"Parameters can only use numbers as keys\"]}"},
        {"table=t&offset=now", "{\"subset\":{\"limit\":true,\"order_by\":\"id\"}}",
         "\"subset\":{\"limit\":[\"is invalid\"]}"},
        {"table=t&offset=now", "{\"where\":5}", "\"subset\":{\"where\":[\"is invalid\"]}"},
        {"table=t&offset=now", "{\"subset\":[]}", "\"subset\":[\"is invalid\"]"},
        {"table=t&offset=now", "{\"params\":{\"1\":[2]},\"where\":\"id = $1\"}",
         "\"subset\":{\"params\":[\"is invalid\"]}"},
    };

    (void)state;
    CHECK_REFUSALS(shape_params_read, cases);
}

static void test_answers_of_the_pool_are_put_likewise(void **state)
{
    static const struct {
        const char *field;
        enum err_code code;
        const char *expected;
    } cases[] = {
        {"where", ERR_INPUT, "{\"where\":[\"\\\"x\\\" is wrong\"]}"},
        {"subset.where", ERR_INPUT, "{\"subset\":{\"where\":[\"\\\"x\\\" is wrong\"]}}"},
        /* Only Postgres knew: a string. */
        {"subset.where", ERR_PG, "{\"subset\":{\"where\":\"\\\"x\\\" is wrong\"}}"},
    };

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char expected[200];
        struct err err;
        struct buf b;

        buf_init(&b, BUF_NO_LIMIT);
        err_set(&err, cases[i].code, "\"x\" is wrong");
        shape_invalid_put(&b, cases[i].field, &err);
        snprintf(expected, sizeof(expected), "{\"message\":\"Invalid request\",\"errors\":%s}",
                 cases[i].expected);
        assert_string_equal(buf_cstr(&b), expected);
        buf_release(&b);
    }
}

static void test_offsets_are_read(void **state)
{
    static const struct {
        const char *text;
        enum shape_offset_at at;
        struct log_offset offset;
    } cases[] = {
        {"-1", SHAPE_OFFSET_START, {0, 0}},
        {"-1_0", SHAPE_OFFSET_START, {0, 0}},
        {"now", SHAPE_OFFSET_NOW, {0, 0}},
        {"0_02", SHAPE_OFFSET_AT, {0, 2}},
        {"0_inf", SHAPE_OFFSET_AT, {0, UINT64_MAX}},
        {"26754856_4", SHAPE_OFFSET_AT, {26754856, 4}},
        {"18446744073709551615_0", SHAPE_OFFSET_AT, {UINT64_MAX, 0}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char query[100];
        struct outcome o;

        snprintf(query, sizeof(query), "table=t&handle=h&offset=%s", cases[i].text);
        read_good(query, "", &o);
        assert_int_equal(o.params.at, cases[i].at);
        assert_true(o.params.offset.lsn == cases[i].offset.lsn &&
                    o.params.offset.op == cases[i].offset.op);
        /* Elsewhere it is a cache's key and nothing else. */
        assert_true(slice_is(o.params.handle, cases[i].at == SHAPE_OFFSET_AT ? "h" : ""));
        arena_release(&o.arena);
    }
}

static void test_a_request_is_read_whole(void **state)
{
    struct outcome o;

    (void)state;
    read_good("table=shop.orders&where=id%3D%241&params%5B2%5D=b&params[1]=7&columns=id,%22n%22&"
              "replica=full&log=changes_only&offset=5_6&handle=123-4&live=&live_sse=true&"
              "cursor=99&experimental_compaction=true&secret=s&cache-buster=1",
              "", &o);
    assert_true(slice_is(o.params.shape.table, "shop.orders"));
    assert_true(slice_is(o.params.shape.where, "id=$1"));
    assert_true(slice_is(o.params.shape.columns, "id,\"n\""));
    assert_int_equal(o.params.shape.params.n, 2);
    assert_true(slice_is(o.params.shape.params.values[0], "7"));
    assert_true(slice_is(o.params.shape.params.values[1], "b"));
    assert_int_equal(o.params.shape.replica, SHAPE_REPLICA_FULL);
    assert_true(o.params.shape.changes_only && o.params.live && o.params.sse &&
                o.params.compaction && !o.params.is_subset);
    assert_int_equal(o.params.cursor, 99);
    assert_true(slice_is(o.params.handle, "123-4"));
    arena_release(&o.arena);
}

static void test_flags_are_true_unless_false(void **state)
{
    static const struct {
        const char *query;
        bool live, sse;
    } cases[] = {
        {"live=false", false, false},
        {"live=0", true, false},
        {"live", true, false},
        {"live=1&live_sse=false&experimental_live_sse=true", true, false},
        {"live=1&experimental_live_sse=true", true, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char query[200];
        struct outcome o;

        snprintf(query, sizeof(query), "table=t&offset=1_0&handle=h&%s", cases[i].query);
        read_good(query, "", &o);
        assert_int_equal(o.params.live, cases[i].live);
        assert_int_equal(o.params.sse, cases[i].sse);
        arena_release(&o.arena);
    }
}

static void test_cursor_that_is_no_number_is_0(void **state)
{
    static const char *const texts[] = {"", "x", "-5", "1.5", "99999999999999999999999"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char query[100];
        struct outcome o;

        snprintf(query, sizeof(query), "table=t&offset=-1&cursor=%s", texts[i]);
        read_good(query, "", &o);
        assert_int_equal(o.params.cursor, 0);
        arena_release(&o.arena);
    }
}

static void test_queryable_columns_are_the_default_projection(void **state)
{
    struct outcome o;

    (void)state;
    read_good("table=t&offset=-1&queryable_columns=id,name", "", &o);
    assert_true(slice_is(o.params.shape.columns, "id,name"));
    assert_true(slice_is(o.params.shape.queryable, "id,name"));
    arena_release(&o.arena);
    read_good("table=t&offset=-1&queryable_columns=id,name&columns=id", "", &o);
    assert_true(slice_is(o.params.shape.columns, "id"));
    arena_release(&o.arena);
}

static void test_any_subset_key_makes_a_subset(void **state)
{
    static const char *const keys[] = {"subset__where=", "subset__where_expr={}",
                                       "subset__order_by_expr=x", "subset__limit="};
    struct outcome o;

    (void)state;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        char query[100];

        snprintf(query, sizeof(query), "table=t&offset=now&%s", keys[i]);
        read_good(query, "", &o);
        assert_true(o.params.is_subset);
        arena_release(&o.arena);
    }
    read_good("table=t&offset=now&where=a%3D1&subset__where=id%3D%241&subset__params={\"1\":7}&"
              "subset__order_by=id%20DESC&subset__limit=10&subset__offset=20",
              "", &o);
    assert_true(slice_is(o.params.shape.where, "a=1"));
    assert_true(slice_is(o.params.subset.where, "id=$1"));
    assert_int_equal(o.params.subset.params.n, 1);
    assert_true(slice_is(o.params.subset.params.values[0], "7"));
    assert_true(slice_is(o.params.subset.order_by, "id DESC"));
    assert_int_equal(o.params.subset.limit, 10);
    assert_int_equal(o.params.subset.offset, 20);
    arena_release(&o.arena);
}

static void test_where_of_a_body_is_the_subsets(void **state)
{
    struct outcome o;

    (void)state;
    read_good("table=t&offset=now&where=a%3D1",
              "{\"where\":\"id > $1\",\"params\":{\"1\":\"5\"},\"limit\":3,\"order_by\":\"id\","
              "\"offset\":4,\"replica\":\"full\"}",
              &o);
    assert_true(slice_is(o.params.shape.where, "a=1"));
    assert_int_equal(o.params.shape.params.n, 0);
    assert_int_equal(o.params.shape.replica, SHAPE_REPLICA_FULL);
    assert_int_equal(o.params.at, SHAPE_OFFSET_NOW);
    assert_true(o.params.is_subset && slice_is(o.params.subset.where, "id > $1"));
    assert_true(slice_is(o.params.subset.params.values[0], "5"));
    assert_int_equal(o.params.subset.limit, 3);
    assert_int_equal(o.params.subset.offset, 4);
    arena_release(&o.arena);
}

static void test_body_with_a_subset_of_its_own_merges_the_rest(void **state)
{
    struct outcome o;

    (void)state;
    read_good("offset=-1&log=full",
              "{\"subset\":{\"where\":\"id = 1\"},\"table\":\"t\",\"where\":\"a = $1\","
              "\"params\":{\"1\":\"x\"},\"offset\":\"now\",\"log\":\"changes_only\","
              "\"columns\":[\"id\",\"a\\\"b\"]}",
              &o);
    assert_true(slice_is(o.params.shape.table, "t"));
    assert_true(slice_is(o.params.shape.where, "a = $1"));
    assert_true(slice_is(o.params.shape.params.values[0], "x"));
    assert_true(slice_is(o.params.shape.columns, "\"id\",\"a\"\"b\""));
    assert_true(o.params.shape.changes_only && o.params.at == SHAPE_OFFSET_NOW);
    assert_true(slice_is(o.params.subset.where, "id = 1"));
    arena_release(&o.arena);
}

static void test_empty_body_is_a_get(void **state)
{
    struct outcome o;

    (void)state;
    read_good("table=t&offset=-1", " \n", &o);
    assert_false(o.params.is_subset);
    arena_release(&o.arena);
    read_good("table=t&offset=-1", "{}", &o);
    assert_false(o.params.is_subset);
    arena_release(&o.arena);
}

/* A proxy that allows requests by their query string must not be evaded. */
static void test_body_cannot_change_what_the_query_string_says_of_the_rows(void **state)
{
    static const struct refusal cases[] = {
        {"table=t&offset=now", "{\"subset\":{},\"table\":\"other\"}",
         "\"table\":[\"is not the same in the query string and in the body\"]"},
        {"shape=mine&offset=now", "{\"subset\":{},\"shape\":\"all\"}",
         "\"shape\":[\"is not the same in the query string and in the body\"]"},
        {"shape=mine&offset=now", "{\"subset\":{},\"shape\":null}",
         "\"shape\":[\"is not the same in the query string and in the body\"]"},
        {"table=t&where=a%3D1&offset=now", "{\"subset\":{},\"where\":\"true\"}",
         "\"where\":[\"is not the same in the query string and in the body\"]"},
        {"table=t&columns=id&offset=now", "{\"subset\":{},\"columns\":[\"id\",\"x\"]}",
         "\"columns\":[\"is not the same in the query string and in the body\"]"},
        {"table=t&params[1]=7&offset=now", "{\"subset\":{},\"params\":{\"1\":\"8\"}}",
         "\"params\":[\"is given in the query string and in the body\"]"},
        {"table=t&where=a%3D1&offset=now", "{\"subset\":{},\"where\":null}",
         "\"where\":[\"is not the same in the query string and in the body\"]"},
        {"table=t&params[1]=7&offset=now", "{\"subset\":{},\"params\":null}",
         "\"params\":[\"is given in the query string and in the body\"]"},
    };
    struct outcome o;

    (void)state;
    CHECK_REFUSALS(shape_params_read, cases);
    read_good("table=t&offset=now", "{\"subset\":{},\"table\":\"t\"}", &o);
    arena_release(&o.arena);
}

static void test_shape_by_name_has_all_that_defines_it(void **state)
{
    static const struct refusal cases[] = {
        {"shape=mine&table=t&offset=-1", NULL,
         "\"table\":[\"can't be given together with shape\"]"},
        {"shape=mine&where=true&columns=id&offset=-1", NULL,
         "\"where\":[\"can't be given together with shape\"],"
         "\"columns\":[\"can't be given together with shape\"]"},
        {"shape=mine&params[1]=x&offset=-1", NULL,
         "\"params\":[\"can't be given together with shape\"]"},
        {"shape=mine&queryable_columns=id&offset=-1", NULL,
         "\"columns\":[\"can't be given together with shape\"]"},
        {"table=t&offset=now", "{\"subset\":{},\"shape\":\"mine\"}",
         "\"table\":[\"can't be given together with shape\"]"},
    };
    struct outcome o;

    (void)state;
    CHECK_REFUSALS(shape_params_read, cases);
    read_good("shape=mine&offset=now", "{\"where\":\"a = 1\"}", &o);
    assert_true(slice_is(o.params.name, "mine"));
    assert_int_equal(o.params.shape.table.len, 0);
    assert_int_equal(o.params.shape.where.len, 0);
    assert_true(slice_is(o.params.subset.where, "a = 1"));
    arena_release(&o.arena);
}

static void check_body(const char *body, int status, const char *expected)
{
    struct outcome o;

    read_request(shape_params_read, "table=t&offset=-1", body, &o);
    assert_false(o.ok);
    assert_int_equal(o.invalid.status, status);
    assert_string_equal(arena_printf(&o.arena, "%.*s", SLICE_ARG(o.invalid.body)), expected);
    arena_release(&o.arena);
}

static void test_bodies_that_are_no_object_are_refused(void **state)
{
    (void)state;
    check_body("[1]", 400, "{\"error\":\"Request body must be a JSON object\"}");
    check_body("5", 400, "{\"error\":\"Request body must be a JSON object\"}");
    check_body("{\"a\":", 400,
               "{\"error\":\"Invalid JSON in request body\",\"details\":\"unexpected end of data "
               "at byte 5\"}");
}

static void test_long_body_is_refused_with_413(void **state)
{
    char *body = malloc(SHAPE_BODY_LIMIT + 2);

    (void)state;
    memset(body, ' ', SHAPE_BODY_LIMIT + 1);
    body[SHAPE_BODY_LIMIT + 1] = '\0';
    check_body(body, 413, "{\"error\":\"Request body too large\"}");
    free(body);
}

static void test_deep_json_is_no_danger(void **state)
{
    static char body[200001];
    struct outcome o;

    (void)state;
    memset(body, '[', 200000);
    read_request(shape_params_read, "table=t&offset=-1", body, &o);
    assert_false(o.ok);
    arena_release(&o.arena);
}

static void test_delete_is_by_definition_or_handle(void **state)
{
    static const struct refusal cases[] = {
        {"", NULL, "\"handle\":[\"can't be blank when shape definition is missing\"]"},
        {"where=a%3D1", NULL, "\"handle\":[\"can't be blank when shape definition is missing\"]"},
        {"table=t&replica=half", NULL, "\"replica\":[\"is invalid\"]"},
        {"table=t&params[3]=x", NULL,
         "\"params\":[\"Parameters must be numbered sequentially, starting from 1\"]"},
    };
    struct outcome o;

    (void)state;
    CHECK_REFUSALS(shape_params_read_delete, cases);
    read_request(shape_params_read_delete, "handle=h&offset=x&live=true", "", &o);
    assert_true(o.ok && slice_is(o.params.handle, "h") && o.params.shape.table.len == 0);
    arena_release(&o.arena);
    read_request(shape_params_read_delete, "table=t&where=a&handle=h", "", &o);
    assert_true(o.ok && slice_is(o.params.handle, "h") && slice_is(o.params.shape.where, "a"));
    arena_release(&o.arena);
}

static void check_length(const char *query, const char *body, const char *end, size_t n,
                         const char *errors)
{
    struct buf text;

    buf_init(&text, BUF_NO_LIMIT);
    buf_put_cstr(&text, body);
    for (size_t i = 0; i < n; i++)
        buf_put_u8(&text, 'x');
    buf_put_cstr(&text, end);
    if (errors) {
        const struct refusal refusal = {query, buf_cstr(&text), errors};

        check_refusals(shape_params_read, &refusal, 1);
    } else {
        struct outcome o;

        read_good(query, buf_cstr(&text), &o);
        arena_release(&o.arena);
    }
    buf_release(&text);
}

static void test_clause_that_the_parser_would_refuse_for_its_length_gets_no_further(void **state)
{
    const char *said = "\"where\":[\"the where clause is bigger than maximum size (65536 bytes)\"]";
    const char *own = "{\"subset\":{\"limit\":null},\"where\":\"", *subsets = "{\"where\":\"";
    char nested[200];

    (void)state;
    snprintf(nested, sizeof(nested), "\"subset\":{%s}", said);
    check_length("table=t&offset=-1", own, "\"}", WHERE_MAX_SIZE, NULL);
    check_length("table=t&offset=-1", own, "\"}", WHERE_MAX_SIZE + 1, said);
    check_length("table=t&offset=-1", subsets, "\"}", WHERE_MAX_SIZE, NULL);
    check_length("table=t&offset=-1", subsets, "\"}", WHERE_MAX_SIZE + 1, nested);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals_have_the_contracts_texts),
        cmocka_unit_test(test_stages_run_in_order_and_later_ones_are_skipped),
        cmocka_unit_test(test_subsets_errors_nest),
        cmocka_unit_test(test_answers_of_the_pool_are_put_likewise),
        cmocka_unit_test(test_offsets_are_read),
        cmocka_unit_test(test_a_request_is_read_whole),
        cmocka_unit_test(test_flags_are_true_unless_false),
        cmocka_unit_test(test_cursor_that_is_no_number_is_0),
        cmocka_unit_test(test_queryable_columns_are_the_default_projection),
        cmocka_unit_test(test_any_subset_key_makes_a_subset),
        cmocka_unit_test(test_where_of_a_body_is_the_subsets),
        cmocka_unit_test(test_body_with_a_subset_of_its_own_merges_the_rest),
        cmocka_unit_test(test_empty_body_is_a_get),
        cmocka_unit_test(test_body_cannot_change_what_the_query_string_says_of_the_rows),
        cmocka_unit_test(test_shape_by_name_has_all_that_defines_it),
        cmocka_unit_test(test_bodies_that_are_no_object_are_refused),
        cmocka_unit_test(test_long_body_is_refused_with_413),
        cmocka_unit_test(test_clause_that_the_parser_would_refuse_for_its_length_gets_no_further),
        cmocka_unit_test(test_deep_json_is_no_danger),
        cmocka_unit_test(test_delete_is_by_definition_or_handle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
