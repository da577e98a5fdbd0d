#include "replica/sql.h"

#include <stdlib.h>

void sql_put(struct sql *sql, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    sqlite3_str_vappendf(sql->str, fmt, ap);
    va_end(ap);
}

char *sql_take(struct sql *sql, struct arena *arena)
{
    char *text = sqlite3_str_finish(sql->str);

    if (!text)
        abort();
    char *copy = arena_strdup(arena, text);
    sqlite3_free(text);
    return copy;
}
