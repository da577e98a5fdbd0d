/*
 * What the shape log's tests share: a folder of their own, shapes made by hand, transactions in one
 * line, and a log's whole content as one text.
 *
 * A message is any text here. read_log() gives "[100]a,b[110]c": commit LSN 100 with the messages a
 * and b, then 110 with c.
 */
#ifndef TEST_SHAPELOG_FIXTURE_H
#define TEST_SHAPELOG_FIXTURE_H

#include "base/clock.h"
#include "shapelog/io.h"
#include "shapelog/shapelog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <ftw.h>
#include <unistd.h>

#define DEADLINE_MS 20000

/* Prints err when the call fails. */
#define assert_ok(call, err)                                                                       \
    do {                                                                                           \
        if (!(call))                                                                               \
            fail_msg("%s: %s", #call, (err).msg);                                                  \
    } while (0)

/* ---- the folder ------------------------------------------------------------------------------ */

static inline int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static inline void remove_folder(const char *dir)
{
    nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void make_folder(char dir[64])
{
    snprintf(dir, 64, "/tmp/test_shapelog.XXXXXX");
    assert_non_null(mkdtemp(dir));
}

/* In memory where there is such a folder: for tests that open thousands of small stores. */
static inline void make_fast_folder(char dir[64])
{
    snprintf(dir, 64, "/dev/shm/test_shapelog.XXXXXX");
    if (!mkdtemp(dir))
        make_folder(dir);
}

/* ---- stores, shapes, logs -------------------------------------------------------------------- */

static inline struct shapelog *open_store_chunked(const char *dir, uint64_t segment_size,
                                                  size_t chunk_size)
{
    const struct shapelog_config config = {
        .dir = dir, .segment_size = segment_size, .sync_interval_ms = 1, .chunk_size = chunk_size};
    struct err err;
    struct shapelog *store = shapelog_open(&config, &err);

    if (!store)
        fail_msg("shapelog_open: %s", err.msg);
    return store;
}

static inline struct shapelog *open_store(const char *dir, uint64_t segment_size)
{
    return open_store_chunked(dir, segment_size, 4096);
}

static inline void column(struct table *table, uint16_t i, const char *name, uint32_t typid)
{
    table->cols[i] = (struct table_column){.name = slice_of(name),
                                           .attnum = (int16_t)(i + 1),
                                           .typid = typid,
                                           .typmod = -1,
                                           .typname = SLICE("int4"),
                                           .class = TYPE_BASE,
                                           .basetypid = typid,
                                           .basetypmod = -1,
                                           .basetypname = SLICE("int4"),
                                           .pk_index = (int16_t)(i == 0 ? 0 : -1),
                                           .not_null = i == 0,
                                           .in_identity = i == 0,
                                           .collation_deterministic = true};
}

static inline struct table *new_table(uint32_t relid)
{
    struct table *table = table_new();

    table->relid = relid;
    table->nspname = SLICE("public");
    table->relname = SLICE("items");
    table->relkind = 'r';
    table->replident = REPLIDENT_FULL;
    table->ncols = 2;
    table->cols = arena_calloc(&table->arena, 2, sizeof(*table->cols));
    column(table, 0, "id", 23);
    column(table, 1, "n", 23);
    table->npk = 1;
    table->pk = arena_calloc(&table->arena, 1, sizeof(*table->pk));
    return table;
}

/* A shape that differs from others by its number. */
static inline struct shape *new_shape(unsigned number)
{
    struct table *table = new_table(4242);
    char text[16];
    const struct slice params[2] = {{NULL, 0}, {text, (size_t)sprintf(text, "%u", number)}};
    const char *field;
    struct err err;
    struct shape *shape = shape_new(&(struct shape_request){.table = SLICE("public.items"),
                                                            .where = SLICE("n = $2"),
                                                            .params = {params, 2},
                                                            .replica = SHAPE_REPLICA_FULL},
                                    table, &field, &err);

    table_unref(table);
    if (!shape)
        fail_msg("%s", err.msg);
    return shape;
}

static inline struct log *new_log(struct shapelog *store, unsigned number)
{
    struct shape *shape = new_shape(number);
    struct err err;
    bool made;
    struct log *log = shapelog_create(store, shape, &made, &err);

    if (!log)
        fail_msg("shapelog_create: %s", err.msg);
    assert_true(made);
    shape_unref(shape);
    return log;
}

/* A snapshot that sees every transaction below `xmax` that is not in `running` (0: none is). */
static inline void set_snapshot(struct log *log, uint64_t xmax, uint64_t running, lsn_t limit)
{
    const struct snapshot snapshot = {running ? running : xmax, xmax, &running, running != 0};

    log_set_snapshot(log, &snapshot, limit);
}

/* Registered at `registered`, its snapshot one row ("row<number>"), LIVE. */
static inline struct log *new_live_log(struct shapelog *store, unsigned number, lsn_t registered)
{
    struct log *log = new_log(store, number);
    char row[32];
    struct err err;

    log_register(log, registered);
    set_snapshot(log, 1, 0, registered);
    snprintf(row, sizeof(row), "row%u", number);
    struct snapshot_writer *writer = snapshot_writer_new(store, log, &err);
    assert_non_null(writer);
    assert_ok(snapshot_writer_put(writer, slice_of(row), &err), err);
    assert_ok(snapshot_writer_finish(writer, &err), err);
    assert_int_equal(log_state(log), LOG_LIVE);
    return log;
}

/* Finds the log again after the store was opened, and gives it its shape. NULL when it has ended.
 */
static inline struct log *bind_again(struct shapelog *store, const char *handle, unsigned number)
{
    struct log *log = shapelog_find(store, slice_of(handle));

    if (log) {
        struct shape *shape = new_shape(number);

        log_bind(log, shape);
        shape_unref(shape);
    }
    return log;
}

static inline void copy_handle(const struct log *log, char handle[64])
{
    snprintf(handle, 64, "%.*s", SLICE_ARG(log_handle(log)));
}

/* ---- transactions ---------------------------------------------------------------------------- */

static inline struct txn txn_at(lsn_t lsn)
{
    return (struct txn){.commit_lsn = lsn,
                        .end_lsn = lsn + 5,
                        .xid = (uint32_t)lsn,
                        .time_us = (int64_t)lsn * 1000};
}

static inline bool begin(struct shapelog *store, lsn_t lsn)
{
    struct txn txn = txn_at(lsn);
    struct err err;
    bool known;

    assert_ok(shapelog_begin(store, &txn, &known, &err), err);
    return !known;
}

static inline void append(struct shapelog *store, struct lane *lane, const char *message,
                          uint64_t op, struct log *log)
{
    struct err err;

    assert_ok(shapelog_append(store, lane, slice_of(message), op, &log, 1, &err), err);
}

static inline void commit(struct shapelog *store, lsn_t lsn)
{
    struct txn txn = txn_at(lsn);
    struct err err;

    assert_ok(shapelog_commit(store, &txn, &err), err);
}

static inline void publish(struct shapelog *store, lsn_t lsn)
{
    struct err err;

    assert_ok(shapelog_publish(store, lsn, lsn + 5, &err), err);
}

/* One message, committed and published. */
static inline void put(struct shapelog *store, struct lane *lane, lsn_t lsn, struct log *log,
                       const char *message)
{
    begin(store, lsn);
    append(store, lane, message, 0, log);
    commit(store, lsn);
    publish(store, lsn);
}

static inline void wait_durable(struct shapelog *store, lsn_t end_lsn)
{
    int64_t deadline = clock_ms() + DEADLINE_MS;

    while (shapelog_durable(store) < end_lsn) {
        assert_true(clock_ms() < deadline);
        usleep(200);
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

static inline void put_run(struct buf *out, const struct log_run *run, lsn_t *last)
{
    char *p = buf_room(out, run->len + 32u);

    assert_non_null(p);
    if (run->commit_lsn != *last)
        buf_printf(out, "[%llu]", (unsigned long long)run->commit_lsn);
    else
        buf_put_u8(out, ',');
    *last = run->commit_lsn;
    p = buf_room(out, run->len);
    assert_int_equal(pread(run->fd, p, run->len, (off_t)run->offset), run->len);
    buf_added(out, run->len);
}

/* Appends all that can be read from the cursor on, `max` runs a call. False when the log has ended.
 */
static inline bool read_from(struct shapelog *store, struct log *log, lsn_t after, size_t max,
                             struct buf *out)
{
    struct log_cursor cursor = {.after = after};
    struct log_run runs[64];
    lsn_t last = LSN_NONE;
    struct err err;
    size_t n;

    for (;;) {
        if (!log_read(store, log, &cursor, UINT64_MAX, runs, max, &n, &err))
            return false;
        if (n == 0)
            return true;
        for (size_t i = 0; i < n; i++)
            put_run(out, &runs[i], &last);
        log_runs_release(runs, n);
    }
}

/* All of it, to be freed; NULL when the log has ended. */
static inline char *read_log(struct shapelog *store, struct log *log)
{
    struct buf out;

    buf_init(&out, BUF_NO_LIMIT);
    bool there = read_from(store, log, 0, 64, &out);
    buf_cstr(&out);
    if (there)
        return out.ptr;
    buf_release(&out);
    return NULL;
}

static inline void assert_log(struct shapelog *store, struct log *log, const char *expected)
{
    char *text = read_log(store, log);

    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
}

/* The snapshot's rows, "/" where a chunk ends; NULL when it is gone. "..." when there is more. */
static inline char *read_snapshot(struct shapelog *store, struct log *log)
{
    struct snapshot_block block;
    enum snapshot_read result;
    struct buf out;

    buf_init(&out, BUF_NO_LIMIT);
    for (uint32_t i = 0; (result = log_snapshot_block(store, log, i, &block)) == SNAPSHOT_BLOCK;
         i++) {
        if (out.len > 0 && out.ptr[out.len - 1] != '/')
            buf_put_u8(&out, ',');
        char *p = buf_room(&out, block.len);

        assert_non_null(p);
        assert_int_equal(pread(block.fd, p, block.len, (off_t)block.offset), block.len);
        buf_added(&out, block.len);
        if (block.ends_chunk)
            buf_put_u8(&out, '/');
        snapshot_block_release(&block);
    }
    if (result == SNAPSHOT_WAIT)
        buf_put_cstr(&out, "...");
    buf_cstr(&out);
    if (result != SNAPSHOT_GONE)
        return out.ptr;
    buf_release(&out);
    return NULL;
}

static inline void assert_snapshot(struct shapelog *store, struct log *log, const char *expected)
{
    char *text = read_snapshot(store, log);

    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
}

#endif
