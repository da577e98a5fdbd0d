/*
 * What the sender of a POST /v1/write is told: status and JSON (docs/PROTOCOL.md).
 */
#ifndef WRITE_ANSWER_H
#define WRITE_ANSWER_H

#include "write/memory.h"

#define WRITE_RETRY_SECONDS 2 /* when to come again, at the earliest */

struct write_reply {
    int status;
    bool again; /* retry-after: it may go later */
    struct buf body;
};

/* Each fills a zeroed reply; its body is the caller's to release. */

void answer_invalid(const struct write_invalid *invalid, struct write_reply *reply);
/* Nothing was decided, for the reason in err: ERR_INPUT is a 403, anything else a 503. */
void answer_failure(const struct err *err, struct write_reply *reply);
/* `err`: why a part of it is to be sent again, if it is. */
void answer_outcome(const struct write_request *request, const struct write_outcome *outcome,
                    const struct err *err, struct write_reply *reply);
void answer_known(const struct write_known *known, struct write_reply *reply);

#endif
