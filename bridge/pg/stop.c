/*
 * What keeps a server that does not answer from holding up the bridge's end. libpq's calls block,
 * and none can be told to stop. So
 *
 *   - a connection is made on a thread of its own: whoever asked for it can leave it behind,
 *   - of each connection a copy of the socket is listed here, and pg_stop() shuts them all down:
 *     what waits for them fails at once,
 *   - a cancel request, a connection of its own to the same server, is made on a thread too.
 *
 * The threads are detached. Those that still wait for the server at the end go with the process.
 */
#include "pg/stop.h"
#include "base/arena.h"
#include "base/clock.h"
#include "pg/pg.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CANCEL_WAIT_MS 1000 /* a server that answers has taken a cancel request by then */

struct line {
    PGconn *conn;
    int fd; /* a copy: libpq closes its own when the connection breaks */
    bool left_alone;
};

static struct {
    pthread_once_t once;
    pthread_mutex_t mutex;
    pthread_cond_t news; /* a connection was made, a cancel is through, the end has come */
    bool stopping;
    unsigned cancels; /* under way */
    struct line *lines;
    size_t nlines, cap;
} all = {.once = PTHREAD_ONCE_INIT, .mutex = PTHREAD_MUTEX_INITIALIZER};

static void init(void)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&all.news, &attr);
    pthread_condattr_destroy(&attr);
}

static void lock(void)
{
    pthread_once(&all.once, init);
    pthread_mutex_lock(&all.mutex);
}

static void unlock(void)
{
    pthread_mutex_unlock(&all.mutex);
}

static bool start_detached(void *(*run)(void *), void *arg)
{
    pthread_t thread;

    return pthread_create(&thread, NULL, run, arg) == 0 && pthread_detach(thread) == 0;
}

/* ---- connecting ------------------------------------------------------------------------------ */

struct dial {
    struct arena arena;
    const char **keys, **values;
    PGconn *conn;
    bool done, left; /* whoever comes second frees it */
};

static void dial_free(struct dial *dial)
{
    arena_release(&dial->arena);
    free(dial);
}

static struct dial *dial_new(const char *const *keys, const char *const *values)
{
    struct dial *dial = xcalloc(1, sizeof(*dial));
    size_t n = 0;

    while (keys[n])
        n++;
    dial->keys = arena_calloc(&dial->arena, n + 1, sizeof(char *));
    dial->values = arena_calloc(&dial->arena, n + 1, sizeof(char *));
    for (size_t i = 0; i < n; i++) {
        dial->keys[i] = arena_strdup(&dial->arena, keys[i]);
        dial->values[i] = values[i] ? arena_strdup(&dial->arena, values[i]) : NULL;
    }
    return dial;
}

static void *run_dial(void *arg)
{
    struct dial *dial = arg;
    PGconn *conn = PQconnectdbParams(dial->keys, dial->values, 1);

    lock();
    bool left = dial->left;
    dial->conn = conn;
    dial->done = true;
    pthread_cond_broadcast(&all.news);
    unlock();
    if (left) {
        PQfinish(conn);
        dial_free(dial);
    }
    return NULL;
}

/* Under the mutex. */
static void list_line(PGconn *conn)
{
    if (all.nlines == all.cap) {
        all.cap = all.cap ? all.cap * 2 : 16;
        all.lines = xrealloc(all.lines, all.cap * sizeof(*all.lines));
    }
    all.lines[all.nlines++] = (struct line){.conn = conn};
    all.lines[all.nlines - 1].fd =
        PQsocket(conn) >= 0 ? fcntl(PQsocket(conn), F_DUPFD_CLOEXEC, 3) : -1;
}

/* Under the mutex. */
static struct line *find_line(const PGconn *conn)
{
    for (size_t i = 0; i < all.nlines; i++) {
        if (all.lines[i].conn == conn)
            return &all.lines[i];
    }
    return NULL;
}

PGconn *stop_connect(const char *const *keys, const char *const *values, struct err *err)
{
    struct dial *dial = dial_new(keys, values);

    if (!start_detached(run_dial, dial)) {
        dial_free(dial);
        err_set(err, ERR_IO, "could not start a thread to connect to Postgres");
        return NULL;
    }
    lock();
    while (!dial->done && !all.stopping)
        pthread_cond_wait(&all.news, &all.mutex);
    bool done = dial->done, stopping = all.stopping;
    PGconn *conn = dial->conn;
    dial->left = !done;
    if (done && !stopping)
        list_line(conn);
    unlock();
    if (done)
        dial_free(dial);
    if (!stopping)
        return conn;
    if (done)
        PQfinish(conn);
    err_set(err, ERR_STOPPED, "the bridge is stopping");
    return NULL;
}

void stop_finish(PGconn *conn)
{
    int fd = -1;

    lock();
    struct line *line = find_line(conn);
    if (line) {
        fd = line->fd;
        *line = all.lines[--all.nlines];
    }
    if (!all.nlines) {
        free(all.lines);
        all.lines = NULL;
        all.cap = 0;
    }
    unlock();
    PQfinish(conn);
    if (fd >= 0)
        close(fd);
}

/* ---- cancelling ------------------------------------------------------------------------------ */

static void *run_cancel(void *arg)
{
    char text[256];

    PQcancel(arg, text, sizeof(text));
    PQfreeCancel(arg);
    lock();
    all.cancels--;
    pthread_cond_broadcast(&all.news);
    unlock();
    return NULL;
}

void pg_cancel(struct pg_conn *conn)
{
    PGcancel *cancel = PQgetCancel(conn);

    if (!cancel)
        return;
    lock();
    all.cancels++;
    bool started = start_detached(run_cancel, cancel);
    all.cancels -= !started;
    unlock();
    if (!started)
        PQfreeCancel(cancel);
}

void pg_await_cancels(void)
{
    int64_t until_us = clock_us() + (int64_t)CANCEL_WAIT_MS * 1000;
    struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};

    lock();
    for (int rc = 0; all.cancels && rc == 0;)
        rc = pthread_cond_timedwait(&all.news, &all.mutex, &until);
    unlock();
}

/* ---- the end --------------------------------------------------------------------------------- */

void pg_leave_alone(struct pg_conn *conn, bool alone)
{
    lock();
    struct line *line = find_line(conn);
    if (line)
        line->left_alone = alone;
    if (line && !alone && all.stopping && line->fd >= 0)
        shutdown(line->fd, SHUT_RDWR);
    unlock();
}

void pg_stop(void)
{
    pg_await_cancels();
    lock();
    all.stopping = true;
    for (size_t i = 0; i < all.nlines; i++) {
        if (!all.lines[i].left_alone && all.lines[i].fd >= 0)
            shutdown(all.lines[i].fd, SHUT_RDWR);
    }
    pthread_cond_broadcast(&all.news);
    unlock();
}
