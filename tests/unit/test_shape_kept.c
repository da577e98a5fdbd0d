/* What a loop of /v1/shape keeps of requests and answers that come again. */
#include "shape_site_kit.h"

#define AT_END "handle=%s&offset=0_inf"
#define FIRST "handle=%s&offset=-1"
#define NOT_NULL "\"n\":{\"type\":\"int4\",\"not_null\":true}"

/* The head of one request's answer, which is heard whole. */
static void get_head(struct client *c, const char *query, const char *headers)
{
    buf_clear(&c->heard);
    client_ask(c, "GET", query, headers);
    client_hear_until(c, "\r\n\r\n");
    client_hear(c);
}

static unsigned heads_kept(const struct kit *kit)
{
    unsigned n = 0;

    for (unsigned i = 0; i < SHAPE_HEADS; i++)
        n += kit->mine.shapes->heads[i] != NULL;
    return n;
}

static unsigned asked_kept(const struct kit *kit)
{
    unsigned n = 0;

    for (unsigned i = 0; i < SHAPE_ASKED; i++)
        n += kit->mine.shapes->asked[i] != NULL;
    return n;
}

static void test_headers_that_are_kept_say_the_same(void **state)
{
    struct kit *kit = kit_new();
    struct slice schema, again;
    struct arena arena = {0};
    struct client c;

    (void)state;
    client_open(&c, kit);
    get_head(&c, AT_END, "");
    schema = arena_copy(&arena, client_header(&c, "electric-schema"));
    assert_true(schema.len > 0);
    assert_int_equal(heads_kept(kit), 1);
    get_head(&c, AT_END, "");
    again = client_header(&c, "electric-schema");
    assert_true(slice_eq(again, schema));
    assert_true(slice_is(client_header(&c, "electric-offset"), "0_inf"));
    assert_int_equal(heads_kept(kit), 1);
    client_close(&c);
    arena_release(&arena);
    kit_free(kit);
}

static void test_a_newer_table_makes_new_headers(void **state)
{
    struct kit *kit = kit_new();
    struct table *newer = new_table(log_shape(kit->log)->table->relid);
    struct client c;
    struct err err;

    (void)state;
    newer->cols[1].not_null = !newer->cols[1].not_null;
    client_open(&c, kit);
    get_head(&c, AT_END, "");
    bool before = client_has(&c, NOT_NULL);
    assert_ok(shapelog_set_table(kit->store, &kit->log, 1, newer, &err), err);
    get_head(&c, AT_END, "");
    assert_int_equal(client_has(&c, NOT_NULL), !before);
    client_close(&c);
    table_unref(newer);
    kit_free(kit);
}

static void assert_tag_ends(struct client *c, const char *query, const char *end)
{
    char wanted[64];

    get_head(c, query, "");
    snprintf(wanted, sizeof(wanted), "%s\"", end);
    struct slice tag = client_header(c, "etag");
    assert_true(tag.len > strlen(wanted));
    assert_memory_equal(tag.ptr + tag.len - strlen(wanted), wanted, strlen(wanted));
}

static void test_headers_are_of_what_was_asked_and_what_came(void **state)
{
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    client_open(&c, kit);
    for (int i = 0; i < 2; i++) {
        assert_tag_ends(&c, AT_END, ":0_inf:0_inf");
        assert_tag_ends(&c, FIRST, ":-1:0_0");
    }
    kit_commit(kit, 100, 2, 0);
    for (int i = 0; i < 2; i++) {
        assert_tag_ends(&c, AT_END, ":0_inf:100_2");
        assert_tag_ends(&c, "handle=%s&offset=100_0", ":100_0:100_2");
        assert_tag_ends(&c, FIRST, ":-1:0_0");
    }
    client_close(&c);
    kit_free(kit);
}

static void test_a_text_that_comes_again_is_not_read_again(void **state)
{
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    client_open(&c, kit);
    get_head(&c, AT_END, "");
    assert_int_equal(asked_kept(kit), 1);
    get_head(&c, AT_END, "");
    assert_int_equal(asked_kept(kit), 1);
    assert_int_equal(kit->asked, 1);
    get_head(&c, "handle=%s&offset=x", "");
    assert_true(client_has(&c, "HTTP/1.1 400"));
    assert_int_equal(asked_kept(kit), 1); /* of what is wrong nothing is kept */
    client_close(&c);
    kit_free(kit);
}

/* More texts than are kept, each of another meaning, twice. */
static void test_each_text_has_its_own_parameters(void **state)
{
    struct kit *kit = kit_new_chunked(1 << 20);
    struct client c;
    char query[64], end[64];

    (void)state;
    kit_commit(kit, 100, 100, 0);
    client_open(&c, kit);
    for (unsigned i = 0; i < 100; i++) {
        unsigned op = i % 50 * 2;

        snprintf(query, sizeof(query), "handle=%%s&offset=100_%u", op);
        snprintf(end, sizeof(end), ":100_%u:100_198", op);
        assert_tag_ends(&c, query, end);
    }
    client_close(&c);
    kit_free(kit);
}

static enum auth_kind whose;

static bool authorise(void *arg, struct http_conn *conn, struct http_request *request)
{
    (void)arg;
    (void)conn;
    request->auth.kind = whose;
    return true;
}

static void test_what_is_kept_is_not_for_a_tokens_request(void **state)
{
    static const struct http_route routes[] = {{.path = "/v1/shape",
                                                .methods = HTTP_M_GET_HEAD,
                                                .handle = shape_get,
                                                .needs_secret = true}};
    struct kit *kit = kit_new();
    struct client c;

    (void)state;
    kit->rig->listen.routes = (struct http_routes){routes, 1};
    kit->rig->config.authorise = authorise;
    client_open(&c, kit);
    whose = AUTH_OPERATOR;
    get_head(&c, AT_END, "");
    assert_true(client_has(&c, "HTTP/1.1 200"));
    assert_int_equal(asked_kept(kit), 1);
    whose = AUTH_TOKEN;
    get_head(&c, AT_END, "");
    assert_true(client_has(&c, "HTTP/1.1 403"));
    client_close(&c);
    kit_free(kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers_that_are_kept_say_the_same),
        cmocka_unit_test(test_a_newer_table_makes_new_headers),
        cmocka_unit_test(test_headers_are_of_what_was_asked_and_what_came),
        cmocka_unit_test(test_a_text_that_comes_again_is_not_read_again),
        cmocka_unit_test(test_each_text_has_its_own_parameters),
        cmocka_unit_test(test_what_is_kept_is_not_for_a_tokens_request),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
