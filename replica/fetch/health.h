/*
 * How a bridge is: GET /v1/health, asked once.
 */
#ifndef FETCH_HEALTH_H
#define FETCH_HEALTH_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>

/* Appends what the bridge at `url` (as in fetch_options) says to `answer`, a JSON object.
 * `*active`: it serves. False when there is no answer within 10 s, or one that is not a bridge's.
 * fetch_init() comes first. */
bool fetch_health(const char *url, struct buf *answer, bool *active, struct err *err) MUST_CHECK;

#endif
