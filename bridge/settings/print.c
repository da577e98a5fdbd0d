/*
 * The table of settings as text: for --help, for docs/CONFIG.md, and with the
 * values in force.
 */
#include "base/buf.h"
#include "settings/config.h"
#include "settings/electric.h"
#include "settings/properties.h"
#include "settings/setting.h"

#define HELP_WIDTH ((size_t)80)
#define HELP_INDENT 6
#define DOC_WIDTH ((size_t)120)

/* Breaks the paragraph at spaces. */
static void print_wrapped(FILE *out, const char *text, int indent, size_t width)
{
    size_t column = 0;

    for (const char *p = text; *p;) {
        size_t len = strcspn(p, " ");

        if (column > 0 && column + 1 + len > width) {
            fputc('\n', out);
            column = 0;
        }
        column += (size_t)fprintf(out, "%*s%.*s", column ? 1 : indent, "", (int)len, p);
        p += len + (p[len] == ' ');
    }
    fputc('\n', out);
}

/* The first of a section gets a heading. */
static bool opens_section(size_t i)
{
    return i == 0 || strcmp(settings[i].section, settings[i - 1].section) != 0;
}

static void help_setting(FILE *out, const struct setting *s)
{
    bool bare = s->type == SETTING_BOOL;
    struct buf line;

    fprintf(out, "  --%s%s%s%s\n", s->flag, bare ? "[=" : " ", setting_placeholder(s),
            bare ? "]" : "");
    buf_init(&line, BUF_NO_LIMIT);
    for (size_t i = 0; s->env[i]; i++)
        buf_printf(&line, "%s%s", i ? " or " : "", s->env[i]);
    if (electric_name(s))
        buf_printf(&line, " or %s", electric_name(s));
    buf_printf(&line, "; in tombolo.ini: %s; ", s->name);
    if (*s->initial)
        buf_printf(&line, "default %s", s->initial);
    else
        buf_put_cstr(&line, "no default");
    print_wrapped(out, buf_cstr(&line), HELP_INDENT, HELP_WIDTH);
    print_wrapped(out, s->help, HELP_INDENT, HELP_WIDTH);
    buf_release(&line);
}

void config_print_help(FILE *out)
{
    fputs("usage: tombolo serve [flags]\n\n"
          "Follows a Postgres and serves its shapes over HTTP. Settings are taken from\n"
          "tombolo.ini, then from the environment, then from flags; the later one counts.\n"
          "One of secret and insecure must be set, and a database.\n\n"
          "  --config PATH\n"
          "      TOMBOLO_CONFIG; default ./tombolo.ini, if it is there\n"
          "      The file of settings.\n"
          "  -h, --help\n"
          "      Shows this text.\n",
          out);
    for (size_t i = 0; i < nsettings; i++) {
        if (opens_section(i))
            fprintf(out, "\n[%s]\n\n", settings[i].section);
        help_setting(out, &settings[i]);
    }
}

static void doc_setting(FILE *out, const struct setting *s)
{
    struct buf allowed;

    fprintf(out, "\n### `%s`\n\n", s->name);
    print_wrapped(out, s->help, 0, DOC_WIDTH);
    fputs("\n- environment: ", out);
    for (size_t i = 0; s->env[i]; i++)
        fprintf(out, "%s`%s`", i ? ", else " : "", s->env[i]);
    if (electric_name(s))
        fprintf(out, ", else `%s`", electric_name(s));
    fprintf(out, "\n- flag: `--%s`\n- default: ", s->flag);
    fprintf(out, *s->initial ? "`%s`\n" : "none%s\n", s->initial);
    buf_init(&allowed, BUF_NO_LIMIT);
    setting_allowed(s, &allowed);
    fprintf(out, "- allowed: %s\n", buf_cstr(&allowed));
    fprintf(out, "- a change takes effect: at %s\n", s->reloadable ? "SIGHUP" : "the next start");
    buf_release(&allowed);
}

static const char doc_head[] =
    "<!-- Written by the build target config_md from bridge/settings/settings.c. Do not edit. -->\n"
    "# Settings of `tombolo serve`\n\n"
    "Each setting can stand in `tombolo.ini`, in the environment and on the command line. A flag "
    "counts before the\nenvironment, the environment before the file, the file before the default. "
    "The file is the one that `--config PATH` or\n`TOMBOLO_CONFIG` names, else `./tombolo.ini` if "
    "it is there.\n\n"
    "A bridge must have a database, and exactly one of `secret` and `insecure`; without them the "
    "bridge does not start. What is\nunknown in the file or among the flags, or has a value that "
    "is not allowed, is an error that names its place. An\nenvironment variable that is empty "
    "counts as not set, and one that is no setting is ignored (Kubernetes makes some for a\n"
    "service called `tombolo`). Electric's variables\nthat mean the same count behind our own; the "
    "log "
    "names those that mean nothing here ([ELECTRIC.md](ELECTRIC.md)).\n\n"
    "    ; tombolo.ini\n"
    "    [database]\n"
    "    url = postgresql://tombolo:password@db.internal:5432/app?sslmode=verify-full\n\n"
    "    [http]\n"
    "    listen = 0.0.0.0:3000\n"
    "    secret = a-long-random-text\n\n"
    "A comment begins with `;`, at the beginning of a line or after a space; with `#` at the "
    "beginning alone. A line holds at\nmost 190 bytes; one that ends in `\\` goes on in the next, "
    "with nothing in between. Sizes are written `512kB`, `64MB`, `1GB`\n(powers of 1024) or in "
    "bytes; durations `500ms`, `30s`, `10min`, `1h`. The sections `[shape NAME]` and\n"
    "`[write TABLE]` are no settings but rules: who may do what ([RULES.md](RULES.md)).\n\n"
    "At SIGHUP all is read anew. A setting that needs a restart keeps its value until then, and "
    "the log says which these are; if\nanything is wrong, all keep theirs.\n";

void config_print_doc(FILE *out)
{
    fputs(doc_head, out);
    for (size_t i = 0; i < nsettings; i++) {
        if (opens_section(i))
            fprintf(out, "\n## `[%s]`\n", settings[i].section);
        doc_setting(out, &settings[i]);
    }
}

void config_print_values(const struct config *config, FILE *out)
{
    struct buf value;

    buf_init(&value, BUF_NO_LIMIT);
    for (size_t i = 0; i < nsettings; i++) {
        buf_clear(&value);
        setting_format(&settings[i], config, &value);
        fprintf(out, "[%s] %s = %s\n", settings[i].section, settings[i].name, buf_cstr(&value));
    }
    properties_print(&config->kafka_properties, out);
    buf_release(&value);
}
