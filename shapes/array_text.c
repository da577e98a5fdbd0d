/*
 * Arrays as text, in and out.
 */
#include "shapes/array.h"
#include "shapes/pgtype.h"
#include "shapes/raise.h"

#include <strings.h>

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* ---- in ---------------------------------------------------------------- */

/*
 *     [lower:upper]... = { item, item, ... }
 *     item: { ... }  "quoted \" text"  plain text  NULL
 */
struct array_reader {
    const char *p, *end;
    int elem_type;
    struct arena *arena;
    struct err *err;
    struct array *out;
    char *space; /* where unescaped text goes: as long as the literal, used from its start */
    struct datum *elems; /* grows by doubling in the arena */
    size_t cap;
    int depth;                     /* braces open now */
    int32_t counts[ARRAY_MAX_DIM]; /* items so far in the open braces */
    bool closed[ARRAY_MAX_DIM];    /* a brace of this depth was closed: dims is known */
};

static void skip_space(struct array_reader *r)
{
    while (r->p < r->end && is_space(*r->p))
        r->p++;
}

static bool malformed(struct array_reader *r)
{
    return raise_sql(r->err, "22P02", "malformed array literal");
}

static bool read_int(struct array_reader *r, int32_t *v)
{
    bool neg = r->p < r->end && *r->p == '-';
    int64_t n = 0;
    int digits = 0;

    r->p += neg || (r->p < r->end && *r->p == '+');
    for (; r->p < r->end && *r->p >= '0' && *r->p <= '9' && digits < 10; r->p++, digits++)
        n = n * 10 + (*r->p - '0');
    n = neg ? -n : n;
    *v = (int32_t)n;
    return digits > 0 && n >= INT32_MIN && n < INT32_MAX;
}

/* [1:2][0:4]= in front of the braces; *n is how many. */
static bool read_bounds(struct array_reader *r, int *n, int32_t *dims)
{
    *n = 0;
    skip_space(r);
    while (r->p < r->end && *r->p == '[') {
        int32_t lower, upper;

        r->p++;
        if (*n == ARRAY_MAX_DIM || !read_int(r, &lower) || r->p == r->end || *r->p++ != ':' ||
            !read_int(r, &upper) || r->p == r->end || *r->p++ != ']' || upper < lower ||
            (int64_t)upper - lower >= INT32_MAX)
            return malformed(r);
        r->out->lower[*n] = lower;
        dims[(*n)++] = upper - lower + 1;
        skip_space(r);
    }
    if (*n == 0)
        return true;
    if (r->p == r->end || *r->p++ != '=')
        return malformed(r);
    skip_space(r);
    return true;
}

static struct datum *add_elem(struct array_reader *r)
{
    if (r->out->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 16;
        struct datum *grown = arena_calloc(r->arena, cap, sizeof(*grown));

        if (r->out->n)
            memcpy(grown, r->elems, r->out->n * sizeof(*grown));
        r->elems = grown;
        r->cap = cap;
    }
    return &r->elems[r->out->n++];
}

/* One element's text, unescaped in the arena. */
static bool read_text(struct array_reader *r, struct slice *text, bool *quoted)
{
    char *to = r->space, *start = to, *solid = to;

    *quoted = *r->p == '"';
    r->p += *quoted;
    for (; r->p < r->end; r->p++) {
        char c = *r->p;

        if (*quoted ? c == '"' : c == ',' || c == '}' || c == '{' || c == '"')
            break;
        bool escaped = c == '\\';
        if (escaped) {
            if (++r->p == r->end)
                return malformed(r);
            c = *r->p;
        }
        *to++ = c;
        if (*quoted || escaped || !is_space(c))
            solid = to;
    }
    if (r->p == r->end || (!*quoted && (*r->p == '{' || *r->p == '"')))
        return malformed(r);
    r->p += *quoted;
    r->space = solid;
    *text = (struct slice){start, (size_t)(solid - start)};
    return text->len > 0 || *quoted ? true : malformed(r);
}

static bool read_elem(struct array_reader *r)
{
    const char *start = r->p;
    struct slice text;
    bool quoted;

    /* Elements stand at one depth throughout. */
    if (r->out->ndim == 0)
        r->out->ndim = r->depth;
    if (r->depth != r->out->ndim || !read_text(r, &text, &quoted))
        return malformed(r);
    bool escaped = memchr(start, '\\', (size_t)(r->p - start)) != NULL;
    if (!quoted && !escaped && text.len == 4 && strncasecmp(text.ptr, "null", 4) == 0) {
        add_elem(r)->null = true;
        return true;
    }
    struct datum d;
    if (!datum_in(r->elem_type, text, r->arena, &d, r->err))
        return false;
    *add_elem(r) = d;
    return true;
}

static bool open_brace(struct array_reader *r)
{
    if (r->depth == ARRAY_MAX_DIM)
        return raise_sql(r->err, "54000", "number of array dimensions exceeds the maximum of 6");
    if (r->out->ndim && r->depth >= r->out->ndim)
        return malformed(r);
    r->counts[r->depth++] = 0;
    r->p++;
    return true;
}

static bool close_brace(struct array_reader *r)
{
    int d = --r->depth;

    r->p++;
    if (r->closed[d] && r->out->dims[d] != r->counts[d])
        return malformed(r);
    r->closed[d] = true;
    r->out->dims[d] = r->counts[d];
    if (d > 0)
        r->counts[d - 1]++;
    return true;
}

/* From the first brace to the one that closes it. */
static bool read_braces(struct array_reader *r)
{
    bool want_item = true;

    if (r->p == r->end || *r->p != '{' || !open_brace(r))
        return malformed(r);
    while (r->depth > 0) {
        skip_space(r);
        if (r->p == r->end)
            return malformed(r);
        char c = *r->p;
        bool empty = r->counts[r->depth - 1] == 0;

        if (c == '}') {
            /* {} alone is the empty array; within another it is not one. */
            if (want_item && (!empty || r->depth > 1))
                return malformed(r);
            if (!close_brace(r))
                return false;
            want_item = false;
        } else if (c == ',' && !want_item) {
            r->p++;
            want_item = true;
        } else if (c == '{' && want_item) {
            if (!open_brace(r))
                return false;
        } else if (want_item) {
            if (!read_elem(r))
                return false;
            r->counts[r->depth - 1]++;
            want_item = false;
        } else {
            return malformed(r);
        }
    }
    return true;
}

bool array_in(int elem_type, struct slice text, struct arena *arena, const struct array **out,
              struct err *err)
{
    struct array *arr = arena_calloc(arena, 1, sizeof(*arr));
    struct array_reader r = {.p = text.ptr,
                             .end = text.ptr + text.len,
                             .elem_type = elem_type,
                             .arena = arena,
                             .space = arena_alloc(arena, text.len + 1),
                             .err = err,
                             .out = arr};
    int32_t dims[ARRAY_MAX_DIM];
    int bounds;

    for (int i = 0; i < ARRAY_MAX_DIM; i++)
        arr->lower[i] = 1;
    if (!read_bounds(&r, &bounds, dims) || !read_braces(&r))
        return false;
    skip_space(&r);
    if (r.p != r.end)
        return malformed(&r);
    if (bounds && bounds != arr->ndim)
        return malformed(&r);
    for (int i = 0; i < bounds; i++) {
        if (dims[i] != arr->dims[i])
            return malformed(&r);
    }
    arr->elems = r.elems;
    *out = arr;
    return true;
}

/* ---- out --------------------------------------------------------------- */

static bool needs_quotes(struct slice s)
{
    if (s.len == 0 || (s.len == 4 && strncasecmp(s.ptr, "null", 4) == 0))
        return true;
    for (size_t i = 0; i < s.len; i++) {
        if (is_space(s.ptr[i]) || memchr("{}\",\\", s.ptr[i], 5))
            return true;
    }
    return false;
}

static void put_elem(int elem_type, const struct datum *d, struct arena *scratch, struct buf *out)
{
    if (d->null) {
        buf_put_cstr(out, "NULL");
        return;
    }
    struct slice text = datum_text(elem_type, d, scratch);
    if (!needs_quotes(text)) {
        buf_put_slice(out, text);
        return;
    }
    buf_put_u8(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '"' || text.ptr[i] == '\\')
            buf_put_u8(out, '\\');
        buf_put_u8(out, (uint8_t)text.ptr[i]);
    }
    buf_put_u8(out, '"');
}

/* How many braces open before, or close behind, the element at `at`. */
static int braces_at(const struct array *arr, size_t at)
{
    size_t block = 1;
    int n = 0;

    for (int d = arr->ndim - 1; d >= 0; d--) {
        block *= (size_t)arr->dims[d];
        if (at % block)
            break;
        n++;
    }
    return n;
}

static void put_repeated(char c, int n, struct buf *out)
{
    while (n-- > 0)
        buf_put_u8(out, (uint8_t)c);
}

void array_out(int elem_type, const struct array *arr, struct buf *out)
{
    struct arena scratch = {0};
    bool bounds = false;

    for (int d = 0; d < arr->ndim; d++)
        bounds |= arr->lower[d] != 1;
    for (int d = 0; bounds && d < arr->ndim; d++)
        buf_printf(out, "[%d:%lld]", arr->lower[d], (long long)arr->lower[d] + arr->dims[d] - 1);
    if (bounds)
        buf_put_u8(out, '=');
    if (arr->ndim == 0)
        buf_put_cstr(out, "{}");
    for (size_t i = 0; i < arr->n; i++) {
        if (i)
            buf_put_u8(out, ',');
        put_repeated('{', braces_at(arr, i), out);
        put_elem(elem_type, &arr->elems[i], &scratch, out);
        put_repeated('}', braces_at(arr, i + 1), out);
    }
    arena_release(&scratch);
}
