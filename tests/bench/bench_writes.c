/*
 * Clients of /v1/write: each sends requests of GROUP transactions, a row each, one request at a
 * time on a connection of its own.
 *
 *     bench_writes PORT CLIENTS REQUESTS GROUP TURN
 *
 * The requests are made beforehand. TURN makes the replicas' names and the rows' keys new ones.
 * Prints the seconds from the first byte sent to the last answer, each of which must be a 200 that
 * applied.
 */
#include "base/buf.h"
#include "base/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_CLIENTS 64

struct client {
    int fd;
    struct buf *requests;
    long sent, answered;
    char answer[65536]; /* up to the end of the one at hand */
    size_t len;
};

static void die(const char *what)
{
    fprintf(stderr, "bench_writes: %s\n", what);
    exit(1);
}

static void put_transaction(struct buf *b, long client, long id, long turn)
{
    long long key = ((long long)turn << 44) + ((long long)client << 32) + id;

    buf_printf(
        b,
        "%s{\"id\":%ld,\"nonce\":\"n%ld\",\"mutations\":[{\"table\":\"notes\",\"op\":"
        "\"insert\",\"nonce\":\"%lld\",\"key\":{\"id\":\"%lld\"},\"values\":{\"id\":\"%lld\","
        "\"owner\":\"7\",\"body\":\"a note of some sixty characters, as people write them in "
        "apps\"}}]}",
        b->ptr[b->len - 1] == '[' ? "" : ",", id, id, key, key, key);
}

static void make_request(struct buf *out, long client, long first, long group, long turn)
{
    struct buf body;

    buf_init(&body, BUF_NO_LIMIT);
    buf_printf(&body, "{\"replica\":\"w%ld-%ld\",", turn, client);
    if (first > 1)
        buf_printf(&body, "\"after\":\"n%ld\",", first - 1);
    buf_put_cstr(&body, "\"transactions\":[");
    for (long i = 0; i < group; i++)
        put_transaction(&body, client, first + i, turn);
    buf_put_cstr(&body, "]}");
    buf_init(out, BUF_NO_LIMIT);
    buf_printf(out,
               "POST /v1/write HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
               "Content-Length: %zu\r\n\r\n",
               body.len);
    buf_put_slice(out, buf_slice(&body));
    buf_release(&body);
}

static void open_client(struct client *c, int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int on = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        die("could not connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void send_next(struct client *c)
{
    const struct buf *request = &c->requests[c->sent++];

    for (size_t at = 0; at < request->len;) {
        ssize_t n = send(c->fd, request->ptr + at, request->len - at, 0);

        if (n <= 0)
            die("could not send");
        at += (size_t)n;
    }
}

/* Whether the answer is whole; it is dropped then. */
static bool take_answer(struct client *c)
{
    ssize_t n = recv(c->fd, c->answer + c->len, sizeof(c->answer) - 1 - c->len, 0);

    if (n <= 0)
        die("the bridge closed the connection");
    c->len += (size_t)n;
    c->answer[c->len] = '\0';
    const char *body = strstr(c->answer, "\r\n\r\n");
    const char *length = body ? strcasestr(c->answer, "content-length:") : NULL;
    if (!length)
        return false;
    if ((size_t)(body + 4 - c->answer) + strtoul(length + 15, NULL, 10) > c->len)
        return false;
    if (strncmp(c->answer, "HTTP/1.1 200", 12) != 0 || !strstr(body, "\"applied\""))
        die(c->answer);
    c->len = 0;
    c->answered++;
    return true;
}

static void run(struct client *clients, nfds_t n, long requests)
{
    struct pollfd fds[MOST_CLIENTS];
    long left = (long)n * requests;

    for (nfds_t i = 0; i < n; i++) {
        fds[i] = (struct pollfd){.fd = clients[i].fd, .events = POLLIN};
        send_next(&clients[i]);
    }
    while (left > 0) {
        if (poll(fds, n, 60000) <= 0)
            die("no answer within a minute");
        for (nfds_t i = 0; i < n; i++) {
            if (!fds[i].revents || !take_answer(&clients[i]))
                continue;
            left--;
            if (clients[i].sent < requests)
                send_next(&clients[i]);
        }
    }
}

int main(int argc, char **argv)
{
    static struct client clients[MOST_CLIENTS];

    if (argc != 6 || atol(argv[2]) > MOST_CLIENTS)
        die("PORT CLIENTS REQUESTS GROUP TURN");
    long n = atol(argv[2]), requests = atol(argv[3]), group = atol(argv[4]);
    for (long i = 0; i < n; i++) {
        clients[i].requests = calloc((size_t)requests, sizeof(struct buf));
        if (!clients[i].requests)
            die("out of memory");
        for (long r = 0; r < requests; r++)
            make_request(&clients[i].requests[r], i, 1 + r * group, group, atol(argv[5]));
        open_client(&clients[i], atoi(argv[1]));
    }
    int64_t began = clock_us();
    run(clients, (nfds_t)n, requests);
    printf("%.6f\n", (double)(clock_us() - began) / 1e6);
    return 0;
}
