#include "kafka/base64.h"

#define LETTERS_AND_DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

static const char standard[] = LETTERS_AND_DIGITS "+/";
static const char url_safe[] = LETTERS_AND_DIGITS "-_";

/* One to three bytes as four characters. */
static void put_group(struct buf *out, const char *alphabet, const uint8_t *p, size_t n)
{
    uint32_t bits =
        (uint32_t)p[0] << 16 | (n > 1 ? (uint32_t)p[1] << 8 : 0) | (n > 2 ? (uint32_t)p[2] : 0);
    const char text[4] = {alphabet[bits >> 18], alphabet[bits >> 12 & 63],
                          n > 1 ? alphabet[bits >> 6 & 63] : '=',
                          n > 2 ? alphabet[bits & 63] : '='};

    buf_put(out, text, sizeof(text));
}

static void put(struct buf *out, const char *alphabet, struct slice bytes)
{
    const uint8_t *p = (const uint8_t *)bytes.ptr;

    for (size_t i = 0; i < bytes.len; i += 3)
        put_group(out, alphabet, p + i, bytes.len - i < 3 ? bytes.len - i : 3);
}

void base64_put(struct buf *out, struct slice bytes)
{
    put(out, standard, bytes);
}

void base64_put_url_safe(struct buf *out, struct slice bytes)
{
    put(out, url_safe, bytes);
}
