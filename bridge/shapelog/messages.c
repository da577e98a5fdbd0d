#include "shapelog/messages.h"

#include <string.h>

static const struct slice boundary = {"}},{\"key\":\"", 10};
static const struct slice position = {",\"op_position\":", 15};

bool messages_next(struct slice *run, struct slice *message)
{
    if (run->len == 0)
        return false;
    const char *p = memmem(run->ptr, run->len, boundary.ptr, boundary.len);
    size_t len = p ? (size_t)(p - run->ptr) + 2 : run->len; /* with its "}}" */
    size_t taken = p ? len + 1 : len;                       /* and the comma */

    *message = (struct slice){run->ptr, len};
    *run = (struct slice){run->ptr + taken, run->len - taken};
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool messages_op(struct slice message, uint64_t *op)
{
    const char *at = message.ptr, *end = message.ptr + message.len;

    while ((at = memmem(at, (size_t)(end - at), position.ptr, position.len))) {
        at += position.len;
        if (at == end || !is_digit(*at))
            continue;
        for (*op = 0; at < end && is_digit(*at); at++)
            *op = *op * 10 + (uint64_t)(*at - '0');
        return true;
    }
    return false;
}
