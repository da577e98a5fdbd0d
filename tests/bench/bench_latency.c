/*
 * How long from a commit in Postgres until somebody sees it.
 *
 *     bench_latency CONNINFO N recv PUBLICATION     a replication connection of its own
 *     bench_latency CONNINFO N socket HOST PORT     a raw live stream of /v1/sync
 *     bench_latency CONNINFO N replica FILE         a SQLite file that `tombolo sync` keeps
 *
 * Says "ready" when it sees the stream, then waits for a line on its input, taking what comes in
 * meanwhile; so whoever starts it can load the database first and ask for the lag behind that. Then
 * N times: INSERT of one row into the table pulse(n bigint), each a commit, and the wait until it
 * is seen: its commit message on the replication connection; its row and a commit line on the
 * socket; the row itself in the file, which is polled by PRAGMA data_version with a pause of some
 * 20 µs in between. A line of output each:
 *
 *     <µs from sending the insert to its answer> <µs from sending the insert to its being seen>
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/reader.h"

#include <libpq-fe.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define XLOGDATA_HEADER 25
#define BETWEEN_US 1000   /* between two commits */
#define POLL_FILE_US 20   /* between two looks at the file */
#define GIVE_UP_MS 120000 /* nothing comes any more */
#define CARRY 4096        /* a row of pulse and its commit line are shorter */

/* Somebody who sees commits. Exactly one of `pg`, `fd` and `db` is used. */
struct watcher {
    /* Takes what there is without blocking; true once `n` has been seen. */
    bool (*look)(struct watcher *w, long n);
    int fd; /* to poll, or -1: to be looked at all the time */
    PGconn *pg;
    struct buf seen; /* the socket's last bytes */
    sqlite3 *db;
    sqlite3_stmt *version, *row;
    int64_t last_version;
    long pulse; /* the replication connection: the last one, its commit not yet seen */
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_latency: %s: %s\n", what, why);
    exit(1);
}

static PGconn *connect_pg(const char *conninfo, const char *options)
{
    struct buf all;

    buf_init(&all, BUF_NO_LIMIT);
    buf_printf(&all, "%s %s", conninfo, options);
    PGconn *pg = PQconnectdb(buf_cstr(&all));
    if (PQstatus(pg) != CONNECTION_OK)
        die("could not connect", PQerrorMessage(pg));
    buf_release(&all);
    return pg;
}

static void query(PGconn *pg, const char *sql, ExecStatusType wanted)
{
    PGresult *result = PQexec(pg, sql);

    if (PQresultStatus(result) != wanted)
        die(sql, PQerrorMessage(pg));
    PQclear(result);
}

/* ---- a replication connection ---------------------------------------------------------------- */

/* An insert of one column as text is pulse's: 'I' relid:4 'N' ncols:2 't' len:4 digits. */
static void note_insert(struct watcher *w, struct slice message)
{
    struct reader in = reader_of(message);
    char digits[24] = {0};

    reader_u8(&in);
    reader_u32(&in);
    if (reader_u8(&in) != 'N' || reader_u16(&in) != 1 || reader_u8(&in) != 't')
        return;
    uint32_t len = reader_u32(&in);
    struct slice text = reader_slice(&in, len);
    if (text.len && text.len < sizeof(digits)) {
        memcpy(digits, text.ptr, text.len);
        w->pulse = strtol(digits, NULL, 10);
    }
}

static bool look_pg(struct watcher *w, long n)
{
    bool seen = false;
    char *text;
    int len;

    if (!PQconsumeInput(w->pg))
        die("replication", PQerrorMessage(w->pg));
    while ((len = PQgetCopyData(w->pg, &text, 1)) > 0) {
        if (text[0] == 'w' && len > XLOGDATA_HEADER) {
            struct slice message = {text + XLOGDATA_HEADER, (size_t)len - XLOGDATA_HEADER};

            if (message.ptr[0] == 'I')
                note_insert(w, message);
            else if (message.ptr[0] == 'C')
                seen |= w->pulse == n;
        }
        PQfreemem(text);
    }
    if (len < 0)
        die("replication ended", PQerrorMessage(w->pg));
    return seen;
}

static void watch_pg(struct watcher *w, const char *conninfo, const char *publication)
{
    char sql[256];

    w->look = look_pg;
    w->pg = connect_pg(conninfo, "replication=database");
    query(w->pg, "CREATE_REPLICATION_SLOT latency TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT",
          PGRES_TUPLES_OK);
    snprintf(sql, sizeof(sql),
             "START_REPLICATION SLOT latency LOGICAL 0/0 (proto_version '1', "
             "publication_names '%s')",
             publication);
    query(w->pg, sql, PGRES_COPY_BOTH);
    w->fd = PQsocket(w->pg);
    w->pulse = -1;
}

/* ---- a live stream --------------------------------------------------------------------------- */

static bool look_socket(struct watcher *w, long n)
{
    char bytes[65536], needle[40];
    ssize_t got = recv(w->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (got == 0)
        die("socket", "the bridge closed it");
    if (got < 0)
        return false;
    buf_put(&w->seen, bytes, (size_t)got);
    snprintf(needle, sizeof(needle), "{\"n\":\"%ld\"}", n);
    const char *row = memmem(w->seen.ptr, w->seen.len, needle, strlen(needle));
    if (row && memmem(row, w->seen.len - (size_t)(row - w->seen.ptr), "{\"commit\"", 9)) {
        buf_clear(&w->seen);
        return true;
    }
    if (!row && w->seen.len > CARRY)
        buf_consume(&w->seen, w->seen.len - CARRY);
    return false;
}

/* All older pulses may come first: what is looked for is among the last bytes. */
static void wait_until_caught_up(struct watcher *w)
{
    static const char consistent[] = "\"consistent\":true";
    struct pollfd fd = {.fd = w->fd, .events = POLLIN};

    while (!memmem(buf_cstr(&w->seen), w->seen.len, consistent, strlen(consistent))) {
        if (poll(&fd, 1, GIVE_UP_MS) <= 0)
            die("socket", "no stream");
        look_socket(w, -1);
    }
}

static void watch_socket(struct watcher *w, const char *host, const char *port)
{
    static const char body[] = "{\"shapes\":[{\"table\":\"pulse\"}],\"live\":true}";
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *address;
    char request[512];
    int one = 1;

    w->look = look_socket;
    buf_init(&w->seen, BUF_NO_LIMIT);
    if (getaddrinfo(host, port, &hints, &address) != 0)
        die(host, "no such address");
    w->fd = socket(address->ai_family, SOCK_STREAM, 0);
    if (w->fd < 0 || connect(w->fd, address->ai_addr, address->ai_addrlen) != 0)
        die(host, "could not connect");
    freeaddrinfo(address);
    setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    int len = snprintf(request, sizeof(request),
                       "POST /v1/sync?replica=latency HTTP/1.1\r\nHost: bench\r\n"
                       "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                       sizeof(body) - 1, body);
    if (send(w->fd, request, (size_t)len, 0) != len)
        die(host, "could not send");
    wait_until_caught_up(w);
}

/* ---- a replica ------------------------------------------------------------------------------- */

static bool look_file(struct watcher *w, long n)
{
    if (sqlite3_step(w->version) != SQLITE_ROW)
        die("data_version", sqlite3_errmsg(w->db));
    int64_t version = sqlite3_column_int64(w->version, 0);
    sqlite3_reset(w->version);
    if (version == w->last_version)
        return false;
    w->last_version = version;
    sqlite3_bind_int64(w->row, 1, n);
    int rc = sqlite3_step(w->row);
    sqlite3_reset(w->row);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        die("replica", sqlite3_errmsg(w->db));
    return rc == SQLITE_ROW;
}

static void watch_file(struct watcher *w, const char *path)
{
    w->look = look_file;
    w->fd = -1;
    w->last_version = -1;
    if (sqlite3_open_v2(path, &w->db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        die(path, sqlite3_errmsg(w->db));
    sqlite3_busy_timeout(w->db, 5000);
    if (sqlite3_prepare_v2(w->db, "PRAGMA data_version", -1, &w->version, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(w->db, "SELECT 1 FROM pulse WHERE n = ?", -1, &w->row, NULL) !=
            SQLITE_OK)
        die(path, sqlite3_errmsg(w->db));
}

/* ---- the measurement ------------------------------------------------------------------------- */

/* Until our input has a line. */
static void wait_for_go(struct watcher *w)
{
    struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                            {.fd = w->fd, .events = POLLIN}};
    char line[64];

    puts("ready");
    fflush(stdout);
    for (;;) {
        poll(fds, 2, -1);
        if (fds[1].revents)
            w->look(w, -1);
        if (fds[0].revents) {
            if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
                exit(0);
            return;
        }
    }
}

static void wait_until_seen(struct watcher *w, long n)
{
    struct pollfd fd = {.fd = w->fd, .events = POLLIN};
    int64_t give_up = clock_ms() + GIVE_UP_MS;

    while (!w->look(w, n)) {
        if (clock_ms() > give_up)
            die("a commit", "was never seen");
        if (w->fd >= 0)
            poll(&fd, 1, GIVE_UP_MS);
        else
            usleep(POLL_FILE_US);
    }
}

static void measure(PGconn *writer, struct watcher *w, long n)
{
    char digits[24];
    const char *values[1] = {digits};

    snprintf(digits, sizeof(digits), "%ld", n);
    int64_t sent = clock_us();
    PGresult *result = PQexecPrepared(writer, "insert", 1, values, NULL, NULL, 0);
    int64_t answered = clock_us();
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        die("insert", PQerrorMessage(writer));
    PQclear(result);
    wait_until_seen(w, n);
    printf("%lld %lld\n", (long long)(answered - sent), (long long)(clock_us() - sent));
}

static long last_pulse(PGconn *writer)
{
    PGresult *result = PQexec(writer, "SELECT coalesce(max(n), 0) FROM pulse");

    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        die("pulse", PQerrorMessage(writer));
    long n = strtol(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return n;
}

static bool watch(struct watcher *w, int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[3], "recv") == 0)
        watch_pg(w, argv[1], argv[4]);
    else if (argc == 6 && strcmp(argv[3], "socket") == 0)
        watch_socket(w, argv[4], argv[5]);
    else if (argc == 5 && strcmp(argv[3], "replica") == 0)
        watch_file(w, argv[4]);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    struct watcher w = {0};

    if (!watch(&w, argc, argv)) {
        fprintf(stderr, "usage: bench_latency CONNINFO N recv PUBLICATION | socket HOST PORT | "
                        "replica FILE\n");
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1UL);
    PGconn *writer = connect_pg(argv[1], "");
    PQclear(PQprepare(writer, "insert", "INSERT INTO pulse VALUES ($1)", 1, NULL));
    wait_for_go(&w);
    long first = last_pulse(writer) + 1, count = strtol(argv[2], NULL, 10);
    for (long n = first; n < first + count; n++) {
        measure(writer, &w, n);
        if (count > 1)
            usleep(BETWEEN_US);
    }
    return 0;
}
