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
static bool listed(const char *list)
{
    size_t n = strlen(list);
    char *copy = xmalloc(n ? n : 1);

    memcpy(copy, list, n);
    bool is = http_etag_listed((struct slice){copy, n}, SLICE(TAG));
    free(copy);
    return is;
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

/* A cache that encodes or decodes on its way changes a tag in these ways, and some clients lose the
 * quotes. */
static void test_weak_unquoted_and_encoded_tags_are_the_same(void **state)
{
    static const char *const lists[] = {
        "W/\"" TAG "\"",    TAG,
        "W/" TAG,           "\"" TAG "-gzip\"",
        "\"" TAG "-zstd\"", "W/\"" TAG "-gzip\"",
        TAG "-zstd",        "\"x\", W/\"" TAG "-zstd\" ",
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
    assert_false(http_etag_listed((struct slice){NULL, 0}, SLICE(TAG)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_tag_is_found_anywhere_in_a_list),
        cmocka_unit_test(test_weak_unquoted_and_encoded_tags_are_the_same),
        cmocka_unit_test(test_what_is_only_like_the_tag_is_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
