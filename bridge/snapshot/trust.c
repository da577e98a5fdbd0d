#include "snapshot/trust.h"
#include "change/standing.h"

#include <stdlib.h>

struct trusted {
    bool full;
    struct slice published, storage; /* both in: */
    char texts[];
};

void trust_init(struct trust *t)
{
    *t = (struct trust){0};
    pthread_mutex_init(&t->mutex, NULL);
}

void trust_release(struct trust *t)
{
    trust_forget_all(t);
    pthread_mutex_destroy(&t->mutex);
}

/* Partitions that have come since are not known. */
static bool is_same(const struct trusted *known, const struct table *table)
{
    return published_since(known->published, table->published) &&
           (table->relkind != 'p' || storage_same(known->storage, table->storage));
}

static struct trusted *trusted_new(const struct table *table, bool full)
{
    struct slice a = table->published, b = table->storage;
    struct trusted *known = xmalloc(sizeof(*known) + a.len + b.len);

    *known = (struct trusted){
        .full = full, .published = {known->texts, a.len}, .storage = {known->texts + a.len, b.len}};
    if (a.len)
        memcpy(known->texts, a.ptr, a.len);
    if (b.len)
        memcpy(known->texts + a.len, b.ptr, b.len);
    return known;
}

bool trust_has(struct trust *t, const struct table *table, bool full)
{
    pthread_mutex_lock(&t->mutex);
    const struct trusted *known = u64map_get(&t->relids, table->relid);
    bool has = known && is_same(known, table) && (!full || (known->full && table_is_full(table)));
    pthread_mutex_unlock(&t->mutex);
    return has;
}

void trust_set(struct trust *t, const struct table *table, bool full)
{
    struct trusted *now = trusted_new(table, full);

    pthread_mutex_lock(&t->mutex);
    struct trusted *before = u64map_set(&t->relids, table->relid, now);
    now->full |= before && before->full && is_same(before, table);
    pthread_mutex_unlock(&t->mutex);
    free(before);
}

static void forget(struct trust *t, uint32_t relid)
{
    struct trusted *known = u64map_get(&t->relids, relid);

    if (known)
        u64map_remove(&t->relids, relid);
    free(known);
}

void trust_forget(struct trust *t, uint32_t relid)
{
    pthread_mutex_lock(&t->mutex);
    forget(t, relid);
    pthread_mutex_unlock(&t->mutex);
}

void trust_keep(struct trust *t, const struct u64map *relids)
{
    struct u64map_slot *slot;
    size_t n = 0;

    pthread_mutex_lock(&t->mutex);
    uint32_t *gone = xcalloc(t->relids.cap, sizeof(*gone));
    for (size_t at = 0; (slot = u64map_next(&t->relids, &at));) {
        if (!u64map_get(relids, slot->key))
            gone[n++] = (uint32_t)slot->key;
    }
    for (size_t i = 0; i < n; i++)
        forget(t, gone[i]);
    pthread_mutex_unlock(&t->mutex);
    free(gone);
}

void trust_forget_all(struct trust *t)
{
    struct u64map_slot *slot;

    pthread_mutex_lock(&t->mutex);
    for (size_t at = 0; (slot = u64map_next(&t->relids, &at));)
        free(slot->value);
    u64map_release(&t->relids);
    pthread_mutex_unlock(&t->mutex);
}
