#include "change/unseen.h"

#include <pthread.h>
#include <stdlib.h>

struct entry {
    lsn_t commit_lsn;
    uint32_t xid;
};

struct unseen {
    pthread_mutex_t mutex;
    struct entry *entries; /* in commit order */
    size_t len, cap;
    lsn_t last; /* commit LSN of the newest ever added */
};

struct unseen *unseen_new(void)
{
    struct unseen *u = xcalloc(1, sizeof(*u));

    pthread_mutex_init(&u->mutex, NULL);
    return u;
}

void unseen_free(struct unseen *u)
{
    if (!u)
        return;
    pthread_mutex_destroy(&u->mutex);
    free(u->entries);
    free(u);
}

void unseen_add(struct unseen *u, const struct txn *txn)
{
    pthread_mutex_lock(&u->mutex);
    /* One sent again is listed still, or a snapshot has seen it. */
    if (txn->commit_lsn > u->last) {
        if (u->len == u->cap) {
            u->cap = u->cap ? u->cap * 2 : 64;
            u->entries = xrealloc(u->entries, u->cap * sizeof(*u->entries));
        }
        u->entries[u->len++] = (struct entry){txn->commit_lsn, txn->xid};
        u->last = txn->commit_lsn;
    }
    pthread_mutex_unlock(&u->mutex);
}

void unseen_prune(struct unseen *u, const struct snapshot *snapshot)
{
    size_t kept = 0;

    pthread_mutex_lock(&u->mutex);
    for (size_t i = 0; i < u->len; i++) {
        if (!snapshot_sees(snapshot, u->entries[i].xid))
            u->entries[kept++] = u->entries[i];
    }
    u->len = kept;
    pthread_mutex_unlock(&u->mutex);
}

bool unseen_misses(struct unseen *u, const struct snapshot *snapshot, lsn_t upto)
{
    bool misses = false;

    pthread_mutex_lock(&u->mutex);
    for (size_t i = 0; i < u->len && u->entries[i].commit_lsn <= upto && !misses; i++)
        misses = !snapshot_sees(snapshot, u->entries[i].xid);
    pthread_mutex_unlock(&u->mutex);
    return misses;
}

lsn_t unseen_floor(struct unseen *u)
{
    pthread_mutex_lock(&u->mutex);
    lsn_t floor = u->len ? u->entries[0].commit_lsn : UINT64_MAX;
    pthread_mutex_unlock(&u->mutex);
    return floor;
}

size_t unseen_len(struct unseen *u)
{
    pthread_mutex_lock(&u->mutex);
    size_t len = u->len;
    pthread_mutex_unlock(&u->mutex);
    return len;
}

void unseen_clear(struct unseen *u)
{
    pthread_mutex_lock(&u->mutex);
    u->len = 0;
    u->last = 0;
    pthread_mutex_unlock(&u->mutex);
}
