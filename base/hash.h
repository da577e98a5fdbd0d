/*
 * Hashing and hash maps. The hash is XXH3 (xxhash), used for tables and, in
 * the shape log's files, as a checksum against torn and flipped bytes.
 *
 * Two maps, and a set of things that hold their own keys: it takes half of what
 * a map by text takes, for what there is a hundred thousand of. All are
 * open-addressed with linear probing and grow at three quarters full. A zeroed
 * one is empty. Values are pointers that it does not own; NULL is not a value.
 * No iterator survives an insert or a removal.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/slice.h"

#include <stdint.h>

uint64_t hash_bytes(struct slice bytes);
uint64_t hash_u64(uint64_t v);

/* 128 bits in which no two texts agree, not even two that were made to by somebody who does not
 * have the key. */
struct hash128 {
    uint64_t lo, hi;
};

static inline bool hash128_eq(struct hash128 a, struct hash128 b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

struct hash_key {
    unsigned char secret[192];
};

/* A key of the kernel's randomness. */
void hash_key_init(struct hash_key *key);
struct hash128 hash_keyed(const struct hash_key *key, struct slice bytes);

struct u64map_slot {
    void *value; /* first; NULL: free */
    uint64_t key;
};

struct u64map {
    struct u64map_slot *slots;
    size_t len, cap; /* cap is 0 or a power of two */
};

void *u64map_get(const struct u64map *map, uint64_t key);
/* Sets, replacing what was there; returns the value before, or NULL. */
void *u64map_set(struct u64map *map, uint64_t key, void *value);
/* Returns what was removed, or NULL. */
void *u64map_remove(struct u64map *map, uint64_t key);
void u64map_release(struct u64map *map);
/* Walks the map: start with *at = 0, ends with NULL. */
struct u64map_slot *u64map_next(const struct u64map *map, size_t *at);

struct strmap_slot {
    void *value;      /* first; NULL: free */
    struct slice key; /* borrowed: must live as long as the entry */
    uint64_t hash;
};

struct strmap {
    struct strmap_slot *slots;
    size_t len, cap;
};

void *strmap_get(const struct strmap *map, struct slice key);
/* Sets, replacing key and value; returns the value before, or NULL. */
void *strmap_set(struct strmap *map, struct slice key, void *value);
void *strmap_remove(struct strmap *map, struct slice key);
void strmap_release(struct strmap *map);
struct strmap_slot *strmap_next(const struct strmap *map, size_t *at);

struct hashset_slot {
    void *item; /* first; NULL: free */
    uint64_t hash;
};

struct hashset {
    struct hashset_slot *slots;
    size_t len, cap;
};

/* Whether the item is the one with this key: asked of those whose hash is the key's. */
typedef bool hashset_is(const void *item, const void *key);

/* The item, or NULL. `hash` is the caller's, of the key. */
void *hashset_get(const struct hashset *set, uint64_t hash, hashset_is *is, const void *key);
/* Adds an item whose key is not there. */
void hashset_add(struct hashset *set, uint64_t hash, void *item);
/* Takes out this very item; no effect where it is not there. */
void hashset_remove(struct hashset *set, uint64_t hash, const void *item);
void hashset_release(struct hashset *set);
void *hashset_next(const struct hashset *set, size_t *at);

#endif
