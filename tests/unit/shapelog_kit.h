/*
 * What the tests of the shape log's contract start with: a store in a folder of its own, and a
 * lane.
 */
#ifndef TESTS_SHAPELOG_KIT_H
#define TESTS_SHAPELOG_KIT_H

#include "shapelog/store.h"
#include "test_shapelog_fixture.h"

struct fixture {
    char dir[64];
    struct shapelog *store;
    struct lane *lane;
};

static inline int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    make_folder(f->dir);
    f->store = open_store(f->dir, 0);
    f->lane = shapelog_lane_new(f->store);
    *state = f;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;

    io_set_room(-1);
    if (f->lane)
        shapelog_lane_free(f->store, f->lane);
    shapelog_close(f->store);
    remove_folder(f->dir);
    free(f);
    return 0;
}

static inline void reopen(struct fixture *f, uint64_t segment_size)
{
    shapelog_lane_free(f->store, f->lane);
    shapelog_close(f->store);
    f->store = open_store(f->dir, segment_size);
    f->lane = shapelog_lane_new(f->store);
}

static inline struct snapshot_writer *begin_snapshot(struct fixture *f, struct log *log)
{
    struct err err;
    struct snapshot_writer *writer;

    log_register(log, 90);
    set_snapshot(log, 10, 0, 95);
    writer = snapshot_writer_new(f->store, log, &err);
    assert_non_null(writer);
    return writer;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
