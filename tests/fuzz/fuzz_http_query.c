/* Query strings and paths: whatever comes, the results lie in memory and decode at most once. */
#include "http/query.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* Sums all bytes, so that a sanitizer sees a read outside. */
static unsigned touch(struct slice s)
{
    unsigned sum = 0;

    for (size_t i = 0; i < s.len; i++)
        sum += (unsigned char)s.ptr[i];
    return sum;
}

static void check_query(struct slice text, struct arena *arena)
{
    struct http_query query;
    struct slice key;
    struct err err;
    size_t total = 0;

    if (!http_query_parse(&query, text, arena, &err)) {
        check(err.code == ERR_INPUT && memchr(text.ptr, '%', text.len));
        return;
    }
    for (size_t i = 0; i < query.len; i++) {
        const struct http_param *p = &query.params[i];

        touch(p->name);
        touch(p->value);
        total += p->name.len + p->value.len;
        if (http_param_bracket(p, "params", &key))
            check(key.len + 8 == p->name.len);
    }
    check(total <= text.len);
}

static void check_path(struct slice text, struct arena *arena)
{
    struct slice once;
    struct err err;

    if (!http_path_normalise(text, arena, &once, &err))
        return;
    touch(once);
    check(once.len <= text.len);
    check(!memmem(once.ptr, once.len, "//", 2) && !memchr(once.ptr, 0, once.len));
    check(once.len <= 1 || once.ptr[once.len - 1] != '/');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    char *copy = malloc(size ? size : 1); /* exact size: a read past it is seen */

    if (size)
        memcpy(copy, data, size);
    check_query((struct slice){copy, size}, &arena);
    if (!memchr(copy, '\0', size))
        check_path((struct slice){copy, size}, &arena);
    free(copy);
    arena_release(&arena);
    return 0;
}
