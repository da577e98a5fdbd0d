/* Any bytes as two headers: up to the first newline accept-encoding, behind it if-none-match. */
#include "http/encoding.h"
#include "http/etag.h"

#include <stdlib.h>

#define TAG "17-42:0_inf:31_4"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum http_encoding choose_with(struct slice accept, const char *more)
{
    struct buf text;

    buf_init(&text, BUF_NO_LIMIT);
    buf_put_slice(&text, accept);
    buf_put_cstr(&text, more);
    enum http_encoding chosen = http_encoding_choose(buf_slice(&text));
    buf_release(&text);
    return chosen;
}

static void check_accept(struct slice accept)
{
    enum http_encoding chosen = http_encoding_choose(accept);

    /* What is chosen is wished for; the last weight of a coding counts. */
    if ((chosen == HTTP_ZSTD && choose_with(accept, ",zstd;q=0") == HTTP_ZSTD) ||
        (chosen == HTTP_GZIP && choose_with(accept, ",gzip;q=0") == HTTP_GZIP) ||
        choose_with(accept, ",gzip;q=0,zstd;q=0.000") != HTTP_IDENTITY ||
        choose_with(accept, ",zstd") != HTTP_ZSTD ||
        choose_with(accept, ",gzip,zstd;q=0") != HTTP_GZIP)
        abort();
}

static bool listed_with(struct slice list, const char *more)
{
    enum http_encoding of;
    struct buf text;

    buf_init(&text, BUF_NO_LIMIT);
    buf_put_slice(&text, list);
    buf_put_cstr(&text, more);
    bool is = http_etag_listed(buf_slice(&text), SLICE(TAG), HTTP_GZIP, &of);
    buf_release(&text);
    return is;
}

static void check_tags(struct slice list)
{
    bool there = list.len && memmem(list.ptr, list.len, TAG, strlen(TAG));
    enum http_encoding of;

    if ((http_etag_listed(list, SLICE(TAG), HTTP_ZSTD, &of) && !there) ||
        !listed_with(list, ",\"" TAG "\"") || !listed_with(list, ", W/\"" TAG "-gzip\" ,x"))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data, *end = size ? memchr(bytes, '\n', size) : NULL;
    size_t len = end ? (size_t)(end - bytes) : size;

    check_accept((struct slice){bytes, len});
    check_tags(end ? (struct slice){end + 1, size - len - 1} : (struct slice){bytes, 0});
    return 0;
}
