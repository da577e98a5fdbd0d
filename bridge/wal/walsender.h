/*
 * The feed that is a replication slot: a walsender's COPY stream.
 */
#ifndef WAL_WALSENDER_H
#define WAL_WALSENDER_H

#include "wal/feed.h"

struct unseen;

struct walsender_config {
    const char *conninfo;
    const char *slot, *publication; /* [a-z0-9_]{1,63} */
    struct unseen *unseen;          /* emptied when another history begins */
    struct feed_keep keep;
};

struct feed *walsender_new(const struct walsender_config *config);
void walsender_free(struct feed *feed);

#endif
