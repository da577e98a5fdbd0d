/* The names that tables of Postgres get in SQLite. */
#ifndef REPLICA_NAMES_H
#define REPLICA_NAMES_H

#include "base/arena.h"
#include "base/err.h"

/* "orders" of public stays "orders", of sales it is "sales_orders". NULL with an error for a
 * name that is SQLite's, Litestream's or our own. */
char *lite_local_name(const char *schema, const char *table, struct arena *arena, struct err *err);

#endif
