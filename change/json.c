/*
 * A text goes piece by piece into room that its escapes cannot overrun, so that nothing is
 * checked a byte; what needs no escape, which is nearly all, goes eight bytes at a time.
 */
#include "change/json.h"

#define PIECE ((size_t)4096)
#define WORST JSON_WORST

#define EACH_BYTE(b) (UINT64_C(0x0101010101010101) * (b))

/* What stands behind the backslash, 'u' for \u00XX, 0 where nothing needs escaping. */
static const char escapes[256] = {
    [0x00] = 'u', [0x01] = 'u', [0x02] = 'u', [0x03] = 'u',  [0x04] = 'u', [0x05] = 'u',
    [0x06] = 'u', [0x07] = 'u', ['\b'] = 'b', ['\t'] = 't',  ['\n'] = 'n', [0x0b] = 'u',
    ['\f'] = 'f', ['\r'] = 'r', [0x0e] = 'u', [0x0f] = 'u',  [0x10] = 'u', [0x11] = 'u',
    [0x12] = 'u', [0x13] = 'u', [0x14] = 'u', [0x15] = 'u',  [0x16] = 'u', [0x17] = 'u',
    [0x18] = 'u', [0x19] = 'u', [0x1a] = 'u', [0x1b] = 'u',  [0x1c] = 'u', [0x1d] = 'u',
    [0x1e] = 'u', [0x1f] = 'u', ['"'] = '"',  ['\\'] = '\\',
};

static char *put_escape(char *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";

    *out++ = '\\';
    *out++ = escapes[c];
    if (escapes[c] == 'u') {
        memcpy(out, "00", 2);
        out[2] = hex[c >> 4];
        out[3] = hex[c & 15];
        out += 4;
    }
    return out;
}

static char *put_bytes(char *out, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];

        if (escapes[c])
            out = put_escape(out, c);
        else
            *out++ = (char)c;
    }
    return out;
}

/* Whether none of eight bytes needs escaping. A byte that is less than what is taken from it
 * borrows, and has its top bit set then, which it had not before; and no other has, below it. `^ 2`
 * makes quotes the least of all bytes but those below a space: 0x20, and spaces 0x22. */
static bool plain(uint64_t x)
{
    uint64_t quotes = x ^ EACH_BYTE(0x02), backslashes = x ^ EACH_BYTE('\\');
    uint64_t low = (quotes - EACH_BYTE(0x21)) & ~quotes;
    uint64_t zero = (backslashes - EACH_BYTE(0x01)) & ~backslashes;

    return !((low | zero) & EACH_BYTE(0x80));
}

/* Of the last bytes, fewer than eight: four or more are looked at as two words that may overlap. */
static char *put_rest(char *out, const char *p, size_t n)
{
    uint32_t first, last;

    if (n < sizeof(first))
        return put_bytes(out, p, n);
    memcpy(&first, p, sizeof(first));
    memcpy(&last, p + n - sizeof(last), sizeof(last));
    if (!plain((uint64_t)first << 32 | last))
        return put_bytes(out, p, n);
    memcpy(out, &first, sizeof(first));
    memcpy(out + n - sizeof(last), &last, sizeof(last));
    return out + n;
}

/* `out` has room for WORST bytes each. */
static char *put_piece(char *out, const char *p, size_t n)
{
    uint64_t word;

    for (; n >= sizeof(word); p += sizeof(word), n -= sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        if (plain(word)) {
            memcpy(out, &word, sizeof(word));
            out += sizeof(word);
        } else {
            out = put_bytes(out, p, sizeof(word));
        }
    }
    return put_rest(out, p, n);
}

/* What a piece will have become. */
static size_t exact_size(struct slice piece)
{
    size_t n = piece.len;

    for (size_t i = 0; i < piece.len; i++) {
        char escape = escapes[(unsigned char)piece.ptr[i]];

        n += escape == 'u' ? WORST - 1 : escape != 0;
    }
    return n;
}

/* For a piece and `more` bytes. */
static char *room_for(struct buf *out, struct slice piece, size_t more)
{
    size_t worst = piece.len * WORST + more;

    return buf_room(out, worst <= out->limit - out->len ? worst : exact_size(piece) + more);
}

void json_put_escaped(struct buf *out, struct slice text)
{
    while (text.len) {
        size_t n = text.len < PIECE ? text.len : PIECE;
        char *p = room_for(out, (struct slice){text.ptr, n}, 0);

        if (!p)
            return;
        buf_added(out, (size_t)(put_piece(p, text.ptr, n) - p));
        text = (struct slice){text.ptr + n, text.len - n};
    }
}

char *json_write_string(char *out, struct slice text)
{
    *out++ = '"';
    out = put_piece(out, text.ptr, text.len);
    *out++ = '"';
    return out;
}

void json_put_string(struct buf *out, struct slice text)
{
    char *p = text.len <= PIECE ? room_for(out, text, 2) : NULL;

    if (p) {
        buf_added(out, (size_t)(json_write_string(p, text) - p));
        return;
    }
    buf_put_u8(out, '"');
    json_put_escaped(out, text);
    buf_put_u8(out, '"');
}
