/*
 * The log by offsets (shapelog/range.h): random logs against a model of them, and the corners one
 * by one.
 */
#include "shapelog/range.h"
#include "shapelog/messages.h"
#include "sanitized.h"
#include "test_shapelog_fixture.h"

#include <sqlite3.h>

#define PIECES 7u /* a call: few, so that every walk takes several */

/* ---- messages -------------------------------------------------------------------------------- */

/* A message as change/message.c makes it, with `pad` more bytes; the values are as misleading as
 * JSON allows. */
static void put_message(struct buf *out, lsn_t lsn, uint64_t op, unsigned kind, unsigned pad)
{
    static const char *const values[] = {
        "\"v\":null",
        "\"op_position\":\"7\",\"last\":null",
        "\"v\":\"}},{\\\"key\\\":\\\"x\\\",\\\"op_position\\\":3\"",
        "\"v\":\",\",\"op_position\":null,\"v2\":\"}},{\"",
    };

    buf_printf(out, "{\"key\":\"\\\"public\\\".\\\"items\\\"/\\\"%llu\\\"\",\"value\":{\"key\":\"",
               (unsigned long long)op);
    for (unsigned i = 0; i < pad; i++)
        buf_put_u8(out, 'p');
    buf_printf(out, "\",%s},\"headers\":{\"operation\":\"insert\",\"relation\":[\"public\",",
               values[kind % 4]);
    buf_printf(out, "\"items\"],\"txids\":[%u],\"lsn\":\"%llu\",\"op_position\":%llu",
               (unsigned)lsn, (unsigned long long)lsn, (unsigned long long)op);
    if (kind & 4)
        buf_put_cstr(out, ",\"key_change_from\":\"\\\"public\\\".\\\"items\\\"/\\\"}},{\\\"\"");
    buf_put_cstr(out, "}}");
    assert_false(out->failed);
}

/* ---- the model ------------------------------------------------------------------------------- */

struct model_message {
    struct log_offset at;
    size_t begin, len; /* in model.text */
    bool last, bound;
};

struct model {
    struct buf text;
    struct model_message *items;
    size_t n, cap;
    size_t chunk_size, sum;
};

static void model_init(struct model *m, size_t chunk_size)
{
    *m = (struct model){.chunk_size = chunk_size};
    buf_init(&m->text, BUF_NO_LIMIT);
}

static void model_release(struct model *m)
{
    buf_release(&m->text);
    free(m->items);
}

static void model_add(struct model *m, struct log_offset at, struct slice text)
{
    if (m->n == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 64;
        m->items = xrealloc(m->items, m->cap * sizeof(*m->items));
    }
    if (m->n > 0 && m->items[m->n - 1].at.lsn == at.lsn)
        m->items[m->n - 1].last = false;
    m->sum += text.len + 1;
    m->items[m->n++] = (struct model_message){.at = at,
                                              .begin = m->text.len,
                                              .len = text.len,
                                              .last = true,
                                              .bound = m->sum >= m->chunk_size};
    if (m->sum >= m->chunk_size)
        m->sum = 0;
    buf_put_slice(&m->text, text);
}

/* Index of the first message above the offset. */
static size_t model_after(const struct model *m, struct log_offset after)
{
    size_t i = 0;

    while (i < m->n && log_offset_compare(m->items[i].at, after) <= 0)
        i++;
    return i;
}

static bool model_is_bound(const struct model *m, struct log_offset at)
{
    size_t i = model_after(m, at);

    return i > 0 && m->items[i - 1].bound && log_offset_compare(m->items[i - 1].at, at) == 0;
}

/* The messages [from, to) as a client is sent them. */
static void model_put(const struct model *m, size_t from, size_t to, struct buf *out)
{
    for (size_t i = from; i < to; i++) {
        const struct model_message *message = &m->items[i];

        if (i > from)
            buf_put_u8(out, ',');
        buf_put(out, m->text.ptr + message->begin, message->len - (message->last ? 2 : 0));
        if (message->last)
            buf_put_cstr(out, LOG_PIECE_LAST);
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Appends the pieces as they are sent; *size is their own bytes. */
static bool read_range(struct shapelog *store, struct log *log, const struct log_range *range,
                       struct buf *out, uint64_t *size, struct err *err)
{
    struct log_range_cursor cursor = {0};
    struct log_piece pieces[PIECES];
    size_t n, total = 0;

    *size = 0;
    do {
        if (!log_range_read(store, log, range, &cursor, pieces, PIECES, &n, err))
            return false;
        for (size_t i = 0; i < n; i++, total++) {
            const struct log_piece *piece = &pieces[i];

            if (total > 0)
                buf_put_u8(out, ',');
            char *p = buf_room(out, piece->len);
            assert_non_null(p);
            assert_int_equal(pread(piece->fd, p, piece->len, (off_t)piece->offset), piece->len);
            buf_added(out, piece->len - (piece->last ? 2 : 0));
            if (piece->last)
                buf_put_cstr(out, LOG_PIECE_LAST);
            *size += piece->len;
        }
        log_pieces_release(pieces, n);
    } while (n > 0);
    return true;
}

static struct log_range range_after(struct shapelog *store, struct log *log,
                                    struct log_offset after)
{
    struct log_range range;
    struct err err;

    assert_ok(log_range_after(store, log, after, UINT64_MAX, &range, &err), err);
    return range;
}

static void assert_offset(struct log_offset offset, lsn_t lsn, uint64_t op)
{
    assert_true(offset.lsn == lsn);
    assert_true(offset.op == op);
}

/* One request at `upto`: compares with the model; returns where the next one begins. */
static struct log_offset check_request(struct shapelog *store, struct log *log,
                                       const struct model *m, struct log_offset after, lsn_t upto)
{
    size_t from = model_after(m, after), to = from, end = from;
    struct log_range range;
    struct buf expected, got;
    uint64_t size;
    struct err err;

    while (end < m->n && m->items[end].at.lsn <= upto)
        end++;
    while (to < end && !(to > from && m->items[to - 1].bound))
        to++;
    assert_ok(log_range_after(store, log, after, upto, &range, &err), err);
    assert_true(log_offset_compare(range.after, after) == 0);
    assert_true(log_offset_compare(range.to, to > from ? m->items[to - 1].at : after) == 0);
    assert_int_equal(range.closed, to > from && m->items[to - 1].bound);
    assert_int_equal(range.at_end, to == end);
    if (to > from)
        assert_int_equal(range.from_bound, log_offset_compare(after, LOG_OFFSET_BEGIN) == 0 ||
                                               model_is_bound(m, after));
    buf_init(&expected, BUF_NO_LIMIT);
    buf_init(&got, BUF_NO_LIMIT);
    model_put(m, from, to, &expected);
    assert_ok(read_range(store, log, &range, &got, &size, &err), err);
    assert_string_equal(buf_cstr(&got), buf_cstr(&expected));
    assert_true(size == range.size);
    buf_release(&expected);
    buf_release(&got);
    return range.to;
}

/* From the offset on to the end. */
static void check_walk(struct shapelog *store, struct log *log, const struct model *m,
                       struct log_offset after)
{
    struct log_offset at = after, to;

    while (log_offset_compare(to = check_request(store, log, m, at, UINT64_MAX), at) != 0)
        at = to;
    assert_true(log_offset_compare(log_end(log, UINT64_MAX),
                                   m->n > 0 ? m->items[m->n - 1].at : LOG_OFFSET_BEGIN) == 0);
}

/* ---- random logs ----------------------------------------------------------------------------- */

#define LOGS 3u
#define LANES 2u
#define REGISTERED 50u
#define LIMIT 140u /* of the snapshots: transactions below it whose xid is even are seen */

struct random_world {
    char dir[64];
    unsigned seed;
    struct shapelog *store;
    struct lane *lanes[LANES];
    struct log *logs[LOGS], *bulk;
    char handles[LOGS][64];
    struct model models[LOGS];
    size_t chunk_size;
    lsn_t lsn;
};

static unsigned roll(struct random_world *w, unsigned n)
{
    return (unsigned)rand_r(&w->seed) % n;
}

static void open_random(struct random_world *w, size_t chunk_size)
{
    const struct shapelog_config config = {
        .dir = w->dir, .segment_size = 8192, .sync_interval_ms = 1, .chunk_size = chunk_size};
    struct err err;

    w->store = shapelog_open(&config, &err);
    if (!w->store)
        fail_msg("shapelog_open: %s", err.msg);
    for (unsigned i = 0; i < LANES; i++)
        w->lanes[i] = shapelog_lane_new(w->store);
}

static void close_random(struct random_world *w)
{
    for (unsigned i = 0; i < LOGS; i++)
        log_unref(w->logs[i]);
    log_unref(w->bulk);
    w->bulk = NULL;
    for (unsigned i = 0; i < LANES; i++)
        shapelog_lane_free(w->store, w->lanes[i]);
    shapelog_close(w->store);
}

/* Sees every even xid below LIMIT. */
static void set_even_snapshot(struct log *log)
{
    uint64_t xip[LIMIT / 2];
    size_t n = 0;

    for (uint64_t xid = 1; xid < LIMIT; xid += 2)
        xip[n++] = xid;
    log_set_snapshot(log, &(struct snapshot){1, LIMIT, xip, n}, LIMIT);
}

static void finish(struct shapelog *store, struct log *log)
{
    struct err err;
    struct snapshot_writer *writer = snapshot_writer_new(store, log, &err);

    assert_non_null(writer);
    assert_ok(snapshot_writer_finish(writer, &err), err);
}

static void append_one(struct random_world *w, unsigned lane, unsigned logs, uint64_t op)
{
    struct log *takers[LOGS + 1];
    struct buf text;
    struct err err;
    size_t n = 0;

    buf_init(&text, BUF_NO_LIMIT);
    put_message(&text, w->lsn, op, roll(w, 8), roll(w, 4) ? roll(w, 60) : roll(w, 1500));
    for (unsigned i = 0; i < LOGS; i++) {
        if (!(logs & 1u << i))
            continue;
        takers[n++] = w->logs[i];
        if (w->lsn >= LIMIT || w->lsn % 2 == 1)
            model_add(&w->models[i], (struct log_offset){w->lsn, op}, buf_slice(&text));
    }
    takers[n++] = w->bulk;
    assert_ok(shapelog_append(w->store, w->lanes[lane], buf_slice(&text), op, takers, n, &err),
              err);
    buf_release(&text);
}

/* A transaction of some rows, some of which change their key (op, op + 1). */
static void random_txn(struct random_world *w)
{
    unsigned rows = roll(w, 3) ? roll(w, 4) : roll(w, 40);
    uint64_t op = 0;

    w->lsn += 1 + roll(w, 4);
    begin(w->store, w->lsn);
    for (unsigned i = 0; i < rows; i++, op += 2u + 2 * roll(w, 2)) {
        unsigned logs = roll(w, 1u << LOGS), lane = roll(w, LANES);

        append_one(w, lane, logs, op);
        if (roll(w, 5) == 0)
            append_one(w, lane, logs, op + 1);
    }
    if (roll(w, 10) == 0)
        shapelog_rollback(w->store);
    else
        commit(w->store, w->lsn);
}

/* A rolled back transaction is not in the model either: its messages are taken off. */
static void random_txns(struct random_world *w, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct model before[LOGS];
        lsn_t last = shapelog_last_commit(w->store);

        memcpy(before, w->models, sizeof(before));
        random_txn(w);
        for (unsigned k = 0; shapelog_last_commit(w->store) == last && k < LOGS; k++) {
            w->models[k].n = before[k].n;
            w->models[k].sum = before[k].sum;
        }
        if (roll(w, 3) == 0)
            publish(w->store, shapelog_last_commit(w->store));
    }
    publish(w->store, shapelog_last_commit(w->store));
}

static struct log_offset random_offset(struct random_world *w, const struct model *m)
{
    struct log_offset at;

    if (m->n == 0 || roll(w, 10) == 0)
        return (struct log_offset){0, roll(w, 2) ? roll(w, 5) : LOG_OP_INF};
    at = m->items[roll(w, (unsigned)m->n)].at;
    switch (roll(w, 6)) {
    case 0:
        at.op = LOG_OP_INF;
        break;
    case 1:
        at.op++; /* between messages, or the second of a key change */
        break;
    case 2:
        at.lsn--;
        break;
    default:
        break;
    }
    return at;
}

/* Also below the end, as of an earlier moment. */
static void check_random(struct random_world *w, unsigned walks)
{
    for (unsigned i = 0; i < LOGS; i++) {
        const struct model *m = &w->models[i];

        check_walk(w->store, w->logs[i], m, LOG_OFFSET_BEGIN);
        for (unsigned k = 0; k < walks; k++) {
            check_walk(w->store, w->logs[i], m, random_offset(w, m));
            check_request(w->store, w->logs[i], m, random_offset(w, m), roll(w, (unsigned)w->lsn));
        }
    }
}

static void compact_random(struct random_world *w)
{
    struct err err;
    bool worked = true;

    shapelog_end_log(w->store, w->bulk, "leaves its segments dead");
    log_unref(w->bulk);
    w->bulk = new_live_log(w->store, 1000 + roll(w, 1000000), w->lsn);
    wait_durable(w->store, shapelog_published(w->store) + 5);
    while (worked)
        assert_ok(shapelog_compact(w->store, &worked, &err), err);
}

static void reopen_random(struct random_world *w)
{
    close_random(w);
    open_random(w, w->chunk_size / 2 + 1 + roll(w, 5000)); /* which is not for logs that exist */
    for (unsigned i = 0; i < LOGS; i++)
        assert_non_null(w->logs[i] = bind_again(w->store, w->handles[i], i));
    w->bulk = new_live_log(w->store, 1000 + roll(w, 1000000), w->lsn);
}

static void begin_random(struct random_world *w, unsigned seed)
{
    *w = (struct random_world){.seed = seed, .lsn = 100};
    make_fast_folder(w->dir);
    w->chunk_size = roll(w, 3) ? 1 + roll(w, 4000) : 1 + roll(w, 60000);
    open_random(w, w->chunk_size);
    for (unsigned i = 0; i < LOGS; i++) {
        model_init(&w->models[i], w->chunk_size);
        w->logs[i] = new_log(w->store, i);
        log_register(w->logs[i], REGISTERED);
        copy_handle(w->logs[i], w->handles[i]);
    }
    w->bulk = new_live_log(w->store, 999, REGISTERED);
    random_txns(w, 20);
    for (unsigned i = 0; i < LOGS; i++) {
        assert_true(range_after(w->store, w->logs[i], LOG_OFFSET_BEGIN).at_end);
        set_even_snapshot(w->logs[i]);
        finish(w->store, w->logs[i]);
    }
}

static void run_random(unsigned seed)
{
    struct random_world w;

    begin_random(&w, seed);
    for (unsigned round = 0; round < 4; round++) {
        random_txns(&w, 40);
        check_random(&w, 4);
        compact_random(&w);
        check_random(&w, 4);
        reopen_random(&w);
        if (round % 2)
            check_random(&w, 4);
    }
    close_random(&w);
    for (unsigned i = 0; i < LOGS; i++)
        model_release(&w.models[i]);
    remove_folder(w.dir);
}

static void test_ranges_from_any_offset_are_the_messages_after_it(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= (UNDER_TSAN ? 4 : UNDER_ASAN ? 15 : 40); seed++)
        run_random(seed);
}

/* ---- one by one ------------------------------------------------------------------------------ */

struct fixture {
    char dir[64];
    struct shapelog *store;
    struct lane *lane;
    struct log *log;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    make_folder(f->dir);
    f->store = open_store(f->dir, 0);
    f->lane = shapelog_lane_new(f->store);
    f->log = new_live_log(f->store, 1, 90);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    log_unref(f->log);
    shapelog_lane_free(f->store, f->lane);
    shapelog_close(f->store);
    remove_folder(f->dir);
    free(f);
    return 0;
}

/* Messages at ops 0, 2, ... with `pad` more bytes each; committed, not published. */
static void commit_rows(struct fixture *f, lsn_t lsn, unsigned rows, unsigned pad)
{
    struct buf text;

    begin(f->store, lsn);
    for (unsigned i = 0; i < rows; i++) {
        buf_init(&text, BUF_NO_LIMIT);
        put_message(&text, lsn, i * 2, 0, pad);
        append(f->store, f->lane, buf_cstr(&text), i * 2, f->log);
        buf_release(&text);
    }
    commit(f->store, lsn);
}

static void put_rows(struct fixture *f, lsn_t lsn, unsigned rows, unsigned pad)
{
    commit_rows(f, lsn, rows, pad);
    publish(f->store, lsn);
}

static void test_an_empty_log_has_an_empty_range_at_its_end(void **state)
{
    struct fixture *f = *state;
    struct log_range range = range_after(f->store, f->log, LOG_OFFSET_BEGIN);

    assert_offset(range.to, 0, LOG_OP_INF);
    assert_true(range.at_end);
    assert_false(range.closed);
    assert_true(range.size == 0);
    assert_offset(log_end(f->log, UINT64_MAX), 0, LOG_OP_INF);
}

static void test_a_chunk_ends_with_the_message_that_fills_it(void **state)
{
    struct fixture *f = *state;
    struct log_range range;

    put_rows(f, 100, 10, 1500); /* chunks of 4096: three messages each */
    range = range_after(f->store, f->log, LOG_OFFSET_BEGIN);
    assert_offset(range.to, 100, 4);
    assert_true(range.closed);
    assert_false(range.at_end);
    range = range_after(f->store, f->log, range.to);
    assert_offset(range.to, 100, 10);
    range = range_after(f->store, f->log, (struct log_offset){100, 17});
    assert_offset(range.to, 100, 18);
    assert_false(range.closed);
    assert_true(range.at_end);
}

static void test_a_range_stays_when_the_log_grows_after_it_was_planned(void **state)
{
    struct fixture *f = *state;
    struct log_range range;
    struct buf before, after;
    uint64_t size;
    struct err err;

    put_rows(f, 100, 2, 10);
    range = range_after(f->store, f->log, LOG_OFFSET_BEGIN);
    buf_init(&before, BUF_NO_LIMIT);
    buf_init(&after, BUF_NO_LIMIT);
    assert_ok(read_range(f->store, f->log, &range, &before, &size, &err), err);
    put_rows(f, 110, 50, 1000);
    assert_ok(read_range(f->store, f->log, &range, &after, &size, &err), err);
    assert_string_equal(buf_cstr(&before), buf_cstr(&after));
    assert_offset(range.to, 100, 2);
    buf_release(&before);
    buf_release(&after);
}

static void test_nothing_above_upto_is_in_a_range(void **state)
{
    struct fixture *f = *state;
    struct log_range range;
    struct err err;

    put_rows(f, 100, 2, 10);
    put_rows(f, 110, 2, 10);
    assert_ok(log_range_after(f->store, f->log, LOG_OFFSET_BEGIN, 109, &range, &err), err);
    assert_offset(range.to, 100, 2);
    assert_true(range.at_end);
    assert_offset(log_end(f->log, 109), 100, 2);
    assert_offset(log_end(f->log, 99), 0, LOG_OP_INF);
}

static void test_nothing_that_is_not_published_is_in_a_range(void **state)
{
    struct fixture *f = *state;
    struct log_range range;

    put_rows(f, 100, 1, 10);
    commit_rows(f, 110, 10, 1500);
    range = range_after(f->store, f->log, LOG_OFFSET_BEGIN);
    assert_offset(range.to, 100, 0);
    assert_false(range.closed);
    assert_true(range.at_end);
    assert_offset(log_end(f->log, UINT64_MAX), 100, 0);
    publish(f->store, 110);
    assert_true(range_after(f->store, f->log, LOG_OFFSET_BEGIN).closed);
    assert_offset(log_end(f->log, UINT64_MAX), 110, 18);
}

/* There is one such range a chunk, whatever offsets clients think of. */
static void test_only_a_range_from_a_bound_or_the_logs_beginning_begins_a_chunk(void **state)
{
    static const struct log_offset others[] = {{90, 0},  {99, LOG_OP_INF}, {100, 0}, {100, 3},
                                               {100, 5}, {100, 6},         {100, 7}};
    struct fixture *f = *state;
    struct log_range range;

    put_rows(f, 100, 9, 1500); /* three a chunk */
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        range = range_after(f->store, f->log, others[i]);
        assert_true(range.closed);
        assert_false(range.from_bound);
    }
    range = range_after(f->store, f->log, LOG_OFFSET_BEGIN);
    assert_true(range.from_bound);
    assert_offset(range.to, 100, 4);
    range = range_after(f->store, f->log, range.to);
    assert_true(range.from_bound);
    assert_offset(range.to, 100, 10);
}

/* With the byte that follows it, a message of one less is as much as a chunk. */
static void test_a_log_that_is_a_chunk_to_the_byte_is_closed(void **state)
{
    struct fixture *f = *state;
    struct log_range range;
    struct buf text;

    for (size_t len = 4094; len <= 4095; len++) {
        struct log *log = new_live_log(f->store, (unsigned)len, 90);

        buf_init(&text, BUF_NO_LIMIT);
        put_message(&text, len, 0, 0, 0);
        size_t pad = len - text.len;

        buf_clear(&text);
        put_message(&text, len, 0, 0, (unsigned)pad);
        assert_int_equal(text.len, len);
        put(f->store, f->lane, len, log, buf_cstr(&text));
        range = range_after(f->store, log, LOG_OFFSET_BEGIN);
        assert_offset(range.to, len, 0);
        assert_int_equal(range.closed, len == 4095);
        buf_release(&text);
        log_unref(log);
    }
}

static void test_an_offset_beyond_the_end_has_an_empty_range(void **state)
{
    struct fixture *f = *state;
    struct log_range range;

    put_rows(f, 100, 2, 10);
    range = range_after(f->store, f->log, (struct log_offset){100, 3});
    assert_offset(range.to, 100, 3);
    assert_true(range.size == 0);
    range = range_after(f->store, f->log, (struct log_offset){200, 0});
    assert_offset(range.to, 200, 0);
    assert_true(log_offset_compare(range.after, log_end(f->log, UINT64_MAX)) > 0);
}

static void test_an_offset_below_the_first_is_not_answered(void **state)
{
    struct fixture *f = *state;
    struct log_range range;
    struct err err;

    put_rows(f, 100, 1, 10);
    assert_false(log_range_after(f->store, f->log, (struct log_offset){89, LOG_OP_INF}, UINT64_MAX,
                                 &range, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_offset(range_after(f->store, f->log, (struct log_offset){90, 0}).to, 100, 0);
    assert_offset(range_after(f->store, f->log, (struct log_offset){0, 3}).to, 100, 0);
}

static void test_a_log_that_ends_is_said_to_have_ended_while_it_is_read(void **state)
{
    struct fixture *f = *state;
    struct log_range_cursor cursor = {0};
    struct log_piece piece;
    struct log_range range;
    struct err err;
    size_t n;

    put_rows(f, 100, 1, 10);
    put_rows(f, 110, 1, 10);
    range = range_after(f->store, f->log, LOG_OFFSET_BEGIN);
    assert_ok(log_range_read(f->store, f->log, &range, &cursor, &piece, 1, &n, &err), err);
    assert_int_equal(n, 1);
    log_pieces_release(&piece, n);
    shapelog_end_log(f->store, f->log, "rotated");
    assert_false(log_range_read(f->store, f->log, &range, &cursor, &piece, 1, &n, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "rotated"));
    assert_false(log_range_after(f->store, f->log, range.to, UINT64_MAX, &range, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_offset(log_end(f->log, UINT64_MAX), 0, LOG_OP_INF);
}

static void test_folders_without_chunk_sizes_get_those_of_the_settings(void **state)
{
    struct fixture *f = *state;
    char path[96], handle[64];
    sqlite3 *db;

    put_rows(f, 100, 10, 1500);
    copy_handle(f->log, handle);
    wait_durable(f->store, 105);
    log_unref(f->log);
    shapelog_lane_free(f->store, f->lane);
    shapelog_close(f->store);
    snprintf(path, sizeof(path), "%s/tombolo.db", f->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "ALTER TABLE logs DROP COLUMN chunk_size", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    f->store = open_store(f->dir, 0);
    f->lane = shapelog_lane_new(f->store);
    f->log = bind_again(f->store, handle, 1);
    assert_non_null(f->log);
    assert_offset(range_after(f->store, f->log, LOG_OFFSET_BEGIN).to, 100, 4);
}

/* More than what is gone through while the lock is held, within a chunk. */
static void test_chunks_of_very_many_transactions_are_whole(void **state)
{
    enum { TRANSACTIONS = 40000, FIRST = 100000 };
    struct shapelog_config config = {.sync_interval_ms = 1, .chunk_size = 3500000};
    struct model model;
    struct buf text;
    char dir[64];
    struct err err;

    (void)state;
    make_fast_folder(dir);
    config.dir = dir;
    struct shapelog *store = shapelog_open(&config, &err);
    assert_non_null(store);
    struct lane *lane = shapelog_lane_new(store);
    struct log *log = new_live_log(store, 1, 90);

    model_init(&model, config.chunk_size);
    buf_init(&text, BUF_NO_LIMIT);
    for (lsn_t lsn = FIRST; lsn < FIRST + TRANSACTIONS; lsn++) {
        buf_clear(&text);
        put_message(&text, lsn, 0, 0, 0);
        model_add(&model, (struct log_offset){lsn, 0}, buf_slice(&text));
        begin(store, lsn);
        append(store, lane, buf_cstr(&text), 0, log);
        commit(store, lsn);
    }
    publish(store, FIRST + TRANSACTIONS);
    check_walk(store, log, &model, LOG_OFFSET_BEGIN);
    assert_true(range_after(store, log, LOG_OFFSET_BEGIN).end > 16384);
    buf_release(&text);
    model_release(&model);
    log_unref(log);
    shapelog_lane_free(store, lane);
    shapelog_close(store);
    remove_folder(dir);
}

/* ---- taking runs apart ----------------------------------------------------------------------- */

static void test_runs_come_apart_between_messages_only(void **state)
{
    struct slice rest, message;
    struct buf run;
    uint64_t op;

    (void)state;
    buf_init(&run, BUF_NO_LIMIT);
    for (unsigned i = 0; i < 16; i++) {
        if (i > 0)
            buf_put_u8(&run, ',');
        put_message(&run, 100, i * 3, i, i);
    }
    rest = buf_slice(&run);
    for (unsigned i = 0; i < 16; i++) {
        assert_true(messages_next(&rest, &message));
        assert_true(messages_op(message, &op));
        assert_true(op == i * 3);
    }
    assert_false(messages_next(&rest, &message));
    buf_release(&run);
}

static void test_a_message_without_a_position_has_no_op(void **state)
{
    uint64_t op;

    (void)state;
    assert_false(
        messages_op(SLICE("{\"key\":\"k\",\"value\":{\"a\":null,\"op_position\":\"1\"}}"), &op));
    assert_false(messages_op(SLICE("{\"op_position\":1}}"), &op));
    assert_false(messages_op(SLICE(",\"op_position\":"), &op));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges_from_any_offset_are_the_messages_after_it),
        TEST(test_an_empty_log_has_an_empty_range_at_its_end),
        TEST(test_a_chunk_ends_with_the_message_that_fills_it),
        TEST(test_a_range_stays_when_the_log_grows_after_it_was_planned),
        TEST(test_nothing_above_upto_is_in_a_range),
        TEST(test_nothing_that_is_not_published_is_in_a_range),
        TEST(test_only_a_range_from_a_bound_or_the_logs_beginning_begins_a_chunk),
        TEST(test_a_log_that_is_a_chunk_to_the_byte_is_closed),
        TEST(test_an_offset_beyond_the_end_has_an_empty_range),
        TEST(test_an_offset_below_the_first_is_not_answered),
        TEST(test_a_log_that_ends_is_said_to_have_ended_while_it_is_read),
        TEST(test_folders_without_chunk_sizes_get_those_of_the_settings),
        cmocka_unit_test(test_chunks_of_very_many_transactions_are_whole),
        cmocka_unit_test(test_runs_come_apart_between_messages_only),
        cmocka_unit_test(test_a_message_without_a_position_has_no_op),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
