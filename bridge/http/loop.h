/*
 * An epoll loop, one a thread. Nothing in it blocks, and nothing but
 * http_loop_post() and http_loop_signal() may be called from another thread.
 *
 * One turn of the loop, in this order: events of descriptors (with what other
 * threads posted among them), timers that are due, tasks put off by
 * http_loop_soon(). What is put off while tasks run waits for the next turn,
 * so that a busy task never keeps the descriptors waiting.
 *
 * From another thread there are two ways in:
 *
 *     http_loop_post(loop, fn, arg);   fn(arg) once, in the order of the posts: results of work
 *     http_loop_signal(loop);          "look again": the function given to http_loop_on_signal()
 *                                      runs once after one or many signals. Costs one atomic
 *                                      exchange when a signal is already under way, so that it
 *                                      can be sent at each commit.
 */
#ifndef HTTP_LOOP_H
#define HTTP_LOOP_H

#include "base/err.h"
#include "http/timer.h"

#include <stdbool.h>
#include <stdint.h>

struct http_loop;

/* Life cycle. */

struct http_loop *http_loop_new(struct err *err) MUST_CHECK;
/* Runs until http_loop_end(); blocks SIGPIPE in the calling thread, which sendfile() would raise.
 */
void http_loop_run(struct http_loop *loop);
/* One turn that waits at most `max_ms` for something to happen (-1: for ever). For tests. */
void http_loop_turn(struct http_loop *loop, int max_ms);
/* http_loop_run() returns after the current turn. On the loop's thread. */
void http_loop_end(struct http_loop *loop);
/* Runs what was posted and has not run, so that each post is answered exactly once. After the loop
 * has ended, when no other thread can post any more. */
void http_loop_drain(struct http_loop *loop);
/* Drains it first. NULL is nothing. */
void http_loop_free(struct http_loop *loop);

/* Monotonic milliseconds, read once a turn. */
int64_t http_loop_now(const struct http_loop *loop);

/* From any thread. */

void http_loop_post(struct http_loop *loop, void (*fn)(void *arg), void *arg);
void http_loop_signal(struct http_loop *loop);

/* Before the loop runs, or on its thread. */
void http_loop_on_signal(struct http_loop *loop, void (*fn)(struct http_loop *loop, void *arg),
                         void *arg);

/* Pointers for whoever lives on the loop: `owner` is the HTTP core's, `user` the endpoints'. Set
 * before the loop runs, or on its thread. */
void http_loop_set_owner(struct http_loop *loop, void *owner);
void *http_loop_owner(const struct http_loop *loop);
void http_loop_set_user(struct http_loop *loop, void *user);
void *http_loop_user(const struct http_loop *loop);

/* Descriptors (level-triggered). The watch is embedded in its owner; an owner may unwatch and go
 * at any time, even while events for it are waiting in the same turn. */

struct http_watch {
    void (*ready)(struct http_watch *watch, uint32_t events); /* EPOLLIN, ... */
};

bool http_loop_watch(struct http_loop *loop, struct http_watch *watch, int fd, uint32_t events,
                     struct err *err) MUST_CHECK;
void http_loop_rewatch(struct http_loop *loop, struct http_watch *watch, int fd, uint32_t events);
void http_loop_unwatch(struct http_loop *loop, struct http_watch *watch, int fd);

/* Timers (see timer.h). At least 1 ms from now, so that a timer never fires twice in a turn. */

void http_loop_timer_set(struct http_loop *loop, struct http_timer *timer, int64_t after_ms);
void http_loop_timer_clear(struct http_loop *loop, struct http_timer *timer);
/* Before the timer's memory goes. */
void http_loop_timer_remove(struct http_loop *loop, struct http_timer *timer);

/* Tasks: run in this turn, after the events; once however often it was asked. Embedded in the
 * owner, zeroed but for `run`; cancelled before its memory goes. */

struct http_task {
    void (*run)(struct http_task *task);
    struct http_task *next, *prev; /* NULL: not waiting */
};

void http_loop_soon(struct http_loop *loop, struct http_task *task);
void http_task_cancel(struct http_task *task);

#endif
