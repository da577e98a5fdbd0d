/*
 * The metrics as text: for each its HELP and TYPE, then a line a series.
 *
 *     # HELP tombolo_http_requests_total Requests answered, by status class.
 *     # TYPE tombolo_http_requests_total counter
 *     tombolo_http_requests_total{class="2xx"} 17
 */
#include "metrics/metrics.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char *const http_classes[] = {"1xx", "2xx", "3xx", "4xx", "5xx"};
static const char *const writes[] = {"applied", "partly", "rejected", "repeated", "again"};
static const char *const states[] = {"starting", "waiting", "active"};
static const char *const wal_statuses[] = {"none", "reserved", "extended", "unreserved", "lost"};
static const char *const kafka_states[] = {"off", "connecting", "publishing", "behind", "failed"};
static const char *const err_names[] = {
#define X(code, retriable, text) [code] = #code,
    ERR_MAP(X)
#undef X
};

/* `name` is the whole one; help has neither backslash nor line feed. */
static void put_head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* ERR_DISK_FULL is kind="disk_full". */
static void put_err_kind(struct buf *out, enum err_code code)
{
    for (const char *p = err_names[code] + strlen("ERR_"); *p; p++)
        buf_put_u8(out, (uint8_t)tolower((unsigned char)*p));
}

static void put_seconds(struct buf *out, uint64_t us)
{
    buf_printf(out, "%" PRIu64 ".%06" PRIu64, us / 1000000, us % 1000000);
}

static void put_counter(struct buf *out, enum metric_counter counter, const char *name,
                        const char *label, unsigned n, const char *help)
{
    put_head(out, name, "counter", help);
    for (unsigned i = counter == METRIC_ERRORS ? ERR_NONE + 1 : 0; i < n; i++) {
        buf_put_cstr(out, name);
        if (label)
            buf_printf(out, "{%s=\"", label);
        if (counter == METRIC_ERRORS)
            put_err_kind(out, (enum err_code)i);
        else if (counter == METRIC_HTTP_REQUESTS)
            buf_put_cstr(out, http_classes[i]);
        else if (counter == METRIC_WRITES)
            buf_put_cstr(out, writes[i]);
        buf_put_cstr(out, label ? "\"} " : " ");
        if (counter == METRIC_WRITE_SECONDS)
            put_seconds(out, metric_counter_value(counter, i));
        else
            buf_put_dec(out, metric_counter_value(counter, i));
        buf_put_u8(out, '\n');
    }
}

static void put_states(struct buf *out, enum metric_gauge gauge, const char *name,
                       const char *label, unsigned n)
{
    const char *const *words = gauge == METRIC_STATE         ? states
                               : gauge == METRIC_KAFKA_STATE ? kafka_states
                                                             : wal_statuses;
    uint64_t now = metric_gauge_value(gauge);

    for (unsigned i = 0; i < n; i++)
        buf_printf(out, "%s{%s=\"%s\"} %d\n", name, label, words[i], i == now);
}

static void put_gauge(struct buf *out, enum metric_gauge gauge, enum metric_form form,
                      const char *name, const char *label, unsigned n, const char *help)
{
    uint64_t value = metric_gauge_value(gauge);

    put_head(out, name, "gauge", help);
    if (form == METRIC_STATES)
        put_states(out, gauge, name, label, n);
    else {
        buf_printf(out, "%s ", name);
        if (form == METRIC_SECONDS)
            put_seconds(out, value);
        else
            buf_put_dec(out, value);
        buf_put_u8(out, '\n');
    }
}

static void put_level(struct buf *out, enum metric_level level, const char *name, const char *help)
{
    put_head(out, name, "gauge", help);
    buf_printf(out, "%s %" PRId64 "\n", name, metric_level_value(level));
}

/* Resident pages are the second number of /proc/self/statm. */
static void put_memory(struct buf *out)
{
    FILE *f = fopen("/proc/self/statm", "re");
    uint64_t resident;

    if (f && fscanf(f, "%*u %" SCNu64, &resident) == 1) {
        put_head(out, "process_resident_memory_bytes", "gauge", "Resident memory in bytes.");
        buf_printf(out, "process_resident_memory_bytes %" PRIu64 "\n",
                   resident * (uint64_t)sysconf(_SC_PAGESIZE));
    }
    if (f)
        fclose(f);
}

static void put_cpu(struct buf *out)
{
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return;
    int64_t us = (int64_t)usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    int64_t s = (int64_t)usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + us / 1000000;

    put_head(out, "process_cpu_seconds_total", "counter", "CPU time of user and system together.");
    buf_printf(out, "process_cpu_seconds_total %" PRId64 ".%06" PRId64 "\n", s, us % 1000000);
}

void metrics_write(struct buf *out)
{
    put_head(out, "tombolo_build_info", "gauge", "1, with the version of the bridge.");
    buf_put_cstr(out, "tombolo_build_info{version=\"" TOMBOLO_VERSION "\"} 1\n");
#define X(id, form, name, label, n, help)                                                          \
    put_gauge(out, METRIC_##id, METRIC_##form, "tombolo_" name, label, n, help);
    METRIC_GAUGES(X)
#undef X
#define X(id, name, label, n, help) put_level(out, METRIC_##id, "tombolo_" name, help);
    METRIC_LEVELS(X)
#undef X
#define X(id, name, label, n, help) put_counter(out, METRIC_##id, "tombolo_" name, label, n, help);
    METRIC_COUNTERS(X)
#undef X
    put_memory(out);
    put_cpu(out);
}
