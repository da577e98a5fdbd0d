#include "wal/relcache.h"

#include <stdlib.h>

struct entry {
    struct arena arena;
    struct relation *relation;
};

static void entry_free(struct entry *entry)
{
    arena_release(&entry->arena);
    free(entry);
}

void relcache_clear(struct relcache *cache)
{
    for (size_t at = 0; at < cache->entries.cap;) {
        struct u64map_slot *slot = u64map_next(&cache->entries, &at);

        if (slot)
            entry_free(slot->value);
    }
    u64map_release(&cache->entries);
}

const struct relation *relcache_get(const struct relcache *cache, uint32_t relid)
{
    struct entry *entry = u64map_get(&cache->entries, relid);

    return entry ? entry->relation : NULL;
}

const struct relation *relcache_put(struct relcache *cache, const struct relation *relation,
                                    bool *changed)
{
    struct entry *entry = u64map_get(&cache->entries, relation->relid);

    *changed = !entry || !relation_same(entry->relation, relation);
    if (!*changed)
        return entry->relation;
    if (!entry) {
        entry = xcalloc(1, sizeof(*entry));
        u64map_set(&cache->entries, relation->relid, entry);
    }
    arena_release(&entry->arena);
    entry->relation = relation_copy(relation, &entry->arena);
    return entry->relation;
}
