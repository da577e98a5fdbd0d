/*
 * The fan-out over a real shape log in a temporary folder: what is read from
 * the logs after transactions are given to it.
 */
#include "fanout/fanout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define TEXT(s) ((struct value){VALUE_TEXT, SLICE(s)})
#define TUPLE(...)                                                                                 \
    (&(struct tuple){sizeof((struct value[]){__VA_ARGS__}) / sizeof(struct value),                 \
                     (struct value[]){__VA_ARGS__}})

struct world {
    char dir[64];
    struct shapelog *store;
    struct fanout *fanout;
    struct table *table;
    struct log *all, *sevens; /* every row; those with owner = 7 */
    lsn_t lsn;
};

#define ROOT_RELID 16384
#define LEAF_RELID 16500

/* The leaf is a partition of the table. */
static bool resolve(void *owner, uint32_t relid, struct arena *arena, uint32_t **ancestors,
                    size_t *n, struct err *err)
{
    (void)owner, (void)err;
    *ancestors = arena_calloc(arena, 1, sizeof(**ancestors));
    **ancestors = ROOT_RELID;
    *n = relid == LEAF_RELID;
    return true;
}

static struct relation_column cols[] = {
    {{"id", 2}, 20, -1, true},
    {{"owner", 5}, 20, -1, true},
};
static const struct relation relation = {ROOT_RELID, {"public", 6}, {"items", 5}, REPLIDENT_FULL,
                                         2,          cols};

static struct table *items_table(void)
{
    struct table *t = table_new();

    t->relid = ROOT_RELID;
    t->nspname = SLICE("public");
    t->relname = SLICE("items");
    t->relkind = 'r';
    t->replident = REPLIDENT_FULL;
    t->ncols = 2;
    t->cols = arena_calloc(&t->arena, 2, sizeof(*t->cols));
    for (uint16_t i = 0; i < 2; i++)
        t->cols[i] = (struct table_column){.name = cols[i].name,
                                           .attnum = (int16_t)(i + 1),
                                           .typid = 20,
                                           .typmod = -1,
                                           .typname = SLICE("int8"),
                                           .class = TYPE_BASE,
                                           .basetypid = 20,
                                           .basetypmod = -1,
                                           .basetypname = SLICE("int8"),
                                           .pk_index = i == 0 ? 0 : -1,
                                           .not_null = true,
                                           .in_identity = true,
                                           .collation_deterministic = true};
    t->npk = 1;
    t->pk = arena_calloc(&t->arena, 1, sizeof(*t->pk));
    return t;
}

/* A log that has its (empty) snapshot. */
static struct log *follow_request(struct world *w, const struct shape_request *request)
{
    const struct snapshot snapshot = {1, 1, NULL, 0};
    const char *field;
    struct err err;
    bool made;
    struct shape *shape = shape_new(request, w->table, &field, &err);

    assert_non_null(shape);
    struct log *log = shapelog_create(w->store, shape, &made, &err);
    assert_non_null(log);
    shape_unref(shape);

    lsn_t registered;
    struct fanout_registration *reg = fanout_register_begin(w->fanout, &log, 1);
    assert_true(fanout_settle(w->fanout, w->lsn, w->lsn + 1, &err));
    assert_true(fanout_register_wait(w->fanout, reg, 1000, &registered, &err));
    assert_true(registered == w->lsn);
    log_set_snapshot(log, &snapshot, w->lsn + 1);
    struct snapshot_writer *writer = snapshot_writer_new(w->store, log, &err);
    assert_non_null(writer);
    assert_true(snapshot_writer_finish(writer, &err));
    return log;
}

static struct log *follow_columns(struct world *w, const char *where, const char *columns)
{
    return follow_request(w, &(struct shape_request){.table = SLICE("items"),
                                                     .where = slice_of(where),
                                                     .columns = columns ? slice_of(columns)
                                                                        : (struct slice){NULL, 0}});
}

static struct log *follow(struct world *w, const char *where)
{
    return follow_columns(w, where, NULL);
}

/* As /v1/sync does: the primary key is enough. */
static struct log *follow_keyed(struct world *w, const char *where)
{
    return follow_request(w, &(struct shape_request){.table = SLICE("items"),
                                                     .where = slice_of(where),
                                                     .keyed_by_identity = true});
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct err err;

    snprintf(w->dir, sizeof(w->dir), "/tmp/test_fanout_XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->lsn = 1000;
    w->store = shapelog_open(&(struct shapelog_config){.dir = w->dir}, &err);
    assert_non_null(w->store);
    w->fanout = fanout_new(w->store, resolve, NULL);
    w->table = items_table();
    w->all = follow(w, "");
    w->sevens = follow(w, "owner = 7");
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    char command[96];

    log_unref(w->all);
    log_unref(w->sevens);
    fanout_free(w->fanout);
    table_unref(w->table);
    shapelog_close(w->store);
    snprintf(command, sizeof(command), "rm -rf %s", w->dir);
    assert_int_equal(system(command), 0);
    free(w);
    return 0;
}

static struct txn next_txn(struct world *w)
{
    w->lsn += 100;
    return (struct txn){w->lsn, w->lsn + 50, (uint32_t)w->lsn, 1};
}

/* One transaction of one change, published. */
static void run(struct world *w, const struct relation *rel, struct change change)
{
    struct txn txn = next_txn(w);
    struct err err;

    change.relid = rel->relid;
    assert_true(fanout_begin(w->fanout, &txn, &err));
    assert_true(fanout_relation(w->fanout, rel, &err));
    assert_true(fanout_change(w->fanout, rel, &change, 0, &err));
    assert_true(fanout_commit(w->fanout, &txn, &err));
    assert_true(fanout_settle(w->fanout, txn.end_lsn - 1, txn.end_lsn, &err));
}

/* The operations of the log's messages since `after`, as letters: "iud". */
static const char *operations(struct world *w, struct log *log, lsn_t after)
{
    static char out[32];
    struct log_cursor cursor = {.after = after};
    struct log_run runs[8];
    struct err err;
    size_t n, len = 0;

    out[0] = '\0';
    while (log_read(w->store, log, &cursor, UINT64_MAX, runs, 8, &n, &err) && n > 0) {
        for (size_t i = 0; i < n; i++) {
            char *text = calloc(1, runs[i].len + 1);

            assert_int_equal(pread(runs[i].fd, text, runs[i].len, (off_t)runs[i].offset),
                             runs[i].len);
            for (const char *p = text; (p = strstr(p, "\"operation\":\"")); len++)
                out[len] = (p += sizeof("\"operation\":\"") - 1)[0];
            free(text);
        }
        log_runs_release(runs, n);
    }
    out[len] = '\0';
    return out;
}

static void test_rows_enter_stay_in_move_within_and_leave_a_shape(void **state)
{
    struct world *w = *state;
    lsn_t start = w->lsn;

    run(w, &relation, (struct change){.op = CHANGE_INSERT, .new = TUPLE(TEXT("1"), TEXT("8"))});
    assert_string_equal(operations(w, w->sevens, start), "");
    run(w, &relation,
        (struct change){.op = CHANGE_UPDATE,
                        .old = TUPLE(TEXT("1"), TEXT("8")),
                        .new = TUPLE(TEXT("1"), TEXT("7"))});
    assert_string_equal(operations(w, w->sevens, start), "i");
    run(w, &relation,
        (struct change){.op = CHANGE_UPDATE,
                        .old = TUPLE(TEXT("1"), TEXT("7")),
                        .new = TUPLE(TEXT("2"), TEXT("7"))});
    assert_string_equal(operations(w, w->sevens, start), "idi");
    run(w, &relation,
        (struct change){.op = CHANGE_UPDATE,
                        .old = TUPLE(TEXT("2"), TEXT("7")),
                        .new = TUPLE(TEXT("2"), TEXT("7"))});
    assert_string_equal(operations(w, w->sevens, start), "idi");
    run(w, &relation,
        (struct change){.op = CHANGE_UPDATE,
                        .old = TUPLE(TEXT("2"), TEXT("7")),
                        .new = TUPLE(TEXT("2"), TEXT("9"))});
    assert_string_equal(operations(w, w->sevens, start), "idid");
    run(w, &relation, (struct change){.op = CHANGE_DELETE, .old = TUPLE(TEXT("2"), TEXT("9"))});
    assert_string_equal(operations(w, w->sevens, start), "idid");
    assert_string_equal(operations(w, w->all, start), "iudiud");
}

static void test_a_partitions_rows_are_the_roots_whatever_its_columns_order(void **state)
{
    struct world *w = *state;
    struct relation_column turned[] = {cols[1], cols[0]};
    const struct relation leaf = {LEAF_RELID, SLICE("public"), SLICE("items_1"), REPLIDENT_FULL,
                                  2,          turned};
    lsn_t start = w->lsn;

    run(w, &leaf, (struct change){.op = CHANGE_INSERT, .new = TUPLE(TEXT("7"), TEXT("1"))});
    assert_string_equal(operations(w, w->sevens, start), "i");
    assert_string_equal(operations(w, w->all, start), "i");
}

static void test_another_schema_ends_the_tables_logs_and_nothing_else_stops(void **state)
{
    struct world *w = *state;
    struct relation_column more[] = {cols[0], cols[1], {SLICE("x"), 25, -1, true}};
    const struct relation altered = {ROOT_RELID, SLICE("public"), SLICE("items"), REPLIDENT_FULL, 3,
                                     more};
    char reason[256];

    run(w, &altered,
        (struct change){.op = CHANGE_INSERT, .new = TUPLE(TEXT("1"), TEXT("7"), TEXT("y"))});
    assert_int_equal(log_state(w->all), LOG_ENDED);
    assert_int_equal(log_state(w->sevens), LOG_ENDED);
    log_reason(w->all, reason);
    assert_string_equal(reason, "the table's columns have changed");
}

static void test_a_shape_that_names_its_columns_outlives_others(void **state)
{
    struct world *w = *state;
    struct relation_column more[] = {
        cols[0], {SLICE("owner"), 25, -1, true}, {SLICE("x"), 25, -1, true}};
    const struct relation altered = {ROOT_RELID, SLICE("public"), SLICE("items"), REPLIDENT_FULL, 3,
                                     more};
    struct log *ids = follow_columns(w, "id > 1", "id"),
               *owners = follow_columns(w, "owner = 7", "id");
    lsn_t start = w->lsn;

    for (int i = 0; i < 2; i++)
        run(w, &altered,
            (struct change){.op = CHANGE_INSERT, .new = TUPLE(TEXT("2"), TEXT("7"), TEXT("y"))});
    assert_int_equal(log_state(w->all), LOG_ENDED);
    assert_int_equal(log_state(owners), LOG_ENDED);
    assert_int_equal(log_state(ids), LOG_LIVE);
    assert_string_equal(operations(w, ids, start), "ii");
    log_unref(ids);
    log_unref(owners);
}

/* As after ALTER TABLE .. ADD COLUMN, which the older shape does not have. */
static void test_shapes_of_two_versions_of_a_table_are_followed_side_by_side(void **state)
{
    struct world *w = *state;
    struct relation_column more[] = {cols[0], cols[1], {SLICE("x"), 20, -1, true}};
    const struct relation altered = {ROOT_RELID, SLICE("public"), SLICE("items"), REPLIDENT_FULL, 3,
                                     more};
    struct log *older = follow_columns(w, "owner = 7", "id,owner"), *newer;
    struct table *before = w->table;
    lsn_t start;

    w->table = items_table();
    w->table->cols = memcpy(arena_calloc(&w->table->arena, 3, sizeof(*before->cols)),
                            w->table->cols, 2 * sizeof(*before->cols));
    w->table->cols[2] = w->table->cols[1];
    w->table->cols[2].name = SLICE("x");
    w->table->cols[2].attnum = 3;
    w->table->ncols = 3;
    newer = follow_columns(w, "x = 9", NULL);
    start = w->lsn;
    run(w, &altered,
        (struct change){.op = CHANGE_INSERT, .new = TUPLE(TEXT("1"), TEXT("7"), TEXT("8"))});
    run(w, &altered,
        (struct change){.op = CHANGE_UPDATE,
                        .old = TUPLE(TEXT("1"), TEXT("7"), TEXT("8")),
                        .new = TUPLE(TEXT("1"), TEXT("6"), TEXT("9"))});
    assert_string_equal(operations(w, older, start), "id");
    assert_string_equal(operations(w, newer, start), "i");
    assert_int_equal(log_state(w->all), LOG_ENDED);
    log_unref(older);
    log_unref(newer);
    table_unref(before);
}

static void test_a_rewrite_ends_the_shapes_that_use_a_rewritten_column(void **state)
{
    struct world *w = *state;
    const struct slice columns[] = {SLICE("owner"), SLICE("new")};
    const struct fanout_rewrite rewrite = {.reason = "r", .columns = columns, .ncolumns = 2};
    struct log *ids = follow_columns(w, "", "id"), *owners = follow_columns(w, "", "id,owner");
    struct txn txn = next_txn(w);
    struct err err;

    assert_true(fanout_begin(w->fanout, &txn, &err));
    assert_true(fanout_rewrite_table(w->fanout, LEAF_RELID, &rewrite, &err));
    assert_true(fanout_commit(w->fanout, &txn, &err));
    assert_int_equal(log_state(w->all), LOG_ENDED);
    assert_int_equal(log_state(w->sevens), LOG_ENDED);
    assert_int_equal(log_state(owners), LOG_ENDED);
    assert_int_equal(log_state(ids), LOG_LIVE);
    log_unref(ids);
    log_unref(owners);
}

static void test_an_update_without_its_old_row_ends_what_needs_it(void **state)
{
    struct world *w = *state;

    run(w, &relation, (struct change){.op = CHANGE_UPDATE, .new = TUPLE(TEXT("1"), TEXT("7"))});
    assert_int_equal(log_state(w->sevens), LOG_ENDED);
}

/* The shape was made when the identity was FULL; REPLICA IDENTITY DEFAULT sends updates without the
 * old row. */
static void test_an_identity_that_shrinks_ends_what_relied_on_it(void **state)
{
    struct world *w = *state;
    struct relation_column less[] = {cols[0], {cols[1].name, 20, -1, false}};
    const struct relation altered = {
        ROOT_RELID, SLICE("public"), SLICE("items"), REPLIDENT_DEFAULT, 2, less};

    run(w, &altered, (struct change){.op = CHANGE_INSERT, .new = TUPLE(TEXT("1"), TEXT("7"))});
    assert_int_equal(log_state(w->sevens), LOG_LIVE);
    run(w, &altered, (struct change){.op = CHANGE_UPDATE, .new = TUPLE(TEXT("1"), TEXT("8"))});
    assert_int_equal(log_state(w->sevens), LOG_ENDED);
}

/* Its table had the full identity when it was looked up; what was written under the default one,
 * and comes again after a restart, takes nothing from a shape that the key is enough for. */
static void test_a_smaller_identity_is_enough_for_shapes_that_need_no_more(void **state)
{
    struct world *w = *state;
    struct log *all = follow_keyed(w, ""), *first = follow_keyed(w, "id = 1"),
               *owners = follow_keyed(w, "owner = 7");
    struct relation_column less[] = {cols[0], {cols[1].name, 20, -1, false}};
    const struct relation altered = {
        ROOT_RELID, SLICE("public"), SLICE("items"), REPLIDENT_DEFAULT, 2, less};
    lsn_t start = w->lsn;

    run(w, &altered, (struct change){.op = CHANGE_UPDATE, .new = TUPLE(TEXT("1"), TEXT("8"))});
    assert_int_equal(log_state(owners), LOG_ENDED);
    assert_int_equal(log_state(all), LOG_LIVE);
    assert_int_equal(log_state(first), LOG_LIVE);
    assert_string_equal(operations(w, all, start), "u");
    assert_string_equal(operations(w, first, start), "u");
    log_unref(all);
    log_unref(first);
    log_unref(owners);
}

static void test_a_truncate_ends_logs_also_after_rows_of_the_same_transaction(void **state)
{
    struct world *w = *state;
    const uint32_t relids[] = {ROOT_RELID};
    const struct change insert = {
        .op = CHANGE_INSERT, .relid = ROOT_RELID, .new = TUPLE(TEXT("1"), TEXT("7"))};
    struct txn txn = next_txn(w);
    struct err err;

    assert_true(fanout_begin(w->fanout, &txn, &err));
    assert_true(fanout_change(w->fanout, &relation, &insert, 0, &err));
    assert_true(fanout_truncate(w->fanout, relids, 1, &err));
    assert_true(fanout_change(w->fanout, &relation, &insert, 4, &err));
    assert_true(fanout_commit(w->fanout, &txn, &err));
    assert_true(fanout_settle(w->fanout, txn.end_lsn - 1, txn.end_lsn, &err));
    assert_int_equal(log_state(w->all), LOG_ENDED);
    assert_int_equal(log_state(w->sevens), LOG_ENDED);
}

/* After a reconnect Postgres sends again what was not confirmed. */
static void test_what_is_sent_again_is_not_appended_again(void **state)
{
    struct world *w = *state;
    lsn_t start = w->lsn;
    const struct change insert = {.op = CHANGE_INSERT, .new = TUPLE(TEXT("1"), TEXT("7"))};

    run(w, &relation, insert);
    fanout_connected(w->fanout);
    w->lsn -= 100;
    run(w, &relation, insert);
    assert_string_equal(operations(w, w->sevens, start), "i");
    run(w, &relation, (struct change){.op = CHANGE_DELETE, .old = TUPLE(TEXT("1"), TEXT("7"))});
    assert_string_equal(operations(w, w->sevens, start), "id");
}

static void test_a_broken_transaction_never_happened(void **state)
{
    struct world *w = *state;
    lsn_t start = w->lsn;
    struct txn txn = next_txn(w);
    const struct change insert = {
        .op = CHANGE_INSERT, .relid = ROOT_RELID, .new = TUPLE(TEXT("1"), TEXT("7"))};
    struct err err;

    assert_true(fanout_begin(w->fanout, &txn, &err));
    assert_true(fanout_change(w->fanout, &relation, &insert, 0, &err));
    fanout_rollback(w->fanout);
    fanout_connected(w->fanout);
    w->lsn -= 100;
    run(w, &relation, insert);
    assert_string_equal(operations(w, w->sevens, start), "i");
}

/* A snapshot may miss a transaction that went by before a restart and has not been sent again yet.
 */
static void test_registration_waits_until_the_log_has_gone_by_again(void **state)
{
    struct world *w = *state;
    lsn_t registered;
    struct err err;

    run(w, &relation, (struct change){.op = CHANGE_INSERT, .new = TUPLE(TEXT("1"), TEXT("7"))});
    fanout_connected(w->fanout);
    struct fanout_registration *reg = fanout_register_begin(w->fanout, &w->all, 1);
    assert_true(fanout_settle(w->fanout, w->lsn - 1, w->lsn, &err));
    assert_false(fanout_register_wait(w->fanout, reg, 1, &registered, &err));
    assert_int_equal(err.code, ERR_TIMEOUT);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_rows_enter_stay_in_move_within_and_leave_a_shape),
        TEST(test_a_partitions_rows_are_the_roots_whatever_its_columns_order),
        TEST(test_another_schema_ends_the_tables_logs_and_nothing_else_stops),
        TEST(test_a_shape_that_names_its_columns_outlives_others),
        TEST(test_shapes_of_two_versions_of_a_table_are_followed_side_by_side),
        TEST(test_a_rewrite_ends_the_shapes_that_use_a_rewritten_column),
        TEST(test_an_update_without_its_old_row_ends_what_needs_it),
        TEST(test_an_identity_that_shrinks_ends_what_relied_on_it),
        TEST(test_a_smaller_identity_is_enough_for_shapes_that_need_no_more),
        TEST(test_a_truncate_ends_logs_also_after_rows_of_the_same_transaction),
        TEST(test_what_is_sent_again_is_not_appended_again),
        TEST(test_a_broken_transaction_never_happened),
        TEST(test_registration_waits_until_the_log_has_gone_by_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
