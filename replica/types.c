/*
 * The table of types, and the scalars of each. Arrays and floats, which need
 * more words, are in arrays.c and floats.c.
 */
#include "replica/types.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static const struct {
    const char *name;
    enum lite_kind kind;
    bool rowid;
} known[] = {
    {"int2", LITE_INT, true},
    {"int4", LITE_INT, true},
    {"int8", LITE_INT, true},
    {"oid", LITE_INT, false},
    {"bool", LITE_BOOL, false},
    {"float4", LITE_FLOAT4, false},
    {"float8", LITE_FLOAT8, false},
    {"numeric", LITE_NUMERIC, false},
    {"citext", LITE_CITEXT, false},
    {"bytea", LITE_BYTEA, false},
    {"box", LITE_BOX, false},
    {"geometry", LITE_EWKB, false},
    {"geography", LITE_EWKB, false},
    {"timestamp", LITE_TIMESTAMP, false},
    {"timestamptz", LITE_TIMESTAMPTZ, false},
};

struct lite_type lite_type_of(struct slice type, struct slice base, int dims)
{
    struct slice name = base.len && !slice_is(base, "enum") ? base : type;
    struct lite_type t = {.array = dims > 0};

    if (slice_is(base, "enum"))
        return t;
    /* An array column that was made by CREATE TABLE AS has no dims, and its type is "_int4". */
    if (name.len > 1 && name.ptr[0] == '_') {
        t.array = true;
        name = (struct slice){name.ptr + 1, name.len - 1};
    }
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (slice_is(name, known[i].name)) {
            t.kind = known[i].kind;
            t.rowid = known[i].rowid && !t.array;
        }
    }
    return t;
}

const char *lite_type_decl(struct lite_type type)
{
    if (type.array)
        return "TEXT";
    switch (type.kind) {
    case LITE_INT:
    case LITE_BOOL:
        return "INTEGER";
    case LITE_FLOAT4:
    case LITE_FLOAT8:
        return "REAL";
    case LITE_BYTEA:
    case LITE_EWKB:
        return "BLOB";
    case LITE_CITEXT:
        return "TEXT COLLATE NOCASE";
    default:
        return "TEXT";
    }
}

bool lite_type_folds(struct lite_type type)
{
    return type.kind == LITE_CITEXT && !type.array;
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Texts of digits in places, looked at eight bytes at a time: with the form's byte taken away, a
 * digit leaves at most 9 and any other byte 0; what is added carries into the top bit beyond that.
 */
#define SECONDS "0000-00-00 00:00:00"
#define SECONDS_LEN (sizeof(SECONDS) - 1)
#define TOP_BITS UINT64_C(0x8080808080808080)

static const char form[] = SECONDS ".000000";
static const char slack[] = "vvvv\177vv\177vv\177vv\177vv\177vv\177vvvvvv"; /* 'v' is 0x7f - 9 */

static bool word_has_form(const char *p, size_t at)
{
    uint64_t word, like, more;

    memcpy(&word, p + at, sizeof(word));
    memcpy(&like, form + at, sizeof(like));
    memcpy(&more, slack + at, sizeof(more));
    word ^= like;
    return !((word | ((word & ~TOP_BITS) + more)) & TOP_BITS);
}

/* Whether the first `len` bytes, of which there are eight or more, have the form. */
static bool has_form(const char *p, size_t len)
{
    size_t at = 0;

    for (; at + sizeof(uint64_t) <= len; at += sizeof(uint64_t)) {
        if (!word_has_form(p, at))
            return false;
    }
    return word_has_form(p, len - sizeof(uint64_t));
}

/* "2024-02-28 19:32:03.5+00" to "2024-02-28 19:32:03.500000+00:00"; without the zone for timestamp.
 */
static struct slice timestamp_in(struct slice text, struct slice zone, struct slice our_zone,
                                 struct arena *arena)
{
    size_t at = SECONDS_LEN, ndigits = 0;

    if (text.len < SECONDS_LEN || !has_form(text.ptr, SECONDS_LEN))
        return text;
    if (at < text.len && text.ptr[at] == '.') {
        at++;
        while (at < text.len && digit(text.ptr[at]))
            at++, ndigits++;
    }
    if (ndigits > 6 || !slice_eq((struct slice){text.ptr + at, text.len - at}, zone))
        return text;

    char *out = arena_alloc(arena, SECONDS_LEN + 7 + our_zone.len);
    memcpy(out, text.ptr, SECONDS_LEN);
    memcpy(out + SECONDS_LEN, ".000000", 7);
    if (ndigits)
        memcpy(out + SECONDS_LEN + 1, text.ptr + SECONDS_LEN + 1, ndigits);
    if (our_zone.len)
        memcpy(out + SECONDS_LEN + 7, our_zone.ptr, our_zone.len);
    return (struct slice){out, SECONDS_LEN + 7 + our_zone.len};
}

static struct slice timestamp_out(struct slice text, struct slice zone, struct slice our_zone,
                                  struct arena *arena)
{
    size_t n = SECONDS_LEN + 7;

    if (text.len != n + our_zone.len || !has_form(text.ptr, n) ||
        !slice_eq((struct slice){text.ptr + n, text.len - n}, our_zone))
        return text;
    while (text.ptr[n - 1] == '0')
        n--;
    if (text.ptr[n - 1] == '.')
        n--;

    char *out = arena_alloc(arena, n + zone.len);
    memcpy(out, text.ptr, n);
    if (zone.len)
        memcpy(out + n, zone.ptr, zone.len);
    return (struct slice){out, n + zone.len};
}

struct slice lite_text_in(enum lite_kind kind, struct slice text, struct arena *arena)
{
    if (kind == LITE_TIMESTAMPTZ)
        return timestamp_in(text, SLICE("+00"), SLICE("+00:00"), arena);
    if (kind == LITE_TIMESTAMP)
        return timestamp_in(text, SLICE(""), SLICE(""), arena);
    return text;
}

struct slice lite_text_out(enum lite_kind kind, struct slice text, struct arena *arena)
{
    if (kind == LITE_TIMESTAMPTZ)
        return timestamp_out(text, SLICE("+00"), SLICE("+00:00"), arena);
    if (kind == LITE_TIMESTAMP)
        return timestamp_out(text, SLICE(""), SLICE(""), arena);
    return text;
}

#define ALWAYS_FIT 18 /* digits */

static bool parse_int(struct slice text, int64_t *out)
{
    bool negative = text.len > 1 && text.ptr[0] == '-';
    uint64_t v = 0, limit = (uint64_t)INT64_MAX + (negative ? 1 : 0);

    if (text.len == 0 || text.len > 20)
        return false;
    for (size_t i = negative ? 1 : 0; i < text.len; i++) {
        unsigned d = (unsigned)(text.ptr[i] - '0');

        if (d > 9 || (i >= ALWAYS_FIT && v > (limit - d) / 10))
            return false;
        v = v * 10 + d;
    }
    *out = (int64_t)(negative ? 0 - v : v);
    return true;
}

static int hex_digit(char c)
{
    if (digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool parse_hex(struct slice hex, struct arena *arena, struct slice *out)
{
    if (hex.len % 2)
        return false;
    char *bytes = arena_alloc(arena, hex.len / 2 + 1);
    for (size_t i = 0; i < hex.len; i += 2) {
        int hi = hex_digit(hex.ptr[i]), lo = hex_digit(hex.ptr[i + 1]);

        if (hi < 0 || lo < 0)
            return false;
        bytes[i / 2] = (char)(hi << 4 | lo);
    }
    *out = (struct slice){bytes, hex.len / 2};
    return true;
}

static struct slice hex_text(struct slice prefix, struct slice bytes, const char *digits,
                             struct arena *arena)
{
    char *out = arena_alloc(arena, prefix.len + 2 * bytes.len + 1);
    char *p = out + prefix.len;

    if (prefix.len)
        memcpy(out, prefix.ptr, prefix.len);
    for (size_t i = 0; i < bytes.len; i++) {
        *p++ = digits[(unsigned char)bytes.ptr[i] >> 4];
        *p++ = digits[(unsigned char)bytes.ptr[i] & 15];
    }
    return (struct slice){out, prefix.len + 2 * bytes.len};
}

static bool bool_from_pg(struct slice text, int64_t *out)
{
    *out = slice_is(text, "t") || slice_is(text, "true");
    return *out || slice_is(text, "f") || slice_is(text, "false");
}

static bool float_from_pg(struct slice text, struct lite_value *out)
{
    *out = (struct lite_value){.storage = LITE_REAL};
    if (slice_is(text, "NaN")) {
        *out = (struct lite_value){.storage = LITE_TEXT, .bytes = text};
        return true;
    }
    return lite_float_parse(text, &out->real);
}

/* PostGIS prints upper-case digits; anything else is not EWKB and stays text. */
static void ewkb_from_pg(struct slice text, struct arena *arena, struct lite_value *out)
{
    struct slice bytes;

    *out = (struct lite_value){.storage = LITE_TEXT, .bytes = text};
    if (!parse_hex(text, arena, &bytes))
        return;
    if (slice_eq(hex_text(SLICE(""), bytes, "0123456789ABCDEF", arena), text))
        *out = (struct lite_value){.storage = LITE_BLOB, .bytes = bytes};
}

static bool bytea_from_pg(struct slice text, struct arena *arena, struct lite_value *out)
{
    *out = (struct lite_value){.storage = LITE_BLOB};
    return text.len >= 2 && text.ptr[0] == '\\' && text.ptr[1] == 'x' &&
           parse_hex((struct slice){text.ptr + 2, text.len - 2}, arena, &out->bytes);
}

static bool scalar_from_pg(enum lite_kind kind, struct slice text, struct arena *arena,
                           struct lite_value *out)
{
    switch (kind) {
    case LITE_INT:
        *out = (struct lite_value){.storage = LITE_INTEGER};
        return parse_int(text, &out->integer);
    case LITE_BOOL:
        *out = (struct lite_value){.storage = LITE_INTEGER};
        return bool_from_pg(text, &out->integer);
    case LITE_FLOAT4:
    case LITE_FLOAT8:
        return float_from_pg(text, out);
    case LITE_BYTEA:
        return bytea_from_pg(text, arena, out);
    case LITE_EWKB:
        ewkb_from_pg(text, arena, out);
        return true;
    default:
        *out = (struct lite_value){.storage = LITE_TEXT, .bytes = lite_text_in(kind, text, arena)};
        return true;
    }
}

bool lite_from_pg(struct lite_type type, struct slice text, struct arena *arena,
                  struct lite_value *out, struct err *err)
{
    if (type.array) {
        *out = (struct lite_value){.storage = LITE_TEXT, .bytes = text};
        lite_array_to_json(type.kind, text, arena, &out->bytes);
        return true;
    }
    if (scalar_from_pg(type.kind, text, arena, out))
        return true;
    return err_set(err, ERR_PROTOCOL, "\"%.*s\" is not a value of the column's type",
                   (int)(text.len < 60 ? text.len : 60), text.ptr);
}

static struct slice text_to_pg(struct lite_type type, struct slice text, struct arena *arena)
{
    struct slice literal;

    if (type.array)
        return lite_array_from_json(type.kind, text, arena, &literal) ? literal : text;
    return lite_text_out(type.kind, text, arena);
}

static struct slice blob_to_pg(struct lite_type type, struct slice bytes, struct arena *arena)
{
    if (type.kind == LITE_EWKB)
        return hex_text(SLICE(""), bytes, "0123456789ABCDEF", arena);
    return hex_text(SLICE("\\x"), bytes, "0123456789abcdef", arena);
}

void lite_to_pg(struct lite_type type, const struct lite_value *value, struct arena *arena,
                struct slice *out)
{
    switch (value->storage) {
    case LITE_NULL:
        *out = (struct slice){0};
        break;
    case LITE_INTEGER:
        if (type.kind == LITE_BOOL && !type.array && (value->integer | 1) == 1)
            *out = value->integer ? SLICE("t") : SLICE("f");
        else
            *out = slice_of(arena_printf(arena, "%" PRId64, value->integer));
        break;
    case LITE_REAL:
        *out = lite_float_text(value->real, type.kind == LITE_FLOAT4, arena);
        break;
    case LITE_TEXT:
        *out = text_to_pg(type, value->bytes, arena);
        break;
    case LITE_BLOB:
        *out = blob_to_pg(type, value->bytes, arena);
        break;
    }
}
