/*
 * The cells. Counters and levels have one cell a series in each shard; a thread
 * is given a shard when it first adds, and shares it only when there are more
 * threads than shards (so the adding is atomic all the same). A shard begins at
 * a cache line of its own. Nothing here orders memory: a sum is right as soon as
 * the cells are seen.
 */
#include "metrics/metrics.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

#define NSHARDS 64
#define CACHE_LINE 64

struct shard {
    alignas(CACHE_LINE) _Atomic uint64_t counters[METRIC_NCOUNTERS];
    _Atomic uint64_t levels[METRIC_NLEVELS]; /* modulo 2^64: the sum over all shards is right */
};

static struct shard shards[NSHARDS];
static _Atomic uint64_t gauges[METRIC_NGAUGES];
static _Atomic unsigned nthreads;
static _Thread_local struct shard *own_shard;

static struct shard *shard(void)
{
    if (!own_shard)
        own_shard =
            &shards[atomic_fetch_add_explicit(&nthreads, 1, memory_order_relaxed) % NSHARDS];
    return own_shard;
}

void metric_add_at(enum metric_counter counter, unsigned value, uint64_t n)
{
    atomic_fetch_add_explicit(&shard()->counters[counter + value], n, memory_order_relaxed);
}

void metric_add(enum metric_counter counter, uint64_t n)
{
    metric_add_at(counter, 0, n);
}

void metric_move(enum metric_level level, int64_t by)
{
    atomic_fetch_add_explicit(&shard()->levels[level], (uint64_t)by, memory_order_relaxed);
}

void metric_set(enum metric_gauge gauge, uint64_t value)
{
    atomic_store_explicit(&gauges[gauge], value, memory_order_relaxed);
}

void metric_error(const struct err *err)
{
    if (err->code != ERR_NONE)
        metric_add_at(METRIC_ERRORS, err->code, 1);
}

void metric_http_request(int status)
{
    if (status >= 100 && status < 600)
        metric_add_at(METRIC_HTTP_REQUESTS, (unsigned)(status / 100 - 1), 1);
}

void metric_slot_wal_status(const char *wal_status)
{
    static const char *const words[] = {
        [METRIC_WAL_RESERVED] = "reserved",
        [METRIC_WAL_EXTENDED] = "extended",
        [METRIC_WAL_UNRESERVED] = "unreserved",
        [METRIC_WAL_LOST] = "lost",
    };
    unsigned status = METRIC_WAL_LOST;

    while (status > METRIC_WAL_NONE && !(wal_status && strcmp(words[status], wal_status) == 0))
        status--;
    metric_set(METRIC_SLOT_WAL_STATUS, status);
}

uint64_t metric_counter_value(enum metric_counter counter, unsigned value)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < NSHARDS; i++)
        sum += atomic_load_explicit(&shards[i].counters[counter + value], memory_order_relaxed);
    return sum;
}

int64_t metric_level_value(enum metric_level level)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < NSHARDS; i++)
        sum += atomic_load_explicit(&shards[i].levels[level], memory_order_relaxed);
    return (int64_t)sum;
}

uint64_t metric_gauge_value(enum metric_gauge gauge)
{
    return atomic_load_explicit(&gauges[gauge], memory_order_relaxed);
}
