#include "http/request.h"

#include <strings.h>

bool http_name_is(struct slice name, const char *want)
{
    return name.len == strlen(want) && strncasecmp(name.ptr, want, name.len) == 0;
}

bool http_request_header(const struct http_request *request, const char *name, struct slice *value)
{
    for (size_t i = 0; i < request->nheaders; i++) {
        if (http_name_is(request->headers[i].name, name)) {
            *value = request->headers[i].value;
            return true;
        }
    }
    *value = SLICE("");
    return false;
}

bool http_request_param(const struct http_request *request, const char *name, struct slice *value)
{
    return http_query_get(&request->query, name, value);
}

bool http_same_secret(struct slice given, const char *secret)
{
    size_t len = strlen(secret);
    unsigned different = given.len != len;

    for (size_t i = 0; i < given.len; i++)
        different |= (unsigned char)given.ptr[i] ^ (unsigned char)secret[len ? i % len : 0];
    return !different;
}
