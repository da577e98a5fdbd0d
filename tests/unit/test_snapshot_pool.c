/*
 * Requests that wait for a worker of the snapshot pool, which has one, and for its looker: both
 * wait for a server that takes connections and says nothing, or not for long, until it has gone.
 */
#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "pg/pg.h"
#include "snapshot/subset_pool.h"

#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define PATIENCE_MS 20000
#define MEGABYTE ((size_t)1 << 20)

struct fixture {
    int listen_fd, fds[2];
    char conninfo[200];
    struct snapshot_pool *pool;
};

struct asked {
    atomic_bool answered;
    enum err_code code;
};

static void answered(void *arg, struct shape_answer *answer)
{
    struct asked *a = arg;

    assert_false(atomic_load(&a->answered));
    assert_null(answer->log);
    a->code = answer->err.code;
    atomic_store(&a->answered, true);
}

static void request(struct fixture *f, struct asked *a, struct slice where)
{
    const struct shape_request shape = {.table = SLICE("t"), .where = where};

    *a = (struct asked){0};
    snapshot_pool_request(f->pool, &shape, answered, a);
}

static void wait_for(struct asked *a)
{
    int64_t until = clock_ms() + PATIENCE_MS;

    while (!atomic_load(&a->answered) && clock_ms() < until)
        poll(NULL, 0, 2);
    assert_true(atomic_load(&a->answered));
}

/* Worker and looker have a request each when this returns. */
static void setup(struct fixture *f, struct asked at_work[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    struct err err;

    f->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->listen_fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(f->listen_fd, 4), 0);
    assert_int_equal(getsockname(f->listen_fd, (struct sockaddr *)&address, &len), 0);
    snprintf(f->conninfo, sizeof(f->conninfo),
             "host=127.0.0.1 port=%u dbname=d user=u sslmode=disable gssencmode=disable",
             ntohs(address.sin_port));
    const struct snapshot_config config = {.conninfo = f->conninfo, .workers = 1};
    f->pool = snapshot_pool_new(&config, &err);
    assert_non_null(f->pool);
    for (int i = 0; i < 2; i++) {
        request(f, &at_work[i], SLICE(""));
        f->fds[i] = accept(f->listen_fd, NULL, NULL);
        assert_true(f->fds[i] >= 0);
    }
}

static void server_goes(struct fixture *f)
{
    close(f->listen_fd);
    close(f->fds[0]);
    close(f->fds[1]);
}

static void test_request_that_waits_is_answered_when_it_is_given_up(void **state)
{
    struct fixture f;
    struct asked at_work[2], waiting[3];

    (void)state;
    setup(&f, at_work);
    for (int i = 0; i < 3; i++)
        request(&f, &waiting[i], SLICE("n = 1"));
    snapshot_pool_cancel(f.pool, &waiting[1]);
    assert_true(atomic_load(&waiting[1].answered));
    assert_int_equal(waiting[1].code, ERR_STOPPED);
    snapshot_pool_cancel(f.pool, &waiting[1]); /* it is none any more */
    snapshot_pool_cancel(f.pool, &at_work[0]);
    snapshot_pool_cancel(f.pool, &at_work[1]);
    assert_false(atomic_load(&waiting[0].answered));
    assert_false(atomic_load(&waiting[2].answered));
    server_goes(&f);
    wait_for(&at_work[0]);
    wait_for(&at_work[1]);
    wait_for(&waiting[0]);
    wait_for(&waiting[2]);
    assert_int_equal(waiting[0].code, ERR_CONN);
    assert_int_equal(waiting[2].code, ERR_CONN);
    snapshot_pool_free(f.pool);
}

static void say(int fd, char type, const char *bytes, size_t n)
{
    struct buf b;

    buf_init(&b, BUF_NO_LIMIT);
    buf_put_u8(&b, (uint8_t)type);
    buf_put_u32(&b, (uint32_t)n + 4);
    buf_put(&b, bytes, n);
    assert_int_equal(write(fd, b.ptr, b.len), b.len);
    buf_release(&b);
}

/* Lets one in, agrees to whatever it sets, and says nothing to the first statement it prepares. */
static int take_connection(struct fixture *f)
{
    int fd = accept(f->listen_fd, NULL, NULL);
    char bytes[4096];

    assert_true(read(fd, bytes, sizeof(bytes)) > 0);
    say(fd, 'R', "\0\0\0\0", 4);
    say(fd, 'Z', "I", 1);
    while (read(fd, bytes, sizeof(bytes)) > 0 && bytes[0] == 'Q') {
        say(fd, 'C', "SET", sizeof("SET"));
        say(fd, 'Z', "I", 1);
    }
    assert_int_equal(bytes[0], 'P');
    return fd;
}

static void test_all_that_were_taken_together_are_refused_when_the_server_goes(void **state)
{
    enum { N = 20 };
    struct fixture f;
    struct asked at_work[2], waiting[N];

    (void)state;
    setup(&f, at_work);
    for (int i = 0; i < N; i++)
        request(&f, &waiting[i], SLICE("n = 1"));
    close(f.fds[0]);
    close(f.fds[1]);
    f.fds[0] = take_connection(&f);
    f.fds[1] = -1;
    server_goes(&f);
    for (int i = 0; i < N; i++) {
        wait_for(&waiting[i]);
        assert_int_equal(waiting[i].code, ERR_CONN);
    }
    snapshot_pool_free(f.pool);
}

static void subset_answered_to(void *arg, struct subset_answer *answer)
{
    struct asked *a = arg;

    assert_false(atomic_load(&a->answered));
    assert_int_equal(answer->body.fd, -1);
    a->code = answer->err.code;
    atomic_store(&a->answered, true);
}

static void request_subset(struct subset_pool *pool, struct asked *a)
{
    const struct shape_request shape = {.table = SLICE("t")};
    const struct subset_request subset = {.where = SLICE("n = 1")};

    *a = (struct asked){0};
    subset_pool_request(pool, &shape, &subset, SLICE(""), subset_answered_to, a);
}

static void test_subset_whose_shape_waits_is_answered_when_it_is_given_up(void **state)
{
    struct fixture f;
    struct asked at_work[2], gone, stays;
    struct err err;

    (void)state;
    setup(&f, at_work);
    const struct snapshot_config config = {.conninfo = f.conninfo, .workers = 1};
    struct subset_pool *subsets = subset_pool_new(&config, f.pool, &err);
    assert_non_null(subsets);
    request_subset(subsets, &gone);
    request_subset(subsets, &stays);
    subset_pool_cancel(subsets, &gone);
    assert_true(atomic_load(&gone.answered));
    assert_int_equal(gone.code, ERR_STOPPED);
    subset_pool_cancel(subsets, &gone); /* it is none any more */
    assert_false(atomic_load(&stays.answered));
    server_goes(&f);
    wait_for(&stays);
    assert_int_equal(stays.code, ERR_CONN);
    wait_for(&at_work[0]);
    wait_for(&at_work[1]);
    snapshot_pool_free(f.pool);
    subset_pool_free(subsets);
}

static void test_what_waits_is_bounded_in_bytes_and_makes_room_when_it_is_given_up(void **state)
{
    enum { N = 400 };
    static struct asked asked[N], again;
    char *text = calloc(1, MEGABYTE);
    struct slice where = {text, MEGABYTE};
    struct fixture f;
    struct asked at_work[2];
    int fit = 0;

    (void)state;
    setup(&f, at_work);
    for (int i = 0; i < N; i++)
        request(&f, &asked[i], where);
    while (fit < N && !atomic_load(&asked[fit].answered))
        fit++;
    assert_in_range(fit, 200, 300);
    for (int i = fit; i < N; i++)
        assert_int_equal(asked[i].code, ERR_BUSY);
    snapshot_pool_cancel(f.pool, &asked[0]);
    request(&f, &again, where);
    assert_false(atomic_load(&again.answered));
    for (int i = 1; i < fit; i++)
        snapshot_pool_cancel(f.pool, &asked[i]);
    server_goes(&f);
    wait_for(&at_work[0]);
    wait_for(&at_work[1]);
    wait_for(&again);
    assert_int_equal(again.code, ERR_CONN);
    snapshot_pool_free(f.pool);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_that_waits_is_answered_when_it_is_given_up),
        cmocka_unit_test(test_all_that_were_taken_together_are_refused_when_the_server_goes),
        cmocka_unit_test(test_subset_whose_shape_waits_is_answered_when_it_is_given_up),
        cmocka_unit_test(test_what_waits_is_bounded_in_bytes_and_makes_room_when_it_is_given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
