/*
 * Live clients of /v1/sync that wait, all in one thread.
 *
 *     bench_crowd PORT TABLE COUNT SOURCE
 *
 * COUNT connections from 127.0.0.SOURCE (each such address has ports of its own) to 127.0.0.1:PORT,
 * each with a live request for TABLE. When all of them have what there is it says "parked". Then a
 * line with a text is answered with two times when all have had that text: when the first of them
 * had it and when the last, in µs of the monotonic clock, and the CPU that hearing took, in µs.
 * Ends with its input.
 */
#include "base/buf.h"
#include "base/clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

#define AT_ONCE 64 /* connections that wait to be accepted */
#define GIVE_UP_MS 60000
#define CARRY 128u /* of what has been heard: a text may be cut by a packet */

struct client {
    int fd;
    bool has;
    unsigned char len;
    char carry[CARRY];
};

struct crowd {
    int epoll;
    struct client *clients;
    long n;
    int64_t first, last;
};

static void die(const char *what)
{
    fprintf(stderr, "bench_crowd: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void allow_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("limit of files");
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void open_client(struct crowd *crowd, struct client *c, int port, int source)
{
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + (uint32_t)source)};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int on = 1;

    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0)
        die("socket");
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    if (bind(c->fd, (struct sockaddr *)&from, sizeof(from)) != 0)
        die("bind");
    if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        die("connect");
    if (epoll_ctl(crowd->epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
        die("epoll_ctl");
}

/* Whether what it was sent, this and the end of the last, has the text. */
static bool hear(struct client *c, const char *text, size_t len)
{
    static char bytes[CARRY + 65536];
    bool has = false;
    ssize_t n;

    memcpy(bytes, c->carry, c->len);
    n = recv(c->fd, bytes + c->len, sizeof(bytes) - CARRY, MSG_DONTWAIT);
    if (n == 0)
        die("a stream was ended");
    if (n < 0)
        return false;
    size_t all = c->len + (size_t)n;
    const char *found = memmem(bytes, all, text, len);
    const char *rest = found ? found + len : bytes;

    has = found != NULL;
    size_t keep = (size_t)(bytes + all - rest);
    keep = keep < len - 1 || found ? keep : len - 1;
    keep = keep < CARRY ? keep : CARRY;
    memcpy(c->carry, bytes + all - keep, keep);
    c->len = (unsigned char)keep;
    return has;
}

/* Until `missing` clients have had the text, which none of them has yet. */
static void wait_for(struct crowd *crowd, const char *text, long missing)
{
    struct epoll_event events[1024];

    crowd->first = 0;
    while (missing > 0) {
        int n = epoll_wait(crowd->epoll, events, 1024, GIVE_UP_MS);

        if (n <= 0)
            die("some clients never had it");
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;

            if (!hear(c, text, strlen(text)) || c->has)
                continue;
            c->has = true;
            missing--;
            crowd->last = clock_us();
            if (!crowd->first)
                crowd->first = crowd->last;
        }
    }
}

static void park(struct crowd *crowd, const struct buf *request, int port, int source)
{
    for (long i = 0; i < crowd->n; i += AT_ONCE) {
        long end = i + AT_ONCE < crowd->n ? i + AT_ONCE : crowd->n;

        for (long j = i; j < end; j++)
            open_client(crowd, &crowd->clients[j], port, source);
        for (long j = i; j < end; j++) {
            if (send(crowd->clients[j].fd, request->ptr, request->len, 0) != (ssize_t)request->len)
                die("send");
        }
        wait_for(crowd, "\"consistent\":true", end - i);
    }
}

static void make_request(struct buf *out, const char *table)
{
    char body[256];
    int len =
        snprintf(body, sizeof(body), "{\"shapes\":[{\"table\":\"%s\"}],\"live\":true}", table);

    buf_init(out, BUF_NO_LIMIT);
    buf_printf(out,
               "POST /v1/sync?replica=crowd HTTP/1.1\r\nHost: bench\r\n"
               "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
               len, body);
}

int main(int argc, char **argv)
{
    struct crowd crowd = {.epoll = epoll_create1(0)};
    char text[CARRY];
    struct buf request;

    if (argc != 5) {
        fprintf(stderr, "usage: bench_crowd PORT TABLE COUNT SOURCE\n");
        return 2;
    }
    allow_files();
    crowd.n = atol(argv[3]);
    crowd.clients = calloc((size_t)crowd.n, sizeof(struct client));
    if (!crowd.clients)
        die("memory");
    make_request(&request, argv[2]);
    park(&crowd, &request, atoi(argv[1]), atoi(argv[4]));
    buf_release(&request);
    printf("parked\n");
    fflush(stdout);
    while (fgets(text, sizeof(text), stdin)) {
        int64_t cpu = clock_us_of(CLOCK_PROCESS_CPUTIME_ID);

        text[strcspn(text, "\n")] = '\0';
        for (long i = 0; i < crowd.n; i++)
            crowd.clients[i].has = false;
        wait_for(&crowd, text, crowd.n);
        printf("%lld %lld %lld\n", (long long)crowd.first, (long long)crowd.last,
               (long long)(clock_us_of(CLOCK_PROCESS_CPUTIME_ID) - cpu));
        fflush(stdout);
    }
    return 0;
}
