/* What the bridge's answer means where it is not the stream. */
#ifndef REPLICA_ANSWER_H
#define REPLICA_ANSWER_H

#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>

struct replica;

/* ERR_CONN where asking again may help, ERR_INPUT where not; the text has the bridge's
 * message, with shapes[i] named by their tables. Returns false. */
bool lite_answer_refused(const struct replica *r, long status, struct slice body, struct err *err);
/* The same for an answer to replica_request(). A shape that the bridge does not make though this
 * file has had rows of it is left out for now (trouble.h): ERR_CHANGED. */
bool lite_answer_unsynced(struct replica *r, long status, struct slice body, struct err *err);

#endif
