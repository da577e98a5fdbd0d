/* Responses over time: parked, slow, from files, from other threads, to clients that vanish. */
#include "http_site.h"

static _Atomic int shared_released, pulls;

/* Endless lines from shared bytes. */
static char shared_bytes[60000];

static void shared_release(void *arg)
{
    (void)arg;
    atomic_fetch_add(&shared_released, 1);
}

static enum http_pull flood_pull(struct http_source *source, struct http_conn *conn,
                                 struct http_out *out)
{
    (void)source;
    (void)conn;
    atomic_fetch_add(&pulls, 1);
    http_out_put_shared(out, (struct slice){shared_bytes, sizeof(shared_bytes)}, shared_release,
                        NULL);
    return HTTP_MORE;
}

static void flood_release(struct http_source *source)
{
    (void)source;
    atomic_fetch_add(&released, 1);
}

static void flood(struct http_conn *conn, const struct http_request *request)
{
    static const struct http_source_ops ops = {flood_pull, flood_release};
    static struct http_source source = {&ops};

    (void)request;
    http_respond_source(conn, 200, NULL, HTTP_LENGTH_UNKNOWN, &source);
}

/* Ranges of a file of `file_size` bytes, with text between; says that it is `says` long. */
struct file_source {
    struct http_source source;
    int fd;
    size_t says;
    bool sent;
};

static const size_t file_size = 3000000;

static enum http_pull file_pull(struct http_source *source, struct http_conn *conn,
                                struct http_out *out)
{
    struct file_source *f = (struct file_source *)source;

    (void)conn;
    if (f->sent)
        return HTTP_END;
    f->sent = true;
    http_out_put_cstr(out, "<");
    http_out_put_file(out, f->fd, 0, f->says / 2, NULL, NULL);
    http_out_put_cstr(out, "|");
    http_out_put_file(out, f->fd, (off_t)(f->says / 2), f->says - f->says / 2, NULL, NULL);
    http_out_put_cstr(out, ">");
    return HTTP_MORE;
}

static void file_release(struct http_source *source)
{
    struct file_source *f = (struct file_source *)source;

    close(f->fd);
    free(f);
}

static char file_byte(size_t i)
{
    return (char)('a' + (i * 7 + i / 1000) % 26);
}

static int make_file(void)
{
    FILE *file = tmpfile();

    assert_non_null(file);
    for (size_t i = 0; i < file_size; i++)
        fputc(file_byte(i), file);
    fflush(file);
    int fd = dup(fileno(file));
    fclose(file);
    return fd;
}

static void send_file(struct http_conn *conn, const struct http_request *request)
{
    static const struct http_source_ops ops = {file_pull, file_release};
    struct file_source *f = xcalloc(1, sizeof(*f));

    f->source.ops = &ops;
    f->fd = make_file();
    f->says = (size_t)param_long(request, "says");
    http_respond_source(conn, 200, NULL, HTTP_LENGTH_UNKNOWN, &f->source);
}

/* Three ticks, each after a millisecond, without anyone waking it. */
static enum http_pull tick_pull(struct http_source *source, struct http_conn *conn,
                                struct http_out *out)
{
    struct lines *l = (struct lines *)source;

    if (l->left-- == 0)
        return HTTP_END;
    http_out_put_cstr(out, "tick");
    if (l->left == 1)
        http_conn_wake(conn); /* before it waits: not lost */
    else
        http_conn_wake_after(conn, 1);
    return HTTP_WAIT;
}

static void tick(struct http_conn *conn, const struct http_request *request)
{
    static const struct http_source_ops ops = {tick_pull, lines_release};
    struct http_source *source = lines_new(3);

    (void)request;
    source->ops = &ops;
    http_respond_source(conn, 200, NULL, HTTP_LENGTH_UNKNOWN, source);
}

static enum http_pull abort_pull(struct http_source *source, struct http_conn *conn,
                                 struct http_out *out)
{
    struct lines *l = (struct lines *)source;

    (void)conn;
    if (l->left-- == 0)
        return HTTP_ABORT;
    http_out_put_cstr(out, "part");
    return HTTP_MORE;
}

static void give_up(struct http_conn *conn, const struct http_request *request)
{
    static const struct http_source_ops ops = {abort_pull, lines_release};
    struct http_source *source = lines_new(1);

    (void)request;
    source->ops = &ops;
    http_respond_source(conn, 200, NULL, HTTP_LENGTH_UNKNOWN, source);
}

static const struct http_route routes[] = {
    {.path = "/", .methods = HTTP_M_GET_HEAD, .handle = hello},
    {.path = "/park", .methods = HTTP_M_GET_HEAD, .handle = park_here},
    {.path = "/later", .methods = HTTP_M_GET, .handle = later},
    {.path = "/flood", .methods = HTTP_M_GET, .handle = flood},
    {.path = "/file", .methods = HTTP_M_GET, .handle = send_file},
    {.path = "/tick", .methods = HTTP_M_GET, .handle = tick},
    {.path = "/abort", .methods = HTTP_M_GET, .handle = give_up},
};

static void open_site(struct site *site)
{
    site_init(site, routes, sizeof(routes) / sizeof(routes[0]));
    shared_released = pulls = 0;
}

#define HERD 2000

static void test_two_thousand_parked_are_woken_at_once(void **state)
{
    static int fds[HERD];
    struct site site;

    (void)state;
    open_site(&site);
    site_start(&site);
    for (int i = 0; i < HERD; i++) {
        fds[i] = dial(site.port);
        say(fds[i], GET_LAST("/park"));
    }
    WAIT_UNTIL(METRIC(&site, parked) == HERD);
    signal_all(&site);
    for (int i = 0; i < HERD; i++)
        expect_answers(fds[i], "200 woken|");
    assert_int_equal(atomic_load(&released), HERD);
    site_stop(&site);
}

static void test_a_parked_connection_holds_no_buffers(void **state)
{
    struct rig *rig = rig_new();
    struct room room = {0};

    (void)state;
    rig->listen.routes = (struct http_routes){routes, sizeof(routes) / sizeof(routes[0])};
    http_loop_set_user(rig->worker.loop, &room);
    rig_say(rig, GET("/park"), strlen(GET("/park")));
    rig_turn(rig);
    struct http_conn *conn = rig->worker.conns;
    assert_int_equal(conn->state, HTTP_CONN_PARKED);
    assert_null(conn->out);
    assert_null(conn->intake);
    assert_null(conn->ahead);
    assert_null(conn->request_id);
    assert_true(sizeof(*conn) <= 400);
    rig_free(rig);
}

static void test_parked_connections_go_on_with_their_pipeline(void **state)
{
    struct site site;

    (void)state;
    open_site(&site);
    site_start(&site);
    int fd = dial(site.port);
    say(fd, GET("/") GET("/park") GET("/"));
    say(fd, GET_LAST("/"));
    WAIT_UNTIL(METRIC(&site, parked) == 1);
    signal_all(&site);
    expect_answers(fd, "200 hello|200 woken|200 hello|200 hello|");
    site_stop(&site);
}

static void test_a_client_that_vanishes_while_parked_is_let_go(void **state)
{
    struct site site;
    struct buf raw;
    int fds[100];

    (void)state;
    buf_init(&raw, BUF_NO_LIMIT);
    open_site(&site);
    site_start(&site);
    for (int i = 0; i < 100; i++) {
        fds[i] = dial(site.port);
        say(fds[i], GET("/park"));
    }
    WAIT_UNTIL(METRIC(&site, parked) == 100);
    /* With nothing unread the close is a plain FIN, which only EPOLLRDHUP tells of. */
    for (int i = 0; i < 100; i++) {
        hear_until(fds[i], &raw, "\r\n\r\n");
        close(fds[i]);
    }
    buf_release(&raw);
    WAIT_UNTIL(atomic_load(&released) == 100);
    WAIT_UNTIL(METRIC(&site, open) == 0);
    assert_int_equal(METRIC(&site, parked), 0);
    site_stop(&site);
}

static void test_answers_come_from_other_threads(void **state)
{
    struct site site;
    int fds[20];

    (void)state;
    open_site(&site);
    site_start(&site);
    for (int i = 0; i < 20; i++) {
        fds[i] = dial(site.port);
        say(fds[i], GET("/later") GET_LAST("/"));
    }
    atomic_store(&job_go, true);
    for (int i = 0; i < 20; i++)
        expect_answers(fds[i], "200 later|200 hello|");
    assert_int_equal(atomic_load(&jobs_answered), 20);
    assert_int_equal(atomic_load(&vanished), 20); /* the user data, released once each */
    site_stop(&site);
}

static void test_a_reference_to_a_vanished_connection_is_empty(void **state)
{
    struct site site;
    int fds[20];

    (void)state;
    open_site(&site);
    site.config.threads = 1;
    site_start(&site);
    for (int i = 0; i < 20; i++) {
        fds[i] = dial(site.port);
        say(fds[i], GET("/later"));
    }
    WAIT_UNTIL(METRIC(&site, open) == 20);
    for (int i = 0; i < 20; i++)
        close(fds[i]);
    WAIT_UNTIL(atomic_load(&vanished) == 20);
    /* Others take their slots, and must not get their answers. */
    for (int i = 0; i < 20; i++) {
        fds[i] = dial(site.port);
        say(fds[i], GET_LAST("/park"));
    }
    WAIT_UNTIL(METRIC(&site, parked) == 20);
    atomic_store(&job_go, true);
    WAIT_UNTIL(atomic_load(&jobs_missed) == 20);
    signal_all(&site);
    for (int i = 0; i < 20; i++)
        expect_answers(fds[i], "200 woken|");
    site_stop(&site);
}

static void *shower(void *arg)
{
    const struct site *site = arg;

    for (int i = 0; i < 2000; i++)
        signal_all(site);
    return NULL;
}

static void test_signals_from_many_threads_lose_no_waiter(void **state)
{
    pthread_t threads[4];
    struct site site;
    int fds[50];

    (void)state;
    open_site(&site);
    site_start(&site);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, shower, &site);
    for (int i = 0; i < 50; i++) {
        fds[i] = dial(site.port);
        say(fds[i], GET_LAST("/park"));
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    WAIT_UNTIL((signal_all(&site), atomic_load(&released) == 50));
    for (int i = 0; i < 50; i++)
        expect_answers(fds[i], "200 woken|");
    site_stop(&site);
}

static void test_ticks_come_by_time_and_wakes_are_not_lost(void **state)
{
    struct site site;

    (void)state;
    open_site(&site);
    site_start(&site);
    int fd = dial(site.port);
    say(fd, GET("/tick") GET_LAST("/"));
    expect_answers(fd, "200 tickticktick|200 hello|");
    site_stop(&site);
}

static void test_a_source_that_gives_up_is_seen_as_cut(void **state)
{
    struct site site;
    struct buf raw, got;

    (void)state;
    buf_init(&raw, BUF_NO_LIMIT);
    buf_init(&got, BUF_NO_LIMIT);
    open_site(&site);
    site_start(&site);
    int fd = dial(site.port);
    say(fd, GET("/abort") GET("/"));
    assert_false(hear_all(fd, &raw));
    /* The reset may throw away what was sent: then nothing is heard, which is cut as well. */
    digest(&got, buf_slice(&raw), false);
    assert_true(got.len == 0 || strcmp(buf_cstr(&got), "200 partHALF|") == 0);
    buf_release(&raw);
    buf_release(&got);
    site_stop(&site);
}

static void test_a_reader_that_takes_nothing_holds_little_and_is_cut(void **state)
{
    struct site site;
    int fds[30];

    (void)state;
    open_site(&site);
    site.config.send_ms = 300;
    site_start(&site);
    for (int i = 0; i < 30; i++) {
        fds[i] = dial(site.port);
        say(fds[i], GET("/flood"));
    }
    WAIT_UNTIL(atomic_load(&released) == 30);
    /* What was pulled is what the kernel took, and one round a connection. */
    uint64_t pulled = (uint64_t)atomic_load(&pulls) * sizeof(shared_bytes);
    assert_true(pulled <= METRIC(&site, bytes_sent) + 30 * sizeof(shared_bytes));
    assert_int_equal(atomic_load(&shared_released), atomic_load(&pulls));
    assert_int_equal(METRIC(&site, timeouts), 30);
    for (int i = 0; i < 30; i++)
        close(fds[i]);
    site_stop(&site);
}

static void test_file_ranges_arrive_whole(void **state)
{
    struct site site;
    struct buf raw, got;

    (void)state;
    buf_init(&raw, BUF_NO_LIMIT);
    buf_init(&got, BUF_NO_LIMIT);
    open_site(&site);
    site_start(&site);
    int fd = dial(site.port);
    say(fd, GET_LAST("/file?says=3000000"));
    assert_true(hear_all(fd, &raw));
    digest(&got, buf_slice(&raw), false);
    assert_int_equal(got.len, strlen("200 <|>|") + file_size);
    for (size_t i = 0; i < file_size; i++) {
        if (got.ptr[5 + i + (i >= file_size / 2)] != file_byte(i))
            fail_msg("byte %zu is wrong", i);
    }
    buf_release(&raw);
    buf_release(&got);
    site_stop(&site);
}

static void test_a_truncated_file_cuts_the_connection(void **state)
{
    struct site site;
    struct buf raw, got;

    (void)state;
    buf_init(&raw, BUF_NO_LIMIT);
    buf_init(&got, BUF_NO_LIMIT);
    open_site(&site);
    site_start(&site);
    int fd = dial(site.port);
    say(fd, GET("/file?says=3000100") GET("/"));
    assert_false(hear_all(fd, &raw));
    digest(&got, buf_slice(&raw), false);
    assert_null(memmem(buf_cstr(&got), got.len, "hello", 5));
    assert_int_equal(METRIC(&site, aborted), 1);
    buf_release(&raw);
    buf_release(&got);
    site_stop(&site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_thousand_parked_are_woken_at_once),
        cmocka_unit_test(test_a_parked_connection_holds_no_buffers),
        cmocka_unit_test(test_parked_connections_go_on_with_their_pipeline),
        cmocka_unit_test(test_a_client_that_vanishes_while_parked_is_let_go),
        cmocka_unit_test(test_answers_come_from_other_threads),
        cmocka_unit_test(test_a_reference_to_a_vanished_connection_is_empty),
        cmocka_unit_test(test_signals_from_many_threads_lose_no_waiter),
        cmocka_unit_test(test_ticks_come_by_time_and_wakes_are_not_lost),
        cmocka_unit_test(test_a_source_that_gives_up_is_seen_as_cut),
        cmocka_unit_test(test_a_reader_that_takes_nothing_holds_little_and_is_cut),
        cmocka_unit_test(test_file_ranges_arrive_whole),
        cmocka_unit_test(test_a_truncated_file_cuts_the_connection),
    };

    signal(SIGPIPE, SIG_IGN);
    raise_fd_limit();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
