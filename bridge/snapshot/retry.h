/*
 * Trying again what is to succeed soon, after pauses that grow, for a minute.
 */
#ifndef SNAPSHOT_RETRY_H
#define SNAPSHOT_RETRY_H

#include "base/err.h"

#include <stdint.h>

/* A snapshot misses what the stream has given. */
#define RETRY_INVISIBLE "a committed transaction stays invisible; is a synchronous standby away?"

struct retry {
    int64_t give_up;
    int64_t pause_ms; /* the next one */
};

struct retry retry_begin(void);
/* Pauses, and then it is to be tried again. False when that has been done for long enough:
 * ERR_TIMEOUT with the text. */
bool retry_pause(struct retry *retry, const char *text, struct err *err) MUST_CHECK;

#endif
