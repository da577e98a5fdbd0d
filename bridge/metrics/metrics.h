/*
 * What the bridge counts, for Prometheus. The tables below are all there is:
 * to add a metric is to add a row. Three kinds, each with a type of its own, so
 * that the compiler refuses the wrong verb:
 *
 *     counter   only grows; any thread            metric_add(METRIC_ROWS_IN, n)
 *     level     goes up and down; any thread      metric_move(METRIC_CLIENTS, -1)
 *     gauge     is set; the last one to set wins  metric_set(METRIC_SHAPES, n)
 *
 * A counter with a label stands for one series a value of the label; the value
 * is a number added to it, which metric_add_at() takes.
 *
 * Counters and levels are cheap in a hot path: each thread adds to cells in
 * cache lines of its own, which metrics_write() sums up. There is one set of
 * metrics a process, as of diagnostics; nothing has to be initialised.
 */
#ifndef METRICS_METRICS_H
#define METRICS_METRICS_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Values of labels. */
enum metric_write {
    METRIC_WRITE_APPLIED,
    METRIC_WRITE_PARTLY,
    METRIC_WRITE_REJECTED,
    METRIC_WRITE_REPEATED, /* decided by an earlier request */
    METRIC_WRITE_AGAIN,    /* to be sent again */
};
enum metric_http_class { METRIC_1XX, METRIC_2XX, METRIC_3XX, METRIC_4XX, METRIC_5XX };
/* pg_replication_slots.wal_status; NONE: there is no slot, or it was not yet looked at. */
enum metric_wal_status {
    METRIC_WAL_NONE,
    METRIC_WAL_RESERVED,
    METRIC_WAL_EXTENDED,
    METRIC_WAL_UNRESERVED,
    METRIC_WAL_LOST,
};
enum metric_state {
    METRIC_STATE_STARTING,
    METRIC_STATE_WAITING, /* another bridge has the slot */
    METRIC_STATE_ACTIVE,
};

#define METRIC_ONE_(code, retriable, text) +1
enum { METRIC_NERRORS = 0 ERR_MAP(METRIC_ONE_) };

/* id, name behind "tombolo_", label or NULL, its number of values (1 without), help. What is named
 * seconds is counted in microseconds. */
#define METRIC_COUNTERS(X)                                                                         \
    X(WAL_RECEIVED_BYTES, "wal_received_bytes_total", NULL, 1,                                     \
      "Bytes of logical messages received from Postgres.")                                         \
    X(TRANSACTIONS, "transactions_total", NULL, 1, "Transactions received and published.")         \
    X(ROWS_IN, "rows_in_total", NULL, 1, "Row changes received from Postgres.")                    \
    X(ROWS_OUT, "rows_out_total", NULL, 1,                                                         \
      "Messages appended to the logs of shapes: one change counts once for each of its shapes.")   \
    X(BYTES_APPENDED, "bytes_appended_total", NULL, 1, "Bytes appended to the shape log.")         \
    X(SNAPSHOTS, "snapshots_total", NULL, 1, "Snapshots of shapes completed.")                     \
    X(SNAPSHOT_ROWS, "snapshot_rows_total", NULL, 1, "Rows read by snapshots.")                    \
    X(SNAPSHOT_FAILURES, "snapshot_failures_total", NULL, 1, "Snapshots that failed.")             \
    X(SHAPES_ENDED, "shapes_ended_total", NULL, 1,                                                 \
      "Shapes whose clients had to fetch them anew (must-refetch).")                               \
    X(RECONNECTS, "reconnects_total", NULL, 1, "Times the replication connection was lost.")       \
    X(ERRORS, "errors_total", "kind", METRIC_NERRORS, "Errors, by their kind.")                    \
    X(HTTP_REQUESTS, "http_requests_total", "class", 5, "Requests answered, by status class.")     \
    X(TOKENS_VERIFIED, "tokens_verified_total", NULL, 1, "Tokens whose signature was verified.")   \
    X(TOKENS_CACHED, "tokens_cached_total", NULL, 1,                                               \
      "Tokens found among those that were verified before.")                                       \
    X(TOKENS_REFUSED, "tokens_refused_total", NULL, 1, "Tokens refused.")                          \
    X(TOKEN_KEYS_RELOADED, "token_keys_reloaded_total", NULL, 1,                                   \
      "Times that a file gave new keys for tokens.")                                               \
    X(HTTP_BYTES_SENT, "http_bytes_sent_total", NULL, 1, "Bytes sent to HTTP clients.")            \
    X(WRITES, "writes_total", "result", 5,                                                         \
      "Transactions of replicas that came by /v1/write, by what became of them.")                  \
    X(WRITE_REQUESTS, "write_requests_total", NULL, 1, "Requests of /v1/write answered.")          \
    X(WRITE_SECONDS, "write_seconds_total", NULL, 1,                                               \
      "How long these took together, waiting and at work.")                                        \
    X(KAFKA_RECORDS, "kafka_records_total", NULL, 1, "Records that Kafka has acknowledged.")       \
    X(KAFKA_BYTES, "kafka_bytes_total", NULL, 1, "Bytes of their keys and values.")                \
    X(KAFKA_ERRORS, "kafka_errors_total", NULL, 1,                                                 \
      "Troubles with Kafka: connections lost, deliveries failed.")

#define METRIC_LEVELS(X)                                                                           \
    X(CLIENTS, "clients", NULL, 1, "Replicas that follow shapes live at the moment (/v1/sync).")   \
    X(HTTP_CONNECTIONS, "http_connections", NULL, 1, "HTTP connections that are open.")

enum metric_form {
    METRIC_PLAIN,
    METRIC_SECONDS, /* set in microseconds, shown in seconds */
    METRIC_STATES,  /* set to a value of the label: its series is 1, the others are 0 */
};

/* id, form, name behind "tombolo_", label or NULL, its number of values, help */
#define METRIC_GAUGES(X)                                                                           \
    X(STATE, STATES, "state", "state", 3,                                                          \
      "1 for what the bridge does: starting, waiting for another bridge to let go of the slot, "   \
      "or active.")                                                                                \
    X(WAL_RECEIVED_LSN, PLAIN, "wal_received_lsn", NULL, 1,                                        \
      "Position in the WAL up to which it was received, in bytes.")                                \
    X(WAL_CONFIRMED_LSN, PLAIN, "wal_confirmed_lsn", NULL, 1,                                      \
      "Position in the WAL that the slot was told is safely stored, in bytes.")                    \
    X(WAL_LAG_BYTES, PLAIN, "wal_lag_bytes", NULL, 1,                                              \
      "WAL that the server has written and the bridge has not published.")                         \
    X(WAL_LAG_SECONDS, SECONDS, "wal_lag_seconds", NULL, 1,                                        \
      "Age of the transaction published last when it was published; 0 when there is no more.")     \
    X(SLOT_WAL_STATUS, STATES, "slot_wal_status", "status", 5,                                     \
      "1 for the slot's wal_status as Postgres gives it, or none when there is no slot.")          \
    X(SLOT_RETAINED_BYTES, PLAIN, "slot_retained_bytes", NULL, 1,                                  \
      "WAL that the server keeps because of the slot.")                                            \
    X(SOURCE_OFFSET, PLAIN, "source_offset", NULL, 1,                                              \
      "Offset of the record of the stream's topic that a fan-out node reads next.")                \
    X(SOURCE_UP, PLAIN, "source_up", NULL, 1,                                                      \
      "1 while a fan-out node knows of no trouble with the brokers.")                              \
    X(WRITES_WAITING, PLAIN, "writes_waiting", NULL, 1,                                            \
      "Requests of /v1/write that wait for a connection.")                                         \
    X(SHAPES, PLAIN, "shapes", NULL, 1, "Shapes that are kept.")                                   \
    X(SHAPE_REQUESTS, PLAIN, "shape_requests", NULL, 1,                                            \
      "Requests to /v1/shape that wait for changes or are being answered.")                        \
    X(LOG_SEGMENT_BYTES, PLAIN, "log_segment_bytes", NULL, 1,                                      \
      "Size of the shape log's segment files.")                                                    \
    X(LOG_SNAPSHOT_BYTES, PLAIN, "log_snapshot_bytes", NULL, 1,                                    \
      "Size of the shape log's snapshot files.")                                                   \
    X(LOG_MEMORY_BYTES, PLAIN, "log_memory_bytes", NULL, 1,                                        \
      "Memory that the shape log's index takes.")                                                  \
    X(UNREAD_SUBSET_BYTES, PLAIN, "unread_subset_bytes", NULL, 1,                                  \
      "Size of the subsets that their clients have not read yet.")                                 \
    X(KAFKA_STATE, STATES, "kafka_state", "state", 5,                                              \
      "1 for what the publisher to Kafka does; off when nothing is published.")                    \
    X(KAFKA_SPOOL_BYTES, PLAIN, "kafka_spool_bytes", NULL, 1,                                      \
      "Size of the files that hold records which Kafka has not taken yet.")                        \
    X(KAFKA_ACKED_LSN, PLAIN, "kafka_acked_lsn", NULL, 1,                                          \
      "Position in the WAL up to which Kafka has acknowledged everything, in bytes.")              \
    X(KAFKA_LAG_BYTES, PLAIN, "kafka_lag_bytes", NULL, 1,                                          \
      "WAL that the server has written and Kafka has not acknowledged.")

enum metric_counter {
#define X(id, name, label, n, help) METRIC_##id, METRIC_##id##_LAST = METRIC_##id + (n)-1,
    METRIC_COUNTERS(X)
#undef X
        METRIC_NCOUNTERS
};

enum metric_level {
#define X(id, name, label, n, help) METRIC_##id,
    METRIC_LEVELS(X)
#undef X
        METRIC_NLEVELS
};

enum metric_gauge {
#define X(id, form, name, label, n, help) METRIC_##id,
    METRIC_GAUGES(X)
#undef X
        METRIC_NGAUGES
};

void metric_add(enum metric_counter counter, uint64_t n);
/* Adds to the series of one value of the label. */
void metric_add_at(enum metric_counter counter, unsigned value, uint64_t n);
void metric_move(enum metric_level level, int64_t by);
void metric_set(enum metric_gauge gauge, uint64_t value);

/* One error of err's kind; ERR_NONE is not counted. */
void metric_error(const struct err *err);
/* One answer with that status; one that is no HTTP status is not counted. */
void metric_http_request(int status);
/* "reserved" and so on, as Postgres spells it, into METRIC_SLOT_WAL_STATUS; NULL or another word
 * is NONE. */
void metric_slot_wal_status(const char *wal_status);

/* Now, over all threads. Another thread's adding may not be seen yet. */
uint64_t metric_counter_value(enum metric_counter counter, unsigned value);
int64_t metric_level_value(enum metric_level level);
uint64_t metric_gauge_value(enum metric_gauge gauge);

/* Adds everything in Prometheus's text format 0.0.4 (METRICS_CONTENT_TYPE), with what /proc/self
 * and getrusage() say of the process, under the names that Prometheus's own libraries use. */
void metrics_write(struct buf *out);

#endif
