/* How connections and servers begin and end: deadlines, limits, listeners, the stop. */
#include "http_site.h"

static const struct http_route routes[] = {
    {.path = "/", .methods = HTTP_M_GET_HEAD, .handle = hello},
    {.path = "/echo", .methods = HTTP_M_POST, .handle = echo, .body_limit = 1000},
    {.path = "/park", .methods = HTTP_M_GET_HEAD, .handle = park_here},
    {.path = "/later", .methods = HTTP_M_GET, .handle = later},
};

static void open_site(struct site *site)
{
    site_init(site, routes, sizeof(routes) / sizeof(routes[0]));
}

static void test_a_thousand_silent_connections_end_at_the_deadline(void **state)
{
    static int fds[1000];
    struct site site;
    struct buf raw;

    (void)state;
    buf_init(&raw, BUF_NO_LIMIT);
    open_site(&site);
    site.config.head_ms = 500;
    site_start(&site);
    for (int i = 0; i < 1000; i++)
        fds[i] = dial(site.port);
    for (int i = 0; i < 1000; i++) {
        assert_true(hear_all(fds[i], &raw));
        assert_int_equal(raw.len, 0);
    }
    WAIT_UNTIL(METRIC(&site, open) == 0);
    buf_release(&raw);
    site_stop(&site);
}

/* Sends `start`, then a byte now and then, until the server has had enough. */
static void check_drip(const struct site *site, const char *start, const char *status)
{
    char bytes[4096];
    int fd = dial(site->port);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t until = clock_ms() + PATIENCE_MS;

    say(fd, start);
    while (poll(&p, 1, 20) == 0) {
        assert_true(clock_ms() < until);
        send(fd, "a", 1, MSG_NOSIGNAL);
    }
    ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
    assert_true(n > 12);
    assert_memory_equal(bytes + 9, status, 3);
    close(fd);
}

static void test_heads_and_bodies_that_drip_end_at_their_deadlines(void **state)
{
    struct site site;

    (void)state;
    open_site(&site);
    site.config.head_ms = 200;
    site.config.body_ms = 300;
    site_start(&site);
    check_drip(&site, "GET / HTTP/1.1\r\nHost: x\r\nX: ", "408");
    check_drip(&site, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", "408");
    assert_int_equal(METRIC(&site, timeouts), 2);
    site_stop(&site);
}

static void test_an_idle_connection_is_closed_in_order(void **state)
{
    struct site site;

    (void)state;
    open_site(&site);
    site.config.idle_ms = 200;
    site_start(&site);
    int fd = dial(site.port);
    say(fd, GET("/"));
    expect_answers(fd, "200 hello|");
    site_stop(&site);
}

static void test_a_client_that_shuts_its_side_gets_its_answers(void **state)
{
    struct site site;

    (void)state;
    open_site(&site);
    site_start(&site);
    int fd = dial(site.port);
    say(fd, GET("/") GET("/"));
    shutdown(fd, SHUT_WR);
    expect_answers(fd, "200 hello|200 hello|");
    site_stop(&site);
}

static void test_a_refusal_reaches_a_client_that_is_still_sending(void **state)
{
    static char body[64 * 1024];
    struct site site;

    (void)state;
    open_site(&site);
    site.config.linger_ms = PATIENCE_MS;
    site_start(&site);
    int fd = dial(site.port);
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8388608\r\n\r\n");
    for (int i = 0; i < 128; i++)
        assert_int_equal(send(fd, body, sizeof(body), MSG_NOSIGNAL), sizeof(body));
    shutdown(fd, SHUT_WR);
    expect_answers(fd, "413 body too large|");
    site_stop(&site);
}

static void test_above_the_limit_connections_wait_for_their_turn(void **state)
{
    struct site site;
    int fds[6];
    struct buf raw;

    (void)state;
    buf_init(&raw, BUF_NO_LIMIT);
    open_site(&site);
    site.listens[0].max_connections = 3;
    site_start(&site);
    for (int i = 0; i < 3; i++) {
        fds[i] = dial(site.port);
        say(fds[i], GET("/"));
        hear_until(fds[i], &raw, "hello");
    }
    for (int i = 3; i < 6; i++) {
        fds[i] = dial(site.port);
        say(fds[i], GET_LAST("/"));
    }
    WAIT_UNTIL(METRIC(&site, accept_errors) > 0);
    assert_int_equal(METRIC(&site, open), 3);
    /* The other listener has its own limit. */
    int other = dial(http_server_port(site.server, 1));
    say(other, GET_LAST("/metrics"));
    expect_answers(other, "200 hello|");
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    for (int i = 3; i < 6; i++)
        expect_answers(fds[i], "200 hello|");
    buf_release(&raw);
    site_stop(&site);
}

static void test_out_of_descriptors_is_a_pause_not_the_end(void **state)
{
    struct site site;
    struct rlimit kept, low;

    (void)state;
    open_site(&site);
    site_start(&site);
    int fd = dial(site.port);
    say(fd, GET_LAST("/"));
    expect_answers(fd, "200 hello|");
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    getrlimit(RLIMIT_NOFILE, &kept);
    low = kept;
    low.rlim_cur = (rlim_t)fd + 1; /* ours was the last one */
    setrlimit(RLIMIT_NOFILE, &low);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(site.port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    say(fd, GET_LAST("/"));
    WAIT_UNTIL(METRIC(&site, accept_errors) > 0);
    setrlimit(RLIMIT_NOFILE, &kept);
    expect_answers(fd, "200 hello|");
    site_stop(&site);
}

static void *stop_site(void *arg)
{
    struct site *site = arg;

    http_server_stop(site->server, 10000);
    return NULL;
}

static void test_a_stop_lets_running_responses_end(void **state)
{
    struct site site;
    pthread_t stopper;
    struct buf raw;

    (void)state;
    buf_init(&raw, BUF_NO_LIMIT);
    open_site(&site);
    site_start(&site);
    int idle = dial(site.port), parked = dial(site.port), pending = dial(site.port);
    say(idle, GET("/"));
    hear_until(idle, &raw, "hello");
    say(parked, GET("/park"));
    say(pending, GET("/later"));
    WAIT_UNTIL(METRIC(&site, parked) == 1 && METRIC(&site, open) == 3);
    pthread_create(&stopper, NULL, stop_site, &site);
    assert_true(hear_all(idle, &raw));
    assert_int_equal(raw.len, 0);
    expect_answers(parked, "200 bye|");
    atomic_store(&job_go, true);
    assert_true(hear_all(pending, &raw));
    assert_non_null(memmem(raw.ptr, raw.len, "connection: close\r\n", 19));
    assert_non_null(memmem(raw.ptr, raw.len, "later", 5));
    pthread_join(stopper, NULL);
    assert_int_equal(METRIC(&site, open), 0);
    http_server_free(site.server);
    buf_release(&raw);
}

static void test_a_stop_cuts_what_does_not_end(void **state)
{
    struct site site;
    struct buf raw;

    (void)state;
    buf_init(&raw, BUF_NO_LIMIT);
    open_site(&site);
    site_start(&site);
    int fd = dial(site.port);
    say(fd, GET("/park?stubborn=1"));
    WAIT_UNTIL(METRIC(&site, parked) == 1);
    http_server_stop(site.server, 50);
    assert_int_equal(atomic_load(&released), 1);
    assert_int_equal(METRIC(&site, open), 0);
    assert_false(hear_all(fd, &raw));
    http_server_free(site.server);
    buf_release(&raw);
}

static void test_listeners_have_their_own_routes(void **state)
{
    struct site site;

    (void)state;
    open_site(&site);
    site.listens[1].address = "[::1]:0";
    site_start(&site);
    int fd = dial(site.port);
    say(fd, GET_LAST("/metrics"));
    expect_answers(fd, "404 Not found|");
    assert_memory_equal(http_server_address(site.server, 0), "127.0.0.1:", 10);
    assert_memory_equal(http_server_address(site.server, 1), "[::1]:", 6);
    struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    addr.sin6_port = htons(http_server_port(site.server, 1));
    fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    say(fd, GET_LAST("/metrics"));
    expect_answers(fd, "200 hello|");
    site_stop(&site);
}

static void test_addresses_that_cannot_be_listened_on_are_named(void **state)
{
    static const char *const wrong[] = {"127.0.0.1", "127.0.0.1:",      "127.0.0.1:x",
                                        "::1:80",    "127.0.0.1:99999", "203.0.113.1:0"};
    struct site site, second;
    struct err err;
    char taken[64];

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        open_site(&site);
        site.config.listens = site.listens;
        site.listens[1].address = wrong[i];
        assert_null(http_server_start(&site.config, &err));
        assert_non_null(strstr(err.msg, wrong[i]));
    }
    open_site(&site);
    site_start(&site);
    open_site(&second);
    snprintf(taken, sizeof(taken), "127.0.0.1:%u", site.port);
    second.listens[0].address = taken;
    second.config.listens = second.listens;
    assert_null(http_server_start(&second.config, &err));
    assert_non_null(strstr(err.msg, "in use"));
    site_stop(&site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_thousand_silent_connections_end_at_the_deadline),
        cmocka_unit_test(test_heads_and_bodies_that_drip_end_at_their_deadlines),
        cmocka_unit_test(test_an_idle_connection_is_closed_in_order),
        cmocka_unit_test(test_a_client_that_shuts_its_side_gets_its_answers),
        cmocka_unit_test(test_a_refusal_reaches_a_client_that_is_still_sending),
        cmocka_unit_test(test_above_the_limit_connections_wait_for_their_turn),
        cmocka_unit_test(test_out_of_descriptors_is_a_pause_not_the_end),
        cmocka_unit_test(test_a_stop_lets_running_responses_end),
        cmocka_unit_test(test_a_stop_cuts_what_does_not_end),
        cmocka_unit_test(test_listeners_have_their_own_routes),
        cmocka_unit_test(test_addresses_that_cannot_be_listened_on_are_named),
    };

    signal(SIGPIPE, SIG_IGN);
    raise_fd_limit();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
