/* The shape log's memory: large transactions, many logs. */
#include "sanitized.h"
#include "test_shapelog_fixture.h"

#include <malloc.h>

/* Not as many where nothing can be measured. */
#define LESS (UNDER_ASAN || UNDER_TSAN ? 10u : 1u)
#define ROWS (1000000u / LESS)
#define MANY (100000u / LESS)
#define LOGS 1000u

/* Bytes that malloc has given out; sanitizers have another malloc, which says nothing. */
static size_t memory(void)
{
#if UNDER_ASAN || UNDER_TSAN
    return 0;
#else
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
#endif
}

static void assert_memory_within(size_t before, size_t allowed)
{
    size_t now = memory();

    if (now > before + allowed)
        fail_msg("%zu bytes more, allowed were %zu", now - before, allowed);
}

struct world {
    char dir[64];
    struct shapelog *store;
    struct lane *lane;
};

static void open_world(struct world *w)
{
    make_folder(w->dir);
    w->store = open_store(w->dir, 0);
    w->lane = shapelog_lane_new(w->store);
}

static void close_world(struct world *w)
{
    shapelog_lane_free(w->store, w->lane);
    shapelog_close(w->store);
    remove_folder(w->dir);
}

static void register_logs(struct world *w, struct log *logs[LOGS])
{
    for (unsigned i = 0; i < LOGS; i++) {
        logs[i] = new_log(w->store, i);
        log_register(logs[i], 50);
    }
}

static void drop_logs(struct log *logs[LOGS])
{
    for (unsigned i = 0; i < LOGS; i++)
        log_unref(logs[i]);
}

static uint64_t count_extents(struct shapelog *store)
{
    struct shapelog_stats stats;

    shapelog_get_stats(store, &stats);
    return stats.extents;
}

#define MESSAGE                                                                                    \
    SLICE("{\"key\":\"\\\"public\\\".\\\"items\\\"/\\\"1\\\"\",\"value\":{\"id\":\"1\"},"          \
          "\"headers\":{\"operation\":\"insert\"}}")

static void test_a_million_rows_in_one_log_cost_an_extent_a_block(void **state)
{
    struct world w;
    struct err err;

    (void)state;
    open_world(&w);
    struct log *log = new_live_log(w.store, 1, 50);
    size_t before = memory();

    begin(w.store, 100);
    for (unsigned i = 0; i < ROWS; i++)
        assert_ok(shapelog_append(w.store, w.lane, MESSAGE, i, &log, 1, &err), err);
    assert_memory_within(before, (size_t)8 << 20);
    commit(w.store, 100);
    publish(w.store, 100);
    assert_true(count_extents(w.store) < 1000);
    assert_memory_within(before, (size_t)8 << 20);
    log_unref(log);
    close_world(&w);
}

static void test_a_million_rows_over_a_thousand_logs_cost_their_extents(void **state)
{
    static struct log *logs[LOGS];
    struct world w;
    struct err err;

    (void)state;
    open_world(&w);
    register_logs(&w, logs);
    size_t before = memory();

    begin(w.store, 100);
    for (unsigned i = 0; i < ROWS; i++)
        assert_ok(shapelog_append(w.store, w.lane, MESSAGE, i, &logs[i * 7919u % LOGS], 1, &err),
                  err);
    commit(w.store, 100);
    publish(w.store, 100);
    assert_int_equal(count_extents(w.store), ROWS);
    /* 32 bytes an extent, chunks that are not full, one segment's footer, the buffers. */
    assert_memory_within(before, (size_t)60 << 20);
    drop_logs(logs);
    close_world(&w);
}

static void test_every_row_in_a_thousand_logs_costs_an_extent_a_block_each(void **state)
{
    static struct log *logs[LOGS];
    struct world w;
    struct err err;

    (void)state;
    open_world(&w);
    register_logs(&w, logs);
    size_t before = memory();

    begin(w.store, 100);
    for (unsigned i = 0; i < 20000 / LESS; i++)
        assert_ok(shapelog_append(w.store, w.lane, MESSAGE, i, logs, LOGS, &err), err);
    commit(w.store, 100);
    publish(w.store, 100);
    assert_true(count_extents(w.store) < 20000 / LESS);
    assert_memory_within(before, (size_t)8 << 20);
    drop_logs(logs);
    close_world(&w);
}

static void test_a_hundred_thousand_logs_take_less_than_600_bytes_each(void **state)
{
    struct log **logs = calloc(MANY, sizeof(struct log *));
    struct shape **shapes = calloc(MANY, sizeof(struct shape *));
    struct world w;
    struct err err;
    bool made;

    (void)state;
    open_world(&w);
    /* Bare shapes: what a shape costs is not the log's. */
    struct table *table = new_table(1);
    for (unsigned i = 0; i < MANY; i++) {
        shapes[i] = calloc(1, sizeof(**shapes));
        atomic_init(&shapes[i]->refs, 1);
        shapes[i]->table = table;
        shapes[i]->is.lo = i;
    }
    size_t before = memory();

    for (unsigned i = 0; i < MANY; i++) {
        logs[i] = shapelog_create(w.store, shapes[i], &made, &err);
        log_register(logs[i], 50);
    }
    begin(w.store, 100);
    for (unsigned i = 0; i < MANY; i++)
        assert_ok(shapelog_append(w.store, w.lane, MESSAGE, i, &logs[i], 1, &err), err);
    commit(w.store, 100);
    publish(w.store, 100);
    assert_memory_within(before, (size_t)600 * MANY);
    assert_int_equal(count_extents(w.store), MANY);
    for (unsigned i = 0; i < MANY; i++)
        log_unref(logs[i]);
    close_world(&w);
    for (unsigned i = 0; i < MANY; i++)
        free(shapes[i]);
    table_unref(table);
    free(logs);
    free(shapes);
}

static void test_logs_that_are_filled_side_by_side_share_their_snapshots(void **state)
{
    static struct log *logs[LOGS];
    static uint64_t running[100];
    struct world w;

    (void)state;
    open_world(&w);
    register_logs(&w, logs);
    for (unsigned i = 0; i < 100; i++)
        running[i] = 1000 + i;
    size_t before = memory();

    for (unsigned i = 0; i < LOGS; i++) {
        const struct snapshot snapshot = {1000, 2000 + i % 4, running, 100};

        log_set_snapshot(logs[i], &snapshot, 100);
    }
    assert_memory_within(before, sizeof(running) * 16);
    drop_logs(logs);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_million_rows_in_one_log_cost_an_extent_a_block),
        cmocka_unit_test(test_a_million_rows_over_a_thousand_logs_cost_their_extents),
        cmocka_unit_test(test_every_row_in_a_thousand_logs_costs_an_extent_a_block_each),
        cmocka_unit_test(test_a_hundred_thousand_logs_take_less_than_600_bytes_each),
        cmocka_unit_test(test_logs_that_are_filled_side_by_side_share_their_snapshots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
