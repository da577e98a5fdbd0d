/* Where a fan-out node begins in the topic, and what it makes of the records from there on. */
#include "kafka/start.h"
#include "kafka/unframe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define MARGIN 3

/* A topic of offsets from `low` on; an offset without a history is a mark of Kafka's. */
struct line {
    const char *history;
    uint64_t epoch;
    lsn_t lsn; /* a transaction's commit LSN, that ends 5 behind it; or */
    lsn_t heartbeat;
    bool open; /* the fragment with this number is not the last one */
    uint32_t fragment;
    size_t size;
};

struct topic {
    const struct line *lines;
    int64_t low, high;
};

static unsigned nreads;

static bool read_at(void *owner, int64_t offset, struct start_record *record, bool *found,
                    struct err *err)
{
    const struct topic *t = owner;

    (void)err;
    assert_true(offset >= t->low);
    nreads++;
    while (offset < t->high && !t->lines[offset].history)
        offset++;
    *found = offset < t->high;
    if (!*found)
        return true;
    const struct line *line = &t->lines[offset];
    lsn_t end = line->heartbeat ? line->heartbeat : line->lsn + 5;

    *record = (struct start_record){
        .offset = offset, .size = line->size, .heartbeat = line->heartbeat != 0};
    record->frames = (struct frames_record){.epoch = line->epoch,
                                            .commit_lsn = line->heartbeat ? end : line->lsn,
                                            .end_lsn = line->open ? LSN_NONE : end,
                                            .fragment = line->fragment,
                                            .last = !line->open};
    snprintf(record->history, FRAMES_HISTORY_SIZE, "%s", line->history);
    return true;
}

/* The offset to begin at, -1 where the topic does not reach back so far, -2 where it is empty. */
static int64_t start_at(struct topic topic, lsn_t position)
{
    struct start_search search = {topic.low, topic.high, &topic, read_at};
    struct start_record last;
    int64_t offset;
    bool found, covered;
    struct err err;

    assert_true(start_last(&search, &last, &found, &err));
    if (!found)
        return -2;
    assert_true(start_find(&search, &last, position, MARGIN, &offset, &covered, &err));
    return covered ? offset : -1;
}

#define TOPIC(from, ...)                                                                           \
    (struct topic)                                                                                 \
    {                                                                                              \
        (const struct line[]){__VA_ARGS__}, from,                                                  \
            sizeof((const struct line[]){__VA_ARGS__}) / sizeof(struct line)                       \
    }
#define T(epoch, lsn)                                                                              \
    {                                                                                              \
        "h", epoch, lsn, 0, false, 0, 0                                                            \
    }
#define F(epoch, lsn, fragment)                                                                    \
    {                                                                                              \
        "h", epoch, lsn, 0, true, fragment, 0                                                      \
    }
#define H(epoch, lsn)                                                                              \
    {                                                                                              \
        "h", epoch, 0, lsn, false, 0, 0                                                            \
    }
#define MARK                                                                                       \
    {                                                                                              \
        NULL, 0, 0, 0, false, 0, 0                                                                 \
    }

static void test_it_begins_at_the_last_record_that_is_not_needed(void **state)
{
    (void)state;
    for (lsn_t position = 100; position < 150; position++) {
        int64_t want = position <= 110   ? 0
                       : position <= 120 ? 1
                       : position < 130  ? 2
                       : position <= 140 ? 3
                                         : 4;

        assert_int_equal(
            start_at(TOPIC(0, H(1, 100), T(1, 110), T(1, 120), H(1, 130), T(1, 140)), position),
            want);
    }
}

static void test_what_begins_behind_the_position_does_not_cover_it(void **state)
{
    (void)state;
    assert_int_equal(start_at(TOPIC(0, H(1, 100), T(1, 110)), 99), -1);
    assert_int_equal(start_at(TOPIC(1, H(1, 100), T(1, 110), T(1, 120)), 110), -1);
    assert_int_equal(start_at(TOPIC(1, H(1, 100), T(1, 110), T(1, 120)), 111), 1);
    assert_int_equal(start_at(TOPIC(2, H(1, 100), T(1, 110)), 110), -2);
}

static void test_an_older_history_covers_nothing_of_the_last_one(void **state)
{
    (void)state;
    struct topic topic =
        TOPIC(0, {"g", 7, 0, 90, false, 0, 0}, {"g", 7, 95, 0, false, 0, 0}, H(8, 100), T(8, 110));

    assert_int_equal(start_at(topic, 99), -1);
    assert_int_equal(start_at(topic, 100), 2);
}

static void test_marks_of_kafka_transactions_are_passed_over(void **state)
{
    (void)state;
    struct topic topic = TOPIC(0, MARK, H(1, 100), MARK, T(1, 110), T(1, 120), MARK, MARK, MARK);

    assert_int_equal(start_at(topic, 105), 1);
    assert_int_equal(start_at(topic, 121), 4);
    assert_int_equal(start_at(TOPIC(0, MARK, MARK), 1), -2);
}

static void test_before_the_last_publisher_it_begins_further_back(void **state)
{
    (void)state;
    /* Offset 6 is the replaced publisher's, late. */
    struct topic topic = TOPIC(0, H(1, 100), T(1, 110), T(1, 120), H(2, 125), T(2, 130), T(2, 140),
                               T(1, 130), T(2, 150));

    assert_int_equal(start_at(topic, 146), 3);
    assert_int_equal(start_at(topic, 151), 7);
}

/* The offset of the last record, and where the topic ends. */
static void assert_ends(struct topic topic, int64_t offset, lsn_t position)
{
    struct start_search search = {topic.low, topic.high, &topic, read_at};
    struct start_record last;
    bool found;
    lsn_t end;
    struct err err;

    assert_true(start_last(&search, &last, &found, &err) && found);
    assert_int_equal(last.offset, offset);
    assert_true(start_end(&search, &last, &end, &err));
    assert_int_equal(end, position);
}

static void test_late_records_are_not_where_the_topic_ends(void **state)
{
    (void)state;
    assert_ends(TOPIC(0, H(1, 100), T(1, 110), H(2, 115), T(2, 120)), 3, 125);
    assert_ends(TOPIC(0, H(1, 100), T(1, 110), H(2, 115), T(1, 120)), 2, 115);
    assert_ends(TOPIC(0, H(1, 100), H(2, 115), T(2, 120), T(1, 120), T(2, 130), T(1, 130),
                      T(1, 140), MARK, T(1, 150), MARK),
                4, 135);
    struct topic other = TOPIC(0, H(1, 100), {"i", 2, 0, 200, false, 0, 0}, T(1, 110));

    assert_ends(other, 1, 200);
}

/* Several publishers were replaced, and what each had under way has come in any order. */
static void test_late_records_are_told_in_any_mix(void **state)
{
    (void)state;
    /* They reach back to the first record that retention has left. */
    assert_ends(TOPIC(0, H(2, 115), T(1, 120), T(1, 130), T(1, 140)), 0, 115);
    /* The last but one is not the last one's elder alone, but of one that was replaced itself. */
    assert_ends(TOPIC(0, H(1, 100), H(2, 115), H(3, 120), T(2, 120), T(1, 110)), 2, 120);
    assert_ends(TOPIC(0, H(3, 120), T(2, 120), T(2, 130), MARK, T(1, 110), T(2, 140)), 0, 120);
    /* The current ones stand where steps that double do not look. */
    assert_ends(TOPIC(0, H(1, 100), T(1, 105), H(2, 115), T(1, 110), T(2, 120), T(1, 120),
                      T(1, 130), T(1, 140)),
                4, 125);
    assert_ends(TOPIC(0, H(3, 115), T(2, 110), T(3, 120), T(2, 120), T(1, 130), T(1, 140)), 2, 125);
}

/* What a queue holds is passed over; more than that cannot be late, so it is the topic's end. */
static void test_no_more_is_late_than_a_producer_has_in_its_queue(void **state)
{
    enum { N = 128, QUEUE = 16 };
    static struct line lines[N];
    struct topic topic = {lines, 0, N};

    (void)state;
    for (size_t i = 0; i < N; i++) {
        lines[i] = (struct line)T(1, 100 + 10 * i);
        lines[i].size = ((size_t)START_QUEUE_KB << 10) / QUEUE;
    }
    nreads = 0;
    lines[N - QUEUE - 1].epoch = 2;
    assert_ends(topic, N - QUEUE - 1, 100 + 10 * (N - QUEUE - 1) + 5);
    lines[N - QUEUE - 1].epoch = 1;
    lines[2].epoch = 2;
    assert_ends(topic, N - 1, 100 + 10 * (N - 1) + 5);
    assert_true(nreads < N);
}

static void test_what_is_not_whole_is_not_where_the_topic_ends(void **state)
{
    (void)state;
    assert_ends(TOPIC(0, H(1, 100), T(1, 110), F(1, 120, 0)), 2, 115);
    assert_ends(TOPIC(0, H(1, 100), T(1, 110), MARK, F(1, 120, 0), MARK, F(1, 120, 1), MARK,
                      F(1, 120, 2), MARK),
                7, 115);
    assert_ends(TOPIC(0, T(1, 90), H(2, 100), T(1, 110), F(2, 120, 0)), 3, 100);
    assert_ends(TOPIC(1, H(1, 100), F(1, 120, 0), F(1, 120, 1)), 2, LSN_NONE);
}

/* ---- what comes out of the records ----------------------------------------------------------- */

static void put_frame(struct buf *out, char kind, lsn_t commit_lsn, lsn_t end_lsn)
{
    buf_put_u32(out, kind == 'C' ? 18 : 17);
    buf_put_u8(out, (uint8_t)kind);
    if (kind == 'C')
        buf_put_u8(out, 0);
    buf_put_u64(out, commit_lsn);
    buf_put_u64(out, end_lsn);
}

/* Gives the record with messages of these kinds, and writes what comes out: 'p' for a position, 'v'
 * for void, else the messages' kinds; '!' for an error. */
static void feed(struct unframe *u, struct frames_record record, const char *kinds, struct buf *out)
{
    struct frames_header headers[FRAMES_NHEADERS];
    struct feed_item item;
    struct buf texts, value;
    enum feed_got got = FEED_FAILED;
    struct err err;

    buf_init(&texts, BUF_NO_LIMIT);
    buf_init(&value, BUF_NO_LIMIT);
    for (; *kinds; kinds++)
        put_frame(&value, *kinds, record.commit_lsn, record.end_lsn);
    frames_put_headers(&record, &texts, headers);
    if (unframe_take(u, headers, FRAMES_NHEADERS, buf_slice(&value), &err)) {
        while ((got = unframe_next(u, &item, &err)) == FEED_ITEM)
            buf_put_u8(out, item.kind == FEED_POSITION ? 'p'
                            : item.kind == FEED_VOID   ? 'v'
                                                       : (uint8_t)item.message.ptr[0]);
    }
    if (got == FEED_FAILED)
        buf_put_u8(out, '!');
    buf_release(&texts);
    buf_release(&value);
}

static struct frames_record fragment(uint64_t epoch, lsn_t lsn, uint32_t n, bool last)
{
    return (struct frames_record){epoch, lsn, last ? lsn + 5 : 0, 7, n, last, {"", 0}};
}

static struct frames_record heartbeat(uint64_t epoch, lsn_t lsn)
{
    return (struct frames_record){epoch, lsn, lsn, 0, 0, true, {"", 0}};
}

static void assert_came(struct buf *out, const char *want)
{
    assert_string_equal(buf_cstr(out), want);
    buf_release(out);
}

static void test_a_transaction_begun_anew_voids_what_was_given_of_it(void **state)
{
    (void)state;
    struct unframe u;
    struct buf out;

    buf_init(&out, BUF_NO_LIMIT);
    unframe_init(&u, 100);
    feed(&u, fragment(1, 99, 0, true), "BIC", &out); /* had already */
    feed(&u, fragment(1, 105, 0, true), "BC", &out);
    feed(&u, fragment(1, 110, 0, false), "BI", &out);
    feed(&u, fragment(1, 110, 1, false), "I", &out);
    feed(&u, heartbeat(2, 110), "", &out); /* the next publisher; 105 ended there */
    feed(&u, fragment(2, 110, 0, false), "BI", &out);
    feed(&u, fragment(1, 110, 2, true), "IC", &out); /* the one before, late */
    feed(&u, fragment(2, 110, 1, true), "IC", &out);
    assert_came(&out, "pBCBIIpvBIIC");
    assert_int_equal(u.position, 115);
}

static void test_a_publisher_that_does_not_follow_is_not_followed(void **state)
{
    (void)state;
    for (int beats = 0; beats < 2; beats++) {
        struct unframe u;
        struct buf out;

        buf_init(&out, BUF_NO_LIMIT);
        unframe_init(&u, 131);
        feed(&u, fragment(1, 130, 0, true), "BC", &out); /* late, where the node began */
        feed(&u, beats ? heartbeat(2, 145) : fragment(2, 150, 0, true), beats ? "" : "BC", &out);
        assert_came(&out, "p!");
        assert_true(u.unlinked);
    }
}

static void test_messages_that_do_not_fit_their_headers_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "IC", "BBC", "BIB", "BCI", "BI", "BCC"};

    for (size_t i = 1; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct unframe u;
        struct buf out;

        buf_init(&out, BUF_NO_LIMIT);
        unframe_init(&u, 100);
        feed(&u, fragment(1, 110, 0, true), wrong[i], &out);
        assert_int_equal(out.ptr[out.len - 1], '!');
        buf_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_begins_at_the_last_record_that_is_not_needed),
        cmocka_unit_test(test_what_begins_behind_the_position_does_not_cover_it),
        cmocka_unit_test(test_an_older_history_covers_nothing_of_the_last_one),
        cmocka_unit_test(test_marks_of_kafka_transactions_are_passed_over),
        cmocka_unit_test(test_before_the_last_publisher_it_begins_further_back),
        cmocka_unit_test(test_late_records_are_not_where_the_topic_ends),
        cmocka_unit_test(test_late_records_are_told_in_any_mix),
        cmocka_unit_test(test_no_more_is_late_than_a_producer_has_in_its_queue),
        cmocka_unit_test(test_what_is_not_whole_is_not_where_the_topic_ends),
        cmocka_unit_test(test_a_transaction_begun_anew_voids_what_was_given_of_it),
        cmocka_unit_test(test_a_publisher_that_does_not_follow_is_not_followed),
        cmocka_unit_test(test_messages_that_do_not_fit_their_headers_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
