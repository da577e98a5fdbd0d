#include "snapshot/trust.h"

/* A map's values are pointers: these two stand for the levels. */
static char published, full;

void trust_init(struct trust *t)
{
    *t = (struct trust){0};
    pthread_mutex_init(&t->mutex, NULL);
}

void trust_release(struct trust *t)
{
    u64map_release(&t->relids);
    pthread_mutex_destroy(&t->mutex);
}

static enum trust_level level_of(const void *value)
{
    return !value ? TRUST_NONE : value == &full ? TRUST_FULL : TRUST_PUBLISHED;
}

enum trust_level trust_get(struct trust *t, uint32_t relid)
{
    pthread_mutex_lock(&t->mutex);
    enum trust_level level = level_of(u64map_get(&t->relids, relid));
    pthread_mutex_unlock(&t->mutex);
    return level;
}

void trust_set(struct trust *t, uint32_t relid, enum trust_level level)
{
    pthread_mutex_lock(&t->mutex);
    if (level == TRUST_NONE)
        u64map_remove(&t->relids, relid);
    else if (level > level_of(u64map_get(&t->relids, relid)))
        u64map_set(&t->relids, relid, level == TRUST_FULL ? &full : &published);
    pthread_mutex_unlock(&t->mutex);
}

void trust_forget_all(struct trust *t)
{
    pthread_mutex_lock(&t->mutex);
    u64map_release(&t->relids);
    pthread_mutex_unlock(&t->mutex);
}
