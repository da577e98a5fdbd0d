/*
 * Diagnostics: one line an event to standard error, as logfmt or JSON. ("Log"
 * alone always means the shape log.) A line names its connection, shape or
 * slot by keys:
 *
 *     log_info("slot confirmed", LOG_STR("slot", name), LOG_LSN("flush", lsn));
 *
 * gives  ts=2026-11-21T08:45:50.123Z level=info msg="slot confirmed" slot=tombolo flush=0/16B3748
 *
 * Any thread may log. Lines are written with one write(), so they never mix.
 */
#ifndef BASE_LOGGING_H
#define BASE_LOGGING_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_LOGFMT, LOG_JSON };

enum log_field_kind { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_UINT, LOG_FIELD_LSN };

struct log_field {
    const char *key;
    enum log_field_kind kind;
    union {
        const char *str; /* NULL prints nothing */
        int64_t i;
        uint64_t u;
    };
};

#define LOG_STR(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_STR, .str = (v)})
#define LOG_INT(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_INT, .i = (int64_t)(v)})
#define LOG_UINT(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_UINT, .u = (uint64_t)(v)})
#define LOG_LSN(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_LSN, .u = (v)})
/* The message of an err, and its hint, as fields "error" and "hint". */
#define LOG_ERR(e) LOG_STR("error", (e)->msg), LOG_STR("hint", (e)->hint[0] ? (e)->hint : NULL)

/* May be called again at any time. */
void logging_init(enum log_level level, enum log_format format);
bool logging_level_parse(const char *text, enum log_level *level);
bool logging_format_parse(const char *text, enum log_format *format);
bool log_enabled(enum log_level level);

void log_line(enum log_level level, const char *msg, const struct log_field *fields, size_t n);

/* The last field of a line stands for "no more": macros must have an argument behind the message.
 */
#define LOG_END ((struct log_field){0})
#define log_fields(level, msg, ...)                                                                \
    log_line(level, msg, (const struct log_field[]){__VA_ARGS__},                                  \
             sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))
#define log_at(...) log_fields(__VA_ARGS__, LOG_END)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) (log_enabled(LOG_DEBUG) ? log_at(LOG_DEBUG, __VA_ARGS__) : (void)0)

#endif
