/*
 * A server that plays a list of answers, one a connection, and records what it was asked: a bridge
 * that misbehaves.
 */
#ifndef TESTS_PLAYER_H
#define TESTS_PLAYER_H

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

static inline bool request_is_whole(const char *text, size_t n)
{
    const char *end = strstr(text, "\r\n\r\n");
    const char *length = strstr(text, "Content-Length: ");

    return end && length && n >= (size_t)(end + 4 - text) + strtoul(length + 16, NULL, 10);
}

static inline void read_request(int fd, char *text, size_t cap)
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

static inline void write_all(int fd, const char *text)
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
static inline void *serve(void *arg)
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

static inline void server_start(struct server *s)
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

static inline void server_stop(struct server *s)
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
static inline const char *answer(const char *head, const char *lines, bool end)
{
    static char slots[MOST][4096];
    static int next;
    char *out = slots[next++ % MOST];

    snprintf(out, sizeof(slots[0]), "%s" HEAD "%zx\r\n%s\r\n%s", head, strlen(lines), lines,
             end ? "0\r\n\r\n" : "");
    return out;
}

#endif
