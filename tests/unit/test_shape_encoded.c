/*
 * Which bodies of /v1/shape an encoder makes, when nobody waits for it any more, and what caches
 * are told of it. A gate holds the encoder's thread up where a test needs it busy.
 */
#include "shape_site_kit.h"

#include <pthread.h>

#define LARGE (SHAPE_SMALL + 20000)
#define GZIP "Accept-Encoding: gzip\r\n"

/* ---- an encoder that is held up -------------------------------------------------------------- */

struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool open, reached;
};

struct gate_job {
    struct encoder_job job; /* first */
    struct encoder_waiter waiter;
    struct gate *gate;
    bool told;
};

static bool pass_gate(struct encoder_job *job, struct buf *body)
{
    struct gate *gate = ((struct gate_job *)job)->gate;

    (void)body;
    pthread_mutex_lock(&gate->mutex);
    gate->reached = true;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
    return false;
}

static void keep_job(struct encoder_job *job)
{
    (void)job;
}

static void on_told(struct encoder_waiter *waiter, struct encoded *encoded)
{
    struct gate_job *j =
        (struct gate_job *)(void *)((char *)waiter - offsetof(struct gate_job, waiter));

    j->told = true;
    encoded_unref(encoded);
}

static struct kit *with_encoder(struct kit *kit, size_t memory)
{
    struct err err;

    kit->site.encoder = encoder_new(memory, &err);
    assert_non_null(kit->site.encoder);
    return kit;
}

static void without_encoder(struct kit *kit)
{
    encoder_stop(kit->site.encoder);
    http_loop_drain(kit->rig->worker.loop);
    encoder_free(kit->site.encoder);
    kit->site.encoder = NULL;
}

/* One more job that waits behind the gate. The jobs are the caller's, until without_encoder(). */
static bool add_job(struct kit *kit, struct gate *gate, struct gate_job *j)
{
    *j = (struct gate_job){.gate = gate};
    j->job.key.parts[0] = UINT64_MAX;
    j->job.key.parts[1] = (uintptr_t)j;
    j->job.encoding = HTTP_GZIP;
    j->job.read = pass_gate;
    j->job.release = keep_job;
    j->waiter.loop = kit->rig->worker.loop;
    j->waiter.done = on_told;
    return encoder_request(kit->site.encoder, &j->job, &j->waiter);
}

/* The encoder is busy, and `n` jobs are to be made, with the one that it is busy with. */
static void hold_up(struct kit *kit, struct gate *gate, struct gate_job *jobs, unsigned n)
{
    *gate = (struct gate){PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false};
    for (unsigned i = 0; i < n; i++)
        assert_true(add_job(kit, gate, &jobs[i]));
    pthread_mutex_lock(&gate->mutex);
    while (!gate->reached)
        pthread_cond_wait(&gate->changed, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
}

static void let_go(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
}

/* ---- asking ---------------------------------------------------------------------------------- */

/* The headers of one answer; the client is to be closed. */
static void ask(struct kit *kit, struct client *c, const char *query, const char *headers)
{
    client_open(c, kit);
    client_ask(c, "GET", query, headers);
    client_hear_until(c, "\r\n\r\n");
}

static void assert_encoded(struct kit *kit, const char *query, const char *encoding)
{
    struct client c;

    ask(kit, &c, query, GZIP);
    assert_true(client_has(&c, "HTTP/1.1 200"));
    if (!slice_is(client_header(&c, "content-encoding"), encoding))
        fail_msg("%s: \"%.*s\" and not \"%s\"", query,
                 SLICE_ARG(client_header(&c, "content-encoding")), encoding);
    assert_true(slice_is(client_header(&c, "vary"), "accept-encoding"));
    client_close(&c);
    kit_turn(kit);
}

/* Two chunks that are large, of a small message and a large one each, and an open third. */
static void commit_chunks(struct kit *kit)
{
    kit_commit(kit, 100, 1, 0);
    kit_commit(kit, 101, 1, LARGE);
    kit_commit(kit, 102, 1, 0);
    kit_commit(kit, 103, 1, LARGE);
    kit_commit(kit, 104, 1, 0);
}

/* Or each offset that a client thinks of would be work, and a body to be kept. */
static void test_whole_chunks_are_encoded_and_what_is_left_of_one_is_not(void **state)
{
    static const char *const within[] = {"20_0",    "99_inf", "100_0", "100_1",
                                         "100_777", "102_0",  "102_9", "102_inf"};
    struct kit *kit = with_encoder(kit_new(), (size_t)1 << 20);
    char query[64];

    (void)state;
    commit_chunks(kit);
    for (unsigned i = 0; i < sizeof(within) / sizeof(within[0]); i++) {
        snprintf(query, sizeof(query), "handle=%%s&offset=%s", within[i]);
        assert_encoded(kit, query, "");
    }
    assert_encoded(kit, "handle=%s&offset=0_inf", "gzip");
    assert_encoded(kit, "handle=%s&offset=0_0", "gzip");
    assert_encoded(kit, "handle=%s&offset=101_0", "gzip");
    without_encoder(kit);
    kit_free(kit);
}

static void test_a_chunk_of_the_snapshot_is_encoded(void **state)
{
    struct kit *kit = with_encoder(kit_new_pending(), (size_t)1 << 20);
    struct buf row;

    (void)state;
    buf_init(&row, BUF_NO_LIMIT);
    kit_message(&row, 5, 0, LARGE);
    const char *rows[] = {buf_cstr(&row), buf_cstr(&row)};

    kit_snapshot(kit, rows, 2);
    assert_encoded(kit, "offset=-1", "gzip");
    assert_encoded(kit, "handle=%s&offset=0_0", "gzip"); /* the second */
    buf_release(&row);
    without_encoder(kit);
    kit_free(kit);
}

static void test_a_chunk_that_is_too_large_to_be_kept_is_encoded_once(void **state)
{
    struct kit *kit = with_encoder(kit_new(), 800);

    (void)state;
    commit_chunks(kit);
    assert_encoded(kit, "handle=%s&offset=0_inf", "gzip");
    for (int i = 0; i < 3; i++)
        assert_encoded(kit, "handle=%s&offset=0_inf", "");
    without_encoder(kit);
    kit_free(kit);
}

/* ---- a busy encoder -------------------------------------------------------------------------- */

static void test_a_chunk_beyond_the_jobs_that_may_wait_is_sent_as_it_is(void **state)
{
    struct kit *kit = with_encoder(kit_new(), (size_t)1 << 20);
    static struct gate_job jobs[ENCODER_JOBS_MAX];
    struct gate gate;

    (void)state;
    commit_chunks(kit);
    hold_up(kit, &gate, jobs, ENCODER_JOBS_MAX);
    assert_encoded(kit, "handle=%s&offset=0_inf", "");
    let_go(&gate);
    while (!jobs[ENCODER_JOBS_MAX - 1].told)
        http_loop_turn(kit->rig->worker.loop, 10);
    assert_encoded(kit, "handle=%s&offset=0_inf", "gzip");
    without_encoder(kit);
    kit_free(kit);
}

static void test_clients_that_have_gone_leave_no_work_behind(void **state)
{
    struct kit *kit = with_encoder(kit_new(), (size_t)1 << 20);
    static struct gate_job jobs[ENCODER_JOBS_MAX + 1];
    struct client gone, both, stays;
    struct gate gate;

    (void)state;
    commit_chunks(kit);
    hold_up(kit, &gate, jobs, ENCODER_JOBS_MAX - 2);
    client_open(&gone, kit);
    client_open(&both, kit);
    client_open(&stays, kit);
    client_ask(&gone, "GET", "handle=%s&offset=0_inf", GZIP);
    client_ask(&both, "GET", "handle=%s&offset=101_0", GZIP);
    client_ask(&stays, "GET", "handle=%s&offset=101_0", GZIP);
    client_hear(&stays);
    assert_int_equal(stays.heard.len, 0);
    assert_false(add_job(kit, &gate, &jobs[ENCODER_JOBS_MAX]));
    client_close(&both);
    kit_turn(kit);
    assert_false(add_job(kit, &gate, &jobs[ENCODER_JOBS_MAX]));
    client_close(&gone);
    kit_turn(kit);
    assert_true(add_job(kit, &gate, &jobs[ENCODER_JOBS_MAX]));
    assert_false(add_job(kit, &gate, &jobs[ENCODER_JOBS_MAX - 1]));
    let_go(&gate);
    client_hear_until(&stays, "\r\n\r\n");
    assert_true(slice_is(client_header(&stays, "content-encoding"), "gzip"));
    client_close(&stays);
    kit_turn(kit);
    without_encoder(kit);
    kit_free(kit);
}

/* ---- what caches are told -------------------------------------------------------------------- */

/* Asks, and asks again with the tag that it was told: that tag comes back, and nothing else that
 * tells answers apart has changed. */
static void assert_revalidates(struct kit *kit, const char *query, const char *accept,
                               const char *vary)
{
    struct client first, again;
    char headers[512];

    ask(kit, &first, query, accept);
    assert_true(client_has(&first, "HTTP/1.1 200"));
    snprintf(headers, sizeof(headers), "%sIf-None-Match: \"x\", %.*s\r\n", accept,
             SLICE_ARG(client_header(&first, "etag")));
    ask(kit, &again, query, headers);
    assert_true(client_has(&again, "HTTP/1.1 304"));
    if (!slice_eq(client_header(&again, "etag"), client_header(&first, "etag")))
        fail_msg("%.*s and then %.*s", SLICE_ARG(client_header(&first, "etag")),
                 SLICE_ARG(client_header(&again, "etag")));
    assert_true(slice_is(client_header(&first, "vary"), vary));
    assert_true(slice_is(client_header(&again, "vary"), vary));
    assert_int_equal(client_header(&again, "content-encoding").len, 0);
    client_close(&first);
    client_close(&again);
    kit_turn(kit);
}

static void test_not_modified_has_the_tag_and_the_vary_of_what_the_client_has(void **state)
{
    static const char *const accepts[] = {"", GZIP, "Accept-Encoding: gzip, zstd\r\n"};
    struct kit *kit = with_encoder(kit_new(), (size_t)1 << 20);

    (void)state;
    commit_chunks(kit);
    kit_commit(kit, 105, 10, 10); /* small, and long enough to be encoded, from 103_0 on */
    for (unsigned i = 0; i < 3; i++) {
        assert_revalidates(kit, "handle=%s&offset=0_inf", accepts[i], "accept-encoding");
        assert_revalidates(kit, "handle=%s&offset=100_0", accepts[i], "accept-encoding");
        assert_revalidates(kit, "handle=%s&offset=103_0", accepts[i], "accept-encoding");
        assert_revalidates(kit, "handle=%s&offset=103_0&live=true", accepts[i], "accept-encoding");
        assert_revalidates(kit, "handle=%s&offset=105_16", accepts[i], "");
        assert_revalidates(kit, "offset=-1", accepts[i], "");
    }
    without_encoder(kit);
    kit_free(kit);
}

/* It is another client's, that a cache asks for: this one does not understand it. */
static void test_a_tag_of_an_encoding_that_the_client_does_not_want_is_not_what_it_has(void **state)
{
    struct kit *kit = kit_new();
    struct client first, other, both;
    char headers[512];

    (void)state;
    kit_commit(kit, 100, 10, 10);
    ask(kit, &first, "handle=%s&offset=0_inf", GZIP);
    snprintf(headers, sizeof(headers), "If-None-Match: %.*s\r\n",
             SLICE_ARG(client_header(&first, "etag")));
    assert_non_null(strstr(headers, "-gzip\""));
    ask(kit, &other, "handle=%s&offset=0_inf", headers);
    assert_true(client_has(&other, "HTTP/1.1 200"));
    snprintf(headers + strlen(headers) - 2, 200, ", %.*s\r\n",
             SLICE_ARG(client_header(&other, "etag")));
    ask(kit, &both, "handle=%s&offset=0_inf", headers);
    assert_true(client_has(&both, "HTTP/1.1 304"));
    assert_true(slice_eq(client_header(&both, "etag"), client_header(&other, "etag")));
    client_close(&first);
    client_close(&other);
    client_close(&both);
    kit_free(kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_chunks_are_encoded_and_what_is_left_of_one_is_not),
        cmocka_unit_test(test_a_chunk_of_the_snapshot_is_encoded),
        cmocka_unit_test(test_a_chunk_that_is_too_large_to_be_kept_is_encoded_once),
        cmocka_unit_test(test_a_chunk_beyond_the_jobs_that_may_wait_is_sent_as_it_is),
        cmocka_unit_test(test_clients_that_have_gone_leave_no_work_behind),
        cmocka_unit_test(test_not_modified_has_the_tag_and_the_vary_of_what_the_client_has),
        cmocka_unit_test(
            test_a_tag_of_an_encoding_that_the_client_does_not_want_is_not_what_it_has),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
