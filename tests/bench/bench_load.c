/*
 * One request, asked again and again: how many answers a second a server gives.
 *
 *     bench_load ADDRESS PORT TARGET CONNECTIONS REQUESTS
 *
 * Each connection has one request at a time, the next when the answer has come. The body is thrown
 * away as it comes, by its length or by chunks. Prints
 *
 *     requests 10000 bytes 1234567 seconds 1.234567 cpu 1.234567
 *
 * of bodies as they came, chunks' frames included; CPU is this program's own.
 */
#include "base/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_MAX 8192
#define GIVE_UP_MS 60000

static const char chunks_end[] = "\r\n0\r\n\r\n";
#define CHUNKS_END (sizeof(chunks_end) - 1)

struct client {
    int fd;
    char head[HEAD_MAX + 1]; /* of the answer at hand, until it is whole */
    size_t head_len;
    bool in_body, chunked;
    size_t left;           /* of the body, where its length is known */
    char tail[CHUNKS_END]; /* its last bytes, where it is not */
};

struct load {
    int epoll;
    const char *request;
    size_t request_len;
    struct client *clients;
    long to_send, to_hear;
    unsigned long long bytes;
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_load: %s: %s\n", what, why);
    exit(1);
}

static void ask(struct load *load, struct client *c)
{
    load->to_send--;
    c->head_len = 0;
    c->in_body = false;
    if (send(c->fd, load->request, load->request_len, 0) != (ssize_t)load->request_len)
        die("send", "the request does not go out");
}

static void open_client(struct load *load, struct client *c, const struct sockaddr_in *address)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int on = 1;

    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)address, sizeof(*address)) != 0)
        die("connect", "nobody is there");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    epoll_ctl(load->epoll, EPOLL_CTL_ADD, c->fd, &event);
}

/* Bytes of the body; whether they end it. */
static bool take_body(struct load *load, struct client *c, const char *bytes, size_t n)
{
    load->bytes += n;
    if (!c->chunked) {
        if (n > c->left)
            die("answer", "it is longer than it says");
        c->left -= n;
        return c->left == 0;
    }
    if (n >= CHUNKS_END) {
        memcpy(c->tail, bytes + n - CHUNKS_END, CHUNKS_END);
    } else {
        memmove(c->tail, c->tail + n, CHUNKS_END - n);
        memcpy(c->tail + CHUNKS_END - n, bytes, n);
    }
    return memcmp(c->tail, chunks_end, CHUNKS_END) == 0;
}

/* Bytes of the head, and perhaps the first of the body; whether they end the answer. */
static bool take_head(struct load *load, struct client *c, const char *bytes, size_t n)
{
    size_t part = n < HEAD_MAX - c->head_len ? n : HEAD_MAX - c->head_len;

    memcpy(c->head + c->head_len, bytes, part);
    c->head_len += part;
    c->head[c->head_len] = '\0';
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end && c->head_len == HEAD_MAX)
        die("answer", "its head is too long");
    if (!end)
        return false;
    size_t body = n - part + (size_t)(c->head + c->head_len - (end + 4));

    end[2] = '\0';
    if (strncmp(c->head, "HTTP/1.1 200", 12) != 0)
        die("answer", c->head);
    const char *length = strcasestr(c->head, "\r\ncontent-length:");
    c->in_body = true;
    c->chunked = !length;
    c->left = length ? strtoul(length + 17, NULL, 10) : 0;
    return (length && !c->left) || (body && take_body(load, c, bytes + n - body, body));
}

static void hear(struct load *load, struct client *c)
{
    static char bytes[262144];
    ssize_t n = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (n == 0)
        die("answer", "the connection was closed");
    if (n < 0)
        return;
    if (!(c->in_body ? take_body(load, c, bytes, (size_t)n) : take_head(load, c, bytes, (size_t)n)))
        return;
    load->to_hear--;
    if (load->to_send > 0)
        ask(load, c);
}

static void run(struct load *load, long nclients)
{
    struct epoll_event events[256];

    for (long i = 0; i < nclients && load->to_send > 0; i++)
        ask(load, &load->clients[i]);
    while (load->to_hear > 0) {
        int n = epoll_wait(load->epoll, events, 256, GIVE_UP_MS);

        if (n <= 0)
            die("answer", "none came for a minute");
        for (int i = 0; i < n; i++)
            hear(load, events[i].data.ptr);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct load load = {.epoll = epoll_create1(0)};
    char request[4096];

    if (argc != 6)
        die("usage", "bench_load ADDRESS PORT TARGET CONNECTIONS REQUESTS");
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1)
        die(argv[1], "no such address");
    load.request = request;
    load.request_len = (size_t)snprintf(request, sizeof(request),
                                        "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", argv[3]);
    long n = atol(argv[4]), requests = atol(argv[5]);
    load.clients = calloc((size_t)n, sizeof(struct client));
    if (n < 1 || requests < 1 || load.request_len >= sizeof(request) || !load.clients)
        die("usage", "at least one connection and one request, of 4 kB");
    for (long i = 0; i < n; i++)
        open_client(&load, &load.clients[i], &address);
    load.to_send = load.to_hear = requests;
    int64_t began = clock_us();
    run(&load, n);
    printf("requests %ld bytes %llu seconds %.6f cpu %.6f\n", requests, load.bytes,
           (double)(clock_us() - began) / 1e6, (double)clock_us_of(CLOCK_PROCESS_CPUTIME_ID) / 1e6);
    return 0;
}
