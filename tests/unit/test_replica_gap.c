/* Writes that slipped by while triggers were missing or wrong: found, and sent or told of. */
#include "replica_kit.h"

#include "replica/core.h"

#define ROWS                                                                                       \
    "SELECT id || ':' || ifnull(name, '-') || ':' || ifnull(qty, '-') FROM items ORDER BY id"
#define WAITING                                                                                    \
    "SELECT op || \"key\" || ifnull(before, '') || ifnull(after, '') FROM _tombolo_pending "       \
    "ORDER BY seq"
#define REJECTED                                                                                   \
    "SELECT code || op || ifnull(before, '') || ifnull(after, '') FROM _tombolo_rejected "         \
    "ORDER BY id"
#define STATUS "SELECT status || ifnull(gap, '') FROM _tombolo_shapes"

static const char drop[] = "DROP TRIGGER _tombolo_capture_1_ai; DROP TRIGGER _tombolo_capture_1_au;"
                           "DROP TRIGGER _tombolo_capture_1_ad;";
static const char slips[] =
    "UPDATE items SET qty = 21 WHERE id = 2; DELETE FROM items WHERE id = 3;"
    "INSERT INTO items VALUES (9, 'nine', NULL)";

static void say_at(struct kit *k, const char *op, const char *value, uint64_t lsn)
{
    buf_printf(&k->stream,
               "{\"shape\":0,\"messages\":[{\"key\":\"k\",\"value\":%s,"
               "\"headers\":{\"operation\":\"%s\",\"lsn\":\"%" PRIu64 "\"}}]}\n",
               value, op, lsn);
}

static void begin_stream(struct kit *k, struct replica *r, const char *handle, bool snapshot)
{
    kit_request(k, r);
    say_open_writable(k, 0, handle, ITEMS, snapshot);
    for (int id = 1; snapshot && id <= 3; id++)
        say_item(k, 0, "insert", id, "old", 10 * id);
    if (snapshot)
        say_snapshot_end(k, 0);
}

/* The rows 1, 2 and 3 at position 100, written to and captured. */
static struct replica *writing(struct kit *k)
{
    kit_init(k);
    struct replica *r = kit_open(k, "items", NULL);

    begin_stream(k, r, "h1", true);
    say_commit(k, 100);
    kit_feed(k, r);
    return r;
}

static void look(struct kit *k, struct replica *r)
{
    bool any;

    if (!replica_write_request(r, &k->body, &any, &k->err))
        fail_msg("%s", k->err.msg);
}

static void tell_all(struct kit *k, const char *first, const char *second)
{
    char sql[20000];

    snprintf(sql, sizeof(sql), "%s%s", first, second);
    tell(k, sql);
}

/* The shape from its log's beginning; Postgres has changed rows at 150 and 200. */
static void scan(struct kit *k, struct replica *r)
{
    begin_stream(k, r, "h1", true);
    assert_null(strstr(buf_cstr(&k->body), "\"handle\""));
    say_at(k, "update", "{\"id\":\"1\",\"name\":\"theirs\"}", 150);
    say_at(k, "update", "{\"id\":\"2\",\"name\":\"theirs\",\"qty\":\"22\"}", 150);
    say_at(k, "insert", "{\"id\":\"4\",\"name\":\"four\",\"qty\":null}", 200);
    say_commit(k, 200);
    kit_feed(k, r);
}

static void test_what_slipped_by_goes_up_and_nothing_else(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell_all(&k, drop, slips);
    look(&k, r);
    assert_answer(&k, STATUS, "refetching1");
    assert_answer(&k, ROWS, "1:old:10,2:old:21,9:nine:-");
    scan(&k, r);
    assert_answer(&k, STATUS, "live0");
    assert_answer(&k, ROWS, "1:theirs:10,2:theirs:21,4:four:-,9:nine:-");
    assert_answer(&k, WAITING,
                  "D{\"id\":\"3\"}{\"id\":\"3\",\"name\":\"old\",\"qty\":\"30\"},"
                  "U{\"id\":\"2\"}{\"qty\":\"20\"}{\"qty\":\"21\"},"
                  "I{\"id\":\"9\"}{\"id\":\"9\",\"name\":\"nine\",\"qty\":null}");
    assert_answer(&k, REJECTED, "");
    look(&k, r);
    assert_answer(&k, "SELECT count(DISTINCT nonce) FROM _tombolo_pending WHERE id = 1", "3");
    kit_done(&k, r);
}

static void test_a_change_of_postgres_does_not_overwrite_what_slipped_by_before_it(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell_all(&k, drop, slips);
    say_at(&k, "update", "{\"id\":\"2\",\"name\":\"theirs\",\"qty\":\"22\"}", 150);
    say_at(&k, "delete", "{\"id\":\"3\"}", 150);
    say_commit(&k, 150);
    assert_false(kit_try(&k, r, SIZE_MAX / 4)); /* another stream is needed */
    assert_int_equal(k.err.code, ERR_CHANGED);
    assert_answer(&k, ROWS, "1:old:10,2:old:21,9:nine:-");
    scan(&k, r);
    assert_answer(&k, ROWS, "1:theirs:10,2:theirs:21,4:four:-,9:nine:-");
    assert_answer(&k, "SELECT count(*) FROM _tombolo_pending", "3");
    kit_done(&k, r);
}

static void test_pending_writes_on_the_same_rows_are_not_found_again(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell(&k, "UPDATE items SET name = 'mine' WHERE id < 3; INSERT INTO items VALUES (8, 'm', 8)");
    look(&k, r);
    tell_all(&k, drop, slips);
    tell(&k, "UPDATE items SET qty = 80 WHERE id = 8");
    look(&k, r);
    tell(&k, "UPDATE items SET name = 'again' WHERE id = 9; UPDATE items SET id = 7 WHERE id = 1");
    scan(&k, r);
    assert_answer(&k, ROWS, "2:mine:21,4:four:-,7:mine:10,8:m:80,9:again:-");
    assert_answer(&k, "SELECT op || row || ifnull(moved, '') FROM _tombolo_pending ORDER BY seq",
                  "U[\"1\"],U[\"2\"],I[\"8\"],U[\"2\"],U[\"8\"],U[\"9\"],U[\"1\"][\"7\"],"
                  "I[\"9\"],D[\"3\"]");
    kit_done(&k, r);
}

static void test_triggers_that_were_made_anew_word_for_word_are_noticed(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);
    char triggers[16384];

    (void)state;
    strcpy(triggers, ask(&k, "SELECT sql FROM sqlite_schema WHERE name = '_tombolo_capture_1_au'"));
    tell_all(&k, "DROP TRIGGER _tombolo_capture_1_au; UPDATE items SET qty = 21 WHERE id = 2;",
             triggers);
    look(&k, r);
    assert_answer(&k, STATUS, "refetching1");
    scan(&k, r);
    assert_answer(&k, WAITING, "U{\"id\":\"2\"}{\"qty\":\"20\"}{\"qty\":\"21\"}");
    kit_done(&k, r);
}

static void test_a_new_column_is_no_gap(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell(&k, "ALTER TABLE items ADD COLUMN local_note TEXT");
    look(&k, r);
    tell(&k, "UPDATE items SET qty = 21, local_note = 'x' WHERE id = 2");
    look(&k, r);
    assert_answer(&k, "SELECT status || ifnull(gap, 0) FROM _tombolo_shapes", "live0");
    assert_answer(&k, WAITING, "U{\"id\":\"2\"}{\"qty\":\"20\"}{\"qty\":\"21\"}");
    kit_done(&k, r);
}

static void test_columns_of_the_user_do_not_make_a_difference(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell(&k, "ALTER TABLE items ADD COLUMN local_note TEXT");
    tell_all(&k, drop, "UPDATE items SET local_note = 'x'; UPDATE items SET qty = 1 WHERE id = 1");
    look(&k, r);
    scan(&k, r);
    assert_answer(&k, WAITING, "U{\"id\":\"1\"}{\"qty\":\"10\"}{\"qty\":\"1\"}");
    assert_answer(&k, "SELECT group_concat(local_note, '') FROM items", "xxx");
    kit_done(&k, r);
}

static void test_a_scan_by_hand_finds_what_nobody_could_notice(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);
    sqlite3 *program = kit_reader(&k);

    (void)state;
    sqlite3_db_config(program, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    assert_int_equal(sqlite3_exec(program, slips, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(program);
    look(&k, r);
    assert_answer(&k, "SELECT status || ifnull(gap, 0) FROM _tombolo_shapes", "live0");
    assert_true(replica_scan(r, &k.err));
    scan(&k, r);
    assert_answer(&k, ROWS, "1:theirs:10,2:theirs:21,4:four:-,9:nine:-");
    assert_answer(&k, "SELECT count(*) FROM _tombolo_pending", "3");
    kit_done(&k, r);
}

static void test_a_scan_that_breaks_off_begins_anew(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell_all(&k, drop, slips);
    for (int i = 0; i < 2; i++) {
        begin_stream(&k, r, "h1", i == 1);
        say_at(&k, "update", "{\"id\":\"1\",\"name\":\"theirs\"}", 150);
        (void)kit_try(&k, r, SIZE_MAX / 4);
        replica_close(r);
        r = kit_open(&k, "items", NULL);
        assert_answer(&k, STATUS, "refetching1");
        assert_answer(&k, ROWS, "1:old:10,2:old:21,9:nine:-");
    }
    scan(&k, r);
    assert_answer(&k, "SELECT count(*) FROM _tombolo_pending", "3");
    kit_done(&k, r);
}

static void test_a_table_that_was_made_anew_and_is_empty_deletes_nothing(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell(&k, "UPDATE items SET qty = 11 WHERE id = 1");
    tell(&k, "DROP TABLE items; CREATE TABLE items(id INTEGER PRIMARY KEY NOT NULL, name, qty)");
    look(&k, r);
    scan(&k, r);
    assert_answer(&k, ROWS, "1:theirs:11,2:theirs:22,3:old:30,4:four:-");
    assert_answer(&k, WAITING, "U{\"id\":\"1\"}{\"qty\":\"10\"}{\"qty\":\"11\"}");
    assert_answer(&k, "SELECT code || op || \"key\" FROM _tombolo_rejected ORDER BY id",
                  "unknownD{\"id\":\"2\"},unknownD{\"id\":\"3\"}");
    kit_done(&k, r);
}

static void test_a_table_that_is_away_when_it_is_looked_for_may_come_back(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell(&k, "ALTER TABLE items RENAME TO away");
    look(&k, r);
    assert_answer(&k, STATUS, "refetching1");
    tell_all(&k,
             "CREATE TABLE items(id INTEGER PRIMARY KEY NOT NULL, name TEXT, qty INTEGER);"
             "INSERT INTO items SELECT * FROM away; DROP TABLE away;",
             slips);
    scan(&k, r);
    assert_answer(&k, ROWS, "1:theirs:10,2:theirs:21,4:four:-,9:nine:-");
    assert_answer(&k, "SELECT count(*) FROM _tombolo_pending", "3");
    tell(&k, "DROP TABLE items");
    look(&k, r);
    replica_close(r);
    r = kit_open(&k, "items", NULL); /* nobody wants it to be empty */
    begin_stream(&k, r, "h1", true);
    say_commit(&k, 200);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT status || gap FROM _tombolo_shapes", "live0");
    assert_answer(&k, "SELECT count(*) FROM items", "3");
    kit_done(&k, r);
}

static void test_where_the_handle_has_ended_what_differs_is_unknown(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell(&k, "UPDATE items SET qty = 11 WHERE id = 1");
    look(&k, r);
    tell_all(&k, drop, slips);
    look(&k, r);
    begin_stream(&k, r, "h2", true);
    say_commit(&k, 200);
    kit_feed(&k, r);
    assert_answer(&k, STATUS, "live0");
    assert_answer(&k, ROWS, "1:old:11,2:old:20,3:old:30");
    assert_answer(&k, REJECTED,
                  "unknownD{\"id\":\"3\",\"name\":\"old\",\"qty\":\"30\"},"
                  "unknownU{\"qty\":\"20\"}{\"qty\":\"21\"},"
                  "unknownI{\"id\":\"9\",\"name\":\"nine\",\"qty\":null}");
    assert_answer(&k, "SELECT count(*) FROM _tombolo_pending", "1");
    assert_answer(&k, "SELECT count(*) FROM _tombolo_base", "1");
    kit_done(&k, r);
}

static void test_a_table_that_cannot_be_captured_is_left_alone_until_it_can(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell_all(&k,
             "CREATE TABLE other AS SELECT * FROM items; DROP TABLE items;"
             "ALTER TABLE other RENAME TO items;",
             slips);
    look(&k, r);
    for (int i = 0; i < 2; i++) {
        begin_stream(&k, r, "h1", true);
        say_commit(&k, 200);
        assert_false(kit_try(&k, r, SIZE_MAX / 4));
        assert_answer(&k, ROWS, "1:old:10,2:old:21,9:nine:-");
        assert_non_null(strstr(ask(&k, "SELECT reason FROM _tombolo_shapes"), "primary key"));
        replica_close(r);
        r = kit_open(&k, "items", NULL);
    }
    tell(&k, "CREATE TABLE other(id INTEGER PRIMARY KEY NOT NULL, name TEXT, qty INTEGER);"
             "INSERT INTO other SELECT * FROM items; DROP TABLE items;"
             "ALTER TABLE other RENAME TO items; UPDATE items SET name = 'late' WHERE id = 9");
    scan(&k, r);
    assert_answer(&k, ROWS, "1:theirs:10,2:theirs:21,4:four:-,9:late:-");
    assert_answer(&k, "SELECT op || row FROM _tombolo_pending ORDER BY seq",
                  "D[\"3\"],U[\"2\"],I[\"9\"]");
    kit_done(&k, r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_slipped_by_goes_up_and_nothing_else),
        cmocka_unit_test(test_a_change_of_postgres_does_not_overwrite_what_slipped_by_before_it),
        cmocka_unit_test(test_pending_writes_on_the_same_rows_are_not_found_again),
        cmocka_unit_test(test_triggers_that_were_made_anew_word_for_word_are_noticed),
        cmocka_unit_test(test_a_new_column_is_no_gap),
        cmocka_unit_test(test_columns_of_the_user_do_not_make_a_difference),
        cmocka_unit_test(test_a_scan_by_hand_finds_what_nobody_could_notice),
        cmocka_unit_test(test_a_scan_that_breaks_off_begins_anew),
        cmocka_unit_test(test_a_table_that_cannot_be_captured_is_left_alone_until_it_can),
        cmocka_unit_test(test_a_table_that_was_made_anew_and_is_empty_deletes_nothing),
        cmocka_unit_test(test_a_table_that_is_away_when_it_is_looked_for_may_come_back),
        cmocka_unit_test(test_where_the_handle_has_ended_what_differs_is_unknown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
