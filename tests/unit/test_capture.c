/* Capture: what is refused, what changes of the schema are seen and repaired, what the outbox says.
 */
#include "replica_kit.h"

#include "replica/capture.h"
#include "replica/outbox.h"
#include "replica/state.h"

#include <math.h>

struct file {
    struct lite_db db;
    struct err err;
};

static void open_file(struct file *f, const char *ddl)
{
    struct lite_state state;

    memset(f, 0, sizeof(*f));
    assert_true(lite_db_open(&f->db, ":memory:", &f->err));
    assert_true(lite_state_open(&f->db, &state, &f->err));
    if (sqlite3_exec(f->db.db, ddl, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(f->db.db));
}

static void captured(struct file *f, const char *ddl)
{
    open_file(f, ddl);
    if (!lite_capture_install(&f->db, "t", &f->err))
        fail_msg("%s", f->err.msg);
}

static void sql(struct file *f, const char *text)
{
    if (sqlite3_exec(f->db.db, text, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", text, sqlite3_errmsg(f->db.db));
}

static const char *say_value(const struct lite_value *v, char *out, size_t size)
{
    switch (v->storage) {
    case LITE_NULL:
        snprintf(out, size, "null");
        break;
    case LITE_INTEGER:
        snprintf(out, size, "%" PRId64, v->integer);
        break;
    case LITE_REAL:
        snprintf(out, size, "%a", v->real);
        break;
    default:
        snprintf(out, size, "'%.*s'", SLICE_ARG(v->bytes));
        break;
    }
    return out;
}

/* The outbox in words: "put t(1,'a') update t(1,'a'>'b') delete t(1,'b')", "|" where the mark
 * changes. */
static const char *outbox_of(struct file *f)
{
    static const char *const ops[] = {"put", "update", "delete"};
    static char out[4096];
    struct lite_mutation m;
    size_t n = 0;
    int64_t mark = -1;
    struct lite_outbox *outbox = lite_outbox_open(&f->db, 0, &f->err);

    assert_non_null(outbox);
    out[0] = '\0';
    for (;;) {
        if (!lite_outbox_next(outbox, &m, &f->err))
            fail_msg("%s", f->err.msg);
        if (!m.table)
            break;
        n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%s%s %s(", n ? " " : "",
                              mark >= 0 && m.mark != mark ? "| " : "", ops[m.op], m.table);
        mark = m.mark;
        for (size_t i = 0; i < m.ncolumns; i++) {
            char before[80], after[80];
            const struct lite_value *v = m.after ? m.after : m.before;

            n += (size_t)snprintf(out + n, sizeof(out) - n, i ? "," : "");
            if (m.op == LITE_UPDATE && m.changed[i])
                n += (size_t)snprintf(out + n, sizeof(out) - n, "%s>%s",
                                      say_value(&m.before[i], before, sizeof(before)),
                                      say_value(&m.after[i], after, sizeof(after)));
            else
                n += (size_t)snprintf(out + n, sizeof(out) - n, "%s",
                                      say_value(&v[i], after, sizeof(after)));
        }
        n += (size_t)snprintf(out + n, sizeof(out) - n, ")");
    }
    lite_outbox_close(outbox);
    return out;
}

static void forget(struct file *f)
{
    assert_true(lite_outbox_forget(&f->db, 1 << 30, &f->err));
}

static void close_file(struct file *f)
{
    lite_db_close(&f->db);
}

/* ---- what the outbox says ---- */

static void test_each_statement_says_what_it_did(void **state)
{
    struct file f;

    (void)state;
    captured(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY, e UNIQUE, v)");
    sql(&f, "INSERT INTO t VALUES (1, 'a', 10), (2, 'b', 20)");
    assert_string_equal(outbox_of(&f), "put t(1,'a',10) put t(2,'b',20)");
    forget(&f);
    sql(&f, "UPDATE t SET v = v + 1 WHERE id = 1; UPDATE t SET v = v");
    assert_string_equal(outbox_of(&f), "update t(1,'a',10>11)");
    forget(&f);
    sql(&f, "INSERT OR REPLACE INTO t VALUES (1, 'b', 12)");
    assert_string_equal(outbox_of(&f), "delete t(2,'b',20) update t(1,'a'>'b',11>12)");
    forget(&f);
    sql(&f, "INSERT INTO t VALUES (1, 'z', 0) ON CONFLICT (id) DO UPDATE SET e = excluded.e");
    sql(&f, "INSERT OR IGNORE INTO t VALUES (1, 'y', 0); UPDATE t SET id = 7; DELETE FROM t");
    assert_string_equal(outbox_of(&f), "update t(1,'b'>'z',12) update t(1>7,'z',12) "
                                       "delete t(7,'z',12)");
    close_file(&f);
}

static void test_each_write_has_a_name_of_its_own(void **state)
{
    struct file f;
    int64_t names;

    (void)state;
    captured(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY, e UNIQUE)");
    sql(&f, "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3); UPDATE t SET e = e + 10;"
            "REPLACE INTO t VALUES (9, 11); DELETE FROM t");
    assert_true(lite_db_int(&f.db, 0, &names, &f.err,
                            "SELECT count(DISTINCT nonce) FROM _tombolo_outbox WHERE "
                            "typeof(nonce) = 'integer'"));
    assert_int_equal(names, 3 + 3 + 2 + 3);
    close_file(&f);
}

static void test_conflict_clauses_do_not_reach_into_the_outbox(void **state)
{
    struct file f;

    (void)state;
    captured(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    sql(&f, "INSERT OR IGNORE INTO t VALUES (1, 'a'); INSERT OR IGNORE INTO t VALUES (2, 'a');"
            "UPDATE OR REPLACE t SET v = 'b'");
    assert_string_equal(outbox_of(&f),
                        "put t(1,'a') put t(2,'a') update t(1,'a'>'b') update t(2,'a'>'b')");
    close_file(&f);
}

static void test_values_are_exact(void **state)
{
    struct file f;
    struct lite_mutation m;

    (void)state;
    captured(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b, c, d, e, g AS (a), f)");
    sql(&f, "INSERT INTO t(id, a, b, c, d, e, f) VALUES (9223372036854775807, 0.1 + 0.2, 9e999,"
            " -0.0, 'x' || char(0) || 'y', x'00ff', 5e-324)");
    struct lite_outbox *outbox = lite_outbox_open(&f.db, 0, &f.err);
    assert_true(lite_outbox_next(outbox, &m, &f.err) && m.table);
    assert_int_equal(m.ncolumns, 7);
    assert_true(m.after[0].integer == INT64_MAX);
    assert_true(m.after[1].storage == LITE_REAL && m.after[1].real == 0.1 + 0.2);
    assert_true(isinf(m.after[2].real));
    assert_true(m.after[3].storage == LITE_REAL && signbit(m.after[3].real));
    assert_true(m.after[4].storage == LITE_TEXT &&
                slice_eq(m.after[4].bytes, (struct slice){"x\0y", 3}));
    assert_true(m.after[5].storage == LITE_BLOB &&
                slice_eq(m.after[5].bytes, (struct slice){"\0\xff", 2}));
    assert_true(m.after[6].real == 5e-324);
    lite_outbox_close(outbox);
    close_file(&f);
}

static void test_marks_part_local_transactions(void **state)
{
    struct file f;

    (void)state;
    captured(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY)");
    sql(&f, "INSERT INTO t VALUES (1);"
            "BEGIN; INSERT INTO _tombolo_tx DEFAULT VALUES; INSERT INTO t VALUES (2), (3); COMMIT;"
            "BEGIN; INSERT INTO _tombolo_tx DEFAULT VALUES; INSERT INTO t VALUES (4);"
            "DELETE FROM _tombolo_tx; COMMIT; INSERT INTO t VALUES (5)");
    assert_string_equal(outbox_of(&f), "put t(1) | put t(2) put t(3) | put t(4) | put t(5)");
    close_file(&f);
}

static void test_what_is_forgotten_frees_no_number(void **state)
{
    struct file f;
    int64_t seq;

    (void)state;
    captured(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY)");
    /* AUTOINCREMENT would not notice the first two: the statement ends by FAIL. */
    assert_int_equal(
        sqlite3_exec(f.db.db, "INSERT OR FAIL INTO t VALUES (1), (2), (1)", NULL, NULL, NULL),
        SQLITE_CONSTRAINT_PRIMARYKEY);
    assert_true(lite_outbox_forget(&f.db, 2, &f.err));
    assert_string_equal(outbox_of(&f), "");
    assert_true(lite_outbox_forget(&f.db, 2, &f.err));
    sql(&f, "INSERT INTO t VALUES (3)");
    assert_string_equal(outbox_of(&f), "put t(3)");
    assert_true(lite_db_int(&f.db, 0, &seq, &f.err, "SELECT max(seq) FROM _tombolo_outbox"));
    assert_int_equal(seq, 3);
    assert_true(lite_outbox_forget(&f.db, 2, &f.err));
    assert_string_equal(outbox_of(&f), "put t(3)");
    close_file(&f);
}

static void test_a_connection_that_trusts_nothing_can_write(void **state)
{
    struct kit k;
    struct lite_db db;
    struct lite_state unused;

    (void)state;
    kit_init(&k);
    assert_true(lite_db_open(&db, k.path, &k.err) && lite_state_open(&db, &unused, &k.err));
    assert_true(lite_db_exec(&db, &k.err,
                             "CREATE TABLE t(id INTEGER PRIMARY KEY, e UNIQUE);"
                             "CREATE UNIQUE INDEX te ON t(lower(e))"));
    assert_true(lite_capture_install(&db, "t", &k.err));
    sqlite3 *other = kit_reader(&k);
    sqlite3_db_config(other, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(other, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    assert_int_equal(sqlite3_exec(other,
                                  "INSERT INTO t VALUES (1, 'a'); REPLACE INTO t VALUES (2, 'A');"
                                  "UPDATE t SET id = 3; DELETE FROM t",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_string_equal(ask_of(other, "SELECT op FROM _tombolo_outbox"), "I,D,I,U,D");
    sqlite3_close(other);
    lite_db_close(&db);
    kit_release(&k);
}

static void test_our_own_transactions_are_not_captured(void **state)
{
    struct file f;

    (void)state;
    captured(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    assert_true(lite_db_begin(&f.db, &f.err));
    sql(&f, "INSERT INTO t VALUES (1, 'ours')");
    assert_true(lite_db_commit(&f.db, &f.err));
    sql(&f, "INSERT INTO t VALUES (2, 'theirs')");
    assert_true(lite_db_begin(&f.db, &f.err));
    sql(&f, "DELETE FROM t");
    lite_db_rollback(&f.db);
    sql(&f, "DELETE FROM t WHERE id = 1");
    assert_string_equal(outbox_of(&f), "put t(2,'theirs') delete t(1,'ours')");
    close_file(&f);
}

static void test_a_row_that_was_in_the_way_and_left_by_us_is_not_told(void **state)
{
    struct file f;

    (void)state;
    captured(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY, e UNIQUE)");
    sql(&f, "INSERT INTO t VALUES (1, 'a')");
    forget(&f);
    sql(&f, "INSERT OR IGNORE INTO t VALUES (2, 'a')");
    assert_true(lite_db_begin(&f.db, &f.err));
    sql(&f, "DELETE FROM t WHERE id = 1");
    assert_true(lite_db_commit(&f.db, &f.err));
    sql(&f, "INSERT INTO t VALUES (3, 'c')");
    assert_string_equal(outbox_of(&f), "put t(3,'c')");
    close_file(&f);
}

static void test_two_tables_of_different_width_share_the_outbox(void **state)
{
    struct file f;

    (void)state;
    captured(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE wide(a, b, c, d, e,"
                 " PRIMARY KEY (b, a)) WITHOUT ROWID");
    sql(&f, "INSERT INTO t VALUES (1)");
    assert_true(lite_capture_install(&f.db, "WIDE", &f.err));
    sql(&f, "INSERT INTO wide VALUES (1, 2, 3, 4, 5); DELETE FROM t; UPDATE wide SET e = 6");
    assert_string_equal(outbox_of(&f),
                        "put t(1) put wide(1,2,3,4,5) delete t(1) update wide(1,2,3,4,5>6)");
    close_file(&f);
}

/* ---- what is refused ---- */

static void test_what_cannot_be_captured_is_refused_with_the_reason(void **state)
{
    static const struct {
        const char *ddl, *table, *why;
    } cases[] = {
        {"", "t", "there is none"},
        {"CREATE VIEW t AS SELECT 1 AS id", "t", "it is a view"},
        {"CREATE VIRTUAL TABLE t USING fts5(x)", "t", "virtual table"},
        {"CREATE VIRTUAL TABLE t USING fts5(x)", "t_data", "virtual table"},
        {"CREATE TABLE t(a, b)", "t", "no primary key"},
        {"CREATE TABLE t(a UNIQUE)", "t", "no primary key"},
        {"CREATE TABLE new(id INTEGER PRIMARY KEY)", "new", "have that name"},
        {"CREATE TABLE t(id TEXT PRIMARY KEY); INSERT INTO t VALUES (NULL)", "t",
         "rows without a value in their key \"id\""},
        {"", "_tombolo_state", "not a table of the user's"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct file f;
        int64_t made;

        open_file(&f, cases[i].ddl);
        assert_false(lite_capture_install(&f.db, cases[i].table, &f.err));
        assert_int_equal(f.err.code, ERR_INPUT);
        if (!strstr(f.err.msg, cases[i].why))
            fail_msg("%s", f.err.msg);
        assert_true(lite_db_int(&f.db, 0, &made, &f.err,
                                "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'"));
        assert_int_equal(made, 0);
        sql(&f, "CREATE TABLE other(id INTEGER PRIMARY KEY)");
        assert_true(lite_capture_install(&f.db, "other", &f.err));
        close_file(&f);
    }
}

static void user_function(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n;
    sqlite3_result_value(context, values[0]);
}

static void test_an_index_that_would_break_writes_elsewhere_is_refused(void **state)
{
    struct file f;

    (void)state;
    open_file(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY, e)");
    sqlite3_create_function(f.db.db, "mine", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
                            user_function, NULL, NULL);
    sql(&f, "CREATE UNIQUE INDEX te ON t(mine(e))");
    assert_false(lite_capture_install(&f.db, "t", &f.err));
    assert_int_equal(f.err.code, ERR_INPUT);
    assert_non_null(strstr(f.err.msg, "unsafe use of mine()"));
    sql(&f, "DROP INDEX te");
    assert_true(lite_capture_install(&f.db, "t", &f.err));
    close_file(&f);
}

static void test_a_row_without_key_is_refused_when_it_is_written(void **state)
{
    struct file f;

    (void)state;
    captured(&f, "CREATE TABLE t(id TEXT PRIMARY KEY)");
    assert_int_equal(
        sqlite3_exec(f.db.db, "INSERT OR IGNORE INTO t VALUES (NULL)", NULL, NULL, NULL) & 0xff,
        SQLITE_CONSTRAINT);
    assert_string_equal(sqlite3_errmsg(f.db.db),
                        "a row of a synced table must have its primary key");
    assert_string_equal(outbox_of(&f), "");
    close_file(&f);
}

/* ---- changes of the schema ---- */

static struct lite_capture look(struct file *f)
{
    static struct arena arena;
    struct lite_capture *captures;
    size_t n;

    arena_reset(&arena);
    if (!lite_capture_verify(&f->db, &arena, &captures, &n, &f->err))
        fail_msg("%s", f->err.msg);
    assert_int_equal(n, 1);
    return captures[0];
}

static void test_changes_of_the_schema_are_seen_and_repaired(void **state)
{
    static const struct {
        const char *ddl;
        enum lite_capture_state seen;
        const char *what;
        bool gap;
    } cases[] = {
        {"CREATE TABLE other(x)", LITE_CAPTURE_INTACT, "", false},
        {"ALTER TABLE t ADD COLUMN more", LITE_CAPTURE_COLUMNS, "new columns: more", false},
        {"ALTER TABLE t RENAME COLUMN v TO w", LITE_CAPTURE_COLUMNS, "columns gone: v", true},
        {"CREATE UNIQUE INDEX tv ON t(v)", LITE_CAPTURE_INDEXES, "unique", true},
        {"CREATE INDEX tv ON t(v)", LITE_CAPTURE_INTACT, "", false},
        {"DROP TRIGGER _tombolo_capture_1_bu", LITE_CAPTURE_TRIGGERS, "_tombolo_capture_1_bu",
         true},
        {"DROP TRIGGER _tombolo_capture_1_ad; CREATE TRIGGER _tombolo_capture_1_ad AFTER DELETE"
         " ON t BEGIN SELECT 1; END",
         LITE_CAPTURE_TRIGGERS, "not as they were made", true},
        {"CREATE TABLE t2(id INTEGER PRIMARY KEY, e UNIQUE, v); INSERT INTO t2 SELECT * FROM t;"
         "DROP TABLE t; ALTER TABLE t2 RENAME TO t",
         LITE_CAPTURE_REBUILT, "made anew", true},
        {"CREATE TRIGGER mine AFTER UPDATE ON t BEGIN SELECT 1; END", LITE_CAPTURE_ORDER,
         "\"mine\" was made later", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct file f;
        bool moved;

        captured(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY, e UNIQUE, v)");
        assert_int_equal(look(&f).state, LITE_CAPTURE_INTACT);
        assert_true(lite_capture_moved(&f.db, &moved, &f.err) && !moved);
        sql(&f, cases[i].ddl);
        assert_true(lite_capture_moved(&f.db, &moved, &f.err) && moved);
        struct lite_capture c = look(&f);
        if (c.state != cases[i].seen || !strstr(c.what, cases[i].what) || c.gap != cases[i].gap)
            fail_msg("%s: %d %s", cases[i].ddl, (int)c.state, c.what);
        if (!lite_capture_repair(&f.db, &c, &f.err))
            fail_msg("%s", f.err.msg);
        assert_int_equal(look(&f).state, LITE_CAPTURE_INTACT);
        assert_true(lite_capture_moved(&f.db, &moved, &f.err) && !moved);
        sql(&f, "REPLACE INTO t(id, e) VALUES (1, 'a'); REPLACE INTO t(id, e) VALUES (2, 'a')");
        assert_non_null(strstr(outbox_of(&f), "delete t(1,'a',null"));
        close_file(&f);
    }
}

static void test_a_table_that_is_gone_or_renamed_is_no_longer_captured(void **state)
{
    static const char *const ddl[] = {"DROP TABLE t", "ALTER TABLE t RENAME TO u"};
    static const enum lite_capture_state seen[] = {LITE_CAPTURE_GONE, LITE_CAPTURE_RENAMED};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct arena arena = {0};
        struct lite_capture *captures;
        struct file f;
        int64_t n;
        size_t left;

        captured(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY)");
        sql(&f, "INSERT INTO t VALUES (1)");
        sql(&f, ddl[i]);
        struct lite_capture c = look(&f);
        assert_int_equal(c.state, seen[i]);
        assert_true(lite_capture_repair(&f.db, &c, &f.err));
        assert_true(lite_capture_verify(&f.db, &arena, &captures, &left, &f.err));
        assert_int_equal(left, 0);
        assert_true(lite_db_int(&f.db, 0, &n, &f.err,
                                "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'"));
        assert_int_equal(n, 0);
        assert_string_equal(outbox_of(&f), "put t(1)");
        arena_release(&arena);
        close_file(&f);
    }
}

static void test_rows_from_before_a_change_keep_their_columns(void **state)
{
    struct file f;

    (void)state;
    captured(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    sql(&f, "INSERT INTO t VALUES (1, 'a'); ALTER TABLE t ADD COLUMN w");
    struct lite_capture c = look(&f);
    assert_true(lite_capture_repair(&f.db, &c, &f.err));
    sql(&f, "UPDATE t SET w = 'b'");
    assert_string_equal(outbox_of(&f), "put t(1,'a') update t(1,'a',null>'b')");
    forget(&f);
    int64_t layouts;
    assert_true(lite_db_int(&f.db, 0, &layouts, &f.err, "SELECT count(*) FROM _tombolo_layouts"));
    assert_int_equal(layouts, 1);
    close_file(&f);
}

/* ---- in a replica ---- */

static struct replica *syncing(struct kit *k)
{
    kit_init(k);
    struct replica *r = kit_open(k, "items", NULL);
    kit_request(k, r);
    say_open_writable(k, 0, "h1", ITEMS, true);
    say_item(k, 0, "insert", 1, "one", 10);
    say_end(k, 0, 100);
    kit_feed(k, r);
    replica_close(r);
    r = kit_open(k, "items", NULL);
    kit_request(k, r);
    return r;
}

#define OUTBOX "SELECT op || ifnull(v3, v0) FROM _tombolo_outbox"

static void test_what_the_stream_applies_is_not_captured(void **state)
{
    struct kit k;
    struct replica *r = syncing(&k);

    (void)state;
    say_open_writable(&k, 0, "h1", ITEMS, false);
    say_item(&k, 0, "insert", 2, "two", 20);
    say_item(&k, 0, "delete", 1, "one", 10);
    say_commit(&k, 200);
    kit_feed(&k, r);
    assert_answer(&k, OUTBOX, "");
    assert_answer(&k, "SELECT applying FROM _tombolo_state", "0");
    tell(&k, "INSERT INTO items VALUES (3, 'three', 30)");
    assert_answer(&k, OUTBOX, "I3");
    kit_done(&k, r);
}

static void test_a_table_fetched_again_with_other_columns_is_captured_again(void **state)
{
    static const char wider[] =
        "{\"id\":{\"type\":\"int8\",\"pk_index\":0,\"not_null\":true},"
        "\"name\":{\"type\":\"text\"},\"qty\":{\"type\":\"int4\"},\"more\":{\"type\":\"text\"}}";
    struct kit k;
    struct replica *r = syncing(&k);

    (void)state;
    buf_put_cstr(&k.stream, "{\"refetch\":{\"shape\":0,\"reason\":\"columns\"}}\n");
    say_open_writable(&k, 0, "h2", wider, true);
    say(&k, 0, "insert", "{\"id\":\"1\",\"name\":\"one\",\"qty\":\"1\",\"more\":\"x\"}");
    say_end(&k, 0, 200);
    kit_feed(&k, r);
    assert_answer(&k, OUTBOX, "");
    tell(&k, "UPDATE items SET more = 'y'");
    assert_answer(&k, "SELECT op || v3 || v7 FROM _tombolo_outbox", "Uxy");
    kit_done(&k, r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_statement_says_what_it_did),
        cmocka_unit_test(test_each_write_has_a_name_of_its_own),
        cmocka_unit_test(test_conflict_clauses_do_not_reach_into_the_outbox),
        cmocka_unit_test(test_values_are_exact),
        cmocka_unit_test(test_marks_part_local_transactions),
        cmocka_unit_test(test_what_is_forgotten_frees_no_number),
        cmocka_unit_test(test_a_connection_that_trusts_nothing_can_write),
        cmocka_unit_test(test_our_own_transactions_are_not_captured),
        cmocka_unit_test(test_a_row_that_was_in_the_way_and_left_by_us_is_not_told),
        cmocka_unit_test(test_two_tables_of_different_width_share_the_outbox),
        cmocka_unit_test(test_what_cannot_be_captured_is_refused_with_the_reason),
        cmocka_unit_test(test_an_index_that_would_break_writes_elsewhere_is_refused),
        cmocka_unit_test(test_a_row_without_key_is_refused_when_it_is_written),
        cmocka_unit_test(test_changes_of_the_schema_are_seen_and_repaired),
        cmocka_unit_test(test_a_table_that_is_gone_or_renamed_is_no_longer_captured),
        cmocka_unit_test(test_rows_from_before_a_change_keep_their_columns),
        cmocka_unit_test(test_what_the_stream_applies_is_not_captured),
        cmocka_unit_test(test_a_table_fetched_again_with_other_columns_is_captured_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
