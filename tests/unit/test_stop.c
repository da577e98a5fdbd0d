/*
 * The end of the bridge while Postgres does not answer (pg/stop.c), against a server of the test's
 * own that speaks as much of the protocol as is needed, and falls silent where the test wants it:
 *
 *     a connection to the database "silent"    its startup is not answered
 *     a query with "pg_sleep" in it            has no result
 *     a cancel request                         is counted; kept open when cancels are not taken
 */
#include "base/arena.h"
#include "base/clock.h"
#include "pg/pg.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define PATIENCE_MS 20000
#define CLIENTS 32u
#define CODE_STARTUP 196608u
#define CODE_CANCEL 80877102u

/* ---- the server ------------------------------------------------------------------------------ */

struct server {
    int listen_fd, port;
    pthread_t thread;
    atomic_bool ends, takes_cancels;
    atomic_uint silent, sleeping, cancels, gone; /* startups, queries, requests, connections */
    struct {
        int fd;
        bool started;
    } clients[CLIENTS];
    unsigned nclients;
};

static void client_drop(struct server *s, unsigned i)
{
    close(s->clients[i].fd);
    s->clients[i] = s->clients[--s->nclients];
    atomic_fetch_add(&s->gone, 1);
}

/* A message's body; its length, which counts itself, comes first. */
static bool read_body(int fd, char body[4096], uint32_t *len)
{
    uint32_t n;

    if (recv(fd, &n, 4, MSG_WAITALL) != 4)
        return false;
    *len = ntohl(n) - 4;
    return *len < 4096 && recv(fd, body, *len, MSG_WAITALL) == (ssize_t)*len;
}

static void reply(int fd, const char *bytes, size_t len)
{
    assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

/* False: the connection is to be closed. */
static bool serve_startup(struct server *s, unsigned i)
{
    static const char welcome[] = "R\0\0\0\10\0\0\0\0"          /* authenticated */
                                  "K\0\0\0\14\0\0\0\7\0\0\0\11" /* cancelled by this */
                                  "Z\0\0\0\5I";
    char body[4096];
    uint32_t len, code;

    if (!read_body(s->clients[i].fd, body, &len) || len < 4)
        return false;
    memcpy(&code, body, 4);
    if (ntohl(code) == CODE_CANCEL) {
        atomic_fetch_add(&s->cancels, 1);
        return !atomic_load(&s->takes_cancels);
    }
    assert_int_equal(ntohl(code), CODE_STARTUP);
    s->clients[i].started = true;
    if (memmem(body, len, "silent", 6))
        atomic_fetch_add(&s->silent, 1);
    else
        reply(s->clients[i].fd, welcome, sizeof(welcome) - 1);
    return true;
}

static bool serve_query(struct server *s, unsigned i)
{
    static const char done[] = "C\0\0\0\10SET\0Z\0\0\0\5I";
    char type, body[4096];
    uint32_t len;

    if (recv(s->clients[i].fd, &type, 1, MSG_WAITALL) != 1 ||
        !read_body(s->clients[i].fd, body, &len) || type == 'X')
        return false;
    if (memmem(body, len, "pg_sleep", 8))
        atomic_fetch_add(&s->sleeping, 1);
    else
        reply(s->clients[i].fd, done, sizeof(done) - 1);
    return true;
}

static void serve_turn(struct server *s)
{
    struct pollfd fds[CLIENTS + 1] = {{s->listen_fd, POLLIN, 0}};
    unsigned n = s->nclients;

    for (unsigned i = 0; i < n; i++)
        fds[i + 1] = (struct pollfd){s->clients[i].fd, POLLIN, 0};
    poll(fds, n + 1, 20);
    for (unsigned i = n; i-- > 0;) { /* the last takes the place of one that goes */
        if (fds[i + 1].revents &&
            !(s->clients[i].started ? serve_query(s, i) : serve_startup(s, i)))
            client_drop(s, i);
    }
    if (fds[0].revents) {
        assert_true(s->nclients < CLIENTS);
        s->clients[s->nclients].fd = accept(s->listen_fd, NULL, NULL);
        s->clients[s->nclients++].started = false;
    }
}

static void *server_main(void *arg)
{
    struct server *s = arg;

    while (!atomic_load(&s->ends))
        serve_turn(s);
    while (s->nclients)
        client_drop(s, 0);
    return NULL;
}

static int server_open(void **state)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct server *s = xcalloc(1, sizeof(*s));
    socklen_t len = sizeof(addr);

    atomic_store(&s->takes_cancels, true);
    s->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(s->listen_fd, (struct sockaddr *)&addr, len) != 0 || listen(s->listen_fd, 16) != 0 ||
        getsockname(s->listen_fd, (struct sockaddr *)&addr, &len) != 0)
        return -1;
    s->port = ntohs(addr.sin_port);
    *state = s;
    return pthread_create(&s->thread, NULL, server_main, s);
}

static int server_close(void **state)
{
    struct server *s = *state;

    atomic_store(&s->ends, true);
    pthread_join(s->thread, NULL);
    close(s->listen_fd);
    free(s);
    return 0;
}

static void await(atomic_uint *counter, unsigned n)
{
    int64_t until = clock_ms() + PATIENCE_MS;

    while (atomic_load(counter) < n) {
        assert_true(clock_ms() < until);
        usleep(500);
    }
}

/* ---- those who call Postgres ----------------------------------------------------------------- */

static struct pg_conn *dial(const struct server *s, const char *dbname, struct err *err)
{
    char conninfo[256];

    /* No time-out of libpq's own: what ends the waiting is to be the stop. */
    snprintf(conninfo, sizeof(conninfo),
             "host=127.0.0.1 port=%d dbname=%s user=u sslmode=disable gssencmode=disable "
             "connect_timeout=0",
             s->port, dbname);
    return pg_connect(conninfo, "test", false, err);
}

struct caller {
    pthread_t thread;
    struct server *server;
    struct pg_conn *conn;
    bool ok;
    struct err err;
    atomic_uint done;
};

static void *dial_main(void *arg)
{
    struct caller *c = arg;

    c->conn = dial(c->server, "silent", &c->err);
    c->ok = c->conn != NULL;
    atomic_store(&c->done, 1);
    return NULL;
}

static void *query_main(void *arg)
{
    struct caller *c = arg;

    c->ok = pg_run(c->conn, "SELECT pg_sleep(1000000)", &c->err);
    atomic_store(&c->done, 1);
    return NULL;
}

static void caller_start(struct caller *c, struct server *server, void *(*run)(void *))
{
    c->server = server;
    pthread_create(&c->thread, NULL, run, c);
}

static void caller_open(struct caller *c, const struct server *server)
{
    c->conn = dial(server, "app", &c->err);
    if (!c->conn)
        fail_msg("%s", c->err.msg);
}

static void caller_await(struct caller *c)
{
    await(&c->done, 1);
    pthread_join(c->thread, NULL);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_connections_come_and_go_in_any_order(void **state)
{
    struct caller callers[20] = {0};
    struct server *server = *state;

    for (unsigned i = 0; i < 20; i++) {
        caller_open(&callers[i], server);
        assert_true(pg_run(callers[i].conn, "SET a = 1", &callers[i].err));
    }
    for (unsigned i = 0; i < 20; i++) {
        unsigned k = i * 7 % 20;

        assert_true(pg_run(callers[k].conn, "SET a = 2", &callers[k].err));
        pg_close(callers[k].conn);
    }
    pg_close(NULL);
    await(&server->gone, 20);
}

static void test_cancels_are_awaited_until_they_were_taken(void **state)
{
    struct server *server = *state;
    struct caller c = {0};

    caller_open(&c, server);
    for (unsigned i = 1; i <= 5; i++) {
        pg_cancel(c.conn);
        pg_await_cancels();
        assert_int_equal(atomic_load(&server->cancels), i);
    }
    pg_close(c.conn);
}

static void test_cancels_that_are_not_taken_are_not_awaited_for_ever(void **state)
{
    struct server *server = *state;
    struct caller c = {0};

    caller_open(&c, server);
    atomic_store(&server->takes_cancels, false);
    pg_cancel(c.conn);
    await(&server->cancels, 1);
    pg_await_cancels();
    assert_true(pg_run(c.conn, "SET a = 1", &c.err));
    pg_close(c.conn);
}

/* The last test: there is no way back. */
static void test_the_end_is_not_held_up_by_a_server_that_does_not_answer(void **state)
{
    struct caller dialing = {0}, asking = {0}, alone = {0}, idle = {0}, cancelling = {0};
    struct server *server = *state;
    struct err err;

    atomic_store(&server->takes_cancels, false);
    caller_open(&asking, server);
    caller_open(&alone, server);
    caller_open(&idle, server);
    caller_open(&cancelling, server);
    pg_leave_alone(alone.conn, true);
    caller_start(&dialing, server, dial_main);
    caller_start(&asking, server, query_main);
    await(&server->silent, 1);
    await(&server->sleeping, 1);
    pg_cancel(cancelling.conn);
    await(&server->cancels, 1);
    assert_int_equal(atomic_load(&dialing.done) + atomic_load(&asking.done), 0);

    pg_stop();
    caller_await(&dialing);
    assert_false(dialing.ok);
    assert_int_equal(dialing.err.code, ERR_STOPPED);
    caller_await(&asking);
    assert_false(asking.ok);
    assert_int_equal(asking.err.code, ERR_CONN);
    assert_false(pg_run(idle.conn, "SET a = 1", &idle.err));
    assert_null(dial(server, "app", &err));
    assert_int_equal(err.code, ERR_STOPPED);
    assert_null(dial(server, "silent", &err));
    assert_int_equal(err.code, ERR_STOPPED);

    assert_true(pg_run(alone.conn, "SET a = 1", &alone.err));
    pg_leave_alone(alone.conn, false);
    assert_false(pg_run(alone.conn, "SET a = 1", &alone.err));
    pg_close(asking.conn);
    pg_close(alone.conn);
    pg_close(idle.conn);
    pg_close(cancelling.conn);
    pg_stop(); /* once more is nothing */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, server_open, server_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_connections_come_and_go_in_any_order),
        TEST(test_cancels_are_awaited_until_they_were_taken),
        TEST(test_cancels_that_are_not_taken_are_not_awaited_for_ever),
        TEST(test_the_end_is_not_held_up_by_a_server_that_does_not_answer),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
