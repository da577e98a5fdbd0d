#include "shapes/form.h"
#include "shapes/pack.h"

#include <pthread.h>
#include <stdlib.h>

static struct {
    pthread_once_t once;
    struct hash_key key;
    pthread_mutex_t mutex;
    struct hashset forms;
} all = {.once = PTHREAD_ONCE_INIT, .mutex = PTHREAD_MUTEX_INITIALIZER};

static void make_key(void)
{
    hash_key_init(&all.key);
}

struct hash128 form_hash(struct slice text)
{
    pthread_once(&all.once, make_key);
    return hash_keyed(&all.key, text);
}

/* One allocation: the struct, the tree, the columns. */
static struct form *form_new(const struct form_parts *parts, struct hash128 is)
{
    size_t tree = parts->where ? where_tree_size(parts->where) : 0;
    size_t columns = parts->ncolumns * sizeof(*parts->columns);
    struct form *form = xmalloc(sizeof(*form) + tree + columns);
    char *behind = (char *)(form + 1);

    *form = (struct form){.refs = 1, .is = is, .table = table_ref(parts->table)};
    if (parts->where)
        form->tree = where_tree_pack(parts->where, form->table, behind);
    form->columns = memcpy(behind + tree, parts->columns, columns);
    return form;
}

struct wanted {
    struct hash128 is;
    const struct table *table;
};

static bool is_wanted(const void *item, const void *key)
{
    const struct form *form = item;
    const struct wanted *wanted = key;

    return hash128_eq(form->is, wanted->is) && form->table == wanted->table;
}

struct form *form_get(const struct form_parts *parts)
{
    const struct wanted wanted = {form_hash(parts->text), parts->table};

    pthread_mutex_lock(&all.mutex);
    struct form *form = hashset_get(&all.forms, wanted.is.lo, is_wanted, &wanted);
    if (form) {
        form->refs++;
    } else {
        form = form_new(parts, wanted.is);
        hashset_add(&all.forms, form->is.lo, form);
    }
    pthread_mutex_unlock(&all.mutex);
    return form;
}

void form_unref(struct form *form)
{
    pthread_mutex_lock(&all.mutex);
    bool last = --form->refs == 0;
    if (last)
        hashset_remove(&all.forms, form->is.lo, form);
    pthread_mutex_unlock(&all.mutex);
    if (!last)
        return;
    table_unref(form->table);
    free(form);
}
