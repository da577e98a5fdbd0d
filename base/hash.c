#include "base/hash.h"
#include "base/arena.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define FIRST_CAP ((size_t)16)

uint64_t hash_bytes(struct slice bytes)
{
    return XXH3_64bits(bytes.ptr, bytes.len);
}

void hash_key_init(struct hash_key *key)
{
    _Static_assert(sizeof(key->secret) >= XXH3_SECRET_SIZE_MIN, "XXH3 wants as much");
    size_t n = 0;

    while (n < sizeof(key->secret)) {
        ssize_t got = getrandom(key->secret + n, sizeof(key->secret) - n, 0);

        if (got < 0 && errno != EINTR)
            abort(); /* it cannot fail otherwise */
        n += got > 0 ? (size_t)got : 0;
    }
}

struct hash128 hash_keyed(const struct hash_key *key, struct slice bytes)
{
    XXH128_hash_t h =
        XXH3_128bits_withSecret(bytes.ptr, bytes.len, key->secret, sizeof(key->secret));

    return (struct hash128){h.low64, h.high64};
}

uint64_t hash_u64(uint64_t v)
{
    v ^= v >> 32;
    v *= 0x9fb21c651e98df25u;
    v ^= v >> 29;
    v *= 0x9fb21c651e98df25u;
    return v ^ v >> 32;
}

/* The slots of any of them, to which a removal is the same. */
struct slots {
    void *first;
    size_t size, cap;
    uint64_t (*hash)(const void *slot);
};

/* Frees the slot, and closes the hole: moves back whatever probed past it. Returns the value. */
static void *free_slot(const struct slots *slots, void *slot)
{
    void *value = *(void **)slot; /* a slot's first member */
    char *hole = slot, *end = (char *)slots->first + slots->cap * slots->size;
    size_t mask = slots->cap - 1, distance = 0; /* from the hole to `p` */

    for (char *p = hole;;) {
        p = p + slots->size == end ? slots->first : p + slots->size;
        distance++;
        if (!*(void **)(void *)p)
            break;
        size_t at = (size_t)(p - (char *)slots->first) / slots->size;

        if (((at - slots->hash(p)) & mask) >= distance) {
            memcpy(hole, p, slots->size);
            hole = p;
            distance = 0;
        }
    }
    *(void **)(void *)hole = NULL;
    return value;
}

/* The slot that holds the key, or the free one where it would go. */
static struct u64map_slot *u64map_find(const struct u64map *map, uint64_t key)
{
    size_t i = hash_u64(key) & (map->cap - 1);

    while (map->slots[i].value && map->slots[i].key != key)
        i = (i + 1) & (map->cap - 1);
    return &map->slots[i];
}

void *u64map_get(const struct u64map *map, uint64_t key)
{
    return map->len ? u64map_find(map, key)->value : NULL;
}

static void u64map_grow(struct u64map *map)
{
    struct u64map bigger = {.len = map->len, .cap = map->cap ? map->cap * 2 : FIRST_CAP};

    bigger.slots = xcalloc(bigger.cap, sizeof(*bigger.slots));
    for (size_t i = 0; i < map->cap; i++) {
        if (map->slots[i].value)
            *u64map_find(&bigger, map->slots[i].key) = map->slots[i];
    }
    free(map->slots);
    *map = bigger;
}

void *u64map_set(struct u64map *map, uint64_t key, void *value)
{
    if (map->len + 1 > map->cap / 4 * 3)
        u64map_grow(map);
    struct u64map_slot *slot = u64map_find(map, key);
    void *before = slot->value;

    *slot = (struct u64map_slot){value, key};
    map->len += !before;
    return before;
}

static uint64_t u64map_hash(const void *slot)
{
    return hash_u64(((const struct u64map_slot *)slot)->key);
}

void *u64map_remove(struct u64map *map, uint64_t key)
{
    const struct slots slots = {map->slots, sizeof(*map->slots), map->cap, u64map_hash};
    struct u64map_slot *slot = map->len ? u64map_find(map, key) : NULL;

    if (!slot || !slot->value)
        return NULL;
    map->len--;
    return free_slot(&slots, slot);
}

void u64map_release(struct u64map *map)
{
    free(map->slots);
    *map = (struct u64map){0};
}

struct u64map_slot *u64map_next(const struct u64map *map, size_t *at)
{
    while (*at < map->cap) {
        struct u64map_slot *slot = &map->slots[(*at)++];

        if (slot->value)
            return slot;
    }
    return NULL;
}

static struct strmap_slot *strmap_find(const struct strmap *map, struct slice key, uint64_t hash)
{
    size_t i = hash & (map->cap - 1);

    while (map->slots[i].value && !(map->slots[i].hash == hash && slice_eq(map->slots[i].key, key)))
        i = (i + 1) & (map->cap - 1);
    return &map->slots[i];
}

void *strmap_get(const struct strmap *map, struct slice key)
{
    return map->len ? strmap_find(map, key, hash_bytes(key))->value : NULL;
}

static void strmap_grow(struct strmap *map)
{
    struct strmap bigger = {.len = map->len, .cap = map->cap ? map->cap * 2 : FIRST_CAP};

    bigger.slots = xcalloc(bigger.cap, sizeof(*bigger.slots));
    for (size_t i = 0; i < map->cap; i++) {
        struct strmap_slot *slot = &map->slots[i];

        if (slot->value)
            *strmap_find(&bigger, slot->key, slot->hash) = *slot;
    }
    free(map->slots);
    *map = bigger;
}

void *strmap_set(struct strmap *map, struct slice key, void *value)
{
    uint64_t hash = hash_bytes(key);

    if (map->len + 1 > map->cap / 4 * 3)
        strmap_grow(map);
    struct strmap_slot *slot = strmap_find(map, key, hash);
    void *before = slot->value;

    *slot = (struct strmap_slot){value, key, hash};
    map->len += !before;
    return before;
}

static uint64_t strmap_hash(const void *slot)
{
    return ((const struct strmap_slot *)slot)->hash;
}

void *strmap_remove(struct strmap *map, struct slice key)
{
    const struct slots slots = {map->slots, sizeof(*map->slots), map->cap, strmap_hash};
    struct strmap_slot *slot = map->len ? strmap_find(map, key, hash_bytes(key)) : NULL;

    if (!slot || !slot->value)
        return NULL;
    map->len--;
    return free_slot(&slots, slot);
}

void strmap_release(struct strmap *map)
{
    free(map->slots);
    *map = (struct strmap){0};
}

struct strmap_slot *strmap_next(const struct strmap *map, size_t *at)
{
    while (*at < map->cap) {
        struct strmap_slot *slot = &map->slots[(*at)++];

        if (slot->value)
            return slot;
    }
    return NULL;
}

/* ---- the set --------------------------------------------------------------------------------- */

static struct hashset_slot *hashset_free_slot(const struct hashset *set, uint64_t hash)
{
    size_t i = hash & (set->cap - 1);

    while (set->slots[i].item)
        i = (i + 1) & (set->cap - 1);
    return &set->slots[i];
}

void *hashset_get(const struct hashset *set, uint64_t hash, hashset_is *is, const void *key)
{
    if (!set->len)
        return NULL;
    for (size_t i = hash & (set->cap - 1); set->slots[i].item; i = (i + 1) & (set->cap - 1)) {
        if (set->slots[i].hash == hash && is(set->slots[i].item, key))
            return set->slots[i].item;
    }
    return NULL;
}

static void hashset_grow(struct hashset *set)
{
    struct hashset bigger = {.len = set->len, .cap = set->cap ? set->cap * 2 : FIRST_CAP};

    bigger.slots = xcalloc(bigger.cap, sizeof(*bigger.slots));
    for (size_t i = 0; i < set->cap; i++) {
        if (set->slots[i].item)
            *hashset_free_slot(&bigger, set->slots[i].hash) = set->slots[i];
    }
    free(set->slots);
    *set = bigger;
}

void hashset_add(struct hashset *set, uint64_t hash, void *item)
{
    if (set->len + 1 > set->cap / 4 * 3)
        hashset_grow(set);
    *hashset_free_slot(set, hash) = (struct hashset_slot){item, hash};
    set->len++;
}

static uint64_t hashset_hash(const void *slot)
{
    return ((const struct hashset_slot *)slot)->hash;
}

void hashset_remove(struct hashset *set, uint64_t hash, const void *item)
{
    const struct slots slots = {set->slots, sizeof(*set->slots), set->cap, hashset_hash};
    size_t i = hash & (set->cap - 1);

    if (!set->len)
        return;
    while (set->slots[i].item && set->slots[i].item != item)
        i = (i + 1) & (set->cap - 1);
    if (!set->slots[i].item)
        return;
    set->len--;
    free_slot(&slots, &set->slots[i]);
}

void hashset_release(struct hashset *set)
{
    free(set->slots);
    *set = (struct hashset){0};
}

void *hashset_next(const struct hashset *set, size_t *at)
{
    while (*at < set->cap) {
        void *item = set->slots[(*at)++].item;

        if (item)
            return item;
    }
    return NULL;
}
