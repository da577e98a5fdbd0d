/*
 * C11's threads by POSIX's, for builds with TSan: it does not know thrd_create() and mtx_lock(),
 * which librdkafka uses, and crashes in threads that it has not seen begin. What the program
 * defines counts before libc's. In glibc the types of both are the same.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

#define EXPORT __attribute__((visibility("default")))

/* What librdkafka does with its own atomics and rwlocks in between looks like races: memcpy() and
 * free(), and the first lock of what another thread has made. */
EXPORT const char *__tsan_default_suppressions(void);
EXPORT const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:librdkafka.so\nrace:mtx_*\nrace:cnd_*\n";
}

struct start {
    thrd_start_t fn;
    void *arg;
};

static int said(int code)
{
    return code == 0 ? thrd_success : code == ETIMEDOUT ? thrd_timedout : thrd_error;
}

static void *run(void *arg)
{
    struct start start = *(struct start *)arg;

    free(arg);
    return (void *)(intptr_t)start.fn(start.arg);
}

EXPORT int thrd_create(thrd_t *thread, thrd_start_t fn, void *arg)
{
    struct start *start = malloc(sizeof(*start));

    if (!start)
        return thrd_nomem;
    *start = (struct start){fn, arg};
    int code = pthread_create(thread, NULL, run, start);

    if (code)
        free(start);
    return said(code);
}

EXPORT int thrd_join(thrd_t thread, int *result)
{
    void *value = NULL;
    int code = pthread_join(thread, &value);

    if (result)
        *result = (int)(intptr_t)value;
    return said(code);
}

EXPORT int mtx_init(mtx_t *mutex, int type)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    if (type & mtx_recursive)
        pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    int code = pthread_mutex_init((pthread_mutex_t *)mutex, &attr);

    pthread_mutexattr_destroy(&attr);
    return said(code);
}

EXPORT int mtx_lock(mtx_t *mutex)
{
    return said(pthread_mutex_lock((pthread_mutex_t *)mutex));
}

EXPORT int mtx_unlock(mtx_t *mutex)
{
    return said(pthread_mutex_unlock((pthread_mutex_t *)mutex));
}

EXPORT void mtx_destroy(mtx_t *mutex)
{
    pthread_mutex_destroy((pthread_mutex_t *)mutex);
}

EXPORT int cnd_init(cnd_t *cond)
{
    return said(pthread_cond_init((pthread_cond_t *)cond, NULL));
}

EXPORT int cnd_signal(cnd_t *cond)
{
    return said(pthread_cond_signal((pthread_cond_t *)cond));
}

EXPORT int cnd_broadcast(cnd_t *cond)
{
    return said(pthread_cond_broadcast((pthread_cond_t *)cond));
}

EXPORT int cnd_wait(cnd_t *cond, mtx_t *mutex)
{
    return said(pthread_cond_wait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex));
}

EXPORT int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex,
                         const struct timespec *restrict until)
{
    return said(pthread_cond_timedwait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex, until));
}

EXPORT void cnd_destroy(cnd_t *cond)
{
    pthread_cond_destroy((pthread_cond_t *)cond);
}
