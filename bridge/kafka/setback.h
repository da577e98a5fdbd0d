/*
 * A failure of ours: a record that is too large, a catalogue that cannot be asked. Nothing is
 * published until it is tried again, after a pause that doubles; settings or topics may be others
 * by then.
 */
#ifndef KAFKA_SETBACK_H
#define KAFKA_SETBACK_H

#include "base/err.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct setback {
    pthread_mutex_t mutex;
    struct err err; /* with the mutex; ERR_NONE: there is none */

    int64_t pause_ms;             /* the stream's thread; 0: no failure */
    atomic_int_fast64_t retry_at; /* 0: nothing is waited for */
};

void setback_init(struct setback *setback);
void setback_release(struct setback *setback);

/* ---- the stream's thread --------------------------------------------------------------------- */

void setback_note(struct setback *setback, const struct err *err);
/* Once after each pause: it is to be tried again. */
bool setback_is_over(struct setback *setback);
/* It went well. */
void setback_clear(struct setback *setback);

/* ---- any thread ------------------------------------------------------------------------------ */

/* The pause has not ended. */
bool setback_is_waiting(const struct setback *setback);
/* False: there is none. */
bool setback_get(struct setback *setback, struct err *err);

#endif
