/*
 * The syncer is killed at any moment, again and again, and goes on each time from what
 * the file says. A model stands for the bridge: it can tell the table at every
 * position, and the stream from any position on.
 */
#include "replica_kit.h"

#include <signal.h>
#include <sys/wait.h>

#define TXNS 400
#define ROWS 60

/* The row with this id after transaction t: its value, or -1 when there is none. */
static int row_at(int id, int t)
{
    int value = -1;

    for (int i = 1; i <= t; i++) {
        unsigned h = (unsigned)i * 2654435761u ^ (unsigned)id * 40503u;

        if ((h >> 7) % 11 == 0)
            value = (h >> 13) % 4 == 0 ? -1 : i;
    }
    return value;
}

static void say_txn(struct kit *k, int t)
{
    for (int id = 0; id < ROWS; id++) {
        int before = row_at(id, t - 1), now = row_at(id, t);
        char value[96];

        if (before == now)
            continue;
        if (now < 0) {
            snprintf(value, sizeof(value), "{\"id\":\"%d\"}", id);
            say(k, 0, "delete", value);
        } else if (before < 0) {
            say_item(k, 0, "insert", id, "n", now);
        } else {
            snprintf(value, sizeof(value), "{\"id\":\"%d\",\"qty\":\"%d\"}", id, now);
            say(k, 0, "update", value);
        }
        /* The second table has no key: only exactly once gives the right count. */
        snprintf(value, sizeof(value), "{\"a\":\"%d\"}", t % 7);
        say(k, 1, "insert", value);
    }
    say_commit(k, (uint64_t)t * 100);
}

static int log_rows_at(int t)
{
    int n = 0;

    for (int i = 1; i <= t; i++) {
        for (int id = 0; id < ROWS; id++)
            n += row_at(id, i - 1) != row_at(id, i);
    }
    return n;
}

/* What the bridge sends to this request: with a handle from its offset on, else all. */
static void say_answer(struct kit *k, const char *request)
{
    const char *offset = strstr(request, "\"offset\":\"");
    int from = offset ? atoi(offset + 10) / 100 : 0;

    say_open(k, 0, "h", ITEMS, !offset);
    if (!offset)
        say_snapshot_end(k, 0);
    say_open(k, 1, "g", "{\"a\":{\"type\":\"int4\"}}", !offset);
    if (!offset)
        say_snapshot_end(k, 1);
    if (!offset)
        say_commit(k, 1);
    for (int t = from + 1; t <= TXNS; t++)
        say_txn(k, t);
}

/* The child: syncs from where the file is to the end, or until it is killed. */
static void sync_child(struct kit *k)
{
    struct replica *r = kit_open(k, "items", "log");

    say_answer(k, kit_request(k, r));
    if (!kit_try(k, r, 700))
        _exit(9);
    replica_close(r);
    _exit(0);
}

static void check_file(struct kit *k)
{
    sqlite3 *db = kit_reader(k);
    char sql[128], expected[32];

    sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
    assert_string_equal(ask_of(db, "PRAGMA quick_check"), "ok");
    bool made = strcmp(ask_of(db, "SELECT count(*) FROM sqlite_schema WHERE name IN "
                                  "('items', 'log', '_tombolo_state')"),
                       "3") == 0;
    int t = made ? atoi(ask_of(db, "SELECT position FROM _tombolo_state")) / 100 : 0;
    for (int id = 0; t > 0 && id < ROWS; id++) {
        int value = row_at(id, t);

        snprintf(sql, sizeof(sql), "SELECT qty FROM items WHERE id = %d", id);
        snprintf(expected, sizeof(expected), "%d", value);
        assert_string_equal(ask_of(db, sql), value < 0 ? "" : expected);
    }
    if (t > 0) {
        snprintf(expected, sizeof(expected), "%d", log_rows_at(t));
        assert_string_equal(ask_of(db, "SELECT count(*) FROM log"), expected);
    }
    sqlite3_close(db);
}

static void test_killed_at_any_moment_the_file_is_a_past_state_and_goes_on(void **state)
{
    struct kit k;
    int kills = 0, status = 1;

    (void)state;
    srand(3);
    kit_init(&k);
    for (int round = 0; round < 200 && status != 0; round++) {
        pid_t child = fork();

        assert_true(child >= 0);
        if (child == 0)
            sync_child(&k);
        if (round < 60) {
            usleep((useconds_t)(rand() % 30000));
            kill(child, SIGKILL);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        kills += WIFSIGNALED(status);
        check_file(&k);
    }
    assert_int_equal(status, 0);
    assert_true(kills > 5);
    check_file(&k);
    assert_answer(&k, "SELECT position FROM _tombolo_state", "40000");
    kit_release(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_at_any_moment_the_file_is_a_past_state_and_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
