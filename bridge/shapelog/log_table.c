/*
 * The version of its table that a log has come to. Its shape keeps the one that it was typed with;
 * whoever looks after the catalogue gives the log a newer one when the shape fits it.
 */
#include "shapelog/store.h"

#include <stdlib.h>

#define LOGS_AT_ONCE 1000u /* the catalogue's lock is held meanwhile */

static struct table *table_of(const struct log *log)
{
    struct shape *shape = atomic_load_explicit(&log->shape, memory_order_acquire);

    return log->table ? log->table : shape ? shape->table : NULL;
}

struct table *log_table(struct log *log)
{
    pthread_mutex_lock(log_stripe(log));
    struct table *table = table_of(log);

    if (table)
        table_ref(table);
    pthread_mutex_unlock(log_stripe(log));
    return table;
}

void log_put_schema(struct log *log, bool for_sync, struct buf *out)
{
    struct table *table = log_table(log);

    shape_put_schema_of(log_shape(log), table, for_sync, out);
    table_unref(table);
}

static void swap_table(struct log *log, struct table *table)
{
    table_ref(table);
    pthread_mutex_lock(log_stripe(log));
    struct table *before = log->table;
    log->table = table;
    pthread_mutex_unlock(log_stripe(log));
    table_unref(before);
}

bool shapelog_set_table(struct shapelog *store, struct log *const *logs, size_t n,
                        struct table *table, struct err *err)
{
    uint64_t *ids = xcalloc(n, sizeof(*ids));
    bool ok = true;

    for (size_t i = 0; i < n; i++)
        ids[i] = logs[i]->id;
    for (size_t i = 0; ok && i < n; i += LOGS_AT_ONCE)
        ok = catalog_set_table(store->catalog, ids + i, n - i < LOGS_AT_ONCE ? n - i : LOGS_AT_ONCE,
                               table, err);
    for (size_t i = 0; ok && i < n; i++)
        swap_table(logs[i], table);
    free(ids);
    return ok;
}
