/*
 * Which tables are known to be followed whole: published, with all earlier
 * writers gone, so that a shape on a table that has others waits for nobody.
 *
 * What is kept of a table is how it stood in the publication when its writers
 * were waited for (change/standing.h). Whoever asks has looked the table up: it
 * is trusted only as long as it has been published without a break since, with
 * the same partitions. So a table that was taken out and put back is not,
 * whoever did so. Any thread.
 */
#ifndef SNAPSHOT_TRUST_H
#define SNAPSHOT_TRUST_H

#include "base/hash.h"
#include "change/table.h"

#include <pthread.h>

struct trust {
    pthread_mutex_t mutex;
    struct u64map relids; /* relid -> struct trusted */
};

void trust_init(struct trust *trust);
void trust_release(struct trust *trust);
/* `full`: also with REPLICA IDENTITY FULL since before these writers. */
bool trust_has(struct trust *trust, const struct table *table, bool full);
/* The table, as it was looked up before its writers were waited for. */
void trust_set(struct trust *trust, const struct table *table, bool full);
void trust_forget(struct trust *trust, uint32_t relid);
/* Forgets all but those that are keys of the map. */
void trust_keep(struct trust *trust, const struct u64map *relids);
void trust_forget_all(struct trust *trust);

#endif
