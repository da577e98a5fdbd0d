/*
 * SQL text in the making, by SQLite's own printf: "%w" between double quotes
 * is a quoted identifier, %Q a quoted string. Out of memory ends the process,
 * as it does in an arena.
 */
#ifndef REPLICA_SQL_H
#define REPLICA_SQL_H

#include "base/arena.h"

#include "replica/sqlite.h"

struct sql {
    sqlite3_str *str;
};

static inline void sql_init(struct sql *sql)
{
    sql->str = sqlite3_str_new(NULL);
}

/* Not PRINTF: SQLite's %w and %Q are unknown to the compiler. */
void sql_put(struct sql *sql, const char *fmt, ...);
/* Ends the text: moves it into the arena. */
char *sql_take(struct sql *sql, struct arena *arena);

#endif
