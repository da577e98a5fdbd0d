/*
 * The text of a shape, as a person writes it:
 *
 *     [schema.]table [(column, ...)] [where condition to the end]
 *     @name
 *
 * The second is a shape that the bridge has by name; its table here has the same name.
 * Names are SQL's: bare ones fold to lower case, quoted ones keep theirs and say "" for ".
 */
#include "replica/replica.h"

#include "base/arena.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

/* NAMEDATALEN - 1: Postgres would cut a longer name, and so mean another table. */
#define NAME_LIMIT 63

struct scanner {
    const char *text, *p;
    struct err *err;
};

static bool fail(struct scanner *s, const char *what)
{
    return err_set(s->err, ERR_INPUT, "shape \"%.200s\": at character %d: %s", s->text,
                   (int)(s->p - s->text) + 1, what);
}

static void skip_space(struct scanner *s)
{
    while (isspace((unsigned char)*s->p))
        s->p++;
}

static bool starts_name(char c)
{
    return isalpha((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

static bool goes_on(char c)
{
    return starts_name(c) || isdigit((unsigned char)c) || c == '$';
}

static bool scan_quoted(struct scanner *s, struct buf *name)
{
    const char *start = s->p++;

    for (; *s->p; s->p++) {
        if (*s->p == '"' && *++s->p != '"')
            return true;
        buf_put_u8(name, (uint8_t)*s->p);
    }
    s->p = start;
    return fail(s, "the quoted name does not end");
}

static bool scan_name(struct scanner *s, const char *what, char **out)
{
    const char *start = s->p;
    struct buf name;
    bool ok = true;

    buf_init(&name, BUF_NO_LIMIT);
    if (*s->p == '"') {
        ok = scan_quoted(s, &name);
    } else if (starts_name(*s->p)) {
        for (; goes_on(*s->p); s->p++)
            buf_put_u8(&name, (uint8_t)(*s->p >= 'A' && *s->p <= 'Z' ? *s->p + 32 : *s->p));
    } else {
        ok = fail(s, what);
    }
    if (ok && (name.len == 0 || name.len > NAME_LIMIT)) {
        s->p = start;
        ok = fail(s, name.len ? "the name is longer than 63 bytes" : "the name is empty");
    }
    if (ok)
        *out = xstrdup(buf_cstr(&name));
    buf_release(&name);
    return ok;
}

static bool scan_table(struct scanner *s, struct replica_shape *shape)
{
    if (!scan_name(s, "expected a table's name", &shape->table))
        return false;
    skip_space(s);
    if (*s->p == '.') {
        s->p++;
        skip_space(s);
        shape->schema = shape->table;
        shape->table = NULL;
        return scan_name(s, "expected a table's name behind the schema's", &shape->table);
    }
    shape->schema = xstrdup("public");
    return true;
}

static bool is_twice(const struct replica_shape *shape)
{
    for (size_t i = 0; i + 1 < shape->ncolumns; i++) {
        if (strcmp(shape->columns[i], shape->columns[shape->ncolumns - 1]) == 0)
            return true;
    }
    return false;
}

static bool scan_columns(struct scanner *s, struct replica_shape *shape)
{
    for (char separator = ','; separator == ',';) {
        s->p++;
        skip_space(s);
        const char *start = s->p;
        shape->columns = xrealloc(shape->columns, (shape->ncolumns + 1) * sizeof(*shape->columns));
        if (!scan_name(s, "expected a column's name", &shape->columns[shape->ncolumns]))
            return false;
        shape->ncolumns++;
        if (is_twice(shape)) {
            s->p = start;
            return fail(s, "the column is there twice");
        }
        skip_space(s);
        separator = *s->p;
    }
    if (*s->p != ')')
        return fail(s, "expected \",\" or \")\" in the column list");
    s->p++;
    return true;
}

static bool scan_where(struct scanner *s, struct replica_shape *shape)
{
    if (strncasecmp(s->p, "where", 5) != 0 || goes_on(s->p[5]))
        return fail(s, shape->columns ? "expected \"where\" or the end"
                                      : "expected a column list, \"where\" or the end");
    s->p += 5;
    skip_space(s);
    if (!*s->p)
        return fail(s, "expected a condition behind \"where\"");
    shape->where = xstrdup(s->p);
    return true;
}

/* What the rules of a bridge call it: its letters are not known here. */
static bool scan_by_name(struct scanner *s, struct replica_shape *shape)
{
    size_t n = strcspn(++s->p, " \t\r\n");

    if (n == 0 || n > NAME_LIMIT)
        return fail(s, n ? "the name is longer than 63 bytes" : "expected a shape's name");
    shape->schema = xstrdup("public");
    shape->name = xstrdup(s->p);
    shape->name[n] = '\0';
    shape->table = xstrdup(shape->name);
    s->p += n;
    skip_space(s);
    return !*s->p || fail(s, "a shape by name takes neither columns nor a condition");
}

static bool scan_definition(struct scanner *s, struct replica_shape *shape)
{
    if (!scan_table(s, shape))
        return false;
    skip_space(s);
    if (*s->p == '(' && !scan_columns(s, shape))
        return false;
    skip_space(s);
    return !*s->p || scan_where(s, shape);
}

bool replica_shape_parse(const char *text, struct replica_shape *shape, struct err *err)
{
    struct scanner s = {text, text, err};

    *shape = (struct replica_shape){0};
    skip_space(&s);
    bool ok = *s.p == '@' ? scan_by_name(&s, shape) : scan_definition(&s, shape);
    if (!ok)
        replica_shape_release(shape);
    return ok;
}

void replica_shape_release(struct replica_shape *shape)
{
    for (size_t i = 0; i < shape->ncolumns; i++)
        free(shape->columns[i]);
    free(shape->columns);
    free(shape->name);
    free(shape->schema);
    free(shape->table);
    free(shape->where);
    free(shape->params);
    *shape = (struct replica_shape){0};
}
