#include "shapes/ident.h"

#define MAX_IDENT 63 /* characters */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80);
}

static bool check_length(struct slice ident, struct err *err)
{
    size_t chars = 0;

    for (size_t i = 0; i < ident.len; i++)
        chars += ((unsigned char)ident.ptr[i] & 0xc0) != 0x80;
    if (ident.len == 0)
        return err_set(err, ERR_INPUT, "Invalid zero-length delimited identifier");
    if (chars > MAX_IDENT)
        return err_set(err, ERR_INPUT, "Identifier is too long (max length is %d)", MAX_IDENT);
    return true;
}

static bool unquote(struct slice inner, struct arena *arena, struct slice *out, struct err *err)
{
    char *to = arena_alloc(arena, inner.len);
    size_t n = 0;

    for (size_t i = 0; i < inner.len; i++) {
        if (inner.ptr[i] == '"' && (i + 1 == inner.len || inner.ptr[++i] != '"'))
            return err_set(err, ERR_INPUT, "Invalid identifier with unescaped quote: %.*s",
                           SLICE_ARG(inner));
        to[n++] = inner.ptr[i];
    }
    *out = (struct slice){to, n};
    return check_length(*out, err);
}

static bool fold(struct slice raw, struct arena *arena, struct slice *out, struct err *err)
{
    char *to = arena_alloc(arena, raw.len);

    if (!check_length(raw, err))
        return false;
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.ptr[i];
        bool inner = (c >= '0' && c <= '9') || c == '$';

        if (!is_letter(c) && !(inner && i > 0))
            return err_set(err, ERR_INPUT,
                           "Invalid unquoted identifier contains special characters: %.*s",
                           SLICE_ARG(raw));
        to[i] = c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
    }
    *out = (struct slice){to, raw.len};
    return true;
}

static bool parse_part(struct slice raw, struct arena *arena, struct slice *out, struct err *err)
{
    if (raw.len >= 2 && raw.ptr[0] == '"' && raw.ptr[raw.len - 1] == '"')
        return unquote((struct slice){raw.ptr + 1, raw.len - 2}, arena, out, err);
    return fold(raw, arena, out, err);
}

bool ident_split(struct slice text, char separator, struct arena *arena, struct slice **parts,
                 size_t *n, struct err *err)
{
    size_t start = 0, count = 1;
    bool quoted = false;

    for (size_t i = 0; i < text.len; i++)
        count += text.ptr[i] == separator;
    *parts = arena_calloc(arena, count, sizeof(**parts));
    *n = 0;
    for (size_t i = 0; i <= text.len; i++) {
        if (i < text.len && text.ptr[i] == '"')
            quoted = !quoted;
        if (i < text.len && (quoted || text.ptr[i] != separator))
            continue;
        struct slice raw = {text.ptr + start, i - start};
        if (!parse_part(raw, arena, &(*parts)[(*n)++], err))
            return false;
        start = i + 1;
    }
    return true;
}

bool ident_is_replica(struct slice id)
{
    for (size_t i = 0; i < id.len; i++) {
        char c = id.ptr[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              memchr("._:-", c, 4))) /* strchr() would find a NUL too */
            return false;
    }
    return id.len >= 1 && id.len <= 128;
}
