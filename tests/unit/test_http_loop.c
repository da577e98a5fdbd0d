/* The loop: timers, tasks, posts, signals, descriptors. */
#include "http/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <cmocka.h>

struct stamp {
    struct http_timer timer;
    int64_t fired_at; /* the virtual clock when it fired, or -1 */
};

static int64_t virtual_now;
static int fired;

static void on_stamp(struct http_timer *timer)
{
    ((struct stamp *)timer)->fired_at = virtual_now;
    fired++;
}

/* Steps a virtual clock, so that a deadline is met to the millisecond. */
static void advance(struct http_timers *timers, int64_t to)
{
    for (; virtual_now < to; virtual_now++)
        http_timers_fire(timers, virtual_now);
}

static void test_timers_fire_at_their_last_setting(void **state)
{
    enum { N = 500 };
    static struct stamp stamps[N];
    struct http_timers timers = {0};
    int64_t want[N];
    unsigned seed = 7;

    (void)state;
    virtual_now = 0;
    fired = 0;
    for (int i = 0; i < N; i++) {
        stamps[i] = (struct stamp){.timer.fire = on_stamp, .fired_at = -1};
        for (int j = 0; j < 5; j++) { /* earlier, later, cleared, whatever comes */
            seed = seed * 1103515245 + 12345;
            want[i] = seed >> 16 & 1023;
            if (seed % 5 == 0)
                want[i] = HTTP_NEVER;
            http_timers_set(&timers, &stamps[i].timer, want[i]);
        }
        if (i % 7 == 0) {
            http_timers_remove(&timers, &stamps[i].timer);
            want[i] = HTTP_NEVER;
        }
    }
    advance(&timers, 2000);
    for (int i = 0; i < N; i++)
        assert_int_equal(stamps[i].fired_at, want[i] == HTTP_NEVER ? -1 : want[i]);
    assert_int_equal(timers.len, 0);
    assert_true(http_timers_next(&timers) == HTTP_NEVER);
    http_timers_release(&timers);
}

static struct http_timers *chain_timers;

static void on_chain(struct http_timer *timer)
{
    if (++fired < 10)
        http_timers_set(chain_timers, timer, virtual_now + 10);
}

static void test_a_timer_may_set_itself_again(void **state)
{
    struct http_timers timers = {0};
    struct http_timer timer = {.fire = on_chain};

    (void)state;
    chain_timers = &timers;
    virtual_now = 0;
    fired = 0;
    http_timers_set(&timers, &timer, 10);
    advance(&timers, 101);
    assert_int_equal(fired, 10);
    http_timers_release(&timers);
}

static struct http_loop *new_loop(void)
{
    struct err err;
    struct http_loop *loop = http_loop_new(&err);

    assert_non_null(loop);
    return loop;
}

enum { POSTERS = 4, POSTS = 2000 };

struct poster {
    struct http_loop *loop;
    pthread_t thread;
    int next, wrong; /* loop's side: posts come in order */
};

struct note {
    struct poster *poster;
    int number;
};

static int notes_seen;

static void on_note(void *arg)
{
    struct note *note = arg;
    struct poster *poster = note->poster;

    poster->wrong += note->number != poster->next++;
    free(note);
    if (++notes_seen == POSTERS * POSTS)
        http_loop_end(poster->loop);
}

static void *post_all(void *arg)
{
    struct poster *poster = arg;

    for (int i = 0; i < POSTS; i++) {
        struct note *note = malloc(sizeof(*note));

        *note = (struct note){poster, i};
        http_loop_post(poster->loop, on_note, note);
    }
    return NULL;
}

static void test_posts_from_many_threads_run_once_and_in_order(void **state)
{
    struct http_loop *loop = new_loop();
    struct poster posters[POSTERS];

    (void)state;
    notes_seen = 0;
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.loop = loop};
        pthread_create(&posters[i].thread, NULL, post_all, &posters[i]);
    }
    http_loop_run(loop);
    for (int i = 0; i < POSTERS; i++) {
        pthread_join(posters[i].thread, NULL);
        assert_int_equal(posters[i].next, POSTS);
        assert_int_equal(posters[i].wrong, 0);
    }
    http_loop_free(loop);
}

static void on_count(void *arg)
{
    ++*(int *)arg;
}

static void test_what_was_posted_too_late_runs_when_the_loop_is_freed(void **state)
{
    struct http_loop *loop = new_loop();
    int ran = 0;

    (void)state;
    http_loop_post(loop, on_count, &ran);
    http_loop_post(loop, on_count, &ran);
    http_loop_free(loop);
    assert_int_equal(ran, 2);
}

static void on_signal(struct http_loop *loop, void *arg)
{
    (void)loop;
    ++*(int *)arg;
}

static void test_signals_before_a_turn_are_one(void **state)
{
    struct http_loop *loop = new_loop();
    int seen = 0;

    (void)state;
    http_loop_on_signal(loop, on_signal, &seen);
    for (int i = 0; i < 100; i++)
        http_loop_signal(loop);
    http_loop_turn(loop, 1000);
    assert_int_equal(seen, 1);
    http_loop_signal(loop);
    http_loop_turn(loop, 1000);
    assert_int_equal(seen, 2);
    http_loop_free(loop);
}

struct chore {
    struct http_task task;
    struct http_loop *loop;
    struct chore *other;
    int ran;
};

static void on_chore(struct http_task *task)
{
    struct chore *chore = (struct chore *)task;

    chore->ran++;
    http_loop_soon(chore->loop, task);
    if (chore->other)
        http_task_cancel(&chore->other->task);
}

static void test_tasks_run_once_a_turn_and_can_be_cancelled(void **state)
{
    struct http_loop *loop = new_loop();
    struct chore a = {.task.run = on_chore, .loop = loop}, b = a;

    (void)state;
    a.other = &b;
    for (int i = 0; i < 3; i++) {
        http_loop_soon(loop, &a.task);
        http_loop_soon(loop, &b.task);
    }
    for (int i = 0; i < 5; i++)
        http_loop_turn(loop, 0);
    assert_int_equal(a.ran, 5);
    assert_int_equal(b.ran, 0);
    http_task_cancel(&a.task);
    http_loop_turn(loop, 0);
    assert_int_equal(a.ran, 5);
    http_loop_free(loop);
}

struct pipe_end {
    struct http_watch watch;
    struct http_loop *loop;
    struct pipe_end *other;
    int fd, write_fd, ready;
};

static void on_pipe(struct http_watch *watch, uint32_t events)
{
    struct pipe_end *end = (struct pipe_end *)watch;

    assert_true(events & EPOLLIN);
    end->ready++;
    http_loop_unwatch(end->other->loop, &end->other->watch, end->other->fd);
}

static void test_a_descriptor_unwatched_in_the_same_turn_is_silent(void **state)
{
    struct http_loop *loop = new_loop();
    struct pipe_end ends[2];
    struct err err;

    (void)state;
    for (int i = 0; i < 2; i++) {
        int fds[2];

        assert_int_equal(pipe(fds), 0);
        ends[i] = (struct pipe_end){.watch.ready = on_pipe,
                                    .loop = loop,
                                    .other = &ends[1 - i],
                                    .fd = fds[0],
                                    .write_fd = fds[1]};
        assert_true(http_loop_watch(loop, &ends[i].watch, fds[0], EPOLLIN, &err));
        assert_int_equal(write(fds[1], "x", 1), 1);
    }
    http_loop_turn(loop, 1000);
    assert_int_equal(ends[0].ready + ends[1].ready, 1);
    for (int i = 0; i < 2; i++) {
        close(ends[i].fd);
        close(ends[i].write_fd);
    }
    http_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers_fire_at_their_last_setting),
        cmocka_unit_test(test_a_timer_may_set_itself_again),
        cmocka_unit_test(test_posts_from_many_threads_run_once_and_in_order),
        cmocka_unit_test(test_what_was_posted_too_late_runs_when_the_loop_is_freed),
        cmocka_unit_test(test_signals_before_a_turn_are_one),
        cmocka_unit_test(test_tasks_run_once_a_turn_and_can_be_cancelled),
        cmocka_unit_test(test_a_descriptor_unwatched_in_the_same_turn_is_silent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
