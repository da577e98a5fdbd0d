/* A handle's insides, private to this room. */
#ifndef LIB_HANDLE_H
#define LIB_HANDLE_H

#include "base/err.h"
#include "lib/tombolo.h"
#include "replica/replica.h"

#include <pthread.h>

struct tombolo {
    char *path, *url;
    struct replica_shape *shapes;
    size_t nshapes;
    tombolo_callback *callback;
    void *arg;
    int timer;               /* readable: the sync is to end */
    struct replica *replica; /* whoever syncs */
    uint64_t commits;        /* of it, that have been told */
    pthread_t thread;

    pthread_mutex_t mutex; /* what is below */
    pthread_cond_t moved;
    char *token;
    bool running;  /* a thread or a call syncs */
    bool threaded; /* `thread` is to be joined */
    bool stopping; /* it is to end */
    bool renewed;  /* ... to go on with another token */
    uint64_t changes;
    enum tombolo_result result;
    char problem[TOMBOLO_PROBLEM_SIZE];
};

/* For tombolo_error(); returns what the call is to return. */
enum tombolo_result handle_failed(const struct err *err);
enum tombolo_result handle_misuse(const char *text);

#endif
