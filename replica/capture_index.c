/*
 * The statement was accepted by SQLite, so it is only cut, not checked: tokens are strings,
 * quoted names, comments, words and single characters; parentheses are counted.
 */
#include "replica/capture_index.h"

#include <ctype.h>
#include <strings.h>

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

/* Behind a quoted text, in which the quote is doubled; `[` ends at `]`. */
static const char *skip_quoted(const char *p)
{
    char end = *p == '[' ? ']' : *p;

    for (p++; *p; p++) {
        if (*p != end)
            continue;
        if (end == ']' || p[1] != end)
            return p + 1;
        p++;
    }
    return p;
}

static const char *skip_comment(const char *p)
{
    const char *end = p[0] == '-' ? strchr(p, '\n') : strstr(p + 2, "*/");

    if (!end)
        return p + strlen(p);
    return end + (p[0] == '-' ? 1 : 2);
}

static bool at_comment(const char *p)
{
    return (p[0] == '-' && p[1] == '-') || (p[0] == '/' && p[1] == '*');
}

/* Behind the token at p. */
static const char *skip_token(const char *p)
{
    if (*p == '\'' || *p == '"' || *p == '`' || *p == '[')
        return skip_quoted(p);
    if (at_comment(p))
        return skip_comment(p);
    if (!is_word(*p))
        return p + 1;
    while (is_word(*p))
        p++;
    return p;
}

static const char *skip_space(const char *p)
{
    while (isspace((unsigned char)*p) || at_comment(p))
        p = at_comment(p) ? skip_comment(p) : p + 1;
    return p;
}

/* The list's opening parenthesis: names before it may be quoted, and hold one. */
static const char *find_list(const char *sql)
{
    while (*sql && *sql != '(')
        sql = skip_token(sql);
    return *sql ? sql + 1 : NULL;
}

/* The `,` or `)` that ends the part at p. */
static const char *find_end(const char *p)
{
    for (int depth = 0; *p; p = skip_token(p)) {
        if (depth == 0 && (*p == ',' || *p == ')'))
            return p;
        depth += (*p == '(') - (*p == ')');
    }
    return p;
}

static bool is_order(const char *word, const char *end)
{
    size_t n = (size_t)(end - word);

    return (n == 3 && strncasecmp(word, "asc", n) == 0) ||
           (n == 4 && strncasecmp(word, "desc", n) == 0);
}

/* Where the part ends when a last word ASC or DESC is left out. */
static const char *without_order(const char *begin, const char *end)
{
    const char *last = begin, *token = begin;

    while (token < end) {
        const char *next = skip_token(token);

        if (!isspace((unsigned char)*token) && !at_comment(token))
            last = token;
        token = next;
    }
    return last > begin && is_order(last, skip_token(last)) ? last : end;
}

char *capture_index_part(const char *sql, size_t at, struct arena *arena)
{
    const char *begin = find_list(sql);

    for (; begin; at--) {
        const char *end = find_end(begin);

        if (at == 0) {
            end = without_order(begin, end);
            return arena_printf(arena, "%.*s", (int)(end - begin), begin);
        }
        begin = *end == ',' ? end + 1 : NULL;
    }
    return NULL;
}

char *capture_index_where(const char *sql, struct arena *arena)
{
    const char *p = find_list(sql);

    for (p = p ? find_end(p) : NULL; p && *p == ',';)
        p = find_end(p + 1);
    p = p && *p ? skip_space(p + 1) : NULL;
    return p && strncasecmp(p, "where", 5) == 0 && !is_word(p[5]) ? arena_strdup(arena, p + 5)
                                                                  : NULL;
}
