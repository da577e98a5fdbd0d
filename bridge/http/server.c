#include "http/server.h"

#include "base/arena.h"
#include "http/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct http_server {
    struct http_config config;
    struct http_metrics metrics;
    struct http_place *places;
    struct http_worker *workers;
    unsigned nworkers; /* with a loop */
    unsigned nrunning; /* with a thread */
};

struct http_config http_config_default(void)
{
    return (struct http_config){
        .head_limit = (size_t)32 * 1024,
        .url_limit = (size_t)16 * 1024,
        .head_ms = 10000,
        .body_ms = 30000,
        .idle_ms = 60000,
        .send_ms = 60000,
        .linger_ms = 2000,
    };
}

static void *run_worker(void *arg)
{
    struct http_worker *worker = arg;

    http_loop_run(worker->loop);
    return NULL;
}

static bool open_acceptors(struct http_server *server, struct http_worker *worker, struct err *err)
{
    size_t n = server->config.nlistens;

    worker->acceptors = xcalloc(n, sizeof(*worker->acceptors));
    for (size_t i = 0; i < n; i++) {
        worker->nacceptors = i + 1;
        if (!http_acceptor_open(&worker->acceptors[i], worker, &server->places[i], err))
            return false;
    }
    return true;
}

static bool open_workers(struct http_server *server, unsigned threads, struct err *err)
{
    struct http_config *config = &server->config;

    server->workers = xcalloc(threads, sizeof(*server->workers));
    for (unsigned i = 0; i < threads; i++) {
        struct http_worker *worker = &server->workers[i];

        if (!http_worker_init(worker, config, &server->metrics, err))
            return false;
        server->nworkers = i + 1;
        if (!open_acceptors(server, worker, err))
            return false;
        worker->started = true;
        if (config->loop_started)
            config->loop_started(config->hook_arg, worker->loop);
    }
    return true;
}

static bool start_threads(struct http_server *server, struct err *err)
{
    for (unsigned i = 0; i < server->nworkers; i++) {
        struct http_worker *worker = &server->workers[i];

        errno = pthread_create(&worker->thread, NULL, run_worker, worker);
        if (errno != 0)
            return err_errno(err, ERR_IO, "could not start an http thread");
        server->nrunning = i + 1;
    }
    return true;
}

static unsigned cores(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n > 0 ? (unsigned)n : 1;
}

struct http_server *http_server_start(const struct http_config *config, struct err *err)
{
    struct http_server *server = xcalloc(1, sizeof(*server));

    server->config = *config;
    server->places = xcalloc(config->nlistens, sizeof(*server->places));
    for (size_t i = 0; i < config->nlistens; i++)
        server->places[i].listen = &config->listens[i];
    if (open_workers(server, config->threads ? config->threads : cores(), err) &&
        start_threads(server, err))
        return server;
    http_server_stop(server, 0);
    http_server_free(server);
    return NULL;
}

struct stop {
    struct http_worker *worker;
    int64_t ms;
};

static void on_stop(void *arg)
{
    struct stop *stop = arg;

    http_worker_stop(stop->worker, stop->ms);
    free(stop);
}

void http_server_stop(struct http_server *server, int64_t ms)
{
    for (unsigned i = 0; i < server->nrunning; i++) {
        struct stop *stop = xmalloc(sizeof(*stop));

        *stop = (struct stop){&server->workers[i], ms};
        http_loop_post(server->workers[i].loop, on_stop, stop);
    }
    for (unsigned i = 0; i < server->nrunning; i++)
        pthread_join(server->workers[i].thread, NULL);
    server->nrunning = 0;
}

void http_server_free(struct http_server *server)
{
    if (!server)
        return;
    for (unsigned i = 0; i < server->nworkers; i++)
        http_worker_release(&server->workers[i]);
    free(server->workers);
    free(server->places);
    free(server);
}

const char *http_server_address(const struct http_server *server, size_t i)
{
    return server->places[i].address;
}

uint16_t http_server_port(const struct http_server *server, size_t i)
{
    return server->places[i].port;
}

const struct http_metrics *http_server_metrics(const struct http_server *server)
{
    return &server->metrics;
}

unsigned http_server_nloops(const struct http_server *server)
{
    return server->nworkers;
}

struct http_loop *http_server_loop(const struct http_server *server, unsigned i)
{
    return server->workers[i].loop;
}
