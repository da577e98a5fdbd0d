/*
 * Tables that are shared: a bridge may have a hundred thousand shapes on one
 * table, and each looks the table up anew. Whoever has read one gives it here
 * and gets the one that was read before, if nothing about it has changed since.
 *
 * Keeps one version a relid, the last; shapes of earlier ones keep theirs by
 * their own references. Any thread.
 */
#ifndef CHANGE_TABLES_H
#define CHANGE_TABLES_H

#include "base/hash.h"
#include "change/table.h"

#include <pthread.h>

struct tables {
    pthread_mutex_t mutex;
    struct u64map relids; /* relid -> struct table, a reference */
};

void tables_init(struct tables *tables);
void tables_release(struct tables *tables);
/* Takes the caller's reference to `table` and gives one to the table to be used in its place: the
 * one that is kept, if it is identical, else `table`, which is kept from now on. NULL gives NULL.
 */
struct table *tables_share(struct tables *tables, struct table *table) MUST_CHECK;

#endif
