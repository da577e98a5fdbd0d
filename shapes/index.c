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

#include <stddef.h>
#include <stdlib.h>

/* Mostly there is one. */
struct entries {
    uint32_t n, cap;
    union {
        struct shape_entry *one;   /* cap is 0 */
        struct shape_entry **list; /* it is not */
    };
};

struct bucket {
    struct entries entries;
    uint32_t key_len;
    char key[];
};

struct column_index {
    struct table_column column; /* a copy: only its type is looked at, its names are not */
    int at;
    bool in_identity;       /* for all of its shapes: sent with every old row */
    struct hashset buckets; /* by key */
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
    size_t len;
};

/* ---- lists ------------------------------------------------------------- */

static struct shape_entry **entries_list(struct entries *e)
{
    return e->cap ? e->list : &e->one;
}

static void entries_add(struct entries *e, struct shape_entry *entry)
{
    if (e->n > 0 && e->n >= e->cap) {
        uint32_t cap = e->cap ? e->cap * 2 : 4;
        struct shape_entry *one = e->one;

        e->list = xrealloc(e->cap ? e->list : NULL, cap * sizeof(struct shape_entry *));
        if (!e->cap)
            e->list[0] = one;
        e->cap = cap;
    }
    entries_list(e)[e->n++] = entry;
}

/* The last of the list takes its place. */
static void entries_remove(struct entries *e, const struct shape_entry *entry)
{
    struct shape_entry **list = entries_list(e);

    for (uint32_t i = 0; i < e->n; i++) {
        if (list[i] == entry) {
            list[i] = list[--e->n];
            return;
        }
    }
}

static void entries_release(struct entries *e)
{
    if (e->cap)
        free(e->list);
}

struct shape_index *shape_index_new(void)
{
    return xcalloc(1, sizeof(struct shape_index));
}

static void column_free(struct column_index *column)
{
    struct bucket *bucket;

    for (size_t at = 0; (bucket = hashset_next(&column->buckets, &at));) {
        entries_release(&bucket->entries);
        free(bucket);
    }
    hashset_release(&column->buckets);
    entries_release(&column->entries);
    free(column);
}

static void table_free(struct table_index *table)
{
    for (size_t i = 0; i < table->ncolumns; i++)
        column_free(table->columns[i]);
    free(table->columns);
    entries_release(&table->all);
    entries_release(&table->scan);
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
    free(index);
}

size_t shape_index_len(const struct shape_index *index)
{
    return index->len;
}

/* ---- add and remove ---------------------------------------------------- */

/* Not kept with the shape: they are asked for when it comes and when it goes. */
static struct where_keys keys_of(const struct shape *shape, struct arena *scratch)
{
    return shape->where ? where_keys(shape->where, scratch) : (struct where_keys){.column = -1};
}

static struct column_index *find_column(struct table_index *table, const struct shape *shape,
                                        int at, bool make)
{
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

static bool has_key(const void *bucket, const void *key)
{
    const struct bucket *b = bucket;

    return slice_eq((struct slice){b->key, b->key_len}, *(const struct slice *)key);
}

static struct bucket *find_bucket(const struct column_index *column, struct slice key,
                                  uint64_t hash)
{
    return hashset_get(&column->buckets, hash, has_key, &key);
}

static struct bucket *make_bucket(struct column_index *column, struct slice key)
{
    uint64_t hash = hash_bytes(key);
    struct bucket *bucket = find_bucket(column, key, hash);

    if (bucket)
        return bucket;
    bucket = xcalloc(1, offsetof(struct bucket, key) + key.len);
    bucket->key_len = (uint32_t)key.len;
    if (key.len)
        memcpy(bucket->key, key.ptr, key.len);
    hashset_add(&column->buckets, hash, bucket);
    return bucket;
}

static void add_values(struct table_index *table, struct shape_entry *entry,
                       const struct where_keys *keys)
{
    struct column_index *column = find_column(table, entry->shape, keys->column, true);

    column->in_identity &= entry->shape->table->cols[keys->column].in_identity;
    entry->at_scan = column->entries.n;
    entries_add(&column->entries, entry);
    for (size_t i = 0; i < keys->n; i++) {
        struct entries *e = &make_bucket(column, keys->values[i])->entries;

        /* The same value may be listed twice, one after the other's bucket was made. */
        if (e->n == 0 || entries_list(e)[e->n - 1] != entry)
            entries_add(e, entry);
    }
}

static struct table_index *make_table(struct shape_index *index, uint32_t relid)
{
    struct table_index *table = u64map_get(&index->tables, relid);

    if (table)
        return table;
    table = xcalloc(1, sizeof(*table));
    table->relid = relid;
    u64map_set(&index->tables, relid, table);
    return table;
}

void shape_index_add(struct shape_index *index, struct shape_entry *entry)
{
    struct table_index *table = make_table(index, entry->shape->table->relid);
    struct arena scratch = {0};
    const struct where_keys keys = keys_of(entry->shape, &scratch);

    entry->at_all = table->all.n;
    entries_add(&table->all, entry);
    if (keys.column >= 0) {
        add_values(table, entry, &keys);
    } else {
        entry->at_scan = table->scan.n;
        entries_add(&table->scan, entry);
    }
    index->len++;
    arena_release(&scratch);
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
static void take_scan_place(struct entries *e, const struct shape_entry *entry)
{
    struct shape_entry **list = entries_list(e), *last = list[--e->n];

    list[entry->at_scan] = last;
    last->at_scan = entry->at_scan;
}

static void take_all_place(struct entries *e, const struct shape_entry *entry)
{
    struct shape_entry **list = entries_list(e), *last = list[--e->n];

    list[entry->at_all] = last;
    last->at_all = entry->at_all;
}

static void remove_values(struct table_index *table, const struct shape_entry *entry,
                          const struct where_keys *keys)
{
    struct column_index *column = find_column(table, entry->shape, keys->column, false);

    for (size_t i = 0; i < keys->n; i++) {
        uint64_t hash = hash_bytes(keys->values[i]);
        struct bucket *bucket = find_bucket(column, keys->values[i], hash);

        if (!bucket)
            continue;
        entries_remove(&bucket->entries, entry);
        if (bucket->entries.n == 0) {
            hashset_remove(&column->buckets, hash, bucket);
            entries_release(&bucket->entries);
            free(bucket);
        }
    }
    take_scan_place(&column->entries, entry);
    if (column->entries.n == 0)
        drop_column(table, column);
}

void shape_index_remove(struct shape_index *index, struct shape_entry *entry)
{
    struct table_index *table = u64map_get(&index->tables, entry->shape->table->relid);
    struct arena scratch = {0};
    const struct where_keys keys = keys_of(entry->shape, &scratch);

    if (keys.column >= 0)
        remove_values(table, entry, &keys);
    else
        take_scan_place(&table->scan, entry);
    take_all_place(&table->all, entry);
    index->len--;
    if (table->all.n == 0) {
        u64map_remove(&index->tables, table->relid);
        table_free(table);
    }
    arena_release(&scratch);
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
    struct shape_entry **entries;
    size_t n;
};

static void take(struct found *found, struct entries *e)
{
    memcpy(found->entries + found->n, entries_list(e), e->n * sizeof(struct shape_entry *));
    found->n += e->n;
}

static int compare_entries(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return (*x > *y) - (*x < *y);
}

static void drop_doubles(struct found *found, size_t from)
{
    size_t n = from;

    qsort(found->entries + from, found->n - from, sizeof(struct shape_entry *), compare_entries);
    for (size_t i = from; i < found->n; i++) {
        if (n == from || found->entries[n - 1] != found->entries[i])
            found->entries[n++] = found->entries[i];
    }
    found->n = n;
}

/* The entries that one row of the change may be for. */
struct lookup {
    struct column_index *column;
    struct entries *lists[2];
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
        struct bucket *bucket = find_bucket(l->column, key, hash_bytes(key));
        bool seen = bucket && l->n == 1 &&
                    (l->lists[0] == &bucket->entries || l->lists[0] == &l->column->entries);

        if (bucket && !seen)
            l->lists[l->n++] = &bucket->entries;
        return;
    }
    }
}

static struct lookup look_up_change(struct column_index *column, const struct change *change,
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

struct shape_entry **shape_index_find(struct shape_index *index, uint32_t relid,
                                      const struct change *change, struct arena *scratch, size_t *n)
{
    struct table_index *table = u64map_get(&index->tables, relid);
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
    found.entries = arena_alloc(scratch, total * sizeof(struct shape_entry *));
    take(&found, &table->scan);
    for (size_t i = 0; i < table->ncolumns; i++) {
        size_t from = found.n;

        for (size_t j = 0; j < lookups[i].n; j++)
            take(&found, lookups[i].lists[j]);
        if (lookups[i].n > 1)
            drop_doubles(&found, from);
    }
    *n = found.n;
    return found.entries;
}

struct shape_entry **shape_index_table(struct shape_index *index, uint32_t relid,
                                       struct arena *scratch, size_t *n)
{
    struct table_index *table = u64map_get(&index->tables, relid);
    struct found found = {0};

    found.entries = arena_alloc(scratch, (table ? table->all.n : 0) * sizeof(struct shape_entry *));
    if (table)
        take(&found, &table->all);
    *n = found.n;
    return found.entries;
}
