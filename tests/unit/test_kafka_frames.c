#include "base/arena.h"
#include "kafka/frames.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define MAX_RECORDS 64

/* ---- a topic in memory ----------------------------------------------------------------------- */

struct topic {
    struct frames_record records[MAX_RECORDS];
    size_t n;
    struct arena arena;
};

static bool append(void *owner, const struct frames_record *record, struct err *err)
{
    struct topic *topic = owner;

    (void)err;
    assert_true(topic->n < MAX_RECORDS);
    topic->records[topic->n] = *record;
    topic->records[topic->n++].value = arena_copy(&topic->arena, record->value);
    return true;
}

static const struct txn first = {.commit_lsn = 100, .end_lsn = 110, .xid = 7};
static const struct txn second = {.commit_lsn = 200, .end_lsn = 210, .xid = 8};

/* The messages are no pgoutput here: frames do not look into them. */
static void write_txn(struct frames_writer *w, const struct txn *txn, const char *const *changes,
                      uint32_t relid)
{
    struct err err;

    assert_true(frames_writer_begin(w, txn, SLICE("B"), &err));
    for (; *changes; changes++)
        assert_true(frames_writer_add(w, &relid, 1, slice_of(*changes), &err));
    assert_true(frames_writer_commit(w, txn, SLICE("C"), &err));
}

/* The record's messages, parted by spaces. */
static void assert_messages(const struct frames_record *record, const char *expected)
{
    struct reader frames = reader_of(record->value);
    struct slice message;
    struct buf got;

    buf_init(&got, BUF_NO_LIMIT);
    while (frames_next(&frames, &message)) {
        if (got.len)
            buf_put_u8(&got, ' ');
        buf_put_slice(&got, message);
    }
    assert_true(reader_done(&frames));
    assert_string_equal(buf_cstr(&got), expected);
    buf_release(&got);
}

static const char *const one[] = {"i1", NULL}, *const two[] = {"i1", "i2", NULL},
                         *const four[] = {"i1", "i2", "i3", "i4", NULL};

/* ---- writing --------------------------------------------------------------------------------- */

static void test_each_record_has_the_relations_that_it_needs_once(void **state)
{
    struct topic topic = {0};
    struct frames_writer w;

    (void)state;
    frames_writer_init(&w, 3, 1000, append, &topic);
    frames_writer_relation(&w, 42, SLICE("R42"));
    frames_writer_relation(&w, 43, SLICE("R43"));
    write_txn(&w, &first, two, 42);
    write_txn(&w, &second, one, 42);
    assert_int_equal(topic.n, 2);
    assert_messages(&topic.records[0], "B R42 i1 i2 C");
    assert_messages(&topic.records[1], "B R42 i1 C");
    assert_int_equal(topic.records[0].epoch, 3);
    assert_int_equal(topic.records[0].commit_lsn, 100);
    assert_int_equal(topic.records[0].end_lsn, 110);
    assert_int_equal(topic.records[0].xid, 7);
    assert_true(topic.records[0].last);
    frames_writer_release(&w);
    arena_release(&topic.arena);
}

static void test_a_relation_announced_anew_is_written_anew(void **state)
{
    const uint32_t relid = 42;
    struct topic topic = {0};
    struct frames_writer w;
    struct err err;

    (void)state;
    frames_writer_init(&w, 1, 1000, append, &topic);
    frames_writer_relation(&w, 42, SLICE("R"));
    assert_true(frames_writer_begin(&w, &first, SLICE("B"), &err));
    assert_true(frames_writer_add(&w, &relid, 1, SLICE("i1"), &err));
    frames_writer_relation(&w, 42, SLICE("R'"));
    assert_true(frames_writer_add(&w, &relid, 1, SLICE("i2"), &err));
    assert_true(frames_writer_commit(&w, &first, SLICE("C"), &err));
    assert_messages(&topic.records[0], "B R i1 R' i2 C");
    frames_writer_release(&w);
    arena_release(&topic.arena);
}

static void test_a_large_transaction_is_split_below_the_limit(void **state)
{
    struct topic topic = {0};
    struct frames_writer w;

    (void)state;
    frames_writer_init(&w, 1, 18, append, &topic); /* R and two changes: 5 + 6 + 6 */
    frames_writer_relation(&w, 42, SLICE("R"));
    write_txn(&w, &first, four, 42);
    assert_int_equal(topic.n, 3);
    assert_messages(&topic.records[0], "B R i1");
    assert_messages(&topic.records[1], "R i2 i3");
    assert_messages(&topic.records[2], "R i4 C");
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(topic.records[i].value.len <= 18);
        assert_int_equal(topic.records[i].fragment, i);
        assert_int_equal(topic.records[i].last, i == 2);
        assert_int_equal(topic.records[i].end_lsn, i == 2 ? 110 : 0);
    }
    frames_writer_release(&w);
    arena_release(&topic.arena);
}

static void test_a_change_beyond_the_limit_is_an_error(void **state)
{
    const uint32_t relid = 42;
    struct topic topic = {0};
    struct frames_writer w;
    struct err err;

    (void)state;
    frames_writer_init(&w, 1, 12, append, &topic);
    frames_writer_relation(&w, 42, SLICE("R"));
    assert_true(frames_writer_begin(&w, &first, SLICE("B"), &err));
    assert_true(frames_writer_add(&w, &relid, 1, SLICE("123"), &err)); /* 5 + 7 */
    assert_false(frames_writer_add(&w, &relid, 1, SLICE("123456789"), &err));
    assert_int_equal(err.code, ERR_LIMIT);
    frames_writer_release(&w);
    arena_release(&topic.arena);
}

/* ---- headers --------------------------------------------------------------------------------- */

static void test_headers_are_read_as_they_were_written(void **state)
{
    const struct frames_record record = {UINT64_MAX, UINT64_C(1) << 63, 5, UINT32_MAX, 4, true,
                                         {"", 0}};
    struct frames_header headers[FRAMES_NHEADERS + 1];
    struct frames_record again = {0};
    struct buf texts;
    struct err err;

    (void)state;
    buf_init(&texts, BUF_NO_LIMIT);
    frames_put_headers(&record, &texts, headers);
    headers[FRAMES_NHEADERS] = (struct frames_header){SLICE("other"), SLICE("x")};
    assert_true(frames_read_headers(headers, FRAMES_NHEADERS + 1, &again, &err));
    assert_true(again.epoch == record.epoch && again.commit_lsn == record.commit_lsn);
    assert_true(again.end_lsn == 5 && again.xid == UINT32_MAX && again.fragment == 4 && again.last);
    buf_release(&texts);
}

static void test_headers_that_are_missing_twice_or_no_numbers_are_refused(void **state)
{
    static const char *const wrong[] = {"", "-1", "1x", "18446744073709551616", " 1"};
    const struct frames_record record = {1, 2, 3, 4, 5, true, {"", 0}};
    struct frames_header headers[FRAMES_NHEADERS + 1];
    struct frames_record again;
    struct buf texts;
    struct err err;

    (void)state;
    buf_init(&texts, BUF_NO_LIMIT);
    frames_put_headers(&record, &texts, headers);
    for (size_t i = 0; i < FRAMES_NHEADERS; i++) {
        struct frames_header kept = headers[i];

        headers[FRAMES_NHEADERS] = kept;
        assert_false(frames_read_headers(headers, FRAMES_NHEADERS + 1, &again, &err));
        headers[i].name = SLICE("other");
        assert_false(frames_read_headers(headers, FRAMES_NHEADERS, &again, &err));
        headers[i].name = kept.name;
        for (size_t k = 0; k < sizeof(wrong) / sizeof(*wrong); k++) {
            headers[i].value = slice_of(wrong[k]);
            assert_false(frames_read_headers(headers, FRAMES_NHEADERS, &again, &err));
            assert_int_equal(err.code, ERR_PROTOCOL);
        }
        headers[i] = kept;
    }
    headers[5].value = SLICE("2"); /* last */
    assert_false(frames_read_headers(headers, FRAMES_NHEADERS, &again, &err));
    buf_release(&texts);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* What a reader says of a record, 'E' for an error. */
static char verdict_of(struct frames_reader *r, const struct frames_record *record)
{
    static const char letters[] = {
        [FRAMES_VOID] = 'v', [FRAMES_HEARTBEAT] = 'h', [FRAMES_BEGIN] = 'b', [FRAMES_NEXT] = 'n'};
    enum frames_verdict verdict;
    struct err err;

    return frames_reader_take(r, record, &verdict, &err) ? letters[verdict] : 'E';
}

/* Fragment `fragment` of the transaction at `commit_lsn`, whose last is its third. */
static struct frames_record fragment(uint64_t epoch, lsn_t commit_lsn, uint32_t fragment)
{
    bool last = fragment == 2;

    return (struct frames_record){epoch, commit_lsn, last ? commit_lsn + 10 : 0, 7, fragment,
                                  last,  SLICE("x")};
}

static struct frames_record heartbeat(uint64_t epoch, lsn_t position)
{
    return (struct frames_record){epoch, position, position, 0, 0, true, {"", 0}};
}

/* Records as a reader that has all up to `done` judges them, a letter each. */
static void assert_verdicts(lsn_t done, const struct frames_record *records, const char *expected)
{
    struct frames_reader r;

    frames_reader_init(&r, done);
    for (size_t i = 0; expected[i]; i++) {
        char verdict = verdict_of(&r, &records[i]);

        if (verdict != expected[i])
            fail_msg("record %zu of %s: %c", i, expected, verdict);
    }
}

#define ASSERT_VERDICTS(done, expected, ...)                                                       \
    assert_verdicts(done, (const struct frames_record[]){__VA_ARGS__}, expected)

static void test_fragments_follow_each_other(void **state)
{
    (void)state;
    ASSERT_VERDICTS(LSN_NONE, "bnnbhb", fragment(1, 100, 0), fragment(1, 100, 1),
                    fragment(1, 100, 2), fragment(1, 200, 0), heartbeat(1, 150),
                    fragment(1, 200, 0));
}

static void test_fragment_0_restarts_a_transaction(void **state)
{
    (void)state;
    ASSERT_VERDICTS(LSN_NONE, "bnbnn", fragment(1, 100, 0), fragment(1, 100, 1),
                    fragment(1, 100, 0), fragment(1, 100, 1), fragment(1, 100, 2));
    ASSERT_VERDICTS(LSN_NONE, "bnbnn", fragment(1, 100, 0), fragment(1, 100, 1),
                    fragment(2, 100, 0), fragment(2, 100, 1), fragment(2, 100, 2));
}

static void test_a_higher_epoch_voids_lower_ones(void **state)
{
    (void)state;
    ASSERT_VERDICTS(LSN_NONE, "bbvnvnvb", fragment(1, 100, 0), fragment(2, 100, 0),
                    fragment(1, 100, 1), fragment(2, 100, 1), fragment(1, 100, 2),
                    fragment(2, 100, 2), heartbeat(1, 500), fragment(2, 200, 0));
    ASSERT_VERDICTS(LSN_NONE, "hv", heartbeat(2, 100), fragment(1, 200, 0));
}

static void test_one_transaction_has_one_epoch(void **state)
{
    (void)state;
    ASSERT_VERDICTS(LSN_NONE, "bE", fragment(1, 100, 0), fragment(2, 100, 1));
}

static void test_what_was_read_already_is_void(void **state)
{
    (void)state;
    ASSERT_VERDICTS(100, "vvvb", fragment(1, 100, 0), fragment(1, 100, 1), fragment(1, 100, 2),
                    fragment(1, 200, 0));
    ASSERT_VERDICTS(LSN_NONE, "bnnvvvb", fragment(1, 100, 0), fragment(1, 100, 1),
                    fragment(1, 100, 2), fragment(2, 100, 0), fragment(2, 100, 1),
                    fragment(2, 100, 2), fragment(2, 200, 0));
}

static void test_gaps_are_refused(void **state)
{
    (void)state;
    ASSERT_VERDICTS(LSN_NONE, "E", fragment(1, 100, 1));
    ASSERT_VERDICTS(LSN_NONE, "bE", fragment(1, 100, 0), fragment(1, 100, 2));
    ASSERT_VERDICTS(LSN_NONE, "bnE", fragment(1, 100, 0), fragment(1, 100, 1), fragment(1, 100, 1));
    ASSERT_VERDICTS(LSN_NONE, "bE", fragment(1, 100, 0), fragment(1, 200, 0));
    ASSERT_VERDICTS(LSN_NONE, "bE", fragment(1, 100, 0), fragment(2, 200, 0));
    ASSERT_VERDICTS(LSN_NONE, "bE", fragment(1, 100, 0), heartbeat(1, 150));
}

static void test_the_reader_says_what_to_do_about_a_gap(void **state)
{
    const struct frames_record record = fragment(1, 0x1600000000, 1);
    struct frames_reader r;
    enum frames_verdict verdict;
    struct err err;

    (void)state;
    frames_reader_init(&r, LSN_NONE);
    assert_false(frames_reader_take(&r, &record, &verdict, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "16/0"));
    assert_non_null(strstr(err.hint, "fetch the shapes again"));
}

static void test_records_that_contradict_themselves_are_refused(void **state)
{
    struct frames_record no_end = fragment(1, 100, 2), early_end = fragment(1, 100, 0),
                         no_lsn = fragment(1, 0, 0), beat = heartbeat(1, 100);

    (void)state;
    no_end.end_lsn = 0;
    early_end.end_lsn = 110;
    beat.xid = 7;
    ASSERT_VERDICTS(LSN_NONE, "E", no_end);
    ASSERT_VERDICTS(LSN_NONE, "E", early_end);
    ASSERT_VERDICTS(LSN_NONE, "E", no_lsn);
    ASSERT_VERDICTS(LSN_NONE, "E", beat);
}

static void test_what_is_written_is_read_with_any_limit(void **state)
{
    (void)state;
    for (size_t limit = 11; limit < 60; limit++) {
        struct topic topic = {0};
        struct frames_writer w;
        struct frames_reader r;
        struct err err;

        frames_writer_init(&w, 1, limit, append, &topic);
        frames_writer_relation(&w, 42, SLICE("R"));
        write_txn(&w, &first, four, 42);
        assert_true(frames_writer_heartbeat(&w, 150, &err));
        write_txn(&w, &second, four, 42);
        frames_reader_init(&r, LSN_NONE);
        for (size_t i = 0; i < topic.n; i++)
            assert_true(strchr("bnh", verdict_of(&r, &topic.records[i])));
        assert_int_equal(r.done, 200);
        assert_false(r.open);
        frames_writer_release(&w);
        arena_release(&topic.arena);
    }
}

static void test_a_value_that_is_cut_is_not_done(void **state)
{
    static const char value[] = {0, 0, 0, 1, 'B', 0, 0, 0, 2, 'i', '1'};

    (void)state;
    for (size_t len = 0; len <= sizeof(value); len++) {
        struct reader frames = reader_of((struct slice){value, len});
        struct slice message;

        while (frames_next(&frames, &message))
            ;
        assert_int_equal(reader_done(&frames), len == 0 || len == 5 || len == sizeof(value));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_record_has_the_relations_that_it_needs_once),
        cmocka_unit_test(test_a_relation_announced_anew_is_written_anew),
        cmocka_unit_test(test_a_large_transaction_is_split_below_the_limit),
        cmocka_unit_test(test_a_change_beyond_the_limit_is_an_error),
        cmocka_unit_test(test_headers_are_read_as_they_were_written),
        cmocka_unit_test(test_headers_that_are_missing_twice_or_no_numbers_are_refused),
        cmocka_unit_test(test_fragments_follow_each_other),
        cmocka_unit_test(test_fragment_0_restarts_a_transaction),
        cmocka_unit_test(test_a_higher_epoch_voids_lower_ones),
        cmocka_unit_test(test_one_transaction_has_one_epoch),
        cmocka_unit_test(test_what_was_read_already_is_void),
        cmocka_unit_test(test_gaps_are_refused),
        cmocka_unit_test(test_the_reader_says_what_to_do_about_a_gap),
        cmocka_unit_test(test_records_that_contradict_themselves_are_refused),
        cmocka_unit_test(test_what_is_written_is_read_with_any_limit),
        cmocka_unit_test(test_a_value_that_is_cut_is_not_done),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
