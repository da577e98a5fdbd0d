/*
 * The settings of `tombolo serve`. One table (settings.c) says of each its name
 * in tombolo.ini, its environment names, its flag, its type, default and help;
 * reading, `--help`, docs/CONFIG.md and reload all walk that table.
 *
 * A value is taken from the last of these that has one:
 *
 *     default  <  tombolo.ini  <  environment  <  flag
 *
 * The file is the one that --config or TOMBOLO_CONFIG names, which must exist,
 * else ./tombolo.ini if it is there. An environment variable that is empty
 * counts as not set. TOMBOLO_* variables that are no setting are ignored:
 * Kubernetes makes such for a service called tombolo. Electric's variables that
 * mean the same as a setting count behind our own (electric.c).
 *
 * To add a setting: a field here, a row in settings.c, then the target
 * `config_md` writes docs/CONFIG.md.
 */
#ifndef SETTINGS_CONFIG_H
#define SETTINGS_CONFIG_H

#include "base/err.h"
#include "base/logging.h"

#include <stdint.h>
#include <stdio.h>

struct buf;

/* Where to listen. Port 0 lets the kernel choose; an empty host means "off". */
struct config_address {
    char host[254]; /* a name or an address; IPv6 without its brackets */
    uint16_t port;
};

/* Properties of librdkafka, in no order, names in small letters. */
struct config_property {
    char *name, *value;
};

struct config_properties {
    struct config_property *list;
    size_t n;
};

/* Plain values, written by config_load() and config_reload() alone; the strings belong to the
 * config, are never NULL, and stay until config_free(). Sizes are bytes, durations milliseconds. */
struct config {
    bool help;  /* --help was given: nothing else is filled in */
    char *file; /* that was read; "": there was none. It has the rules too: rules/site.h */

    char *database_url; /* a URL or key=value pairs, for libpq; holds a password: see config_mask */
    char *stream_id;
    char *source; /* "": the replication slot */
    int64_t snapshot_workers;
    int64_t snapshot_timeout_ms;
    int64_t lock_timeout_ms;
    int64_t catalog_interval_ms;
    bool manual_table_publishing;

    char *data_dir;
    int64_t segment_size;
    int64_t chunk_size;
    int64_t sync_interval_ms;
    int64_t unread_subsets;

    struct config_address listen;
    struct config_address metrics_listen; /* off: an empty host */
    char *secret;                         /* "" exactly when `insecure` */
    bool insecure;
    int64_t http_threads;    /* 0: one a core */
    int64_t max_connections; /* 0: what the limit of open files allows */
    int64_t keepalive_ms;
    int64_t refusal_interval_ms;
    int64_t long_poll_timeout_ms;
    int64_t cache_max_age_ms, cache_stale_age_ms;
    int64_t max_concurrent_initial, max_concurrent_existing; /* 0: no limit */
    bool allow_delete;
    int64_t encoded_cache; /* 0: large bodies are not encoded */
    int64_t send_timeout_ms;
    int64_t header_timeout_ms;
    int64_t body_timeout_ms;
    int64_t idle_timeout_ms;
    int64_t shutdown_timeout_ms;

    char *token_secret, *token_key_file, *token_jwks_file; /* all "": no tokens */
    char *token_audience, *token_issuer;                   /* "": not looked at */
    int64_t token_leeway_ms;
    bool token_require_exp;

    int64_t max_unseen;
    int64_t max_shapes; /* 0: no limit */
    int64_t max_shapes_per_request;
    int64_t log_growth; /* 0: no limit */

    int64_t write_connections;
    int64_t write_body;         /* of one request ... */
    int64_t write_transactions; /* ... how much there may be in it */
    int64_t write_mutations;
    int64_t write_timeout_ms;
    int64_t write_memory_ms, write_replicas, write_replica_memory_ms;

    char *kafka_brokers; /* "": nothing is published */
    char *kafka_prefix;
    bool kafka_stream, kafka_topics;
    char *kafka_tables; /* patterns, with commas in between */
    int64_t kafka_partitions;
    int64_t kafka_replication_factor; /* 0: the brokers' default */
    int64_t kafka_message_max;
    enum { KAFKA_TOO_LARGE_FAIL, KAFKA_TOO_LARGE_WITHOUT_BEFORE } kafka_too_large;
    int64_t kafka_spool;
    bool kafka_transactions;
    enum { KAFKA_SNAPSHOT_INITIAL, KAFKA_SNAPSHOT_NEVER } kafka_snapshot;
    int kafka_decimal_mode;  /* precise, string, double */
    int kafka_time_mode;     /* adaptive, adaptive_time_microseconds, connect */
    int kafka_binary_mode;   /* bytes, base64, base64-url-safe, hex */
    int kafka_interval_mode; /* numeric, string */
    int kafka_hstore_mode;   /* json, map */
    bool kafka_schemas_enable;
    bool kafka_tombstones;
    bool kafka_transaction_metadata;
    int64_t kafka_heartbeat_ms; /* 0: never */
    char *kafka_skipped;        /* letters, with commas in between, or "none" */
    char *kafka_placeholder;
    struct config_properties kafka_properties; /* [kafka] property.NAME */

    enum log_level log_level;
    enum log_format log_format;
};

/* Reads file, environment and flags; argv[0] is skipped, as in main(). On failure (ERR_CONFIG; the
 * message names file:line, variable or flag, the value unless it is secret, and what is allowed)
 * the config is empty. Keeps nothing of argv. Not for two threads at a time (getopt, getenv). */
bool config_load(struct config *config, int argc, char **argv, struct err *err) MUST_CHECK;
/* Reads all anew, for SIGHUP: takes on the settings that can change while running (numbers and
 * choices alone, so no string moves but `file`), and adds to `restart` the names of those that have
 * changed but need a restart, as "[http] listen, [http] secret". On failure nothing changes. The
 * caller sees to it that no other thread reads the config meanwhile. */
bool config_reload(struct config *config, int argc, char **argv, struct buf *restart,
                   struct err *err) MUST_CHECK;
/* Whether there are keys for tokens. */
bool config_has_tokens(const struct config *config);
/* Gives the strings back; the config is empty afterwards. */
void config_free(struct config *config);

/* Adds the names of Electric's variables that are set and have no counterpart here, as "A, B". */
void config_electric_ignored(struct buf *out);

/* Whether a property's value must not be shown. */
bool config_property_is_secret(const char *name);

/* What `tombolo serve --help` says. */
void config_print_help(FILE *out);
/* docs/CONFIG.md. */
void config_print_doc(FILE *out);
/* The settings in force, "[section] name = value" a line, secrets masked. */
void config_print_values(const struct config *config, FILE *out);

/* Adds a connection string with every password in it replaced by "***"; what cannot be read as
 * one is masked as a whole. Rather hides too much than too little. */
void config_mask(struct buf *out, const char *database_url);

#endif
