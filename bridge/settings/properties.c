#include "settings/properties.h"

#include "base/arena.h"

#include <ctype.h>
#include <stdlib.h>
#include <unistd.h>

#define PREFIX "property."
#define ENV_PREFIX "TOMBOLO_KAFKA_PROPERTY_"

const char *properties_name(const char *section, const char *name)
{
    size_t len = strlen(PREFIX);

    return strcmp(section, "kafka") == 0 && strncmp(name, PREFIX, len) == 0 ? name + len : NULL;
}

static struct config_property *find(const struct config_properties *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++) {
        if (strcmp(p->list[i].name, name) == 0)
            return &p->list[i];
    }
    return NULL;
}

bool properties_set(struct config_properties *p, const char *name, const char *value)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-");
    struct config_property *property = find(p, name);

    if (len == 0 || name[len])
        return false;
    if (!property) {
        p->list = xrealloc(p->list, (p->n + 1) * sizeof(*p->list));
        property = &p->list[p->n++];
        *property = (struct config_property){.name = xstrdup(name)};
    }
    free(property->value);
    property->value = xstrdup(value);
    return true;
}

/* A name that can be none of librdkafka's is passed over, as are all variables that mean nothing.
 */
static void take_variable(struct config_properties *p, const char *variable)
{
    size_t len = strcspn(variable, "=");

    if (!variable[len] || !variable[len + 1])
        return;
    char *name = strndup(variable, len);

    for (char *c = name; c && *c; c++)
        *c = *c == '_' ? '.' : (char)tolower((unsigned char)*c);
    bool ok = name && properties_set(p, name, variable + len + 1);

    (void)ok;
    free(name);
}

void properties_read_env(struct config_properties *p)
{
    for (char **variable = environ; variable && *variable; variable++) {
        if (strncmp(*variable, ENV_PREFIX, strlen(ENV_PREFIX)) == 0)
            take_variable(p, *variable + strlen(ENV_PREFIX));
    }
}

bool properties_equal(const struct config_properties *a, const struct config_properties *b)
{
    for (size_t i = 0; i < a->n; i++) {
        const struct config_property *other = find(b, a->list[i].name);

        if (!other || strcmp(other->value, a->list[i].value) != 0)
            return false;
    }
    return a->n == b->n;
}

bool properties_check(const struct config_properties *p, struct err *err)
{
    static const struct {
        const char *name, *instead;
    } ours[] = {
        {"bootstrap.servers", "set [kafka] brokers"},
        {"metadata.broker.list", "set [kafka] brokers"},
        {"message.max.bytes", "set [kafka] message_max"},
        {"transactional.id", "set [kafka] transactions"},
        {"acks", "it is all"},
        {"request.required.acks", "it is all"},
        {"message.timeout.ms", "it is 0: a record is never given up"},
        {"delivery.timeout.ms", "it is 0: a record is never given up"},
        {"enable.idempotence", "it is true"},
        {"enable.gapless.guarantee", "it is true"},
        {"isolation.level", "it is read_committed"},
        {"enable.partition.eof", "it is true"},
        {"auto.offset.reset", "it is error"},
    };

    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if (!find(p, ours[i].name))
            continue;
        err_set(err, ERR_CONFIG, "[kafka] property.%s is not to be chosen", ours[i].name);
        return err_hint(err, "take it away: %s", ours[i].instead);
    }
    return true;
}

bool config_property_is_secret(const char *name)
{
    static const char *const words[] = {"password", "secret", ".key", "jaas", "oauthbearer.config"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strstr(name, words[i]))
            return true;
    }
    return false;
}

void properties_print(const struct config_properties *p, FILE *out)
{
    for (size_t i = 0; i < p->n; i++)
        fprintf(out, "[kafka] " PREFIX "%s = %s\n", p->list[i].name,
                config_property_is_secret(p->list[i].name) ? "***" : p->list[i].value);
}

void properties_free(struct config_properties *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->list[i].name);
        free(p->list[i].value);
    }
    free(p->list);
    *p = (struct config_properties){0};
}
