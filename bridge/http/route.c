#include "http/route.h"

#include <stdio.h>

const struct http_route *http_route_find(const struct http_routes *table, struct slice path,
                                         uint32_t method, uint32_t *allowed)
{
    *allowed = 0;
    for (size_t i = 0; i < table->len; i++) {
        const struct http_route *route = &table->routes[i];

        if (!slice_is(path, route->path))
            continue;
        if (route->methods & method)
            return route;
        *allowed |= route->methods;
    }
    return NULL;
}

void http_methods_print(uint32_t methods, char *out)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } names[] = {
        {HTTP_M_GET, "GET"},     {HTTP_M_HEAD, "HEAD"},     {HTTP_M_POST, "POST"},
        {HTTP_M_PUT, "PUT"},     {HTTP_M_DELETE, "DELETE"}, {HTTP_M_OPTIONS, "OPTIONS"},
        {HTTP_M_PATCH, "PATCH"},
    };
    size_t n = 0;

    out[0] = '\0';
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (methods & names[i].bit)
            n += (size_t)snprintf(out + n, HTTP_ALLOW_SIZE - n, "%s%s", n ? ", " : "",
                                  names[i].name);
    }
}
