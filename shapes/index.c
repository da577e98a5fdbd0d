/*
 * By table, and within a table by the column that shapes ask for values of:
 *
 *     relid -> table_index
 *                all       every entry
 *                scan      those whose clause names no values
 *                columns   column_index -> value -> bucket of entries
 *
 * An entry with n values stands in n buckets. A change is looked up by the
 * column's value in its old and in its new row; where a row does not say
 * (the value was not sent), all entries of that column are candidates.
 */
#include "shapes/index.h"
#include "base/hash.h"

#include <stdlib.h>

struct entry {
    const struct shape *shape;
    void *owner;
    struct entry *next;     /* of the same owner */
    size_t at_all, at_scan; /* where it stands in the table's list, and in scan or its column's */
};

struct entries {
    struct entry **list;
    size_t n, cap;
};

struct bucket {
    struct slice key; /* owned, behind the struct */
    struct entries entries;
};

struct column_index {
    struct table_column column; /* a copy: only its type is looked at, its names are not */
    int at;
    bool in_identity;       /* for all of its shapes: sent with every old row */
    struct strmap buckets;  /* by key */
    struct entries entries; /* of the column, each once; unordered */
};

struct table_index {
    uint32_t relid;
    struct entries all, scan;
    struct column_index **columns;
    size_t ncolumns;
};

struct shape_index {
    struct u64map tables;
    struct u64map owners; /* by pointer: struct entry */
    size_t len;
};

/* ---- lists ------------------------------------------------------------- */

static void entries_add(struct entries *e, struct entry *entry)
{
    if (e->n == e->cap) {
        e->cap = e->cap ? e->cap * 2 : 1;
        e->list = xrealloc(e->list, e->cap * sizeof(struct entry *));
    }
    e->list[e->n++] = entry;
}

static void entries_remove(struct entries *e, const struct entry *entry)
{
    for (size_t i = 0; i < e->n; i++) {
        if (e->list[i] == entry) {
            e->list[i] = e->list[--e->n];
            return;
        }
    }
}

struct shape_index *shape_index_new(void)
{
    return xcalloc(1, sizeof(struct shape_index));
}

static void column_free(struct column_index *column)
{
    struct strmap_slot *slot;

    for (size_t at = 0; (slot = strmap_next(&column->buckets, &at));) {
        struct bucket *bucket = slot->value;

        free(bucket->entries.list);
        free(bucket);
    }
    strmap_release(&column->buckets);
    free(column->entries.list);
    free(column);
}

static void table_free(struct table_index *table)
{
    for (size_t i = 0; i < table->all.n; i++)
        free(table->all.list[i]);
    for (size_t i = 0; i < table->ncolumns; i++)
        column_free(table->columns[i]);
    free(table->columns);
    free(table->all.list);
    free(table->scan.list);
    free(table);
}

void shape_index_free(struct shape_index *index)
{
    struct u64map_slot *slot;

    if (!index)
        return;
    for (size_t at = 0; (slot = u64map_next(&index->tables, &at));)
        table_free(slot->value);
    u64map_release(&index->tables);
    u64map_release(&index->owners);
    free(index);
}

size_t shape_index_len(const struct shape_index *index)
{
    return index->len;
}

/* ---- add and remove ---------------------------------------------------- */

static struct column_index *find_column(struct table_index *table, const struct shape *shape,
                                        bool make)
{
    int at = where_keys(shape->where)->column;
    const struct table_column *col = &shape->table->cols[at];

    for (size_t i = 0; i < table->ncolumns; i++) {
        struct column_index *c = table->columns[i];

        if (c->at == at && c->column.basetypid == col->basetypid)
            return c;
    }
    if (!make)
        return NULL;
    struct column_index *c = xcalloc(1, sizeof(*c));
    c->column = *col;
    c->at = at;
    c->in_identity = true;
    table->columns =
        xrealloc(table->columns, (table->ncolumns + 1) * sizeof(struct column_index *));
    table->columns[table->ncolumns++] = c;
    return c;
}

static struct bucket *make_bucket(struct column_index *column, struct slice key)
{
    struct bucket *bucket = strmap_get(&column->buckets, key);

    if (bucket)
        return bucket;
    bucket = xcalloc(1, sizeof(*bucket) + key.len);
    if (key.len)
        memcpy(bucket + 1, key.ptr, key.len);
    bucket->key = (struct slice){(const char *)(bucket + 1), key.len};
    strmap_set(&column->buckets, bucket->key, bucket);
    return bucket;
}

static void add_values(struct table_index *table, struct entry *entry)
{
    const struct where_keys *keys = where_keys(entry->shape->where);
    struct column_index *column = find_column(table, entry->shape, true);

    column->in_identity &= entry->shape->table->cols[keys->column].in_identity;
    entry->at_scan = column->entries.n;
    entries_add(&column->entries, entry);
    for (size_t i = 0; i < keys->n; i++) {
        struct bucket *bucket = make_bucket(column, keys->values[i]);

        /* The same value may be listed twice, one after the other's bucket was made. */
        if (bucket->entries.n == 0 || bucket->entries.list[bucket->entries.n - 1] != entry)
            entries_add(&bucket->entries, entry);
    }
}

static bool has_values(const struct shape *shape)
{
    return shape->where && where_keys(shape->where)->column >= 0;
}

void shape_index_add(struct shape_index *index, const struct shape *shape, void *owner)
{
    struct table_index *table = u64map_get(&index->tables, shape->table->relid);
    struct entry *entry = xcalloc(1, sizeof(*entry));

    if (!table) {
        table = xcalloc(1, sizeof(*table));
        table->relid = shape->table->relid;
        u64map_set(&index->tables, table->relid, table);
    }
    *entry = (struct entry){.shape = shape, .owner = owner, .at_all = table->all.n};
    entry->next = u64map_set(&index->owners, (uintptr_t)owner, entry);
    entries_add(&table->all, entry);
    if (has_values(shape)) {
        add_values(table, entry);
    } else {
        entry->at_scan = table->scan.n;
        entries_add(&table->scan, entry);
    }
    index->len++;
}

static void drop_column(struct table_index *table, struct column_index *column)
{
    for (size_t i = 0; i < table->ncolumns; i++) {
        if (table->columns[i] == column) {
            table->columns[i] = table->columns[--table->ncolumns];
            column_free(column);
            return;
        }
    }
}

/* The last of the list takes the place of the one that goes. */
static void take_scan_place(struct entries *e, const struct entry *entry)
{
    struct entry *last = e->list[--e->n];

    e->list[entry->at_scan] = last;
    last->at_scan = entry->at_scan;
}

static void remove_values(struct table_index *table, const struct entry *entry)
{
    const struct where_keys *keys = where_keys(entry->shape->where);
    struct column_index *column = find_column(table, entry->shape, false);

    for (size_t i = 0; i < keys->n; i++) {
        struct bucket *bucket = strmap_get(&column->buckets, keys->values[i]);

        if (!bucket)
            continue;
        entries_remove(&bucket->entries, entry);
        if (bucket->entries.n == 0) {
            strmap_remove(&column->buckets, bucket->key);
            free(bucket->entries.list);
            free(bucket);
        }
    }
    take_scan_place(&column->entries, entry);
    if (column->entries.n == 0)
        drop_column(table, column);
}

/* Takes the entry out of its owner's chain; NULL when there is none. */
static struct entry *take_entry(struct shape_index *index, const struct shape *shape,
                                const void *owner)
{
    uint64_t key = (uintptr_t)owner;
    struct entry *first = u64map_get(&index->owners, key), **link = &first;

    while (*link && (*link)->shape != shape)
        link = &(*link)->next;
    struct entry *found = *link;
    if (!found)
        return NULL;
    *link = found->next;
    if (first)
        u64map_set(&index->owners, key, first);
    else
        u64map_remove(&index->owners, key);
    return found;
}

void shape_index_remove(struct shape_index *index, const struct shape *shape, void *owner)
{
    struct table_index *table = u64map_get(&index->tables, shape->table->relid);
    struct entry *entry = take_entry(index, shape, owner);

    if (!entry)
        return;
    if (has_values(shape))
        remove_values(table, entry);
    else
        take_scan_place(&table->scan, entry);
    struct entry *last = table->all.list[--table->all.n];
    table->all.list[entry->at_all] = last;
    last->at_all = entry->at_all;
    free(entry);
    index->len--;
    if (table->all.n == 0) {
        u64map_remove(&index->tables, table->relid);
        table_free(table);
    }
}

/* ---- find -------------------------------------------------------------- */

/* What a row says of a column. */
enum said { SAID_NOTHING, SAID_NONE, SAID_KEY };

static enum said row_says(const struct column_index *column, const struct tuple *row, bool is_key,
                          struct arena *scratch, struct slice *key)
{
    if (column->at >= row->nvalues || (is_key && !column->in_identity))
        return SAID_NOTHING;
    const struct value *v = &row->values[column->at];
    if (v->kind == VALUE_UNCHANGED)
        return SAID_NOTHING;
    return v->kind == VALUE_TEXT && where_key_of(&column->column, v->text, scratch, key)
               ? SAID_KEY
               : SAID_NONE;
}

struct found {
    void **owners;
    size_t n;
};

static void take(struct found *found, const struct entries *e)
{
    for (size_t i = 0; i < e->n; i++)
        found->owners[found->n++] = e->list[i]->owner;
}

static int compare_owners(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return (*x > *y) - (*x < *y);
}

static void drop_doubles(struct found *found, size_t from)
{
    size_t n = from;

    qsort(found->owners + from, found->n - from, sizeof(*found->owners), compare_owners);
    for (size_t i = from; i < found->n; i++) {
        if (n == from || found->owners[n - 1] != found->owners[i])
            found->owners[n++] = found->owners[i];
    }
    found->n = n;
}

/* The entries that one row of the change may be for. */
struct lookup {
    const struct column_index *column;
    const struct entries *lists[2];
    size_t n;
};

static void look_up(struct lookup *l, const struct tuple *row, bool is_key, struct arena *scratch)
{
    struct slice key;

    switch (row_says(l->column, row, is_key, scratch, &key)) {
    case SAID_NONE:
        return;
    case SAID_NOTHING:
        l->lists[0] = &l->column->entries;
        l->n = 1;
        return;
    case SAID_KEY: {
        const struct bucket *bucket = strmap_get(&l->column->buckets, key);
        bool seen = bucket && l->n == 1 &&
                    (l->lists[0] == &bucket->entries || l->lists[0] == &l->column->entries);

        if (bucket && !seen)
            l->lists[l->n++] = &bucket->entries;
        return;
    }
    }
}

static struct lookup look_up_change(const struct column_index *column, const struct change *change,
                                    struct arena *scratch)
{
    struct lookup l = {.column = column};

    if (change->old)
        look_up(&l, change->old, change->old_is_key, scratch);
    if (change->new)
        look_up(&l, change->new, false, scratch);
    /* An update without an old row has changed what it likes outside the identity. */
    if (change->op == CHANGE_UPDATE && !change->old && !column->in_identity) {
        l.lists[0] = &column->entries;
        l.n = 1;
    }
    return l;
}

void **shape_index_find(struct shape_index *index, uint32_t relid, const struct change *change,
                        struct arena *scratch, size_t *n)
{
    const struct table_index *table = u64map_get(&index->tables, relid);
    struct found found = {0};

    *n = 0;
    if (!table)
        return arena_alloc(scratch, 0);
    struct lookup *lookups = arena_calloc(scratch, table->ncolumns, sizeof(*lookups));
    size_t total = table->scan.n;
    for (size_t i = 0; i < table->ncolumns; i++) {
        lookups[i] = look_up_change(table->columns[i], change, scratch);
        for (size_t j = 0; j < lookups[i].n; j++)
            total += lookups[i].lists[j]->n;
    }
    found.owners = arena_alloc(scratch, total * sizeof(*found.owners));
    take(&found, &table->scan);
    for (size_t i = 0; i < table->ncolumns; i++) {
        size_t from = found.n;

        for (size_t j = 0; j < lookups[i].n; j++)
            take(&found, lookups[i].lists[j]);
        if (lookups[i].n > 1)
            drop_doubles(&found, from);
    }
    *n = found.n;
    return found.owners;
}

void **shape_index_table(struct shape_index *index, uint32_t relid, struct arena *scratch,
                         size_t *n)
{
    const struct table_index *table = u64map_get(&index->tables, relid);
    struct found found = {0};

    found.owners = arena_alloc(scratch, (table ? table->all.n : 0) * sizeof(*found.owners));
    if (table)
        take(&found, &table->all);
    *n = found.n;
    return found.owners;
}
