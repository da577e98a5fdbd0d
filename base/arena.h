/*
 * Memory with one lifetime. Everything that belongs to a transaction or a
 * request is allocated here and goes at once with arena_reset() or
 * arena_release(); nothing in it is freed alone. Running out of memory ends
 * the process, so a result is never NULL.
 *
 * A zeroed struct is an empty arena. Not for use by two threads at a time.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/err.h"
#include "base/slice.h"

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *head; /* newest first */
    size_t size;              /* bytes held from the system */
};

/* `size` bytes aligned for anything, not cleared; size 0 gives a valid pointer. */
void *arena_alloc(struct arena *arena, size_t size);
/* `n` elements of `size` bytes each, cleared. Ends the process when n * size overflows. */
void *arena_calloc(struct arena *arena, size_t n, size_t size);
/* A copy of the bytes; the copy is NUL-terminated behind its last byte. */
struct slice arena_copy(struct arena *arena, struct slice bytes);
char *arena_strdup(struct arena *arena, const char *cstr);
char *arena_printf(struct arena *arena, const char *fmt, ...) PRINTF(2, 3);

/* Makes an empty arena's first block hold `size` bytes and no more, for what lives long and is
 * many; sizes are to be rounded up to 16 one by one. */
void arena_reserve(struct arena *arena, size_t size);

/* Bytes that were taken from it since it was empty, each piece rounded up. */
size_t arena_used(const struct arena *arena);

/* Empties for reuse: keeps the largest block, so that a steady user stops asking the system. */
void arena_reset(struct arena *arena);
/* Gives everything back. */
void arena_release(struct arena *arena);

/* malloc and realloc that end the process instead of returning NULL. */
void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t size);
char *xstrdup(const char *cstr);

#endif
