/* Which lists of if-none-match name a tag: http/etag. */
#include "base/arena.h"
#include "http/etag.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#define TAG "1234-5678:0_inf:100_4"

/* Of exactly the list's bytes: a sanitizer sees a read past them. */
static bool listed_of(const char *list, enum http_encoding wanted, enum http_encoding *of)
{
    size_t n = strlen(list);
    char *copy = xmalloc(n ? n : 1);

    memcpy(copy, list, n);
    bool is = http_etag_listed((struct slice){copy, n}, SLICE(TAG), wanted, of);
    free(copy);
    return is;
}

static bool listed(const char *list)
{
    enum http_encoding of;

    return listed_of(list, HTTP_GZIP, &of);
}

static void test_a_tag_is_found_anywhere_in_a_list(void **state)
{
    static const char *const lists[] = {
        "\"" TAG "\"",
        "\"x\", \"" TAG "\"",
        "\"" TAG "\",\"x\"",
        "\t\"" TAG "\"  ",
        "\"x\",W/\"y\",\"" TAG "\"",
        ",,\"" TAG "\",,",
        "\"" TAG "\", \"" TAG "\"",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        if (!listed(lists[i]))
            fail_msg("not found in: %s", lists[i]);
    }
}

/* A cache that encodes on its way changes a tag in these ways, and some clients lose the quotes. */
static void test_weak_unquoted_and_encoded_tags_are_the_same(void **state)
{
    static const char *const lists[] = {
        "W/\"" TAG "\"",
        TAG,
        "W/" TAG,
        "\"" TAG "-gzip\"",
        TAG "-gzip",
        "W/\"" TAG "-gzip\"",
        "\"" TAG "-gzip\",",
        "\"x\", W/\"" TAG "-gzip\" ",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        if (!listed(lists[i]))
            fail_msg("not found in: %s", lists[i]);
    }
}

static void test_what_is_only_like_the_tag_is_another(void **state)
{
    static const char *const lists[] = {
        "",
        ",",
        " ",
        "\"",
        "\"\"",
        "W/",
        "W/\"\"",
        "-gzip",
        "\"-zstd\"",
        "\"x\"",
        "\"" TAG "5\"",
        "\"5" TAG "\"",
        "\"" TAG ":17\"", /* of an answer that is never to be found again */
        "\"" TAG "-br\"",
        "\"" TAG "gzip\"",
        "\"" TAG "-gzip-gzip\"",
        "\"1234-5678:0_inf:100_5\"",
        "\"1234-5678:-1:100_4\"",
        "\"1234-5679:0_inf:100_4\"",
        "\"1234-5678:0_inf:100_\"",
        "\"1234-5678:0_INF:100_4\"",
        "w/\"" TAG "\"",
        "\"1234-5678:0_inf\",\"100_4\"",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        if (listed(lists[i]))
            fail_msg("found in: %s", lists[i]);
    }

    enum http_encoding of;

    assert_false(http_etag_listed((struct slice){NULL, 0}, SLICE(TAG), HTTP_GZIP, &of));
}

/* A cache may have the body for others in an encoding that this client does not understand. */
static void test_a_tag_of_another_encoding_than_the_wanted_is_another(void **state)
{
    enum http_encoding of;

    (void)state;
    assert_false(listed_of("\"" TAG "-gzip\"", HTTP_IDENTITY, &of));
    assert_false(listed_of("\"" TAG "-zstd\"", HTTP_IDENTITY, &of));
    assert_false(listed_of("\"" TAG "-zstd\"", HTTP_GZIP, &of));
    assert_false(listed_of("\"" TAG "-gzip\"", HTTP_ZSTD, &of));
    assert_false(listed_of("\"" TAG "-identity\"", HTTP_IDENTITY, &of));
}

static void test_the_encoding_of_the_tag_is_told_and_the_wanted_preferred(void **state)
{
    static const struct {
        const char *list;
        enum http_encoding wanted, of;
    } cases[] = {
        {"\"" TAG "\"", HTTP_IDENTITY, HTTP_IDENTITY},
        {"\"" TAG "\"", HTTP_GZIP, HTTP_IDENTITY},
        {"\"" TAG "-gzip\"", HTTP_GZIP, HTTP_GZIP},
        {"\"" TAG "-zstd\"", HTTP_ZSTD, HTTP_ZSTD},
        {"\"" TAG "\", \"" TAG "-gzip\"", HTTP_GZIP, HTTP_GZIP},
        {"\"" TAG "-gzip\", \"" TAG "\"", HTTP_GZIP, HTTP_GZIP},
        {"\"" TAG "-gzip\", \"" TAG "-zstd\", \"" TAG "\"", HTTP_ZSTD, HTTP_ZSTD},
        {"\"" TAG "-gzip\", \"" TAG "\"", HTTP_ZSTD, HTTP_IDENTITY},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum http_encoding of;

        assert_true(listed_of(cases[i].list, cases[i].wanted, &of));
        if (of != cases[i].of)
            fail_msg("%s: %s", cases[i].list, http_encoding_name(of));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_tag_is_found_anywhere_in_a_list),
        cmocka_unit_test(test_weak_unquoted_and_encoded_tags_are_the_same),
        cmocka_unit_test(test_what_is_only_like_the_tag_is_another),
        cmocka_unit_test(test_a_tag_of_another_encoding_than_the_wanted_is_another),
        cmocka_unit_test(test_the_encoding_of_the_tag_is_told_and_the_wanted_preferred),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
