#include "replica/json.h"

void lite_json_string(struct buf *out, struct slice s)
{
    buf_put_u8(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if (c == '"' || c == '\\')
            buf_put_u8(out, '\\');
        if (c < 0x20)
            buf_printf(out, "\\u%04x", (unsigned)c);
        else
            buf_put_u8(out, c);
    }
    buf_put_u8(out, '"');
}
