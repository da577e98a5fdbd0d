#include "http/etag.h"

#include "http/encoding.h"

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
    if (!drop_suffix(&s, http_encoding_name(HTTP_GZIP)))
        drop_suffix(&s, http_encoding_name(HTTP_ZSTD));
    return s;
}

bool http_etag_listed(struct slice list, struct slice tag)
{
    while (list.len) {
        const char *end = memchr(list.ptr, ',', list.len);
        size_t len = end ? (size_t)(end - list.ptr) : list.len;

        if (slice_eq(bare((struct slice){list.ptr, len}), tag))
            return true;
        drop_first(&list, end ? len + 1 : len);
    }
    return false;
}
