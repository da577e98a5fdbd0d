#include "metrics/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define SERIES_MAX 512
#define LINE_MAX_LEN 512
#define NAME_CHARS "abcdefghijklmnopqrstuvwxyz0123456789_"

static char *exposed(void)
{
    struct buf out;

    buf_init(&out, BUF_NO_LIMIT);
    metrics_write(&out);
    char *text = strdup(buf_cstr(&out));

    buf_release(&out);
    return text;
}

/*
 * A checker of the text format, stricter than Prometheus: HELP, TYPE and at
 * least one sample for each family, families whole and only once, no series
 * twice, counters and only they named _total.
 */
struct checker {
    char family[128], type[16];
    bool typed, sampled;
    char seen[SERIES_MAX][LINE_MAX_LEN]; /* families and series */
    size_t nseen;
};

static void must(bool fact, const char *what, const char *line)
{
    if (!fact)
        fail_msg("%s: %s", what, line);
}

static void see_once(struct checker *c, const char *what, const char *line)
{
    for (size_t i = 0; i < c->nseen; i++)
        must(strcmp(c->seen[i], what) != 0, "seen before", line);
    must(c->nseen < SERIES_MAX, "too many", line);
    snprintf(c->seen[c->nseen++], LINE_MAX_LEN, "%s", what);
}

static void check_help(struct checker *c, const char *line)
{
    size_t len = strcspn(line + 7, " ");
    char name[sizeof(c->family)];

    must(c->nseen == 0 || c->sampled, "the family before has no sample", line);
    must(len > 0 && len < sizeof(c->family) && strspn(line + 7, NAME_CHARS) == len, "name", line);
    snprintf(name, sizeof(name), "%.*s", (int)len, line + 7);
    memcpy(c->family, name, sizeof(name));
    must(strlen(line + 7 + len) > 5 && !strchr(line, '\\'), "help text", line);
    c->typed = c->sampled = false;
    see_once(c, name, line);
}

static void check_type(struct checker *c, const char *line)
{
    char name[128];
    size_t len = strlen(c->family);

    must(sscanf(line, "# TYPE %127s %15s", name, c->type) == 2, "type line", line);
    must(strcmp(name, c->family) == 0 && !c->typed, "type of another family", line);
    bool counter = strcmp(c->type, "counter") == 0;
    must(counter || strcmp(c->type, "gauge") == 0, "type", line);
    must(counter == (len > 6 && strcmp(c->family + len - 6, "_total") == 0), "_total", line);
    c->typed = true;
}

/* {label="value"}; returns what is behind. */
static const char *check_label(const char *p, const char *line)
{
    size_t len = strspn(p + 1, NAME_CHARS);

    must(len > 0 && strncmp(p + 1 + len, "=\"", 2) == 0, "label", line);
    p += len + 3;
    len = strspn(p, NAME_CHARS ".");
    must(len > 0 && strncmp(p + len, "\"}", 2) == 0, "label value", line);
    return p + len + 2;
}

static void check_sample(struct checker *c, const char *line)
{
    size_t len = strspn(line, NAME_CHARS);
    const char *p = line + len;
    char series[LINE_MAX_LEN], *end;

    must(c->typed && len == strlen(c->family) && strncmp(line, c->family, len) == 0,
         "sample of another family", line);
    if (*p == '{')
        p = check_label(p, line);
    must(*p == ' ', "space", line);
    snprintf(series, sizeof(series), "%.*s ", (int)(p - line), line);
    see_once(c, series, line);
    must(strspn(p + 1, "-.0123456789") == strlen(p + 1) && p[1], "value", line);
    double value = strtod(p + 1, &end);
    must(*end == '\0' && (value >= 0 || strcmp(c->type, "gauge") == 0), "number", line);
    c->sampled = true;
}

static void check_exposition(const char *text)
{
    struct checker c = {0};

    for (const char *p = text; *p;) {
        char line[LINE_MAX_LEN];
        size_t len = strcspn(p, "\n");

        must(p[len] == '\n' && len < sizeof(line), "line feed", p);
        snprintf(line, sizeof(line), "%.*s", (int)len, p);
        if (strncmp(line, "# HELP ", 7) == 0)
            check_help(&c, line);
        else if (strncmp(line, "# TYPE ", 7) == 0)
            check_type(&c, line);
        else
            check_sample(&c, line);
        p += len + 1;
    }
    must(c.sampled, "the last family has no sample", text);
}

/* The line of one series, whole. */
static void assert_line(const char *line)
{
    char *text = exposed();
    char whole[LINE_MAX_LEN];

    snprintf(whole, sizeof(whole), "\n%s\n", line);
    if (!strstr(text, whole))
        fail_msg("\"%s\" is not in:\n%s", line, text);
    free(text);
}

static void test_exposition_is_well_formed_before_and_after_use(void **state)
{
    char *text = exposed();

    (void)state;
    check_exposition(text);
    free(text);
    for (unsigned i = 0; i < METRIC_NCOUNTERS; i++)
        metric_add_at((enum metric_counter)0, i, UINT64_MAX / 100);
    for (unsigned i = 0; i < METRIC_NLEVELS; i++)
        metric_move((enum metric_level)i, -1);
    for (unsigned i = 0; i < METRIC_NGAUGES; i++)
        metric_set((enum metric_gauge)i, UINT64_MAX);
    text = exposed();
    check_exposition(text);
    free(text);
    for (unsigned i = 0; i < METRIC_NCOUNTERS; i++)
        metric_add_at((enum metric_counter)0, i, 0 - UINT64_MAX / 100);
    for (unsigned i = 0; i < METRIC_NLEVELS; i++)
        metric_move((enum metric_level)i, 1);
    for (unsigned i = 0; i < METRIC_NGAUGES; i++)
        metric_set((enum metric_gauge)i, 0);
}

static void test_counter_level_and_gauge_show_what_was_done(void **state)
{
    (void)state;
    metric_add(METRIC_ROWS_IN, 2);
    metric_add(METRIC_ROWS_IN, 40);
    assert_line("tombolo_rows_in_total 42");
    metric_move(METRIC_CLIENTS, 3);
    metric_move(METRIC_CLIENTS, -1);
    assert_line("tombolo_clients 2");
    metric_set(METRIC_WAL_RECEIVED_LSN, UINT64_C(0xFFFFFFFF00000001));
    assert_line("tombolo_wal_received_lsn 18446744069414584321");
    metric_set(METRIC_WAL_LAG_SECONDS, 1900042);
    assert_line("tombolo_wal_lag_seconds 1.900042");
    assert_line("tombolo_build_info{version=\"" TOMBOLO_VERSION "\"} 1");
}

static void test_requests_are_counted_by_class_and_errors_by_kind(void **state)
{
    struct err err = {.code = ERR_NONE};

    (void)state;
    metric_http_request(200);
    metric_http_request(299);
    metric_http_request(503);
    metric_http_request(99);
    metric_http_request(600);
    assert_line("tombolo_http_requests_total{class=\"1xx\"} 0");
    assert_line("tombolo_http_requests_total{class=\"2xx\"} 2");
    assert_line("tombolo_http_requests_total{class=\"5xx\"} 1");
    metric_error(&err);
    err_set(&err, ERR_DISK_FULL, "no space left");
    metric_error(&err);
    err_set(&err, ERR_LIMIT, "too much");
    metric_error(&err);
    assert_line("tombolo_errors_total{kind=\"disk_full\"} 1");
    assert_line("tombolo_errors_total{kind=\"limit\"} 1");
    assert_line("tombolo_errors_total{kind=\"protocol\"} 0");
    char *text = exposed();
    assert_null(strstr(text, "kind=\"none\""));
    free(text);
    assert_int_equal(metric_counter_value(METRIC_HTTP_BYTES_SENT, 0), 0);
}

static void test_exactly_one_state_is_true(void **state)
{
    (void)state;
    assert_line("tombolo_state{state=\"starting\"} 1");
    metric_set(METRIC_STATE, METRIC_STATE_ACTIVE);
    assert_line("tombolo_state{state=\"starting\"} 0");
    assert_line("tombolo_state{state=\"active\"} 1");

    assert_line("tombolo_slot_wal_status{status=\"none\"} 1");
    metric_slot_wal_status("unreserved");
    assert_line("tombolo_slot_wal_status{status=\"none\"} 0");
    assert_line("tombolo_slot_wal_status{status=\"unreserved\"} 1");
    metric_slot_wal_status("a word of Postgres 30");
    assert_line("tombolo_slot_wal_status{status=\"none\"} 1");
    metric_slot_wal_status("lost");
    assert_line("tombolo_slot_wal_status{status=\"lost\"} 1");
    metric_slot_wal_status(NULL);
    assert_line("tombolo_slot_wal_status{status=\"none\"} 1");
}

#define NTHREADS 70 /* more than there are shards */
#define NADDS 1000

static void *add_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < NADDS; i++) {
        metric_add(METRIC_BYTES_APPENDED, 3);
        metric_move(METRIC_HTTP_CONNECTIONS, i % 2 ? -1 : 1);
        metric_set(METRIC_SHAPES, 5);
    }
    metric_move(METRIC_HTTP_CONNECTIONS, 1);
    return NULL;
}

static void test_no_count_of_any_thread_is_lost(void **state)
{
    pthread_t threads[NTHREADS];

    (void)state;
    for (int i = 0; i < NTHREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, NULL), 0);
    free(exposed());
    for (int i = 0; i < NTHREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(metric_counter_value(METRIC_BYTES_APPENDED, 0), 3 * NADDS * NTHREADS);
    assert_int_equal(metric_level_value(METRIC_HTTP_CONNECTIONS), NTHREADS);
    assert_int_equal(metric_gauge_value(METRIC_SHAPES), 5);
    /* What one thread has opened, another may close. */
    metric_move(METRIC_HTTP_CONNECTIONS, -NTHREADS);
    assert_line("tombolo_http_connections 0");
}

static void test_process_has_memory_and_cpu(void **state)
{
    char *text = exposed();
    const char *rss = strstr(text, "\nprocess_resident_memory_bytes ");
    const char *cpu = strstr(text, "\nprocess_cpu_seconds_total ");

    (void)state;
    assert_true(rss && cpu);
    assert_true(strtoull(rss + 31, NULL, 10) > 100000);
    assert_true(strtod(cpu + 27, NULL) < 1e6);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exposition_is_well_formed_before_and_after_use),
        cmocka_unit_test(test_counter_level_and_gauge_show_what_was_done),
        cmocka_unit_test(test_requests_are_counted_by_class_and_errors_by_kind),
        cmocka_unit_test(test_exactly_one_state_is_true),
        cmocka_unit_test(test_no_count_of_any_thread_is_lost),
        cmocka_unit_test(test_process_has_memory_and_cpu),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
