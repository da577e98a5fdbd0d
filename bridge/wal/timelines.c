#include "wal/timelines.h"

#include "base/slice.h"

#include <stdio.h>
#include <string.h>

/* Up to the next line's end, or the text's. */
static struct slice next_line(struct slice *text)
{
    const char *end = memchr(text->ptr, '\n', text->len);
    size_t len = end ? (size_t)(end - text->ptr) : text->len;
    struct slice line = {text->ptr, len};

    *text = (struct slice){text->ptr + len + (end ? 1 : 0), text->len - len - (end ? 1 : 0)};
    return line;
}

static bool read_line(struct slice line, struct timeline_end *end)
{
    char text[64];
    unsigned timeline, high, low;

    snprintf(text, sizeof(text), "%.*s", SLICE_ARG(line));
    if (sscanf(text, "%u %X/%X", &timeline, &high, &low) != 3)
        return false;
    *end = (struct timeline_end){timeline, (lsn_t)high << 32 | low};
    return true;
}

void timelines_read(struct timelines *t, uint32_t timeline, struct slice text, struct arena *arena)
{
    size_t most = 1;

    for (size_t i = 0; i < text.len; i++)
        most += text.ptr[i] == '\n';
    *t = (struct timelines){.timeline = timeline,
                            .ends = arena_calloc(arena, most, sizeof(*t->ends))};
    while (text.len)
        t->n += read_line(next_line(&text), &t->ends[t->n]);
}

bool timelines_have(const struct timelines *t, uint32_t timeline, lsn_t lsn)
{
    if (timeline == t->timeline)
        return true;
    for (size_t i = 0; i < t->n; i++) {
        if (t->ends[i].timeline == timeline)
            return lsn <= t->ends[i].end;
    }
    return false;
}
