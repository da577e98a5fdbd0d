/*
 * The table of Electric's names, and how the values that are written otherwise
 * there are rewritten. A value that cannot be read is passed on as it stands:
 * setting_parse() refuses it, and the message names the variable.
 */
#include "settings/electric.h"

#include <stdlib.h>

extern char **environ;

enum form {
    AS_IT_IS,
    MILLISECONDS, /* a bare number of them */
    SECONDS,      /* likewise */
    PORT,         /* of every address of the machine */
    LEVEL,        /* "warning" for warn */
    INITIAL,      /* a member of {"initial":300,"existing":10000} */
    EXISTING,
};

static const struct name {
    const char *name, *section, *setting;
    enum form form;
} names[] = {
    {"ELECTRIC_REPLICATION_STREAM_ID", "database", "stream_id", AS_IT_IS},
    {"ELECTRIC_TWEAKS_SCHEMA_RECONCILER_PERIOD", "database", "catalog_interval", MILLISECONDS},
    {"ELECTRIC_MANUAL_TABLE_PUBLISHING", "database", "manual_table_publishing", AS_IT_IS},
    {"ELECTRIC_STORAGE_DIR", "storage", "data_dir", AS_IT_IS},
    {"ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD", "storage", "chunk_size", AS_IT_IS},
    {"ELECTRIC_PORT", "http", "listen", PORT},
    {"ELECTRIC_PROMETHEUS_PORT", "http", "metrics_listen", PORT},
    {"ELECTRIC_SECRET", "http", "secret", AS_IT_IS},
    {"ELECTRIC_INSECURE", "http", "insecure", AS_IT_IS},
    {"ELECTRIC_TCP_SEND_TIMEOUT", "http", "send_timeout", MILLISECONDS},
    {"ELECTRIC_TCP_READ_TIMEOUT", "http", "idle_timeout", MILLISECONDS},
    {"ELECTRIC_LONG_POLL_TIMEOUT", "http", "long_poll_timeout", MILLISECONDS},
    {"ELECTRIC_CACHE_MAX_AGE", "http", "cache_max_age", SECONDS},
    {"ELECTRIC_CACHE_STALE_AGE", "http", "cache_stale_age", SECONDS},
    {"ELECTRIC_MAX_CONCURRENT_REQUESTS", "http", "max_concurrent_initial", INITIAL},
    {"ELECTRIC_MAX_CONCURRENT_REQUESTS", "http", "max_concurrent_existing", EXISTING},
    {"ELECTRIC_ENABLE_INTEGRATION_TESTING", "http", "allow_delete", AS_IT_IS},
    {"ELECTRIC_LOG_LEVEL", "logging", "level", LEVEL},
};

/* Electric's variables that do not begin with its name. */
static const char *const others[] = {"CLEANUP_REPLICATION_SLOTS_ON_SHUTDOWN"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct name *find(const struct setting *setting)
{
    for (size_t i = 0; i < COUNT(names); i++) {
        if (strcmp(names[i].setting, setting->name) == 0 &&
            strcmp(names[i].section, setting->section) == 0)
            return &names[i];
    }
    return NULL;
}

const char *electric_name(const struct setting *setting)
{
    const struct name *name = find(setting);

    return name ? name->name : NULL;
}

static void put_with_unit(const char *text, const char *unit, struct buf *out)
{
    bool bare = text[strspn(text, "0123456789")] == '\0';

    buf_printf(out, "%s%s", text, bare ? unit : "");
}

static void put_port(const char *text, struct buf *out)
{
    const char *ip6 = getenv("ELECTRIC_LISTEN_ON_IPV6");

    buf_printf(out, "%s:%s", ip6 && strcmp(ip6, "true") == 0 ? "[::]" : "0.0.0.0", text);
}

/* The number behind "key" in a JSON object. */
static void put_member(const char *object, const char *key, struct buf *out)
{
    const char *at = strstr(object, key);
    const char *number = at ? at + strlen(key) : object;

    number += at ? strspn(number, "\": \t") : 0;
    size_t len = at ? strspn(number, "0123456789") : 0;

    buf_put(out, number, len ? len : strlen(number));
}

static void put_value(enum form form, const char *text, struct buf *out)
{
    switch (form) {
    case AS_IT_IS:
        buf_put_cstr(out, text);
        break;
    case MILLISECONDS:
        put_with_unit(text, "ms", out);
        break;
    case SECONDS:
        put_with_unit(text, "s", out);
        break;
    case PORT:
        put_port(text, out);
        break;
    case LEVEL:
        buf_put_cstr(out, strcmp(text, "warning") == 0 ? "warn" : text);
        break;
    case INITIAL:
        put_member(text, "\"initial\"", out);
        break;
    case EXISTING:
        put_member(text, "\"existing\"", out);
        break;
    }
}

bool electric_value(const struct setting *setting, struct buf *value)
{
    const struct name *name = find(setting);
    const char *text = name ? getenv(name->name) : NULL;

    if (!text || !*text)
        return false;
    put_value(name->form, text, value);
    return true;
}

static bool has_counterpart(const char *variable, size_t len)
{
    if (len == strlen("ELECTRIC_LISTEN_ON_IPV6") &&
        memcmp(variable, "ELECTRIC_LISTEN_ON_IPV6", len) == 0)
        return true;
    for (size_t i = 0; i < nsettings; i++) {
        const char *name = electric_name(&settings[i]);

        if (name && strlen(name) == len && memcmp(name, variable, len) == 0)
            return true;
    }
    return false;
}

static bool is_electrics(const char *variable, size_t len)
{
    for (size_t i = 0; i < COUNT(others); i++) {
        if (strlen(others[i]) == len && memcmp(others[i], variable, len) == 0)
            return true;
    }
    return strncmp(variable, "ELECTRIC_", 9) == 0;
}

void config_electric_ignored(struct buf *out)
{
    for (char **variable = environ; *variable; variable++) {
        size_t len = strcspn(*variable, "=");

        if ((*variable)[len] && (*variable)[len + 1] && is_electrics(*variable, len) &&
            !has_counterpart(*variable, len))
            buf_printf(out, "%s%.*s", out->len ? ", " : "", (int)len, *variable);
    }
}
