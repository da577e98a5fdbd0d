#include "kafka/bytes.h"

#include "kafka/base64.h"

static void put_hex(struct buf *out, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        buf_printf(out, "%02x", (unsigned char)bytes.ptr[i]);
}

void bytes_put(enum binary_mode mode, struct slice bytes, struct buf *out)
{
    static void (*const encodings[])(struct buf *, struct slice) = {
        [BINARY_BYTES] = base64_put,
        [BINARY_BASE64] = base64_put,
        [BINARY_BASE64_URL_SAFE] = base64_put_url_safe,
        [BINARY_HEX] = put_hex,
    };

    buf_put_u8(out, '"');
    encodings[mode](out, bytes);
    buf_put_u8(out, '"');
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Behind "\x". */
static bool is_hex(struct slice text)
{
    if (text.len < 2 || text.len % 2 || memcmp(text.ptr, "\\x", 2) != 0)
        return false;
    for (size_t i = 2; i < text.len; i++)
        if (nibble(text.ptr[i]) < 0)
            return false;
    return true;
}

bool bytes_read_hex(struct slice text, struct buf *bytes, struct err *err)
{
    if (!is_hex(text))
        return err_set(err, ERR_PROTOCOL, "a bytea that is not in hex");
    for (size_t i = 2; i < text.len; i += 2)
        buf_put_u8(bytes, (uint8_t)(nibble(text.ptr[i]) << 4 | nibble(text.ptr[i + 1])));
    return true;
}

void bytes_read_bits(struct slice text, struct buf *bytes)
{
    unsigned byte = 0;

    for (size_t i = 0; i < text.len; i++) {
        byte |= (unsigned)(text.ptr[text.len - 1 - i] == '1') << (i % 8);
        if (i % 8 == 7 || i + 1 == text.len) {
            buf_put_u8(bytes, (uint8_t)byte);
            byte = 0;
        }
    }
}
