/* Which content coding a client is sent, and encoding a body: http/encoding. */
#include "base/arena.h"
#include "http/encoding.h"

#include <libdeflate.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <zstd.h>

/* ---- negotiation ----------------------------------------------------------------------------- */

/* Of exactly the header's bytes: a sanitizer sees a read past them. */
static enum http_encoding choose(struct slice header)
{
    char *copy = xmalloc(header.len ? header.len : 1);

    if (header.len)
        memcpy(copy, header.ptr, header.len);
    enum http_encoding chosen = http_encoding_choose((struct slice){copy, header.len});

    free(copy);
    return chosen;
}

struct wish {
    const char *header;
    enum http_encoding wanted;
};

static void assert_wishes(const struct wish *wishes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        enum http_encoding chosen = choose(slice_of(wishes[i].header));

        if (chosen != wishes[i].wanted)
            fail_msg("\"%s\": %s, not %s", wishes[i].header, http_encoding_name(chosen),
                     http_encoding_name(wishes[i].wanted));
    }
}

#define ASSERT_WISHES(...)                                                                         \
    do {                                                                                           \
        const struct wish wishes[] = {__VA_ARGS__};                                                \
        assert_wishes(wishes, sizeof(wishes) / sizeof(wishes[0]));                                 \
    } while (0)

static void test_what_is_named_is_chosen_whatever_its_case(void **state)
{
    (void)state;
    ASSERT_WISHES({"gzip", HTTP_GZIP}, {"zstd", HTTP_ZSTD}, {"identity", HTTP_IDENTITY},
                  {"GZip", HTTP_GZIP}, {"ZSTD", HTTP_ZSTD}, {"x-gzip", HTTP_GZIP},
                  {"X-GZIP", HTTP_GZIP}, {" \tgzip\t ", HTTP_GZIP},
                  {"br, gzip, deflate", HTTP_GZIP}, {"gzip, deflate, br, zstd", HTTP_ZSTD});
}

static void test_of_equal_wishes_zstd_comes_before_gzip_before_identity_in_any_order(void **state)
{
    (void)state;
    ASSERT_WISHES({"gzip, zstd", HTTP_ZSTD}, {"zstd, gzip", HTTP_ZSTD},
                  {"identity, gzip", HTTP_GZIP}, {"gzip, identity", HTTP_GZIP},
                  {"identity, zstd, gzip", HTTP_ZSTD}, {"gzip;q=0.5, zstd;q=0.5", HTTP_ZSTD},
                  {"zstd;q=0.5, gzip;q=0.500, identity;q=0.50", HTTP_ZSTD});
}

static void test_the_highest_weight_wins(void **state)
{
    (void)state;
    ASSERT_WISHES({"gzip;q=1.0, zstd;q=0.9", HTTP_GZIP}, {"zstd;q=0.9, gzip;q=1", HTTP_GZIP},
                  {"gzip;q=0.002, zstd;q=0.001", HTTP_GZIP}, {"gzip;q=0.001", HTTP_GZIP},
                  {"identity, gzip;q=0.5", HTTP_IDENTITY},
                  {"gzip;q=0.999, identity;q=1.000", HTTP_IDENTITY},
                  {"identity;q=0.1, gzip;q=0.2", HTTP_GZIP}, {"gzip;q=0.09, zstd;q=0.1", HTTP_ZSTD},
                  {"gzip;q=1., zstd;q=0.", HTTP_GZIP});
}

static void test_a_weight_of_nothing_is_a_refusal(void **state)
{
    (void)state;
    ASSERT_WISHES({"gzip;q=0", HTTP_IDENTITY}, {"gzip;q=0.000, zstd;q=0.0", HTTP_IDENTITY},
                  {"gzip;Q=0", HTTP_IDENTITY}, {"gzip ; q=0", HTTP_IDENTITY},
                  {"gzip;level=9;q=0", HTTP_IDENTITY}, {"zstd;q=0, gzip", HTTP_GZIP},
                  {"gzip;q=0, *", HTTP_IDENTITY}, {"identity;q=0, gzip", HTTP_GZIP},
                  {"identity;q=0, zstd;q=0.001", HTTP_ZSTD});
}

/* What no client that can read it asks for by name it is not sent; and to one that accepts nothing
 * an answer as it is does more good than none. */
static void test_a_star_and_refused_identity_alone_get_identity(void **state)
{
    (void)state;
    ASSERT_WISHES({"*", HTTP_IDENTITY}, {"*;q=1", HTTP_IDENTITY}, {"br, *", HTTP_IDENTITY},
                  {"identity;q=0", HTTP_IDENTITY}, {"identity;q=0, *;q=0", HTTP_IDENTITY},
                  {"gzip;q=0, zstd;q=0, identity;q=0", HTTP_IDENTITY});
}

static void test_a_coding_that_is_named_twice_has_its_last_weight(void **state)
{
    (void)state;
    ASSERT_WISHES({"gzip;q=0, gzip", HTTP_GZIP}, {"gzip, gzip;q=0", HTTP_IDENTITY},
                  {"gzip, x-gzip;q=0", HTTP_IDENTITY}, {"gzip, zstd, zstd;q=0.1", HTTP_GZIP});
}

static void test_junk_is_no_coding_and_no_weight(void **state)
{
    static const char nul[] = "gzip\0";

    (void)state;
    ASSERT_WISHES({"", HTTP_IDENTITY}, {",", HTTP_IDENTITY}, {" , ,\t, ", HTTP_IDENTITY},
                  {";", HTTP_IDENTITY}, {";q=1", HTTP_IDENTITY}, {"gzi", HTTP_IDENTITY},
                  {"gzipp", HTTP_IDENTITY}, {"zstd1", HTTP_IDENTITY}, {"gzip zstd", HTTP_IDENTITY},
                  {"\"gzip\"", HTTP_IDENTITY}, {"gzip=1", HTTP_IDENTITY}, {"q=1", HTTP_IDENTITY},
                  {",,gzip,,", HTTP_GZIP}, {"gzip;", HTTP_GZIP}, {"gzip;;;", HTTP_GZIP},
                  {"gzip;q", HTTP_GZIP}, {"gzip;q=", HTTP_GZIP}, {"gzip;q=x", HTTP_GZIP},
                  {"gzip;q=-1", HTTP_GZIP}, {"gzip;q=2, zstd;q=0.9", HTTP_GZIP},
                  {"gzip;q=1.001, zstd;q=0.9", HTTP_GZIP}, {"gzip;q=.5", HTTP_GZIP},
                  {"gzip;q=0,5", HTTP_IDENTITY}, {"gzip;x=0", HTTP_GZIP});
    assert_int_equal(choose((struct slice){nul, sizeof(nul) - 1}), HTTP_IDENTITY);
    assert_int_equal(choose((struct slice){NULL, 0}), HTTP_IDENTITY);
}

static void test_a_long_list_is_read_to_its_end(void **state)
{
    struct buf list;

    (void)state;
    buf_init(&list, BUF_NO_LIMIT);
    for (unsigned i = 0; i < 5000; i++)
        buf_printf(&list, "x%u;q=0.%03u;%s,", i, i % 1000, i % 2 ? "y=\"z\"" : ";");
    assert_int_equal(choose(buf_slice(&list)), HTTP_IDENTITY);
    buf_put_cstr(&list, "zstd;q=0.3");
    assert_int_equal(choose(buf_slice(&list)), HTTP_ZSTD);
    buf_clear(&list);
    for (unsigned i = 0; i < 5000; i++)
        buf_put_cstr(&list, "gzip;q=0,");
    assert_int_equal(choose(buf_slice(&list)), HTTP_IDENTITY);
    buf_put_cstr(&list, "gzip");
    assert_int_equal(choose(buf_slice(&list)), HTTP_GZIP);
    buf_release(&list);
}

/* ---- encoding -------------------------------------------------------------------------------- */

static size_t decode(enum http_encoding encoding, struct slice bytes, char *out, size_t room)
{
    size_t n = 0;

    if (encoding == HTTP_ZSTD)
        return ZSTD_decompress(out, room, bytes.ptr, bytes.len);
    struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();

    assert_int_equal(libdeflate_gzip_decompress(d, bytes.ptr, bytes.len, out, room, &n), 0);
    libdeflate_free_decompressor(d);
    return n;
}

static void put_rows(struct buf *out, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        buf_printf(out, "{\"key\":\"%u\",\"value\":{\"id\":\"%u\"}},", i, i * 7);
}

static void test_bodies_decode_to_what_they_were_and_stand_behind_what_was_there(void **state)
{
    struct buf plain, out;
    char *back;

    (void)state;
    buf_init(&plain, BUF_NO_LIMIT);
    buf_init(&out, BUF_NO_LIMIT);
    put_rows(&plain, 5000);
    back = xmalloc(plain.len);
    for (int e = HTTP_GZIP; e <= HTTP_ZSTD; e++) {
        for (int effort = HTTP_EFFORT_QUICK; effort <= HTTP_EFFORT_KEPT; effort++) {
            buf_clear(&out);
            buf_put_cstr(&out, "before");
            assert_true(http_encode((enum http_encoding)e, (enum http_effort)effort,
                                    buf_slice(&plain), &out));
            assert_memory_equal(out.ptr, "before", 6);
            assert_in_range(out.len, 7, 6 + plain.len - 1);
            assert_int_equal(decode((enum http_encoding)e, (struct slice){out.ptr + 6, out.len - 6},
                                    back, plain.len),
                             plain.len);
            assert_memory_equal(back, plain.ptr, plain.len);
        }
    }
    free(back);
    buf_release(&plain);
    buf_release(&out);
}

static void test_what_does_not_become_smaller_is_not_encoded(void **state)
{
    struct buf noise, out;
    unsigned seed = 7;

    (void)state;
    buf_init(&noise, BUF_NO_LIMIT);
    for (unsigned i = 0; i < 5000; i++)
        buf_put_u8(&noise, (uint8_t)(rand_r(&seed) >> 7));
    for (int e = HTTP_IDENTITY; e <= HTTP_ZSTD; e++) {
        for (size_t n = 0; n <= noise.len; n = n ? n * 5 : 1) {
            buf_init(&out, BUF_NO_LIMIT);
            buf_put_cstr(&out, "before");
            assert_false(http_encode((enum http_encoding)e, HTTP_EFFORT_KEPT,
                                     (struct slice){noise.ptr, n}, &out));
            assert_int_equal(out.len, 6);
            buf_release(&out);
        }
    }
    buf_release(&noise);
}

static void test_a_full_buffer_takes_no_encoded_body(void **state)
{
    struct buf plain, out;

    (void)state;
    buf_init(&plain, BUF_NO_LIMIT);
    put_rows(&plain, 100);
    buf_init(&out, 8);
    assert_false(http_encode(HTTP_GZIP, HTTP_EFFORT_KEPT, buf_slice(&plain), &out));
    assert_int_equal(out.len, 0);
    buf_release(&plain);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_named_is_chosen_whatever_its_case),
        cmocka_unit_test(test_of_equal_wishes_zstd_comes_before_gzip_before_identity_in_any_order),
        cmocka_unit_test(test_the_highest_weight_wins),
        cmocka_unit_test(test_a_weight_of_nothing_is_a_refusal),
        cmocka_unit_test(test_a_star_and_refused_identity_alone_get_identity),
        cmocka_unit_test(test_a_coding_that_is_named_twice_has_its_last_weight),
        cmocka_unit_test(test_junk_is_no_coding_and_no_weight),
        cmocka_unit_test(test_a_long_list_is_read_to_its_end),
        cmocka_unit_test(test_bodies_decode_to_what_they_were_and_stand_behind_what_was_there),
        cmocka_unit_test(test_what_does_not_become_smaller_is_not_encoded),
        cmocka_unit_test(test_a_full_buffer_takes_no_encoded_body),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
