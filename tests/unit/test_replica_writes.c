/* Local writes as requests, and what becomes of them: numbers, refusals, copies of the file. */
#include "replica_kit.h"

#include "replica/answer.h"
#include "replica/core.h"

#define REJECTED "SELECT code || ' ' || op || ' ' || \"key\" FROM _tombolo_rejected ORDER BY id"
#define ROWS                                                                                       \
    "SELECT id || ':' || ifnull(name, '-') || ':' || ifnull(qty, '-') FROM items ORDER BY id"

static struct replica *reopened(struct kit *k, struct replica *r)
{
    replica_close(r);
    r = kit_open(k, "items", NULL);
    kit_request(k, r);
    say_open_writable(k, 0, "h1", ITEMS, false);
    kit_feed(k, r);
    return r;
}

/* A table that may be written, with the rows 1, 2 and 3 at position 100. `ddl` is the user's. */
static struct replica *writing_with(struct kit *k, const char *ddl)
{
    kit_init(k);
    struct replica *r = kit_open(k, "items", NULL);
    kit_request(k, r);
    say_open(k, 0, "h1", ITEMS, true);
    for (int id = 1; id <= 3; id++)
        say_item(k, 0, "insert", id, "old", 10 * id);
    say_end(k, 0, 100);
    kit_feed(k, r);
    tell(k, ddl);
    r = reopened(k, r);
    say_commit(k, 101);
    kit_feed(k, r);
    return r;
}

static struct replica *writing(struct kit *k)
{
    return writing_with(k, "");
}

/* The transactions of the next request without their nonces; "" when there is none. */
static const char *request(struct kit *k, struct replica *r)
{
    static char out[8192];
    const char *p;
    size_t n = 0;
    bool any;

    if (!replica_write_request(r, &k->body, &any, &k->err))
        fail_msg("%s", k->err.msg);
    if (!any)
        return "";
    p = strstr(buf_cstr(&k->body), "\"transactions\":");
    for (p = p ? p + 15 : k->body.ptr; *p && n < sizeof(out) - 1;) {
        if (strncmp(p, "\"nonce\":\"", 9) == 0) {
            p = strchr(p + 9, '"') + 1;
            p += *p == ',';
            n -= out[n - 1] == ',' && *p == '}';
            continue;
        }
        out[n++] = *p++;
    }
    out[n] = '\0';
    return out;
}

static enum replica_write_verdict answered(struct kit *k, struct replica *r, long status,
                                           const char *answer)
{
    enum replica_write_verdict verdict;

    if (!replica_write_answer(r, status, slice_of(answer), &verdict, &k->err))
        fail_msg("%s", k->err.msg);
    return verdict;
}

/* The nonce of a numbered write. */
static const char *nonce_of(struct kit *k, int id)
{
    static char sql[80];

    snprintf(sql, sizeof(sql), "SELECT nonce FROM _tombolo_writes WHERE id = %d", id);
    return ask(k, sql);
}

static void say_ack(struct kit *k, int last, const char *nonce, const char *rejected)
{
    buf_printf(&k->stream, "{\"ack\":{\"last\":%d,\"nonce\":\"%s\",\"rejected\":[%s]}}\n", last,
               nonce, rejected);
}

#define REFUSED(id, mutation)                                                                      \
    "{\"id\":" #id ",\"mutation\":" #mutation                                                      \
    ",\"code\":\"conflict\",\"sqlstate\":\"23505\",\"message\":\"no\"}"

/* Also by a process that does not know yet why. */
static void test_writes_to_a_table_that_is_gone_wait_with_those_behind_them(void **state)
{
    static const char gone[] =
        "{\"message\":\"no\",\"errors\":{\"shapes[0].table\":[\"it is not\"]}}";
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    kit_request(&k, r);
    assert_false(lite_answer_unsynced(r, 400, SLICE(gone), &k.err));
    tell(&k, "DELETE FROM items WHERE id = 1");
    assert_string_equal(request(&k, r), "");
    replica_close(r);
    r = kit_open(&k, "items", NULL);
    kit_request(&k, r);
    assert_string_equal(request(&k, r), "");
    say_open_writable(&k, 0, "h1", ITEMS, false);
    say_commit(&k, 110);
    kit_feed(&k, r);
    assert_non_null(strstr(request(&k, r), "delete"));
    kit_done(&k, r);
}

static void test_mutations_say_what_changed_and_inserts_leave_nulls_to_postgres(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell(&k, "INSERT INTO items VALUES (4, 'it''s \"4\"', NULL);"
             "UPDATE items SET qty = NULL WHERE id = 2; UPDATE items SET id = 7 WHERE id = 3;"
             "DELETE FROM items WHERE id = 1");
    assert_string_equal(request(&k, r),
                        "[{\"id\":1,\"marked\":false,\"mutations\":["
                        "{\"table\":\"public.items\",\"op\":\"insert\",\"key\":{\"id\":\"4\"},"
                        "\"values\":{\"id\":\"4\",\"name\":\"it's \\\"4\\\"\"}},"
                        "{\"table\":\"public.items\",\"op\":\"update\",\"key\":{\"id\":\"2\"},"
                        "\"values\":{\"qty\":null},\"base\":{\"qty\":\"20\"}},"
                        "{\"table\":\"public.items\",\"op\":\"update\",\"key\":{\"id\":\"3\"},"
                        "\"values\":{\"id\":\"7\"},\"base\":{\"id\":\"3\"}},"
                        "{\"table\":\"public.items\",\"op\":\"delete\",\"key\":{\"id\":\"1\"},"
                        "\"base\":{\"id\":\"1\",\"name\":\"old\",\"qty\":\"10\"}}]}]}");
    kit_done(&k, r);
}

static void test_a_request_is_the_same_after_a_crash_until_it_is_decided(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);
    char *first;

    (void)state;
    tell(&k, "UPDATE items SET qty = 1");
    request(&k, r);
    first = xstrdup(buf_cstr(&k.body));
    r = reopened(&k, r);
    request(&k, r);
    assert_string_equal(buf_cstr(&k.body), first);
    assert_int_equal(answered(&k, r, 200, "{\"last\":1,\"results\":[]}"), REPLICA_WRITE_SENT);
    assert_string_equal(request(&k, r), "");
    tell(&k, "UPDATE items SET qty = 2 WHERE id = 1");
    assert_non_null(strstr(request(&k, r), "{\"id\":2,"));
    assert_non_null(strstr(buf_cstr(&k.body), "\"after\":\""));
    free(first);
    kit_done(&k, r);
}

/* The bridge may have decided it, and forgotten that. */
static void test_a_bridge_that_knows_of_no_write_does_not_vouch_for_one_that_waits(void **state)
{
    static const char contact[] = "SELECT contact FROM _tombolo_state";
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell(&k, "UPDATE _tombolo_state SET contact = 5");
    r = reopened(&k, r);
    tell(&k, "UPDATE items SET qty = 1 WHERE id = 1");
    request(&k, r);
    say_ack(&k, 0, "", "");
    say_commit(&k, 102);
    kit_feed(&k, r);
    assert_answer(&k, contact, "5");
    request(&k, r);
    assert_non_null(strstr(buf_cstr(&k.body), "\"contact\":\"5\""));
    say_ack(&k, 1, nonce_of(&k, 1), "");
    say_commit(&k, 103);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT contact > 5 FROM _tombolo_state", "1");
    tell(&k, "UPDATE _tombolo_state SET contact = 5");
    r = reopened(&k, r);
    say_ack(&k, 0, "", "");
    say_commit(&k, 104);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT contact > 5 FROM _tombolo_state", "1");
    kit_done(&k, r);
}

static void test_marked_transactions_stay_whole_and_others_are_cut(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell(&k, "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 1009)"
             " INSERT INTO items SELECT i, 'x', i FROM n;"
             "BEGIN; INSERT INTO _tombolo_tx DEFAULT VALUES; UPDATE items SET qty = 0 WHERE id > 9;"
             "DELETE FROM _tombolo_tx; COMMIT; DELETE FROM items WHERE id = 1");
    request(&k, r);
    request(&k, r); /* 2000 are numbered at a time, so that no other program waits for long */
    assert_answer(&k,
                  "SELECT id || ':' || marked || ':' || (SELECT count(*) FROM _tombolo_pending p "
                  "WHERE p.id = w.id) FROM _tombolo_writes w ORDER BY id",
                  "1:0:500,2:0:500,3:1:1000,4:0:1");
    kit_done(&k, r);
}

static void test_a_write_stays_to_be_seen_until_its_own_acknowledgement(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);
    char nonce[64];

    (void)state;
    tell(&k, "UPDATE items SET name = 'mine' WHERE id = 1; DELETE FROM items WHERE id = 2");
    request(&k, r);
    strcpy(nonce, nonce_of(&k, 1));
    say(&k, 0, "update", "{\"id\":\"1\",\"name\":\"theirs\",\"qty\":\"11\"}");
    say(&k, 0, "update", "{\"id\":\"2\",\"qty\":\"21\"}");
    say_commit(&k, 200);
    kit_feed(&k, r);
    assert_answer(&k, ROWS, "1:mine:11,3:old:30");
    say_ack(&k, 1, nonce, REFUSED(1, 1));
    say(&k, 0, "update", "{\"id\":\"1\",\"name\":\"merged\"}");
    kit_feed(&k, r);
    assert_answer(&k, ROWS, "1:mine:11,3:old:30"); /* not before the commit line */
    say_commit(&k, 300);
    kit_feed(&k, r);
    assert_answer(&k, ROWS, "1:merged:11,2:old:21,3:old:30");
    assert_answer(&k, REJECTED, "conflict D {\"id\":\"2\"}");
    assert_answer(&k, "SELECT count(*) FROM _tombolo_base", "0");
    kit_done(&k, r);
}

static void test_an_acknowledgement_said_again_changes_nothing(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);
    char nonce[64];

    (void)state;
    tell(&k, "UPDATE items SET qty = 1 WHERE id = 1");
    request(&k, r);
    strcpy(nonce, nonce_of(&k, 1));
    for (uint64_t lsn = 200; lsn <= 400; lsn += 100) {
        say_ack(&k, 1, nonce, REFUSED(1, -1));
        say_commit(&k, lsn);
        kit_feed(&k, r);
        r = reopened(&k, r);
    }
    assert_answer(&k, REJECTED, "conflict U {\"id\":\"1\"}");
    assert_answer(&k, ROWS, "1:old:10,2:old:20,3:old:30");
    kit_done(&k, r);
}

static void test_a_shape_by_name_is_asked_for_by_it_and_written_to_by_its_table(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    struct replica *r = kit_open(&k, "@items", NULL);
    assert_string_equal(kit_request(&k, r),
                        "{\"shapes\":[{\"shape\":\"items\"}],\"live\":true,\"writes\":true}");
    buf_printf(&k.stream,
               "{\"open\":{\"shape\":0,\"handle\":\"h1\",\"table\":[\"sales\",\"Orders\"],"
               "\"schema\":%s,\"snapshot\":true,\"writes\":[\"delete\"]}}\n",
               ITEMS);
    say_item(&k, 0, "insert", 1, "old", 10);
    say_end(&k, 0, 100);
    kit_feed(&k, r);
    replica_close(r);
    r = kit_open(&k, "@items", NULL);
    assert_non_null(strstr(kit_request(&k, r), "\"handle\":\"h1\""));
    tell(&k, "DELETE FROM items");
    assert_non_null(strstr(request(&k, r), "\"table\":\"sales.\\\"Orders\\\"\""));
    kit_done(&k, r);
}

/* Two local writes, of which the bridge knew one; *nonces are the mutations'. */
static struct replica *forked(struct kit *k, char nonces[2][32])
{
    struct replica *r = writing(k);

    tell(k, "UPDATE items SET qty = 11 WHERE id = 1; UPDATE items SET qty = 21 WHERE id = 2");
    request(k, r);
    strcpy(nonces[0], ask(k, "SELECT nonce FROM _tombolo_pending WHERE row = '[\"1\"]'"));
    strcpy(nonces[1], ask(k, "SELECT nonce FROM _tombolo_pending WHERE row = '[\"2\"]'"));
    assert_int_equal(answered(k, r, 409, "{\"message\":\"a copy\",\"fork\":true}"),
                     REPLICA_WRITE_SENT);
    return r;
}

/* ---- what cannot go up --------------------------------------------------- */

static void test_a_mutation_that_the_bridge_cannot_read_does_not_hold_up_the_others(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell(&k, "UPDATE items SET qty = qty + 1");
    request(&k, r);
    assert_int_equal(answered(&k, r, 400,
                              "{\"message\":\"is not so\",\"place\":"
                              "\"transactions[0].mutations[1].values.qty\"}"),
                     REPLICA_WRITE_SENT);
    assert_answer(&k, REJECTED, "invalid U {\"id\":\"2\"}");
    assert_answer(&k, ROWS, "1:old:11,2:old:20,3:old:31");
    assert_string_equal(request(&k, r),
                        "[{\"id\":1,\"marked\":false,\"mutations\":["
                        "{\"table\":\"public.items\",\"op\":\"update\",\"key\":{\"id\":\"1\"},"
                        "\"values\":{\"qty\":\"11\"},\"base\":{\"qty\":\"10\"}},"
                        "{\"table\":\"public.items\",\"op\":\"update\",\"key\":{\"id\":\"3\"},"
                        "\"values\":{\"qty\":\"31\"},\"base\":{\"qty\":\"30\"}}]}]}");
    kit_done(&k, r);
}

static void test_a_marked_write_that_the_bridge_cannot_read_is_rejected_as_a_whole(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell(&k, "BEGIN; INSERT INTO _tombolo_tx DEFAULT VALUES; UPDATE items SET qty = qty + 1;"
             "DELETE FROM _tombolo_tx; COMMIT");
    request(&k, r);
    assert_int_equal(answered(&k, r, 400,
                              "{\"message\":\"is not so\",\"place\":"
                              "\"transactions[0].mutations[1].values.qty\"}"),
                     REPLICA_WRITE_SENT);
    assert_answer(&k, "SELECT count(*) FROM _tombolo_rejected", "3");
    assert_answer(&k, ROWS, "1:old:10,2:old:20,3:old:30");
    assert_string_equal(request(&k, r), "[{\"id\":1,\"marked\":true,\"mutations\":[]}]}");
    kit_done(&k, r);
}

static void test_a_write_that_is_too_large_is_rejected_and_the_next_goes_on(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    for (int i = 0; i < 2; i++)
        tell(&k,
             i ? "BEGIN; INSERT INTO _tombolo_tx DEFAULT VALUES; DELETE FROM items WHERE id = 3;"
                 "COMMIT"
               : "UPDATE items SET qty = 5 WHERE id = 1");
    request(&k, r);
    assert_int_equal(answered(&k, r, 413, "{\"message\":\"too large\"}"), REPLICA_WRITE_SENT);
    assert_null(strstr(request(&k, r), "\"id\":2,")); /* alone */
    assert_int_equal(answered(&k, r, 413, "{\"message\":\"too large\"}"), REPLICA_WRITE_SENT);
    assert_string_equal(request(&k, r), "[{\"id\":1,\"marked\":false,\"mutations\":[]}]}");
    assert_int_equal(answered(&k, r, 200, "{\"last\":1}"), REPLICA_WRITE_SENT);
    assert_non_null(strstr(request(&k, r), "{\"id\":2,\"marked\":true"));
    assert_answer(&k, REJECTED, "invalid U {\"id\":\"1\"}");
    kit_done(&k, r);
}

static void test_an_answer_that_names_nothing_of_ours_stops(void **state)
{
    static const struct {
        long status;
        const char *answer;
    } first[] = {{400, "{\"message\":\"no\",\"place\":\"transactions[0].nonce\"}"},
                 {413, "a proxy's page"}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct kit k;
        struct replica *r = writing(&k);

        tell(&k, "DELETE FROM items WHERE id = 1");
        request(&k, r);
        assert_int_equal(answered(&k, r, first[i].status, first[i].answer), REPLICA_WRITE_SENT);
        assert_answer(&k, REJECTED, "invalid D {\"id\":\"1\"}");
        assert_string_equal(request(&k, r), "[{\"id\":1,\"marked\":false,\"mutations\":[]}]}");
        assert_int_equal(answered(&k, r, first[i].status, first[i].answer), REPLICA_WRITE_STOP);
        kit_done(&k, r);
    }
}

static void test_a_question_that_the_bridge_does_not_know_stops(void **state)
{
    char nonces[2][32];
    struct kit k;
    struct replica *r = forked(&k, nonces);

    (void)state;
    request(&k, r);
    assert_int_equal(answered(&k, r, 400, "{\"message\":\"what?\",\"place\":\"decided\"}"),
                     REPLICA_WRITE_STOP);
    assert_int_equal(answered(&k, r, 409, "{\"message\":\"a copy\",\"fork\":true}"),
                     REPLICA_WRITE_STOP);
    assert_answer(&k, REJECTED, "");
    kit_done(&k, r);
}

static void test_text_that_postgres_cannot_hold_is_rejected_at_once(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell(&k, "UPDATE items SET name = 'a' || char(0) || 'b' WHERE id = 1;"
             "UPDATE items SET name = CAST(x'ff' AS TEXT), qty = 1 WHERE id = 2;"
             "UPDATE items SET qty = 31 WHERE id = 3");
    assert_null(strstr(request(&k, r), "\"id\":\"1\""));
    assert_non_null(strstr(buf_cstr(&k.body), "\"id\":\"3\""));
    assert_answer(&k, REJECTED, "local U {\"id\":\"1\"},local U {\"id\":\"2\"}");
    assert_answer(&k, ROWS, "1:old:10,2:old:20,3:old:31");
    kit_done(&k, r);
}

static void test_a_row_never_goes_back_to_an_older_write_while_many_are_taken_up(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);
    struct buf sql;

    (void)state;
    buf_init(&sql, BUF_NO_LIMIT);
    buf_put_cstr(&sql, "BEGIN; UPDATE items SET name = cast(x'ff' AS TEXT) WHERE id = 1;");
    for (int i = 1; i <= 4100; i++) /* more than one piece */
        buf_printf(&sql, "UPDATE items SET qty = %d WHERE id = 1;", i);
    buf_put_cstr(&sql, "COMMIT");
    tell(&k, buf_cstr(&sql));
    request(&k, r);
    assert_answer(&k, ROWS, "1:old:4100,2:old:20,3:old:30");
    assert_answer(&k, REJECTED, "local U {\"id\":\"1\"}");
    buf_release(&sql);
    kit_done(&k, r);
}

static void test_what_the_bridge_refuses_for_good_stops_and_a_crowd_waits(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell(&k, "DELETE FROM items");
    request(&k, r);
    assert_int_equal(answered(&k, r, 403, "{\"message\":\"no sub\"}"), REPLICA_WRITE_STOP);
    assert_non_null(strstr(k.err.msg, "no sub"));
    assert_int_equal(answered(&k, r, 400, "{\"message\":\"no\",\"place\":\"replica\"}"),
                     REPLICA_WRITE_STOP);
    assert_int_equal(answered(&k, r, 503, "{\"message\":\"busy\"}"), REPLICA_WRITE_AGAIN);
    assert_int_equal(answered(&k, r, 200, "{\"last\":0}"), REPLICA_WRITE_AGAIN);
    assert_int_equal(answered(&k, r, 200, "<html>a proxy</html>"), REPLICA_WRITE_AGAIN);
    assert_non_null(strstr(k.err.msg, "does not say which was the last"));
    assert_non_null(strstr(request(&k, r), "{\"id\":1,"));
    kit_done(&k, r);
}

static void test_columns_that_the_shape_has_not_do_not_go_up(void **state)
{
    struct replica_shape shape;
    struct kit k;

    (void)state;
    kit_init(&k);
    tell(&k, "CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT, qty INTEGER, seen TEXT)");
    struct replica *r = replica_open(k.path, &k.err);
    assert_true(replica_shape_parse("items", &shape, &k.err));
    assert_true(replica_set_shapes(r, &shape, 1, true, &k.err));
    replica_shape_release(&shape);
    kit_request(&k, r);
    say_open_writable(&k, 0, "h1", ITEMS, true);
    say_item(&k, 0, "insert", 1, "old", 10);
    say_end(&k, 0, 100);
    kit_feed(&k, r);
    tell(&k, "UPDATE items SET seen = 'yes'");
    assert_string_equal(request(&k, r), "");
    tell(&k, "UPDATE items SET qty = 11");
    assert_non_null(strstr(request(&k, r), "\"values\":{\"qty\":\"11\"}"));
    say(&k, 0, "update", "{\"id\":\"1\",\"name\":\"new\"}");
    say_commit(&k, 200);
    kit_feed(&k, r);
    assert_answer(&k, "SELECT name || qty || seen FROM items", "new11yes");
    kit_done(&k, r);
}

/* ---- what cannot stand on the server's row -------------------------------- */

static void test_a_unique_index_stays_and_the_local_write_steps_aside(void **state)
{
    struct kit k;
    struct replica *r = writing_with(&k, "CREATE UNIQUE INDEX once ON items(name, qty)");

    (void)state;
    tell(&k, "INSERT INTO items VALUES (7, 'mine', 7); UPDATE items SET name = 'x' WHERE id = 1;"
             "UPDATE items SET qty = 77 WHERE id = 7");
    say_item(&k, 0, "insert", 8, "mine", 77);
    say_commit(&k, 300);
    kit_feed(&k, r);
    assert_answer(&k, ROWS, "1:x:10,2:old:20,3:old:30,7:mine:7,8:mine:77");
    assert_answer(&k, REJECTED, "local U {\"id\":\"7\"}");
    assert_answer(&k, "SELECT \"unique\" FROM pragma_index_list('items') WHERE name = 'once'", "1");
    say_item(&k, 0, "insert", 9, "mine", 7);
    say_commit(&k, 400);
    kit_feed(&k, r);
    assert_answer(&k, ROWS, "1:x:10,2:old:20,3:old:30,8:mine:77,9:mine:7");
    assert_answer(&k, REJECTED, "local U {\"id\":\"7\"},local I {\"id\":\"7\"}");
    assert_answer(&k, "SELECT \"unique\" FROM pragma_index_list('items') WHERE name = 'once'", "1");
    kit_done(&k, r);
}

static void test_a_write_on_a_row_that_a_trigger_then_refuses_steps_aside(void **state)
{
    struct kit k;
    struct replica *r = writing_with(
        &k, "CREATE TRIGGER most BEFORE UPDATE ON items WHEN length(NEW.name) + NEW.qty"
            " > 20 BEGIN SELECT RAISE(ABORT, 'too much'); END");

    (void)state;
    tell(&k, "UPDATE items SET qty = 16 WHERE id = 1; UPDATE items SET qty = 17 WHERE id = 1");
    say(&k, 0, "update", "{\"id\":\"1\",\"name\":\"four\"}");
    say_commit(&k, 200);
    kit_feed(&k, r);
    assert_answer(&k, ROWS, "1:four:16,2:old:20,3:old:30");
    assert_answer(&k, REJECTED, "local U {\"id\":\"1\"}");
    assert_answer(&k, "SELECT after || message FROM _tombolo_rejected",
                  "{\"qty\":\"17\"}table \"items\": too much");
    kit_done(&k, r);
}

/* Row 3 is refused while row 7 has what row 1 is to have in the next try. */
static void test_a_try_that_is_refused_half_way_is_not_in_the_way_of_the_next(void **state)
{
    struct kit k;
    struct replica *r = writing_with(&k, "CREATE UNIQUE INDEX once ON items(qty)");

    (void)state;
    tell(&k, "DELETE FROM items WHERE id = 1; UPDATE items SET id = 1, qty = 31 WHERE id = 3;"
             "INSERT INTO items VALUES (3, 'mine', 40); UPDATE items SET id = 7 WHERE id = 1");
    say_item(&k, 0, "insert", 7, "theirs", 70);
    say_item(&k, 0, "insert", 8, "theirs", 40);
    say_commit(&k, 200);
    kit_feed(&k, r);
    assert_answer(&k, ROWS, "1:old:31,2:old:20,7:theirs:70,8:theirs:40");
    assert_answer(&k, REJECTED, "local U {\"id\":\"1\"},local I {\"id\":\"3\"}");
    assert_answer(&k, "SELECT \"unique\" FROM pragma_index_list('items') WHERE name = 'once'", "1");
    kit_done(&k, r);
}

/* Numbered, so it goes up all the same; what Postgres says of it then counts. */
static void test_what_stepped_aside_and_was_accepted_is_not_rejected(void **state)
{
    struct kit k;
    struct replica *r = writing_with(&k, "CREATE UNIQUE INDEX once ON items(qty)");

    (void)state;
    tell(&k, "INSERT INTO items VALUES (7, 'mine', 70)");
    request(&k, r);
    say_item(&k, 0, "insert", 8, "theirs", 70);
    say_commit(&k, 200);
    kit_feed(&k, r);
    assert_answer(&k, REJECTED, "local I {\"id\":\"7\"}");
    say_ack(&k, 1, nonce_of(&k, 1), "");
    say_item(&k, 0, "insert", 7, "mine", 71);
    say_commit(&k, 300);
    kit_feed(&k, r);
    assert_answer(&k, REJECTED, "");
    assert_answer(&k, ROWS, "1:old:10,2:old:20,3:old:30,7:mine:71,8:theirs:70");
    kit_done(&k, r);
}

static void test_a_marked_write_of_which_a_part_cannot_go_up_does_not_go_up_at_all(void **state)
{
#define MARKED(values)                                                                             \
    "BEGIN; INSERT INTO _tombolo_tx DEFAULT VALUES;"                                               \
    "UPDATE items SET name = 'mine' WHERE id = 1; INSERT INTO items VALUES (7, " values ");"       \
    "DELETE FROM items WHERE id = 2; DELETE FROM _tombolo_tx; COMMIT;"                             \
    "UPDATE items SET name = 'alone' WHERE id = 3"
    static const char *const writes[] = {MARKED("'mine', 70"), MARKED("CAST(x'6100' AS TEXT), 71")};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct kit k;
        struct replica *r = writing_with(&k, "CREATE UNIQUE INDEX once ON items(qty)");

        tell(&k, writes[i]);
        say_item(&k, 0, "insert", 8, "theirs", 70);
        say_commit(&k, 200);
        kit_feed(&k, r);
        assert_answer(&k, REJECTED,
                      "local I {\"id\":\"7\"},local U {\"id\":\"1\"},local D {\"id\":\"2\"}");
        assert_answer(&k, ROWS, "1:old:10,2:old:20,3:alone:30,8:theirs:70");
        assert_null(strstr(request(&k, r), "\"marked\":true"));
        assert_non_null(strstr(buf_cstr(&k.body), "alone"));
        assert_answer(&k, "SELECT count(*) FROM _tombolo_pending", "1");
        kit_done(&k, r);
    }
#undef MARKED
}

/* ---- copies of the file --------------------------------------------------- */

static void test_a_copy_asks_which_of_its_writes_were_decided_and_takes_another_name(void **state)
{
    char nonces[2][32], answer[128], want[256], old[64];
    struct kit k;
    struct replica *r = forked(&k, nonces);

    (void)state;
    strcpy(old, replica_id(r));
    request(&k, r);
    snprintf(want, sizeof(want),
             "{\"replica\":\"%s\",\"family\":\"%s\",\"decided\":[\"%s\",\"%s\"]}", old, old,
             nonces[0], nonces[1]);
    assert_string_equal(buf_cstr(&k.body), want);
    snprintf(answer, sizeof(answer), "{\"decided\":[\"%s\"],\"since\":\"0\",\"lsn\":\"250\"}",
             nonces[0]);
    assert_int_equal(answered(&k, r, 200, answer), REPLICA_WRITE_RENAMED);
    assert_string_not_equal(replica_id(r), old);
    assert_string_equal(request(&k, r),
                        "[{\"id\":1,\"marked\":false,\"mutations\":[{\"table\":\"public.items\","
                        "\"op\":\"update\",\"key\":{\"id\":\"2\"},\"values\":{\"qty\":\"21\"},"
                        "\"base\":{\"qty\":\"20\"}}]}]}");
    snprintf(want, sizeof(want), "{\"replica\":\"%s\",\"family\":\"%s\",\"acknowledged\":0,",
             replica_id(r), old);
    assert_non_null(strstr(buf_cstr(&k.body), want));
    say_ack(&k, 40, "old", ""); /* of the stream that was begun under the old name */
    say_commit(&k, 200);
    kit_feed(&k, r);
    assert_answer(&k, REJECTED, "");
    assert_answer(&k, ROWS, "1:old:11,2:old:21,3:old:30"); /* the decided one is still under way */
    say(&k, 0, "update", "{\"id\":\"1\",\"qty\":\"12\"}");
    say_commit(&k, 250);
    kit_feed(&k, r);
    assert_answer(&k, ROWS, "1:old:12,2:old:21,3:old:30");
    kit_done(&k, r);
}

static void
test_writes_of_a_copy_from_before_what_the_bridge_remembers_wait_for_a_person(void **state)
{
    char nonces[2][32], answer[128];
    struct kit k;
    struct replica *r = forked(&k, nonces);

    (void)state;
    request(&k, r);
    tell(&k, "DELETE FROM items WHERE id = 3");
    snprintf(answer, sizeof(answer),
             "{\"decided\":[\"%s\"],\"since\":\"%" PRId64 "\",\"lsn\":\"0\"}", nonces[0],
             INT64_MAX);
    assert_int_equal(answered(&k, r, 200, answer), REPLICA_WRITE_RENAMED);
    assert_answer(&k, REJECTED, "unknown U {\"id\":\"2\"}");
    assert_answer(&k, ROWS, "1:old:11,2:old:20");
    assert_non_null(strstr(request(&k, r), "\"op\":\"delete\"")); /* after the copy was found out */
    assert_null(strstr(buf_cstr(&k.body), "\"id\":\"2\""));
    kit_done(&k, r);
}

static void test_an_acknowledgement_of_a_write_that_is_not_ours_tells_of_a_copy(void **state)
{
    (void)state;
    for (int last = 1; last <= 2; last++) { /* another nonce; an id that was never given */
        struct kit k;
        struct replica *r = writing(&k);

        tell(&k, "UPDATE items SET qty = 11 WHERE id = 1");
        request(&k, r);
        say_ack(&k, last, "somebody", "");
        say_commit(&k, 200);
        kit_feed(&k, r);
        assert_answer(&k, ROWS, "1:old:11,2:old:20,3:old:30");
        request(&k, r);
        assert_non_null(strstr(buf_cstr(&k.body), "\"decided\":["));
        kit_done(&k, r);
    }
}

static void test_an_answer_is_to_what_was_asked_whatever_acks_said_meanwhile(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell(&k, "UPDATE items SET qty = 11 WHERE id = 1");
    request(&k, r);
    say_ack(&k, 1, nonce_of(&k, 1), "");
    say_commit(&k, 200);
    kit_feed(&k, r);
    assert_int_equal(answered(&k, r, 200, "{\"last\":1}"), REPLICA_WRITE_SENT);
    tell(&k, "DELETE FROM items WHERE id = 2");
    request(&k, r);
    say_ack(&k, 2, "somebody", "");
    say_commit(&k, 300);
    kit_feed(&k, r);
    assert_int_equal(answered(&k, r, 409, "{\"message\":\"a copy\",\"fork\":true}"),
                     REPLICA_WRITE_SENT);
    request(&k, r);
    assert_non_null(strstr(buf_cstr(&k.body), "\"decided\":["));
    assert_int_equal(answered(&k, r, 200, "{\"decided\":[],\"since\":\"0\",\"lsn\":\"0\"}"),
                     REPLICA_WRITE_RENAMED);
    kit_done(&k, r);
}

/* ---- captures, fetching again ---------------------------------------------- */

static void test_a_refused_write_goes_at_once_and_an_accepted_one_with_its_table(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell(&k, "UPDATE items SET qty = 11 WHERE id = 1; UPDATE items SET qty = 21 WHERE id = 2");
    request(&k, r);
    buf_put_cstr(&k.stream, "{\"refetch\":{\"shape\":0,\"reason\":\"why not\"}}\n");
    say_open_writable(&k, 0, "h2", ITEMS, true);
    say_item(&k, 0, "insert", 1, "new", 11);
    say_ack(&k, 1, nonce_of(&k, 1), REFUSED(1, 1));
    say_commit(&k, 200);
    kit_feed(&k, r);
    assert_answer(&k, ROWS, "1:old:11,2:old:20,3:old:30");
    say_item(&k, 0, "insert", 2, "new", 20);
    say_end(&k, 0, 300);
    kit_feed(&k, r);
    assert_answer(&k, ROWS, "1:new:11,2:new:20");
    assert_answer(&k, "SELECT count(*) FROM _tombolo_pending", "0");
    kit_done(&k, r);
}

static void test_a_table_is_captured_while_it_may_be_written_and_has_writes_pending(void **state)
{
    static const char triggers[] =
        "SELECT count(*) FROM sqlite_schema WHERE name GLOB '_tombolo_capture_*'";
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    assert_answer(&k, triggers, "5");
    tell(&k, "DELETE FROM items WHERE id = 1");
    request(&k, r);
    for (int i = 0; i < 2; i++) {
        replica_close(r);
        r = kit_open(&k, "items", NULL);
        kit_request(&k, r);
        say_open(&k, 0, "h1", ITEMS, false);
        say_commit(&k, 200);
        kit_feed(&k, r);
        assert_answer(&k, triggers, i ? "0" : "5");
        say_ack(&k, 1, nonce_of(&k, 1), "");
        say(&k, 0, "delete", "{\"id\":\"1\"}");
        say_commit(&k, 300);
        if (i == 0)
            kit_feed(&k, r);
    }
    kit_done(&k, r);
}

/* Not for the bridge but for the file, which a person can mend. */
static void
test_a_table_that_cannot_be_captured_says_why_and_is_captured_when_it_can_be(void **state)
{
#define NAMED                                                                                      \
    "{\"id\":{\"type\":\"text\",\"pk_index\":0,\"not_null\":true},\"qty\":{\"type\":\"int4\"}}"
    static const char kept[] = "SELECT ifnull(kept, '-') FROM _tombolo_shapes";
    struct replica_status status;
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", NULL);
    say_open(&k, 0, "h1", NAMED, true);
    say(&k, 0, "insert", "{\"id\":\"a\",\"qty\":\"1\"}");
    say_end(&k, 0, 100);
    kit_feed(&k, r);
    tell(&k, "BEGIN; CREATE TABLE made(id TEXT PRIMARY KEY, qty INTEGER);"
             "INSERT INTO made SELECT * FROM items; INSERT INTO made VALUES (NULL, 2);"
             "DROP TABLE items; ALTER TABLE made RENAME TO items; COMMIT");
    replica_close(r);
    r = kit_open(&k, "items", NULL);
    r->trouble_ms = 0;
    kit_request(&k, r);
    say_open_writable(&k, 0, "h1", NAMED, false);
    say_commit(&k, 101);
    kit_feed(&k, r);
    assert_true(replica_status_read(k.path, &status, &k.err));
    assert_non_null(strstr(status.shapes[0].kept, "rows without a value in their key"));
    assert_false(status.shapes[0].writes);
    replica_status_release(&status);
    tell(&k, "DELETE FROM items WHERE id IS NULL");
    say_commit(&k, 102);
    kit_feed(&k, r);
    assert_answer(&k, kept, "-");
    tell(&k, "UPDATE items SET qty = 3");
    assert_non_null(strstr(request(&k, r), "\"values\":{\"qty\":\"3\"}"));
    kit_done(&k, r);
#undef NAMED
}

static void test_a_table_whose_triggers_were_lost_is_fetched_again(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell(&k, "DROP TRIGGER _tombolo_capture_1_au; UPDATE items SET qty = 1000 WHERE id = 2");
    assert_string_equal(request(&k, r), "");
    assert_answer(&k, "SELECT status || reason FROM _tombolo_shapes",
                  "refetchinglocal writes may have slipped by");
    tell(&k, "UPDATE items SET qty = 31 WHERE id = 3");
    assert_non_null(strstr(request(&k, r), "\"values\":{\"qty\":\"31\"}"));
    kit_done(&k, r);
}

/* ---- looking after what was refused ---------------------------------------- */

static void test_a_refused_write_is_tried_again_or_forgotten(void **state)
{
    struct kit k;
    struct replica *r = writing(&k);

    (void)state;
    tell(&k, "UPDATE items SET qty = 11, id = 9 WHERE id = 1; DELETE FROM items WHERE id = 2;"
             "INSERT INTO items VALUES (4, 'four', NULL)");
    request(&k, r);
    say_ack(&k, 1, nonce_of(&k, 1), REFUSED(1, -1));
    say_commit(&k, 200);
    kit_feed(&k, r);
    assert_answer(&k, ROWS, "1:old:10,2:old:20,3:old:30");
    for (int id = 1; id <= 3; id++) {
        if (!(id == 2 ? replica_rejected_discard : replica_rejected_retry)(k.path, id, &k.err))
            fail_msg("%s", k.err.msg);
    }
    assert_false(replica_rejected_retry(k.path, 1, &k.err));
    assert_int_equal(k.err.code, ERR_NOT_FOUND);
    assert_answer(&k, REJECTED, "");
    assert_answer(&k, ROWS, "2:old:20,3:old:30,4:four:-,9:old:11");
    assert_non_null(strstr(request(&k, r), "{\"id\":2,"));
    kit_done(&k, r);
}

/* ---- cost ------------------------------------------------------------------ */

/* Pages that are touched when ten rows of the server come, and one write's acknowledgement. */
static int pages_touched(int pending)
{
    struct kit k;
    struct replica *r = writing(&k);
    char sql[256];
    int touched = 0, ignored;

    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
             " INSERT INTO items SELECT i, 'x', i FROM n",
             9 + pending);
    tell(&k, "DELETE FROM items WHERE id = 1");
    request(&k, r);
    tell(&k, sql);
    request(&k, r);
    char nonce[64];
    strcpy(nonce, nonce_of(&k, 1));
    sqlite3_db_status(r->db.db, SQLITE_DBSTATUS_CACHE_HIT, &touched, &ignored, 1);
    say_ack(&k, 1, nonce, "");
    say(&k, 0, "delete", "{\"id\":\"1\"}");
    for (int id = 10; id < 20; id++)
        say_item(&k, 0, "insert", id, "theirs", id);
    say_commit(&k, 200);
    kit_feed(&k, r);
    sqlite3_db_status(r->db.db, SQLITE_DBSTATUS_CACHE_HIT, &touched, &ignored, 0);
    kit_done(&k, r);
    return touched;
}

static void test_what_a_commit_costs_does_not_grow_with_the_pending_writes(void **state)
{
    (void)state;
    int few = pages_touched(20), many = pages_touched(20000);

    print_message("pages: %d, %d\n", few, many);
    assert_in_range(many, 1, 3 * few);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_to_a_table_that_is_gone_wait_with_those_behind_them),
        cmocka_unit_test(test_mutations_say_what_changed_and_inserts_leave_nulls_to_postgres),
        cmocka_unit_test(test_a_request_is_the_same_after_a_crash_until_it_is_decided),
        cmocka_unit_test(test_a_bridge_that_knows_of_no_write_does_not_vouch_for_one_that_waits),
        cmocka_unit_test(test_marked_transactions_stay_whole_and_others_are_cut),
        cmocka_unit_test(test_a_write_stays_to_be_seen_until_its_own_acknowledgement),
        cmocka_unit_test(test_an_acknowledgement_said_again_changes_nothing),
        cmocka_unit_test(test_a_shape_by_name_is_asked_for_by_it_and_written_to_by_its_table),
        cmocka_unit_test(test_a_mutation_that_the_bridge_cannot_read_does_not_hold_up_the_others),
        cmocka_unit_test(test_a_marked_write_that_the_bridge_cannot_read_is_rejected_as_a_whole),
        cmocka_unit_test(test_a_write_that_is_too_large_is_rejected_and_the_next_goes_on),
        cmocka_unit_test(test_an_answer_that_names_nothing_of_ours_stops),
        cmocka_unit_test(test_a_question_that_the_bridge_does_not_know_stops),
        cmocka_unit_test(test_text_that_postgres_cannot_hold_is_rejected_at_once),
        cmocka_unit_test(test_a_row_never_goes_back_to_an_older_write_while_many_are_taken_up),
        cmocka_unit_test(test_what_the_bridge_refuses_for_good_stops_and_a_crowd_waits),
        cmocka_unit_test(test_columns_that_the_shape_has_not_do_not_go_up),
        cmocka_unit_test(test_a_unique_index_stays_and_the_local_write_steps_aside),
        cmocka_unit_test(test_a_write_on_a_row_that_a_trigger_then_refuses_steps_aside),
        cmocka_unit_test(test_a_try_that_is_refused_half_way_is_not_in_the_way_of_the_next),
        cmocka_unit_test(test_what_stepped_aside_and_was_accepted_is_not_rejected),
        cmocka_unit_test(test_a_marked_write_of_which_a_part_cannot_go_up_does_not_go_up_at_all),
        cmocka_unit_test(test_a_copy_asks_which_of_its_writes_were_decided_and_takes_another_name),
        cmocka_unit_test(
            test_writes_of_a_copy_from_before_what_the_bridge_remembers_wait_for_a_person),
        cmocka_unit_test(test_an_acknowledgement_of_a_write_that_is_not_ours_tells_of_a_copy),
        cmocka_unit_test(test_an_answer_is_to_what_was_asked_whatever_acks_said_meanwhile),
        cmocka_unit_test(test_a_refused_write_goes_at_once_and_an_accepted_one_with_its_table),
        cmocka_unit_test(test_a_table_is_captured_while_it_may_be_written_and_has_writes_pending),
        cmocka_unit_test(
            test_a_table_that_cannot_be_captured_says_why_and_is_captured_when_it_can_be),
        cmocka_unit_test(test_a_table_whose_triggers_were_lost_is_fetched_again),
        cmocka_unit_test(test_a_refused_write_is_tried_again_or_forgotten),
        cmocka_unit_test(test_what_a_commit_costs_does_not_grow_with_the_pending_writes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
