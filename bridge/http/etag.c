#include "http/etag.h"

static void drop_first(struct slice *s, size_t n)
{
    s->ptr += n;
    s->len -= n;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static bool drop_suffix(struct slice *s, const char *name)
{
    size_t n = strlen(name);

    if (s->len <= n || s->ptr[s->len - n - 1] != '-' || memcmp(s->ptr + s->len - n, name, n) != 0)
        return false;
    s->len -= n + 1;
    return true;
}

static struct slice bare(struct slice s)
{
    while (s.len && is_space(s.ptr[0]))
        drop_first(&s, 1);
    while (s.len && is_space(s.ptr[s.len - 1]))
        s.len--;
    if (s.len > 2 && memcmp(s.ptr, "W/", 2) == 0)
        drop_first(&s, 2);
    if (s.len && s.ptr[0] == '"')
        drop_first(&s, 1);
    if (s.len && s.ptr[s.len - 1] == '"')
        s.len--;
    return s;
}

bool http_etag_listed(struct slice list, struct slice tag, enum http_encoding wanted,
                      enum http_encoding *of)
{
    bool listed = false;

    *of = HTTP_IDENTITY;
    while (list.len && *of == HTTP_IDENTITY) {
        const char *end = memchr(list.ptr, ',', list.len);
        size_t len = end ? (size_t)(end - list.ptr) : list.len;
        struct slice one = bare((struct slice){list.ptr, len});

        drop_first(&list, end ? len + 1 : len);
        if (slice_eq(one, tag)) {
            listed = true;
        } else if (wanted != HTTP_IDENTITY && drop_suffix(&one, http_encoding_name(wanted)) &&
                   slice_eq(one, tag)) {
            listed = true;
            *of = wanted;
        }
    }
    return listed;
}
