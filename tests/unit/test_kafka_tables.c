/* Which tables are chosen, and what is remembered of them. */
#include "kafka/progress.h"
#include "kafka/selection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- which ----------------------------------------------------------------------------------- */

static void test_a_star_chooses_all_but_the_system_s_tables(void **state)
{
    (void)state;
    assert_true(selection_has("*", SLICE("public"), SLICE("items")));
    assert_true(selection_has("*", SLICE("pgcrypto"), SLICE("t")));
    assert_false(selection_has("*", SLICE("pg_catalog"), SLICE("pg_class")));
    assert_false(selection_has("*", SLICE("information_schema"), SLICE("tables")));
    assert_false(selection_has("tombolo.*", SLICE("tombolo"), SLICE("replicas")));
}

static void test_patterns_are_of_schema_and_table(void **state)
{
    static const char patterns[] = "public.*, sales.order_*s,a*b.x*y*z";

    (void)state;
    assert_true(selection_has(patterns, SLICE("public"), SLICE("any.thing")));
    assert_true(selection_has(patterns, SLICE("sales"), SLICE("order_items")));
    assert_true(selection_has(patterns, SLICE("sales"), SLICE("order_s")));
    assert_false(selection_has(patterns, SLICE("sales"), SLICE("order_item")));
    assert_false(selection_has(patterns, SLICE("sales"), SLICE("orders")));
    assert_true(selection_has(patterns, SLICE("ab"), SLICE("xyz")));
    assert_true(selection_has(patterns, SLICE("aabb"), SLICE("x1yy2zz")));
    assert_false(selection_has(patterns, SLICE("ab"), SLICE("xzy")));
    assert_false(selection_has("public.items", SLICE("public"), SLICE("items2")));
    assert_false(selection_has("public.items", SLICE("public"), SLICE("item")));
}

static void test_what_is_no_pattern_is_refused_by_its_name(void **state)
{
    static const char *const wrong[] = {"items", "public.*,items", "", "public.", ".items", "a.b,"};
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        assert_false(selection_check(wrong[i], &err));
        assert_int_equal(err.code, ERR_CONFIG);
    }
    assert_false(selection_check("public.*, items", &err));
    assert_non_null(strstr(err.msg, "\"items\""));
    assert_true(selection_check("*", &err));
    assert_true(selection_check(" public.* , s.t", &err));
}

/* ---- what of them ---------------------------------------------------------------------------- */

struct site {
    char dir[32];
    struct progress *progress;
    struct table *table;
    struct err err;
};

static struct table *make_table(const char *published)
{
    struct table *table = table_new();

    table->relid = 7;
    table->published = arena_copy(&table->arena, slice_of(published));
    return table;
}

static int open_site(void **state)
{
    struct site *s = calloc(1, sizeof(*s));

    snprintf(s->dir, sizeof(s->dir), "/tmp/progressXXXXXX");
    assert_non_null(mkdtemp(s->dir));
    s->progress = progress_open(s->dir);
    s->table = make_table("1:10;r20/");
    *state = s;
    return 0;
}

static int close_site(void **state)
{
    struct site *s = *state;

    progress_free(s->progress);
    progress_forget_folder(s->dir);
    assert_int_equal(rmdir(s->dir), 0);
    table_unref(s->table);
    free(s);
    return 0;
}

static void reopen(struct site *s)
{
    progress_free(s->progress);
    s->progress = progress_open(s->dir);
}

/* 100 and 102 are seen, 101 and all from 103 on are not; nothing from position 0x500 on is. */
static void queue(struct site *s, lsn_t position)
{
    struct arena arena = {0};
    struct snapshot snapshot;

    assert_true(snapshot_parse(SLICE("101:103:101"), &arena, &snapshot, &s->err));
    progress_queued(s->progress, s->table, &snapshot, 0x500, position);
    arena_release(&arena);
}

static void send(struct site *s)
{
    assert_true(progress_begun(s->progress, 7, &s->err));
    progress_sent(s->progress, 7, true);
}

static bool takes(const struct site *s, uint32_t xid, lsn_t commit_lsn)
{
    const struct txn txn = {.xid = xid, .commit_lsn = commit_lsn};

    return progress_takes(s->progress, 7, &txn);
}

static void test_nothing_of_a_table_is_published_before_its_first_rows_are_queued(void **state)
{
    struct site *s = *state;

    assert_true(progress_wants(s->progress, s->table));
    assert_false(takes(s, 105, 0x600));
    queue(s, 0x400);
    assert_false(progress_wants(s->progress, s->table));
    assert_true(takes(s, 105, 0x600));
}

static void test_what_the_first_rows_have_is_not_published_again(void **state)
{
    struct site *s = *state;

    queue(s, 0x400);
    assert_false(takes(s, 100, 0x410));
    assert_true(takes(s, 101, 0x420));
    assert_false(takes(s, 102, 0x430));
    assert_true(takes(s, 103, 0x440));
    assert_true(takes(s, 100, 0x500)); /* the number once more, round the circle */
}

static void test_rows_that_did_not_go_out_are_wanted_again(void **state)
{
    struct site *s = *state;

    queue(s, 0x400);
    progress_sent(s->progress, 7, false);
    assert_true(progress_wants(s->progress, s->table));
    queue(s, 0x400);
    send(s);
    progress_connected(s->progress);
    assert_true(progress_wants(s->progress, s->table));
}

/* A part of the rows may be in the topic: one that is deleted before they come again must be seen
 * to go. */
static void test_changes_behind_rows_that_were_begun_are_published_for_good(void **state)
{
    struct site *s = *state;

    queue(s, 0x400);
    assert_true(progress_begun(s->progress, 7, &s->err));
    progress_sent(s->progress, 7, false);
    assert_true(takes(s, 105, 0x600));
    assert_false(takes(s, 100, 0x410));
    reopen(s);
    assert_true(progress_wants(s->progress, s->table));
    assert_true(takes(s, 101, 0x420));
    assert_false(takes(s, 100, 0x410));
}

/* A row of the first ones may be gone in them: its deletion must come. */
static void test_a_second_snapshot_hides_nothing(void **state)
{
    struct arena arena = {0};
    struct snapshot later;
    struct site *s = *state;

    queue(s, 0x400);
    assert_true(progress_begun(s->progress, 7, &s->err));
    progress_sent(s->progress, 7, false);
    assert_true(snapshot_parse(SLICE("110:110:"), &arena, &later, &s->err));
    progress_queued(s->progress, s->table, &later, 0x700, 0x600);
    arena_release(&arena);
    assert_true(takes(s, 105, 0x600));
    assert_true(progress_begun(s->progress, 7, &s->err));
    reopen(s);
    assert_true(takes(s, 105, 0x600));
    assert_false(takes(s, 100, 0x410));
}

static void test_rows_are_done_when_something_behind_them_is_delivered(void **state)
{
    struct site *s = *state;

    queue(s, 0x400);
    assert_true(progress_acked(s->progress, 0x600, &s->err)); /* not even sent */
    send(s);
    assert_true(progress_acked(s->progress, 0x400, &s->err)); /* what was there before */
    reopen(s);
    assert_true(progress_wants(s->progress, s->table));
    queue(s, 0x400);
    send(s);
    assert_true(progress_acked(s->progress, 0x401, &s->err));
    progress_connected(s->progress);
    assert_false(progress_wants(s->progress, s->table));
}

static void test_a_restart_knows_what_the_first_rows_had(void **state)
{
    struct site *s = *state;

    queue(s, 0x400);
    send(s);
    assert_true(progress_acked(s->progress, 0x600, &s->err));
    reopen(s);
    assert_false(progress_wants(s->progress, s->table));
    assert_false(takes(s, 102, 0x430));
    assert_true(takes(s, 101, 0x420));
    assert_true(takes(s, 100, 0x500));
}

static void test_a_table_that_was_taken_out_of_the_publication_begins_anew(void **state)
{
    struct site *s = *state;

    queue(s, 0x400);
    send(s);
    assert_true(progress_acked(s->progress, 0x600, &s->err));
    table_unref(s->table);
    s->table = make_table("1:10;r21/");
    assert_true(progress_wants(s->progress, s->table));
}

static void test_a_table_that_is_not_chosen_any_more_is_forgotten(void **state)
{
    struct site *s = *state;
    struct u64map relids = {0};

    queue(s, 0x400);
    send(s);
    assert_true(progress_acked(s->progress, 0x600, &s->err));
    u64map_set(&relids, 7, s);
    assert_true(progress_keep(s->progress, &relids, &s->err));
    assert_false(progress_wants(s->progress, s->table));
    u64map_remove(&relids, 7);
    assert_true(progress_keep(s->progress, &relids, &s->err));
    u64map_release(&relids);
    reopen(s);
    assert_true(progress_wants(s->progress, s->table));
}

static void test_a_damaged_file_is_as_none(void **state)
{
    struct site *s = *state;
    char path[64];

    snprintf(path, sizeof(path), "%s/kafka_tables", s->dir);
    for (int i = 0; i < 3; i++) {
        static const char *const texts[] = {
            "", "tombolo kafka tables 2\n",
            "tombolo kafka tables 1\n7 done 0/500 x:y: 1:10;r20/\n"};
        FILE *f = fopen(path, "w");

        assert_true(f && fputs(texts[i], f) >= 0 && fclose(f) == 0);
        reopen(s);
        assert_true(progress_wants(s->progress, s->table));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_site, close_site)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_star_chooses_all_but_the_system_s_tables),
        cmocka_unit_test(test_patterns_are_of_schema_and_table),
        cmocka_unit_test(test_what_is_no_pattern_is_refused_by_its_name),
        TEST(test_nothing_of_a_table_is_published_before_its_first_rows_are_queued),
        TEST(test_what_the_first_rows_have_is_not_published_again),
        TEST(test_rows_that_did_not_go_out_are_wanted_again),
        TEST(test_changes_behind_rows_that_were_begun_are_published_for_good),
        TEST(test_a_second_snapshot_hides_nothing),
        TEST(test_rows_are_done_when_something_behind_them_is_delivered),
        TEST(test_a_restart_knows_what_the_first_rows_had),
        TEST(test_a_table_that_was_taken_out_of_the_publication_begins_anew),
        TEST(test_a_table_that_is_not_chosen_any_more_is_forgotten),
        TEST(test_a_damaged_file_is_as_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
