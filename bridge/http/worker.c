#include "http/worker.h"

#include "base/arena.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define POOL_SIZE 32
#define NO_SLOT UINT32_MAX

/* ---- slots ---- */

static void grow_slots(struct http_worker *worker)
{
    uint32_t old = worker->nslots, n = old ? old * 2 : 64;

    worker->slots = xrealloc(worker->slots, n * sizeof(*worker->slots));
    for (uint32_t i = n; i-- > old;) {
        worker->slots[i] = (struct http_slot){.next_free = worker->free_slot};
        worker->free_slot = i;
    }
    worker->nslots = n;
}

uint32_t http_worker_take_slot(struct http_worker *worker, struct http_conn *conn)
{
    if (worker->free_slot == NO_SLOT)
        grow_slots(worker);
    uint32_t slot = worker->free_slot;

    worker->free_slot = worker->slots[slot].next_free;
    worker->slots[slot].conn = conn;
    return slot;
}

/* The generation stays: it tells the next connection here from this one. */
void http_worker_free_slot(struct http_worker *worker, uint32_t slot)
{
    worker->slots[slot].conn = NULL;
    worker->slots[slot].next_free = worker->free_slot;
    worker->free_slot = slot;
}

/* ---- pools ---- */

struct http_intake *http_worker_intake(struct http_worker *worker)
{
    struct http_intake *intake = worker->intakes;

    if (intake) {
        worker->intakes = intake->next;
        worker->nintakes--;
    } else {
        intake = http_intake_new();
    }
    http_intake_start(intake, &worker->limits);
    return intake;
}

void http_worker_return_intake(struct http_worker *worker, struct http_intake *intake)
{
    if (worker->nintakes == POOL_SIZE) {
        http_intake_free(intake);
        return;
    }
    http_intake_clear(intake);
    intake->next = worker->intakes;
    worker->intakes = intake;
    worker->nintakes++;
}

struct http_out *http_worker_out(struct http_worker *worker)
{
    struct http_out *out = worker->outs;

    if (!out)
        return http_out_new();
    worker->outs = out->next;
    worker->nouts--;
    return out;
}

void http_worker_return_out(struct http_worker *worker, struct http_out *out)
{
    if (worker->nouts == POOL_SIZE) {
        http_out_free(out);
        return;
    }
    http_out_clear(out);
    out->next = worker->outs;
    worker->outs = out;
    worker->nouts++;
}

static void release_pools(struct http_worker *worker)
{
    http_headers_release(&worker->core_headers);
    while (worker->intakes) {
        struct http_intake *intake = worker->intakes;

        worker->intakes = intake->next;
        http_intake_free(intake);
    }
    while (worker->outs) {
        struct http_out *out = worker->outs;

        worker->outs = out->next;
        http_out_free(out);
    }
}

/* ---- date and ids ---- */

const char *http_worker_date(struct http_worker *worker)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int64_t now = clock_unix_us() / 1000000;
    time_t t = (time_t)now;
    struct tm tm;

    if (now == worker->date_s)
        return worker->date;
    worker->date_s = now;
    gmtime_r(&t, &tm);
    /* strftime() would speak the locale's language. */
    snprintf(worker->date, sizeof(worker->date), "%s, %02u %s %04u %02u:%02u:%02u GMT",
             days[tm.tm_wday], (unsigned)tm.tm_mday % 100, months[tm.tm_mon],
             (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
             (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
    return worker->date;
}

static void put_hex(char *out, uint64_t v)
{
    static const char digits[] = "0123456789abcdef";

    for (int shift = 60; shift >= 0; shift -= 4)
        *out++ = digits[v >> shift & 15];
}

void http_worker_new_id(struct http_worker *worker, char id[HTTP_ID_SIZE])
{
    /* Unique, not secret: a random start and a counter, mixed so that ids do not look alike. */
    uint64_t low = worker->id_seed[1]++ * UINT64_C(0x9e3779b97f4a7c15);

    low = (low ^ low >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
    put_hex(id, worker->id_seed[0]);
    put_hex(id + 16, low ^ low >> 32);
    id[HTTP_ID_SIZE - 1] = '\0';
}

/* ---- life ---- */

static void end_if_done(struct http_worker *worker)
{
    if (worker->stopping && worker->nconns == 0)
        http_loop_end(worker->loop);
}

void http_worker_conn_gone(struct http_worker *worker)
{
    worker->nconns--;
    end_if_done(worker);
}

static void cut_all(struct http_worker *worker)
{
    while (worker->conns)
        http_conn_cut(worker->conns);
}

static void on_stop_timer(struct http_timer *timer)
{
    cut_all((struct http_worker *)((char *)timer - offsetof(struct http_worker, stop_timer)));
}

bool http_worker_init(struct http_worker *worker, const struct http_config *config,
                      struct http_metrics *metrics, struct err *err)
{
    *worker = (struct http_worker){.config = config,
                                   .metrics = metrics,
                                   .limits = {.head = config->head_limit, .url = config->url_limit},
                                   .free_slot = NO_SLOT,
                                   .stop_timer.fire = on_stop_timer};
    if (getrandom(worker->id_seed, sizeof(worker->id_seed), 0) < 0)
        return err_errno(err, ERR_IO, "could not get random bytes");
    http_headers_init(&worker->core_headers);
    worker->loop = http_loop_new(err);
    if (!worker->loop)
        return false;
    http_loop_set_owner(worker->loop, worker);
    return true;
}

void http_worker_stop(struct http_worker *worker, int64_t ms)
{
    struct http_conn *next;

    worker->stopping = true;
    for (size_t i = 0; i < worker->nacceptors; i++)
        http_acceptor_close(&worker->acceptors[i]);
    for (struct http_conn *conn = worker->conns; conn; conn = next) {
        next = conn->next;
        http_conn_stop(conn);
    }
    if (worker->started && worker->config->loop_stopping)
        worker->config->loop_stopping(worker->config->hook_arg, worker->loop);
    http_loop_timer_set(worker->loop, &worker->stop_timer, ms);
    end_if_done(worker);
}

void http_worker_release(struct http_worker *worker)
{
    for (size_t i = 0; i < worker->nacceptors; i++)
        http_acceptor_close(&worker->acceptors[i]);
    free(worker->acceptors);
    worker->acceptors = NULL;
    worker->nacceptors = 0;
    cut_all(worker);
    if (worker->loop) {
        http_loop_drain(worker->loop);
        if (worker->started && worker->config->loop_ended)
            worker->config->loop_ended(worker->config->hook_arg, worker->loop);
        http_loop_timer_remove(worker->loop, &worker->stop_timer);
        http_loop_free(worker->loop);
    }
    worker->loop = NULL;
    release_pools(worker);
    free(worker->slots);
    worker->slots = NULL;
}
