/* Takes a CREATE INDEX statement apart, as far as SQLite's pragmas do not tell it. */
#ifndef REPLICA_CAPTURE_INDEX_H
#define REPLICA_CAPTURE_INDEX_H

#include "base/arena.h"

#include <stdbool.h>

/* The text of the index's part number `at` without ASC or DESC; NULL when there is none. */
char *capture_index_part(const char *sql, size_t at, struct arena *arena);
/* The text behind WHERE, or NULL. */
char *capture_index_where(const char *sql, struct arena *arena);

#endif
