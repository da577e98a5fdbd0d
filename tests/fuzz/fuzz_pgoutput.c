/*
 * Any bytes as a pgoutput message: an error or a message, never more; and a
 * message that was read is written as the same bytes again.
 */
#include "base/arena.h"
#include "change/pgoutput.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ORIGIN and TYPE are read and dropped, and a name of pg_catalog may have been empty. */
static bool keeps_all(const struct pgoutput *msg)
{
    return msg->kind != PGOUTPUT_ORIGIN && msg->kind != PGOUTPUT_TYPE &&
           msg->kind != PGOUTPUT_RELATION;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct pgoutput msg;
    struct err err;
    struct buf again;

    if (pgoutput_read((struct slice){(const char *)data, size}, &arena, &msg, &err)) {
        buf_init(&again, BUF_NO_LIMIT);
        pgoutput_write(&again, &msg);
        if (keeps_all(&msg) && (again.len != size || memcmp(again.ptr, data, size) != 0))
            abort();
        buf_release(&again);
    } else if (err.code != ERR_PROTOCOL) {
        abort();
    }
    arena_release(&arena);
    return 0;
}
