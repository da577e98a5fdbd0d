/*
 * How fast the shape log takes messages of 400 bytes, and gives them back.
 *
 *     bench_shapelog [rows] [folder]
 *
 *   one     rows in transactions of 1000 into one log
 *   many    rows in transactions of 1000, each row for a random one of 100,000 logs
 *   single  rows in transactions of one, published one by one (a tenth of the rows)
 *   read    all of "one" and of "many", by pread()
 *   open    the store that this has left
 *
 * Beside each stands the ceiling of the same bytes: pwrite() of 1 MB pieces into one file.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "shapelog/shapelog.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE 400u
#define LOGS 100000u
#define PER_TXN 1000u

struct bench {
    struct shapelog *store;
    struct lane *lane;
    struct log **logs;
    struct table *table;
    lsn_t lsn;
    char message[MESSAGE];
};

static void check(bool ok, const struct err *err)
{
    if (ok)
        return;
    fprintf(stderr, "bench_shapelog: %s\n", err->msg);
    exit(1);
}

/* Wall clock and this thread's CPU: on a machine with others the second is the one to compare. */
struct stopwatch {
    int64_t wall, cpu;
};

static struct stopwatch start_watch(void)
{
    return (struct stopwatch){clock_us(), clock_us_of(CLOCK_THREAD_CPUTIME_ID)};
}

static void report(const char *what, unsigned rows, struct stopwatch start)
{
    int64_t wall = clock_us() - start.wall, cpu = clock_us_of(CLOCK_THREAD_CPUTIME_ID) - start.cpu;

    printf("%-9s %9u rows  %7.3f s  %10.0f rows/s  %6.3f us/row  %6.3f us CPU/row\n", what, rows,
           (double)wall / 1e6, rows * 1e6 / (double)wall, (double)wall / rows, (double)cpu / rows);
}

static struct log *make_log(struct bench *b, unsigned i)
{
    struct shape *shape = xcalloc(1, sizeof(*shape));
    struct err err;
    bool made;

    atomic_init(&shape->refs, 2); /* never freed: the process ends first */
    shape->table = table_ref(b->table);
    shape->is.lo = hash_u64(i);
    struct log *log = shapelog_create(b->store, shape, &made, &err);

    check(log != NULL, &err);
    log_register(log, 0);
    return log;
}

/* One transaction of `n` rows; `spread`: over all logs but the first. */
static void transaction(struct bench *b, unsigned n, bool spread)
{
    const struct txn txn = {.commit_lsn = ++b->lsn, .end_lsn = b->lsn + 1, .xid = (uint32_t)b->lsn};
    struct err err;
    bool known;

    check(shapelog_begin(b->store, &txn, &known, &err), &err);
    for (unsigned i = 0; i < n; i++) {
        unsigned to = spread ? 1 + (unsigned)(hash_u64(b->lsn * PER_TXN + i) % (LOGS - 1)) : 0;

        check(shapelog_append(b->store, b->lane, (struct slice){b->message, MESSAGE}, i * 2u,
                              &b->logs[to], 1, &err),
              &err);
    }
    check(shapelog_commit(b->store, &txn, &err), &err);
    check(shapelog_publish(b->store, b->lsn, b->lsn + 1, &err), &err);
}

static void bench_append(struct bench *b, const char *what, unsigned rows, unsigned per,
                         bool spread)
{
    struct stopwatch start = start_watch();

    for (unsigned i = 0; i < rows; i += per)
        transaction(b, per, spread);
    report(what, rows, start);
}

static uint64_t read_all(struct bench *b, struct log *log, char *to, size_t size)
{
    struct log_cursor cursor = {0};
    struct log_run runs[64];
    uint64_t bytes = 0;
    struct err err;
    size_t n;

    do {
        check(log_read(b->store, log, &cursor, UINT64_MAX, runs, 64, &n, &err), &err);
        for (size_t i = 0; i < n; i++) {
            size_t len = runs[i].len < size ? runs[i].len : size;

            if (pread(runs[i].fd, to, len, (off_t)runs[i].offset) != (ssize_t)len)
                exit(1);
            bytes += runs[i].len + 1;
        }
        log_runs_release(runs, n);
    } while (n > 0);
    return bytes;
}

static void bench_read(struct bench *b, const char *what, unsigned from, unsigned to)
{
    const size_t size = (size_t)1 << 20;
    char *buffer = xmalloc(size);
    uint64_t bytes = 0;
    struct stopwatch start = start_watch();

    for (unsigned i = from; i < to; i++)
        bytes += read_all(b, b->logs[i], buffer, size);
    report(what, (unsigned)(bytes / (MESSAGE + 1)), start);
    free(buffer);
}

static void bench_ceiling(const struct bench *b, const char *dir, unsigned rows)
{
    const size_t piece = (size_t)1 << 20;
    char *bytes = xcalloc(piece, 1), path[512];
    uint64_t total = (uint64_t)rows * MESSAGE;

    memcpy(bytes, b->message, MESSAGE);
    snprintf(path, sizeof(path), "%s/ceiling", dir);
    struct stopwatch start = start_watch();
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);

    for (uint64_t at = 0; at < total; at += piece) {
        if (pwrite(fd, bytes, piece, (off_t)at) != (ssize_t)piece)
            exit(1);
    }
    report("ceiling", rows, start);
    close(fd);
    unlink(path);
    free(bytes);
}

static void close_bench(struct bench *b)
{
    for (unsigned i = 0; i < LOGS; i++)
        log_unref(b->logs[i]);
    shapelog_lane_free(b->store, b->lane);
    shapelog_close(b->store);
}

int main(int argc, char **argv)
{
    unsigned rows = argc > 1 ? (unsigned)atoi(argv[1]) : 1000000;
    const struct shapelog_config config = {.dir = argc > 2 ? argv[2] : "bench_shapelog.data",
                                           .sync_interval_ms = 1000};
    struct bench b = {.table = table_new()};
    struct shapelog_stats stats;
    struct err err;

    memset(b.message, 'm', MESSAGE);
    b.store = shapelog_open(&config, &err);
    check(b.store != NULL, &err);
    check(shapelog_reset(b.store, "bench", &err), &err);
    b.lane = shapelog_lane_new(b.store);
    b.logs = xcalloc(LOGS, sizeof(struct log *));
    for (unsigned i = 0; i < LOGS; i++)
        b.logs[i] = make_log(&b, i);
    bench_append(&b, "one", rows, PER_TXN, false);
    bench_append(&b, "many", rows, PER_TXN, true);
    bench_append(&b, "single", rows / 10, 1, false);
    bench_ceiling(&b, config.dir, rows);
    bench_read(&b, "read one", 0, 1);
    bench_read(&b, "read many", 1, LOGS);
    shapelog_get_stats(b.store, &stats);
    printf("%llu segments, %llu bytes, %llu extents, %llu bytes of memory\n",
           (unsigned long long)stats.segments, (unsigned long long)stats.segment_bytes,
           (unsigned long long)stats.extents, (unsigned long long)stats.memory_bytes);
    close_bench(&b);
    struct stopwatch start = start_watch();
    b.store = shapelog_open(&config, &err);
    check(b.store != NULL, &err);
    report("open", rows, start);
    shapelog_close(b.store);
    return 0;
}
