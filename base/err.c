#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

bool err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    va_list ap;

    *err = (struct err){.code = code};
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    return false;
}

bool err_wrap(struct err *err, const char *fmt, ...)
{
    char msg[sizeof(err->msg)];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(msg))
        snprintf(msg + n, sizeof(msg) - (size_t)n, ": %.400s", err->msg);
    memcpy(err->msg, msg, sizeof(msg));
    return false;
}

bool err_hint(struct err *err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
    va_end(ap);
    return false;
}

bool err_errno(struct err *err, enum err_code code, const char *fmt, ...)
{
    int saved = errno;
    va_list ap;

    *err = (struct err){.code = saved == ENOSPC || saved == EDQUOT ? ERR_DISK_FULL : code};
    va_start(ap, fmt);
    int n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(err->msg))
        snprintf(err->msg + n, sizeof(err->msg) - (size_t)n, ": %s", strerror(saved));
    return false;
}

static const struct {
    bool retriable;
    const char *text;
} codes[] = {
#define X(code, retriable, text) {retriable, text},
    ERR_MAP(X)
#undef X
};

const char *err_text(enum err_code code)
{
    return codes[code].text;
}

bool err_retriable(enum err_code code)
{
    return codes[code].retriable;
}
