#include "change/tables.h"

void tables_init(struct tables *t)
{
    *t = (struct tables){0};
    pthread_mutex_init(&t->mutex, NULL);
}

void tables_release(struct tables *t)
{
    size_t at = 0;

    for (struct u64map_slot *slot; (slot = u64map_next(&t->relids, &at));)
        table_unref(slot->value);
    u64map_release(&t->relids);
    pthread_mutex_destroy(&t->mutex);
}

struct table *tables_share(struct tables *t, struct table *table)
{
    struct table *unneeded = NULL;

    if (!table)
        return NULL;
    pthread_mutex_lock(&t->mutex);
    struct table *kept = u64map_get(&t->relids, table->relid);
    if (kept && table_identical(kept, table)) {
        unneeded = table;
        table = table_ref(kept);
    } else {
        unneeded = kept;
        u64map_set(&t->relids, table->relid, table_ref(table));
    }
    pthread_mutex_unlock(&t->mutex);
    table_unref(unneeded);
    return table;
}
