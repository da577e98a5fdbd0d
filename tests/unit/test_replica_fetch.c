/*
 * Fetching over a network that misbehaves: a server of our own plays a list of answers,
 * one a connection, and records what it was asked.
 */
#include "fetch/fetch.h"

#include "replica_kit.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define MOST 12

struct server {
    int fd, stop;
    char url[64];
    pthread_t thread;
    const char *answers[MOST]; /* raw responses; the connection is closed behind each */
    char requests[MOST][2048];
    int nanswers, nasked;
};

static bool request_is_whole(const char *text, size_t n)
{
    const char *end = strstr(text, "\r\n\r\n");
    const char *length = strstr(text, "Content-Length: ");

    return end && length && n >= (size_t)(end + 4 - text) + strtoul(length + 16, NULL, 10);
}

static void read_request(int fd, char *text, size_t cap)
{
    size_t n = 0;

    for (text[0] = '\0'; n < cap - 1 && !request_is_whole(text, n);) {
        ssize_t got = read(fd, text + n, cap - 1 - n);

        if (got <= 0)
            return;
        n += (size_t)got;
        text[n] = '\0';
    }
}

static void write_all(int fd, const char *text)
{
    for (size_t n = strlen(text); n > 0;) {
        ssize_t put = send(fd, text, n, MSG_NOSIGNAL);

        if (put <= 0)
            return;
        text += put;
        n -= (size_t)put;
    }
}

/* An answer that begins with "hold" stays open until the test ends. */
static void *serve(void *arg)
{
    struct server *s = arg;
    struct pollfd fds[2] = {{.fd = s->fd, .events = POLLIN}, {.fd = s->stop, .events = POLLIN}};

    while (poll(fds, 2, -1) > 0 && !fds[1].revents) {
        int fd = accept(s->fd, NULL, NULL);
        int at = s->nasked < s->nanswers ? s->nasked : s->nanswers - 1;
        const char *answer = s->answers[at];

        if (s->nasked < MOST)
            read_request(fd, s->requests[s->nasked], sizeof(s->requests[0]));
        s->nasked++;
        bool hold = strncmp(answer, "hold", 4) == 0;
        write_all(fd, answer + (hold ? 4 : 0));
        if (hold) {
            fds[1].revents = 0;
            poll(&fds[1], 1, -1);
        }
        close(fd);
        if (hold)
            break;
    }
    return NULL;
}

static void server_start(struct server *s)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);

    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    s->stop = eventfd(0, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&addr, &len), 0);
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%d/", ntohs(addr.sin_port));
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_stop(struct server *s)
{
    const uint64_t one = 1;

    assert_int_equal(write(s->stop, &one, sizeof(one)), sizeof(one));
    pthread_join(s->thread, NULL);
    close(s->fd);
    close(s->stop);
}

#define HEAD                                                                                       \
    "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
#define OPEN_LINE(snapshot)                                                                        \
    "{\"open\":{\"shape\":0,\"handle\":\"h\",\"schema\":{\"id\":{\"type\":\"int8\",\"pk_index\":"  \
    "0}}"                                                                                          \
    ",\"snapshot\":" snapshot "}}\n"
#define ROW(id)                                                                                    \
    "{\"shape\":0,\"messages\":[{\"value\":{\"id\":\"" id "\"},\"headers\":{\"operation\":"        \
    "\"insert\"}}]}\n"
#define SNAPSHOT_END "{\"snapshot_end\":{\"shape\":0}}\n"
#define COMMIT(lsn) "{\"commit\":{\"lsn\":\"" lsn "\",\"consistent\":true}}\n"

/* A chunked body of the whole text; `end` false: the connection breaks before its end. */
static const char *answer(const char *head, const char *lines, bool end)
{
    static char slots[MOST][4096];
    static int next;
    char *out = slots[next++ % MOST];

    snprintf(out, sizeof(slots[0]), "%s" HEAD "%zx\r\n%s\r\n%s", head, strlen(lines), lines,
             end ? "0\r\n\r\n" : "");
    return out;
}

static bool sync_once(struct kit *k, struct server *s, struct replica **r, bool once, int stop_fd)
{
    const struct fetch_options options = {
        .url = s->url, .bearer = "tell-no-one", .once = once, .stop_fd = stop_fd};

    *r = kit_open(k, "items", NULL);
    return fetch_run(*r, &options, &k->err);
}

static void test_a_stream_that_breaks_is_asked_for_from_where_it_stood(void **state)
{
    struct server s = {.nanswers = 4};
    struct replica *r;
    struct kit k;

    (void)state;
    kit_init(&k);
    s.answers[0] = "";
    s.answers[1] = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    s.answers[2] =
        answer("", OPEN_LINE("true") ROW("1") SNAPSHOT_END COMMIT("100") ROW("2"), false);
    s.answers[3] = answer("", OPEN_LINE("false") ROW("2") COMMIT("200"), true);
    server_start(&s);
    if (!sync_once(&k, &s, &r, true, -1))
        fail_msg("%s", k.err.msg);
    server_stop(&s);
    assert_int_equal(s.nasked, 4);
    assert_answer(&k, "SELECT id FROM items", "1,2");
    assert_non_null(strstr(s.requests[0], "POST /v1/sync?replica="));
    assert_non_null(strstr(s.requests[0], "Authorization: Bearer tell-no-one"));
    assert_non_null(strstr(s.requests[0], "\"live\":false"));
    assert_non_null(strstr(s.requests[3], "\"offset\":\"100_inf\""));
    replica_close(r);
    kit_release(&k);
}

static void test_a_refusal_ends_with_the_bridges_words(void **state)
{
    static const char body[] = "{\"message\":\"Invalid request\",\"errors\":{\"shapes[0].where\":["
                               "\"At location 3: unknown reference foo\"]}}";
    struct server s = {.nanswers = 1};
    struct replica *r;
    struct kit k;
    char text[512];

    (void)state;
    kit_init(&k);
    snprintf(text, sizeof(text), "HTTP/1.1 400 Bad\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
             body);
    s.answers[0] = text;
    server_start(&s);
    assert_false(sync_once(&k, &s, &r, false, -1));
    server_stop(&s);
    assert_int_equal(s.nasked, 1);
    assert_string_equal(k.err.msg, "the bridge answered 400: Invalid request; shapes[0] (items)"
                                   ".where: At location 3: unknown reference foo");
    replica_close(r);
    kit_release(&k);
}

static void test_a_page_of_somebody_else_is_not_taken_for_the_stream(void **state)
{
    struct server s = {.nanswers = 2};
    struct replica *r;
    struct kit k;

    (void)state;
    kit_init(&k);
    s.answers[0] = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    s.answers[1] = answer("", OPEN_LINE("true") SNAPSHOT_END COMMIT("100"), true);
    server_start(&s);
    assert_true(sync_once(&k, &s, &r, true, -1));
    server_stop(&s);
    assert_int_equal(s.nasked, 2);
    replica_close(r);
    kit_release(&k);
}

static void test_an_end_before_up_to_date_is_not_success(void **state)
{
    struct server s = {.nanswers = 2};
    struct replica *r;
    struct kit k;

    (void)state;
    kit_init(&k);
    s.answers[0] = answer("", OPEN_LINE("true") ROW("1"), true);
    s.answers[1] = answer("", OPEN_LINE("true") ROW("1") SNAPSHOT_END COMMIT("100"), true);
    server_start(&s);
    assert_true(sync_once(&k, &s, &r, true, -1));
    server_stop(&s);
    assert_int_equal(s.nasked, 2);
    assert_answer(&k, "SELECT id FROM items", "1");
    replica_close(r);
    kit_release(&k);
}

static void test_a_permanent_error_in_the_stream_ends_it(void **state)
{
    struct server s = {.nanswers = 1};
    struct replica *r;
    struct kit k;

    (void)state;
    kit_init(&k);
    s.answers[0] = answer(
        "", "{\"error\":{\"message\":\"table dropped\",\"shape\":0,\"retry\":false}}\n", true);
    server_start(&s);
    assert_false(sync_once(&k, &s, &r, false, -1));
    server_stop(&s);
    assert_string_equal(k.err.msg, "bridge: table \"items\": table dropped");
    replica_close(r);
    kit_release(&k);
}

static void test_once_gives_up_on_rows_that_never_fit(void **state)
{
    struct server s = {.nanswers = 1};
    struct replica *r;
    struct kit k;

    (void)state;
    kit_init(&k);
    s.answers[0] = answer("", OPEN_LINE("true") ROW("1x") SNAPSHOT_END COMMIT("100"), true);
    server_start(&s);
    assert_false(sync_once(&k, &s, &r, true, -1));
    server_stop(&s);
    assert_int_equal(s.nasked, 3);
    assert_null(strstr(s.requests[1], "refused"));
    assert_non_null(strstr(s.requests[2], "\"handle\":\"h\",\"refused\":\""));
    assert_non_null(strstr(k.err.msg, "table \"items\" cannot be applied: "));
    replica_close(r);
    kit_release(&k);
}

static void test_once_gives_up_on_a_bridge_that_is_not_there(void **state)
{
    const struct fetch_options options = {
        .url = "http://127.0.0.1:1", .once = true, .attempts = 2, .stop_fd = -1};
    struct kit k;

    (void)state;
    kit_init(&k);
    struct replica *r = kit_open(&k, "items", NULL);
    assert_false(fetch_run(r, &options, &k.err));
    assert_int_equal(k.err.code, ERR_CONN);
    replica_close(r);
    kit_release(&k);
}

struct stopper {
    struct kit *k;
    int fd;
};

/* Waits for the row to be there, then says stop. */
static void *stop_when_applied(void *arg)
{
    struct stopper *stopper = arg;
    const uint64_t one = 1;
    sqlite3 *db;
    int rows = 0;

    sqlite3_open(stopper->k->path, &db);
    sqlite3_busy_timeout(db, 5000);
    for (int i = 0; i < 3000 && rows == 0; i++) {
        sqlite3_stmt *stmt = NULL;

        if (sqlite3_prepare_v2(db, "SELECT count(*) FROM items", -1, &stmt, NULL) == SQLITE_OK &&
            sqlite3_step(stmt) == SQLITE_ROW)
            rows = sqlite3_column_int(stmt, 0);
        sqlite3_finalize(stmt);
        usleep(10000);
    }
    sqlite3_close(db);
    return write(stopper->fd, &one, sizeof(one)) == sizeof(one) ? arg : NULL;
}

static void test_a_live_stream_is_applied_at_once_and_ends_when_told(void **state)
{
    struct server s = {.nanswers = 1};
    struct kit k;
    struct stopper stopper = {.k = &k, .fd = eventfd(0, 0)};
    struct replica *r;
    pthread_t thread;

    (void)state;
    kit_init(&k);
    char *held =
        strdup(answer("hold", OPEN_LINE("true") ROW("1") SNAPSHOT_END COMMIT("100"), false));
    s.answers[0] = held;
    server_start(&s);
    assert_int_equal(pthread_create(&thread, NULL, stop_when_applied, &stopper), 0);
    assert_false(sync_once(&k, &s, &r, false, stopper.fd));
    assert_int_equal(k.err.code, ERR_STOPPED);
    pthread_join(thread, NULL);
    server_stop(&s);
    assert_answer(&k, "SELECT id FROM items", "1");
    close(stopper.fd);
    free(held);
    replica_close(r);
    kit_release(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stream_that_breaks_is_asked_for_from_where_it_stood),
        cmocka_unit_test(test_a_refusal_ends_with_the_bridges_words),
        cmocka_unit_test(test_a_page_of_somebody_else_is_not_taken_for_the_stream),
        cmocka_unit_test(test_an_end_before_up_to_date_is_not_success),
        cmocka_unit_test(test_a_permanent_error_in_the_stream_ends_it),
        cmocka_unit_test(test_once_gives_up_on_rows_that_never_fit),
        cmocka_unit_test(test_once_gives_up_on_a_bridge_that_is_not_there),
        cmocka_unit_test(test_a_live_stream_is_applied_at_once_and_ends_when_told),
    };
    struct err err;

    return !fetch_init(&err) || cmocka_run_group_tests(tests, NULL, NULL);
}
