#include "http/loop.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/logging.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS_A_TURN 256

struct post {
    void (*fn)(void *arg);
    void *arg;
};

struct posts {
    struct post *items;
    size_t len, cap;
};

struct http_loop {
    int epoll_fd, wake_fd;
    bool ended;
    int64_t now;
    void *owner, *user;
    struct http_watch wake;
    struct http_timers timers;
    struct http_task soon; /* head of a ring */

    struct epoll_event events[EVENTS_A_TURN];
    int nevents, at; /* events[at + 1 ..] still wait in this turn */

    void (*on_signal)(struct http_loop *loop, void *arg);
    void *signal_arg;
    atomic_bool signalled;

    pthread_mutex_t lock; /* guards `posted` */
    struct posts posted;
};

static void ring_init(struct http_task *head)
{
    head->next = head->prev = head;
}

static void wake_up(struct http_loop *loop)
{
    uint64_t one = 1;

    /* Full (EAGAIN) is as good as written: the loop wakes up anyway. */
    while (write(loop->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

static struct posts take_posts(struct http_loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    struct posts taken = loop->posted;
    loop->posted = (struct posts){0};
    pthread_mutex_unlock(&loop->lock);
    return taken;
}

static void run_posts(struct http_loop *loop)
{
    struct posts taken = take_posts(loop);

    for (size_t i = 0; i < taken.len; i++)
        taken.items[i].fn(taken.items[i].arg);
    free(taken.items);
}

static void on_wake(struct http_watch *watch, uint32_t events)
{
    struct http_loop *loop = (struct http_loop *)((char *)watch - offsetof(struct http_loop, wake));
    uint64_t count;

    (void)events;
    while (read(loop->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
    /* Lowered before looking: a signal that comes while we look is another one. */
    if (atomic_exchange(&loop->signalled, false) && loop->on_signal)
        loop->on_signal(loop, loop->signal_arg);
    run_posts(loop);
}

static bool open_fds(struct http_loop *loop, struct err *err)
{
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return err_errno(err, ERR_IO, "could not create an epoll descriptor");
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd < 0)
        return err_errno(err, ERR_IO, "could not create an event descriptor");
    loop->wake.ready = on_wake;
    return http_loop_watch(loop, &loop->wake, loop->wake_fd, EPOLLIN, err);
}

struct http_loop *http_loop_new(struct err *err)
{
    struct http_loop *loop = xcalloc(1, sizeof(*loop));

    loop->epoll_fd = loop->wake_fd = -1;
    loop->now = clock_ms();
    ring_init(&loop->soon);
    pthread_mutex_init(&loop->lock, NULL);
    if (!open_fds(loop, err)) {
        http_loop_free(loop);
        return NULL;
    }
    return loop;
}

void http_loop_drain(struct http_loop *loop)
{
    while (loop->posted.len)
        run_posts(loop);
}

void http_loop_free(struct http_loop *loop)
{
    if (!loop)
        return;
    http_loop_drain(loop);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    http_timers_release(&loop->timers);
    pthread_mutex_destroy(&loop->lock);
    free(loop);
}

int64_t http_loop_now(const struct http_loop *loop)
{
    return loop->now;
}

void http_loop_post(struct http_loop *loop, void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&loop->lock);
    struct posts *p = &loop->posted;
    bool first = p->len == 0;
    if (p->len == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 16;
        p->items = xrealloc(p->items, p->cap * sizeof(*p->items));
    }
    p->items[p->len++] = (struct post){fn, arg};
    pthread_mutex_unlock(&loop->lock);
    if (first)
        wake_up(loop);
}

void http_loop_signal(struct http_loop *loop)
{
    if (!atomic_exchange(&loop->signalled, true))
        wake_up(loop);
}

void http_loop_on_signal(struct http_loop *loop, void (*fn)(struct http_loop *loop, void *arg),
                         void *arg)
{
    loop->on_signal = fn;
    loop->signal_arg = arg;
}

void http_loop_set_owner(struct http_loop *loop, void *owner)
{
    loop->owner = owner;
}

void *http_loop_owner(const struct http_loop *loop)
{
    return loop->owner;
}

void http_loop_set_user(struct http_loop *loop, void *user)
{
    loop->user = user;
}

void *http_loop_user(const struct http_loop *loop)
{
    return loop->user;
}

bool http_loop_watch(struct http_loop *loop, struct http_watch *watch, int fd, uint32_t events,
                     struct err *err)
{
    struct epoll_event ev = {.events = events, .data.ptr = watch};

    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
        return err_errno(err, ERR_IO, "could not watch descriptor %d", fd);
    return true;
}

void http_loop_rewatch(struct http_loop *loop, struct http_watch *watch, int fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = watch};

    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, fd, &ev) < 0)
        log_error("could not change what is watched", LOG_INT("fd", fd),
                  LOG_STR("error", strerror(errno)));
}

void http_loop_unwatch(struct http_loop *loop, struct http_watch *watch, int fd)
{
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    for (int i = loop->at + 1; i < loop->nevents; i++) {
        if (loop->events[i].data.ptr == watch)
            loop->events[i].data.ptr = NULL;
    }
}

void http_loop_timer_set(struct http_loop *loop, struct http_timer *timer, int64_t after_ms)
{
    http_timers_set(&loop->timers, timer, loop->now + (after_ms > 1 ? after_ms : 1));
}

void http_loop_timer_clear(struct http_loop *loop, struct http_timer *timer)
{
    http_timers_set(&loop->timers, timer, HTTP_NEVER);
}

void http_loop_timer_remove(struct http_loop *loop, struct http_timer *timer)
{
    http_timers_remove(&loop->timers, timer);
}

void http_loop_soon(struct http_loop *loop, struct http_task *task)
{
    if (task->next)
        return;
    task->prev = loop->soon.prev;
    task->next = &loop->soon;
    task->prev->next = task->next->prev = task;
}

void http_task_cancel(struct http_task *task)
{
    if (!task->next)
        return;
    task->prev->next = task->next;
    task->next->prev = task->prev;
    task->next = task->prev = NULL;
}

static void run_tasks(struct http_loop *loop)
{
    struct http_task batch;

    if (loop->soon.next == &loop->soon)
        return;
    batch = loop->soon;
    batch.next->prev = batch.prev->next = &batch;
    ring_init(&loop->soon);
    while (batch.next != &batch) {
        struct http_task *task = batch.next;

        http_task_cancel(task);
        task->run(task);
    }
}

static int wait_ms(const struct http_loop *loop, int max_ms)
{
    int64_t next = http_timers_next(&loop->timers);

    if (loop->soon.next != &loop->soon)
        return 0;
    if (next == HTTP_NEVER)
        return max_ms;
    int64_t left = next > loop->now ? next - loop->now : 0;
    if (left > INT_MAX)
        left = INT_MAX;
    return max_ms >= 0 && max_ms < left ? max_ms : (int)left;
}

void http_loop_turn(struct http_loop *loop, int max_ms)
{
    int n = epoll_wait(loop->epoll_fd, loop->events, EVENTS_A_TURN, wait_ms(loop, max_ms));

    loop->now = clock_ms();
    loop->nevents = n > 0 ? n : 0;
    for (loop->at = 0; loop->at < loop->nevents; loop->at++) {
        struct http_watch *watch = loop->events[loop->at].data.ptr;

        if (watch)
            watch->ready(watch, loop->events[loop->at].events);
    }
    loop->nevents = 0;
    http_timers_fire(&loop->timers, loop->now);
    run_tasks(loop);
}

void http_loop_run(struct http_loop *loop)
{
    sigset_t pipe;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    while (!loop->ended)
        http_loop_turn(loop, -1);
}

void http_loop_end(struct http_loop *loop)
{
    loop->ended = true;
}
