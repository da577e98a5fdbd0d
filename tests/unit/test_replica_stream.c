/* The stream into a file: any split, every event, what is refused. */
#include "replica/db.h"
#include "replica_kit.h"

#include <pthread.h>

#define ALL                                                                                        \
    "SELECT id || ':' || ifnull(name, '-') || ':' || ifnull(qty, '-') FROM items ORDER BY id"

static void say_first_fetch(struct kit *k)
{
    say_open(k, 0, "h1", ITEMS, true);
    say_item(k, 0, "insert", 2, "two", 20);
    say_item(k, 0, "insert", 1, "one", 10);
    say_item(k, 0, "insert", 3, "three", 30);
    say_end(k, 0, 100);
}

static void say_changes(struct kit *k)
{
    say(k, 0, "update", "{\"id\":\"2\",\"qty\":null}");
    say(k, 0, "delete", "{\"id\":\"1\"}");
    say_commit(k, 200);
    say_item(k, 0, "insert", 4, "f\\u00fcnf", 40);
    say(k, 0, "update", "{\"id\":\"4\",\"name\":\"vier\"}");
    say_commit(k, 300);
}

static void test_first_fetch_and_changes_for_every_split(void **state)
{
    static const size_t pieces[] = {1, 2, 3, 7, 16, 61, 100, 1000, 100000};

    (void)state;
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct kit k;

        struct replica *r = kit_begin(&k, "items", NULL);
        say_first_fetch(&k);
        say_changes(&k);
        if (!kit_try(&k, r, pieces[i]))
            fail_msg("%s", k.err.msg);
        assert_answer(&k, ALL, "2:two:-,3:three:30,4:vier:40");
        assert_answer(&k, "SELECT position || consistent FROM _tombolo_state", "3001");
        assert_answer(&k, "SELECT \"offset\" || status FROM _tombolo_shapes", "300live");
        assert_true(replica_end(r, &k.err));
        replica_close(r);
        kit_release(&k);
    }
}

static void test_a_table_has_real_columns_and_the_original_key(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", "sales.\"O r\"");
    say_first_fetch(&k);
    say_open(&k, 1, "h2",
             "{\"b\":{\"type\":\"uuid\",\"pk_index\":1},\"a\":{\"type\":\"citext\",\"pk_index\":0},"
             "\"q\\\"q\":{\"type\":\"bytea\"}}",
             true);
    say_end(&k, 1, 200);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT sql FROM sqlite_schema WHERE name = 'items'",
                  "CREATE TABLE \"items\"(\n  \"id\" INTEGER PRIMARY KEY NOT NULL,\n"
                  "  \"name\" TEXT,\n  \"qty\" INTEGER\n)");
    assert_answer(&k, "SELECT sql FROM sqlite_schema WHERE name = 'sales_O r'",
                  "CREATE TABLE \"sales_O r\"(\n  \"b\" TEXT NOT NULL,\n"
                  "  \"a\" TEXT COLLATE NOCASE NOT NULL,\n  \"q\"\"q\" BLOB,\n"
                  "  PRIMARY KEY (\"a\", \"b\")\n)");
    assert_answer(&k, "SELECT pgtype || place || pk_index FROM _tombolo_columns WHERE pk_index = 0",
                  "int800,citext10");
    assert_answer(&k, "PRAGMA journal_mode", "wal");
    kit_done(&k, r);
}

static void test_the_next_request_goes_on_where_the_file_is(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    struct replica *r = kit_open(&k, "public.items(id,name,\"Qty\") where qty > 1", NULL);
    assert_string_equal(kit_request(&k, r),
                        "{\"shapes\":[{\"table\":\"public.items\",\"where\":\"qty > 1\","
                        "\"columns\":[\"id\",\"name\",\"Qty\"]}],\"live\":true,\"writes\":true}");
    say_first_fetch(&k);
    kit_feed(&k, r);
    replica_close(r);
    r = kit_open(&k, "items ( id , name , \"Qty\" ) where qty > 1", NULL);
    assert_string_equal(
        kit_request(&k, r),
        "{\"shapes\":[{\"table\":\"public.items\",\"where\":\"qty > 1\","
        "\"columns\":[\"id\",\"name\",\"Qty\"],"
        "\"handle\":\"h1\",\"offset\":\"100_inf\"}],\"live\":true,\"writes\":true}");
    say_open(&k, 0, "h1", ITEMS, false);
    say_changes(&k);
    kit_feed(&k, r);
    assert_answer(&k, ALL, "2:two:-,3:three:30,4:vier:40");
    kit_done(&k, r);
}

static void test_a_commit_shows_all_shapes_at_once_and_not_before(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", "others");
    say_first_fetch(&k);
    say_open(&k, 1, "h2", ITEMS, true);
    say_end(&k, 1, 110);
    say_item(&k, 0, "insert", 9, "nine", 9);
    say_item(&k, 1, "insert", 9, "nine", 9);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT (SELECT count(*) FROM items) || (SELECT count(*) FROM others)", "30");
    say_commit(&k, 120);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT (SELECT count(*) FROM items) || (SELECT count(*) FROM others)", "41");
    kit_done(&k, r);
}

static void test_equal_rows_without_a_key_are_counted(void **state)
{
    static const char columns[] = "{\"a\":{\"type\":\"int4\"},\"b\":{\"type\":\"citext\"}}";
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "log", NULL);
    say_open(&k, 0, "h", columns, true);
    for (int i = 0; i < 3; i++)
        say(&k, 0, "insert", "{\"a\":\"1\",\"b\":null}");
    say(&k, 0, "insert", "{\"a\":\"2\",\"b\":\"X\"}");
    say(&k, 0, "insert", "{\"a\":\"2\",\"b\":\"x\"}");
    say_end(&k, 0, 1);
    say(&k, 0, "delete", "{\"a\":\"1\",\"b\":null}");
    say(&k, 0, "delete", "{\"a\":\"2\",\"b\":\"x\"}");
    say_commit(&k, 2);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT a || ifnull(b, '-') FROM log", "1-,1-,2X");
    kit_done(&k, r);
}

static void test_what_came_already_changes_nothing(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", NULL);
    say_first_fetch(&k);
    kit_feed(&k, r);
    tell(&k, "CREATE TABLE seen(n); CREATE TRIGGER tr AFTER UPDATE ON items BEGIN INSERT INTO seen "
             "VALUES (new.id); END");
    say_item(&k, 0, "insert", 1, "one", 10);
    say_item(&k, 0, "insert", 2, "TWO", 20);
    say(&k, 0, "delete", "{\"id\":\"77\"}");
    say_commit(&k, 110);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT n FROM seen", "2");
    assert_answer(&k, ALL, "1:one:10,2:TWO:20,3:three:30");
    kit_done(&k, r);
}

static void test_a_key_that_changes_only_its_case_is_the_same_row(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "mail", NULL);
    say_open(&k, 0, "h", "{\"m\":{\"type\":\"citext\",\"pk_index\":0}}", true);
    say(&k, 0, "insert", "{\"m\":\"a@B\"}");
    say_end(&k, 0, 1);
    say(&k, 0, "insert", "{\"m\":\"A@B\"}");
    say_commit(&k, 2);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT m FROM mail", "A@B");
    kit_done(&k, r);
}

static void test_an_update_of_an_unknown_row_fetches_the_shape_again(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", "others");
    say_first_fetch(&k);
    say_open(&k, 1, "h2", ITEMS, true);
    say_end(&k, 1, 110);
    kit_feed(&k, r);
    say(&k, 0, "update", "{\"id\":\"77\",\"name\":\"x\"}");
    say_item(&k, 0, "insert", 8, "ignored", 8);
    say_item(&k, 1, "insert", 9, "kept", 9);
    say_commit(&k, 120);
    assert_false(kit_try(&k, r, 1000));
    assert_int_equal(k.err.code, ERR_CHANGED);
    assert_answer(&k, ALL, "1:one:10,2:two:20,3:three:30");
    assert_answer(&k, "SELECT name FROM others", "kept");
    assert_answer(&k, "SELECT status || ifnull(reason, '') FROM _tombolo_shapes",
                  "refetchingan update came for a row that is not here,live");
    assert_non_null(strstr(kit_request(&k, r), "\"table\":\"public.items\"},"));
    kit_done(&k, r);
}

static void test_a_keepalive_moves_the_position(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", NULL);
    say_first_fetch(&k);
    buf_put_cstr(&k.stream, "{\"keepalive\":{\"lsn\":\"500\",\"consistent\":true}}\n");
    kit_feed(&k, r);
    assert_answer(&k, "SELECT position FROM _tombolo_state", "500");
    assert_answer(&k, "SELECT \"offset\" FROM _tombolo_shapes", "500");
    say_item(&k, 0, "insert", 9, "open", 9);
    buf_put_cstr(&k.stream, "{\"keepalive\":{\"lsn\":\"600\",\"consistent\":true}}\n");
    kit_feed(&k, r);
    assert_answer(&k, "SELECT position FROM _tombolo_state", "500");
    assert_answer(&k, "SELECT count(*) FROM items", "3");
    kit_done(&k, r);
}

static void test_unknown_lines_and_members_are_ignored(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", NULL);
    buf_put_cstr(&k.stream, "{\"hello\":{\"version\":7}}\n\n{\"ack\":{\"last\":1}}\n");
    say_first_fetch(&k);
    buf_put_cstr(&k.stream, "{\"x\":1,\"shape\":0,\"messages\":[{\"headers\":{\"control\":"
                            "\"up-to-date\"}}],\"y\":[]}\n");
    say_commit(&k, 150);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT position FROM _tombolo_state", "150");
    kit_done(&k, r);
}

static void test_broken_streams_are_errors_that_change_nothing(void **state)
{
    static const char *const lines[] = {
        "nonsense\n",
        "[]\n",
        "{\"shape\":0,\"messages\":{}}\n",
        "{\"shape\":5,\"messages\":[]}\n",
        "{\"shape\":-1,\"messages\":[]}\n",
        "{\"commit\":{\"lsn\":\"x\"}}\n",
        "{\"commit\":{\"lsn\":7}}\n",
        "{\"snapshot_end\":{\"shape\":0}}\n",
        "{\"open\":{\"shape\":0,\"handle\":\"h\",\"schema\":{},\"snapshot\":true}}\n",
        "{\"open\":{\"shape\":0,\"schema\":" ITEMS ",\"snapshot\":true}}\n",
        ("{\"open\":{\"shape\":0,\"handle\":\"h\",\"schema\":{\"a\":{\"type\":\"int4\"},\"A\":{"
         "\"type\":\"int4\"}},\"snapshot\":true}}\n"),
        "{\"error\":{\"message\":\"no such table\",\"shape\":0,\"retry\":false}}\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct kit k;

        struct replica *r = kit_begin(&k, "items", NULL);
        say_first_fetch(&k);
        kit_feed(&k, r);
        say_item(&k, 0, "insert", 9, "lost", 9);
        buf_put_cstr(&k.stream, lines[i]);
        say_commit(&k, 777);
        if (kit_try(&k, r, 50))
            fail_msg("went on after %s", lines[i]);
        assert_false(replica_feed(r, "\n", 1, &k.err));
        assert_answer(&k, "SELECT count(*) || max(position) FROM items, _tombolo_state", "3100");
        assert_non_null(strstr(kit_request(&k, r), "100_inf"));
        replica_close(r);
        kit_release(&k);
    }
}

static void test_two_columns_that_differ_by_case_are_refused_by_name(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", NULL);
    say_open(&k, 0, "h", "{\"a\":{\"type\":\"int4\",\"pk_index\":0},\"A\":{\"type\":\"text\"}}",
             true);
    assert_false(kit_try(&k, r, 1000));
    assert_int_equal(k.err.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(k.err.msg, "columns \"a\" and \"A\" differ only by case"));
    kit_done(&k, r);
}

static void test_a_line_beyond_the_limit_is_refused(void **state)
{
    size_t n = (size_t)1 << 20;
    char *bytes = malloc(n);
    bool ok = true;
    struct kit k;

    (void)state;
    kit_init(&k);
    memset(bytes, ' ', n);
    struct replica *r = kit_open(&k, "items", NULL);
    kit_request(&k, r);
    for (int i = 0; i < 70 && ok; i++)
        ok = replica_feed(r, bytes, n, &k.err);
    assert_false(ok);
    assert_int_equal(k.err.code, ERR_LIMIT);
    replica_close(r);
    free(bytes);
    kit_release(&k);
}

static bool set_shapes(struct kit *k, struct replica *r, const char *text, bool adopt)
{
    struct replica_shape s;

    assert_true(replica_shape_parse(text, &s, &k->err));
    bool ok = replica_set_shapes(r, &s, 1, adopt, &k->err);
    replica_shape_release(&s);
    return ok;
}

static void test_tables_that_are_not_ours_are_refused(void **state)
{
    static const char *const names[] = {"_tombolo_x", "sqlite_x", "_litestream_seq", "mine",
                                        "aview"};
    struct kit k;

    (void)state;
    kit_init(&k);
    struct replica *r = replica_open(k.path, &k.err);
    tell(&k,
         "CREATE TABLE Mine(id INTEGER PRIMARY KEY NOT NULL, name TEXT, qty INTEGER);"
         "INSERT INTO Mine VALUES (1, 'old', 1), (2, 'two', 20); CREATE VIEW aview AS SELECT 1");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_false(set_shapes(&k, r, names[i], false));
        assert_int_equal(k.err.code, ERR_INPUT);
    }
    assert_false(set_shapes(&k, r, "aview", true));
    assert_true(set_shapes(&k, r, "mine", true));
    kit_request(&k, r);
    say_first_fetch(&k);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT id || name FROM mine", "1one,2two,3three");
    kit_done(&k, r);
}

static void test_a_table_that_does_not_fit_is_not_adopted_and_not_dropped(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    struct replica *r = replica_open(k.path, &k.err);
    tell(&k, "CREATE TABLE mine(id NUMERIC PRIMARY KEY, name TEXT, qty INTEGER);"
             "INSERT INTO mine VALUES (1, 'old', 1)");
    assert_true(set_shapes(&k, r, "mine", true));
    kit_request(&k, r);
    say_first_fetch(&k);
    assert_false(kit_try(&k, r, 1000));
    assert_non_null(strstr(k.err.msg, "column \"id\" is declared \"NUMERIC\""));
    assert_true(set_shapes(&k, r, "items", false));
    assert_answer(&k, "SELECT name FROM mine", "old");
    kit_done(&k, r);
}

static void test_two_shapes_on_one_table_are_refused(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    assert_null(kit_open(&k, "items where qty = 1", "Items where qty = 2"));
    assert_non_null(strstr(k.err.msg, "two shapes would share the table \"items\""));
    assert_null(kit_open(&k, "public.a_b", "a.b"));
    kit_release(&k);
}

static void test_a_shape_no_longer_asked_for_goes_with_its_table(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", NULL);
    say_first_fetch(&k);
    kit_feed(&k, r);
    replica_close(r);
    r = kit_open(&k, "others", NULL);
    assert_answer(&k, "SELECT count(*) FROM sqlite_schema WHERE name = 'items'", "0");
    assert_answer(&k, "SELECT local FROM _tombolo_shapes", "others");
    kit_done(&k, r);
}

static void test_a_second_syncer_is_refused_and_a_dead_one_is_not(void **state)
{
    struct replica_status st;
    struct kit k;

    (void)state;
    kit_init(&k);
    struct replica *r = kit_open(&k, "items", NULL);
    assert_null(replica_open(k.path, &k.err));
    assert_int_equal(k.err.code, ERR_BUSY);
    assert_true(replica_status_read(k.path, &st, &k.err));
    assert_int_equal(st.syncer_pid, getpid());
    assert_string_equal(st.id, replica_id(r));
    assert_string_equal(st.shapes[0].status, "fetching");
    replica_status_release(&st);
    replica_close(r);
    assert_true(replica_status_read(k.path, &st, &k.err));
    assert_int_equal(st.syncer_pid, 0);
    replica_status_release(&st);
    r = kit_open(&k, "items", NULL);
    assert_non_null(r);
    kit_done(&k, r);
}

static void test_keys_in_any_order_arrive_whole(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", NULL);
    say_open(&k, 0, "h1", ITEMS, true);
    for (int i = 0; i < 50000; i++)
        say_item(&k, 0, "insert", (int)((unsigned)i * 7919u % 50021u), "n", i);
    assert_true(kit_try(&k, r, 70000));
    say_end(&k, 0, 100);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT count(*) || ':' || sum(qty) FROM items", "50000:1249975000");
    assert_answer(&k, "PRAGMA integrity_check", "ok");
    kit_done(&k, r);
}

static void test_a_waiting_reader_does_not_stop_the_stream(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", NULL);
    say_first_fetch(&k);
    kit_feed(&k, r);
    sqlite3 *reader = kit_reader(&k);
    sqlite3_exec(reader, "BEGIN", NULL, NULL, NULL);
    assert_string_equal(ask_of(reader, "SELECT count(*) FROM items"), "3");
    for (int round = 0; round < 60; round++) {
        for (int i = 0; i < 2000; i++)
            say_item(&k, 0, "insert", 100 + i, "a text that fills the log by and by", round);
        say_commit(&k, 200 + (uint64_t)round);
        kit_feed(&k, r);
    }
    assert_string_equal(ask_of(reader, "SELECT count(*) FROM items"), "3");
    sqlite3_exec(reader, "COMMIT", NULL, NULL, NULL);
    assert_string_equal(ask_of(reader, "SELECT count(*) FROM items"), "2003");
    sqlite3_close(reader);
    kit_done(&k, r);
}

struct writer {
    sqlite3 *db;
    int held_ms;
};

static void *let_go(void *arg)
{
    struct writer *w = arg;

    usleep((useconds_t)w->held_ms * 1000);
    sqlite3_exec(w->db, "COMMIT", NULL, NULL, NULL);
    return NULL;
}

static void test_another_writer_is_waited_for_beyond_the_busy_timeout(void **state)
{
    struct writer w = {.held_ms = 5600};
    pthread_t thread;
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", NULL);
    w.db = kit_reader(&k);
    sqlite3_exec(w.db, "BEGIN IMMEDIATE; CREATE TABLE theirs(x)", NULL, NULL, NULL);
    assert_int_equal(pthread_create(&thread, NULL, let_go, &w), 0);
    say_first_fetch(&k);
    kit_feed(&k, r);
    pthread_join(thread, NULL);
    assert_answer(&k, "SELECT count(*) FROM items", "3");
    sqlite3_close(w.db);
    kit_done(&k, r);
}

static void test_versions_with_the_wal_reset_bug_are_known(void **state)
{
    static const int at_risk[] = {3007000, 3040001, 3044005, 3045000, 3050006, 3051000, 3051002};
    static const int safe[] = {3006023, 3044006, 3050007, 3051003, 3053002};

    (void)state;
    for (size_t i = 0; i < sizeof(at_risk) / sizeof(at_risk[0]); i++)
        assert_true(lite_version_at_risk(at_risk[i]));
    for (size_t i = 0; i < sizeof(safe) / sizeof(safe[0]); i++)
        assert_false(lite_version_at_risk(safe[i]));
}

static void test_the_wal_stays_bounded_without_readers(void **state)
{
    struct replica_status st;
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", NULL);
    say_first_fetch(&k);
    kit_feed(&k, r);
    for (int round = 0; round < 300; round++) {
        for (int i = 0; i < 1500; i++)
            say_item(&k, 0, "insert", 100 + i, "0123456789012345678901234567890123456789", round);
        say_commit(&k, 200 + (uint64_t)round);
        kit_feed(&k, r);
    }
    assert_true(replica_status_read(k.path, &st, &k.err));
    assert_in_range(st.wal_bytes, 1, 24000000);
    replica_status_release(&st);
    kit_done(&k, r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_fetch_and_changes_for_every_split),
        cmocka_unit_test(test_a_table_has_real_columns_and_the_original_key),
        cmocka_unit_test(test_the_next_request_goes_on_where_the_file_is),
        cmocka_unit_test(test_a_commit_shows_all_shapes_at_once_and_not_before),
        cmocka_unit_test(test_equal_rows_without_a_key_are_counted),
        cmocka_unit_test(test_what_came_already_changes_nothing),
        cmocka_unit_test(test_a_key_that_changes_only_its_case_is_the_same_row),
        cmocka_unit_test(test_an_update_of_an_unknown_row_fetches_the_shape_again),
        cmocka_unit_test(test_a_keepalive_moves_the_position),
        cmocka_unit_test(test_unknown_lines_and_members_are_ignored),
        cmocka_unit_test(test_broken_streams_are_errors_that_change_nothing),
        cmocka_unit_test(test_two_columns_that_differ_by_case_are_refused_by_name),
        cmocka_unit_test(test_a_line_beyond_the_limit_is_refused),
        cmocka_unit_test(test_tables_that_are_not_ours_are_refused),
        cmocka_unit_test(test_a_table_that_does_not_fit_is_not_adopted_and_not_dropped),
        cmocka_unit_test(test_two_shapes_on_one_table_are_refused),
        cmocka_unit_test(test_a_shape_no_longer_asked_for_goes_with_its_table),
        cmocka_unit_test(test_a_second_syncer_is_refused_and_a_dead_one_is_not),
        cmocka_unit_test(test_keys_in_any_order_arrive_whole),
        cmocka_unit_test(test_a_waiting_reader_does_not_stop_the_stream),
        cmocka_unit_test(test_another_writer_is_waited_for_beyond_the_busy_timeout),
        cmocka_unit_test(test_versions_with_the_wal_reset_bug_are_known),
        cmocka_unit_test(test_the_wal_stays_bounded_without_readers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
