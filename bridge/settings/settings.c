/*
 * The table of settings, in the order in which help and docs/CONFIG.md show
 * them; those of one section stand together.
 */
#include "settings/setting.h"

#define FIELD(member) .at = offsetof(struct config, member)
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define KB INT64_C(1024)
#define MB (1024 * KB)
#define GB (1024 * MB)

static const char *const log_levels[] = {
    [LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug", NULL};
static const char *const log_formats[] = {[LOG_LOGFMT] = "logfmt", [LOG_JSON] = "json", NULL};

const struct setting settings[] = {
    {.section = "database",
     .name = "url",
     .env = {"TOMBOLO_DATABASE_URL", "DATABASE_URL"},
     .flag = "database-url",
     .type = SETTING_URL,
     FIELD(database_url),
     .initial = "",
     .help = "The Postgres to follow, as libpq takes it: postgresql://user:password@host:5432/name "
             "or host=... dbname=... user=.... It must be a direct connection, not one through a "
             "pooler, and its user must be allowed to replicate. Required. Other users of the "
             "machine can read a command line: a password belongs into the file or the "
             "environment."},
    {.section = "database",
     .name = "stream_id",
     .env = {"TOMBOLO_STREAM_ID"},
     .flag = "stream-id",
     .type = SETTING_NAME,
     FIELD(stream_id),
     .initial = "default",
     .help = "Tells bridges on one database apart: publication and replication slot are named for "
             "it. Two bridges with the same id take turns; the second waits until the first has "
             "gone."},
    {.section = "database",
     .name = "snapshot_workers",
     .env = {"TOMBOLO_SNAPSHOT_WORKERS"},
     .flag = "snapshot-workers",
     .type = SETTING_INT,
     FIELD(snapshot_workers),
     .initial = "4",
     .min = 1,
     .max = 64,
     .help = "How many shapes can take their first rows from Postgres at a time; each uses a "
             "connection."},
    {.section = "database",
     .name = "snapshot_timeout",
     .env = {"TOMBOLO_SNAPSHOT_TIMEOUT"},
     .flag = "snapshot-timeout",
     .type = SETTING_DURATION,
     FIELD(snapshot_timeout_ms),
     .initial = "30s",
     .min = 100,
     .max = 24 * HOUR,
     .help = "How long a snapshot may take until its first row. After that the request is told to "
             "come again."},
    {.section = "database",
     .name = "lock_timeout",
     .env = {"TOMBOLO_LOCK_TIMEOUT"},
     .flag = "lock-timeout",
     .type = SETTING_DURATION,
     FIELD(lock_timeout_ms),
     .initial = "5s",
     .min = 10,
     .max = HOUR,
     .help = "How long to wait for a lock on a table, when the table joins the publication or gets "
             "its replica identity, before letting go and trying again: whoever queues behind us "
             "waits as long."},
    {.section = "database",
     .name = "catalog_interval",
     .env = {"TOMBOLO_CATALOG_INTERVAL"},
     .flag = "catalog-interval",
     .type = SETTING_DURATION,
     FIELD(catalog_interval_ms),
     .initial = "10s",
     .min = 100,
     .max = HOUR,
     .help = "How often the catalogue is compared with what is known, for schema changes that "
             "replication does not tell of (a rewritten column, a partition attached, a table "
             "dropped)."},

    {.section = "storage",
     .name = "data_dir",
     .env = {"TOMBOLO_DATA_DIR"},
     .flag = "data-dir",
     .type = SETTING_TEXT,
     FIELD(data_dir),
     .initial = "./tombolo-data",
     .help =
         "The folder of the shape log and its catalogue; made if it is not there. It belongs to "
         "one bridge. Lost, it costs every client a refetch, and no row."},
    {.section = "storage",
     .name = "segment_size",
     .env = {"TOMBOLO_SEGMENT_SIZE"},
     .flag = "segment-size",
     .type = SETTING_SIZE,
     FIELD(segment_size),
     .initial = "64MB",
     .min = 64 * KB,
     .max = 4 * GB - 1,
     .help = "At what size a segment file of the shape log is sealed and the next one begun. Disk "
             "space is given back by whole segments."},
    {.section = "storage",
     .name = "chunk_size",
     .env = {"TOMBOLO_CHUNK_SIZE"},
     .flag = "chunk-size",
     .type = SETTING_SIZE,
     FIELD(chunk_size),
     .initial = "10MB",
     .min = KB,
     .max = GB,
     .help = "How much of a shape's log one response of /v1/shape holds at most (a message more "
             "than that). Chunks of shapes that exist keep their bounds."},
    {.section = "storage",
     .name = "sync_interval",
     .env = {"TOMBOLO_SYNC_INTERVAL"},
     .flag = "sync-interval",
     .type = SETTING_DURATION,
     FIELD(sync_interval_ms),
     .initial = "100ms",
     .min = 1,
     .max = MINUTE,
     .help = "How often the log is written to disk for good (fdatasync), after which the slot is "
             "told. Nothing is lost in between: Postgres keeps what the slot has not confirmed."},

    {.section = "http",
     .name = "listen",
     .env = {"TOMBOLO_LISTEN"},
     .flag = "listen",
     .type = SETTING_ADDRESS,
     FIELD(listen),
     .initial = "127.0.0.1:3000",
     .help = "Where clients connect. 0.0.0.0:3000 is every IPv4 address of the machine, [::]:3000 "
             "every IPv6 one. Port 0 takes one that is free; the log names it."},
    {.section = "http",
     .name = "metrics_listen",
     .env = {"TOMBOLO_METRICS_LISTEN"},
     .flag = "metrics-listen",
     .type = SETTING_ADDRESS,
     FIELD(metrics_listen),
     .initial = "",
     .help = "Where GET /metrics answers Prometheus, without a secret: an address that only your "
             "monitoring can reach. Empty: nowhere."},
    {.section = "http",
     .name = "secret",
     .env = {"TOMBOLO_SECRET"},
     .flag = "secret",
     .type = SETTING_SECRET,
     FIELD(secret),
     .initial = "",
     .help = "What every request must present, as `Authorization: Bearer` or, on /v1/shape, as "
             "secret= in the query. Either this or insecure must be set, and not both. Other users "
             "of the machine can read a command line: it belongs into the file or the "
             "environment."},
    {.section = "http",
     .name = "insecure",
     .env = {"TOMBOLO_INSECURE"},
     .flag = "insecure",
     .type = SETTING_BOOL,
     FIELD(insecure),
     .initial = "false",
     .help =
         "Serve whoever can connect, without a secret: for trying things out, or behind a proxy "
         "that decides who may ask for what."},
    {.section = "http",
     .name = "threads",
     .env = {"TOMBOLO_HTTP_THREADS"},
     .flag = "http-threads",
     .type = SETTING_INT,
     FIELD(http_threads),
     .initial = "0",
     .max = 1024,
     .help = "How many threads answer requests. 0: one a core."},
    {.section = "http",
     .name = "max_connections",
     .env = {"TOMBOLO_MAX_CONNECTIONS"},
     .flag = "max-connections",
     .type = SETTING_INT,
     FIELD(max_connections),
     .initial = "0",
     .max = 10000000,
     .help = "How many clients may be connected at a time. 0: as many as the limit of open files "
             "(ulimit -n) allows."},
    {.section = "http",
     .name = "keepalive",
     .env = {"TOMBOLO_KEEPALIVE"},
     .flag = "keepalive",
     .type = SETTING_DURATION,
     FIELD(keepalive_ms),
     .initial = "10s",
     .min = 10,
     .max = HOUR,
     .help =
         "How long a live stream of /v1/sync may be silent before a keepalive is sent; it tells "
         "the client, and the proxies in between, that the stream is alive."},
    {.section = "http",
     .name = "send_timeout",
     .env = {"TOMBOLO_SEND_TIMEOUT"},
     .flag = "send-timeout",
     .type = SETTING_DURATION,
     FIELD(send_timeout_ms),
     .initial = "60s",
     .min = 10,
     .max = 24 * HOUR,
     .help = "How long a client may take nothing of what waits for it before it is disconnected."},
    {.section = "http",
     .name = "header_timeout",
     .env = {"TOMBOLO_HEADER_TIMEOUT"},
     .flag = "header-timeout",
     .type = SETTING_DURATION,
     FIELD(header_timeout_ms),
     .initial = "10s",
     .min = 10,
     .max = HOUR,
     .help = "How long a request's line and headers may take to arrive, from their first byte to "
             "their last."},
    {.section = "http",
     .name = "body_timeout",
     .env = {"TOMBOLO_BODY_TIMEOUT"},
     .flag = "body-timeout",
     .type = SETTING_DURATION,
     FIELD(body_timeout_ms),
     .initial = "30s",
     .min = 10,
     .max = HOUR,
     .help = "How long a request's body may take to arrive, all of it."},
    {.section = "http",
     .name = "idle_timeout",
     .env = {"TOMBOLO_IDLE_TIMEOUT"},
     .flag = "idle-timeout",
     .type = SETTING_DURATION,
     FIELD(idle_timeout_ms),
     .initial = "60s",
     .min = 10,
     .max = 24 * HOUR,
     .help = "How long a connection may be kept open without a request. A proxy in front should "
             "give up its idle connections sooner than this."},
    {.section = "http",
     .name = "shutdown_timeout",
     .env = {"TOMBOLO_SHUTDOWN_TIMEOUT"},
     .flag = "shutdown-timeout",
     .type = SETTING_DURATION,
     FIELD(shutdown_timeout_ms),
     .initial = "10s",
     .max = HOUR,
     .reloadable = true,
     .help = "How long requests under way have to finish after SIGTERM before they are cut off."},

    {.section = "shapes",
     .name = "max",
     .env = {"TOMBOLO_MAX_SHAPES"},
     .flag = "max-shapes",
     .type = SETTING_INT,
     FIELD(max_shapes),
     .initial = "0",
     .max = 1000000000,
     .help = "How many shapes there may be at a time, of all clients. 0: no limit."},
    {.section = "shapes",
     .name = "max_per_request",
     .env = {"TOMBOLO_MAX_SHAPES_PER_REQUEST"},
     .flag = "max-shapes-per-request",
     .type = SETTING_INT,
     FIELD(max_shapes_per_request),
     .initial = "100",
     .min = 1,
     .max = 100000,
     .help = "How many shapes one request of /v1/sync may name."},

    {.section = "shapes",
     .name = "log_growth",
     .env = {"TOMBOLO_LOG_GROWTH"},
     .flag = "log-growth",
     .type = SETTING_INT,
     FIELD(log_growth),
     .initial = "8",
     .min = 0,
     .max = 1000000,
     .help = "A shape whose changes have grown to this many times the size of its snapshot, and "
             "past 64 MB, begins anew: its clients fetch it once more. 0: never."},
    {.section = "logging",
     .name = "level",
     .env = {"TOMBOLO_LOG_LEVEL"},
     .flag = "log-level",
     .type = SETTING_CHOICE,
     FIELD(log_level),
     .initial = "info",
     .choices = log_levels,
     .reloadable = true,
     .help = "The least weighty lines that are written."},
    {.section = "logging",
     .name = "format",
     .env = {"TOMBOLO_LOG_FORMAT"},
     .flag = "log-format",
     .type = SETTING_CHOICE,
     FIELD(log_format),
     .initial = "logfmt",
     .choices = log_formats,
     .reloadable = true,
     .help = "How a line is written to standard error: key=value pairs, or a JSON object."},
};

const size_t nsettings = sizeof(settings) / sizeof(settings[0]);

/* A field of CHOICE is written as an int. */
_Static_assert(sizeof(enum log_level) == sizeof(int), "choices are ints");
_Static_assert(sizeof(enum log_format) == sizeof(int), "choices are ints");

const struct setting *setting_find(const char *section, const char *name)
{
    for (size_t i = 0; i < nsettings; i++) {
        if (strcmp(settings[i].section, section) == 0 && strcmp(settings[i].name, name) == 0)
            return &settings[i];
    }
    return NULL;
}
