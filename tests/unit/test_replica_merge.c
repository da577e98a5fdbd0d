/* Fetching again: what readers see meanwhile, and what of the user's survives. */
#include "replica_kit.h"

#include <pthread.h>
#include <stdatomic.h>

#define NAMES "SELECT id || name FROM items ORDER BY id"

static struct replica *fetched(struct kit *k)
{
    kit_init(k);
    struct replica *r = kit_open(k, "items", NULL);
    kit_request(k, r);
    say_open(k, 0, "h1", ITEMS, true);
    say_item(k, 0, "insert", 1, "one", 10);
    say_item(k, 0, "insert", 2, "two", 20);
    say_item(k, 0, "insert", 3, "three", 30);
    say_end(k, 0, 100);
    kit_feed(k, r);
    return r;
}

static void say_refetch(struct kit *k, const char *handle, const char *schema)
{
    buf_put_cstr(&k->stream, "{\"refetch\":{\"shape\":0,\"reason\":\"truncated\"}}\n");
    say_open(k, 0, handle, schema, true);
}

static void test_old_rows_stay_until_the_new_ones_are_complete(void **state)
{
    struct kit k;
    struct replica *r = fetched(&k);

    (void)state;
    say_refetch(&k, "h2", ITEMS);
    say_item(&k, 0, "insert", 2, "zwei", 20);
    say_item(&k, 0, "insert", 4, "vier", 40);
    kit_feed(&k, r);
    assert_answer(&k, NAMES, "1one,2two,3three");
    assert_answer(&k, "SELECT status || reason FROM _tombolo_shapes", "refetchingtruncated");
    say_snapshot_end(&k, 0);
    say(&k, 0, "update", "{\"id\":\"4\",\"name\":\"VIER\"}");
    kit_feed(&k, r);
    assert_answer(&k, NAMES, "1one,2two,3three");
    say_commit(&k, 200);
    kit_feed(&k, r);
    assert_answer(&k, NAMES, "2zwei,4VIER");
    assert_answer(&k, "SELECT status || handle || \"offset\" FROM _tombolo_shapes", "liveh2200");
    assert_answer(&k, "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%new%'", "0");
    kit_done(&k, r);
}

static void test_only_differences_are_written(void **state)
{
    struct kit k;
    struct replica *r = fetched(&k);

    (void)state;
    tell(&k, "CREATE TABLE seen(x); "
             "CREATE TRIGGER ti AFTER INSERT ON items BEGIN INSERT INTO seen VALUES ('+' || "
             "new.id); END;"
             "CREATE TRIGGER tu AFTER UPDATE ON items BEGIN INSERT INTO seen VALUES ('~' || "
             "new.id); END;"
             "CREATE TRIGGER td AFTER DELETE ON items BEGIN INSERT INTO seen VALUES ('-' || "
             "old.id); END");
    say_refetch(&k, "h2", ITEMS);
    say_item(&k, 0, "insert", 1, "one", 10);
    say_item(&k, 0, "insert", 2, "zwei", 20);
    say_item(&k, 0, "insert", 4, "four", 40);
    say_end(&k, 0, 200);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT x FROM seen ORDER BY x", "+4,-3,~2");
    kit_done(&k, r);
}

static void test_users_index_trigger_and_view_survive_new_columns(void **state)
{
    struct kit k;
    struct replica *r = fetched(&k);

    (void)state;
    tell(&k,
         "CREATE INDEX by_name ON items(name); CREATE INDEX by_qty ON items(qty);"
         "CREATE TABLE fts(id, name);"
         "CREATE TRIGGER ti AFTER INSERT ON items BEGIN INSERT INTO fts VALUES (new.id, new.name); "
         "END;"
         "CREATE TRIGGER td AFTER DELETE ON items BEGIN DELETE FROM fts WHERE id = old.id; END;"
         "CREATE TRIGGER tq AFTER UPDATE ON items BEGIN INSERT INTO fts VALUES (new.qty, ''); END;"
         "CREATE VIEW names AS SELECT name FROM items;"
         "INSERT INTO fts SELECT id, name FROM items");
    say_refetch(&k, "h2",
                "{\"id\":{\"type\":\"int8\",\"pk_index\":0},\"name\":{\"type\":\"text\"},"
                "\"price\":{\"type\":\"numeric\"}}");
    say(&k, 0, "insert", "{\"id\":\"5\",\"name\":\"five\",\"price\":\"1.10\"}");
    say_end(&k, 0, 200);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT id || name || price FROM items", "5five1.10");
    assert_answer(&k,
                  "SELECT name FROM sqlite_schema WHERE tbl_name = 'items' AND type <> 'table' "
                  "ORDER BY name",
                  "by_name,td,ti");
    assert_answer(&k, "SELECT name FROM names", "five");
    assert_answer(&k, "SELECT id || name FROM fts", "5five");
    say(&k, 0, "update", "{\"id\":\"5\",\"price\":\"2.00\"}");
    say_commit(&k, 300);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT price FROM items", "2.00");
    kit_done(&k, r);
}

static void test_a_unique_index_lets_values_swap_and_is_unique_again(void **state)
{
    struct kit k;
    struct replica *r = fetched(&k);

    (void)state;
    tell(&k, "CREATE UNIQUE INDEX u ON items(qty)");
    say(&k, 0, "update", "{\"id\":\"1\",\"qty\":\"20\"}");
    say(&k, 0, "update", "{\"id\":\"2\",\"qty\":\"10\"}");
    say_commit(&k, 200);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT id || ':' || qty FROM items ORDER BY id", "1:20,2:10,3:30");
    assert_answer(&k, "SELECT sql FROM sqlite_schema WHERE name = 'u'",
                  "CREATE UNIQUE INDEX u ON items(qty)");
    say_refetch(&k, "h2", ITEMS);
    say_item(&k, 0, "insert", 1, "one", 10);
    say_item(&k, 0, "insert", 2, "two", 20);
    say_item(&k, 0, "insert", 3, "three", 30);
    say_end(&k, 0, 300);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT id || ':' || qty FROM items ORDER BY id", "1:10,2:20,3:30");
    assert_answer(&k, "SELECT sql FROM sqlite_schema WHERE name = 'u'",
                  "CREATE UNIQUE INDEX u ON items(qty)");
    /* Rows that Postgres has and the index forbids: the rows win. */
    say(&k, 0, "update", "{\"id\":\"1\",\"qty\":\"20\"}");
    say_commit(&k, 400);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT id || ':' || qty FROM items ORDER BY id", "1:20,2:20,3:30");
    assert_answer(&k, "SELECT sql FROM sqlite_schema WHERE name = 'u'",
                  "CREATE INDEX u ON items(qty)");
    kit_done(&k, r);
}

static void test_a_changed_definition_fetches_again_behind_the_old_rows(void **state)
{
    struct kit k;
    struct replica *r = fetched(&k);

    (void)state;
    replica_close(r);
    r = kit_open(&k, "items where qty > 15", NULL);
    assert_null(strstr(kit_request(&k, r), "handle"));
    assert_answer(&k, NAMES, "1one,2two,3three");
    say_open(&k, 0, "h2", ITEMS, true);
    say_item(&k, 0, "insert", 2, "two", 20);
    kit_feed(&k, r);
    assert_answer(&k, NAMES, "1one,2two,3three");
    say_end(&k, 0, 200);
    kit_feed(&k, r);
    assert_answer(&k, NAMES, "2two");
    kit_done(&k, r);
}

static void test_a_refetch_cut_short_begins_anew(void **state)
{
    struct kit k;
    struct replica *r = fetched(&k);

    (void)state;
    say_refetch(&k, "h2", ITEMS);
    say_item(&k, 0, "insert", 7, "half", 7);
    kit_feed(&k, r);
    replica_close(r);
    r = kit_open(&k, "items", NULL);
    assert_null(strstr(kit_request(&k, r), "handle"));
    say_open(&k, 0, "h3", ITEMS, true);
    say_item(&k, 0, "insert", 8, "whole", 8);
    say_end(&k, 0, 300);
    kit_feed(&k, r);
    assert_answer(&k, NAMES, "8whole");
    kit_done(&k, r);
}

static void test_a_first_fetch_cut_short_begins_anew(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", NULL);
    say_open(&k, 0, "h1", ITEMS, true);
    for (int i = 0; i < 45000; i++)
        say_item(&k, 0, "insert", i, "gone", i);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT count(*) FROM items", "40000");
    replica_close(r);
    r = kit_open(&k, "items", NULL);
    kit_request(&k, r);
    say_open(&k, 0, "h2", ITEMS, true);
    say_item(&k, 0, "insert", 7, "new", 7);
    say_end(&k, 0, 100);
    kit_feed(&k, r);
    assert_answer(&k, NAMES, "7new");
    kit_done(&k, r);
}

static void test_the_key_itself_can_change(void **state)
{
    struct kit k;
    struct replica *r = fetched(&k);

    (void)state;
    say_refetch(&k, "h2",
                "{\"id\":{\"type\":\"int8\"},\"name\":{\"type\":\"text\",\"pk_index\":0},"
                "\"qty\":{\"type\":\"int4\"}}");
    say_item(&k, 0, "insert", 1, "one", 10);
    say_item(&k, 0, "insert", 1, "uno", 10);
    say_snapshot_end(&k, 0);
    say(&k, 0, "delete", "{\"name\":\"one\"}");
    say_commit(&k, 200);
    kit_feed(&k, r);
    assert_answer(&k, NAMES, "1uno");
    assert_answer(&k, "SELECT name FROM pragma_table_info('items') WHERE pk = 1", "name");
    kit_done(&k, r);
}

static void test_a_schema_that_differs_at_resume_fetches_again(void **state)
{
    struct kit k;
    struct replica *r = fetched(&k);

    (void)state;
    kit_request(&k, r);
    say_open(&k, 0, "h1", "{\"id\":{\"type\":\"int8\",\"pk_index\":0}}", false);
    assert_false(kit_try(&k, r, 1000));
    assert_int_equal(k.err.code, ERR_CHANGED);
    assert_null(strstr(kit_request(&k, r), "handle"));
    assert_answer(&k, NAMES, "1one,2two,3three");
    kit_done(&k, r);
}

struct watch {
    struct kit *k;
    atomic_bool stop;
    atomic_int looks, empty, mixed;
};

/* Every state of the table that a reader can see is one whole generation of 500 rows. */
static void *look(void *arg)
{
    struct watch *w = arg;
    sqlite3 *db;

    sqlite3_open(w->k->path, &db);
    sqlite3_busy_timeout(db, 5000);
    while (!atomic_load(&w->stop)) {
        sqlite3_stmt *stmt = NULL;

        if (sqlite3_prepare_v2(db, "SELECT count(*), count(DISTINCT qty) FROM items", -1, &stmt,
                               NULL) == SQLITE_OK &&
            sqlite3_step(stmt) == SQLITE_ROW) {
            atomic_fetch_add(&w->looks, 1);
            if (sqlite3_column_int(stmt, 0) != 500)
                atomic_fetch_add(&w->empty, 1);
            if (sqlite3_column_int(stmt, 1) != 1)
                atomic_fetch_add(&w->mixed, 1);
        }
        sqlite3_finalize(stmt);
    }
    sqlite3_close(db);
    return NULL;
}

static void say_generation(struct kit *k, int generation)
{
    for (int i = 0; i < 500; i++)
        say_item(k, 0, "insert", generation % 3 + i, "x", generation);
    say_snapshot_end(k, 0);
    say_commit(k, 100 + (uint64_t)generation);
}

static void test_a_reader_never_sees_the_table_empty_or_mixed(void **state)
{
    struct kit k;
    struct watch w = {.k = &k};
    pthread_t thread;

    (void)state;
    struct replica *r = kit_begin(&k, "items", NULL);
    say_open(&k, 0, "h0", ITEMS, true);
    say_generation(&k, 0);
    kit_feed(&k, r);
    assert_int_equal(pthread_create(&thread, NULL, look, &w), 0);
    for (int generation = 1; generation <= 60 || atomic_load(&w.looks) < 50; generation++) {
        const char *schema = generation % 5 ? ITEMS
                                            : "{\"id\":{\"type\":\"int4\",\"pk_index\":0},\"name\":"
                                              "{\"type\":\"text\"},\"qty\":{\"type\":\"int4\"}}";

        say_refetch(&k, "h", schema);
        say_generation(&k, generation);
        if (!kit_try(&k, r, 5000))
            fail_msg("%s", k.err.msg);
    }
    atomic_store(&w.stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&w.empty), 0);
    assert_int_equal(atomic_load(&w.mixed), 0);
    kit_done(&k, r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_old_rows_stay_until_the_new_ones_are_complete),
        cmocka_unit_test(test_only_differences_are_written),
        cmocka_unit_test(test_users_index_trigger_and_view_survive_new_columns),
        cmocka_unit_test(test_a_unique_index_lets_values_swap_and_is_unique_again),
        cmocka_unit_test(test_a_changed_definition_fetches_again_behind_the_old_rows),
        cmocka_unit_test(test_a_refetch_cut_short_begins_anew),
        cmocka_unit_test(test_a_first_fetch_cut_short_begins_anew),
        cmocka_unit_test(test_the_key_itself_can_change),
        cmocka_unit_test(test_a_schema_that_differs_at_resume_fetches_again),
        cmocka_unit_test(test_a_reader_never_sees_the_table_empty_or_mixed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
