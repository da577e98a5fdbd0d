/*
 * Hides the passwords of a connection string. Both of libpq's forms can hold
 * them in more than one place:
 *
 *     postgresql://user:PASSWORD@host/db?sslpassword=PASSWORD
 *     host=x password='PASS WORD' user=y
 *
 * People forget to escape: a password with '/', '?' or '@' in it is no valid
 * URL, and is what an error message would show. So everything from the first
 * colon to the last '@' is hidden, and a string that does not read as pairs is
 * hidden from there on.
 */
#include "base/buf.h"
#include "settings/config.h"

#include <ctype.h>

#define HIDDEN "***"

/* An escape in a name could spell any of them: such a value is hidden too. */
static bool is_secret_name(struct slice name)
{
    static const char *const names[] = {"password", "sslpassword", "oauth_client_secret",
                                        "scram_client_key", "scram_server_key"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (slice_is(name, names[i]))
            return true;
    }
    return name.len > 0 && memchr(name.ptr, '%', name.len);
}

/* name=value&name=value, as behind '?'. */
static void mask_query(struct buf *out, const char *p)
{
    while (*p) {
        size_t len = strcspn(p, "&"), name = strcspn(p, "=&");

        if (name < len && is_secret_name((struct slice){p, name})) {
            buf_put(out, p, name + 1);
            buf_put_cstr(out, HIDDEN);
        } else {
            buf_put(out, p, len);
        }
        p += len;
        if (*p)
            buf_put_u8(out, (uint8_t)*p++);
    }
}

static void mask_url(struct buf *out, const char *url)
{
    const char *p = strstr(url, "://") + 3;
    const char *at = strrchr(p, '@'), *colon = strchr(p, ':');

    if (at && colon && colon < at) {
        buf_put(out, url, (size_t)(colon + 1 - url));
        buf_put_cstr(out, HIDDEN);
        url = p = at;
    }
    const char *query = strchr(p, '?');

    if (!query) {
        buf_put_cstr(out, url);
        return;
    }
    buf_put(out, url, (size_t)(query + 1 - url));
    mask_query(out, query + 1);
}

static const char *skip_space(const char *p)
{
    while (isspace((unsigned char)*p))
        p++;
    return p;
}

/* Behind the value: quoted or up to a space, a backslash escapes. */
static const char *skip_value(const char *p)
{
    bool quoted = *p == '\'';

    for (p += quoted; *p; p++) {
        if (*p == '\\' && p[1])
            p++;
        else if (quoted ? *p == '\'' : isspace((unsigned char)*p))
            return p + quoted;
    }
    return p;
}

static void mask_pairs(struct buf *out, const char *p)
{
    const char *sep = "";

    for (p = skip_space(p); *p; p = skip_space(p)) {
        struct slice name = {p, strcspn(p, "= \t\r\n\f\v")};
        const char *value = skip_space(p + name.len);

        buf_put_cstr(out, sep);
        sep = " ";
        if (*value != '=') {
            buf_put_cstr(out, HIDDEN);
            return;
        }
        value = skip_space(value + 1);
        p = skip_value(value);
        buf_put_slice(out, name);
        buf_put_u8(out, '=');
        if (is_secret_name(name))
            buf_put_cstr(out, HIDDEN);
        else
            buf_put(out, value, (size_t)(p - value));
    }
}

void config_mask(struct buf *out, const char *database_url)
{
    if (strncmp(database_url, "postgres://", 11) == 0 ||
        strncmp(database_url, "postgresql://", 13) == 0)
        mask_url(out, database_url);
    else if (!strstr(database_url, "://"))
        mask_pairs(out, database_url);
    else
        buf_put_cstr(out, HIDDEN);
}
