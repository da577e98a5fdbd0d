#include "shapes/raise.h"

#include <stdio.h>

bool raise_sql(struct err *err, const char *sqlstate, const char *fmt, ...)
{
    char msg[sizeof(err->msg)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    err_set(err, ERR_INPUT, "%s", msg);
    snprintf(err->sqlstate, sizeof(err->sqlstate), "%s", sqlstate);
    return false;
}

bool raise_syntax(struct err *err, const char *type_name, struct slice text)
{
    int len = text.len < 200 ? (int)text.len : 200;

    return raise_sql(err, "22P02", "invalid input syntax for type %s: \"%.*s\"", type_name, len,
                     text.ptr);
}
