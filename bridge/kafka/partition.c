#include "kafka/partition.h"

#include <assert.h>

#define SEED UINT32_C(0x9747b28c)
#define MIX UINT32_C(0x5bd1e995)

/* Up to four bytes, the first is the lowest. */
static uint32_t read_bytes(const uint8_t *p, size_t n)
{
    uint32_t v = 0;

    for (size_t i = 0; i < n; i++)
        v |= (uint32_t)p[i] << (i * 8);
    return v;
}

uint32_t partition_hash(struct slice key)
{
    const uint8_t *p = (const uint8_t *)key.ptr;
    uint32_t hash = SEED ^ (uint32_t)key.len;
    size_t left = key.len;

    for (; left >= 4; left -= 4, p += 4) {
        uint32_t k = read_bytes(p, 4) * MIX;

        k = (k ^ k >> 24) * MIX;
        hash = hash * MIX ^ k;
    }
    if (left)
        hash = (hash ^ read_bytes(p, left)) * MIX;
    hash = (hash ^ hash >> 13) * MIX;
    return hash ^ hash >> 15;
}

int32_t partition_of(struct slice key, int32_t npartitions)
{
    assert(npartitions > 0);
    return (int32_t)(partition_hash(key) & 0x7fffffff) % npartitions;
}
