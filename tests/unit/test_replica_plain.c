/*
 * First rows read without a parser: the same values as with one, and no other lines than its own.
 */
#include "replica_kit.h"

#include "replica/core.h"
#include "replica/plain.h"

#include <yyjson.h>

#define TYPES                                                                                      \
    "{\"id\":{\"type\":\"int8\",\"pk_index\":0,\"not_null\":true},\"t\":{\"type\":\"text\"},"      \
    "\"b\":{\"type\":\"bool\"},\"f\":{\"type\":\"float8\"},\"at\":{\"type\":\"timestamptz\"},"     \
    "\"raw\":{\"type\":\"bytea\"},\"list\":{\"type\":\"int4\",\"dims\":1}}"

#define ROW(id, t)                                                                                 \
    "{\"key\":\"\\\"public\\\".\\\"x\\\"/\\\"" id "\\\"\",\"value\":{\"id\":\"" id "\",\"t\":" t   \
    ",\"b\":\"true\",\"f\":\"1.5\",\"at\":\"2026-01-02 03:04:05.6+00\",\"raw\":\"\\\\x00ff\","     \
    "\"list\":\"{1,NULL,2}\"},\"headers\":{\"operation\":\"insert\","                              \
    "\"relation\":[\"public\",\"x\"]}}"
#define LINE(rows) "{\"shape\":0,\"messages\":[" rows "]}"

struct reading {
    struct arena arena;
    struct lite_schema schema;
    struct lite_plain plain;
    struct lite_block block;
};

static void reading_init(struct reading *r)
{
    struct err err;

    *r = (struct reading){0};
    assert_true(lite_schema_read(SLICE(TYPES), &r->arena, &r->schema, &err));
    lite_plain_init(&r->plain, &r->schema, &r->arena);
}

static void reading_release(struct reading *r)
{
    free(r->block.values);
    arena_release(&r->block.arena);
    arena_release(&r->arena);
}

/* In memory of just its size, so that ASan sees what reads beyond it. */
static bool try_read(struct reading *r, struct slice line)
{
    char *copy = calloc(1, line.len + LITE_PLAIN_PADDING);
    struct slice rest = {memcpy(copy, line.ptr, line.len), line.len};
    size_t shape;

    arena_reset(&r->block.arena);
    bool ok = lite_plain_head(&rest, &shape) && shape == 0 &&
              lite_plain_read(&r->plain, &r->schema, rest, &r->block);
    free(copy);
    return ok;
}

static void test_lines_as_the_bridge_writes_them_need_no_parser(void **state)
{
    static const char *const lines[] = {
        LINE(ROW("1", "\"a\"")),
        LINE(ROW("1", "null") "," ROW("2", "\"\"") "," ROW("10", "\"a longer text, plain\"")),
        LINE(ROW("1", "\"\\u001f \\\" \\\\ \\n and on to the end\"")),
        LINE(ROW("1", "\"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x8f\x9d\"")),
        LINE(ROW("1", "\"\\\",\\\"value\\\":{\"")),
    };
    struct reading r;

    (void)state;
    reading_init(&r);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (!try_read(&r, slice_of(lines[i])))
            fail_msg("%s", lines[i]);
    }
    reading_release(&r);
}

static void test_any_other_line_is_left_to_the_parser(void **state)
{
    static const char *const lines[] = {
        "",
        "{\"shape\":0,\"messages\":[]}",
        LINE(ROW("2", "\"a\"") "," ROW("1", "\"a\"")),  /* not in the key's order */
        LINE(ROW("1", "\"a\"") ", " ROW("2", "\"a\"")), /* a space */
        LINE(ROW("1", "\"a\"")) "\r",                   /* something behind it */
        LINE(ROW("x", "\"a\"")),                        /* no number */
        LINE(ROW("1", "1")),                            /* no text */
        LINE(ROW("1", "\"a\xff\"")),                    /* no UTF-8 */
        LINE(ROW("1", "\"\n\"")),                       /* a bare newline */
        LINE(ROW("1", "\"of many bytes\t\"")),          /* a bare tab far behind */
        LINE(ROW("1", "\"\\u20ac\"")),                  /* escapes that it does not write */
        LINE(ROW("1", "\"\\u0000\"")),
        LINE(ROW("1", "\"\\u00\"")),
        LINE(ROW("1", "\"\\x\"")),
        LINE(ROW("1", "\"a\",\"u\":\"b\"")), /* another column */
        LINE("{\"key\":\"k\",\"value\":{\"id\":null},\"headers\":{\"operation\":\"insert\"}}"),
        LINE("{\"key\":\"k\",\"value\":{\"t\":\"a\",\"id\":\"1\"}}"),
        LINE("{\"key\":\"k\",\"new\":true}," ROW("2", "\"a\"")), /* two rows */
    };
    struct reading r;

    (void)state;
    reading_init(&r);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (try_read(&r, slice_of(lines[i])))
            fail_msg("%s", lines[i]);
    }
    reading_release(&r);
}

static void test_a_line_cut_or_changed_anywhere_is_not_read_beyond(void **state)
{
    static const char line[] =
        LINE(ROW("1", "\"\\u001f \\\" and \\\\ more\"") "," ROW("2", "null"));
    static const char others[] = "\"\\{}[],:0nux \x80\x01";
    char changed[sizeof(line)];
    struct reading r;

    (void)state;
    reading_init(&r);
    assert_true(try_read(&r, SLICE(line)));
    for (size_t len = 0; len < sizeof(line) - 1; len++) {
        assert_false(try_read(&r, (struct slice){line, len}));
        for (size_t i = 0; i < sizeof(others) - 1; i++) {
            memcpy(changed, line, sizeof(line));
            changed[len] = others[i];
            (void)try_read(&r, (struct slice){changed, sizeof(line) - 1});
        }
    }
    reading_release(&r);
}

/* All of the table, as SQLite's quote() prints it. */
static char *contents(struct kit *k)
{
    sqlite3 *db = kit_reader(k);
    sqlite3_stmt *stmt;

    assert_int_equal(sqlite3_prepare_v2(db,
                                        "SELECT group_concat(quote(id) || quote(t) || quote(b) || "
                                        "quote(f) || quote(at) || quote(raw) || quote(list)) "
                                        "FROM items",
                                        -1, &stmt, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    char *text = strdup((const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return text;
}

/* What is in the file after the rows, as they are or with a space that needs the parser. */
static char *file_of(const char *rows, const char *space)
{
    struct kit k;

    kit_init(&k);
    struct replica *r = kit_open(&k, "items", NULL);
    kit_request(&k, r);
    say_open(&k, 0, "h1", TYPES, true);
    buf_printf(&k.stream, "{\"shape\":0,%s\"messages\":[%s]}\n", space, rows);
    say_snapshot_end(&k, 0);
    say_commit(&k, 10);
    kit_feed(&k, r);
    char *text = contents(&k);
    kit_done(&k, r);
    return text;
}

static void test_the_values_are_those_of_the_parser(void **state)
{
    char rows[4096];

    snprintf(rows, sizeof(rows), "%s,%s,%s,%s,%s,%s", ROW("-5", "null"), ROW("1", "\"\""),
             ROW("2", "\"\\u0001\\b\\f\\n\\r\\t\\/\\\"\\\\\""),
             ROW("3", "\"\xc3\xa4 \xf0\x9f\x8f\x9d and what comes behind\""),
             ROW("4", "\"of more than eight bytes \\\\\""), ROW("9223372036854775807", "\"z\""));
    char *plain = file_of(rows, ""), *parsed = file_of(rows, " ");

    (void)state;
    assert_non_null(strstr(plain, "of more than eight bytes \\'"));
    assert_string_equal(plain, parsed);
    assert_non_null(strstr(plain, "9223372036854775807"));
    free(plain);
    free(parsed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_as_the_bridge_writes_them_need_no_parser),
        cmocka_unit_test(test_any_other_line_is_left_to_the_parser),
        cmocka_unit_test(test_a_line_cut_or_changed_anywhere_is_not_read_beyond),
        cmocka_unit_test(test_the_values_are_those_of_the_parser),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
