/*
 * Postgres's array literals as JSON arrays, and back:
 *
 *     {{1,2},{3,NULL}}  <->  [[1,2],[3,null]]        {"a b",c}  <->  ["a b","c"]
 *
 * Numbers keep their digits, booleans are true and false, all else is a string.
 * What JSON cannot say (lower bounds, a delimiter other than the comma) is seen
 * by going back: a literal that does not come out the same is kept as it is.
 * A kept literal is never a JSON array, so that the way back knows it.
 */
#include "replica/types.h"

#include "replica/json.h"

#include <strings.h>
#include <yyjson.h>

/* Postgres's own limit on dimensions. */
#define MAX_DEPTH 6

struct scan {
    const char *p, *end;
    enum lite_kind kind;
    struct arena *arena;
    struct buf *out;
    char *element; /* room for the longest one: the literal's length */
};

static bool is_number(struct slice s)
{
    size_t i = s.len && s.ptr[0] == '-' ? 1 : 0, first = i;

    while (i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9')
        i++;
    if (i == first || (s.ptr[first] == '0' && i > first + 1))
        return false;
    for (const char *mark = ".e"; *mark; mark++) {
        if (i == s.len || s.ptr[i] != *mark)
            continue;
        i++;
        if (*mark == 'e' && i < s.len && (s.ptr[i] == '+' || s.ptr[i] == '-'))
            i++;
        for (first = i; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9';)
            i++;
        if (i == first)
            return false;
    }
    return i == s.len;
}

static void put_json_element(struct scan *s, struct slice text)
{
    bool number = s->kind == LITE_INT || s->kind == LITE_NUMERIC || s->kind == LITE_FLOAT4 ||
                  s->kind == LITE_FLOAT8;

    if (number && is_number(text))
        buf_put_slice(s->out, text);
    else if (s->kind == LITE_BOOL && slice_is(text, "t"))
        buf_put_cstr(s->out, "true");
    else if (s->kind == LITE_BOOL && slice_is(text, "f"))
        buf_put_cstr(s->out, "false");
    else
        lite_json_string(s->out, lite_text_in(s->kind, text, s->arena));
}

/* An element up to its comma or brace: quoted, or bare, with backslashes in both. */
static bool scan_element(struct scan *s)
{
    bool quoted = s->p < s->end && *s->p == '"', escaped = false;
    char *text = s->element;
    size_t n = 0;

    s->p += quoted;
    while (s->p < s->end && (quoted ? *s->p != '"' : *s->p != ',' && *s->p != '}')) {
        if (*s->p == '\\') {
            escaped = true;
            s->p++;
        } else if (!quoted && (*s->p == '{' || *s->p == '"')) {
            return false;
        }
        if (s->p == s->end)
            return false;
        text[n++] = *s->p++;
    }
    if (s->p == s->end || (!quoted && n == 0))
        return false;
    s->p += quoted;
    if (!quoted && !escaped && n == 4 && strncasecmp(text, "null", 4) == 0)
        buf_put_cstr(s->out, "null");
    else
        put_json_element(s, (struct slice){text, n});
    return true;
}

static bool scan_array(struct scan *s, int depth)
{
    if (depth > MAX_DEPTH || s->p == s->end || *s->p != '{')
        return false;
    s->p++;
    buf_put_u8(s->out, '[');
    if (s->p < s->end && *s->p == '}') {
        s->p++;
        buf_put_u8(s->out, ']');
        return true;
    }
    for (;;) {
        bool ok = s->p < s->end && *s->p == '{' ? scan_array(s, depth + 1) : scan_element(s);

        if (!ok || s->p == s->end)
            return false;
        char c = *s->p++;
        buf_put_u8(s->out, c == ',' ? ',' : ']');
        if (c == '}')
            return true;
        if (c != ',')
            return false;
    }
}

bool lite_array_to_json(enum lite_kind kind, struct slice literal, struct arena *arena,
                        struct slice *json)
{
    struct slice back, made;
    struct buf out;
    struct scan s = {.p = literal.ptr, .end = literal.ptr + literal.len, .kind = kind};

    s.arena = arena;
    s.out = &out;
    s.element = arena_alloc(arena, literal.len + 1);
    buf_init(&out, BUF_NO_LIMIT);
    bool ok = kind != LITE_BOX && scan_array(&s, 1) && s.p == s.end && !out.failed;
    made = ok ? arena_copy(arena, buf_slice(&out)) : (struct slice){0};
    buf_release(&out);
    if (!ok || !lite_array_from_json(kind, made, arena, &back) || !slice_eq(back, literal))
        return false;
    *json = made;
    return true;
}

/* As array_out() decides it. */
static bool needs_quotes(struct slice s)
{
    if (s.len == 0 || (s.len == 4 && strncasecmp(s.ptr, "null", 4) == 0))
        return true;
    for (size_t i = 0; i < s.len; i++) {
        if (strchr("\"\\{}, \t\n\r\v\f", s.ptr[i]) && s.ptr[i])
            return true;
    }
    return false;
}

static void put_element(struct buf *out, struct slice s)
{
    bool quotes = needs_quotes(s);

    if (quotes)
        buf_put_u8(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '"' || s.ptr[i] == '\\')
            buf_put_u8(out, '\\');
        buf_put_u8(out, (uint8_t)s.ptr[i]);
    }
    if (quotes)
        buf_put_u8(out, '"');
}

static bool put_value(enum lite_kind kind, yyjson_val *v, int depth, struct arena *arena,
                      struct buf *out);

static bool put_array(enum lite_kind kind, yyjson_val *array, int depth, struct arena *arena,
                      struct buf *out)
{
    size_t i, n;
    yyjson_val *v;

    if (depth > MAX_DEPTH)
        return false;
    buf_put_u8(out, '{');
    yyjson_arr_foreach(array, i, n, v)
    {
        if (i > 0)
            buf_put_u8(out, ',');
        if (!put_value(kind, v, depth + 1, arena, out))
            return false;
    }
    buf_put_u8(out, '}');
    return true;
}

static bool put_value(enum lite_kind kind, yyjson_val *v, int depth, struct arena *arena,
                      struct buf *out)
{
    if (yyjson_is_arr(v))
        return put_array(kind, v, depth, arena, out);
    if (yyjson_is_null(v))
        buf_put_cstr(out, "NULL");
    else if (yyjson_is_bool(v))
        buf_put_cstr(out, yyjson_get_bool(v) ? "t" : "f");
    else if (yyjson_is_raw(v))
        put_element(out, (struct slice){yyjson_get_raw(v), yyjson_get_len(v)});
    else if (yyjson_is_str(v))
        put_element(
            out, lite_text_out(kind, (struct slice){yyjson_get_str(v), yyjson_get_len(v)}, arena));
    else
        return false;
    return true;
}

bool lite_array_from_json(enum lite_kind kind, struct slice json, struct arena *arena,
                          struct slice *literal)
{
    struct buf out;

    if (json.len == 0 || json.ptr[0] != '[')
        return false;
    yyjson_doc *doc = yyjson_read(json.ptr, json.len, YYJSON_READ_NUMBER_AS_RAW);
    if (!doc)
        return false;
    buf_init(&out, BUF_NO_LIMIT);
    bool ok = yyjson_is_arr(yyjson_doc_get_root(doc)) &&
              put_array(kind, yyjson_doc_get_root(doc), 1, arena, &out) && !out.failed;
    if (ok)
        *literal = arena_copy(arena, buf_slice(&out));
    buf_release(&out);
    yyjson_doc_free(doc);
    return ok;
}
