#include "token/base64url.h"

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool base64url_decode(struct slice text, uint8_t *out)
{
    uint32_t bits = 0;
    unsigned nbits = 0;

    if (text.len % 4 == 1)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        int d = digit(text.ptr[i]);

        if (d < 0)
            return false;
        bits = bits << 6 | (uint32_t)d;
        nbits += 6;
        if (nbits >= 8) {
            nbits -= 8;
            *out++ = (uint8_t)(bits >> nbits);
            bits &= (1u << nbits) - 1;
        }
    }
    return bits == 0;
}
