#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <cmocka.h>

static void test_err_wrap_puts_the_place_in_front(void **state)
{
    struct err err;

    (void)state;
    assert_false(err_set(&err, ERR_CONN, "could not send feedback: %s", "broken pipe"));
    err_wrap(&err, "slot \"%s\"", "bridge");
    assert_string_equal(err.msg, "slot \"bridge\": could not send feedback: broken pipe");
    assert_true(err_retriable(err.code));
}

static void test_arena_reset_keeps_one_block_and_aligns(void **state)
{
    struct arena arena = {0};

    (void)state;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 1000; i++)
            assert_int_equal((uintptr_t)arena_alloc(&arena, i) % 16, 0);
        arena_reset(&arena);
        assert_true(arena.size <= 1024 * 1024);
    }
    assert_string_equal(arena_printf(&arena, "%d-%s", 7, "x"), "7-x");
    arena_release(&arena);
    assert_int_equal(arena.size, 0);
}

static void test_buf_fails_stickily_at_its_limit(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 10);
    buf_put_cstr(&b, "12345678");
    buf_put_u32(&b, 1);
    assert_true(b.failed);
    buf_put_u8(&b, 1);
    assert_int_equal(b.len, 8);
    buf_clear(&b);
    buf_put_dec(&b, 1234567890);
    assert_false(b.failed);
    assert_memory_equal(b.ptr, "1234567890", 10);
    buf_release(&b);
}

static void test_reader_gives_back_what_buf_was_given(void **state)
{
    struct buf b;
    const uint64_t varints[] = {0, 1, 127, 128, 300, UINT32_MAX, UINT64_MAX};

    (void)state;
    buf_init(&b, BUF_NO_LIMIT);
    buf_put_u8(&b, 0xfe);
    buf_put_u16(&b, 0xfedc);
    buf_put_u32(&b, 0xfedcba98);
    buf_put_u64(&b, 0xfedcba9876543210);
    for (size_t i = 0; i < 7; i++)
        buf_put_varint(&b, varints[i]);
    buf_put(&b, "abc", 4);

    struct reader r = reader_of(buf_slice(&b));
    assert_int_equal(reader_u8(&r), 0xfe);
    assert_int_equal(reader_u16(&r), 0xfedc);
    assert_int_equal(reader_u32(&r), 0xfedcba98);
    assert_true(reader_u64(&r) == 0xfedcba9876543210);
    for (size_t i = 0; i < 7; i++)
        assert_true(reader_varint(&r) == varints[i]);
    assert_true(slice_is(reader_cstr(&r), "abc"));
    assert_true(reader_done(&r));
    assert_int_equal(reader_u32(&r), 0);
    assert_true(r.failed);
    buf_release(&b);
}

static bool is_text(const void *item, const void *key)
{
    return strcmp(item, key) == 0;
}

/* Few hashes, so that many items share one. */
static uint64_t hash_of(const char *text)
{
    return hash_bytes(slice_of(text)) % 40;
}

static void test_a_set_agrees_with_an_array_though_hashes_are_shared(void **state)
{
    enum { KEYS = 200 };
    static char names[KEYS][8];
    bool present[KEYS] = {false};
    struct hashset set = {0};
    size_t len = 0, walked = 0;

    (void)state;
    srand(8);
    for (int i = 0; i < KEYS; i++)
        snprintf(names[i], sizeof(names[i]), "k%d", i);
    for (int step = 0; step < 20000; step++) {
        int k = rand() % KEYS, probe = rand() % KEYS;

        if (present[k])
            hashset_remove(&set, hash_of(names[k]), names[k]);
        else
            hashset_add(&set, hash_of(names[k]), names[k]);
        present[k] = !present[k];
        len = present[k] ? len + 1 : len - 1;
        hashset_remove(&set, hash_of(names[k]), &set); /* is not in it */
        assert_ptr_equal(hashset_get(&set, hash_of(names[probe]), is_text, names[probe]),
                         present[probe] ? names[probe] : NULL);
        assert_int_equal(set.len, len);
    }
    for (size_t at = 0; hashset_next(&set, &at);)
        walked++;
    assert_int_equal(walked, len);
    hashset_release(&set);
}

static void test_maps_agree_with_an_array_under_random_sets_and_removals(void **state)
{
    enum { KEYS = 500 };
    static char names[KEYS][8];
    char present[KEYS] = {0};
    struct u64map numbers = {0};
    struct strmap texts = {0};
    size_t len = 0;

    (void)state;
    srand(7);
    for (int i = 0; i < KEYS; i++)
        snprintf(names[i], sizeof(names[i]), "k%d", i);
    for (int step = 0; step < 50000; step++) {
        int k = rand() % KEYS;
        bool set = rand() % 2;
        void *expected = present[k] ? names[k] : NULL;

        if (set) {
            assert_ptr_equal(u64map_set(&numbers, (uint64_t)k, names[k]), expected);
            assert_ptr_equal(strmap_set(&texts, slice_of(names[k]), names[k]), expected);
        } else {
            assert_ptr_equal(u64map_remove(&numbers, (uint64_t)k), expected);
            assert_ptr_equal(strmap_remove(&texts, slice_of(names[k])), expected);
        }
        len += (size_t)(set && !present[k]) - (size_t)(!set && present[k]);
        present[k] = (char)set;
        int probe = rand() % KEYS;
        assert_ptr_equal(u64map_get(&numbers, (uint64_t)probe),
                         present[probe] ? names[probe] : NULL);
        assert_ptr_equal(strmap_get(&texts, slice_of(names[probe])),
                         present[probe] ? names[probe] : NULL);
        assert_int_equal(numbers.len, len);
        assert_int_equal(texts.len, len);
    }
    size_t walked = 0;
    for (size_t at = 0; u64map_next(&numbers, &at);)
        walked++;
    assert_int_equal(walked, len);
    u64map_release(&numbers);
    strmap_release(&texts);
}

static void test_keyed_hash_is_of_all_bytes_and_of_the_key(void **state)
{
    struct hash_key key, other;
    char text[400] = {0};
    struct hash128 seen[400];

    (void)state;
    hash_key_init(&key);
    hash_key_init(&other);
    for (size_t n = 0; n < sizeof(text); n++) {
        struct slice bytes = {text, n};
        struct hash128 again = hash_keyed(&key, bytes), keyed = hash_keyed(&other, bytes);

        seen[n] = hash_keyed(&key, bytes);
        assert_true(seen[n].lo == again.lo && seen[n].hi == again.hi);
        assert_true(seen[n].lo != keyed.lo && seen[n].hi != keyed.hi);
        for (size_t i = 0; i < n; i++)
            assert_true(seen[i].lo != seen[n].lo && seen[i].hi != seen[n].hi);
        for (size_t i = 0; i < n; i++) {
            text[i] = 1;
            again = hash_keyed(&key, bytes);
            text[i] = 0;
            assert_true(seen[n].lo != again.lo && seen[n].hi != again.hi);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_err_wrap_puts_the_place_in_front),
        cmocka_unit_test(test_arena_reset_keeps_one_block_and_aligns),
        cmocka_unit_test(test_buf_fails_stickily_at_its_limit),
        cmocka_unit_test(test_reader_gives_back_what_buf_was_given),
        cmocka_unit_test(test_maps_agree_with_an_array_under_random_sets_and_removals),
        cmocka_unit_test(test_a_set_agrees_with_an_array_though_hashes_are_shared),
        cmocka_unit_test(test_keyed_hash_is_of_all_bytes_and_of_the_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
