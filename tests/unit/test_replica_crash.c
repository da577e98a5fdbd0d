/*
 * The syncer is killed at any moment, again and again, and goes on each time from what
 * the file says. A model stands for the bridge: it can tell the table at every
 * position, and the stream from any position on.
 */
#include "replica_kit.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define TXNS 1500
#define ROWS 60
#define PIECE ((size_t)700)

/* How many pieces of the stream the child has fed: shared with it, so that it is killed
 * by what it has done and not by the clock, however slow the machine. */
static atomic_int *fed;

/* The rows after each transaction: a row's value, or -1 when it is not there. Made before
 * any child, so that a child spends its time on applying. */
static int rows[TXNS + 1][ROWS];
static int log_rows[TXNS + 1];

static void make_model(void)
{
    for (int id = 0; id < ROWS; id++)
        rows[0][id] = -1;
    for (int t = 1; t <= TXNS; t++) {
        log_rows[t] = log_rows[t - 1];
        for (int id = 0; id < ROWS; id++) {
            unsigned h = (unsigned)t * 2654435761u ^ (unsigned)id * 40503u;

            rows[t][id] = rows[t - 1][id];
            if ((h >> 7) % 11 == 0)
                rows[t][id] = (h >> 13) % 4 == 0 ? -1 : t;
            log_rows[t] += rows[t][id] != rows[t - 1][id];
        }
    }
}

static void say_txn(struct kit *k, int t)
{
    for (int id = 0; id < ROWS; id++) {
        int before = rows[t - 1][id], now = rows[t][id];
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
    for (size_t at = 0; at < k->stream.len; at += PIECE) {
        size_t n = k->stream.len - at < PIECE ? k->stream.len - at : PIECE;

        if (!replica_feed(r, k->stream.ptr + at, n, &k->err))
            _exit(9);
        atomic_fetch_add(fed, 1);
    }
    replica_close(r);
    _exit(0);
}

/* Gives the transaction that the file stands at. */
static int check_file(struct kit *k)
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
        int value = rows[t][id];

        snprintf(sql, sizeof(sql), "SELECT qty FROM items WHERE id = %d", id);
        snprintf(expected, sizeof(expected), "%d", value);
        assert_string_equal(ask_of(db, sql), value < 0 ? "" : expected);
    }
    if (t > 0) {
        snprintf(expected, sizeof(expected), "%d", log_rows[t]);
        assert_string_equal(ask_of(db, "SELECT count(*) FROM log"), expected);
    }
    sqlite3_close(db);
    return t;
}

/* Kills the child in the midst of some piece, or finds it done. */
static void kill_after(pid_t child, int pieces)
{
    int status = 0;

    while (atomic_load(fed) < pieces) {
        if (waitpid(child, &status, WNOHANG) != 0)
            return;
        usleep(50);
    }
    usleep((useconds_t)(rand() % 500));
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
}

static void test_killed_at_any_moment_the_file_is_a_past_state_and_goes_on(void **state)
{
    struct kit k;
    int midway = 0, status = 1;

    (void)state;
    srand(3);
    make_model();
    fed = mmap(NULL, sizeof(*fed), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(fed, MAP_FAILED);
    kit_init(&k);
    for (int round = 0; round < 400 && midway < 40; round++) {
        atomic_store(fed, 0);
        pid_t child = fork();

        assert_true(child >= 0);
        if (child == 0)
            sync_child(&k);
        kill_after(child, rand() % 100);
        int t = check_file(&k);
        midway += t > 0 && t < TXNS;
        if (t == TXNS) /* from the beginning again */
            kit_release(&k), kit_init(&k);
    }
    assert_true(midway >= 10);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        sync_child(&k);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(check_file(&k), TXNS);
    kit_release(&k);
    munmap(fed, sizeof(*fed));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_at_any_moment_the_file_is_a_past_state_and_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
