/*
 * The hot paths allocate by transaction and by chunks of a segment's index, never by row: for N
 * more rows in a transaction malloc is asked a twenty-fifth of that more often at most. Every
 * malloc of our own code is counted: the linker puts the functions below in its place (--wrap).
 * Arenas and buffers get their memory from there too, so what grows by rows shows.
 */
#include "pipeline.h"
#include "replica_kit.h"

#define ROWS 1000u
/* What is kept of rows in memory, where in a segment a shape's run of them begins, is allocated by
 * chunks of that; and what doubles as it grows may double once more on the way from N to 2N. */
#define CHUNKS (ROWS / 25)

static _Thread_local size_t asked; /* the shape log's syncer is another thread */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_malloc(size_t size)
{
    asked++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    asked++;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    asked++;
    return __real_realloc(p, size);
}

/* ---- the stream into the log ----------------------------------------------------------------- */

static size_t asked_by_transaction(struct pipeline *p, uint64_t first, uint64_t rows)
{
    pipeline_make_from(p, first, rows, 10);
    size_t before = asked;

    pipeline_run(p);
    return asked - before;
}

static void test_streamed_rows_are_not_allocated_for(void **state)
{
    struct pipeline *p = pipeline_new();

    (void)state;
    pipeline_follow(p, "");
    for (int i = 0; i < 10; i++) {
        char where[64];

        snprintf(where, sizeof(where), "owner_id = %d AND price < 500", i);
        pipeline_follow(p, where);
    }
    asked_by_transaction(p, 0, 4 * ROWS);
    size_t once = asked_by_transaction(p, 10 * ROWS, ROWS);
    size_t twice = asked_by_transaction(p, 20 * ROWS, 2 * ROWS);
    assert_int_equal(fanout_get_stats(p->fanout)->messages, 7 * ROWS);
    print_message("%zu allocations for %u rows, %zu for %u\n", once, ROWS, twice, 2 * ROWS);
    assert_true(twice <= once + CHUNKS);
    pipeline_free(p);
}

/* ---- the stream into the replica ------------------------------------------------------------- */

static size_t asked_by_commit(struct kit *k, struct replica *r, const char *op, unsigned rows)
{
    static uint64_t lsn = 100;
    static int round;

    round++;
    for (unsigned i = 0; i < rows; i++)
        say_item(k, 0, op, (int)i, "a name of some length", round);
    say_commit(k, lsn += 100);
    size_t before = asked;

    /* As a network gives it; whole, it would be one line of the stream after another all the same.
     */
    assert_true(kit_try(k, r, 16384));
    return asked - before;
}

static void test_applied_rows_are_not_allocated_for(void **state)
{
    struct kit k;

    (void)state;
    struct replica *r = kit_begin(&k, "items", NULL);
    say_open(&k, 0, "h1", ITEMS, true);
    say_end(&k, 0, 50);
    asked_by_commit(&k, r, "insert", 4 * ROWS);
    asked_by_commit(&k, r, "update", 4 * ROWS);
    size_t once = asked_by_commit(&k, r, "update", ROWS);
    size_t twice = asked_by_commit(&k, r, "update", 2 * ROWS);
    print_message("%zu allocations for %u rows, %zu for %u\n", once, ROWS, twice, 2 * ROWS);
    assert_true(twice <= once + CHUNKS);
    replica_close(r);
    kit_release(&k);
}

/* That the counting counts. */
static void test_an_allocation_a_row_would_be_seen(void **state)
{
    size_t before = asked;
    struct arena arena = {0};

    (void)state;
    for (unsigned i = 0; i < ROWS; i++) {
        arena_alloc(&arena, 10);
        arena_release(&arena);
    }
    assert_int_equal(asked - before, ROWS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streamed_rows_are_not_allocated_for),
        cmocka_unit_test(test_applied_rows_are_not_allocated_for),
        cmocka_unit_test(test_an_allocation_a_row_would_be_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
