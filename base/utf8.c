#include "base/utf8.h"

#include <stdint.h>

#define RUN 32u

/* Whether a run of bytes is ASCII. */
static bool is_ascii(const char *p)
{
    uint64_t words[RUN / sizeof(uint64_t)];

    memcpy(words, p, sizeof(words));
    return !((words[0] | words[1] | words[2] | words[3]) & UINT64_C(0x8080808080808080));
}

bool utf8_is_valid(struct slice s)
{
    for (size_t i = 0; i < s.len;) {
        unsigned char c = (unsigned char)s.ptr[i];

        if (c < 0x80) { /* which mostly comes in runs */
            i += s.len - i >= RUN && is_ascii(s.ptr + i) ? RUN : 1;
            continue;
        }
        size_t more = c < 0xc2 ? 9 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : c < 0xf5 ? 3 : 9;

        if (more == 9 || s.len - i <= more)
            return false;
        for (size_t j = 1; j <= more; j++) {
            if (((unsigned char)s.ptr[i + j] & 0xc0) != 0x80)
                return false;
        }
        i += more + 1;
    }
    return true;
}

bool utf8_is_text(struct slice s)
{
    return (s.len == 0 || !memchr(s.ptr, '\0', s.len)) && utf8_is_valid(s);
}
