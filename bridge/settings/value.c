/*
 * What each type of setting takes, and how it is shown. A parser reads the
 * whole text into the field or leaves the field alone.
 */
#include "base/arena.h"
#include "settings/setting.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>

#define NAME_MAX_LEN ((size_t)40)

struct unit {
    const char *name;
    int64_t factor;
};

/* From large to small: showing takes the first that divides. A second name follows its first. */
static const struct unit size_units[] = {
    {"TB", INT64_C(1) << 40},
    {"TiB", INT64_C(1) << 40},
    {"GB", 1 << 30},
    {"GiB", 1 << 30},
    {"MB", 1 << 20},
    {"MiB", 1 << 20},
    {"kB", 1 << 10},
    {"KB", 1 << 10},
    {"KiB", 1 << 10},
    {"", 1},
    {"B", 1},
    {NULL, 0},
};
static const struct unit duration_units[] = {
    {"h", 3600 * 1000}, {"min", 60 * 1000}, {"s", 1000}, {"ms", 1}, {NULL, 0},
};

static const struct unit *units_of(const struct setting *setting)
{
    return setting->type == SETTING_SIZE ? size_units : duration_units;
}

bool setting_is_secret(const struct setting *setting)
{
    return setting->type == SETTING_SECRET || setting->type == SETTING_URL;
}

bool setting_is_string(const struct setting *setting)
{
    return setting->type == SETTING_TEXT || setting->type == SETTING_NAME ||
           setting_is_secret(setting);
}

/* Digits alone; false when there are none or too many. *rest is behind them. */
static bool parse_digits(const char *text, int64_t *n, const char **rest)
{
    const char *p = text;

    for (*n = 0; *p >= '0' && *p <= '9'; p++) {
        int digit = *p - '0';

        if (*n > (INT64_MAX - digit) / 10)
            return false;
        *n = *n * 10 + digit;
    }
    *rest = p;
    return p != text;
}

static bool parse_quantity(const char *text, const struct unit *units, int64_t *n)
{
    if (!parse_digits(text, n, &text))
        return false;
    while (*text == ' ')
        text++;
    if (*text == '\0' && *n == 0)
        return true; /* none of anything needs no unit */
    for (const struct unit *u = units; u->name; u++) {
        if (strcmp(u->name, text) == 0) {
            bool fits = *n <= INT64_MAX / u->factor;

            *n = fits ? *n * u->factor : 0;
            return fits;
        }
    }
    return false;
}

static bool parse_number(const struct setting *setting, const char *text, int64_t *field)
{
    const char *rest = "";
    int64_t n;
    bool read = setting->type == SETTING_INT ? parse_digits(text, &n, &rest)
                                             : parse_quantity(text, units_of(setting), &n);

    if (!read || *rest || n < setting->min || n > setting->max)
        return false;
    *field = n;
    return true;
}

static bool parse_bool(const char *text, bool *field)
{
    static const char *const words[][2] = {
        {"false", "true"}, {"no", "yes"}, {"off", "on"}, {"0", "1"}};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        for (size_t v = 0; v < 2; v++) {
            if (strcmp(words[i][v], text) == 0) {
                *field = v == 1;
                return true;
            }
        }
    }
    return false;
}

static bool parse_choice(const struct setting *setting, const char *text, int *field)
{
    for (int i = 0; setting->choices[i]; i++) {
        if (strcmp(setting->choices[i], text) == 0) {
            *field = i;
            return true;
        }
    }
    return false;
}

static bool is_host(const char *host, bool bracketed)
{
    struct in6_addr ip6;

    if (bracketed)
        return inet_pton(AF_INET6, host, &ip6) == 1;
    for (const char *p = host; *p; p++) {
        if (!isalnum((unsigned char)*p) && !strchr(".-_", *p))
            return false;
    }
    return *host != '\0';
}

/* host:port or [ip6]:port. */
static bool parse_address(const char *text, struct config_address *field)
{
    bool bracketed = text[0] == '[';
    const char *colon = strrchr(text, ':'), *rest;
    struct config_address address = {0};
    int64_t port;

    if (!colon || !parse_digits(colon + 1, &port, &rest) || *rest || port > UINT16_MAX)
        return false;
    const char *host = text + bracketed, *end = colon - bracketed;

    if (bracketed && (end <= host || *end != ']'))
        return false;
    if ((size_t)(end - host) >= sizeof(address.host))
        return false;
    memcpy(address.host, host, (size_t)(end - host));
    address.port = (uint16_t)port;
    if (!is_host(address.host, bracketed))
        return false;
    *field = address;
    return true;
}

static bool is_name(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return len > 0 && len <= NAME_MAX_LEN && text[len] == '\0';
}

static bool is_conninfo(const char *text)
{
    return strncmp(text, "postgres://", 11) == 0 || strncmp(text, "postgresql://", 13) == 0 ||
           (strchr(text, '=') && !strstr(text, "://"));
}

static bool is_string(const struct setting *setting, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (iscntrl((unsigned char)*p))
            return false;
    }
    if (*text == '\0')
        return *setting->initial == '\0';
    if (setting->type == SETTING_NAME)
        return is_name(text);
    return setting->type != SETTING_URL || is_conninfo(text);
}

static bool parse_string(const struct setting *setting, const char *text, char **field)
{
    if (!is_string(setting, text))
        return false;
    char *copy = xstrdup(text);

    free(*field);
    *field = copy;
    return true;
}

bool setting_parse(const struct setting *setting, const char *text, struct config *config)
{
    void *field = setting_field(setting, config);

    switch (setting->type) {
    case SETTING_TEXT:
    case SETTING_NAME:
    case SETTING_URL:
    case SETTING_SECRET:
        return parse_string(setting, text, field);
    case SETTING_BOOL:
        return parse_bool(text, field);
    case SETTING_INT:
    case SETTING_SIZE:
    case SETTING_DURATION:
        return parse_number(setting, text, field);
    case SETTING_ADDRESS:
        if (*text || *setting->initial)
            return parse_address(text, field);
        *(struct config_address *)field = (struct config_address){0};
        return true;
    case SETTING_CHOICE:
        return parse_choice(setting, text, field);
    }
    return false;
}

static void format_number(const struct setting *setting, int64_t n, struct buf *out)
{
    const struct unit *u = units_of(setting);

    if (setting->type == SETTING_INT || n == 0) {
        buf_printf(out, "%" PRId64, n);
        return;
    }
    while (n % u->factor)
        u++;
    buf_printf(out, "%" PRId64 "%s", n / u->factor, u->name);
}

static void format_address(const struct config_address *address, struct buf *out)
{
    const char *fmt = strchr(address->host, ':') ? "[%s]:%u" : "%s:%u";

    if (address->host[0])
        buf_printf(out, fmt, address->host, (unsigned)address->port);
}

void setting_format(const struct setting *setting, const struct config *config, struct buf *out)
{
    const void *field = setting_value(setting, config);

    switch (setting->type) {
    case SETTING_TEXT:
    case SETTING_NAME:
        buf_put_cstr(out, *(char *const *)field);
        break;
    case SETTING_URL:
        config_mask(out, *(char *const *)field);
        break;
    case SETTING_SECRET:
        buf_put_cstr(out, **(char *const *)field ? "***" : "");
        break;
    case SETTING_BOOL:
        buf_put_cstr(out, *(const bool *)field ? "true" : "false");
        break;
    case SETTING_INT:
    case SETTING_SIZE:
    case SETTING_DURATION:
        format_number(setting, *(const int64_t *)field, out);
        break;
    case SETTING_ADDRESS:
        format_address(field, out);
        break;
    case SETTING_CHOICE:
        buf_put_cstr(out, setting->choices[*(const int *)field]);
        break;
    }
}

bool setting_equal(const struct setting *setting, const struct config *a, const struct config *b)
{
    const void *fa = setting_value(setting, a), *fb = setting_value(setting, b);

    if (setting_is_string(setting))
        return strcmp(*(char *const *)fa, *(char *const *)fb) == 0;
    switch (setting->type) {
    case SETTING_BOOL:
        return *(const bool *)fa == *(const bool *)fb;
    case SETTING_CHOICE:
        return *(const int *)fa == *(const int *)fb;
    case SETTING_ADDRESS: {
        const struct config_address *x = fa, *y = fb;

        return x->port == y->port && strcmp(x->host, y->host) == 0;
    }
    default:
        return *(const int64_t *)fa == *(const int64_t *)fb;
    }
}

static void allowed_range(const struct setting *setting, const char *what, struct buf *out)
{
    buf_printf(out, "%s from ", what);
    format_number(setting, setting->min, out);
    buf_put_cstr(out, " to ");
    format_number(setting, setting->max, out);
}

static void allowed_choices(const struct setting *setting, struct buf *out)
{
    for (size_t i = 0; setting->choices[i]; i++) {
        if (i > 0)
            buf_put_cstr(out, setting->choices[i + 1] ? ", " : " or ");
        buf_put_cstr(out, setting->choices[i]);
    }
}

void setting_allowed(const struct setting *setting, struct buf *out)
{
    switch (setting->type) {
    case SETTING_TEXT:
        buf_put_cstr(out, "any text that is not empty");
        break;
    case SETTING_NAME:
        buf_printf(out, "1 to %zu lower-case letters, digits and underscores", NAME_MAX_LEN);
        break;
    case SETTING_URL:
        buf_put_cstr(out, "postgresql://... or key=value pairs");
        break;
    case SETTING_SECRET:
        buf_put_cstr(out, "text without control characters");
        break;
    case SETTING_BOOL:
        buf_put_cstr(out, "true or false");
        break;
    case SETTING_INT:
        allowed_range(setting, "an integer", out);
        break;
    case SETTING_SIZE:
        allowed_range(setting, "bytes, or a size in kB, MB or GB,", out);
        break;
    case SETTING_DURATION:
        allowed_range(setting, "a duration in ms, s, min or h,", out);
        break;
    case SETTING_ADDRESS:
        buf_printf(out, "host:port, as 127.0.0.1:3000 or [::1]:3000%s",
                   *setting->initial ? "" : ", or nothing");
        break;
    case SETTING_CHOICE:
        allowed_choices(setting, out);
        break;
    }
}

const char *setting_placeholder(const struct setting *setting)
{
    static const char *const words[] = {
        [SETTING_TEXT] = "TEXT",   [SETTING_NAME] = "NAME",       [SETTING_URL] = "URL",
        [SETTING_SECRET] = "TEXT", [SETTING_BOOL] = "true|false", [SETTING_INT] = "N",
        [SETTING_SIZE] = "SIZE",   [SETTING_DURATION] = "TIME",   [SETTING_ADDRESS] = "HOST:PORT",
        [SETTING_CHOICE] = "WORD",
    };

    return words[setting->type];
}
