#include "pg/copytext.h"

static char unescape(char c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'v':
        return '\v';
    default:
        return c;
    }
}

/* COPY TO never writes octal or hexadecimal escapes, so each backslash stands before one character.
 */
static struct slice unescaped(struct slice field, struct arena *arena)
{
    char *copy = arena_alloc(arena, field.len);
    size_t n = 0;

    for (size_t i = 0; i < field.len; i++) {
        if (field.ptr[i] == '\\' && i + 1 < field.len)
            copy[n++] = unescape(field.ptr[++i]);
        else
            copy[n++] = field.ptr[i];
    }
    return (struct slice){copy, n};
}

/* Of a line that has a backslash somewhere. */
static struct value escaped_value(struct slice field, struct arena *arena)
{
    if (slice_is(field, "\\N"))
        return (struct value){.kind = VALUE_NULL};
    if (field.len && memchr(field.ptr, '\\', field.len))
        field = unescaped(field, arena);
    return (struct value){.kind = VALUE_TEXT, .text = field};
}

bool copytext_split(struct slice line, const uint16_t *places, uint16_t n, struct arena *arena,
                    struct value *values, struct err *err)
{
    struct slice rest = line;
    bool escapes = line.len && memchr(line.ptr, '\\', line.len);

    for (uint16_t i = 0; i < n; i++) {
        const char *tab = rest.len ? memchr(rest.ptr, '\t', rest.len) : NULL;
        size_t len = tab ? (size_t)(tab - rest.ptr) : rest.len;

        if (!tab != (i + 1 == n))
            return err_set(err, ERR_PROTOCOL, "COPY sent a row that has not %u fields", n);
        struct slice field = {rest.ptr, len};
        values[places[i]] = escapes ? escaped_value(field, arena)
                                    : (struct value){.kind = VALUE_TEXT, .text = field};
        if (tab)
            rest = (struct slice){tab + 1, rest.len - len - 1};
    }
    return true;
}
