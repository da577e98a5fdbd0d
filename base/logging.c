#include "base/logging.h"
#include "base/buf.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_LIMIT ((size_t)8192)

static _Atomic enum log_level max_level = LOG_INFO;
static _Atomic enum log_format line_format = LOG_LOGFMT;

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static const char *const format_names[] = {"logfmt", "json"};

void logging_init(enum log_level level, enum log_format format)
{
    max_level = level;
    line_format = format;
}

bool log_enabled(enum log_level level)
{
    return level <= max_level;
}

static bool name_index(const char *const *names, size_t n, const char *text, size_t *index)
{
    for (*index = 0; *index < n; (*index)++) {
        if (strcmp(names[*index], text) == 0)
            return true;
    }
    return false;
}

bool logging_level_parse(const char *text, enum log_level *level)
{
    size_t i;

    if (!name_index(level_names, 4, text, &i))
        return false;
    *level = (enum log_level)i;
    return true;
}

bool logging_format_parse(const char *text, enum log_format *format)
{
    size_t i;

    if (!name_index(format_names, 2, text, &i))
        return false;
    *format = (enum log_format)i;
    return true;
}

static void put_quoted(struct buf *b, const char *text)
{
    buf_put_u8(b, '"');
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;

        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c == '\n')
            buf_put_cstr(b, "\\n");
        else if (c < 0x20)
            buf_printf(b, "\\u%04x", c);
        else
            buf_put_u8(b, c);
    }
    buf_put_u8(b, '"');
}

static bool is_plain(const char *text)
{
    return *text && !text[strcspn(text, " \"=\\\n\t")];
}

static void put_str(struct buf *b, const char *text)
{
    if (line_format == LOG_LOGFMT && is_plain(text))
        buf_put_cstr(b, text);
    else
        put_quoted(b, text);
}

static void put_key(struct buf *b, const char *key)
{
    if (line_format == LOG_JSON)
        buf_printf(b, "%s\"%s\":", b->len > 1 ? "," : "", key);
    else
        buf_printf(b, "%s%s=", b->len ? " " : "", key);
}

static void put_field(struct buf *b, const struct log_field *f)
{
    char lsn[24];

    if (!f->key || (f->kind == LOG_FIELD_STR && !f->str))
        return;
    put_key(b, f->key);
    switch (f->kind) {
    case LOG_FIELD_STR:
        put_str(b, f->str);
        break;
    case LOG_FIELD_INT:
        buf_printf(b, "%" PRId64, f->i);
        break;
    case LOG_FIELD_UINT:
        buf_printf(b, "%" PRIu64, f->u);
        break;
    case LOG_FIELD_LSN:
        snprintf(lsn, sizeof(lsn), "%" PRIX32 "/%" PRIX32, (uint32_t)(f->u >> 32), (uint32_t)f->u);
        put_str(b, lsn);
        break;
    }
}

static void put_time(struct buf *b)
{
    struct timespec now;
    struct tm tm;
    char text[32];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    put_key(b, "ts");
    if (line_format == LOG_JSON)
        buf_printf(b, "\"%s.%03ldZ\"", text, now.tv_nsec / 1000000);
    else
        buf_printf(b, "%s.%03ldZ", text, now.tv_nsec / 1000000);
}

void log_line(enum log_level level, const char *msg, const struct log_field *fields, size_t n)
{
    struct buf b;

    if (!log_enabled(level))
        return;
    buf_init(&b, LINE_LIMIT);
    if (line_format == LOG_JSON)
        buf_put_u8(&b, '{');
    put_time(&b);
    put_key(&b, "level");
    put_str(&b, level_names[level]);
    put_key(&b, "msg");
    put_str(&b, msg);
    for (size_t i = 0; i < n; i++)
        put_field(&b, &fields[i]);
    if (line_format == LOG_JSON)
        buf_put_u8(&b, '}');
    buf_put_u8(&b, '\n');
    if (write(STDERR_FILENO, b.ptr, b.len) < 0) {
        /* nowhere left to say it */
    }
    buf_release(&b);
}
