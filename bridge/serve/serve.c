#include "serve/serve.h"
#include "base/logging.h"
#include "pg/pg.h"
#include "serve/bridge.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define REGISTER_TIMEOUT_MS 30000

enum exit_code { EXIT_CLEAN = 0, EXIT_FAILED = 1, EXIT_SETTINGS = 2 };

/* Signals are taken by sigwait() alone; every thread inherits the mask. */
static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* The soft limit of open files is kept low for programs that use select(), and this one does not:
 * each client is a file. Where it may not be raised, it stays. */
static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_debug("the limit of open files stays as it is", LOG_STR("error", strerror(errno)));
}

/* malloc would have eight heaps a core, and in each what is kept holds on to the room that was
 * needed in passing. The loops and the stream work all the time and have one each; the workers, who
 * mostly wait for Postgres, share those. */
static void limit_heaps(const struct config *config)
{
    long loops = config->http_threads ? (long)config->http_threads : sysconf(_SC_NPROCESSORS_ONLN);

    mallopt(M_ARENA_MAX, (int)loops + 1);
}

static bool open_store(struct bridge *b, struct err *err)
{
    const struct shapelog_config config = {
        .dir = b->config.data_dir,
        .segment_size = (uint64_t)b->config.segment_size,
        .sync_interval_ms = (int)b->config.sync_interval_ms,
        .chunk_size = (size_t)b->config.chunk_size,
    };

    b->store = shapelog_open(&config, err);
    return b->store || err_wrap(err, "data folder \"%s\"", b->config.data_dir);
}

/* Types a recovered log again, against its table as it was. The stream and the keeper find out
 * whether it still is so. */
static bool revive(struct bridge *b, struct log *log, struct err *err)
{
    struct arena arena = {0};
    struct shape_request request;
    struct table *table = NULL;
    const char *field;
    struct shape *shape = NULL;

    if (log_definition(log, &arena, &request, &table, err)) {
        table = snapshot_pool_share(b->pool, table);
        shape = shape_new(&request, table, &field, err);
    }
    if (shape) {
        log_bind(log, shape);
        fanout_add(b->fanout, log);
        snapshot_pool_trust(b->pool, table, shape->needs_full);
        shape_unref(shape);
    }
    table_unref(table);
    arena_release(&arena);
    return shape != NULL;
}

static void revive_logs(struct bridge *b)
{
    size_t n = 0;

    for (uint64_t at = 0;;) {
        struct log *log = shapelog_next(b->store, &at);
        struct err err;

        if (!log)
            break;
        if (revive(b, log, &err))
            n++;
        else
            shapelog_end_log(b->store, log, err.msg);
        log_unref(log);
    }
    if (n)
        log_info("shapes are there from before", LOG_UINT("shapes", n),
                 LOG_LSN("last_commit", shapelog_last_commit(b->store)));
}

static bool register_logs(void *owner, struct log *const *logs, size_t n, int timeout_ms,
                          lsn_t *registered, struct err *err)
{
    struct bridge *b = owner;
    struct fanout_registration *registration = fanout_register_begin(b->fanout, logs, n);

    receiver_wake(b->receiver);
    return fanout_register_wait(b->fanout, registration, timeout_ms, registered, err);
}

static bool make_pool(struct bridge *b, struct err *err)
{
    const struct snapshot_config config = {
        .conninfo = b->config.database_url,
        .publication = b->publication,
        .store = b->store,
        .unseen = b->unseen,
        .stream = {b, register_logs},
        .workers = (int)b->config.snapshot_workers,
        .manual_publishing = b->config.manual_table_publishing,
        .lock_timeout_ms = (int)b->config.lock_timeout_ms,
        .register_timeout_ms = REGISTER_TIMEOUT_MS,
        .first_row_ms = b->config.snapshot_timeout_ms,
        .max_logs = (uint64_t)b->config.max_shapes,
        .subset_budget = &b->subset_budget,
    };

    b->subset_budget.limit = (uint64_t)b->config.unread_subsets;
    b->pool = snapshot_pool_new(&config, err);
    b->subsets = b->pool ? subset_pool_new(&config, b->pool, err) : NULL;
    return b->subsets != NULL;
}

static bool make_keeper(struct bridge *b, struct err *err)
{
    const struct keeper_config config = {
        .conninfo = b->config.database_url,
        .slot = b->slot,
        .publication = b->publication,
        .store = b->store,
        .unseen = b->unseen,
        .fanout = b->fanout,
        .pool = b->pool,
        .receiver = b->receiver,
        .node = b->node != NULL,
        .catalog_interval_ms = b->config.catalog_interval_ms,
        .manual_publishing = b->config.manual_table_publishing,
        .lock_timeout_ms = (int)b->config.lock_timeout_ms,
        .log_growth = (uint64_t)b->config.log_growth,
        .tokens = b->tokens,
        .rules = b->rules,
        .writes = &b->writes,
    };

    b->keeper = keeper_new(&config, err);
    return b->keeper != NULL;
}

static void *run_stream(void *arg)
{
    receiver_run(arg);
    return NULL;
}

static bool start_stream(struct bridge *b, struct err *err)
{
    if (pthread_create(&b->stream_thread, NULL, run_stream, b->receiver) != 0)
        return err_set(err, ERR_IO, "could not start the stream's thread");
    b->streaming = true;
    return true;
}

static bool start(struct bridge *b, struct err *err)
{
    snprintf(b->slot, sizeof(b->slot), "tombolo_%s", b->config.stream_id);
    snprintf(b->publication, sizeof(b->publication), "tombolo_%s", b->config.stream_id);
    b->unseen = unseen_new();
    if (!bridge_open_permits(b, err) || !open_store(b, err) || !bridge_open_kafka(b, err) ||
        !bridge_make_stream(b, err) || !make_pool(b, err))
        return false;
    revive_logs(b);
    return writes_open(&b->writes, &b->config, b->rules, err) && make_keeper(b, err) &&
           bridge_start_http(b, err) && start_stream(b, err);
}

/* In the reverse order; whatever of it was started. Loops are freed last but one, since workers and
 * keeper post to them. */
static void stop(struct bridge *b)
{
    /* First, so that requests that wait for a shape are answered and hold nothing up. */
    if (b->fanout)
        fanout_end_waits(b->fanout);
    if (b->pool)
        snapshot_pool_stop(b->pool);
    if (b->subsets)
        subset_pool_stop(b->subsets);
    writes_stop(&b->writes);
    if (b->http)
        http_server_stop(b->http, b->config.shutdown_timeout_ms);
    bridge_stop_encoder(b);
    if (b->keeper)
        keeper_stop(b->keeper);
    if (b->streaming)
        receiver_stop(b->receiver);
    bridge_stop_kafka(b);
    pg_stop();
    snapshot_pool_free(b->pool);
    subset_pool_free(b->subsets);
    keeper_free(b->keeper);
    writes_close(&b->writes);
    if (b->streaming)
        pthread_join(b->stream_thread, NULL);
    if (b->http)
        http_server_free(b->http);
    shape_site_release(&b->shapes);
    refusals_release(&b->refusals);
    bridge_close_kafka(b);
    bridge_free_stream(b);
    if (b->store)
        shapelog_close(b->store);
    bridge_close_permits(b);
}

static void reload(struct bridge *b, int argc, char **argv)
{
    struct buf restart;
    struct err err;

    buf_init(&restart, BUF_NO_LIMIT);
    if (config_reload(&b->config, argc, argv, &restart, &err)) {
        logging_init(b->config.log_level, b->config.log_format);
        log_info("settings read again",
                 LOG_STR("need_restart", restart.len ? buf_cstr(&restart) : NULL));
        bridge_reread_rules(b);
    } else {
        log_error("the settings stay as they were", LOG_ERR(&err));
    }
    buf_release(&restart);
}

static void wait_for_end(struct bridge *b, const sigset_t *signals, int argc, char **argv)
{
    int signal_number;

    while (sigwait(signals, &signal_number) == 0 && signal_number == SIGHUP)
        reload(b, argc, argv);
    log_info("stopping", LOG_STR("signal", strsignal(signal_number)));
}

static void warn_of_electric(void)
{
    struct buf names;

    buf_init(&names, BUF_NO_LIMIT);
    config_electric_ignored(&names);
    if (names.len)
        log_warn("variables of Electric's that mean nothing here: docs/ELECTRIC.md says what to "
                 "set instead",
                 LOG_STR("variables", buf_cstr(&names)));
    buf_release(&names);
}

int serve_main(int argc, char **argv)
{
    struct bridge b = {0};
    struct err err = {0};
    sigset_t signals;

    if (!config_load(&b.config, argc, argv, &err)) {
        fprintf(stderr, "tombolo: %s%s%s\n", err.msg, err.hint[0] ? "\n  " : "", err.hint);
        return EXIT_SETTINGS;
    }
    if (b.config.help) {
        config_print_help(stdout);
        return EXIT_CLEAN;
    }
    logging_init(b.config.log_level, b.config.log_format);
    warn_of_electric();
    block_signals(&signals);
    raise_file_limit();
    limit_heaps(&b.config);
    bool started = start(&b, &err);
    if (started)
        wait_for_end(&b, &signals, argc, argv);
    else
        log_error("could not start", LOG_ERR(&err));
    stop(&b);
    config_free(&b.config);
    return started ? EXIT_CLEAN : EXIT_FAILED;
}
