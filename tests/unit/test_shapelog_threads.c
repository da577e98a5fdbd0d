/*
 * The shape log under all its threads at a time: one appends, readers read and wait, workers write
 * snapshots, logs end and are made anew, segments are compacted. Made for ThreadSanitizer; what is
 * read is checked all the same.
 */
#include "shapelog/range.h"
#include "shapelog/store.h"
#include "test_shapelog_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#define LOGS 8u
#define READERS 2u
#define TRANSACTIONS 10000u

struct world {
    struct shapelog *store;
    struct log *logs[LOGS]; /* live for the whole test */
    atomic_bool done;
    atomic_uint wakes;
};

struct waiter {
    struct log_listener listener;
    struct world *world;
};

/* Reads the log from the cursor on: its messages are its transactions' LSNs, each once, ascending.
 */
static void follow(struct world *w, struct log *log, struct log_cursor *cursor, lsn_t *last)
{
    struct log_run runs[16];
    struct err err;
    size_t n;

    do {
        assert_ok(log_read(w->store, log, cursor, UINT64_MAX, runs, 16, &n, &err), err);
        for (size_t i = 0; i < n; i++) {
            char text[32] = {0};

            if (runs[i].len >= sizeof(text))
                fail_msg("a run of %u bytes", runs[i].len);
            assert_int_equal(pread(runs[i].fd, text, runs[i].len, (off_t)runs[i].offset),
                             runs[i].len);
            assert_true(strtoull(text, NULL, 10) == runs[i].commit_lsn);
            assert_true(runs[i].commit_lsn > *last);
            *last = runs[i].commit_lsn;
        }
        log_runs_release(runs, n);
    } while (n > 0);
}

/* The same by offsets, from the beginning: a whole chunk a time, and then again from *at, where it
 * was the last time. */
static void follow_ranges(struct world *w, struct log *log, struct log_offset *at)
{
    struct log_range_cursor cursor = {0};
    struct log_piece pieces[16];
    struct log_range range;
    struct err err;
    lsn_t last = at->lsn;
    size_t n;

    assert_ok(log_range_after(w->store, log, *at, UINT64_MAX, &range, &err), err);
    do {
        assert_ok(log_range_read(w->store, log, &range, &cursor, pieces, 16, &n, &err), err);
        for (size_t i = 0; i < n; i++) {
            char text[32] = {0};

            assert_in_range(pieces[i].len, 1, sizeof(text) - 1);
            assert_int_equal(pread(pieces[i].fd, text, pieces[i].len, (off_t)pieces[i].offset),
                             pieces[i].len);
            assert_true(strtoull(text, NULL, 10) == pieces[i].commit_lsn);
            assert_true(pieces[i].commit_lsn > last);
            last = pieces[i].commit_lsn;
        }
        log_pieces_release(pieces, n);
    } while (n > 0);
    assert_true(last == range.to.lsn);
    *at = range.to;
}

static void on_wake(struct log_listener *listener)
{
    atomic_fetch_add(&((struct waiter *)listener)->world->wakes, 1);
}

static void *reader_main(void *arg)
{
    struct world *w = arg;
    struct waiter waiter = {{.wake = on_wake}, w};
    struct log_cursor cursors[LOGS] = {{0}};
    struct log_offset offsets[LOGS] = {{0}};
    lsn_t last[LOGS] = {0};
    struct log *news;
    struct err err;

    assert_ok(shapelog_listen(w->store, &waiter.listener, &err), err);
    for (unsigned i = 0; i < LOGS; i++)
        log_watch(w->store, w->logs[i], &waiter.listener);
    while (!atomic_load(&w->done)) {
        while ((news = log_listener_next(w->store, &waiter.listener))) {
            for (unsigned i = 0; i < LOGS; i++) {
                if (w->logs[i] != news)
                    continue;
                follow(w, news, &cursors[i], &last[i]);
                follow_ranges(w, news, &offsets[i]);
            }
            log_unref(news);
        }
        usleep(100);
    }
    for (unsigned i = 0; i < LOGS; i++) {
        follow(w, w->logs[i], &cursors[i], &last[i]);
        assert_true(last[i] == log_last(w->logs[i], UINT64_MAX));
        for (unsigned k = 0; k < TRANSACTIONS && offsets[i].lsn < last[i]; k++)
            follow_ranges(w, w->logs[i], &offsets[i]);
        assert_true(log_offset_compare(offsets[i], log_end(w->logs[i], UINT64_MAX)) == 0);
        log_unwatch(w->store, w->logs[i], &waiter.listener);
    }
    shapelog_unlisten(w->store, &waiter.listener);
    return NULL;
}

/* Makes logs, copies, reads them back while the stream runs, ends them. */
static void *worker_main(void *arg)
{
    struct world *w = arg;
    struct err err;

    for (unsigned round = 0; !atomic_load(&w->done); round++) {
        struct log *log = new_log(w->store, 1000);

        set_snapshot(log, 10, 0, 1);
        struct snapshot_writer *writer = snapshot_writer_new(w->store, log, &err);
        assert_non_null(writer);
        for (unsigned i = 0; i < 500; i++)
            assert_ok(snapshot_writer_put(writer, SLICE("a row of some bytes"), &err), err);
        free(read_snapshot(w->store, log));
        if (round % 4 == 3)
            snapshot_writer_abandon(writer, "no more");
        else
            assert_ok(snapshot_writer_finish(writer, &err), err);
        free(read_snapshot(w->store, log));
        shapelog_end_log(w->store, log, "next");
        log_unref(log);
    }
    return NULL;
}

static void *compactor_main(void *arg)
{
    struct world *w = arg;
    struct shapelog_stats stats;
    struct err err;
    bool worked;

    while (!atomic_load(&w->done)) {
        assert_ok(shapelog_compact(w->store, &worked, &err), err);
        shapelog_get_stats(w->store, &stats);
        usleep(2000);
    }
    return NULL;
}

/* Every transaction goes to one lasting log, and to a passing one that leaves its segments dead. */
static void append_all(struct world *w)
{
    struct lane *lane = shapelog_lane_new(w->store);
    struct log *passing = new_live_log(w->store, 2000, 0);
    char text[32], bulk[200];

    memset(bulk, 'b', sizeof(bulk) - 1);
    bulk[sizeof(bulk) - 1] = '\0';
    for (lsn_t lsn = 10; lsn < 10 + TRANSACTIONS; lsn++) {
        snprintf(text, sizeof(text), "%llu", (unsigned long long)lsn);
        begin(w->store, lsn);
        append(w->store, lane, text, 0, w->logs[lsn % LOGS]);
        append(w->store, lane, bulk, 2, passing);
        if (lsn % 50 == 0) { /* the connection breaks, and it comes again */
            shapelog_rollback(w->store);
            begin(w->store, lsn);
            append(w->store, lane, text, 0, w->logs[lsn % LOGS]);
        }
        commit(w->store, lsn);
        if (lsn % 3 == 0)
            publish(w->store, lsn);
        if (lsn % 200 == 0) {
            shapelog_end_log(w->store, passing, "passed");
            log_unref(passing);
            passing = new_live_log(w->store, 2000, lsn);
        }
    }
    publish(w->store, 10 + TRANSACTIONS);
    log_unref(passing);
    shapelog_lane_free(w->store, lane);
}

/* The lasting logs have a little of every segment: without compaction all would be there still. */
static void wait_compacted(struct shapelog *store)
{
    int64_t deadline = clock_ms() + DEADLINE_MS;
    struct shapelog_stats stats;

    for (;;) {
        shapelog_get_stats(store, &stats);
        if (stats.segment_bytes < TRANSACTIONS * (uint64_t)100)
            return;
        assert_true(clock_ms() < deadline);
        usleep(1000);
    }
}

static void test_all_threads_at_once(void **state)
{
    pthread_t threads[READERS + 2];
    struct world w = {0};
    char dir[64];

    (void)state;
    make_folder(dir);
    w.store = open_store(dir, 16384);
    for (unsigned i = 0; i < LOGS; i++)
        w.logs[i] = new_live_log(w.store, i, 0);
    for (unsigned i = 0; i < READERS; i++)
        pthread_create(&threads[i], NULL, reader_main, &w);
    pthread_create(&threads[READERS], NULL, worker_main, &w);
    pthread_create(&threads[READERS + 1], NULL, compactor_main, &w);
    append_all(&w);
    wait_durable(w.store, 10 + TRANSACTIONS + 5);
    wait_compacted(w.store);
    atomic_store(&w.done, true);
    for (unsigned i = 0; i < READERS + 2; i++)
        pthread_join(threads[i], NULL);
    assert_true(atomic_load(&w.wakes) > 0);
    for (unsigned i = 0; i < LOGS; i++)
        log_unref(w.logs[i]);
    shapelog_close(w.store);
    remove_folder(dir);
}

/* ---- logs that become LIVE together ---------------------------------------------------------- */

#define TOGETHER 6u

struct finisher {
    pthread_t thread;
    struct snapshot_end ends[TOGETHER];
    struct log *logs[TOGETHER];
    char handles[TOGETHER][64];
};

static void finisher_begin(struct finisher *f, struct shapelog *store)
{
    struct err err;

    for (unsigned i = 0; i < TOGETHER; i++) {
        struct log *log = f->logs[i] = new_log(store, i);

        copy_handle(log, f->handles[i]);
        log_register(log, 90);
        set_snapshot(log, 10, 0, 95);
        assert_non_null(f->ends[i].writer = snapshot_writer_new(store, log, &err));
        assert_ok(snapshot_writer_put(f->ends[i].writer, SLICE("row"), &err), err);
    }
}

static void *finisher_main(void *arg)
{
    struct finisher *f = arg;

    snapshot_writers_finish(f->ends, TOGETHER);
    return NULL;
}

/* Until the last file is known with its table: nothing is left but the catalogue. */
static void await_catalogue(struct shapelog *store, struct log *last)
{
    int64_t deadline = clock_ms() + DEADLINE_MS;
    bool complete = false;

    while (!complete) {
        assert_true(clock_ms() < deadline);
        usleep(500);
        pthread_mutex_lock(&store->snapshots);
        complete = last->snapshot_bytes > strlen("row");
        pthread_mutex_unlock(&store->snapshots);
    }
}

static void
test_logs_that_wait_for_the_catalogue_are_live_together_but_for_one_that_ends(void **state)
{
    const unsigned ends = TOGETHER - 1;
    struct finisher f = {0};
    char dir[64];

    (void)state;
    make_folder(dir);
    struct shapelog *store = open_store(dir, 0);

    finisher_begin(&f, store);
    pthread_mutex_lock(&store->live); /* they are held up before the catalogue */
    pthread_create(&f.thread, NULL, finisher_main, &f);
    await_catalogue(store, f.logs[ends]);
    shapelog_end_log(store, f.logs[ends], "not wanted any more");
    pthread_mutex_unlock(&store->live);
    pthread_join(f.thread, NULL);
    for (unsigned i = 0; i < TOGETHER; i++) {
        assert_int_equal(f.ends[i].ok, i != ends);
        assert_int_equal(log_state(f.logs[i]), i != ends ? LOG_LIVE : LOG_ENDED);
        log_unref(f.logs[i]);
    }
    assert_int_equal(f.ends[ends].err.code, ERR_NOT_FOUND);
    shapelog_close(store);
    store = open_store(dir, 0);
    for (unsigned i = 0; i < TOGETHER; i++) {
        struct log *log = shapelog_find(store, slice_of(f.handles[i]));

        assert_int_equal(log != NULL, i != ends);
        log_unref(log);
    }
    shapelog_close(store);
    remove_folder(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_threads_at_once),
        cmocka_unit_test(
            test_logs_that_wait_for_the_catalogue_are_live_together_but_for_one_that_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
