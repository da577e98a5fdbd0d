/*
 * Which tables are known to be published, with all earlier writers gone, and
 * to have REPLICA IDENTITY FULL: so that a shape on a table that has others
 * costs no look at the catalogue. Any thread.
 */
#ifndef SNAPSHOT_TRUST_H
#define SNAPSHOT_TRUST_H

#include "base/hash.h"

#include <pthread.h>

struct trust {
    pthread_mutex_t mutex;
    struct u64map relids; /* relid -> trust_published or trust_full */
};

enum trust_level { TRUST_NONE, TRUST_PUBLISHED, TRUST_FULL };

void trust_init(struct trust *trust);
void trust_release(struct trust *trust);
enum trust_level trust_get(struct trust *trust, uint32_t relid);
/* Raises the level; TRUST_NONE forgets the table. */
void trust_set(struct trust *trust, uint32_t relid, enum trust_level level);
void trust_forget_all(struct trust *trust);

#endif
