/*
 * Bodies that are encoded once for all who ask (http/encoder). Those who ask stand on loops that
 * the test turns by hand; a gate holds a job up while its body is read, so that others come in the
 * meantime. The last test is for ThreadSanitizer.
 */
#include "base/arena.h"
#include "base/clock.h"
#include "http/encoder.h"

#include <libdeflate.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include <zstd.h>

#define PATIENCE_MS 20000
#define MEMORY ((size_t)1 << 20)

/* ---- jobs ------------------------------------------------------------------------------------ */

struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool open;
    unsigned waiting; /* at the gate */
};

static void gate_init(struct gate *gate, bool open)
{
    *gate = (struct gate){PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, open, 0};
}

static void gate_pass(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    gate->waiting++;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->mutex);
    gate->waiting--;
    pthread_mutex_unlock(&gate->mutex);
}

static void gate_await_one(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    while (!gate->waiting)
        pthread_cond_wait(&gate->changed, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
}

static void gate_open(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
}

struct body_job {
    struct encoder_job job; /* first */
    struct buf body;
    bool fails;
    struct gate *gate;
    atomic_uint *read, *released; /* how often */
};

static bool job_read(struct encoder_job *job, struct buf *body)
{
    struct body_job *j = (struct body_job *)job;

    gate_pass(j->gate);
    atomic_fetch_add(j->read, 1);
    buf_put_slice(body, buf_slice(&j->body));
    return !j->fails;
}

static void job_release(struct encoder_job *job)
{
    struct body_job *j = (struct body_job *)job;

    atomic_fetch_add(j->released, 1);
    buf_release(&j->body);
    free(j);
}

/* Rows that tell the number's body from every other. */
static void put_body(struct buf *out, uint64_t number, size_t rows)
{
    for (size_t i = 0; i < rows; i++)
        buf_printf(out, "{\"key\":\"%zu\",\"value\":{\"n\":\"%u\"}},", i, (unsigned)number);
}

/* Of about `n` bytes that encoding leaves nearly as many. */
static void put_noise(struct buf *out, uint64_t number, size_t n)
{
    unsigned seed = (unsigned)number;

    for (size_t i = 0; i < n; i++)
        buf_put_u8(out, (uint8_t)('0' + (rand_r(&seed) >> 5) % 64));
}

/* ---- a desk: an encoder, a loop, who asks there ---------------------------------------------- */

struct desk {
    struct encoder *encoder;
    struct http_loop *loop;
    struct gate gate;
    atomic_uint read, released;
};

/* One who asks; zeroed before. */
struct asker {
    struct encoder_waiter waiter; /* first */
    struct encoded *got;
    unsigned told;
};

static void on_done(struct encoder_waiter *waiter, struct encoded *encoded)
{
    struct asker *asker = (struct asker *)waiter;

    asker->told++;
    asker->got = encoded;
}

static void desk_open(struct desk *d, size_t memory, bool gate_is_open)
{
    struct err err;

    *d = (struct desk){0};
    gate_init(&d->gate, gate_is_open);
    assert_non_null(d->encoder = encoder_new(memory, &err));
    assert_non_null(d->loop = http_loop_new(&err));
}

static void desk_close(struct desk *d)
{
    encoder_free(d->encoder);
    http_loop_free(d->loop);
}

static struct body_job *desk_job(struct desk *d, uint64_t number, enum http_encoding encoding)
{
    struct body_job *j = xcalloc(1, sizeof(*j));

    j->job = (struct encoder_job){{{number, encoding}}, encoding, job_read, job_release};
    j->gate = &d->gate;
    j->read = &d->read;
    j->released = &d->released;
    buf_init(&j->body, BUF_NO_LIMIT);
    return j;
}

static bool desk_may_ask(struct desk *d, struct body_job *j, struct asker *asker)
{
    asker->waiter.loop = d->loop;
    asker->waiter.done = on_done;
    return encoder_request(d->encoder, &j->job, &asker->waiter);
}

static void desk_ask(struct desk *d, struct body_job *j, struct asker *asker)
{
    assert_true(desk_may_ask(d, j, asker));
}

static void desk_ask_rows(struct desk *d, uint64_t number, struct asker *asker)
{
    struct body_job *j = desk_job(d, number, HTTP_GZIP);

    put_body(&j->body, number, 500);
    desk_ask(d, j, asker);
}

static void desk_ask_noise(struct desk *d, uint64_t number, size_t n, struct asker *asker)
{
    struct body_job *j = desk_job(d, number, HTTP_ZSTD);

    put_noise(&j->body, number, n);
    desk_ask(d, j, asker);
}

static void desk_await(struct desk *d, const struct asker *asker)
{
    int64_t until = clock_ms() + PATIENCE_MS;

    while (!asker->told) {
        assert_true(clock_ms() < until);
        http_loop_turn(d->loop, 10);
    }
}

/* A job may still be let go when all have been told. */
static void await_released(atomic_uint *released, unsigned n)
{
    int64_t until = clock_ms() + PATIENCE_MS;

    while (atomic_load(released) < n) {
        assert_true(clock_ms() < until);
        usleep(500);
    }
    assert_int_equal(atomic_load(released), n);
}

static bool desk_keeps(struct desk *d, uint64_t number, enum http_encoding encoding)
{
    const struct encoder_key key = {{number, encoding}};
    struct encoded *encoded = encoder_find(d->encoder, &key);

    if (encoded)
        encoded_unref(encoded);
    return encoded != NULL;
}

static void assert_decodes(enum http_encoding encoding, struct slice bytes, struct slice plain)
{
    char *back = xmalloc(plain.len + 1);
    size_t n = 0;

    if (encoding == HTTP_ZSTD) {
        n = ZSTD_decompress(back, plain.len + 1, bytes.ptr, bytes.len);
    } else {
        struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();

        assert_int_equal(
            libdeflate_gzip_decompress(d, bytes.ptr, bytes.len, back, plain.len + 1, &n), 0);
        libdeflate_free_decompressor(d);
    }
    assert_int_equal(n, plain.len);
    assert_memory_equal(back, plain.ptr, n);
    free(back);
}

static void assert_decodes_to_rows(enum http_encoding encoding, const struct encoded *encoded,
                                   uint64_t number)
{
    struct buf plain;

    buf_init(&plain, BUF_NO_LIMIT);
    put_body(&plain, number, 500);
    assert_decodes(encoding, encoded->bytes, buf_slice(&plain));
    buf_release(&plain);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_a_body_is_made_once_for_all_who_ask_for_it_meanwhile_and_later(void **state)
{
    enum { N = 100 };
    struct asker askers[N] = {0}, late = {0};
    struct desk d;

    (void)state;
    desk_open(&d, MEMORY, false);
    desk_ask_rows(&d, 7, &askers[0]);
    gate_await_one(&d.gate);
    assert_false(desk_keeps(&d, 7, HTTP_GZIP));
    for (unsigned i = 1; i < N; i++)
        desk_ask_rows(&d, 7, &askers[i]);
    http_loop_turn(d.loop, 0);
    assert_int_equal(askers[0].told, 0);
    gate_open(&d.gate);
    for (unsigned i = 0; i < N; i++) {
        desk_await(&d, &askers[i]);
        assert_ptr_equal(askers[i].got, askers[0].got);
    }
    desk_ask_rows(&d, 7, &late);
    assert_int_equal(late.told, 0); /* by a post, not out of the call */
    desk_await(&d, &late);
    assert_ptr_equal(late.got, askers[0].got);
    assert_decodes_to_rows(HTTP_GZIP, late.got, 7);
    assert_true(desk_keeps(&d, 7, HTTP_GZIP));
    assert_int_equal(atomic_load(&d.read), 1);
    await_released(&d.released, N + 1);
    http_loop_drain(d.loop);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(askers[i].told, 1);
        encoded_unref(askers[i].got);
    }
    encoded_unref(late.got);
    desk_close(&d);
}

static void test_each_body_and_each_coding_of_it_is_one_of_its_own(void **state)
{
    enum { N = 8 };
    struct asker askers[N][HTTP_NENCODINGS] = {0};
    struct desk d;

    (void)state;
    desk_open(&d, MEMORY, true);
    for (unsigned i = 0; i < N; i++) {
        for (int e = HTTP_GZIP; e <= HTTP_ZSTD; e++) {
            struct body_job *j = desk_job(&d, i, (enum http_encoding)e);

            put_body(&j->body, i, 500);
            desk_ask(&d, j, &askers[i][e]);
        }
    }
    for (unsigned i = 0; i < N; i++) {
        for (int e = HTTP_GZIP; e <= HTTP_ZSTD; e++) {
            desk_await(&d, &askers[i][e]);
            assert_decodes_to_rows((enum http_encoding)e, askers[i][e].got, i);
            encoded_unref(askers[i][e].got);
        }
    }
    assert_int_equal(atomic_load(&d.read), N * 2);
    desk_close(&d);
}

static void test_a_body_that_fails_or_does_not_become_smaller_is_empty_and_tried_once(void **state)
{
    struct asker failed[2] = {0}, tiny[2] = {0}, huge = {0};
    struct desk d;

    (void)state;
    desk_open(&d, MEMORY, true);
    for (unsigned i = 0; i < 2; i++) {
        struct body_job *j = desk_job(&d, 1, HTTP_GZIP);

        put_body(&j->body, 1, 500);
        j->fails = true;
        desk_ask(&d, j, &failed[i]);
        desk_await(&d, &failed[i]);
        assert_int_equal(failed[i].got->bytes.len, 0);

        j = desk_job(&d, 2, HTTP_GZIP);
        buf_put_cstr(&j->body, "ab");
        desk_ask(&d, j, &tiny[i]);
        desk_await(&d, &tiny[i]);
        assert_int_equal(tiny[i].got->bytes.len, 0);
        encoded_unref(failed[i].got);
        encoded_unref(tiny[i].got);
    }
    assert_int_equal(atomic_load(&d.read), 2);

    struct body_job *j = desk_job(&d, 3, HTTP_GZIP);

    memset(buf_room(&j->body, ENCODER_BODY_MAX + 1), 'x', ENCODER_BODY_MAX + 1);
    buf_added(&j->body, ENCODER_BODY_MAX + 1);
    desk_ask(&d, j, &huge);
    desk_await(&d, &huge);
    assert_int_equal(huge.got->bytes.len, 0);
    encoded_unref(huge.got);
    desk_close(&d);
}

/* Six of them are as many as there is room for: a body of 12,000 bytes becomes some 9,000. */
static void test_above_the_bound_the_least_lately_used_go(void **state)
{
    struct desk d;

    (void)state;
    desk_open(&d, 60000, true);
    for (uint64_t i = 0; i < 20; i++) {
        struct asker asker = {0};

        desk_ask_noise(&d, i, 12000, &asker);
        desk_await(&d, &asker);
        assert_in_range(asker.got->bytes.len, 8600, 9600);
        encoded_unref(asker.got);
        assert_true(desk_keeps(&d, 0, HTTP_ZSTD)); /* and is used by that */
        assert_true(desk_keeps(&d, i, HTTP_ZSTD));
    }
    for (uint64_t i = 1; i < 20; i++)
        assert_int_equal(desk_keeps(&d, i, HTTP_ZSTD), i >= 15);
    assert_true(desk_keeps(&d, 0, HTTP_ZSTD));
    desk_close(&d);
}

static void test_what_went_is_made_anew_and_lives_while_it_is_used(void **state)
{
    struct asker first = {0}, other, again = {0};
    struct buf plain;
    struct desk d;

    (void)state;
    desk_open(&d, 60000, true);
    desk_ask_noise(&d, 99, 12000, &first);
    desk_await(&d, &first);
    for (uint64_t i = 0; i < 10; i++) {
        other = (struct asker){0};
        desk_ask_noise(&d, i, 12000, &other);
        desk_await(&d, &other);
        encoded_unref(other.got);
    }
    assert_false(desk_keeps(&d, 99, HTTP_ZSTD));
    buf_init(&plain, BUF_NO_LIMIT);
    put_noise(&plain, 99, 12000);
    assert_decodes(HTTP_ZSTD, first.got->bytes, buf_slice(&plain));
    desk_ask_noise(&d, 99, 12000, &again);
    desk_await(&d, &again);
    assert_ptr_not_equal(again.got, first.got);
    assert_decodes(HTTP_ZSTD, again.got->bytes, buf_slice(&plain));
    assert_int_equal(atomic_load(&d.read), 12);
    encoded_unref(first.got);
    encoded_unref(again.got);
    buf_release(&plain);
    desk_close(&d);
}

/* As it would be made for each who comes, by the one thread that others wait for too. */
static void test_a_body_above_a_quarter_of_the_memory_is_told_once_and_not_made_again(void **state)
{
    struct asker small = {0}, large[4] = {0};
    struct desk d;

    (void)state;
    desk_open(&d, 60000, true);
    desk_ask_noise(&d, 1, 12000, &small);
    desk_await(&d, &small);
    encoded_unref(small.got);
    for (unsigned i = 0; i < 4; i++) {
        desk_ask_noise(&d, 2, 24000, &large[i]);
        desk_await(&d, &large[i]);
        if (i == 0)
            assert_in_range(large[i].got->bytes.len, 15001, 24000);
        else
            assert_int_equal(large[i].got->bytes.len, 0);
        encoded_unref(large[i].got);
    }
    assert_true(desk_keeps(&d, 2, HTTP_ZSTD)); /* that it is not worth it */
    assert_true(desk_keeps(&d, 1, HTTP_ZSTD));
    assert_int_equal(atomic_load(&d.read), 2);
    desk_close(&d);
}

/* ---- what is not made ------------------------------------------------------------------------ */

static void test_a_job_that_nobody_waits_for_any_more_is_not_begun(void **state)
{
    struct asker busy = {0}, gone[3] = {0}, stays = {0}, late = {0};
    struct desk d;

    (void)state;
    desk_open(&d, MEMORY, false);
    desk_ask_rows(&d, 0, &busy);
    gate_await_one(&d.gate);
    desk_ask_rows(&d, 1, &gone[0]);
    desk_ask_rows(&d, 1, &gone[1]);
    desk_ask_rows(&d, 2, &gone[2]);
    desk_ask_rows(&d, 2, &stays);
    for (unsigned i = 0; i < 3; i++)
        assert_true(encoder_cancel(d.encoder, &gone[i].waiter));
    assert_int_equal(atomic_load(&d.released), 3); /* two that were not needed, and the dropped */
    gate_open(&d.gate);
    desk_await(&d, &stays);
    assert_decodes_to_rows(HTTP_GZIP, stays.got, 2);
    assert_int_equal(atomic_load(&d.read), 2);
    assert_false(desk_keeps(&d, 1, HTTP_GZIP));
    desk_ask_rows(&d, 1, &late);
    desk_await(&d, &late);
    assert_decodes_to_rows(HTTP_GZIP, late.got, 1);
    await_released(&d.released, 6);
    http_loop_drain(d.loop);
    assert_int_equal(gone[0].told + gone[1].told + gone[2].told, 0);
    assert_int_equal(busy.told, 1);
    encoded_unref(busy.got);
    encoded_unref(stays.got);
    encoded_unref(late.got);
    desk_close(&d);
}

static void test_a_job_that_has_begun_is_finished_and_kept_for_who_comes(void **state)
{
    struct asker gone = {0}, late = {0};
    struct desk d;

    (void)state;
    desk_open(&d, MEMORY, false);
    desk_ask_rows(&d, 1, &gone);
    gate_await_one(&d.gate);
    assert_true(encoder_cancel(d.encoder, &gone.waiter));
    desk_ask_rows(&d, 1, &late);
    gate_open(&d.gate);
    desk_await(&d, &late);
    assert_decodes_to_rows(HTTP_GZIP, late.got, 1);
    assert_int_equal(atomic_load(&d.read), 1);
    assert_int_equal(gone.told, 0);
    encoded_unref(late.got);
    desk_close(&d);
}

/* The post is on its way then. */
static void test_who_cancels_too_late_is_told(void **state)
{
    struct asker asker = {0}, stopped = {0};
    struct desk d;

    (void)state;
    desk_open(&d, MEMORY, true);
    desk_ask_rows(&d, 1, &asker);
    await_released(&d.released, 1);
    assert_false(encoder_cancel(d.encoder, &asker.waiter));
    desk_await(&d, &asker);
    encoded_unref(asker.got);
    encoder_stop(d.encoder);
    desk_ask_rows(&d, 2, &stopped);
    assert_false(encoder_cancel(d.encoder, &stopped.waiter));
    desk_await(&d, &stopped);
    encoded_unref(stopped.got);
    desk_close(&d);
}

static void test_only_so_many_jobs_wait_and_the_rest_is_refused(void **state)
{
    static struct asker askers[ENCODER_JOBS_MAX], same[2];
    struct asker refused = {0}, next = {0};
    struct body_job *j;
    struct desk d;

    (void)state;
    desk_open(&d, MEMORY, false);
    for (unsigned i = 0; i < ENCODER_JOBS_MAX; i++) {
        desk_ask_rows(&d, i, &askers[i]);
        if (i == 0)
            gate_await_one(&d.gate);
    }
    j = desk_job(&d, 1000, HTTP_GZIP);
    assert_false(desk_may_ask(&d, j, &refused));
    assert_int_equal(atomic_load(&d.released), 1);
    desk_ask_rows(&d, 0, &same[0]); /* is being made */
    desk_ask_rows(&d, ENCODER_JOBS_MAX - 1, &same[1]);
    assert_true(encoder_cancel(d.encoder, &askers[5].waiter)); /* that makes room */
    desk_ask_rows(&d, 1001, &next);
    assert_false(desk_may_ask(&d, desk_job(&d, 1002, HTTP_GZIP), &refused));
    gate_open(&d.gate);
    desk_await(&d, &next);
    http_loop_drain(d.loop);
    for (unsigned i = 0; i < ENCODER_JOBS_MAX; i++) {
        assert_int_equal(askers[i].told, i != 5);
        if (i != 5)
            encoded_unref(askers[i].got);
    }
    assert_int_equal(refused.told, 0);
    assert_ptr_equal(same[0].got, askers[0].got);
    assert_ptr_equal(same[1].got, askers[ENCODER_JOBS_MAX - 1].got);
    encoded_unref(same[0].got);
    encoded_unref(same[1].got);
    encoded_unref(next.got);
    assert_int_equal(atomic_load(&d.read), ENCODER_JOBS_MAX);
    desk_close(&d);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void *stop_main(void *arg)
{
    encoder_stop(arg);
    return NULL;
}

/* Asks until it is told at once, while the gate is closed: then the stop has begun. */
static unsigned await_stop(struct desk *d, struct asker *tries, unsigned max)
{
    for (unsigned i = 0; i < max; i++) {
        desk_ask_rows(d, 100, &tries[i]);
        http_loop_turn(d->loop, 1);
        if (tries[i].told)
            return i + 1;
        usleep(1000);
    }
    fail_msg("the encoder has not begun to stop");
    return 0;
}

/* Nothing is read any more for those that have not begun. */
static void test_a_stop_while_busy_tells_all_who_wait(void **state)
{
    enum { N = 10 };
    static struct asker tries[PATIENCE_MS];
    struct asker busy = {0}, waiting[N] = {0};
    pthread_t thread;
    struct desk d;

    (void)state;
    desk_open(&d, MEMORY, false);
    desk_ask_rows(&d, 0, &busy);
    gate_await_one(&d.gate);
    for (unsigned i = 0; i < N; i++)
        desk_ask_rows(&d, 1 + i / 2, &waiting[i]);
    pthread_create(&thread, NULL, stop_main, d.encoder);
    unsigned tried = await_stop(&d, tries, PATIENCE_MS);

    assert_int_equal(busy.told + waiting[0].told, 0);
    gate_open(&d.gate);
    pthread_join(thread, NULL);
    http_loop_drain(d.loop);
    assert_int_equal(busy.told, 1);
    assert_decodes_to_rows(HTTP_GZIP, busy.got, 0);
    encoded_unref(busy.got);
    for (unsigned i = 0; i < N + tried; i++) {
        struct asker *asker = i < N ? &waiting[i] : &tries[i - N];

        assert_int_equal(asker->told, 1);
        assert_int_equal(asker->got->bytes.len, 0);
        encoded_unref(asker->got);
    }
    assert_int_equal(atomic_load(&d.read), 1);
    assert_int_equal(atomic_load(&d.released), 1 + N + tried);
    desk_close(&d);
}

/* ---- all threads at once --------------------------------------------------------------------- */

#define ASKERS 3u
#define QUESTIONS 600u
#define BODIES 12u

struct crowd {
    struct encoder *encoder;
    struct gate gate;
    atomic_uint read, released, told, stopped;
};

struct crowd_asker {
    pthread_t thread;
    struct crowd *crowd;
    struct http_loop *loop;
    unsigned seed, told, empty, left;
};

struct question {
    struct encoder_waiter waiter; /* first */
    struct crowd_asker *asker;
    uint64_t number;
};

/* Before the stop nothing is empty. */
static void on_answer(struct encoder_waiter *waiter, struct encoded *encoded)
{
    struct question *q = (struct question *)waiter;

    q->asker->told++;
    atomic_fetch_add(&q->asker->crowd->told, 1);
    if (encoded->bytes.len)
        assert_decodes_to_rows(HTTP_ZSTD, encoded, q->number);
    else
        assert_true(atomic_load(&q->asker->crowd->stopped));
    q->asker->empty += encoded->bytes.len == 0;
    encoded_unref(encoded);
    free(q);
}

static void ask(struct crowd_asker *asker, uint64_t number)
{
    const struct encoder_key key = {{number}};
    struct crowd *crowd = asker->crowd;
    struct question *q = xmalloc(sizeof(*q));
    struct body_job *j = xcalloc(1, sizeof(*j));

    *q = (struct question){{.loop = asker->loop, .done = on_answer}, asker, number};
    j->job = (struct encoder_job){key, HTTP_ZSTD, job_read, job_release};
    j->gate = &crowd->gate;
    j->read = &crowd->read;
    j->released = &crowd->released;
    buf_init(&j->body, BUF_NO_LIMIT);
    put_body(&j->body, number, 500);
    assert_true(encoder_request(crowd->encoder, &j->job, &q->waiter));
    /* One in three leaves; what it is told then it has been told already. */
    if (rand_r(&asker->seed) % 3 == 0 && encoder_cancel(crowd->encoder, &q->waiter)) {
        asker->left++;
        free(q);
    }
}

static void *asker_main(void *arg)
{
    struct crowd_asker *asker = arg;

    for (unsigned i = 0; i < QUESTIONS; i++) {
        uint64_t number = (unsigned)rand_r(&asker->seed) % BODIES;
        const struct encoder_key key = {{number}};
        struct encoded *kept = encoder_find(asker->crowd->encoder, &key);

        if (kept) {
            assert_true(kept->bytes.len > 0);
            encoded_unref(kept);
        }
        ask(asker, number);
        if (i % 5 == 0)
            http_loop_turn(asker->loop, 1);
    }
    for (int64_t until = clock_ms() + PATIENCE_MS; asker->told + asker->left < QUESTIONS;) {
        assert_true(clock_ms() < until);
        http_loop_turn(asker->loop, 1);
    }
    return NULL;
}

/* Kept are three of the bodies, of some 500 bytes; the end comes when a third of the questions
 * is answered. */
static void test_every_question_is_answered_once_while_bodies_come_and_go_and_it_stops(void **state)
{
    struct crowd_asker askers[ASKERS] = {0};
    struct crowd crowd = {0};
    unsigned empty = 0;
    struct err err;

    (void)state;
    gate_init(&crowd.gate, true);
    assert_non_null(crowd.encoder = encoder_new(2200, &err));
    for (unsigned i = 0; i < ASKERS; i++) {
        askers[i] = (struct crowd_asker){.crowd = &crowd, .seed = i + 1};
        assert_non_null(askers[i].loop = http_loop_new(&err));
    }
    for (unsigned i = 0; i < ASKERS; i++)
        pthread_create(&askers[i].thread, NULL, asker_main, &askers[i]);
    while (atomic_load(&crowd.told) < ASKERS * QUESTIONS / 3)
        usleep(200);
    atomic_store(&crowd.stopped, 1);
    encoder_stop(crowd.encoder);
    for (unsigned i = 0; i < ASKERS; i++)
        pthread_join(askers[i].thread, NULL);
    encoder_free(crowd.encoder);
    for (unsigned i = 0; i < ASKERS; i++) {
        http_loop_free(askers[i].loop);
        assert_int_equal(askers[i].told + askers[i].left, QUESTIONS);
        assert_true(askers[i].left > 0);
        empty += askers[i].empty;
    }
    assert_true(empty > 0);
    assert_in_range(atomic_load(&crowd.read), BODIES, ASKERS * QUESTIONS);
    assert_int_equal(atomic_load(&crowd.released), ASKERS * QUESTIONS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_body_is_made_once_for_all_who_ask_for_it_meanwhile_and_later),
        cmocka_unit_test(test_each_body_and_each_coding_of_it_is_one_of_its_own),
        cmocka_unit_test(test_a_body_that_fails_or_does_not_become_smaller_is_empty_and_tried_once),
        cmocka_unit_test(test_above_the_bound_the_least_lately_used_go),
        cmocka_unit_test(test_what_went_is_made_anew_and_lives_while_it_is_used),
        cmocka_unit_test(test_a_body_above_a_quarter_of_the_memory_is_told_once_and_not_made_again),
        cmocka_unit_test(test_a_job_that_nobody_waits_for_any_more_is_not_begun),
        cmocka_unit_test(test_a_job_that_has_begun_is_finished_and_kept_for_who_comes),
        cmocka_unit_test(test_who_cancels_too_late_is_told),
        cmocka_unit_test(test_only_so_many_jobs_wait_and_the_rest_is_refused),
        cmocka_unit_test(test_a_stop_while_busy_tells_all_who_wait),
        cmocka_unit_test(
            test_every_question_is_answered_once_while_bodies_come_and_go_and_it_stops),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
