/*
 * A stream of /v1/sync whose log is there and cannot be read, as when a disk fails or descriptors
 * have run out: it is cut, which the log says, and the client that comes again goes on where it
 * was.
 */
#include "shape_site_kit.h"
#include "shapelog/snapshot_file.h"

#include <fcntl.h>

struct stream {
    struct kit *kit;
    struct client client;
    atomic_size_t clients;
};

/* Two first rows, and a change at 20. */
static void stream_new(struct stream *s)
{
    static const char *const rows[] = {"{\"first\":1}", "{\"first\":2}"};

    s->kit = kit_new_pending_chunked(4096);
    kit_snapshot(s->kit, rows, 2);
    kit_commit(s->kit, 20, 1, 0);
    atomic_init(&s->clients, 0);
    s->kit->service.clients = &s->clients;
    s->kit->service.keepalive_ms = 60000;
}

static void stream_free(struct stream *s)
{
    kit_free(s->kit);
}

/* From the position on; 0: from the first rows. */
static void ask(struct stream *s, lsn_t position)
{
    char handle[64], body[256] = "{\"shapes\":[{\"table\":\"items\"}]}", request[512];

    copy_handle(s->kit->log, handle);
    if (position)
        snprintf(body, sizeof(body),
                 "{\"shapes\":[{\"table\":\"items\",\"handle\":\"%s\",\"offset\":\"%llu_inf\"}]}",
                 handle, (unsigned long long)position);
    client_open(&s->client, s->kit);
    int n = snprintf(request, sizeof(request),
                     "POST /v1/sync?replica=r HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s",
                     strlen(body), body);
    assert_int_equal(send(s->client.fd, request, (size_t)n, MSG_NOSIGNAL), n);
}

static bool is_cut(struct client *c)
{
    char byte;

    client_hear(c);
    return recv(c->fd, &byte, 1, MSG_PEEK) == 0;
}

static void await_cut(struct client *c)
{
    int64_t until = clock_ms() + PATIENCE_MS;

    while (!is_cut(c) && clock_ms() < until)
        http_loop_turn(c->kit->rig->worker.loop, 1);
}

/* Without the end of its body, and without a word of fetching again. */
static void assert_cut(struct client *c)
{
    if (!is_cut(c))
        fail_msg("it was not cut: %.300s", buf_cstr(&c->heard));
    assert_false(client_has(c, "refetch"));
    assert_false(client_has(c, "\"error\""));
    assert_false(client_has(c, "\r\n0\r\n\r\n"));
}

/* ---- what fails ------------------------------------------------------------------------------ */

/* The descriptor cannot be read any more; what it was. */
static int spoil(int fd)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int blind = open(path, O_WRONLY | O_CLOEXEC), whole = dup(fd);
    assert_true(blind >= 0 && whole >= 0 && dup2(blind, fd) == fd);
    close(blind);
    return whole;
}

static void heal(int fd, int whole)
{
    assert_int_equal(dup2(whole, fd), fd);
    close(whole);
}

struct said {
    FILE *file;
    int stderr_was;
};

static void said_begin(struct said *said)
{
    said->file = tmpfile();
    assert_non_null(said->file);
    said->stderr_was = dup(STDERR_FILENO);
    assert_int_equal(dup2(fileno(said->file), STDERR_FILENO), STDERR_FILENO);
}

static void said_end(struct said *said, char text[4096])
{
    heal(STDERR_FILENO, said->stderr_was);
    ssize_t n = pread(fileno(said->file), text, 4095, 0);

    assert_true(n >= 0);
    text[n] = '\0';
    fclose(said->file);
}

/* That the response was cut short, with where and of what, in one line. */
static void assert_says_why(struct kit *kit, const char *text, const char *why)
{
    const char *line = strstr(text, "a response was cut short");
    char handle[64], cut[1024];

    if (!line)
        fail_msg("nothing was said: %s", text);
    copy_handle(kit->log, handle);
    snprintf(cut, sizeof(cut), "%.*s", (int)strcspn(line, "\n"), line);
    assert_non_null(strstr(cut, "route=/v1/sync"));
    assert_non_null(strstr(cut, handle));
    assert_non_null(strstr(cut, why));
    assert_null(strstr(line + 1, "a response was cut short"));
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* The one who asks from the position on is cut off, and nothing else is said to him. */
static void ask_and_be_cut(struct stream *s, lsn_t position, const char *why)
{
    struct said said;
    char text[4096];

    said_begin(&said);
    ask(s, position);
    await_cut(&s->client);
    said_end(&said, text);
    assert_cut(&s->client);
    assert_says_why(s->kit, text, why);
    client_close(&s->client);
}

/* He comes again when all is well. */
static void ask_and_hear(struct stream *s, lsn_t position)
{
    ask(s, position);
    client_hear_until(&s->client, "{\"commit\":{\"lsn\":\"20\",\"consistent\":true");
}

/* `checked`: whether the segment is looked into before its runs are given out, as what an earlier
 * process has written is. */
static void cut_by_segment(bool checked, const char *why)
{
    struct stream s;

    stream_new(&s);
    struct segment *segment = s.kit->store->appender.tail.segment;
    int fd = atomic_load(&segment->fd), whole = spoil(fd);

    atomic_store(&segment->checked, checked);
    ask_and_be_cut(&s, 10, why);

    heal(fd, whole);
    atomic_store(&segment->checked, true);
    ask_and_hear(&s, 10);
    assert_true(client_has(&s.client, "\"snapshot\":false"));
    assert_int_equal(client_count(&s.client, "\"lsn\":\"20\",\"op_position\""), 1);
    client_close(&s.client);
    stream_free(&s);
}

static void test_a_segment_that_cannot_be_looked_into_cuts_and_the_client_goes_on(void **state)
{
    (void)state;
    cut_by_segment(false, "could not read");
}

static void test_a_run_that_cannot_be_read_cuts_and_the_client_goes_on(void **state)
{
    (void)state;
    cut_by_segment(true, "could not read");
}

static void cut_by_snapshot(bool checked, const char *why)
{
    struct stream s;

    stream_new(&s);
    struct snapshot_file *file = s.kit->log->file;
    int whole = spoil(file->fd);

    file->blocks[0].checked = checked;
    ask_and_be_cut(&s, 0, why);

    heal(file->fd, whole);
    ask_and_hear(&s, 0);
    assert_int_equal(client_count(&s.client, "{\"first\":1},{\"first\":2}"), 1);
    client_close(&s.client);
    stream_free(&s);
}

static void test_first_rows_that_cannot_be_checked_cut_and_come_the_next_time(void **state)
{
    (void)state;
    cut_by_snapshot(false, "the first rows cannot be read");
}

static void test_first_rows_that_cannot_be_read_cut_and_come_the_next_time(void **state)
{
    (void)state;
    cut_by_snapshot(true, "could not read");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_segment_that_cannot_be_looked_into_cuts_and_the_client_goes_on),
        cmocka_unit_test(test_a_run_that_cannot_be_read_cuts_and_the_client_goes_on),
        cmocka_unit_test(test_first_rows_that_cannot_be_checked_cut_and_come_the_next_time),
        cmocka_unit_test(test_first_rows_that_cannot_be_read_cut_and_come_the_next_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
