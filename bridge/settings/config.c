/*
 * Loads the settings: defaults, then file, environment and flags, each written
 * over what was there before. Where a value came from is remembered until the
 * end, for the checks that concern several settings.
 */
#include "settings/config.h"
#include "base/arena.h"
#include "settings/electric.h"
#include "settings/inifile.h"
#include "settings/load.h"
#include "settings/properties.h"
#include "settings/setting.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>

#define SETTINGS_MAX 128
#define SHOWN_MAX 60
#define TOPIC_PREFIX_MAX ((size_t)100)

enum origin { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_ENV, ORIGIN_FLAG };

struct loader {
    struct config *config;
    const char *path;                /* of the file, or NULL */
    int line[SETTINGS_MAX];          /* where the file has it; 0: not */
    const char *env[SETTINGS_MAX];   /* the variable that has it */
    const char *flags[SETTINGS_MAX]; /* the flag's value, or NULL */
    enum origin origin[SETTINGS_MAX];
};

/* Says where setting `i` was found: "tombolo.ini:3: [http] listen". */
static void put_place(const struct loader *l, size_t i, struct buf *out)
{
    switch (l->origin[i]) {
    case ORIGIN_DEFAULT:
        buf_put_cstr(out, "default");
        break;
    case ORIGIN_FILE:
        buf_printf(out, "%s:%d: [%s] %s", l->path, l->line[i], settings[i].section,
                   settings[i].name);
        break;
    case ORIGIN_ENV:
        buf_printf(out, "environment: %s", l->env[i]);
        break;
    case ORIGIN_FLAG:
        buf_printf(out, "--%s", settings[i].flag);
        break;
    }
}

/* Cut and cleaned for a message. */
static void put_shown(const char *text, struct buf *out)
{
    size_t len = strnlen(text, SHOWN_MAX + 1);

    buf_put_u8(out, '"');
    for (size_t i = 0; i < len && i < SHOWN_MAX; i++)
        buf_put_u8(out, text[i] < ' ' || text[i] == 0x7f ? '?' : (uint8_t)text[i]);
    buf_put_cstr(out, len > SHOWN_MAX ? "...\"" : "\"");
}

static bool take(struct loader *l, size_t i, const char *text, enum origin origin, struct err *err)
{
    struct buf msg;

    l->origin[i] = origin;
    if (setting_parse(&settings[i], text, l->config))
        return true;
    buf_init(&msg, BUF_NO_LIMIT);
    put_place(l, i, &msg);
    if (setting_is_secret(&settings[i])) {
        buf_put_cstr(&msg, ": this value (which is secret) is not allowed");
    } else {
        buf_put_cstr(&msg, ": ");
        put_shown(text, &msg);
        buf_put_cstr(&msg, " is not allowed");
    }
    buf_put_cstr(&msg, "; it must be ");
    setting_allowed(&settings[i], &msg);
    err_set(err, ERR_CONFIG, "%s", buf_cstr(&msg));
    buf_release(&msg);
    return false;
}

/* The file. */

static bool unknown_entry(const struct loader *l, const struct inifile_entry *entry,
                          struct err *err)
{
    err_set(err, ERR_CONFIG, "%s:%d: there is no setting \"%s\" in section [%s]", l->path,
            entry->line, entry->name, entry->section);
    for (size_t i = 0; i < nsettings; i++) {
        if (strcmp(settings[i].name, entry->name) == 0)
            return err_hint(err, "it belongs under [%s]", settings[i].section);
    }
    return err_hint(err, "--help lists the settings");
}

static bool take_entry(void *arg, const struct inifile_entry *entry, struct err *err)
{
    struct loader *l = arg;
    const struct setting *setting = setting_find(entry->section, entry->name);
    const char *property = properties_name(entry->section, entry->name);

    if (property)
        return properties_set(&l->config->kafka_properties, property, entry->value) ||
               err_set(err, ERR_CONFIG, "%s:%d: this is no name of a property", l->path,
                       entry->line);
    if (!setting)
        return inifile_is_rule(entry->section) || unknown_entry(l, entry, err);
    size_t i = (size_t)(setting - settings);

    if (l->line[i] > 0)
        return err_set(err, ERR_CONFIG, "%s:%d: [%s] %s is set a second time, first in line %d",
                       l->path, entry->line, entry->section, entry->name, l->line[i]);
    l->line[i] = entry->line;
    return take(l, i, entry->value, ORIGIN_FILE, err);
}

static bool read_file(struct loader *l, const char *path, struct err *err)
{
    bool named = path != NULL;

    l->path = named ? path : "tombolo.ini";
    FILE *f = fopen(l->path, "re");

    if (!f && !named && errno == ENOENT)
        return true;
    if (!f)
        return err_errno(err, ERR_CONFIG, "could not open %s", l->path);
    bool ok = inifile_read(f, l->path, take_entry, l, err);

    fclose(f);
    free(l->config->file);
    l->config->file = xstrdup(l->path);
    return ok;
}

/* The environment. */

static const char *env_value(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

static bool read_electric(struct loader *l, size_t i, struct err *err)
{
    struct buf value;

    buf_init(&value, BUF_NO_LIMIT);
    bool there = electric_value(&settings[i], &value);

    if (there)
        l->env[i] = electric_name(&settings[i]);
    bool ok = !there || take(l, i, buf_cstr(&value), ORIGIN_ENV, err);

    buf_release(&value);
    return ok;
}

static bool read_env(struct loader *l, struct err *err)
{
    for (size_t i = 0; i < nsettings; i++) {
        const char *const *env = settings[i].env;

        while (*env && !env_value(*env))
            env++;
        l->env[i] = *env;
        if (*env ? !take(l, i, env_value(*env), ORIGIN_ENV, err) : !read_electric(l, i, err))
            return false;
    }
    properties_read_env(&l->config->kafka_properties);
    return true;
}

/* The flags. */

/* Above every character, so that getopt's optopt tells a flag from a letter. */
enum { FLAG_SETTING = 256, FLAG_CONFIG = FLAG_SETTING + SETTINGS_MAX, FLAG_HELP };

static void flag_options(struct option *options)
{
    for (size_t i = 0; i < nsettings; i++) {
        bool bare = settings[i].type == SETTING_BOOL;

        options[i] = (struct option){.name = settings[i].flag,
                                     .has_arg = bare ? optional_argument : required_argument,
                                     .val = FLAG_SETTING + (int)i};
    }
    options[nsettings] = (struct option){"config", required_argument, NULL, FLAG_CONFIG};
    options[nsettings + 1] = (struct option){"help", no_argument, NULL, FLAG_HELP};
    options[nsettings + 2] = (struct option){0};
}

/* Names the flag without what may stand behind '=': it may be a secret. */
static bool bad_flag(const char *arg, bool no_value, struct err *err)
{
    size_t len = strcspn(arg, "=");

    if (optopt > 0 && optopt < FLAG_SETTING)
        err_set(err, ERR_CONFIG, "-%c is no flag", optopt);
    else if (no_value)
        err_set(err, ERR_CONFIG, "%s needs a value", arg);
    else
        err_set(err, ERR_CONFIG, optopt ? "%.*s takes no value" : "%.*s is no flag",
                len < SHOWN_MAX ? (int)len : SHOWN_MAX, arg);
    return err_hint(err, "--help lists the flags");
}

/* Only notes the values; take_flags() comes when the file and the environment were read. */
static bool read_flags(struct loader *l, int argc, char **argv, const char **path, struct err *err)
{
    struct option options[SETTINGS_MAX + 3];
    int c;

    flag_options(options);
    optind = 0; /* glibc: begin anew */
    opterr = 0;
    while ((c = getopt_long(argc, argv, "+:h", options, NULL)) != -1) {
        if (c == '?' || c == ':')
            return bad_flag(argv[optind - 1], c == ':', err);
        if (c == FLAG_CONFIG)
            *path = optarg;
        else if (c == FLAG_HELP || c == 'h')
            l->config->help = true;
        else
            l->flags[c - FLAG_SETTING] = optarg ? optarg : "true";
    }
    if (optind < argc) {
        err_set(err, ERR_CONFIG, "argument %d is not a flag", optind);
        return err_hint(err, "--help lists the flags");
    }
    return true;
}

static bool take_flags(struct loader *l, struct err *err)
{
    for (size_t i = 0; i < nsettings; i++) {
        if (l->flags[i] && !take(l, i, l->flags[i], ORIGIN_FLAG, err))
            return false;
    }
    return true;
}

/* All of them together. */

static bool check_secret(const struct loader *l, struct err *err)
{
    size_t secret = (size_t)(setting_find("http", "secret") - settings);
    size_t insecure = (size_t)(setting_find("http", "insecure") - settings);
    struct buf places;

    if (l->config->insecure != (l->config->secret[0] != '\0'))
        return true;
    if (!l->config->insecure) {
        err_set(err, ERR_CONFIG,
                "there is no secret: set either TOMBOLO_SECRET or "
                "TOMBOLO_INSECURE=true");
        return err_hint(err, "insecure serves whoever can connect; in tombolo.ini it is [http] "
                             "secret or insecure");
    }
    buf_init(&places, BUF_NO_LIMIT);
    put_place(l, secret, &places);
    buf_put_cstr(&places, " and ");
    put_place(l, insecure, &places);
    err_set(err, ERR_CONFIG, "both a secret and insecure are set, where it must be one of them: %s",
            buf_cstr(&places));
    buf_release(&places);
    return err_hint(err, "take TOMBOLO_INSECURE away to require the secret");
}

/* Who has no token is the operator where no secret is needed: no token would keep anyone out. */
static bool check_tokens(const struct loader *l, struct err *err)
{
    if (!config_has_tokens(l->config) || !l->config->insecure)
        return true;
    err_set(err, ERR_CONFIG,
            "there are keys for tokens, but insecure lets everybody in without one");
    return err_hint(err, "set a secret instead of insecure: it is the operator's");
}

static bool is_topic_prefix(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    return len > 0 && len <= TOPIC_PREFIX_MAX && text[len] == '\0';
}

/* What is published where must be said in full: nobody should find out late that nothing is. */
static bool check_kafka(const struct config *c, struct err *err)
{
    bool publishes = c->kafka_stream || c->kafka_topics;

    if (c->source[0] && strncmp(c->source, "kafka://", 8) != 0)
        return err_set(err, ERR_CONFIG,
                       "[database] source must be kafka://broker[:port][,...]/prefix, or empty");
    if (c->source[0] && c->kafka_brokers[0])
        return err_set(err, ERR_CONFIG,
                       "a fan-out node (source) does not publish: take [kafka] brokers away");
    if (c->kafka_brokers[0] && !publishes) {
        err_set(err, ERR_CONFIG, "[kafka] brokers are named, but nothing is to be published");
        return err_hint(err, "set stream = true (TOMBOLO_KAFKA_STREAM), topics = true "
                             "(TOMBOLO_KAFKA_TOPICS) or both");
    }
    if (!c->kafka_brokers[0] && publishes) {
        err_set(err, ERR_CONFIG, "[kafka] %s is to be published, but no brokers are named",
                c->kafka_stream ? "stream" : "topics");
        return err_hint(err, "set brokers = host:port,... (TOMBOLO_KAFKA_BROKERS)");
    }
    if (!properties_check(&c->kafka_properties, err))
        return false;
    return is_topic_prefix(c->kafka_prefix) ||
           err_set(err, ERR_CONFIG,
                   "[kafka] prefix must be 1 to %zu letters, digits, dots, dashes and underscores",
                   TOPIC_PREFIX_MAX);
}

static bool check(const struct loader *l, struct err *err)
{
    if (l->config->database_url[0] == '\0') {
        err_set(err, ERR_CONFIG, "no database is named: set DATABASE_URL");
        return err_hint(err, "or --database-url, or url under [database] in tombolo.ini: "
                             "postgresql://user:password@host:5432/name");
    }
    return check_secret(l, err) && check_tokens(l, err) && check_kafka(l->config, err);
}

static void take_defaults(struct config *config)
{
    assert(nsettings <= SETTINGS_MAX);
    config->file = xstrdup("");
    for (size_t i = 0; i < nsettings; i++) {
        bool ok = setting_parse(&settings[i], settings[i].initial, config);

        assert(ok);
        (void)ok;
    }
}

static bool load(struct loader *l, int argc, char **argv, struct err *err)
{
    const char *path = env_value("TOMBOLO_CONFIG");

    if (!read_flags(l, argc, argv, &path, err))
        return false;
    if (l->config->help)
        return true;
    take_defaults(l->config);
    return read_file(l, path, err) && read_env(l, err) && take_flags(l, err) && check(l, err);
}

bool config_load(struct config *config, int argc, char **argv, struct err *err)
{
    struct loader l = {.config = config};

    *config = (struct config){0};
    if (load(&l, argc, argv, err))
        return true;
    config_free(config);
    return false;
}

bool config_read_file(struct config *config, FILE *file, const char *path, struct err *err)
{
    struct loader l = {.config = config, .path = path};

    *config = (struct config){0};
    take_defaults(config);
    if (inifile_read(file, path, take_entry, &l, err))
        return true;
    config_free(config);
    return false;
}

static void copy_value(const struct setting *setting, struct config *to, const struct config *from)
{
    size_t size = setting->type == SETTING_CHOICE ? sizeof(int)
                  : setting->type == SETTING_BOOL ? sizeof(bool)
                                                  : sizeof(int64_t);

    assert(!setting_is_string(setting) && setting->type != SETTING_ADDRESS);
    memcpy(setting_field(setting, to), setting_value(setting, from), size);
}

bool config_reload(struct config *config, int argc, char **argv, struct buf *restart,
                   struct err *err)
{
    struct config fresh;

    if (!config_load(&fresh, argc, argv, err))
        return false;
    char *before = config->file;
    config->file = fresh.file;
    fresh.file = before;
    for (size_t i = 0; i < nsettings; i++) {
        const struct setting *s = &settings[i];

        if (setting_equal(s, config, &fresh))
            continue;
        if (s->reloadable)
            copy_value(s, config, &fresh);
        else
            buf_printf(restart, "%s[%s] %s", restart->len ? ", " : "", s->section, s->name);
    }
    if (!properties_equal(&config->kafka_properties, &fresh.kafka_properties))
        buf_printf(restart, "%s[kafka] property.*", restart->len ? ", " : "");
    config_free(&fresh);
    return true;
}

bool config_has_tokens(const struct config *config)
{
    return config->token_secret[0] || config->token_key_file[0] || config->token_jwks_file[0];
}

void config_free(struct config *config)
{
    for (size_t i = 0; i < nsettings; i++) {
        if (setting_is_string(&settings[i]))
            free(*(char **)setting_field(&settings[i], config));
    }
    free(config->file);
    properties_free(&config->kafka_properties);
    *config = (struct config){0};
}
