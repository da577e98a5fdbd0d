#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK_SIZE ((size_t)16 * 1024)
#define KEEP_AT_MOST ((size_t)1024 * 1024) /* a block larger than this is not kept over a reset */

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    alignas(max_align_t) unsigned char data[];
};

static _Noreturn void out_of_memory(size_t size)
{
    fprintf(stderr, "out of memory: could not get %zu bytes\n", size);
    abort();
}

void *xmalloc(size_t size)
{
    void *p = malloc(size ? size : 1);

    if (!p)
        out_of_memory(size);
    return p;
}

void *xcalloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1);

    if (!p)
        out_of_memory(n);
    return p;
}

void *xrealloc(void *old, size_t size)
{
    void *p = realloc(old, size ? size : 1);

    if (!p)
        out_of_memory(size);
    return p;
}

char *xstrdup(const char *cstr)
{
    size_t len = strlen(cstr) + 1;

    return memcpy(xmalloc(len), cstr, len);
}

static void add_block(struct arena *arena, size_t size)
{
    struct arena_block *b = xmalloc(sizeof(*b) + size);

    *b = (struct arena_block){.next = arena->head, .size = size};
    arena->head = b;
    arena->size += size;
}

void arena_reserve(struct arena *arena, size_t size)
{
    if (!arena->head)
        add_block(arena, size);
}

void *arena_alloc(struct arena *arena, size_t size)
{
    const size_t align = alignof(max_align_t);

    if (size > SIZE_MAX - align - sizeof(struct arena_block))
        out_of_memory(size);
    size = (size + align - 1) & ~(align - 1);
    if (!arena->head || arena->head->size - arena->head->used < size) {
        size_t grown = arena->head ? arena->head->size * 2 : BLOCK_SIZE;

        if (grown > KEEP_AT_MOST)
            grown = KEEP_AT_MOST;
        add_block(arena, size > grown ? size : grown);
    }
    void *p = arena->head->data + arena->head->used;
    arena->head->used += size;
    return p;
}

size_t arena_used(const struct arena *arena)
{
    size_t used = 0;

    for (const struct arena_block *b = arena->head; b; b = b->next)
        used += b->used;
    return used;
}

void *arena_calloc(struct arena *arena, size_t n, size_t size)
{
    if (size && n > SIZE_MAX / size)
        out_of_memory(n);
    void *p = arena_alloc(arena, n * size);

    return memset(p, 0, n * size);
}

struct slice arena_copy(struct arena *arena, struct slice bytes)
{
    char *p = arena_alloc(arena, bytes.len + 1);

    if (bytes.len)
        memcpy(p, bytes.ptr, bytes.len);
    p[bytes.len] = '\0';
    return (struct slice){p, bytes.len};
}

char *arena_strdup(struct arena *arena, const char *cstr)
{
    size_t len = strlen(cstr) + 1;

    return memcpy(arena_alloc(arena, len), cstr, len);
}

char *arena_printf(struct arena *arena, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);

    char *p = arena_alloc(arena, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

static void free_blocks(struct arena *arena, struct arena_block *but)
{
    while (arena->head) {
        struct arena_block *b = arena->head;

        arena->head = b->next;
        if (b != but)
            free(b);
    }
    arena->size = 0;
}

void arena_reset(struct arena *arena)
{
    struct arena_block *largest = NULL;

    for (struct arena_block *b = arena->head; b; b = b->next) {
        if (b->size <= KEEP_AT_MOST && (!largest || b->size > largest->size))
            largest = b;
    }
    free_blocks(arena, largest);
    if (largest) {
        largest->next = NULL;
        largest->used = 0;
        arena->head = largest;
        arena->size = largest->size;
    }
}

void arena_release(struct arena *arena)
{
    free_blocks(arena, NULL);
}
