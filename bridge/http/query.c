#include "http/query.h"

#include <stdint.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The byte that the escape at text[at] stands for, or -1. */
static int escape_at(struct slice text, size_t at)
{
    if (text.len - at < 3)
        return -1;
    int high = hex_value(text.ptr[at + 1]), low = hex_value(text.ptr[at + 2]);

    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static bool bad_escape(const char *what, size_t at, struct err *err)
{
    err_set(err, ERR_INPUT, "invalid percent escape in the %s at byte %zu", what, at + 1);
    return err_hint(err, "write a percent sign as %%25");
}

static bool needs_decoding(struct slice s)
{
    return s.len && (memchr(s.ptr, '%', s.len) || memchr(s.ptr, '+', s.len));
}

/* Decodes text[from..to) of a query string. */
static bool decode(struct slice text, size_t from, size_t to, struct arena *arena,
                   struct slice *out, struct err *err)
{
    struct slice part = {text.ptr + from, to - from};

    *out = part;
    if (!needs_decoding(part))
        return true;
    char *p = arena_alloc(arena, part.len);
    size_t n = 0;
    for (size_t i = 0; i < part.len; i++) {
        int byte = (unsigned char)part.ptr[i];

        if (byte == '+') {
            byte = ' ';
        } else if (byte == '%') {
            byte = escape_at(part, i);
            if (byte < 0)
                return bad_escape("query string", from + i, err);
            i += 2;
        }
        p[n++] = (char)byte;
    }
    *out = (struct slice){p, n};
    return true;
}

static size_t find(struct slice text, size_t from, size_t to, char c)
{
    const char *p = to > from ? memchr(text.ptr + from, c, to - from) : NULL;

    return p ? (size_t)(p - text.ptr) : to;
}

static size_t count_params(struct slice text)
{
    size_t n = 1;

    for (size_t i = 0; i < text.len; i++)
        n += text.ptr[i] == '&';
    return n;
}

bool http_query_parse(struct http_query *query, struct slice text, struct arena *arena,
                      struct err *err)
{
    *query = (struct http_query){0};
    if (text.len == 0)
        return true;
    struct http_param *params = arena_calloc(arena, count_params(text), sizeof(*params));

    query->params = params;
    for (size_t at = 0; at < text.len;) {
        size_t end = find(text, at, text.len, '&');
        size_t eq = find(text, at, end, '=');

        if (end > at) {
            struct http_param *p = &params[query->len++];
            size_t value = eq < end ? eq + 1 : end;

            if (!decode(text, at, eq, arena, &p->name, err) ||
                !decode(text, value, end, arena, &p->value, err))
                return false;
        }
        at = end + 1;
    }
    return true;
}

bool http_query_get(const struct http_query *query, const char *name, struct slice *value)
{
    for (size_t i = query->len; i-- > 0;) {
        if (slice_is(query->params[i].name, name)) {
            *value = query->params[i].value;
            return true;
        }
    }
    *value = SLICE("");
    return false;
}

bool http_param_bracket(const struct http_param *param, const char *base, struct slice *key)
{
    struct slice name = param->name;
    size_t n = strlen(base);

    if (name.len < n + 2 || memcmp(name.ptr, base, n) != 0 || name.ptr[n] != '[' ||
        name.ptr[name.len - 1] != ']')
        return false;
    *key = (struct slice){name.ptr + n + 1, name.len - n - 2};
    return true;
}

/* Appends an escaped byte, decoded unless it would then mean something else. */
static size_t put_unescaped(char *p, int byte)
{
    static const char digits[] = "0123456789ABCDEF";

    if (byte != '/' && byte >= 0x20 && byte != 0x7f) {
        p[0] = (char)byte;
        return 1;
    }
    p[0] = '%';
    p[1] = digits[byte >> 4];
    p[2] = digits[byte & 15];
    return 3;
}

bool http_path_normalise(struct slice path, struct arena *arena, struct slice *out, struct err *err)
{
    char *p = arena_alloc(arena, path.len + 1);
    size_t n = 0;

    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];

        if (c == '/') {
            if (n == 0 || p[n - 1] != '/')
                p[n++] = c;
        } else if (c == '%') {
            int byte = escape_at(path, i);

            if (byte < 0)
                return bad_escape("path", i, err);
            n += put_unescaped(p + n, byte);
            i += 2;
        } else {
            p[n++] = c;
        }
    }
    if (n > 1 && p[n - 1] == '/')
        n--;
    *out = (struct slice){p, n};
    return true;
}
