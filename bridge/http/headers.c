#include "http/headers.h"

#include <stdarg.h>
#include <stdio.h>

#define FIRST_ROOM ((size_t)1000) /* most are less; what malloc keeps at hand */

void http_headers_init(struct http_headers *headers)
{
    buf_init(&headers->text, HTTP_HEADERS_LIMIT);
    headers->lent = SLICE("");
}

void http_headers_release(struct http_headers *headers)
{
    buf_release(&headers->text);
    headers->lent = SLICE("");
}

static bool name_is_safe(const char *name)
{
    if (!name[0])
        return false;
    for (; *name; name++) {
        if (!(*name >= 'a' && *name <= 'z') && !(*name >= '0' && *name <= '9') && *name != '-')
            return false;
    }
    return true;
}

static bool value_is_safe(struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static void make_room(struct http_headers *headers)
{
    if (!headers->text.cap)
        buf_room(&headers->text, FIRST_ROOM);
}

void http_headers_add_slice(struct http_headers *headers, const char *name, struct slice value)
{
    if (!name_is_safe(name) || !value_is_safe(value)) {
        headers->text.failed = true;
        return;
    }
    make_room(headers);
    buf_put_cstr(&headers->text, name);
    buf_put_cstr(&headers->text, ": ");
    buf_put_slice(&headers->text, value);
    buf_put_cstr(&headers->text, "\r\n");
}

void http_headers_add_lines(struct http_headers *headers, struct slice lines)
{
    make_room(headers);
    buf_put_slice(&headers->text, lines);
}

void http_headers_lend(struct http_headers *headers, struct slice lines)
{
    headers->lent = lines;
}

void http_headers_add(struct http_headers *headers, const char *name, const char *value)
{
    http_headers_add_slice(headers, name, slice_of(value));
}

void http_headers_printf(struct http_headers *headers, const char *name, const char *fmt, ...)
{
    char value[1024];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(value, sizeof(value), fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof(value))
        headers->text.failed = true;
    else
        http_headers_add_slice(headers, name, (struct slice){value, (size_t)n});
}

static bool has_line(struct slice left, const char *name)
{
    size_t n = strlen(name);

    while (left.len) {
        const char *end = memchr(left.ptr, '\n', left.len);
        size_t line = end ? (size_t)(end - left.ptr) + 1 : left.len;

        if (line > n && memcmp(left.ptr, name, n) == 0 && left.ptr[n] == ':')
            return true;
        left.ptr += line;
        left.len -= line;
    }
    return false;
}

bool http_headers_has(const struct http_headers *headers, const char *name)
{
    return has_line(headers->lent, name) || has_line(buf_slice(&headers->text), name);
}

const char *http_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } texts[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i].status == status)
            return texts[i].text;
    }
    return "Unknown";
}
