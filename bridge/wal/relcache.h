/*
 * The relations announced on one connection, by relid.
 */
#ifndef WAL_RELCACHE_H
#define WAL_RELCACHE_H

#include "base/hash.h"
#include "change/relation.h"

struct relcache {
    struct u64map entries;
};

void relcache_clear(struct relcache *cache);
/* NULL when it has not been announced. Lives until it is announced with a change, or the cache is
 * cleared. */
const struct relation *relcache_get(const struct relcache *cache, uint32_t relid);
/* Keeps a copy. *changed: it is new, or not the same as before. */
const struct relation *relcache_put(struct relcache *cache, const struct relation *relation,
                                    bool *changed);

#endif
