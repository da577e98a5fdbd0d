/* A snapshot's chunks: log_snapshot_chunk_at() against a model, while the rows come and after. */
#include "test_shapelog_fixture.h"

#include <fcntl.h>

#define CHUNK_SIZE 4096u /* the fixture's */
#define ROWS_MAX 400u

struct fixture {
    char dir[64], handle[64];
    struct shapelog *store;
    struct log *log;
    struct snapshot_writer *writer;
};

static int set_up_chunked(void **state, size_t chunk_size)
{
    struct fixture *f = calloc(1, sizeof(*f));

    make_fast_folder(f->dir);
    f->store = open_store_chunked(f->dir, 0, chunk_size);
    f->log = new_log(f->store, 1);
    copy_handle(f->log, f->handle);
    log_register(f->log, 90);
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    return set_up_chunked(state, CHUNK_SIZE);
}

/* A chunk is of several blocks. */
static int set_up_large(void **state)
{
    return set_up_chunked(state, (size_t)1 << 20);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    log_unref(f->log);
    shapelog_close(f->store);
    remove_folder(f->dir);
    free(f);
    return 0;
}

static void start(struct fixture *f)
{
    struct err err;

    set_snapshot(f->log, 10, 0, 95);
    f->writer = snapshot_writer_new(f->store, f->log, &err);
    assert_non_null(f->writer);
}

static void put_row(struct fixture *f, size_t len)
{
    char *row = malloc(len);
    struct err err;

    memset(row, 'r', len);
    assert_ok(snapshot_writer_put(f->writer, (struct slice){row, len}, &err), err);
    free(row);
}

static void finish(struct fixture *f)
{
    struct err err;

    assert_ok(snapshot_writer_finish(f->writer, &err), err);
}

static enum chunk_is chunk_at(struct fixture *f, uint32_t number, struct snapshot_chunk *chunk)
{
    *chunk = (struct snapshot_chunk){.block = 999};
    return log_snapshot_chunk_at(f->store, f->log, number, chunk);
}

/* The rows of blocks [chunk.block, + chunk.blocks). */
static uint32_t count_rows(struct fixture *f, const struct snapshot_chunk *chunk)
{
    struct snapshot_block block;
    uint32_t rows = 0;
    uint64_t size = 0;

    for (uint32_t i = 0; i < chunk->blocks; i++) {
        assert_int_equal(log_snapshot_block(f->store, f->log, chunk->block + i, &block),
                         SNAPSHOT_BLOCK);
        assert_int_equal(block.ends_chunk, !chunk->last && i + 1 == chunk->blocks);
        rows += block.rows;
        size += block.len + 1;
        snapshot_block_release(&block);
    }
    assert_true(size == chunk->size);
    return rows;
}

/* The chunk as its stretches give it, *n of them. */
static char *read_stretches(struct fixture *f, const struct snapshot_chunk *chunk, unsigned *n)
{
    struct snapshot_block stretch;
    char *text = calloc(chunk->size + 1, 1);
    size_t len = 0;

    *n = 0;
    for (uint32_t at = chunk->block; at < chunk->block + chunk->blocks; ++*n) {
        assert_int_equal(log_snapshot_stretch(f->store, f->log, &at, &stretch), SNAPSHOT_BLOCK);
        assert_true(at <= chunk->block + chunk->blocks && stretch.len <= chunk->size - len);
        assert_int_equal(pread(stretch.fd, text + len, stretch.len, (off_t)stretch.offset),
                         stretch.len);
        len += stretch.len;
        snapshot_block_release(&stretch);
    }
    assert_true(len == chunk->size);
    return text;
}

/* The same by its blocks. */
static char *read_blocks(struct fixture *f, const struct snapshot_chunk *chunk)
{
    struct snapshot_block block;
    char *text = calloc(chunk->size + 1, 1);
    size_t len = 0;

    for (uint32_t i = 0; i < chunk->blocks; i++) {
        assert_int_equal(log_snapshot_block(f->store, f->log, chunk->block + i, &block),
                         SNAPSHOT_BLOCK);
        assert_int_equal(pread(block.fd, text + len, block.len, (off_t)block.offset), block.len);
        len += block.len;
        text[len++] = block.ends_chunk ? ']' : ',';
        snapshot_block_release(&block);
    }
    return text;
}

static void reopen(struct fixture *f)
{
    log_unref(f->log);
    shapelog_close(f->store);
    f->store = open_store(f->dir, 0);
    f->log = shapelog_find(f->store, slice_of(f->handle));
}

/* Rows a chunk, and 0 for the last one when the rows filled those before. */
struct model {
    uint32_t rows[ROWS_MAX + 1], n;
};

static void assert_chunks(struct fixture *f, const struct model *m)
{
    struct snapshot_chunk chunk;
    uint32_t block = 0;

    for (uint32_t i = 0; i < m->n; i++) {
        assert_int_equal(chunk_at(f, i, &chunk), CHUNK_THERE);
        assert_int_equal(chunk.block, block);
        assert_true(chunk.complete);
        assert_int_equal(chunk.last, i + 1 == m->n);
        assert_int_equal(count_rows(f, &chunk), m->rows[i]);
        block += chunk.blocks;
    }
    assert_int_equal(chunk_at(f, m->n, &chunk), CHUNK_NONE);
    assert_int_equal(chunk_at(f, UINT32_MAX, &chunk), CHUNK_NONE);
}

static void test_chunks_are_the_same_when_written_and_after_a_restart(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 20; seed++) {
        struct model m = {.n = 1};
        struct fixture *f = NULL;
        unsigned rolls = seed;
        size_t sum = 0;

        set_up((void **)&f);
        start(f);
        for (unsigned rows = (unsigned)rand_r(&rolls) % ROWS_MAX; rows > 0; rows--) {
            size_t len = 1 + (size_t)rand_r(&rolls) % (seed % 4 == 0 ? 2 * CHUNK_SIZE : 700);

            put_row(f, len);
            m.rows[m.n - 1]++;
            sum += len + 1;
            if (sum >= CHUNK_SIZE) {
                sum = 0;
                m.n++;
            }
        }
        finish(f);
        assert_chunks(f, &m);
        reopen(f);
        assert_chunks(f, &m);
        tear_down((void **)&f);
    }
}

static void test_the_chunk_behind_one_that_has_closed_is_there_at_once(void **state)
{
    struct fixture *f = *state;
    struct snapshot_chunk chunk;

    assert_int_equal(chunk_at(f, 0, &chunk), CHUNK_WAIT); /* which rows is not known yet */
    start(f);
    assert_int_equal(chunk_at(f, 0, &chunk), CHUNK_THERE);
    assert_int_equal(chunk.blocks, 0);
    assert_false(chunk.complete);
    assert_int_equal(chunk_at(f, 1, &chunk), CHUNK_WAIT);
    put_row(f, CHUNK_SIZE);
    assert_int_equal(chunk_at(f, 0, &chunk), CHUNK_THERE);
    assert_true(chunk.complete);
    assert_false(chunk.last);
    assert_int_equal(count_rows(f, &chunk), 1);
    assert_int_equal(chunk_at(f, 1, &chunk), CHUNK_THERE);
    assert_int_equal(chunk.block, 1);
    assert_false(chunk.complete);
    assert_int_equal(chunk_at(f, 2, &chunk), CHUNK_WAIT);
    finish(f);
    assert_int_equal(chunk_at(f, 1, &chunk), CHUNK_THERE);
    assert_int_equal(chunk.blocks, 0);
    assert_true(chunk.complete);
    assert_true(chunk.last);
    assert_int_equal(chunk_at(f, 2, &chunk), CHUNK_NONE);
}

static void test_a_snapshot_without_rows_is_one_chunk(void **state)
{
    struct fixture *f = *state;
    const struct model m = {.rows = {0}, .n = 1};

    start(f);
    finish(f);
    assert_chunks(f, &m);
    reopen(f);
    assert_chunks(f, &m);
}

static void test_no_chunk_of_a_damaged_or_ended_snapshot_is_said_to_be_missing(void **state)
{
    struct fixture *f = *state;
    struct snapshot_chunk chunk;
    char path[128];

    start(f);
    put_row(f, CHUNK_SIZE);
    put_row(f, CHUNK_SIZE);
    finish(f);
    snprintf(path, sizeof(path), "%s/snapshots/%llu.snap", f->dir,
             (unsigned long long)log_id(f->log));
    log_unref(f->log);
    shapelog_close(f->store);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "\x7f", 1, 2 * CHUNK_SIZE + 20), 1); /* in the table */
    close(fd);
    f->store = open_store(f->dir, 0);
    f->log = shapelog_find(f->store, slice_of(f->handle));
    assert_int_equal(chunk_at(f, 9, &chunk), CHUNK_GONE);
    assert_int_equal(log_state(f->log), LOG_ENDED);
    assert_int_equal(chunk_at(f, 0, &chunk), CHUNK_GONE);
}

static void test_a_chunk_lies_in_one_stretch_as_it_is_sent(void **state)
{
    struct fixture *f = *state;
    struct snapshot_chunk chunk;
    unsigned n;

    start(f);
    for (unsigned i = 0; i < 40; i++) {
        put_row(f, 100000);
        assert_int_equal(chunk_at(f, 0, &chunk), CHUNK_THERE);
        free(read_stretches(f, &chunk, &n));
        assert_int_equal(n, chunk.blocks > 0); /* of what there is while they come */
    }
    finish(f);
    for (unsigned round = 0; round < 2; round++, reopen(f)) {
        for (uint32_t i = 0; chunk_at(f, i, &chunk) == CHUNK_THERE; i++) {
            char *once = read_stretches(f, &chunk, &n), *again = read_stretches(f, &chunk, &n);
            char *blocks = read_blocks(f, &chunk);

            assert_int_equal(n, chunk.blocks > 0);
            assert_true(chunk.blocks > 1 || chunk.last);
            assert_string_equal(once, blocks);
            assert_string_equal(again, blocks);
            free(once);
            free(again);
            free(blocks);
        }
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_are_the_same_when_written_and_after_a_restart),
        TEST(test_the_chunk_behind_one_that_has_closed_is_there_at_once),
        TEST(test_a_snapshot_without_rows_is_one_chunk),
        cmocka_unit_test_setup_teardown(test_a_chunk_lies_in_one_stretch_as_it_is_sent,
                                        set_up_large, tear_down),
        TEST(test_no_chunk_of_a_damaged_or_ended_snapshot_is_said_to_be_missing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
