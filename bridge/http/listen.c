/*
 * Listening sockets: from "host:port" to connections. When the process is out
 * of descriptors, or the place is full, accepting pauses for a moment and
 * clients wait in the kernel's queue; the loop does not spin on a socket that
 * stays readable.
 */
#include "http/worker.h"

#include "base/logging.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096
#define ACCEPTS_A_TURN 64
#define PAUSE_MS 100
#define LOG_EVERY_MS 10000

/* ---- addresses ---- */

struct host_port {
    char host[256]; /* "": all addresses */
    char port[8];
};

static bool bad_address(const char *address, struct err *err)
{
    err_set(err, ERR_CONFIG, "invalid address to listen on: \"%s\"", address);
    return err_hint(err, "write host:port, [ipv6]:port or :port");
}

static bool split_address(const char *address, struct host_port *out, struct err *err)
{
    const char *colon = strrchr(address, ':');
    const char *host = address;
    size_t n = colon ? (size_t)(colon - address) : 0;

    if (!colon || strlen(colon + 1) == 0 || strlen(colon + 1) >= sizeof(out->port) ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        strtoul(colon + 1, NULL, 10) > UINT16_MAX)
        return bad_address(address, err);
    if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
        host++;
        n -= 2;
    } else if (memchr(host, ':', n)) {
        return bad_address(address, err);
    }
    if (n >= sizeof(out->host))
        return bad_address(address, err);
    memcpy(out->host, host, n);
    out->host[n] = '\0';
    if (strcmp(out->host, "*") == 0)
        out->host[0] = '\0';
    strcpy(out->port, colon + 1);
    return true;
}

static bool resolve(const char *address, struct sockaddr_storage *addr, socklen_t *len,
                    struct err *err)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found;
    struct host_port hp;

    if (!split_address(address, &hp, err))
        return false;
    if (!hp.host[0])
        hints.ai_family = AF_INET6;
    int code = getaddrinfo(hp.host[0] ? hp.host : NULL, hp.port, &hints, &found);
    if (code != 0)
        return err_set(err, ERR_CONFIG, "could not find the address \"%s\": %s", address,
                       gai_strerror(code));
    memcpy(addr, found->ai_addr, found->ai_addrlen);
    *len = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

static uint16_t *port_of(struct sockaddr_storage *addr)
{
    return addr->ss_family == AF_INET6 ? &((struct sockaddr_in6 *)addr)->sin6_port
                                       : &((struct sockaddr_in *)addr)->sin_port;
}

/* Notes where the first socket of a place has come to listen. */
static void note_address(struct http_place *place, int fd)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof(addr);
    char host[INET6_ADDRSTRLEN] = "?";

    getsockname(fd, (struct sockaddr *)&addr, &len);
    place->port = ntohs(*port_of(&addr));
    bool v6 = addr.ss_family == AF_INET6;
    const void *ip = v6 ? (const void *)&((struct sockaddr_in6 *)&addr)->sin6_addr
                        : (const void *)&((struct sockaddr_in *)&addr)->sin_addr;
    inet_ntop(addr.ss_family, ip, host, sizeof(host));
    snprintf(place->address, sizeof(place->address), v6 ? "[%s]:%u" : "%s:%u", host, place->port);
}

/* ---- sockets ---- */

static void set_option(int fd, int level, int name, int value)
{
    setsockopt(fd, level, name, &value, sizeof(value));
}

static int bind_socket(const struct sockaddr_storage *addr, socklen_t len, bool shared)
{
    int fd = socket(addr->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (shared)
        set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (addr->ss_family == AF_INET6)
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (bind(fd, (const struct sockaddr *)addr, len) < 0) {
        int kept = errno;

        close(fd);
        errno = kept;
        return -1;
    }
    return fd;
}

/* SO_REUSEPORT would let a second server of the same user in, and half of the clients with it. So
 * the first socket must be able to have the port alone. */
static bool port_is_free(const struct sockaddr_storage *addr, socklen_t len)
{
    int fd = bind_socket(addr, len, false);

    if (fd < 0)
        return false;
    close(fd);
    return true;
}

static int open_socket(struct http_place *place, struct sockaddr_storage *addr, socklen_t len)
{
    bool first = place->port == 0;

    if (!first)
        *port_of(addr) = htons(place->port);
    else if (*port_of(addr) != 0 && !port_is_free(addr, len))
        return -1;
    int fd = bind_socket(addr, len, true);
    if (fd >= 0 && listen(fd, BACKLOG) < 0) {
        close(fd);
        return -1;
    }
    if (fd >= 0 && first)
        note_address(place, fd);
    return fd;
}

/* ---- accepting ---- */

static void pause_accepting(struct http_acceptor *acceptor, const char *why)
{
    struct http_loop *loop = acceptor->worker->loop;
    int64_t now = http_loop_now(loop);

    atomic_fetch_add_explicit(&acceptor->worker->metrics->accept_errors, 1, memory_order_relaxed);
    if (!acceptor->logged_at || now - acceptor->logged_at >= LOG_EVERY_MS) {
        acceptor->logged_at = now;
        log_warn("not accepting connections for a moment", LOG_STR("reason", why),
                 LOG_STR("address", acceptor->place->address),
                 LOG_UINT("open", atomic_load(&acceptor->place->open)));
    }
    http_loop_rewatch(loop, &acceptor->watch, acceptor->fd, 0);
    http_loop_timer_set(loop, &acceptor->resume, PAUSE_MS);
}

static void on_resume(struct http_timer *timer)
{
    struct http_acceptor *acceptor =
        (struct http_acceptor *)((char *)timer - offsetof(struct http_acceptor, resume));

    http_loop_rewatch(acceptor->worker->loop, &acceptor->watch, acceptor->fd, EPOLLIN);
}

static bool take_place(struct http_place *place)
{
    uint64_t max = place->listen->max_connections;

    if (atomic_fetch_add(&place->open, 1) < max || max == 0)
        return true;
    atomic_fetch_sub(&place->open, 1);
    return false;
}

/* False when there is nothing more to accept now. */
static bool accept_one(struct http_acceptor *acceptor)
{
    if (!take_place(acceptor->place)) {
        pause_accepting(acceptor, "too many connections");
        return false;
    }
    int fd = accept4(acceptor->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        http_conn_open(acceptor->worker, acceptor->place, fd);
        return true;
    }
    atomic_fetch_sub(&acceptor->place->open, 1);
    if (errno == EAGAIN)
        return false;
    if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)
        return true; /* that client has gone already; the next may be there */
    pause_accepting(acceptor, strerror(errno));
    return false;
}

static void on_acceptable(struct http_watch *watch, uint32_t events)
{
    struct http_acceptor *acceptor = (struct http_acceptor *)watch;

    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN && accept_one(acceptor); i++)
        ;
}

bool http_acceptor_open(struct http_acceptor *acceptor, struct http_worker *worker,
                        struct http_place *place, struct err *err)
{
    const char *address = place->listen->address;
    struct sockaddr_storage addr;
    socklen_t len = 0;

    *acceptor = (struct http_acceptor){.watch.ready = on_acceptable,
                                       .resume.fire = on_resume,
                                       .worker = worker,
                                       .place = place,
                                       .fd = -1};
    if (!resolve(address, &addr, &len, err))
        return false;
    acceptor->fd = open_socket(place, &addr, len);
    if (acceptor->fd < 0 && errno == EAFNOSUPPORT && address[0] != '[') {
        /* No IPv6 on this machine: all addresses are those of IPv4. */
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = *port_of(&addr)};

        memcpy(&addr, &any, sizeof(any));
        acceptor->fd = open_socket(place, &addr, sizeof(any));
    }
    if (acceptor->fd < 0)
        return err_errno(err, ERR_IO, "could not listen on \"%s\"", address);
    return http_loop_watch(worker->loop, &acceptor->watch, acceptor->fd, EPOLLIN, err);
}

void http_acceptor_close(struct http_acceptor *acceptor)
{
    if (acceptor->fd < 0)
        return;
    http_loop_timer_remove(acceptor->worker->loop, &acceptor->resume);
    http_loop_unwatch(acceptor->worker->loop, &acceptor->watch, acceptor->fd);
    close(acceptor->fd);
    acceptor->fd = -1;
}
