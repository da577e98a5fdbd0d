#include "change/json.h"
#include "change/lsn.h"
#include "change/message.h"
#include "change/pgoutput.h"
#include "change/standing.h"
#include "change/table.h"
#include "change/tables.h"
#include "change/unseen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define TEXT(s) ((struct value){VALUE_TEXT, SLICE(s)})
#define NONE ((struct value){VALUE_NULL, {NULL, 0}})
#define UNCHANGED ((struct value){VALUE_UNCHANGED, {NULL, 0}})
#define TUPLE(...)                                                                                 \
    ((struct tuple){sizeof((struct value[]){__VA_ARGS__}) / sizeof(struct value),                  \
                    (struct value[]){__VA_ARGS__}})

static void test_lsn_is_printed_and_read_as_postgres_does(void **state)
{
    char text[LSN_TEXT_SIZE];
    lsn_t lsn;

    (void)state;
    assert_string_equal(lsn_format(UINT64_C(0x16B374D848), text), "16/B374D848");
    assert_true(lsn_parse(SLICE("16/B374D848"), &lsn) && lsn == UINT64_C(0x16B374D848));
    assert_true(lsn_parse(SLICE("0/0"), &lsn) && lsn == 0);
    assert_true(lsn_parse(SLICE("ffffffff/ffffffff"), &lsn) && lsn == UINT64_MAX);
    static const char *const wrong[] = {"", "/", "1/", "/1", "1", "1/2/3", "g/0", "123456789/0"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        assert_false(lsn_parse(slice_of(wrong[i]), &lsn));
}

static struct snapshot snapshot_of(struct arena *arena, const char *text)
{
    struct snapshot snapshot;
    struct err err;

    assert_true(snapshot_parse(slice_of(text), arena, &snapshot, &err));
    return snapshot;
}

static void test_snapshot_sees_below_xmin_and_between_but_for_the_running(void **state)
{
    struct arena arena = {0};
    struct snapshot s = snapshot_of(&arena, "100:110:103,105");

    (void)state;
    assert_true(snapshot_sees(&s, 99));
    assert_true(snapshot_sees(&s, 100));
    assert_false(snapshot_sees(&s, 103));
    assert_true(snapshot_sees(&s, 104));
    assert_false(snapshot_sees(&s, 105));
    assert_false(snapshot_sees(&s, 110));
    arena_release(&arena);
}

static void test_snapshot_compares_across_the_wrap_of_32_bits(void **state)
{
    struct arena arena = {0};
    struct snapshot s = snapshot_of(&arena, "4294967290:4294967310:4294967300");

    (void)state;
    assert_true(snapshot_sees(&s, UINT32_C(4294967289)));
    assert_true(snapshot_sees(&s, UINT32_C(4294967295)));
    assert_true(snapshot_sees(&s, 3));
    assert_false(snapshot_sees(&s, 4)); /* 4294967300 */
    assert_true(snapshot_sees(&s, 5));
    assert_false(snapshot_sees(&s, 14)); /* 4294967310 */
    arena_release(&arena);
}

static void test_malformed_snapshots_are_refused(void **state)
{
    static const char *const wrong[] = {
        "", "1", "1:2", "a:2:", "1:2:,", "1:2:3,", "1:2:3;4", "1:2:x"};
    struct arena arena = {0};
    struct snapshot s;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        assert_false(snapshot_parse(slice_of(wrong[i]), &arena, &s, &err));
    arena_release(&arena);
}

static struct slice written(struct buf *b, const struct pgoutput *msg)
{
    buf_clear(b);
    pgoutput_write(b, msg);
    return buf_slice(b);
}

static void test_update_with_old_key_keeps_both_tuples(void **state)
{
    const struct tuple old = TUPLE(TEXT("1"), NONE), new = TUPLE(TEXT("2"), UNCHANGED);
    const struct pgoutput msg = {.kind = PGOUTPUT_UPDATE,
                                 .change = {CHANGE_UPDATE, 42, true, &old, &new}};
    struct arena arena = {0};
    struct pgoutput out;
    struct buf b;
    struct err err;

    (void)state;
    buf_init(&b, BUF_NO_LIMIT);
    assert_true(pgoutput_read(written(&b, &msg), &arena, &out, &err));
    assert_int_equal(out.change.relid, 42);
    assert_true(out.change.old_is_key);
    assert_true(slice_is(out.change.old->values[0].text, "1"));
    assert_int_equal(out.change.old->values[1].kind, VALUE_NULL);
    assert_int_equal(out.change.new->values[1].kind, VALUE_UNCHANGED);
    buf_release(&b);
    arena_release(&arena);
}

/* Every message, cut anywhere or with a byte too many, is refused. */
static void test_messages_cut_anywhere_are_malformed(void **state)
{
    const struct tuple old = TUPLE(TEXT("1"), TEXT("x")), new = TUPLE(TEXT("1"), TEXT("abc"));
    struct relation_column cols[] = {{SLICE("id"), 20, -1, true}, {SLICE("v"), 25, -1, false}};
    uint32_t relids[] = {1, 2};
    const struct pgoutput messages[] = {
        {.kind = PGOUTPUT_BEGIN, .txn = {100, 0, 7, 1764144000000000}},
        {.kind = PGOUTPUT_COMMIT, .txn = {100, 130, 0, 1764144000000000}},
        {.kind = PGOUTPUT_INSERT, .change = {CHANGE_INSERT, 9, false, NULL, &new}},
        {.kind = PGOUTPUT_UPDATE, .change = {CHANGE_UPDATE, 9, false, &old, &new}},
        {.kind = PGOUTPUT_DELETE, .change = {CHANGE_DELETE, 9, true, &old, NULL}},
        {.kind = PGOUTPUT_RELATION,
         .relation = {9, SLICE("public"), SLICE("t"), REPLIDENT_FULL, 2, cols}},
        {.kind = PGOUTPUT_TRUNCATE, .truncate = {2, relids, 1}},
        {.kind = PGOUTPUT_MESSAGE, .message = {true, 5, SLICE("tombolo"), SLICE("{}")}},
    };
    struct buf b;

    (void)state;
    buf_init(&b, BUF_NO_LIMIT);
    for (size_t m = 0; m < sizeof(messages) / sizeof(*messages); m++) {
        struct slice whole = written(&b, &messages[m]);

        for (size_t len = 0; len <= whole.len + 1; len++) {
            struct arena arena = {0};
            struct pgoutput out;
            struct err err;
            char *cut = calloc(1, len ? len : 1); /* of exact size: ASan sees a read past it */

            memcpy(cut, whole.ptr, len < whole.len ? len : whole.len);
            assert_int_equal(pgoutput_read((struct slice){cut, len}, &arena, &out, &err),
                             len == whole.len);
            free(cut);
            arena_release(&arena);
        }
    }
    buf_release(&b);
}

static void test_unknown_first_bytes_are_errors(void **state)
{
    struct arena arena = {0};
    struct pgoutput out;
    struct err err;

    (void)state;
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;

        assert_false(pgoutput_read((struct slice){&byte, 1}, &arena, &out, &err));
        assert_int_equal(err.code, ERR_PROTOCOL);
    }
    arena_release(&arena);
}

static void test_times_are_counted_from_1970(void **state)
{
    /* 2000-01-01 00:00:00 UTC is 0 on the wire. */
    static const char begin[21] = "B";
    struct arena arena = {0};
    struct pgoutput out;
    struct err err;

    (void)state;
    assert_true(pgoutput_read((struct slice){begin, sizeof(begin)}, &arena, &out, &err));
    assert_true(out.txn.time_us == INT64_C(946684800000000));
    arena_release(&arena);
}

static void test_json_strings_escape_what_must_be_and_nothing_else(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, BUF_NO_LIMIT);
    json_put_string(&b, SLICE("plain"));
    json_put_string(&b, SLICE("\"\\\b\f\n\r\t\x01\x1f/\x7f"));
    json_put_string(&b,
                    SLICE("a long run of sixteen bytes and more, then a \" quote and an \xc3\xa9"));
    assert_string_equal(
        buf_cstr(&b),
        "\"plain\""
        "\"\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f/\x7f\""
        "\"a long run of sixteen bytes and more, then a \\\" quote and an \xc3\xa9\"");
    buf_release(&b);
}

/* What JSON wants of one byte, by the letter of RFC 8259, section 7. */
static void put_by_the_letter(struct buf *out, unsigned char c)
{
    static const char *const names = "\bb\ff\nn\rr\tt\"\"\\\\";

    for (const char *p = names; *p; p += 2) {
        if (c == (unsigned char)*p) {
            buf_put_u8(out, '\\');
            buf_put_u8(out, (uint8_t)p[1]);
            return;
        }
    }
    if (c < 0x20)
        buf_printf(out, "\\u%04x", c);
    else
        buf_put_u8(out, c);
}

static void test_each_byte_is_escaped_right_wherever_it_stands(void **state)
{
    enum { MOST = 19 };
    char text[MOST];
    struct buf is, want;

    (void)state;
    buf_init(&is, BUF_NO_LIMIT);
    buf_init(&want, BUF_NO_LIMIT);
    for (unsigned c = 0; c < 256; c++) {
        for (size_t len = 1; len <= MOST; len++) {
            for (size_t at = 0; at < len; at++) {
                memset(text, c == 0xff ? 0x80 : 0xff, sizeof(text));
                text[at] = (char)c;
                text[len / 2] = (char)(c ^ 1);
                buf_clear(&is);
                buf_clear(&want);
                json_put_escaped(&is, (struct slice){text, len});
                for (size_t i = 0; i < len; i++)
                    put_by_the_letter(&want, (unsigned char)text[i]);
                assert_string_equal(buf_cstr(&is), buf_cstr(&want));
            }
        }
    }
    buf_release(&is);
    buf_release(&want);
}

static void test_an_escaped_text_may_fill_its_buffer_to_the_limit(void **state)
{
    enum { LEN = 10000 };
    static char text[LEN];
    struct buf b;

    (void)state;
    memset(text, 'x', LEN);
    text[5000] = '"';
    for (size_t missing = 0; missing < 2; missing++) {
        buf_init(&b, LEN + 1 - missing);
        json_put_escaped(&b, (struct slice){text, LEN});
        assert_true(b.failed == (missing == 1));
        assert_true(missing || b.len == LEN + 1);
        buf_release(&b);
    }
}

static struct table *items_table(void)
{
    static const struct table_column cols[] = {
        {.name = {"id", 2}, .attnum = 1, .typid = 20, .basetypid = 20, .typmod = -1, .pk_index = 0},
        {.name = {"v", 1}, .attnum = 2, .typid = 25, .basetypid = 25, .typmod = -1, .pk_index = -1},
        {.name = {"b", 1}, .attnum = 3, .typid = 16, .basetypid = 16, .typmod = -1, .pk_index = -1},
    };
    struct table *t = table_new();

    t->relid = 16384;
    t->nspname = SLICE("public");
    t->relname = SLICE("items");
    t->ncols = 3;
    t->cols = arena_calloc(&t->arena, 3, sizeof(*cols));
    memcpy(t->cols, cols, sizeof(cols));
    t->npk = 1;
    t->pk = arena_calloc(&t->arena, 1, sizeof(*t->pk));
    return t;
}

static const struct message_place place = {26754856, 731, 4};

static void test_messages_are_those_of_the_shape_api(void **state)
{
    struct table *table = items_table();
    struct arena arena = {0};
    const uint16_t columns[] = {0, 1, 2};
    struct message_format *f = message_format_new(table, columns, 3, false, &arena);
    struct message_format *full = message_format_new(table, columns, 3, true, &arena);
    const struct tuple old = TUPLE(TEXT("1"), TEXT("x"), TEXT("t"));
    const struct tuple new = TUPLE(TEXT("1"), TEXT("y"), TEXT("t"));
    const struct tuple moved = TUPLE(TEXT("2/3"), NONE, TEXT("f"));
    const struct change update = {CHANGE_UPDATE, 16384, false, &old, &new};
    const struct change move = {CHANGE_UPDATE, 16384, false, &old, &moved};
    struct buf b;

    (void)state;
    buf_init(&b, BUF_NO_LIMIT);
    message_put_row(f, &old, &b);
    assert_string_equal(
        buf_cstr(&b),
        "{\"key\":\"\\\"public\\\".\\\"items\\\"/\\\"1\\\"\",\"value\":{\"id\":\"1\",\"v\":\"x\","
        "\"b\":\"true\"},\"headers\":{\"operation\":\"insert\",\"relation\":[\"public\",\"items\"]}"
        "}");
    buf_clear(&b);
    message_put_update(f, &update, &place, &b);
    assert_string_equal(
        buf_cstr(&b),
        "{\"key\":\"\\\"public\\\".\\\"items\\\"/\\\"1\\\"\",\"value\":{\"id\":\"1\",\"v\":\"y\"},"
        "\"headers\":{\"operation\":\"update\",\"relation\":[\"public\",\"items\"],\"txids\":[731],"
        "\"lsn\":\"26754856\",\"op_position\":4}}");
    buf_clear(&b);
    message_put_update(full, &update, &place, &b);
    assert_string_equal(buf_cstr(&b),
                        "{\"key\":\"\\\"public\\\".\\\"items\\\"/"
                        "\\\"1\\\"\",\"value\":{\"id\":\"1\",\"v\":\"y\",\"b\":\"t\"},"
                        "\"old_value\":{\"v\":\"x\"},\"headers\":{\"operation\":\"update\","
                        "\"relation\":[\"public\",\"items\"],"
                        "\"txids\":[731],\"lsn\":\"26754856\",\"op_position\":4}}");
    buf_clear(&b);
    message_put_delete(f, &move, &moved, &place, &b);
    assert_string_equal(
        buf_cstr(&b),
        "{\"key\":\"\\\"public\\\".\\\"items\\\"/\\\"1\\\"\",\"value\":{\"id\":\"1\"},"
        "\"headers\":{\"operation\":\"delete\",\"relation\":[\"public\",\"items\"],\"txids\":[731],"
        "\"lsn\":\"26754856\",\"op_position\":4,"
        "\"key_change_to\":\"\\\"public\\\".\\\"items\\\"/\\\"2//3\\\"\"}}");
    buf_clear(&b);
    message_put_insert(f, &moved, &old, &place, &b);
    assert_string_equal(
        buf_cstr(&b),
        "{\"key\":\"\\\"public\\\".\\\"items\\\"/\\\"2//3\\\"\",\"value\":{\"id\":\"2/"
        "3\",\"v\":null,\"b\":\"f\"},"
        "\"headers\":{\"operation\":\"insert\",\"relation\":[\"public\",\"items\"],\"txids\":[731],"
        "\"lsn\":\"26754856\",\"op_position\":4,"
        "\"key_change_from\":\"\\\"public\\\".\\\"items\\\"/\\\"1\\\"\"}}");
    buf_release(&b);
    arena_release(&arena);
    table_unref(table);
}

static void test_unsent_values_are_left_out_of_updates(void **state)
{
    struct table *table = items_table();
    struct arena arena = {0};
    const uint16_t columns[] = {0, 1, 2};
    struct message_format *f = message_format_new(table, columns, 3, false, &arena);
    const struct tuple new = TUPLE(TEXT("1"), UNCHANGED, TEXT("f"));
    const struct change update = {CHANGE_UPDATE, 16384, false, NULL, &new};
    struct buf b;

    (void)state;
    buf_init(&b, BUF_NO_LIMIT);
    message_put_update(f, &update, &place, &b);
    assert_non_null(strstr(buf_cstr(&b), "\"value\":{\"id\":\"1\",\"b\":\"f\"}"));
    assert_true(message_lacks(f, &new));
    buf_release(&b);
    arena_release(&arena);
    table_unref(table);
}

static void test_columns_are_mapped_by_name_whatever_a_partitions_order(void **state)
{
    struct table *table = items_table();
    struct relation_column cols[] = {
        {SLICE("b"), 16, -1, false}, {SLICE("id"), 20, -1, true}, {SLICE("v"), 25, -1, false}};
    struct relation rel = {16999, SLICE("public"), SLICE("leaf"), REPLIDENT_FULL, 3, cols};
    int16_t map[3];
    bool lost[3];
    struct table_map found = table_map(table, &rel, map, lost);

    (void)state;
    assert_false(found.renamed || found.added || found.lost);
    assert_int_equal(map[0], 1);
    assert_int_equal(map[1], 2);
    assert_int_equal(map[2], 0);
    cols[2].typid = 1043;
    found = table_map(table, &rel, map, lost);
    assert_true(found.added && found.lost && lost[1]);
    assert_false(lost[0] || lost[2]);
    cols[2].typid = 25;
    rel.ncols = 2;
    found = table_map(table, &rel, map, lost);
    assert_true(found.lost && lost[1] && !found.added);
    table_unref(table);
}

static void test_a_tables_own_columns_that_change_places_are_all_lost(void **state)
{
    struct table *table = items_table();
    struct relation_column cols[] = {
        {SLICE("id"), 20, -1, true}, {SLICE("v"), 25, -1, false}, {SLICE("b"), 16, -1, false}};
    struct relation rel = {16384, SLICE("public"), SLICE("items"), REPLIDENT_FULL, 3, cols};
    int16_t map[3];
    bool lost[3];
    struct table_map found = table_map(table, &rel, map, lost);

    (void)state;
    assert_false(found.renamed || found.added || found.lost);
    rel.relname = SLICE("other");
    assert_true(table_map(table, &rel, map, lost).renamed);
    rel.relname = SLICE("items");
    cols[1].name = SLICE("b");
    cols[1].typid = 16;
    cols[2].name = SLICE("v");
    cols[2].typid = 25;
    found = table_map(table, &rel, map, lost);
    assert_true(found.lost && lost[0] && lost[1] && lost[2]);
    table_unref(table);
}

static void test_storage_is_read_leaf_by_leaf(void **state)
{
    struct slice rest = SLICE("16400:16500:f:731/;16401:16501:d:");
    struct table_leaf leaf;

    (void)state;
    assert_true(storage_find(rest, 16401, &leaf));
    assert_int_equal(leaf.replident, REPLIDENT_DEFAULT);
    assert_true(slice_is(leaf.filenode, "16501"));
    assert_int_equal(leaf.links.len, 0);
    assert_false(storage_find(rest, 16500, &leaf));
    assert_true(storage_next(&rest, &leaf));
    assert_int_equal(leaf.relid, 16400);
    assert_true(slice_is(leaf.links, "731/"));
    assert_true(storage_next(&rest, &leaf));
    assert_false(storage_next(&rest, &leaf));
}

static void test_storage_is_the_same_whatever_its_identity(void **state)
{
    struct slice then = SLICE("16400:16500:f:731/;16401:16501:d:");

    (void)state;
    assert_true(storage_same(then, SLICE("16400:16500:f:731/;16401:16501:f:")));
    assert_false(storage_same(then, SLICE("16400:16500:f:731/;16401:16502:d:")));
    assert_false(storage_same(then, SLICE("16400:16500:f:732/;16401:16501:d:")));
    assert_false(storage_same(then, SLICE("16400:16500:f:731/")));
    assert_false(storage_same(SLICE("16400:16500:f:731/"), then));
    assert_false(storage_same(then, SLICE("")));
    assert_true(storage_same(SLICE(""), SLICE("")));
}

static void test_a_table_with_one_partition_that_is_not_full_is_not_full(void **state)
{
    struct table *table = items_table();

    (void)state;
    table->replident = REPLIDENT_FULL;
    table->storage = SLICE("16400:16500:f:731/;16401:16501:d:732/");
    assert_false(table_is_full(table));
    table->storage = SLICE("16400:16500:f:731/;16401:16501:f:732/");
    assert_true(table_is_full(table));
    table->replident = REPLIDENT_DEFAULT;
    assert_false(table_is_full(table));
    table_unref(table);
}

static void test_a_table_stays_published_as_long_as_one_entry_does(void **state)
{
    struct slice then = SLICE("16500:720;r16600;n16601:700");
    struct table *table = items_table();

    (void)state;
    assert_true(published_since(then, SLICE("16500:720;n16601:700")));
    assert_true(published_since(then, SLICE("16500:720;r16600")));
    assert_false(published_since(then, SLICE("16500:721;r16600"))); /* altered */
    assert_false(published_since(then, SLICE("16501:720;r16600"))); /* another */
    assert_false(published_since(then, SLICE("16500:720;r16602"))); /* taken out and put back */
    assert_false(published_since(then, SLICE("16500:720;n16601:701")));
    assert_false(published_since(then, SLICE("16500:720")));
    assert_false(published_since(then, SLICE("")));
    assert_false(published_since(SLICE(""), then));
    assert_int_equal(table_publication(table), TABLE_UNPUBLISHED);
    table->published = SLICE("16500:720");
    assert_int_equal(table_publication(table), TABLE_UNPUBLISHED);
    table->published = then;
    assert_int_equal(table_publication(table), TABLE_PUBLISHED);
    table->published = SLICE("16500:720;all;f16600");
    assert_int_equal(table_publication(table), TABLE_FILTERED);
    table_unref(table);
}

static void test_a_missing_lsn_is_none(void **state)
{
    lsn_t lsn;

    (void)state;
    assert_false(lsn_parse((struct slice){NULL, 0}, &lsn));
}

static void test_equal_tables_are_shared_until_one_differs(void **state)
{
    struct tables tables;
    struct table *first = items_table(), *changed = items_table();

    (void)state;
    tables_init(&tables);
    changed->storage = SLICE("16384:16999");
    assert_null(tables_share(&tables, NULL));
    assert_ptr_equal(tables_share(&tables, first), first);
    assert_ptr_equal(tables_share(&tables, items_table()), first);
    assert_ptr_equal(tables_share(&tables, changed), changed);
    assert_ptr_not_equal(tables_share(&tables, table_ref(first)), changed);
    tables_release(&tables);
    for (int i = 0; i < 3; i++)
        table_unref(first);
    table_unref(changed);
}

static void test_tables_that_differ_in_anything_are_not_identical(void **state)
{
    struct table *a = items_table(), *b = items_table();

    (void)state;
    assert_true(table_identical(a, b));
    b->cols[1].typname = SLICE("renamed");
    assert_true(table_same(a, b));
    assert_false(table_identical(a, b));
    b->cols[1] = a->cols[1];
    b->cols[1].in_identity = true;
    assert_false(table_identical(a, b));
    b->cols[1] = a->cols[1];
    b->replident = REPLIDENT_FULL;
    assert_false(table_identical(a, b));
    table_unref(a);
    table_unref(b);
}

static void test_the_slot_waits_for_what_a_snapshot_may_miss(void **state)
{
    struct unseen *unseen = unseen_new();
    struct arena arena = {0};
    struct snapshot misses = snapshot_of(&arena, "10:20:12"), sees = snapshot_of(&arena, "20:20:");

    (void)state;
    unseen_add(unseen, &(struct txn){.commit_lsn = 100, .xid = 11});
    unseen_add(unseen, &(struct txn){.commit_lsn = 200, .xid = 12});
    unseen_add(unseen, &(struct txn){.commit_lsn = 300, .xid = 13});
    unseen_add(unseen, &(struct txn){.commit_lsn = 200, .xid = 12}); /* sent again */
    assert_true(unseen_floor(unseen) == 100);
    assert_false(unseen_misses(unseen, &misses, 199));
    assert_true(unseen_misses(unseen, &misses, 200));
    unseen_prune(unseen, &misses);
    assert_int_equal(unseen_len(unseen), 1);
    assert_true(unseen_floor(unseen) == 200);
    unseen_prune(unseen, &sees);
    assert_true(unseen_floor(unseen) == UINT64_MAX);
    unseen_free(unseen);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lsn_is_printed_and_read_as_postgres_does),
        cmocka_unit_test(test_snapshot_sees_below_xmin_and_between_but_for_the_running),
        cmocka_unit_test(test_snapshot_compares_across_the_wrap_of_32_bits),
        cmocka_unit_test(test_malformed_snapshots_are_refused),
        cmocka_unit_test(test_update_with_old_key_keeps_both_tuples),
        cmocka_unit_test(test_messages_cut_anywhere_are_malformed),
        cmocka_unit_test(test_unknown_first_bytes_are_errors),
        cmocka_unit_test(test_times_are_counted_from_1970),
        cmocka_unit_test(test_json_strings_escape_what_must_be_and_nothing_else),
        cmocka_unit_test(test_each_byte_is_escaped_right_wherever_it_stands),
        cmocka_unit_test(test_an_escaped_text_may_fill_its_buffer_to_the_limit),
        cmocka_unit_test(test_messages_are_those_of_the_shape_api),
        cmocka_unit_test(test_unsent_values_are_left_out_of_updates),
        cmocka_unit_test(test_columns_are_mapped_by_name_whatever_a_partitions_order),
        cmocka_unit_test(test_a_tables_own_columns_that_change_places_are_all_lost),
        cmocka_unit_test(test_storage_is_read_leaf_by_leaf),
        cmocka_unit_test(test_storage_is_the_same_whatever_its_identity),
        cmocka_unit_test(test_a_table_with_one_partition_that_is_not_full_is_not_full),
        cmocka_unit_test(test_a_table_stays_published_as_long_as_one_entry_does),
        cmocka_unit_test(test_a_missing_lsn_is_none),
        cmocka_unit_test(test_equal_tables_are_shared_until_one_differs),
        cmocka_unit_test(test_tables_that_differ_in_anything_are_not_identical),
        cmocka_unit_test(test_the_slot_waits_for_what_a_snapshot_may_miss),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
