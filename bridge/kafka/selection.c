#include "kafka/selection.h"

#include <stdint.h>

/* The next pattern of the list, without spaces around it; false at its end. */
static bool next_pattern(const char **list, struct slice *pattern)
{
    const char *p = *list;

    if (!p)
        return false;
    size_t len = strcspn(p, ",");
    *list = p[len] ? p + len + 1 : NULL;
    while (len && *p == ' ') {
        p++;
        len--;
    }
    while (len && p[len - 1] == ' ')
        len--;
    *pattern = (struct slice){p, len};
    return true;
}

/* Greedy, with one place to go back to: that of the last star. */
static bool matches(struct slice pattern, struct slice text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, from = 0;

    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            from = t;
        } else if (p < pattern.len && pattern.ptr[p] == text.ptr[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++from;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}

static bool is_star(struct slice pattern)
{
    return slice_is(pattern, "*");
}

bool selection_check(const char *patterns, struct err *err)
{
    struct slice pattern;

    while (next_pattern(&patterns, &pattern)) {
        const char *dot = memchr(pattern.ptr, '.', pattern.len);

        if (!is_star(pattern) &&
            (!dot || dot == pattern.ptr || dot == pattern.ptr + pattern.len - 1)) {
            err_set(err, ERR_CONFIG, "[kafka] tables: \"%.*s\" is no pattern", SLICE_ARG(pattern));
            return err_hint(err, "patterns are schema.table, with * for any characters");
        }
    }
    return true;
}

static bool is_system(struct slice nspname)
{
    return slice_is(nspname, "information_schema") || slice_is(nspname, "tombolo") ||
           (nspname.len >= 3 && memcmp(nspname.ptr, "pg_", 3) == 0);
}

/* Each side of the first dot by itself: a star does not go beyond it. */
static bool names(struct slice pattern, struct slice nspname, struct slice relname)
{
    if (is_star(pattern))
        return true;
    size_t dot = (size_t)((const char *)memchr(pattern.ptr, '.', pattern.len) - pattern.ptr);
    struct slice table = {pattern.ptr + dot + 1, pattern.len - dot - 1};

    return matches((struct slice){pattern.ptr, dot}, nspname) && matches(table, relname);
}

bool selection_has(const char *patterns, struct slice nspname, struct slice relname)
{
    struct slice pattern;

    if (is_system(nspname))
        return false;
    while (next_pattern(&patterns, &pattern))
        if (names(pattern, nspname, relname))
            return true;
    return false;
}
