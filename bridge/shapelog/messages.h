/*
 * Runs of messages as they are stored, taken apart again. A run is messages of change/message.h's
 * making, joined by ",". No JSON is parsed: a quote within a JSON string is always escaped, so
 *
 *     }},{"key":"             stands where one message ends and the next begins, only there
 *     ,"op_position":<digit>  stands in the headers, only there (a column of that name has a string
 *                             or null)
 */
#ifndef SHAPELOG_MESSAGES_H
#define SHAPELOG_MESSAGES_H

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* Takes the first message off the run: *run begins with the next then. False when it is empty. */
bool messages_next(struct slice *run, struct slice *message);
/* The message's op; false when it has none. */
bool messages_op(struct slice message, uint64_t *op);

#endif
