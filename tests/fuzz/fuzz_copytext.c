/* Any bytes as a line of COPY's text format, with as many columns as its first byte says. */
#include "pg/copytext.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct value values[256];
    uint16_t places[256];
    struct err err;

    if (size == 0)
        return 0;
    uint16_t n = (uint16_t)(data[0] % 255 + 1);
    for (uint16_t i = 0; i < n; i++)
        places[i] = i;
    if (copytext_split((struct slice){(const char *)data + 1, size - 1}, places, n, &arena, values,
                       &err)) {
        size_t total = 0;

        for (uint16_t i = 0; i < n; i++)
            total += values[i].kind == VALUE_TEXT ? values[i].text.len : 0;
        if (total > size)
            abort();
    }
    arena_release(&arena);
    return 0;
}
