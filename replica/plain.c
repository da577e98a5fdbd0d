/*
 * Nothing is looked at twice: a text is passed over eight bytes at a time to what ends it, and is
 * copied only where it has escapes; what comes again in each row (names, headers) is compared with
 * what it must be. The zero bytes behind the line end whatever runs out of it.
 */
#include "replica/plain.h"

#include "base/utf8.h"
#include "replica/lane.h"

#include <endian.h>
#include <stdlib.h>

#define EACH_BYTE(b) (UINT64_C(0x0101010101010101) * (b))
#define TOP_BITS EACH_BYTE(0x80)

struct scan {
    const char *p, *end;
    struct arena *arena;
    struct slice tail; /* what ended the row before */
};

static bool skip(struct scan *s, struct slice what)
{
    if ((size_t)(s->end - s->p) < what.len || memcmp(s->p, what.ptr, what.len) != 0)
        return false;
    s->p += what.len;
    return true;
}

/* ---- texts ---- */

static uint64_t word_at(const char *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof(word));
    return le64toh(word);
}

/* The top bits of the bytes that a text does not simply go over: quotes, backslashes, controls.
 * Those above the lowest may be mistaken, as it borrows from them. (`^ 2` makes quotes the least of
 * all bytes but those below a space.) */
static uint64_t stops_at(const char *p)
{
    uint64_t word = word_at(p);
    uint64_t quotes = word ^ EACH_BYTE(0x02), backslashes = word ^ EACH_BYTE('\\');
    uint64_t low = (quotes - EACH_BYTE(0x21)) & ~quotes;
    uint64_t zero = (backslashes - EACH_BYTE(0x01)) & ~backslashes;

    return (low | zero) & TOP_BITS;
}

/* Where the quote that ends a text stands; NULL: nowhere. */
static const char *text_end(const char *p, bool *escaped)
{
    for (*escaped = false;;) {
        uint64_t stops = stops_at(p);

        if (!stops) {
            p += sizeof(stops);
            continue;
        }
        p += __builtin_ctzll(stops) / 8;
        if (*p != '\\')
            return *p == '"' ? p : NULL;
        *escaped = true;
        p += 2;
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* \u00XX, the only form that the bridge writes, and nothing beyond ASCII. */
static bool take_control(const char **p, char *out)
{
    if (memcmp(*p, "00", 2) != 0)
        return false;
    int hi = hex_digit((*p)[2]), lo = hi < 0 ? -1 : hex_digit((*p)[3]);

    if (hi > 7 || lo < 0 || hi + lo == 0)
        return false;
    *out = (char)(hi << 4 | lo);
    *p += 4;
    return true;
}

static bool unescape(struct slice *text, struct arena *arena)
{
    static const char escapes[256] = {['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
                                      ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t'};
    const char *p = text->ptr, *end = p + text->len;
    char *copy = arena_alloc(arena, text->len), *out = copy;

    for (const char *next; (next = memchr(p, '\\', (size_t)(end - p)));) {
        memcpy(out, p, (size_t)(next - p));
        out += next - p;
        p = next + 2;
        *out = escapes[(unsigned char)next[1]];
        if (!*out && (next[1] != 'u' || !take_control(&p, out)))
            return false;
        out++;
    }
    memcpy(out, p, (size_t)(end - p));
    out += end - p;
    *text = (struct slice){copy, (size_t)(out - copy)};
    return true;
}

/* Behind its opening quote. */
static bool take_text(struct scan *s, struct slice *text)
{
    bool escaped;
    const char *end = text_end(s->p, &escaped);

    if (!end)
        return false;
    *text = (struct slice){s->p, (size_t)(end - s->p)};
    s->p = end + 1;
    return !escaped || unescape(text, s->arena);
}

/* ---- rows ---- */

static bool take_value(struct scan *s, const struct lite_column *c, struct lite_value *v)
{
    struct slice text;
    struct err ignored;

    if (*s->p != '"') {
        v->storage = LITE_NULL;
        return c->pk_index < 0 && skip(s, SLICE("null"));
    }
    s->p++;
    if (!take_text(s, &text))
        return false;
    if (!lite_type_is_text(c->lite))
        return lite_from_pg(c->lite, text, s->arena, v, &ignored);
    *v = (struct lite_value){.storage = LITE_TEXT, .bytes = text};
    return true;
}

/* The key is in the row as well: where it ends is all that counts. */
static bool skip_key(struct scan *s)
{
    bool escaped;

    if (!skip(s, SLICE("{\"key\":\"")))
        return false;
    const char *end = text_end(s->p, &escaped);
    if (!end)
        return false;
    s->p = end + 1;
    return skip(s, SLICE(",\"value\":{"));
}

static bool take_relation(struct scan *s)
{
    struct slice name;

    return skip(s, SLICE(",\"relation\":[\"")) && take_text(s, &name) && skip(s, SLICE(",\"")) &&
           take_text(s, &name) && skip(s, SLICE("]"));
}

/* Mostly what it was in the row before. */
static bool skip_tail(struct scan *s)
{
    const char *begin = s->p;

    if (s->tail.len && skip(s, s->tail))
        return true;
    if (!skip(s, SLICE("},\"headers\":{\"operation\":\"insert\"")) ||
        (*s->p == ',' && !take_relation(s)) || !skip(s, SLICE("}}")))
        return false;
    s->tail = (struct slice){begin, (size_t)(s->p - begin)};
    return true;
}

static bool take_row(struct scan *s, const struct lite_plain *plain,
                     const struct lite_schema *schema, struct lite_value *row)
{
    if (!skip_key(s))
        return false;
    for (size_t i = 0; i < schema->ncolumns; i++) {
        if (!skip(s, plain->names[i]) || !take_value(s, &schema->columns[i], &row[i]))
            return false;
    }
    return skip_tail(s);
}

/* As SQLite sorts them; floats, which are rarely a key, are left as they come. */
static bool in_order(const struct lite_value *a, const struct lite_value *b)
{
    if (a->storage != b->storage || a->storage == LITE_REAL)
        return true;
    if (a->storage == LITE_INTEGER)
        return a->integer <= b->integer;
    return slice_cmp(a->bytes, b->bytes) <= 0;
}

static struct lite_value *room_for_row(struct lite_block *block, size_t ncolumns)
{
    size_t n = block->nrows * ncolumns;

    if (block->cap - n < ncolumns) {
        block->cap = (n + ncolumns) * 2;
        block->values = xrealloc(block->values, block->cap * sizeof(*block->values));
    }
    return block->values + n;
}

bool lite_plain_read(const struct lite_plain *plain, const struct lite_schema *schema,
                     struct slice messages, struct lite_block *block)
{
    struct scan s = {.p = messages.ptr, .end = messages.ptr + messages.len, .arena = &block->arena};

    block->nrows = 0;
    if (!utf8_is_valid(messages))
        return false;
    for (;; s.p++) {
        struct lite_value *row = room_for_row(block, schema->ncolumns);

        if (!take_row(&s, plain, schema, row))
            return false;
        const struct lite_value *key = schema->nkey ? row + schema->key[0] : NULL;
        if (key && block->nrows > 0 && !in_order(key - schema->ncolumns, key))
            return false;
        block->nrows++;
        if (*s.p != ',')
            break;
    }
    return skip(&s, SLICE("]}")) && s.p == s.end;
}

bool lite_plain_head(struct slice *line, size_t *shape)
{
    struct scan s = {.p = line->ptr, .end = line->ptr + line->len};
    char *end;

    if (!skip(&s, SLICE("{\"shape\":")) || *s.p < '0' || *s.p > '9')
        return false;
    *shape = strtoull(s.p, &end, 10);
    s.p = end;
    if (!skip(&s, SLICE(",\"messages\":[")))
        return false;
    *line = (struct slice){s.p, (size_t)(s.end - s.p)};
    return true;
}

void lite_plain_init(struct lite_plain *plain, const struct lite_schema *schema,
                     struct arena *arena)
{
    plain->names = arena_alloc(arena, schema->ncolumns * sizeof(*plain->names));
    for (size_t i = 0; i < schema->ncolumns; i++)
        plain->names[i] =
            slice_of(arena_printf(arena, "%s\"%s\":", i ? "," : "", schema->columns[i].name.ptr));
}
