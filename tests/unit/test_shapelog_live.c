/*
 * The moment at which logs become LIVE (shapelog/live.c): those that go together cost one sync,
 * and what the catalogue does not have is not LIVE. The catalogue is looked into, and broken, from
 * outside.
 */
#include "shapelog/store.h"
#include "test_shapelog_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sqlite3.h>

#define TOGETHER 6u

struct maker {
    struct snapshot_writer *writer;
    struct log *log;
    char handle[64];
    bool ok;
    struct err err;
};

/* Up to where its last row is to be followed by the end. */
static void maker_begin(struct maker *m, struct shapelog *store, unsigned number)
{
    m->log = new_log(store, number);
    copy_handle(m->log, m->handle);
    log_register(m->log, 90);
    set_snapshot(m->log, 10, 0, 95);
    m->writer = snapshot_writer_new(store, m->log, &m->err);
    assert_non_null(m->writer);
    assert_ok(snapshot_writer_put(m->writer, SLICE("row"), &m->err), m->err);
}

static void maker_finish(struct maker *m)
{
    m->ok = snapshot_writer_finish(m->writer, &m->err);
}

/* ---- the catalogue from outside -------------------------------------------------------------- */

static uint32_t be32(const char *at)
{
    uint32_t v;

    memcpy(&v, at, 4);
    return ntohl(v);
}

/* Transactions that stand in the catalogue's write-ahead log: a frame that ends one says how large
 * the database is then. */
static unsigned count_commits(const char *dir)
{
    char path[96], head[32], frame[24];
    unsigned n = 0;

    snprintf(path, sizeof(path), "%s/tombolo.db-wal", dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, head, sizeof(head), 0), sizeof(head));
    for (off_t at = sizeof(head); pread(fd, frame, sizeof(frame), at) == sizeof(frame) &&
                                  memcmp(frame + 8, head + 16, 8) == 0;
         at += (off_t)(sizeof(frame) + be32(head + 8)))
        n += be32(frame + 4) != 0;
    close(fd);
    return n;
}

static void change_catalogue(const char *dir, const char *sql)
{
    char path[96];
    sqlite3 *db;

    snprintf(path, sizeof(path), "%s/tombolo.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, DEADLINE_MS);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_logs_that_are_finished_together_are_one_transaction(void **state)
{
    struct snapshot_end ends[TOGETHER] = {0};
    struct maker makers[TOGETHER] = {0};
    char dir[64];

    (void)state;
    make_folder(dir);
    struct shapelog *store = open_store(dir, 0);

    for (unsigned i = 0; i < TOGETHER; i++) {
        maker_begin(&makers[i], store, i);
        ends[i].writer = makers[i].writer;
    }
    unsigned before = count_commits(dir);
    snapshot_writers_finish(ends, TOGETHER);
    assert_int_equal(count_commits(dir) - before, 1);
    for (unsigned i = 0; i < TOGETHER; i++) {
        assert_ok(ends[i].ok, ends[i].err);
        assert_int_equal(log_state(makers[i].log), LOG_LIVE);
        log_unref(makers[i].log);
    }
    shapelog_close(store);
    remove_folder(dir);
}

static void test_what_the_catalogue_does_not_take_is_not_live_and_says_why(void **state)
{
    struct maker lost = {0}, next = {0};
    char dir[64];

    (void)state;
    make_folder(dir);
    struct shapelog *store = open_store(dir, 0);

    maker_begin(&lost, store, 1);
    maker_begin(&next, store, 2);
    change_catalogue(dir, "ALTER TABLE logs RENAME TO hidden");
    maker_finish(&lost);
    assert_false(lost.ok);
    assert_int_equal(lost.err.code, ERR_SQLITE);
    assert_non_null(strstr(lost.err.msg, "logs"));
    assert_int_not_equal(log_state(lost.log), LOG_LIVE);
    change_catalogue(dir, "ALTER TABLE hidden RENAME TO logs");
    maker_finish(&next);
    assert_ok(next.ok, next.err);
    log_unref(lost.log);
    log_unref(next.log);
    shapelog_close(store);

    store = open_store(dir, 0);
    assert_null(shapelog_find(store, slice_of(lost.handle)));
    struct log *log = shapelog_find(store, slice_of(next.handle));

    assert_non_null(log);
    log_unref(log);
    shapelog_close(store);
    remove_folder(dir);
}

/* The syncer deletes its row before it would be made, and never again. */
static void test_a_log_that_has_ended_gets_no_row_any_more(void **state)
{
    struct maker late = {0};
    char dir[64];

    (void)state;
    make_folder(dir);
    struct shapelog *store = open_store(dir, 0);
    struct lane *lane = shapelog_lane_new(store);
    struct log *other = new_live_log(store, 2, 90);

    maker_begin(&late, store, 1);
    shapelog_end_log(store, late.log, "not wanted any more");
    put(store, lane, 100, other, "m");
    wait_durable(store, 105);
    struct go_live item = {.log = late.log};
    logs_go_live(store, &item, 1);
    assert_false(item.ok);
    assert_int_equal(item.err.code, ERR_NOT_FOUND);
    assert_int_equal(log_state(late.log), LOG_ENDED);
    snapshot_writer_abandon(late.writer, "not wanted any more");
    log_unref(late.log);
    log_unref(other);
    shapelog_lane_free(store, lane);
    shapelog_close(store);

    store = open_store(dir, 0);
    assert_null(shapelog_find(store, slice_of(late.handle)));
    shapelog_close(store);
    remove_folder(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logs_that_are_finished_together_are_one_transaction),
        cmocka_unit_test(test_what_the_catalogue_does_not_take_is_not_live_and_says_why),
        cmocka_unit_test(test_a_log_that_has_ended_gets_no_row_any_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
