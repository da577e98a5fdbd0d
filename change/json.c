#include "change/json.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* What stands behind the backslash, 'u' for \u00XX, 0 where nothing needs escaping. */
static char escape_of(unsigned char c)
{
    static const char below_space[32] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};

    if (c >= 0x20)
        return c == '"' || c == '\\' ? (char)c : '\0';
    return below_space[c] ? below_space[c] : 'u';
}

/* How many bytes from the start need no escaping. */
static size_t plain_run(const char *p, size_t len)
{
    size_t i = 0;

#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'),
                  control = _mm_set1_epi8(0x1f);

    for (; len - i >= 16; i += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i bad = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, slash)),
                                   _mm_cmpeq_epi8(_mm_min_epu8(x, control), x));
        int mask = _mm_movemask_epi8(bad);

        if (mask)
            return i + (size_t)__builtin_ctz((unsigned)mask);
    }
#endif
    while (i < len && !escape_of((unsigned char)p[i]))
        i++;
    return i;
}

static void put_escape(struct buf *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char escape = escape_of(c);

    buf_put_u8(out, '\\');
    buf_put_u8(out, (uint8_t)escape);
    if (escape == 'u') {
        const char digits[4] = {'0', '0', hex[c >> 4], hex[c & 15]};

        buf_put(out, digits, 4);
    }
}

void json_put_escaped(struct buf *out, struct slice text)
{
    while (text.len) {
        size_t n = plain_run(text.ptr, text.len);

        buf_put(out, text.ptr, n);
        if (n < text.len)
            put_escape(out, (unsigned char)text.ptr[n++]);
        text = (struct slice){text.ptr + n, text.len - n};
    }
}

void json_put_string(struct buf *out, struct slice text)
{
    buf_put_u8(out, '"');
    json_put_escaped(out, text);
    buf_put_u8(out, '"');
}
