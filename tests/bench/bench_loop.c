/*
 * The least that a server of live clients could do: one epoll loop that receives the replication
 * stream and writes each inserted row to the clients that wait for its table. No HTTP is parsed, no
 * log kept, no shape filtered, nobody is waited for who reads slowly.
 *
 *     bench_loop CONNINFO PUBLICATION
 *
 * Listens on a port of its own and says which. A request is whatever comes in one piece, and is for
 * the table that it names behind "table":". A row has one column, n, as marker and pulse have.
 */
#include "base/arena.h"
#include "base/buf.h"
#include "base/reader.h"

#include <errno.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define XLOGDATA_HEADER 25
#define TABLES 4u
#define NAME_MAX_LEN 63

struct table {
    char name[NAME_MAX_LEN + 1];
    uint32_t relid;
    int *fds; /* who waits for its rows */
    size_t n, cap;
};

struct bare {
    PGconn *pg;
    int epoll, listener;
    struct table tables[TABLES];
    char row[64]; /* the line of the row at hand, sent at its commit */
    struct table *to;
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_loop: %s: %s\n", what, why);
    exit(1);
}

static struct table *table_named(struct bare *b, const char *name, size_t len)
{
    for (size_t i = 0; i < TABLES && len <= NAME_MAX_LEN; i++) {
        struct table *t = &b->tables[i];

        if (!t->name[0])
            memcpy(t->name, name, len);
        if (strlen(t->name) == len && memcmp(t->name, name, len) == 0)
            return t;
    }
    die("table", "too many, or its name is too long");
    return NULL;
}

/* ---- clients --------------------------------------------------------------------------------- */

static void watch(struct bare *b, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(b->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll_ctl", strerror(errno));
}

static void accept_all(struct bare *b)
{
    int fd, on = 1;

    while ((fd = accept4(b->listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        watch(b, fd);
    }
}

static void leave(struct bare *b, int fd)
{
    for (size_t i = 0; i < TABLES; i++) {
        struct table *t = &b->tables[i];

        for (size_t j = 0; j < t->n; j++) {
            if (t->fds[j] == fd)
                t->fds[j--] = t->fds[--t->n];
        }
    }
    close(fd);
}

static void hear(struct bare *b, int fd)
{
    static const char answer[] =
        "HTTP/1.1 200 OK\r\n\r\n{\"commit\":{\"lsn\":\"1\",\"consistent\":true}}\n";
    static const char mark[] = "\"table\":\"";
    char bytes[4096];
    ssize_t n = recv(fd, bytes, sizeof(bytes) - 1, 0);

    if (n <= 0) {
        leave(b, fd);
        return;
    }
    bytes[n] = '\0';
    const char *name = strstr(bytes, mark);
    if (!name)
        die("request", "it names no table");
    name += sizeof(mark) - 1;
    struct table *t = table_named(b, name, strcspn(name, "\""));
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 1024;
        t->fds = xrealloc(t->fds, t->cap * sizeof(int));
    }
    t->fds[t->n++] = fd;
    if (send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) < 0)
        die("send", strerror(errno));
}

static void send_row(struct bare *b)
{
    size_t len = strlen(b->row);

    for (size_t i = 0; b->to && i < b->to->n; i++) {
        if (send(b->to->fds[i], b->row, len, MSG_NOSIGNAL) < 0 && errno != EPIPE &&
            errno != ECONNRESET)
            die("send", strerror(errno));
    }
    b->to = NULL;
}

/* ---- the replication stream ------------------------------------------------------------------ */

static struct slice take_name(struct reader *in)
{
    const char *start = (const char *)in->p;

    while (reader_u8(in) && !in->failed)
        ;
    return (struct slice){start, strlen(start)};
}

static void take_message(struct bare *b, struct slice message)
{
    struct reader in = reader_of(message);
    char kind = (char)reader_u8(&in);
    uint32_t relid = kind == 'R' || kind == 'I' ? reader_u32(&in) : 0;

    if (kind == 'R') {
        take_name(&in);
        struct slice name = take_name(&in);

        table_named(b, name.ptr, name.len)->relid = relid;
    } else if (kind == 'I' && reader_u8(&in) == 'N' && reader_u16(&in) == 1 &&
               reader_u8(&in) == 't') {
        uint32_t len = reader_u32(&in);
        struct slice digits = reader_slice(&in, len);

        for (size_t i = 0; i < TABLES; i++) {
            if (b->tables[i].relid == relid)
                b->to = &b->tables[i];
        }
        snprintf(b->row, sizeof(b->row), "{\"n\":\"%.*s\"}\n", (int)digits.len, digits.ptr);
    } else if (kind == 'C') {
        send_row(b);
    }
}

static void take_stream(struct bare *b)
{
    char *text;
    int len;

    if (!PQconsumeInput(b->pg))
        die("replication", PQerrorMessage(b->pg));
    while ((len = PQgetCopyData(b->pg, &text, 1)) > 0) {
        if (text[0] == 'w' && len > XLOGDATA_HEADER)
            take_message(b, (struct slice){text + XLOGDATA_HEADER, (size_t)len - XLOGDATA_HEADER});
        PQfreemem(text);
    }
    if (len < 0)
        die("replication ended", PQerrorMessage(b->pg));
}

static void query(PGconn *pg, const char *sql, ExecStatusType wanted)
{
    PGresult *result = PQexec(pg, sql);

    if (PQresultStatus(result) != wanted)
        die(sql, PQerrorMessage(pg));
    PQclear(result);
}

static void start_stream(struct bare *b, const char *conninfo, const char *publication)
{
    char text[1024];

    snprintf(text, sizeof(text), "%s replication=database", conninfo);
    b->pg = PQconnectdb(text);
    if (PQstatus(b->pg) != CONNECTION_OK)
        die("connect", PQerrorMessage(b->pg));
    query(b->pg, "CREATE_REPLICATION_SLOT bare TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT",
          PGRES_TUPLES_OK);
    snprintf(text, sizeof(text),
             "START_REPLICATION SLOT bare LOGICAL 0/0 (proto_version '1', publication_names '%s')",
             publication);
    query(b->pg, text, PGRES_COPY_BOTH);
    watch(b, PQsocket(b->pg));
}

/* ---- the loop -------------------------------------------------------------------------------- */

static int start_listening(struct bare *b)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    b->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (b->listener < 0 || bind(b->listener, (struct sockaddr *)&address, size) != 0 ||
        listen(b->listener, 1024) != 0 ||
        getsockname(b->listener, (struct sockaddr *)&address, &size) != 0)
        die("listen", strerror(errno));
    watch(b, b->listener);
    return ntohs(address.sin_port);
}

int main(int argc, char **argv)
{
    struct bare b = {.epoll = epoll_create1(0)};
    struct epoll_event events[256];
    struct rlimit limit;

    if (argc != 3)
        die("usage", "bench_loop CONNINFO PUBLICATION");
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    start_stream(&b, argv[1], argv[2]);
    printf("%d\n", start_listening(&b));
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(b.epoll, events, 256, -1);

        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;

            if (fd == b.listener)
                accept_all(&b);
            else if (fd == PQsocket(b.pg))
                take_stream(&b);
            else
                hear(&b, fd);
        }
    }
}
