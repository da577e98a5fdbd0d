#include "base/reader.h"

uint64_t reader_varint(struct reader *r)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = reader_u8(r);

        if (shift == 63 && byte > 1)
            break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return r->failed ? 0 : v;
    }
    r->failed = true;
    return 0;
}

struct slice reader_cstr(struct reader *r)
{
    const uint8_t *nul = r->failed ? NULL : memchr(r->p, 0, reader_left(r));

    if (!nul) {
        r->failed = true;
        return (struct slice){"", 0};
    }
    struct slice s = {(const char *)r->p, (size_t)(nul - r->p)};
    r->p = nul + 1;
    return s;
}
